"""PyTorch's modules in: through its own exporters, to an ONNX model in memory, to a graph with the module's weights.

PyTorch is an extra of netc, and imported when it is needed.
"""

from __future__ import annotations

import inspect
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from ..compiler.errors import Diagnostic, NetcError, Note
from ..compiler.extras import extra
from ..compiler.graph.interpreter import evaluate
from ..compiler.graph.ir import Graph
from .torch_exporters import explained, quiet, without_frozen_choices
from .torch_spelling import arguments_of, exact_numbers, spelt_out


@cache
def library() -> Any:
    """The package `torch`. Raises `NetcError` where it, or what its exporter needs, can't be imported."""
    problem = "PyTorch's modules need the packages torch, onnx and onnxscript"
    names = ("onnx", "onnxscript", "torch.export", "torch.onnx", "torch")
    return [extra(name, problem, "install them with pip install -U 'netc[torch]'") for name in names][-1]


def from_torch(module: Any, example_inputs: Any, *, name: str | None = None) -> Graph:
    """The graph of a PyTorch module, with its weights, for inputs of the shapes and types of `example_inputs`.

    `module` is a `torch.nn.Module` in evaluation mode, or an `ExportedProgram` of `torch.export`, whose example inputs
    count. `example_inputs` is a tensor, a sequence of what `forward` takes by position, or a mapping of what it takes
    by name. Inputs and outputs keep PyTorch's order of dimensions, channels in front. `name` is the graph's name.

    The module goes through `torch.export`. Where that, or netc, refuses the result, PyTorch's older exporter, which
    traces a run, is tried; a `Note` says so. Raises `NetcError` for a module that can't be read, that is in training
    mode, changes its buffers or draws random numbers.
    """
    torch = library()
    if isinstance(module, torch.export.ExportedProgram):
        return read_program(module, name or "module")
    if not isinstance(module, torch.nn.Module):
        raise NetcError(f"from_torch takes a torch.nn.Module, not {type(module).__name__}")
    if module.training:
        raise NetcError("the module is in training mode", hint="call module.eval() first")
    arguments, named = _arguments(torch, example_inputs)
    name, program = name or _plain(type(module).__name__), None
    try:
        program = _traced(torch, module, arguments, named)
        return read_program(program, name)
    except UnfitError:
        raise
    except NetcError as error:
        return _by_older_exporter(torch, module, program, arguments, named, name, error)


class UnfitError(NetcError):
    """A module that does more than compute tensors from its inputs, so that no exporter gets it right."""


def _arguments(torch: Any, given: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What `forward` takes by position and by name.

    A tensor that is given twice is copied: PyTorch takes inputs that are one object for one input in all calls.
    """
    leaves, structure = torch.utils._pytree.tree_flatten(given)
    seen: set[int] = set()
    for i, leaf in enumerate(leaves):
        if isinstance(leaf, torch.Tensor) and id(leaf) in seen:
            leaves[i] = leaf.detach().clone()
        seen.add(id(leaf))
    if len(seen) < len(leaves):
        given = torch.utils._pytree.tree_unflatten(leaves, structure)
    if isinstance(given, Mapping):
        return (), dict(given)
    if isinstance(given, torch.Tensor) or not isinstance(given, Sequence):
        return (given,), {}
    return tuple(given), {}


def _plain(name: str) -> str:
    return re.sub(r"\W", "_", name).lower()


# ---- torch.export ---------------------------------------------------------------------------------------------------


def _traced(torch: Any, module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    """The `ExportedProgram` of a module; a `Note` says which tensors it changes that aren't buffers."""
    with quiet(torch), explained("torch.export"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        program = torch.export.export(module, arguments, named, strict=False)
    told = " ".join(text for w in caught if "assigned during export" in (text := str(w.message).partition(". ")[0]))
    if changed := re.findall(r"\bself\.([\w.]+)", told):
        what = f"calling it changes {', '.join(changed[:3])}, outside of its buffers"
        warnings.warn(f"{what}: the graph computes as the first call", Note, stacklevel=3)
    return program


def export(module: Any, arguments: tuple[Any, ...], name: str) -> Graph:
    """A module as a graph, by `torch.export` alone; raises `NetcError`."""
    return read_program(_traced(library(), module, arguments, {}), name)


def read_program(program: Any, name: str) -> Graph:
    """An `ExportedProgram` as a graph.

    Raises `UnfitError` if it changes what it is given, draws random numbers or has an output that is no tensor, and
    `NetcError` for what the exporter or netc doesn't have.
    """
    from onnxscript.optimizer import fold_constants

    from .onnx import graph_of  # needs the package onnx

    torch = library()
    _check_outputs(torch, program)
    with quiet(torch), explained("torch.onnx.export"):
        spelt, exact = spelt_out(torch, program), exact_numbers(torch)
        # Its optimizer takes x + 1e-8 for x + 0, and x * 1.00001 for x * 1; of what it does constants are enough.
        exported = torch.onnx.export(spelt, dynamo=True, verbose=False, optimize=False, custom_translation_table=exact)
        fold_constants(exported.model)
    _check_effects(torch, exported.exported_program)
    graph = graph_of(exported.model_proto, name, checked=True)  # by types that aren't PyTorch's it tells what it loses
    _check_types(program, graph)
    return graph


def _check_outputs(torch: Any, program: Any) -> None:
    for spec in program.graph_signature.output_specs:
        if not isinstance(spec.arg, torch.export.graph_signature.TensorArgument):
            what = repr(spec.arg.value) if hasattr(spec.arg, "value") else type(spec.arg).__name__
            raise UnfitError(f"one of its outputs is no tensor, but {what}")


def _check_types(program: Any, graph: Graph) -> None:
    """Raise `NetcError` if outputs are others than PyTorch's, such as truth values in place of its bytes."""
    metas = {node.name: node.meta.get("val") for node in program.graph.nodes}
    wanted = [metas[name] for name in program.graph_signature.user_outputs]
    if len(wanted) != len(graph.outputs):
        raise NetcError(f"of {len(wanted)} outputs the exporter gives {len(graph.outputs)}")
    for i, (tensor, value) in enumerate(zip(wanted, graph.outputs, strict=True)):
        sizes = [n if isinstance(n, int) else own for n, own in zip(tensor.shape, value.type.shape, strict=False)]
        shape, dtype = (*sizes, *tensor.shape[len(sizes) :]), str(tensor.dtype).removeprefix("torch.")
        if shape != value.type.shape or dtype != np.dtype(value.type.dtype.numpy).name:
            raise NetcError(f"the exporter makes output {i} {value.type}, PyTorch {dtype}{[*shape]}")


def _check_effects(torch: Any, program: Any) -> None:
    """`program` is in functional form, as only the exporter makes it: what it changes has become outputs."""
    signature = program.graph_signature
    if changed := [*signature.buffers_to_mutate.values()]:
        hint = "call module.eval(), or take it as an input and give what becomes of it as an output"
        raise UnfitError(f"it changes {', '.join(changed[:3])}", hint=hint)
    if changed := [*signature.user_inputs_to_mutate.values()]:
        raise UnfitError(f"it changes {', '.join(changed[:3])}", hint="change a clone() of it")
    for node in program.graph.nodes:
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()) and not _drops_nothing(node):
            hint = "call module.eval(), or take the numbers as an input"
            raise UnfitError(f"it draws random numbers ({node.target})", hint=hint)


def _drops_nothing(node: Any) -> bool:
    """True for a dropout that drops nothing, and for attention without one."""
    given = arguments_of(node)
    return given.get("train", True) is False or given.get("dropout_p", 1.0) == 0.0


# ---- the older exporter ---------------------------------------------------------------------------------------------


def _by_older_exporter(
    torch: Any,
    module: Any,
    program: Any,
    arguments: tuple[Any, ...],
    named: dict[str, Any],
    name: str,
    first: NetcError,
) -> Graph:
    """The graph that PyTorch's older exporter gives, or `first`, with what is wrong with this one.

    It forgets changes in place of views, so that it gets `program` without them. Its numbers are compared with those of
    the module.
    """
    from .onnx import graph_of
    from .onnx.library import library as onnx

    stream = io.BytesIO()
    order = _parameters_of(module)
    named = {key: named[key] for key in sorted(named, key=[*order, *named].index)}  # that of the graph's inputs
    try:
        with quiet(torch), explained("torch.onnx.export(dynamo=False)"):
            traced, given, more = module, arguments, named
            if program is not None:
                (traced, given), more = _without_changes(torch, program, arguments, named), {}
            with without_frozen_choices(torch) if program is None else nullcontext():  # a program makes no choices
                torch.onnx.export(traced, given, stream, kwargs=more, dynamo=False, verbose=False)
        graph = graph_of(onnx().ModelProto.FromString(stream.getvalue()), name)
        _check_numbers(torch, graph, module, arguments, named)
    except NetcError as error:
        raise NetcError([*first.diagnostics, *_further(first, error)]) from None
    reason = first.diagnostics[0].message
    warnings.warn(f"{name} was read by PyTorch's older exporter, since: {reason}", Note, stacklevel=4)
    return graph


def _parameters_of(module: Any) -> list[str]:
    """What `forward` takes, by name; nothing of a module that was traced before."""
    try:
        return [*inspect.signature(module.forward).parameters]
    except ValueError:
        return []


def _without_changes(
    torch: Any, program: Any, arguments: tuple[Any, ...], named: dict[str, Any]
) -> tuple[Any, tuple[Any, ...]]:
    """An `ExportedProgram` as a module that changes nothing in place, and the tensors that it takes.

    All else that the program takes is as in its examples: the exporter makes tensors of numbers, and loses names.
    """
    functional = spelt_out(torch, program.run_decompositions({})).module(check_guards=False)
    leaves, structure = torch.utils._pytree.tree_flatten((arguments, named))

    class Functional(torch.nn.Module):  # type: ignore[misc]
        """The module of a program can't be put into evaluation mode, which the exporter does."""

        def forward(self, *tensors: Any) -> Any:
            given = iter(tensors)
            own = [next(given) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
            places, names = torch.utils._pytree.tree_unflatten(own, structure)
            return functional(*places, **names)

    return Functional().eval(), tuple(leaf for leaf in leaves if isinstance(leaf, torch.Tensor))


def _check_numbers(torch: Any, graph: Graph, module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Raise `NetcError` if the graph gives other numbers than the module, for the example or for drawn floats."""
    leaves, structure = torch.utils._pytree.tree_flatten((arguments, named))
    draws = torch.Generator().manual_seed(0)

    def drawn(x: Any) -> Any:
        is_float = isinstance(x, torch.Tensor) and x.is_floating_point()
        return torch.randn(x.shape, generator=draws, dtype=x.dtype) if is_float else x

    for inputs in (leaves, [drawn(x) for x in leaves]):
        own = [x.clone() if isinstance(x, torch.Tensor) else x for x in inputs]
        places, names = torch.utils._pytree.tree_unflatten(own, structure)
        with quiet(torch), explained("the module"):
            results = torch.utils._pytree.tree_leaves(module(*places, **names))
            wanted = [y.detach().numpy() for y in results]
        tensors = [x.detach().numpy() for x in inputs if isinstance(x, torch.Tensor)]
        if len(tensors) != len(graph.inputs):
            raise NetcError(f"of {len(tensors)} inputs it keeps {len(graph.inputs)}")
        found = evaluate(graph, tensors)
        if len(found) != len(wanted) or not all(map(_agree, found, wanted)):
            raise NetcError("its numbers are not those of the module")


def _agree(found: Any, wanted: Any) -> bool:
    if found.shape != wanted.shape or found.dtype != wanted.dtype or wanted.dtype.kind != "f":
        return found.dtype == wanted.dtype and bool(np.array_equal(found, wanted))
    size = np.abs(wanted[np.isfinite(wanted)]).max(initial=1.0)
    return bool(np.allclose(found, wanted, 1e-3, 1e-3 * size, equal_nan=True))


def _further(first: NetcError, error: NetcError) -> list[Diagnostic]:
    """What is wrong with the older exporter's way, unless that is what was wrong before."""
    known = {d.message.partition(" fails: ")[2] for d in first.diagnostics}
    new = [d for d in error.diagnostics if d.message.partition(" fails: ")[2] not in known - {""}]
    return [replace(d, message=f"by PyTorch's older exporter: {d.message}") for d in new]

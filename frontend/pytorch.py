"""PyTorch's modules in: through its own exporters, to an ONNX model in memory, to a graph with the module's weights.

PyTorch is an extra of netc, and imported when it is needed.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from functools import cache
from typing import Any

from ..compiler.errors import Diagnostic, NetcError, Note
from ..compiler.extras import extra
from ..compiler.graph.ir import Graph

_LONGEST = 300
"""Most characters of another program's message that are repeated."""


@cache
def library() -> Any:
    """The package `torch`. Raises `NetcError` where it, or what its exporter needs, can't be imported."""
    problem = "PyTorch's modules need the packages torch, onnx and onnxscript"
    names = ("onnx", "onnxscript", "torch.export", "torch.onnx", "torch")
    return [extra(name, problem, "install them with pip install 'netc[torch]'") for name in names][-1]


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
    name = name or _plain(type(module).__name__)
    try:
        return read_program(_traced(torch, module, arguments, named), name)
    except UnfitError:
        raise
    except NetcError as error:
        return _by_older_exporter(torch, module, arguments, named, name, error)


class UnfitError(NetcError):
    """A module that does more than compute tensors from its inputs, so that no exporter gets it right."""


def _arguments(torch: Any, given: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(given, Mapping):
        return (), dict(given)
    if isinstance(given, torch.Tensor) or not isinstance(given, Sequence):
        return (given,), {}
    return tuple(given), {}


def _plain(name: str) -> str:
    return re.sub(r"\W", "_", name).lower()


# ---- torch.export ---------------------------------------------------------------------------------------------------


def _traced(torch: Any, module: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
    with _quiet(torch), _explained("torch.export"):
        return torch.export.export(module, arguments, named, strict=False)


def export(module: Any, arguments: tuple[Any, ...], name: str) -> Graph:
    """A module as a graph, by `torch.export` alone; raises `NetcError`."""
    return read_program(_traced(library(), module, arguments, {}), name)


def read_program(program: Any, name: str) -> Graph:
    """An `ExportedProgram` as a graph.

    Raises `UnfitError` if it changes what it is given, draws random numbers or has an output that is no tensor, and
    `NetcError` for what the exporter or netc doesn't have.
    """
    from .onnx import graph_of  # needs the package onnx

    torch = library()
    _check_outputs(torch, program)
    with _quiet(torch), _explained("torch.onnx.export"):
        exported = torch.onnx.export(program, dynamo=True, verbose=False)
    _check_effects(torch, exported.exported_program)
    return graph_of(exported.model_proto, name)


def _check_outputs(torch: Any, program: Any) -> None:
    for spec in program.graph_signature.output_specs:
        if not isinstance(spec.arg, torch.export.graph_signature.TensorArgument):
            what = repr(spec.arg.value) if hasattr(spec.arg, "value") else type(spec.arg).__name__
            raise UnfitError(f"one of its outputs is no tensor, but {what}")


def _check_effects(torch: Any, program: Any) -> None:
    """`program` is in functional form, as only the exporter makes it: what it changes has become outputs."""
    signature = program.graph_signature
    if changed := [*signature.buffers_to_mutate.values(), *signature.user_inputs_to_mutate.values()]:
        raise UnfitError(f"it changes {', '.join(changed[:3])}", hint="call module.eval()")
    for node in program.graph.nodes:
        if torch.Tag.nondeterministic_seeded in getattr(node.target, "tags", ()) and not _drops_nothing(node):
            raise UnfitError(f"it draws random numbers ({node.target})", hint="call module.eval()")


def _drops_nothing(node: Any) -> bool:
    """True for a dropout that drops nothing, and for attention without one."""
    positional = {a.name: v for a, v in zip(node.target._schema.arguments, node.args, strict=False)}
    given = {**positional, **node.kwargs}
    defaults = {a.name: a.default_value for a in node.target._schema.arguments}
    known = {**defaults, **given}
    return known.get("train", True) is False or known.get("dropout_p", 1.0) == 0.0


# ---- the older exporter ---------------------------------------------------------------------------------------------


def _by_older_exporter(
    torch: Any, module: Any, arguments: tuple[Any, ...], named: dict[str, Any], name: str, first: NetcError
) -> Graph:
    """The graph that PyTorch's older exporter gives, or `first`, with what is wrong with this one."""
    from .onnx import graph_of
    from .onnx.library import library as onnx

    stream = io.BytesIO()
    try:
        with _quiet(torch), _explained("torch.onnx.export(dynamo=False)"), _without_frozen_choices(torch):
            torch.onnx.export(module, arguments, stream, kwargs=named, dynamo=False, verbose=False)
        graph = graph_of(onnx().ModelProto.FromString(stream.getvalue()), name)
    except NetcError as error:
        problems = [Diagnostic(f"by PyTorch's older exporter: {d.message}", hint=d.hint) for d in error.diagnostics]
        raise NetcError([*first.diagnostics, *problems]) from None
    reason = first.diagnostics[0].message
    warnings.warn(f"{name} was read by PyTorch's older exporter, since: {reason}", Note, stacklevel=4)
    return graph


@contextmanager
def _without_frozen_choices(torch: Any) -> Iterator[None]:
    """Raise `NetcError` if tracing took what depends on the numbers of the example inputs for constant."""
    with warnings.catch_warnings(record=True) as caught, redirect_stdout(io.StringIO()):
        warnings.simplefilter("always")
        yield
    frozen = [w for w in caught if issubclass(w.category, torch.jit.TracerWarning)]
    if frozen:
        raise NetcError(f"what it does may depend on the numbers it is given: {str(frozen[0].message).splitlines()[0]}")


@contextmanager
def _quiet(torch: Any) -> Iterator[None]:
    """Without the exporters' own warnings and without gradients."""
    with warnings.catch_warnings(), torch.inference_mode(False), torch.no_grad():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _explained(exporter: str) -> Iterator[None]:
    """An exporter's errors, which may be of any kind, as `NetcError`."""
    try:
        yield
    except NetcError:
        raise
    except Exception as error:
        raise NetcError(f"{exporter} fails: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """What went wrong first, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
    short = text if len(text) <= _LONGEST else text[:_LONGEST] + "..."
    return f"{type(error).__name__}: {short}"

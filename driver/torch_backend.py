"""`torch.compile(module, backend="netc")`: inference of PyTorch's modules on this processor.

PyTorch finds the backend by its entry point. It gives each graph that it captures to `backend`, and calls what that
returns. A graph is compiled when it is first called, for the shapes and types of that call: `torch.export`, ONNX, netc.
What netc can't take runs as it would without a backend, and an `EagerWarning` says why, once for each graph and reason.

Weights (parameters and buffers of the module) are part of the program. Each call compares where they lie, PyTorch's
count of their changes and a few of their numbers with what they were; if they differ, the graph is compiled again.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .compiler.errors import NetcError, near_miss
from .frontend.pytorch import UnfitError, export, library
from .pipeline import compile_graph
from .runtime.program import Program
from .torch_graphs import exportable, numbers_of

MAX_SHAPES = 8
"""For so many combinations of shapes a graph is compiled at most; others run in PyTorch."""
MAX_CHANGES = 8
"""So often a graph is compiled again at most, because its weights have changed."""
OPTIONS = ("threads",)


class EagerWarning(UserWarning):
    """A graph runs in PyTorch, and why."""


def backend(
    module: Any, example_inputs: Sequence[Any], *, options: Mapping[str, Any] | None = None, mode: str | None = None
) -> Callable[..., Any]:
    """What runs a graph that PyTorch captured: `module` is a `torch.fx.GraphModule`.

    `options` may hold `threads`; without it a program uses as many as PyTorch (`torch.get_num_threads`) when it is
    compiled. Raises `NetcError` for other options, and for a `mode`.
    """
    if mode not in (None, "default"):
        raise NetcError(f"the backend netc has no mode {mode!r}")
    for name in options or {}:
        if name not in OPTIONS:
            hint = near_miss(name, OPTIONS) or f"it has {', '.join(OPTIONS)}"
            raise NetcError(f"the backend netc has no option `{name}`", hint=hint)
    return CapturedGraph(module, (options or {}).get("threads")).run


@dataclass(frozen=True, slots=True)
class Compiled:
    """A program for one combination of shapes, and what to make of its results."""

    program: Program
    tensors: tuple[int, ...]
    """The places of the arguments that the program takes."""
    results: tuple[tuple[tuple[int, ...], Any], ...]
    """The shapes and NumPy's types of what it gives."""
    outputs: tuple[Any, ...]
    """For each output of the graph `_TENSOR`, or what it is always."""

    def __call__(self, torch: Any, arguments: Sequence[Any]) -> tuple[Any, ...]:
        """The outputs of the graph for arguments of its shapes."""
        taken = [_laid_out(arguments[i]) for i in self.tensors]
        given = [torch.from_numpy(np.empty(shape, dtype)) for shape, dtype in self.results]  # quicker than torch.empty
        self.program.at([x.data_ptr() for x in (*taken, *given)])
        if len(given) == len(self.outputs):
            return tuple(given)
        found = iter(given)
        return tuple([next(found) if o is _TENSOR else o for o in self.outputs])


def _laid_out(x: Any) -> Any:
    """A tensor as a program reads it: its elements in order, without a sign that is only noted."""
    return x if x.is_contiguous() and not x.is_neg() else x.detach().resolve_neg().contiguous()


_TENSOR = object()


class Marks:
    """By what it is seen that weights have changed: where they lie, PyTorch's count of changes, their corners.

    PyTorch doesn't count what is done in place through `.data`; that seldom leaves all corners as they were.
    """

    def __init__(self, weights: Sequence[Any]) -> None:
        self.programs: dict[Any, Compiled | None] = {}
        """Those for these weights, by what they are for; None where there can't be one."""
        self._places = _places(weights)
        self._held = [x.detach() for x in weights]  # while they are here, no others can lie there
        self._corners = [corners for x in self._held if (corners := _corners(x)) is not None]
        self._numbers = self._read()

    def differ(self, weights: Sequence[Any]) -> bool:
        """True if these weights are others, or have other numbers as far as is looked at."""
        return _places(weights) != self._places or self._read() != self._numbers

    def _read(self) -> list[bytes]:
        return [corners.tobytes() for corners in self._corners]


def _places(weights: Sequence[Any]) -> list[Any]:
    return [(x.data_ptr(), x._version, x.__class__) for x in weights]


def _corners(x: Any) -> Any:
    """A view of the first and last elements along each dimension; None for elements that NumPy doesn't have."""
    try:
        array = x.numpy()
    except TypeError:
        return None
    return array[(..., *(slice(None, None, max(size - 1, 1)) for size in array.shape))]


class CapturedGraph:
    """A graph of PyTorch's with the programs for it. Thread-safe."""

    def __init__(self, module: Any, threads: int | None) -> None:
        self._torch = library()
        self._module = module
        self._threads = threads
        holders = [node for node in module.graph.nodes if node.op == "placeholder"]
        self._weights = frozenset(i for i, node in enumerate(holders) if _is_weight(self._torch, node))
        self._weight_places = tuple(sorted(self._weights))
        self._free_places = tuple(i for i in range(len(holders)) if i not in self._weights)
        self._numbers = numbers_of(module) - self._weights
        self._marks: Marks | None = None
        self._changes = 0
        self._said: set[str] = set()
        self._lock = threading.Lock()

    def run(self, *arguments: Any) -> Any:
        """The outputs for arguments, as the graph gives them."""
        compiled = self._known(arguments) or self._found(arguments)
        return self._module(*arguments) if compiled is None else compiled(self._torch, arguments)

    def _known(self, arguments: Sequence[Any]) -> Compiled | None:
        """The program of an earlier call that was like this one, if there was one.

        It takes few steps: the machine code has driven Python's and PyTorch's data from the caches, so that each costs
        several times what it would in a loop of its own.
        """
        torch, marks = self._torch, self._marks
        if marks is None or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            return None
        try:
            if marks.differ([arguments[i] for i in self._weight_places]):
                return None
        except RuntimeError:  # now they are tensors of inference mode, whose changes aren't counted
            return None
        return marks.programs.get(self._key(arguments))

    def _found(self, arguments: Sequence[Any]) -> Compiled | None:
        """The program for such arguments, which may have to be compiled; None where there is none, and why is said."""
        reason = self._unfit(arguments)
        if reason is not None:
            self._say(reason)
            return None
        with self._lock:
            weights = [arguments[i] for i in self._weight_places]
            if self._marks is None or self._marks.differ(weights):
                self._changes += self._marks is not None
                self._marks = Marks(weights)
            programs, key = self._marks.programs, self._key(arguments)
            if key not in programs:
                programs[key] = self._compile(arguments, len(programs))
            return programs[key]

    def _key(self, arguments: Sequence[Any]) -> tuple[Any, ...]:
        """What a program is for, beside weights: kinds of tensors, numbers themselves."""
        return tuple([self._kind(i, arguments[i]) for i in self._free_places])

    def _kind(self, place: int, x: Any) -> Any:
        if place in self._numbers:
            return x.dtype, repr(x.item())
        if not isinstance(x, self._torch.Tensor):
            return x.__class__, x
        return x.__class__, x.shape, x.dtype, x.layout, x.device

    def _unfit(self, arguments: Sequence[Any]) -> str | None:
        """Why a call can't be a program's; None if it can."""
        torch = self._torch
        plain = (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer)
        wants_gradients = torch.is_grad_enabled()
        if torch.is_autocast_enabled("cpu"):
            return "autocast is on"
        for i, x in enumerate(arguments):
            if not isinstance(x, torch.Tensor):
                if type(x) is not int:
                    return f"an input is a {type(x).__name__}"
                continue
            if type(x) not in plain or x.layout is not torch.strided or x.is_complex() or x.is_quantized:
                return f"an input is {_text(x)}"
            if x.device.type != "cpu":
                return f"an input lies on {x.device}"
            if i in self._weights and x.is_inference():
                return "weights made in inference mode don't count their changes"
            if wants_gradients and x.requires_grad:
                return "gradients are wanted: call it under torch.inference_mode() or torch.no_grad()"
        return None

    def _compile(self, arguments: Sequence[Any], others: int) -> Compiled | None:
        """A program, unless it isn't to be had or there are too many others already."""
        if self._changes > MAX_CHANGES:
            self._say(f"its weights have changed more than {MAX_CHANGES} times")
            return None
        if others >= MAX_SHAPES:
            self._say(f"it has been compiled for {MAX_SHAPES} combinations of shapes")
            return None
        torch = self._torch
        known = self._weights | self._numbers
        inputs = [i for i, x in enumerate(arguments) if isinstance(x, torch.Tensor) and i not in known]
        try:
            module = exportable(torch, self._module, {i: arguments[i].item() for i in self._numbers})
            bound = _bound(torch, module, arguments, frozenset(inputs))
            with torch.inference_mode(False), torch.no_grad():
                examples = tuple(arguments[i].detach().clone() for i in inputs)
            graph = export(bound, examples, "captured")
            if len(graph.inputs) != len(inputs) or len(graph.outputs) != sum(o is _TENSOR for o in bound.outputs):
                raise UnfitError("the exporter left out some of its inputs or outputs")
            program = compile_graph(graph, threads=self._threads or torch.get_num_threads())
        except NetcError as error:
            self._say("; ".join(d.message for d in error.diagnostics[:3]))
            return None
        results = tuple((t.shape, t.dtype.numpy) for _, t in program.module.outputs)
        return Compiled(program, tuple(inputs), results, bound.outputs)

    def _say(self, reason: str) -> None:
        if reason not in self._said:
            self._said.add(reason)
            warnings.warn(f"a graph runs in PyTorch, not in netc: {reason}", EagerWarning, stacklevel=4)


def _is_weight(torch: Any, node: Any) -> bool:
    """True for an input of a captured graph that is a parameter or buffer of a module."""
    return "_dynamo_static_input_type" in node.meta.get("tensor_dict", {}) or node.type is torch.nn.Parameter


def _text(x: Any) -> str:
    return f"a {type(x).__name__} of {x.dtype}, {x.layout}".replace("torch.", "")


def _bound(torch: Any, module: Any, arguments: Sequence[Any], free: frozenset[int]) -> Any:
    """A module of the captured graph's free inputs, of which all others are constants.

    It returns the tensors among the outputs, and notes in `outputs` where they stand.
    """

    class Bound(torch.nn.Module):  # type: ignore[misc]
        outputs: tuple[Any, ...] = ()

        def __init__(self) -> None:
            super().__init__()
            self.graph = module
            self.fixed = {}
            for i, x in enumerate(arguments):
                if i in free:
                    continue
                if isinstance(x, torch.Tensor):
                    self.register_buffer(f"weight{i}", x.detach())
                else:
                    self.fixed[i] = x

        def forward(self, *inputs: Any) -> Any:
            given = iter(inputs)
            values = [
                next(given) if i in free else self.fixed[i] if i in self.fixed else getattr(self, f"weight{i}")
                for i in range(len(arguments))
            ]
            results = self.graph(*values)
            self.outputs = tuple(_TENSOR if isinstance(r, torch.Tensor) else r for r in results)
            _check_views(torch, values, results)
            return tuple(r for r in results if isinstance(r, torch.Tensor))

    return Bound().eval()


def _check_views(torch: Any, inputs: Sequence[Any], results: Sequence[Any]) -> None:
    """Raise `UnfitError` if results share memory with inputs or each other, which copies of them wouldn't."""
    seen = {x.untyped_storage()._cdata for x in inputs if isinstance(x, torch.Tensor)}
    for x in results:
        if isinstance(x, torch.Tensor):
            place = x.untyped_storage()._cdata
            if place in seen:
                raise UnfitError("one of its outputs is a view of an input or of another output")
            seen.add(place)

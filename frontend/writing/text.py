"""The text of a graph, proven: it is elaborated and compared with the graph before anyone gets it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from types import MappingProxyType

from ...compiler.errors import InternalError, NetcError
from ...compiler.graph.ir import Array, Graph, Operation, Value
from ...compiler.ops.opaque import runnable, unknown_operators
from ...compiler.passes.dce import dce
from ...compiler.passes.unroll_scans import unroll_scans
from ...compiler.signature import output_names
from ...compiler.stored import stored_quantization
from ..loading import load_text
from ..modules import library_names
from ..quantized import InOrder, Source, Stored
from .batch import FixedError, with_batch
from .items import Program, Var
from .lists import with_lists
from .literals import SMALL, UnsayableError
from .matching import KNOWN, DifferentError, correspondence, producers_within
from .naming import KEYWORDS, free, identifier
from .order import order
from .printing import block_text, definition, import_text, preprocess_text
from .raising import Raising
from .structure import structured
from .terms import folded


@dataclass(frozen=True, slots=True)
class Written:
    """A text, the graph that it gives, and what that graph's parameters stand for in the graph it was made from."""

    text: str
    graph: Graph
    sources: Mapping[str, Operation]
    blocks: int
    """How many blocks the text defines."""
    scales: Mapping[str, Array] = field(default_factory=dict[str, Array])
    """Tensors that say what the integers of parameters stand for, which the text imports from the file of weights."""

    def arrays(self, weights: Mapping[str, Array] | None = None) -> Mapping[str, Array]:
        """Values of the parameters that are known: those of constants, and of parameters that are among `weights`."""
        found: dict[str, Array] = {}
        for name, op in self.sources.items():
            if op.name == "constant":
                found[name] = op.attributes["value"]
            elif weights is not None and (given := op.result.name or "") in weights:
                found[name] = weights[given]
        return found


def written(graph: Graph, name: str | None = None, pair: Graph | None = None, weights: str | None = None) -> Written:
    """The text of a graph as the net `name`, with blocks and loops, or straight on where those don't give the same.

    `pair` is the same network for two samples: the text then leaves the batch open, if that can be said. `weights` is
    the name of the file that will hold weights, from which the text takes their scales if they are integers. Raises
    `UnsayableError` where the language has no words for something in the graph.
    """
    graph = dce(graph)
    unknown = list(unknown_operators(graph))
    if unknown:
        raise UnsayableError(unknown)
    graph = unroll_scans(runnable(graph))
    pair = None if pair is None else unroll_scans(runnable(pair))
    if not graph.inputs:
        raise UnsayableError(f"{graph.name} has no input, and a net of the language must have one")
    empty = next((v for v in graph.inputs if 0 in v.type.shape), None)
    if empty is not None:
        raise UnsayableError(f"the language has no empty inputs, such as `{empty.name}`: {empty.type}")
    net = _net_name(name or graph.name)
    weights = weights or f"{net}.safetensors"
    reasons: list[NetcError | DifferentError] = []
    for two in (dce(pair), None) if pair is not None else (None,):
        for is_named, form in product((True, False) if _has_names(graph) else (False,), _FORMS):
            try:
                return _proven(net, weights, graph, two, is_named=is_named, form=form)
            except UnsayableError:
                raise
            except FixedError:
                break
            except (DifferentError, NetcError) as error:
                reasons.append(error)
    last = reasons[-1]
    if isinstance(last, NetcError):
        problem = last.diagnostics[0].message
        raise UnsayableError(f"the language doesn't take the text of {net}: {problem}", hint=last.diagnostics[0].hint)
    if any(op.operator.regions for op in graph.operations):
        raise UnsayableError(f"the language can't say conditions and loops as {net} has them: {last}")
    raise InternalError(f"the text of {net} gives another graph: {last}")


def _has_names(graph: Graph) -> bool:
    """Whether most weights of a graph have names."""
    weights = [op.result for op in graph.operations if op.name in KNOWN and op.result.type.size > SMALL]
    return 2 * sum(value.name is not None for value in weights) >= len(weights)


LISTED, BLOCKS, STRAIGHT = "with growing lists", "with blocks and loops", "straight on"
_FORMS = (LISTED, BLOCKS, STRAIGHT)


def _proven(net: str, weights: str, graph: Graph, two: Graph | None, *, is_named: bool, form: str) -> Written:
    """The text made in one way, which gives the graph again; raises `DifferentError` or `NetcError` if it doesn't."""
    raising = Raising(graph, is_named)
    body = raising.body()
    other = Raising(two, is_named) if two is not None else raising
    if two is not None:
        body = with_batch(body, other.body())
    if form == LISTED:
        grown = with_lists(body)
        if grown is body:
            raise DifferentError("no join grows")
        body = grown
    program = structured(body, is_named=is_named) if form != STRAIGHT else Program(body)
    text = _text(net, graph, two, program)
    shown = list(raising.shown)
    scales = [shown[i].type.quantization for i in order(program) if not shown[i].type.dtype.is_float]
    has_scales = any(scales)
    if has_scales:
        text = f"{import_text(weights)}\n{text}"

    def read(batch: int, source: Source) -> Graph:
        return load_text(text, f"{net}.net", batch=batch, stored={weights: source})

    made = read(1, InOrder(weights, iter(scales)))
    if (made.attributes.get("preprocess") or {}) != (graph.attributes.get("preprocess") or {}):
        raise DifferentError("pictures are prepared otherwise")
    updates = order(program, "next")
    pairs = correspondence(made, _reordered(graph, [raising.updated[i] for i in updates]))
    tensors = _scales(made) if has_scales else {}
    if two is not None:
        correspondence(read(2, Stored(weights, tensors)), _reordered(two, [other.updated[i] for i in updates]))
    elif has_scales:
        correspondence(read(1, Stored(weights, tensors)), _reordered(graph, [raising.updated[i] for i in updates]))
    made_by = producers_within(graph)
    sources = {a.name or "": made_by[b] for a, b in pairs.items() if b not in graph.updates}
    return Written(text, made, sources, len(program.blocks), tensors)


def _reordered(graph: Graph, states: Sequence[Value]) -> Graph:
    """The graph with its states in another order."""
    attributes = {**graph.attributes, "updates": tuple(state.name for state in states)} if states else graph.attributes
    outputs = (*graph.results, *(graph.updates[state] for state in states))
    return replace(graph, outputs=outputs, attributes=MappingProxyType(dict(attributes)))


def _scales(graph: Graph) -> Mapping[str, Array]:
    """What the integers of all weights stand for."""
    tensors: dict[str, Array] = {}
    for op in graph.weights:
        if op.result.type.quantization is not None:
            tensors.update(stored_quantization(op.result.name or "", op.result.type.quantization))
    return tensors


def _net_name(name: str) -> str:
    found = identifier(name, "net")
    return f"{found}_net" if found in library_names() or found in KEYWORDS else found


def _text(net: str, graph: Graph, two: Graph | None, program: Program) -> str:
    names: dict[Var, str] = {}
    taken = {*library_names(), *KEYWORDS, *(b.name for b in program.blocks), net}
    inputs: list[str] = []
    others = two.inputs if two is not None else graph.inputs
    for var, value, other in zip(program.body.params, graph.inputs, others, strict=True):
        base = identifier(value.name or "input", "input")
        names[var] = free(base if base not in library_names() else f"{base}_input", taken)
        taken.add(names[var])
        inputs.append(f"{names[var]}: {_type(value, other)}")
    head = "\n".join(folded(f"net {net}({', '.join(inputs)})", "    "))
    result = output_names(graph) if len(graph.results) > 1 or _is_record(graph) else ()
    fields = result if result and all(re.fullmatch(r"[A-Za-z_]\w*", n) and n not in KEYWORDS for n in result) else None
    parts = [*map(block_text, program.blocks), definition(head, program.body, names, fields)]
    settings = graph.attributes.get("preprocess")
    return "\n".join([*parts, preprocess_text(net, settings)] if settings else parts)


def _is_record(graph: Graph) -> bool:
    """Whether a `.net` file gave its only output a name."""
    return "format" not in graph.attributes and bool(output_names(graph))


def _type(value: Value, other: Value) -> str:
    """The type of an input, whose batch is `N` where it is another in the graph for two samples."""
    quantization = value.type.quantization
    if quantization is not None and not quantization.is_per_tensor:
        raise UnsayableError(f"the language has no input with several scales, such as `{value.name}`: {value.type}")
    sizes = zip(value.type.shape, other.type.shape, strict=True)
    shape = ", ".join(str(a) if a == b else "N" if a == 1 else f"{a} * N" for a, b in sizes)
    return f"{value.type.dtype}[{shape}]{quantization or ''}"

"""Control flow: conditions that are known choose a graph; loops of known length are scans, or are written out.

A scan has one body for all turns. A loop is written out where what is known in its body differs from turn to turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....compiler.graph.ir import Value
from ....compiler.ops.regions.scan import Scanned, cut_out
from ..node import Node
from ..registry import onnx
from ..values import ReportedError, Tensor, UnsupportedError

MOST_TURNS = 1 << 12
"""Most turns of a loop that are written out."""
MOST_COUNTED = 1 << 20
"""Most turns of a loop that is a scan over their numbers. Files give the largest integer where a condition decides."""


def _body(c: Node, graph: Any, given: list[Tensor]) -> list[Tensor]:
    """The outputs of a graph in a node, whose inputs stand for what is given."""
    if c.scope.depth >= 32:
        c.unsupported("graphs lie in each other too deep")
    inner = c.scope.inner()
    inner.place = f"{c.scope.place}, in a graph of {c.proto.op_type}" + (f" `{c.proto.name}`" if c.proto.name else "")
    for info, tensor in zip(graph.input, given, strict=False):
        inner.names[info.name] = Tensor(info.name, tensor.array, tensor.value, tensor.sources, tensor.items)
    before = len(c.converter.problems)
    outputs = c.converter.convert(graph, inner)
    found = [tensor for tensor in outputs if tensor is not None]
    if len(c.converter.problems) > before or len(found) < len(outputs):
        raise ReportedError("")
    return found


@onnx("If")
def if_(c: Node) -> tuple[Any, ...]:
    """The outputs of one of two graphs; of both, where the condition isn't known and they have the same types."""
    first, second = c.needed("then_branch"), c.needed("else_branch")
    known = c.known(0)
    if known is not None:
        return tuple(_body(c, first if known.reshape(-1)[0] else second, []))
    try:
        pairs = list(zip(_body(c, first, []), _body(c, second, []), strict=True))
    except ValueError:
        c.unsupported("its graphs have different numbers of outputs")
    if any(t.items is not None or t.is_missing for pair in pairs for t in pair) or any(
        a.type != b.type for a, b in pairs
    ):
        c.constant(0)
    condition = c.reshape(c.value(0), ())
    return tuple(c.emit("select", condition, c.value_of(a), c.value_of(b)) for a, b in pairs)


def _joined(c: Node, parts: list[Tensor], axis: int = 0, *, reverse: bool = False) -> Value | Any:
    """Tensors of all turns along a new axis."""
    if reverse:
        parts = parts[::-1]
    if all(part.array is not None for part in parts):
        return np.stack([part.array for part in parts if part.array is not None], axis)
    values = []
    for part in parts:
        shape = list(part.type.shape)
        place = axis % (len(shape) + 1)
        values.append(c.reshape(c.value_of(part), (*shape[:place], 1, *shape[place:])))
    return values[0] if len(values) == 1 else c.emit("concat", *values, axis=axis)


@onnx("Loop")
def loop(c: Node) -> tuple[Any, ...]:
    """A graph, turn by turn; how many turns there are must be known."""
    graph = c.needed("body")
    limit = int(c.one(0)) if c.has(0) else None
    goes_on = bool(c.one(1)) if c.has(1) else True
    state = [c.tensor(i) for i in range(2, c.count)]
    if goes_on and limit is not None and 1 < limit <= MOST_COUNTED:
        counted = [Tensor("", np.arange(limit, dtype=np.int64))]
        done = _looped(c, counted, state, lambda state, now: _turn_that_goes_on(c, graph, [*now, *state]))
        if done is not None:
            return (*done.states, *done.stacked)
    columns: list[list[Tensor]] = [[] for _ in range(len(graph.output) - 1 - len(state))]
    turn = 0
    while goes_on and (limit is None or turn < limit):
        if turn >= MOST_TURNS:
            c.unsupported(f"a loop of more than {MOST_TURNS} turns is not supported")
        given = [Tensor("", np.array(turn, np.int64)), Tensor("", np.array(True)), *state]
        condition, *results = _body(c, graph, given)
        if condition.array is None:
            raise UnsupportedError(f"whether turn {turn + 1} follows must be known when the file is read")
        goes_on = bool(condition.array.reshape(-1)[0])
        state, scanned = results[: len(state)], results[len(state) :]
        for column, tensor in zip(columns, scanned, strict=True):
            column.append(tensor)
        turn += 1
    if not turn and columns:
        c.unsupported("a loop without a turn has no outputs of turns")
    return (*state, *(_joined(c, column) for column in columns))


def _turn_that_goes_on(c: Node, graph: Any, given: Sequence[Tensor]) -> list[Tensor]:
    """What a turn of a loop gives behind its condition, which must be known to hold."""
    number, *state = given
    condition, *results = _body(c, graph, [number, Tensor("", np.array(True)), *state])
    if condition.array is None or not condition.array.all():
        c.unsupported("whether another turn follows isn't known")
    return results


def _looped(
    c: Node,
    scanned: Sequence[Tensor],
    state: Sequence[Tensor],
    turn: Callable[[Sequence[Tensor], Sequence[Tensor]], Sequence[Tensor]],
    *,
    reverse: bool = False,
) -> Scanned | None:
    """A scan over tensors [T, ...]; None where a turn must know more than it is given, or changes a state's type."""

    def step(states: Sequence[Value], now: Sequence[Value]) -> tuple[Sequence[Value], Sequence[Value]]:
        sources = frozenset[str]().union(*(t.sources for t in (*state, *scanned)))
        given = [[Tensor("", value=v, sources=sources) for v in values] for values in (states, now)]
        results = [c.value_of(t) for t in turn(*given)]
        after = results[: len(states)]
        if any(a.type.dense() != b.type.dense() for a, b in zip(after, states, strict=True)):
            c.unsupported("a state changes its type")
        return after, results[len(states) :]

    with c.attempt():
        return cut_out(c.builder, step, *([c.value_of(t) for t in ts] for ts in (state, scanned)), reverse=reverse)
    return None


@onnx("Scan", since=9)
def scan(c: Node) -> tuple[Any, ...]:
    """A graph for each element along axes of the inputs."""
    graph, count = c.needed("body"), int(c.needed("num_scan_inputs"))
    start = c.count - count
    state = [c.tensor(i) for i in range(start)]
    outputs = len(graph.output) - start
    axes = [c.axis(a, c.type(start + i).rank) for i, a in enumerate(c.attribute("scan_input_axes", (0,) * count))]
    backward = tuple(c.attribute("scan_input_directions", (0,) * count))
    turned = tuple(c.attribute("scan_output_directions", (0,) * outputs))
    out_axes = tuple(c.attribute("scan_output_axes", (0,) * outputs))
    return _scanned(c, graph, state, list(zip(axes, backward, strict=True)), list(zip(out_axes, turned, strict=True)))


@onnx("Scan", since=8)
def scan_in_batches(c: Node) -> tuple[Any, ...]:
    """A graph for each element along the second axis of the inputs, for each sample."""
    graph, count = c.needed("body"), int(c.needed("num_scan_inputs"))
    backward = tuple(c.attribute("directions", (0,) * count))
    if c.has(0):
        c.unsupported("its form with lengths of sequences is not supported")
    start = c.count - count
    batch = c.shape(start)[0]
    found: list[list[Tensor]] = []
    for sample in range(batch):
        state = [_element(c, c.tensor(i), 0, sample) for i in range(1, start)]
        scanned = [_element(c, c.tensor(i), 0, sample) for i in range(start, c.count)]
        outputs = len(graph.output) - len(state)
        results = _turns(c, graph, state, scanned, [(0, b) for b in backward], [(0, 0)] * outputs)
        found.append([r if isinstance(r, Tensor) else _tensor(r) for r in results])
    return tuple(_joined(c, [row[i] for row in found]) for i in range(len(graph.output)))


def _tensor(result: Any) -> Tensor:
    return Tensor("", value=result) if isinstance(result, Value) else Tensor("", result)


def _scanned(
    c: Node, graph: Any, state: list[Tensor], ins: list[tuple[int, int]], outs: list[tuple[int, int]]
) -> tuple[Any, ...]:
    scanned = [c.tensor(c.count - len(ins) + i) for i in range(len(ins))]
    return _turns(c, graph, state, scanned, ins, outs)


def _turns(
    c: Node,
    graph: Any,
    state: list[Tensor],
    scanned: list[Tensor],
    ins: list[tuple[int, int]],
    outs: list[tuple[int, int]],
) -> tuple[Any, ...]:
    """The last states, and what all turns gave, in the order of (axis, direction)."""
    lengths = {t.type.shape[axis] for t, (axis, _) in zip(scanned, ins, strict=True)}
    if len(lengths) != 1 or not 1 <= max(lengths) <= MOST_TURNS:
        c.unsupported(f"a scan of {sorted(lengths)} turns is not supported")
    (length,) = lengths
    directions = {bool(way) for _, way in (*ins, *outs)}
    if length > 1 and len(directions) == 1 and all(t.items is None and not t.is_missing for t in state):
        fronted = [_with_first(c, c.value_of(t), axis) for t, (axis, _) in zip(scanned, ins, strict=True)]
        sequences = [Tensor("", value=v, sources=t.sources) for v, t in zip(fronted, scanned, strict=True)]
        done = _looped(
            c, sequences, state, lambda state, now: _body(c, graph, [*state, *now]), reverse=True in directions
        )
        if done is not None:
            stacked = zip(done.stacked, outs, strict=True)
            return (*done.states, *(_with_first_at(c, v, axis) for v, (axis, _) in stacked))
    columns: list[list[Tensor]] = [[] for _ in outs]
    for turn in range(length):
        given = [
            _element(c, t, axis, length - 1 - turn if back else turn)
            for t, (axis, back) in zip(scanned, ins, strict=True)
        ]
        results = _body(c, graph, [*state, *given])
        state = results[: len(state)]
        for column, tensor in zip(columns, results[len(state) :], strict=True):
            column.append(tensor)
    joined = (_joined(c, column, axis, reverse=bool(back)) for column, (axis, back) in zip(columns, outs, strict=True))
    return (*state, *joined)


def _with_first(c: Node, x: Value, axis: int) -> Value:
    """X with an axis before all others."""
    return c.transpose(x, (axis, *(d for d in range(x.type.rank) if d != axis)))


def _with_first_at(c: Node, x: Value, axis: int) -> Value:
    """X with its first axis at another place."""
    rest = list(range(1, x.type.rank))
    place = axis % x.type.rank
    return c.transpose(x, (*rest[:place], 0, *rest[place:]))


def _element(c: Node, tensor: Tensor, axis: int, place: int) -> Tensor:
    """One element along an axis."""
    if tensor.array is not None:
        return Tensor("", tensor.array.take(place, axis))
    x = c.value_of(tensor)
    begin = tuple(place if d == axis else 0 for d in range(x.type.rank))
    size = tuple(1 if d == axis else s for d, s in enumerate(x.type.shape))
    part = c.emit("slice", x, begin=begin, size=size)
    return Tensor("", value=c.reshape(part, size[:axis] + size[axis + 1 :]), sources=tensor.sources)

"""Normalisation of flattened values, as exporters write it, as normalisation of the values themselves."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ..graph.builder import Rewriter, rewritten
from ..graph.ir import Graph, Operation, Value
from ..ops.functions.elementwise import BinaryOperator
from ..ops.gradients import reshaped
from ..ops.moves.axes import Permutation, groups_of, inverse
from ..ops.moves.shape import Concat, Reshape, Transpose
from ..ops.reductions.normalize import Normalize
from .dce import dce


def with_whole_normalizations(graph: Graph) -> Graph:
    """The graph without reshapes that merge the dimensions which a normalisation is about, and split them behind it.

    Before::

        %0 = reshape(%x) {shape = [1,1,48]}
        %1 = normalize(%0) {axes = [2]}
        %2 = reshape(%1) {shape = [1,3,4,4]}

    After::

        %0 = normalize(%x) {axes = [1,2,3]}

    Where channels, in front, are split into groups that are merged with what is behind them, and come from an operation
    that has them last, they are normalised as such.

    Before::

        %0 = transpose(%x) {permutation = [0,3,1,2]} : f32[1,8,4,4]
        %1 = reshape(%0) {shape = [1,2,64]}
        %2 = normalize(%1) {axes = [2]}
        %3 = reshape(%2) {shape = [1,8,4,4]}

    After::

        %0 = transpose(%x) {permutation = [0,3,1,2]} : f32[1,8,4,4]
        %1 = transpose(%0) {permutation = [0,2,3,1]} : f32[1,4,4,8]
        %2 = normalize(%1) {axes = [1,2,3], groups = 2}
        %3 = transpose(%2) {permutation = [0,3,1,2]} : f32[1,8,4,4]
    """
    found = rewritten(graph, partial(_unflattened, graph))
    return graph if found is graph else dce(found)


def _unflattened(graph: Graph, b: Rewriter, op: Operation) -> Value | None:
    """What stands for the last reshape; numbers may be added or multiplied before it."""
    if not isinstance(op.operator, Reshape):
        return None
    flat, steps = op.operands[0], list[Operation]()
    while (step := _only_reader(graph, flat)) is not None and isinstance(step.operator, BinaryOperator):
        inner = [v for v in step.operands if v.type.shape == flat.type.shape]
        if len(inner) != 1:
            return None
        steps.insert(0, step)
        flat = inner[0]
    if step is None or not isinstance(step.operator, Normalize) or step.attributes["groups"] != 1:
        return None
    source = graph.producers.get(step.operands[0])
    if source is None or not isinstance(source.operator, Reshape) or source.operands[0].type != op.result.type:
        return None
    return _over_all(b, source, step, steps) or _over_groups(graph, b, source, step, steps)


def _over_all(b: Rewriter, source: Operation, step: Operation, steps: Sequence[Operation]) -> Value | None:
    """Normalisation over whole dimensions of what is flattened; single numbers follow."""
    x, flat = source.operands[0], step.result
    if any(v.type.size != 1 and v.type.shape != flat.type.shape for binary in steps for v in binary.operands):
        return None
    axes = _axes_before(x.type.shape, flat.type.shape, _axes(step))
    if not axes:
        return None
    value = b.emit("normalize", b[x], **{**step.attributes, "axes": axes}, location=step.location)
    for binary in steps:
        operands = [value if v.type.size != 1 else b.emit("reshape", b[v], shape=()) for v in binary.operands]
        value = b.operation(binary.operator, operands, binary.attributes, location=binary.location).result
    return value


def _only_reader(graph: Graph, value: Value) -> Operation | None:
    """What makes a value that is read once."""
    return graph.producers.get(value) if graph.has_one_use(value) else None


def _axes(step: Operation) -> tuple[int, ...]:
    operator = step.operator
    assert isinstance(operator, Normalize)
    return operator.axes(step.result.type.rank, step.attributes)


def _axes_before(old: tuple[int, ...], new: tuple[int, ...], axes: tuple[int, ...]) -> tuple[int, ...]:
    """The dimensions that a reshape makes these of; none where it makes others of them, too."""
    found: list[int] = []
    for merged, parts in groups_of(old, new):
        moved = [d in axes for d in parts if new[d] != 1]
        if any(moved):
            if not all(moved):
                return ()
            found += merged
    return tuple(sorted(found))


# ---- groups of channels ----------------------------------------------------------------------------------------------


def _over_groups(
    graph: Graph, b: Rewriter, source: Operation, step: Operation, steps: Sequence[Operation]
) -> Value | None:
    """Normalisation of groups of channels, the second dimension; what follows has a number for all or each group."""
    x, flat = source.operands[0], step.result
    shape = x.type.shape
    if len(shape) < 2 or flat.type.rank != 3 or _axes(step) != (2,) or flat.type.shape[0] != shape[0]:
        return None
    groups, channels = flat.type.shape[1], shape[1]
    others = [v for binary in steps for v in binary.operands if v.type.shape != flat.type.shape]
    if channels % groups or not all(_is_for_groups(v, groups) for v in others) or not _has_channels_last(graph, x):
        return None
    last = (0, *range(2, len(shape)), 1)
    attributes = {**step.attributes, "axes": tuple(range(1, len(shape))), "groups": groups}
    value = b.emit("normalize", _turned(b, b[x], last), **attributes, location=step.location)
    for binary in steps:
        operands = [value if v.type.shape == flat.type.shape else _each(b, b[v], channels) for v in binary.operands]
        value = b.operation(binary.operator, operands, binary.attributes, location=binary.location).result
    return _turned(b, value, inverse(last))


def _turned(b: Rewriter, value: Value, permutation: Permutation) -> Value:
    return b.emit("transpose", value, permutation=permutation) if value.type.rank > 2 else value


def _is_for_groups(value: Value, groups: int) -> bool:
    """True for one number, or one for each group that broadcasts against [N,groups,M]."""
    shape = value.type.shape
    return value.type.size == 1 or (len(shape) > 1 and shape[-2:] == (groups, 1) and value.type.size == groups)


def _each(b: Rewriter, value: Value, channels: int) -> Value:
    """The numbers of groups, for each of their channels."""
    if value.type.size == 1:
        return reshaped(b, value, ())
    groups = value.type.size
    wide = b.emit("broadcast_to", reshaped(b, value, (groups, 1)), shape=(groups, channels // groups))
    return reshaped(b, wide, (channels,))


def _has_channels_last(graph: Graph, x: Value) -> bool:
    """True if an operation with channels last makes a value, or what is added and joined to be this value."""
    seen, waiting = {x}, [x]
    while waiting:
        value = waiting.pop()
        maker = graph.producers.get(value)
        if maker is None or value.type.rank != x.type.rank:
            continue
        if isinstance(maker.operator, Transpose):
            rank = x.type.rank
            if maker.attributes["permutation"] == (0, rank - 1, *range(1, rank - 1)):
                return True
        elif maker.operator.elementwise or isinstance(maker.operator, Concat):
            new = [v for v in maker.operands if v not in seen]
            seen.update(new)
            waiting += new
    return x.type.rank == 2

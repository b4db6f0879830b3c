"""Elements that are picked by places known beforehand, so that axes may stand in any order around them.

Padding, reshapes and slices that shift each row by another step (relative positions of attention) tie dimensions
together; `take_along_axis` leaves each its own axis. Two gathers along neighbouring axes (windows that overlap, as
`unfold` makes them) become one, whose places may be numbered in any order.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from ..graph.builder import Rewriter, rewritten
from ..graph.interpreter import evaluate_operation
from ..graph.ir import Array, Graph, Operation, Value
from ..ops.gradients import reshaped
from ..ops.moves.axes import Permutation, is_identity, spread
from ..ops.moves.indexing import Gather
from ..ops.moves.shape import BroadcastTo, Pad, Reshape, Slice, Transpose
from .dce import dce
from .product_axes import with_one_reshape

NEAR = 3
"""Most operations between rows and the transpose that they are picked for."""


def with_picked_elements(graph: Graph) -> Graph:
    """The graph with elements picked by places beside transposes; this one where none are."""
    start = graph
    for pattern in (_picked_rows, _merged_gather, _turned_places):
        while (found := rewritten(graph, partial(pattern, graph))) is not graph:
            graph = dce(found)
    return graph if graph is start else with_one_reshape(graph)


# ---- rows ------------------------------------------------------------------------------------------------------------


def _picked_rows(graph: Graph, b: Rewriter, op: Operation) -> Value | None:
    """What stands for the last slice of a chain that shifts rows.

    Before::

        %0 = pad(%x) {padding = [[0,0],[0,0],[0,1]]} : f32[9,4,8]          // %x: f32[9,4,7]
        %1 = reshape(%0) {shape = [9,32]}
        %2 = pad(%1) {padding = [[0,0],[0,3]]} : f32[9,35]
        %3 = reshape(%2) {shape = [9,5,7]}
        %4 = slice(%3) {begin = [0,0,3], size = [9,4,4]}

    After::

        %0 = constant {value = dense<[[[3,4,5,6],[2,3,4,5],[1,2,3,4],[0,1,2,3]], ...]>}
        %4 = take_along_axis(%x, %0) : f32[9,4,4]
    """
    if not isinstance(op.operator, Slice) or not _is_before_transpose(graph, op.result, NEAR):
        return None
    chain = _chain(graph, op)
    x = chain[0].operands[0]
    if sum(isinstance(o.operator, Reshape) for o in chain) < 2 or x.type.rank != 3 or op.result.type.rank != 3:
        return None
    count, rows, columns = x.type.shape
    numbers = np.arange(rows * columns, dtype=np.int32).reshape(1, rows, columns)
    for step in chain:
        (numbers,) = evaluate_operation(_with_attributes(step, _of_one(step)), (numbers,))
    found = numbers[0]
    if found.shape[0] != rows or found.min(initial=0) < 0 or (found // columns != np.arange(rows)[:, None]).any():
        return None
    before = graph.producers.get(x)
    if before is not None and isinstance(before.operator, Reshape):
        source = before.operands[0]
        if source.type.layout is None and source.type.shape[-2:] == (rows, columns):
            x = source
    places = np.broadcast_to(found % columns, (*x.type.shape[:-2], *found.shape))
    picked = b.emit(
        "take_along_axis", b[x], b.constant(np.ascontiguousarray(places), op.location), axis=-1, location=op.location
    )
    return reshaped(b, picked, (count, *found.shape))


def _chain(graph: Graph, op: Operation) -> list[Operation]:
    """Pads, reshapes and slices up to this one that leave the first dimension alone, each read by the next one only."""
    chain = [op]
    while (before := graph.producers.get(chain[0].operands[0])) is not None:
        if not _leaves_first(before) or len(graph.users[before.result]) != 1 or before.result in graph.outputs:
            break
        chain.insert(0, before)
    while chain and chain[0] is not op and isinstance(chain[0].operator, Reshape):
        chain.pop(0)
    return chain


def _leaves_first(op: Operation) -> bool:
    if not isinstance(op.operator, Pad | Reshape | Slice):
        return False
    old, new = op.operands[0].type, op.result.type
    plain = all(t.layout is None and t.quantization is None and t.size for t in (old, new))
    return plain and bool(old.rank and new.rank) and old.shape[0] == new.shape[0]


def _of_one(op: Operation) -> dict[str, Any]:
    """The attributes with which a step treats one number of the first dimension; what it pads with is no number."""
    match op.operator:
        case Reshape():
            return {"shape": (1, *op.result.type.shape[1:])}
        case Slice():
            return {"size": (1, *op.attributes["size"][1:])}
        case _:
            return {"value": -1}


def _with_attributes(op: Operation, changed: Mapping[str, Any]) -> Operation:
    return Operation(op.operator, op.operands, {**op.attributes, **changed}, op.results)


def _is_before_transpose(graph: Graph, value: Value, steps: int) -> bool:
    """True if a transpose reads a value, or what a few reshapes and broadcasts make of it."""
    users = graph.users[value]
    if any(isinstance(user.operator, Transpose) for user in users):
        return True
    views = [user for user in users if isinstance(user.operator, Reshape | BroadcastTo)]
    return steps > 0 and any(_is_before_transpose(graph, user.result, steps - 1) for user in views)


# ---- gathers ---------------------------------------------------------------------------------------------------------


def _places(graph: Graph, op: Operation | None) -> Array | None:
    """The known places of a gather; None for other operations."""
    if op is None or not isinstance(op.operator, Gather) or op.attributes["batch_dims"]:
        return None
    maker = graph.producers.get(op.operands[1])
    plain = all(v.type.layout is None and v.type.quantization is None for v in (op.operands[0], op.result))
    return maker.attributes["value"] if plain and maker is not None and maker.name == "constant" else None


def _merged_gather(graph: Graph, b: Rewriter, op: Operation) -> Value | None:
    """One gather in place of two along neighbouring axes, between which there may be a transpose."""
    second = _places(graph, op)
    if second is None:
        return None
    before = graph.producers.get(op.operands[0])
    turn: Permutation = tuple(range(op.operands[0].type.rank))
    if before is not None and isinstance(before.operator, Transpose) and graph.has_one_use(before.result):
        turn = before.attributes["permutation"]
        before = graph.producers.get(before.operands[0])
    first = _places(graph, before)
    if first is None or before is None or not graph.has_one_use(before.result):
        return None
    x = before.operands[0]
    one, behind = before.attributes["axis"] % x.type.rank, turn[op.attributes["axis"] % len(turn)]
    if behind != one + first.ndim or not first.ndim or not second.ndim:  # not the axis next to it
        return None
    low, high = (x.type.shape[d] for d in (one, one + 1))
    known = [np.where(p < 0, p + n, p).astype(np.int64) for p, n in ((first, low), (second, high))]
    if any(p.size and not 0 <= p.min() <= p.max() < n for p, n in zip(known, (low, high), strict=True)):
        return None
    merged = np.add.outer(known[0] * high, known[1])
    flat = reshaped(b, b[x], (*x.type.shape[:one], low * high, *x.type.shape[one + 2 :]))
    places = b.constant(merged.astype(np.int32), op.location)
    found = b.emit("gather", flat, places, axis=one, location=op.location)
    order = [d for axis in turn for d in spread(axis, behind, second.ndim)]
    return found if is_identity(tuple(order)) else b.emit("transpose", found, permutation=tuple(order))


def _turned_places(graph: Graph, b: Rewriter, op: Operation) -> Value | None:
    """A gather in the order of its places that a transpose behind it wants, where these stay neighbours."""
    if not isinstance(op.operator, Transpose):
        return None
    gather = graph.producers.get(op.operands[0])
    places = _places(graph, gather)
    if gather is None or places is None or places.ndim < 2 or not graph.has_one_use(gather.result):
        return None
    permutation: Permutation = op.attributes["permutation"]
    axis = gather.attributes["axis"] % gather.operands[0].type.rank
    own = range(axis, axis + places.ndim)
    where = [i for i, d in enumerate(permutation) if d in own]
    turn = tuple(permutation[i] - axis for i in where)
    if where != list(range(where[0], where[0] + len(where))) or is_identity(turn):
        return None
    turned = b.constant(np.ascontiguousarray(places.transpose(turn)), op.location)
    found = b.emit("gather", b[gather.operands[0]], turned, axis=axis, location=gather.location)
    rest = list(permutation)
    rest[where[0] : where[0] + len(where)] = own
    return found if is_identity(tuple(rest)) else b.emit("transpose", found, permutation=tuple(rest))

"""soft_non_max_suppression: boxes by falling scores, which overlaps with better ones lower.

Source: Bodla, Singh, Chellappa, Davis, "Soft-NMS: improving object detection with one line of code" (2017), as the
kernel of TFLite's NON_MAX_SUPPRESSION_V4 and V5 has it. That kernel keeps candidates in a binary heap, and of equal
scores takes the one that its heap has on top. So the heap is part of the meaning; it is that of C++'s `priority_queue`
in GNU's library: what takes the place of the top sinks to the bottom first, and rises from there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Operation, Operator
from ...graph.registry import register
from ...loops.compute import Procedure
from ...loops.ir import (
    Allocate,
    Binary,
    Buffer,
    Cast,
    Const,
    Expr,
    For,
    If,
    Load,
    Select,
    Space,
    Stmt,
    Store,
    Unary,
    Var,
    binary,
    maximum,
    minimum,
)
from ...types import DType, TensorType
from ..facets import INTEGER, PERMUTED, TFLITE, TfliteForm
from .candidates import area_of, check_boxes, in_order, shared_area, side_in_order, write_chosen

MOST_BOXES = {DType.F16: 2048, DType.F32: 50_000, DType.F64: 50_000}
"""Twelve bytes for each of them lie on the stack; as results, their numbers must be floats."""
HERE = (Const(0),)


@register
class SoftNonMaxSuppression(Operator):
    """Numbers and scores of boxes [N, 4] by falling scores [N], f32 [count, 2]; then -1 and 0.

    A box that overlaps a chosen one by `iou_threshold` or more is left out. Otherwise, if `sigma` is above 0, its score
    is multiplied by exp(-overlap^2 / (2 sigma)) for each of them. Corners of boxes may stand in any order.
    """

    name = "soft_non_max_suppression"
    operands = ("boxes", "scores")
    attributes = {
        "count": AttributeSpec(int, "boxes that are chosen, at most"),
        "iou_threshold": AttributeSpec(float, "intersection over union from which on boxes are left out", 0.5),
        "score_threshold": AttributeSpec(float, "boxes with scores up to this are left out", 0.0),
        "sigma": AttributeSpec(float, "how little overlaps lower scores; 0 for not at all", 0.0),
    }
    non_differentiable = "which boxes are chosen changes in steps"
    procedural = True
    floats_only = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        boxes, scores = operands
        check_boxes(self, operands, attributes)
        most = MOST_BOXES.get(scores.dtype, 0)
        if boxes.shape[0] > most:
            raise ShapeError(
                f"soft_non_max_suppression takes at most {most} boxes of {scores.dtype}, not {boxes.shape[0]}",
                hint="take the best ones",
            )
        return (TensorType(scores.dtype, (attributes["count"], 2)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        boxes, scores = operands
        real, count = scores.dtype.type, attributes["count"]
        iou, least = real(attributes["iou_threshold"]), real(attributes["score_threshold"])
        corners = in_order(boxes)
        now, begin, chosen = scores.copy(), [0] * len(scores), list[int]()
        result = np.tile(np.array([-1, 0], scores.dtype), (count, 1))
        heap = _Heap(now)
        for i in np.flatnonzero(scores > least):
            heap.push(int(i))
        limit = min(len(heap.places), count)
        while len(chosen) < limit and heap.places:
            box = heap.pop()
            score, is_out = now[box], False
            for other in reversed(chosen[begin[box] :]):
                overlap = _overlap(corners[box], corners[other])
                if overlap >= iou:
                    is_out = True
                    break
                if attributes["sigma"] > 0:
                    score = score * real(np.exp(np.float64(real(_factor(attributes)) * overlap * overlap)))
                if score <= least:
                    break
            begin[box], is_same, now[box] = len(chosen), score == now[box], score
            if is_out:
                continue
            if is_same:
                result[len(chosen)] = box, score
                chosen.append(box)
            if score > least:
                heap.push(box)
        return (result,)

    def procedure(self, p: Procedure, attributes: Attributes) -> list[Stmt]:
        count, dtype = attributes["count"], p.result.dtype

        def clear(o: Expr) -> list[Stmt]:
            return [p.store((o, Const(0)), Const(-1.0, dtype)), p.store((o, Const(1)), Const(0.0, dtype))]

        clears = p.loop("o", count, clear)
        return [*clears, *_Loops(p, attributes).statements()] if count and p.type(1).shape[0] else clears


def _factor(attributes: Attributes) -> float:
    """What the square of an overlap is multiplied by."""
    return -0.5 / float(np.float32(attributes["sigma"]))


def _overlap(a: Array, b: Array) -> Any:
    """Intersection over union of two boxes by their corners; 0 if one of them is empty."""
    areas = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    if areas[0] <= 0 or areas[1] <= 0:
        return a.dtype.type(0)
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    shared = sides[0] * sides[1]
    return shared / (areas[0] + areas[1] - shared)


class _Heap:
    """Places in a heap whose top has the highest score."""

    def __init__(self, scores: Array) -> None:
        self.scores, self.places = scores, list[int]()

    def push(self, place: int) -> None:
        """Add a place."""
        self.places.append(place)
        self._rise(len(self.places) - 1, place)

    def pop(self) -> int:
        """Take the top out."""
        top, last = self.places[0], self.places.pop()
        count, hole = len(self.places), 0
        if not count:
            return top
        while hole < (count - 1) // 2:
            child = 2 * hole + 2
            child -= self.scores[self.places[child]] < self.scores[self.places[child - 1]]
            self.places[hole], hole = self.places[child], child
        if 2 * hole + 2 == count:
            self.places[hole], hole = self.places[count - 1], count - 1
        self._rise(hole, last)
        return top

    def _rise(self, hole: int, place: int) -> None:
        while hole and self.scores[self.places[(hole - 1) // 2]] < self.scores[place]:
            self.places[hole], hole = self.places[(hole - 1) // 2], (hole - 1) // 2
        self.places[hole] = place


@dataclass
class _Loops:
    """The statements of `evaluate`; loops that end early there do nothing here in the rounds that are left."""

    p: Procedure
    attributes: Attributes

    def __post_init__(self) -> None:
        p = self.p
        self.size, self.count, self.dtype = p.type(1).shape[0], int(self.attributes["count"]), p.result.dtype
        self.least = float(self.attributes["score_threshold"])
        self.heap, self.begin = (p.local(name, DType.I32, (self.size,)) for name in ("heap", "begin"))
        self.now = p.local("now", self.dtype, (self.size,))
        self.chosen = p.local("chosen", DType.I32, (self.count,))
        names = ("length", "number", "limit", "hole", "goes")
        registers = [Buffer(p.fresh(name), DType.I64, (1,), Space.REGISTER) for name in names]
        self.length, self.number, self.limit, self.hole, self.goes = registers
        self.score = Buffer(p.fresh("score"), self.dtype, (1,), Space.REGISTER)
        self.memory = [self.heap, self.begin, self.now, self.chosen, *registers, self.score]

    def statements(self) -> list[Stmt]:
        """All of them."""
        block: list[Stmt] = [Allocate(buffer) for buffer in self.memory]
        block += [_set(r, Const(0)) for r in (self.length, self.number, self.hole, self.goes)]
        block += [_set(self.score, Const(0.0, self.dtype)), *self.p.loop("i", self.size, self.enter)]
        block.append(_set(self.limit, minimum(_get(self.length), self.count)))
        # Each step chooses a candidate, takes it out for good, or lowers its score, which waits for another choice.
        rounds = min(self.count, self.size) + 2 if self.attributes["sigma"] > 0 else 2
        return [*block, *self.p.loop("round", rounds, lambda _: self.p.loop("step", self.size, lambda _: self.step()))]

    def enter(self, i: Expr) -> list[Stmt]:
        """Make box i a candidate."""
        block: list[Stmt] = []
        score = self.p.let(block, "given", self.p.load(1, (i,)))
        block += [Store(self.now, (i,), score), Store(self.begin, (i,), Const(0, DType.I32))]
        return [*block, If(binary("lt", self.least, score), tuple(self.push(i, score)))]

    def step(self) -> list[Stmt]:
        """Look at the candidate with the highest score."""
        block: list[Stmt] = []
        box = self.p.let(block, "box", self.at(0))
        before = self.p.let(block, "before", Load(self.now, (box,)))
        block += [*self.pop(), _set(self.score, before), _set(self.goes, Const(1))]
        block += self.compare(box)
        number = self.p.let(block, "so_far", _get(self.number))
        score = self.p.let(block, "after", _get(self.score))
        block += [Store(self.begin, (box,), Cast(number, DType.I32)), Store(self.now, (box,), score)]
        place = maximum(minimum(number, self.count - 1), 0)
        take: list[Stmt] = [
            Store(self.chosen, (place,), Cast(box, DType.I32)),
            self.p.store((place, Const(0)), Cast(box, self.dtype)),
            self.p.store((place, Const(1)), score),
            _set(self.number, number + 1),
        ]
        is_same, stays = binary("eq", score, before), binary("lt", self.least, score)
        ends = (If(is_same, tuple(take)), If(stays, tuple(self.push(box, score))))
        block.append(If(binary("le", Const(0), _get(self.goes)), ends))
        is_left = Binary("and", binary("lt", _get(self.number), _get(self.limit)), binary("lt", 0, _get(self.length)))
        return [If(is_left, tuple(block))]

    def compare(self, box: Expr) -> list[Stmt]:
        """Lower a score by overlaps with the boxes chosen, the last one first; `goes` is 0 at its end, -1 for none."""
        block: list[Stmt] = []
        corners = [self.p.let(block, "side", side_in_order(self.p, box, d)) for d in range(4)]
        area = self.p.let(block, "area", area_of(corners))
        number = self.p.let(block, "chosen_yet", _get(self.number))
        begin = self.p.let(block, "from", Cast(Load(self.begin, (box,)), DType.I64))

        def visit(back: Expr) -> list[Stmt]:
            inner: list[Stmt] = []
            place = maximum(minimum(number - 1 - back, self.count - 1), 0)
            other = self.p.let(inner, "other", self.inside(Load(self.chosen, (place,))))
            sides = [self.p.let(inner, "side", side_in_order(self.p, other, d)) for d in range(4)]
            overlap = self.p.let(inner, "overlap", self.overlap(corners, area, sides))
            is_out = binary("le", float(self.attributes["iou_threshold"]), overlap)
            inner.append(If(is_out, (_set(self.goes, Const(-1)),), tuple(self.lower(overlap))))
            return [If(binary("lt", 0, _get(self.goes)), tuple(inner))]

        name = self.p.fresh("back")
        return [*block, For(name, Const(0), number - begin, tuple(visit(Var(name))))]

    def lower(self, overlap: Expr) -> list[Stmt]:
        """Multiply the score by what an overlap leaves of it."""
        block: list[Stmt] = []
        if self.attributes["sigma"] > 0:
            power = Const(_factor(self.attributes), self.dtype) * overlap * overlap
            left = _cast(Unary("exp", _cast(power, DType.F64)), self.dtype)  # rounded once, as the C library's is
            block.append(_set(self.score, _get(self.score) * left))
        return [*block, If(binary("le", _get(self.score), self.least), (_set(self.goes, Const(0)),))]

    def overlap(self, a: list[Var], area: Expr, b: list[Var]) -> Expr:
        """Intersection over union; 0 if a box is empty."""
        shared, other = shared_area(a, b), area_of(b)
        is_empty = Binary("or", binary("le", area, 0.0), binary("le", other, 0.0))
        return Select(is_empty, Const(0.0, self.dtype), shared / (area + other - shared))

    # ---- the heap ----

    def inside(self, box: Expr) -> Expr:
        """A box's number, which is in bounds."""
        return maximum(minimum(Cast(box, DType.I64), self.size - 1), 0)

    def at(self, place: Expr | int) -> Expr:
        """The box at a place of the heap."""
        spot = Const(place) if isinstance(place, int) else maximum(minimum(place, self.size - 1), 0)
        return self.inside(Load(self.heap, (spot,)))

    def put(self, place: Expr, box: Expr) -> Stmt:
        """Write a place of the heap."""
        return Store(self.heap, (maximum(minimum(place, self.size - 1), 0),), Cast(box, DType.I32))

    def push(self, box: Expr, score: Expr) -> list[Stmt]:
        """Add a box."""
        begins = [_set(self.hole, _get(self.length)), _set(self.length, _get(self.length) + 1)]
        return [*begins, *self.rise(box, score)]

    def pop(self) -> list[Stmt]:
        """Take the top out."""
        block: list[Stmt] = []
        count = self.p.let(block, "rest", _get(self.length) - 1)
        last = self.p.let(block, "last", self.at(count))
        block += [_set(self.length, count), _set(self.hole, Const(0))]
        block += self.p.loop("sink", self.size.bit_length(), lambda _: self.sink(count))
        hole = self.p.let(block, "bottom", _get(self.hole))
        lone = [self.put(hole, self.at(count - 1)), _set(self.hole, count - 1)]
        block.append(If(binary("eq", hole * 2 + 2, count), tuple(lone)))
        return [*block, *self.rise(last, Load(self.now, (last,)))]

    def sink(self, count: Expr) -> list[Stmt]:
        """Move the hole to the child with the higher score, if there are two."""
        block: list[Stmt] = []
        hole = self.p.let(block, "top", _get(self.hole))
        right, left = (self.p.let(block, "child", self.at(hole * 2 + k)) for k in (2, 1))
        is_left = binary("lt", Load(self.now, (right,)), Load(self.now, (left,)))
        moves = [
            self.put(hole, Select(is_left, left, right)),
            _set(self.hole, hole * 2 + Select(is_left, Const(1), Const(2))),
        ]
        return [If(binary("lt", _get(self.hole) * 2 + 2, count), (*block, *moves))]

    def rise(self, box: Expr, score: Expr) -> list[Stmt]:
        """Put a box where the hole is, and lower scores above it into its place."""

        def climb(_: Expr) -> list[Stmt]:
            block: list[Stmt] = []
            hole = self.p.let(block, "bottom", _get(self.hole))
            above = self.p.let(block, "above", (hole - 1) // 2)
            parent = self.p.let(block, "parent", self.at(above))
            is_lower = Binary("and", binary("lt", 0, hole), binary("lt", Load(self.now, (parent,)), score))
            return [*block, If(is_lower, (self.put(hole, parent), _set(self.hole, above)))]

        return [*self.p.loop("rise", self.size.bit_length(), climb), self.put(_get(self.hole), box)]


def _get(register: Buffer) -> Expr:
    return Load(register, HERE)


def _set(register: Buffer, value: Expr) -> Stmt:
    return Store(register, HERE, value)


def _cast(value: Expr, dtype: DType) -> Expr:
    return value if value.type.dtype is dtype else Cast(value, dtype)


def _write(c: Any, op: Operation) -> None:
    """NON_MAX_SUPPRESSION_V5, whose numbers end with zeros; -1 goes in their place."""
    given, count, place = op.attributes, op.attributes["count"], c.names[op.result]
    real = op.result.type.dtype
    if real is not DType.F32:
        c.fail(op, f"TFLite's {op.name} takes f32, not {real}", "cast the boxes and scores")
    names = ("count", "iou_threshold", "score_threshold", "sigma")
    numbers = [np.int32(count), *(np.float32(given[name]) for name in names[1:])]
    constants = [c.constant(np.array(n), f"{op.name}/{name}") for n, name in zip(numbers, names, strict=True)]
    whole, flat = TensorType(DType.I32, (count,)), TensorType(real, (count,))
    kinds = {"chosen": whole, "scores": flat, "number": TensorType(DType.I32, ())}
    chosen, scores, number = (c.intermediate(kind, f"{place}/{name}") for name, kind in kinds.items())
    boxes = [c.place(v) for v in op.operands]
    c.node("NON_MAX_SUPPRESSION_V5", [*boxes, *constants], [chosen, scores, number], "NonMaxSuppressionV5Options")
    places, floats = c.intermediate(whole, f"{place}/places"), c.intermediate(flat, f"{place}/floats")
    write_chosen(c, op, chosen, number, places)
    c.node("CAST", [places], [floats], "CastOptions")
    c.node("PACK", [floats, scores], [c.result(op)], "PackOptions", values_count=2, axis=1)


INTEGER.none("its results are positions, which stay integers", SoftNonMaxSuppression)
TFLITE.add(TfliteForm(_write, "NON_MAX_SUPPRESSION_V5"), SoftNonMaxSuppression)
PERMUTED.none("boxes stand in rows", SoftNonMaxSuppression)

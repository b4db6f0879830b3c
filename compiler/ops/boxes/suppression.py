"""non_max_suppression: of boxes that overlap, the one with the highest score.

Each choice depends on all before it, so the operator states its loop itself. Source: torchvision.ops.nms, of which it
has the overlap (intersection over union, more than the threshold); ties go to the lower index.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Operation, Operator, Value
from ...graph.registry import register
from ...loops.compute import Procedure
from ...loops.ir import (
    Allocate,
    Binary,
    Buffer,
    Cast,
    Const,
    Expr,
    If,
    Load,
    Select,
    Space,
    Stmt,
    Store,
    binary,
    maximum,
    minimum,
)
from ...types import DType, TensorType
from ..expressions import Formula
from ..facets import INTEGER, PERMUTED, TFLITE, TfliteForm
from ..layer import LayerBuilder, layer
from .candidates import area_of, check_boxes, in_order, shared_area, side_in_order, write_chosen

MOST_BOXES = 100_000
"""A byte for each of them lies on the stack."""


@register
class NonMaxSuppression(Operator):
    """Indices of boxes [N, 4] by falling scores [N], none overlapping one before it: i32 [count], then -1."""

    name = "non_max_suppression"
    operands = ("boxes", "scores")
    attributes = {
        "count": AttributeSpec(int, "boxes that are chosen, at most"),
        "iou_threshold": AttributeSpec(float, "boxes overlap whose intersection over union is more than this", 0.5),
        "score_threshold": AttributeSpec(float, "boxes with scores up to this aren't chosen", -math.inf),
        "any_corners": AttributeSpec(bool, "corners may stand in any order, as in TFLite and ONNX", False),
    }
    non_differentiable = "its results are positions"
    procedural = True
    floats_only = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        boxes, _ = operands
        check_boxes(self, operands, attributes)
        if boxes.shape[0] > MOST_BOXES:
            raise ShapeError(
                f"non_max_suppression takes at most {MOST_BOXES} boxes, not {boxes.shape[0]}", hint="take the best ones"
            )
        return (TensorType(DType.I32, (attributes["count"],)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        boxes, scores = operands
        if attributes["any_corners"]:
            boxes = in_order(boxes)
        chosen: list[int] = []
        left = scores > attributes["score_threshold"]
        areas = _area(boxes)
        threshold = boxes.dtype.type(attributes["iou_threshold"])
        while left.any() and len(chosen) < attributes["count"]:
            best = int(np.argmax(np.where(left, scores, -np.inf)))
            chosen.append(best)
            corner, far = np.maximum(boxes[best, :2], boxes[:, :2]), np.minimum(boxes[best, 2:], boxes[:, 2:])
            shared = np.prod(np.maximum(far - corner, 0), axis=1, dtype=boxes.dtype)
            left &= ~(shared / (areas[best] + areas - shared) > threshold)
            left[best] = False
        return (np.array(chosen + [-1] * (attributes["count"] - len(chosen)), np.int32),)

    def procedure(self, p: Procedure, attributes: Attributes) -> list[Stmt]:
        count = p.type(0).shape[0]
        here, dtype = (Const(0),), p.type(1).dtype
        left = p.local("left", DType.I8, (count,))
        best = Buffer(p.fresh("best"), dtype, (1,), Space.REGISTER)
        found, last = (Buffer(p.fresh(name), DType.I64, (1,), Space.REGISTER) for name in ("found", "last"))
        minus_one = Const(-1)
        if not count:
            return p.loop("o", attributes["count"], lambda o: [p.store((o,), Const(-1, DType.I32))])

        def side(i: Expr, d: int) -> Expr:
            return side_in_order(p, i, d) if attributes["any_corners"] else p.load(0, (i, Const(d)))

        def begin(i: Expr) -> list[Stmt]:
            passes = binary("lt", float(attributes["score_threshold"]), p.load(1, (i,)))
            return [Store(left, (i,), Select(passes, Const(1, DType.I8), Const(0, DType.I8)))]

        def compare(i: Expr, overlaps: Expr) -> list[Stmt]:
            score = p.load(1, (i,))
            is_better = Binary("or", binary("lt", Load(found, here), 0), binary("lt", Load(best, here), score))
            drop = Store(left, (i,), Const(0, DType.I8))
            take = If(is_better, (Store(best, here, score), Store(found, here, i)))
            return [If(overlaps, (drop,), (take,))]

        def choose(o: Expr) -> list[Stmt]:
            block: list[Stmt] = []
            previous = p.let(block, "previous", Load(last, here))
            known = p.let(block, "box", maximum(minimum(previous, count - 1), 0))
            corners = [p.let(block, "side", side(known, d)) for d in range(4)]
            area = p.let(block, "area", area_of(corners))

            def visit(i: Expr) -> list[Stmt]:
                inner: list[Stmt] = []
                other = [p.let(inner, "other", side(i, d)) for d in range(4)]
                shared = p.let(inner, "shared", shared_area(corners, other))
                overlap = shared / (area + area_of(other) - shared)
                is_more = binary("lt", float(attributes["iou_threshold"]), overlap)
                overlaps = p.let(inner, "overlaps", Binary("and", binary("le", Const(0), previous), is_more))
                stays = binary("ne", Load(left, (i,)), Const(0, DType.I8))
                return [If(stays, (*inner, *compare(i, overlaps)))]

            block += [Store(best, here, Const(0.0, dtype)), Store(found, here, minus_one)]
            block += p.loop("i", count, visit)
            chosen = p.let(block, "chosen", Load(found, here))
            gone = Store(left, (maximum(minimum(chosen, count - 1), 0),), Const(0, DType.I8))
            is_some = binary("le", Const(0), chosen)
            return [*block, p.store((o,), Cast(chosen, DType.I32)), Store(last, here, chosen), If(is_some, (gone,))]

        start = [Allocate(left), Allocate(best), Allocate(found), Allocate(last), Store(last, here, minus_one)]
        return [*start, *p.loop("b", count, begin), *p.loop("o", attributes["count"], choose)]


def _area(boxes: Array) -> Array:
    area: Array = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return area


def _write(c: Any, op: Operation) -> None:
    """NON_MAX_SUPPRESSION_V4, which ends with zeros, and -1 in their place.

    TFLite's overlap begins at the threshold, netc's behind it.
    """
    given, count = op.attributes, op.attributes["count"]
    if not given["any_corners"]:
        c.fail(op, f"TFLite's {op.name} takes corners in any order", "say any_corners = true if boxes are never empty")
    above = np.nextafter(np.float32(given["iou_threshold"]), np.float32(np.inf))
    numbers = (np.int32(count), above, np.float32(given["score_threshold"]))
    names = ("count", "iou_threshold", "score_threshold")
    constants = [c.constant(np.array(n), f"{op.name}/{name}") for n, name in zip(numbers, names, strict=True)]
    place, kind = c.names[op.result], op.result.type
    chosen, number = (
        c.intermediate(kind, f"{place}/chosen"),
        c.intermediate(TensorType(DType.I32, ()), f"{place}/number"),
    )
    boxes = [c.place(v) for v in op.operands]
    c.node("NON_MAX_SUPPRESSION_V4", [*boxes, *constants], [chosen, number], "NonMaxSuppressionV4Options")
    write_chosen(c, op, chosen, number, c.result(op))


INTEGER.none("its results are positions, which stay integers", NonMaxSuppression)
TFLITE.add(TfliteForm(_write, "NON_MAX_SUPPRESSION_V4"), NonMaxSuppression)
PERMUTED.none("boxes stand in rows", NonMaxSuppression)


@layer("batched_nms")
def batched_nms(
    b: LayerBuilder,
    boxes: Value,
    scores: Value,
    classes: Value,
    count: int,
    iou_threshold: float = 0.5,
    score_threshold: float = -math.inf,
) -> Value:
    """non_max_suppression of boxes [N, 4] in which those of different classes [N] don't overlap: i32 [count].

    As in torchvision, boxes are moved apart by more than the largest coordinate for each class.
    """
    if classes.type.shape != scores.type.shape or not boxes.type.dtype.is_float or boxes.type.rank != 2:
        given_types = f"{boxes.type}, {scores.type} and {classes.type}"
        raise ShapeError(f"batched_nms takes boxes [N, 4], scores and classes [N], not {given_types}")
    given = Formula(b, boxes)
    step = given.emit("reduce_max") + 1
    moved = given + (Formula(b, classes).cast(str(boxes.type.dtype)) * step).reshape(boxes.type.shape[0], 1)
    rules = {"count": count, "iou_threshold": float(iou_threshold), "score_threshold": float(score_threshold)}
    return moved.emit("non_max_suppression", Formula(b, scores), **rules).value

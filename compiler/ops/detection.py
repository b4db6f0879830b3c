"""detection_postprocess: boxes, classes and scores of what an SSD network found.

It is TFLite's custom operator TFLite_Detection_PostProcess. Source: TensorFlow Lite's kernels/detection_postprocess.cc.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import NetcError, ShapeError
from ..graph.ir import Attributes, Builder, Emits, Operation, Value
from ..types import DType
from .expressions import Formula, stacked
from .layer import layer
from .opaque import computes


@layer("detection_postprocess")
def detection_postprocess(
    b: Emits,
    encodings: Value,
    scores: Value,
    anchors: Value,
    count: int,
    classes: int,
    iou_threshold: float = 0.6,
    score_threshold: float = 0.0,
    scales: tuple[int | float, ...] = (10, 10, 5, 5),
    regular: bool = False,
    per_class: int = 100,
) -> tuple[Value, ...]:
    """Boxes f32 [1, count, 4], classes and scores f32 [1, count] and their number f32 [1] of an SSD network.

    Encodings [1, N, 4 or more] and anchors [N, 4] are (y, x, h, w), boxes (y1, x1, y2, x2); scores are [1, N, classes],
    or one more for the background, in front. A box must have a score of at least `score_threshold` and must not overlap
    a better one by more than `iou_threshold`: whatever their best classes are, or, if `regular`, for each class by
    itself, of which up to `per_class` are taken. Behind the boxes found stand zeros.
    """
    places = _check(encodings, scores, anchors, count, classes, scales, per_class)
    boxes = _decoded(b, encodings, anchors, scales)
    first = scores.type.shape[-1] - classes
    shares = b.emit("slice", scores, begin=(0, 0, first), size=(1, places, classes))
    each = Formula(b, b.emit("reshape", shares, shape=(places, classes)))
    lowest = float(np.nextafter(np.float32(score_threshold), np.float32(-math.inf)))  # scores that equal it count
    rules = {"iou_threshold": float(iou_threshold), "score_threshold": lowest}
    if regular:
        found = _of_each_class(boxes, each, count, min(per_class, count), rules)
    else:
        found = _of_best_classes(boxes, each, count, rules)
    chosen, of, score, is_found = found
    zero = boxes.constant(0.0)
    picked = boxes.emit("gather", chosen.maximum(0), axis=0)
    wide = b.emit("reshape", is_found, shape=(count, 1))
    return (
        picked.where(wide, zero).reshape(1, count, 4).value,
        of.where(is_found, zero).reshape(1, count).value,
        score.where(is_found, zero).reshape(1, count).value,
        Formula(b, b.emit("cast", is_found, dtype="f32")).emit("reduce_sum", axes=(0,), keepdims=True).value,
    )


Found = tuple[Formula, Formula, Formula, Value]
"""For each result the place of its box, its class, its score, and whether there is one."""


def _check(
    encodings: Value,
    scores: Value,
    anchors: Value,
    count: int,
    classes: int,
    scales: tuple[int | float, ...],
    per_class: int,
) -> int:
    """The number of boxes; raises `ShapeError` for what doesn't fit."""
    shapes = [v.type.shape for v in (encodings, scores, anchors)]
    places = anchors.type.shape[0] if anchors.type.rank else 0
    fits = all(v.type.dtype is DType.F32 for v in (encodings, scores, anchors)) and shapes[2] == (places, 4)
    fits = fits and all(len(s) == 3 and s[:2] == (1, places) for s in shapes[:2]) and shapes[0][-1] >= 4
    if not fits or not places:
        given = ", ".join(str(v.type) for v in (encodings, scores, anchors))
        raise ShapeError(f"detection_postprocess takes f32 [1, N, 4], [1, N, classes] and anchors [N, 4], not {given}")
    if classes < 1 or scores.type.shape[-1] - classes not in (0, 1):
        raise ShapeError(f"detection_postprocess: {scores.type} are no scores of {classes} classes")
    if count < 1 or per_class < 1 or len(scales) != 4 or any(not 0 < s < math.inf for s in scales):
        raise ShapeError("detection_postprocess takes a count and four scales above 0")
    return places


def _decoded(b: Emits, encodings: Value, anchors: Value, scales: tuple[int | float, ...]) -> Formula:
    """Boxes [N, 4] by their corners."""
    given, around = Formula(b, encodings), Formula(b, anchors)
    count = anchors.type.shape[0]
    moves = [given.column(d).reshape(count) / float(scale) for d, scale in enumerate(scales)]
    y, x, height, width = (around.column(d) for d in range(4))
    middle_y, middle_x = moves[0] * height + y, moves[1] * width + x
    half_h, half_w = (move.emit("exp") * 0.5 * side for move, side in ((moves[2], height), (moves[3], width)))
    return stacked([middle_y - half_h, middle_x - half_w, middle_y + half_h, middle_x + half_w], axis=-1)


def _of_best_classes(boxes: Formula, scores: Formula, count: int, rules: dict[str, float]) -> Found:
    best = scores.emit("reduce_max", axes=(1,))
    kind = scores.emit("argmax", axis=1).cast("f32")
    chosen = boxes.emit("non_max_suppression", best, count=count, **rules)
    inside = chosen.maximum(0)
    is_found = boxes.b.emit("greater_equal", chosen.value, chosen.constant(0).value)
    return chosen, kind.emit("gather", inside, axis=0), best.emit("gather", inside, axis=0), is_found


def _of_each_class(boxes: Formula, scores: Formula, count: int, most: int, rules: dict[str, float]) -> Found:
    b, classes = boxes.b, scores.shape[1]
    chosen, shares = [], []
    for number in range(classes):
        share = scores.column(number)
        places = boxes.emit("non_max_suppression", share, count=most, **rules)
        is_found = b.emit("greater_equal", places.value, places.constant(0).value)
        chosen.append(places)
        shares.append(share.emit("gather", places.maximum(0), axis=0).where(is_found, -math.inf))
    places, all_shares = stacked(chosen).reshape(-1), stacked(shares).reshape(-1)
    kinds = all_shares.constant(np.repeat(np.arange(classes), most))
    if classes * most < count:
        padding = {"padding": ((0, count - classes * most),)}
        places, kinds = places.emit("pad", **padding), kinds.emit("pad", **padding)
        all_shares = all_shares.emit("pad", value=-math.inf, **padding)
    best = all_shares.emit("top_k_values", k=count)
    order = all_shares.emit("top_k_indices", k=count)
    is_found = b.emit("greater", best.value, best.constant(-math.inf).value)
    return places.emit("gather", order, axis=0), kinds.emit("gather", order, axis=0), best, is_found


# ---- as a custom operator of TFLite files ---------------------------------------------------------------------------


def _options(attributes: Attributes) -> Mapping[str, Any]:
    from flatbuffers import flexbuffers  # for files that have the operator

    data = attributes["options"]
    try:
        options = flexbuffers.Loads(b"" if data is None else data.tobytes())
    except Exception as error:  # whatever damaged bytes lead to
        raise NetcError(f"its options can't be read: {error}") from None
    if not isinstance(options, dict) or not all(isinstance(v, int | float) for v in options.values()):
        raise NetcError("its options are no numbers by name")
    return options


def _floats(b: Builder, value: Value) -> Value:
    """An operand in floats: if it is quantized, what it stands for."""
    if value.type.dtype is DType.F32:
        return value
    if value.type.dtype is not DType.U8 or value.type.quantization is None:
        raise NetcError(f"its form for {value.type} is not supported")
    return b.emit("dequantize", value, x=value.type.quantization)


def _custom(b: Builder, op: Operation, operands: tuple[Value, ...]) -> tuple[Value, ...]:
    """Boxes, classes, scores and their number; of each box one class."""
    options = _options(op.attributes)
    needed = ("max_detections", "num_classes", "nms_iou_threshold", "nms_score_threshold")
    sides = tuple(f"{side}_scale" for side in "yxhw")
    if missing := [name for name in (*needed, *sides) if name not in options]:
        raise NetcError(f"it has no option `{missing[0]}`")
    if options.get("max_classes_per_detection", 1) != 1:
        raise NetcError("several classes for each box are not supported")
    if len(operands) != 3 or len(op.results) != 4 or operands[0].type.dtype is not operands[2].type.dtype:
        raise NetcError(f"its form for {', '.join(str(v.type) for v in operands)} is not supported")
    encodings, scores, anchors = (_floats(b, value) for value in operands)
    return detection_postprocess(
        b,
        encodings,
        scores,
        anchors,
        count=int(options["max_detections"]),
        classes=int(options["num_classes"]),
        iou_threshold=float(options["nms_iou_threshold"]),
        score_threshold=float(options["nms_score_threshold"]),
        scales=tuple(float(options[side]) for side in sides),
        regular=bool(options.get("use_regular_nms", False)),
        per_class=int(options.get("detections_per_class", 100)),
    )


computes(_custom, "TFLite_Detection_PostProcess")

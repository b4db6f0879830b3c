"""detection_postprocess: boxes, classes and scores of what an SSD network found.

It is TFLite's custom operator TFLite_Detection_PostProcess. Source: TensorFlow Lite's kernels/detection_postprocess.cc.
"""

from __future__ import annotations

import math

import numpy as np

from ...errors import NetcError, ShapeError
from ...graph.ir import Emits, Value
from ...types import DType
from ..custom import CustomCall, custom_operator
from ..expressions import Formula, stacked
from ..layer import layer


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
    per_box: int = 1,
) -> tuple[Value, ...]:
    """Boxes f32 [1, count, 4], classes and scores f32 [1, count] and their number f32 [1] of an SSD network.

    Encodings [1, N, 4 or more] and anchors [N, 4] are (y, x, h, w), boxes (y1, x1, y2, x2); scores are [1, N, classes],
    or one more for the background, in front. A box must have a score of at least `score_threshold` and must not overlap
    a better one by more than `iou_threshold`: whatever their best classes are, or, if `regular`, for each class by
    itself, of which up to `per_class` are taken. Behind the boxes found stand zeros.

    With `per_box` above 1 there is room for so many times as many. Unless `regular`, each box then stands there so
    often, with its best classes (zeros where there are fewer), but the number counts it once.
    """
    places = _check(encodings, scores, anchors, count, classes, scales, min(per_class, per_box))
    boxes = _decoded(b, encodings, anchors, scales)
    first = scores.type.shape[-1] - classes
    shares = b.emit("slice", scores, begin=(0, 0, first), size=(1, places, classes))
    each = Formula(b, b.emit("reshape", shares, shape=(places, classes)))
    lowest = float(np.nextafter(np.float32(score_threshold), np.float32(-math.inf)))  # scores that equal it count
    rules = {"iou_threshold": float(iou_threshold), "score_threshold": lowest}
    if regular:
        found = _of_each_class(boxes, each, count, min(per_class, count), rules)
        room = (count * per_box, 1)
    else:
        found = _of_best_classes(boxes, each, count, min(per_box, classes), rules)
        room = (count, per_box)
    chosen, of, score, is_found = found
    copies = of.shape[1]
    picked = boxes.emit("gather", chosen.maximum(0), axis=0).reshape(count, 1, 4).broadcast(count, copies, 4)
    kept = [_with_room(part, is_found, room) for part in (picked, of, score)]
    number = Formula(b, b.emit("cast", is_found, dtype="f32")).emit("reduce_sum", axes=(0,), keepdims=True)
    return (
        kept[0].reshape(1, count * per_box, 4).value,
        *(part.reshape(1, count * per_box).value for part in kept[1:]),
        number.value,
    )


Found = tuple[Formula, Formula, Formula, Value]
"""For each of `count` results the place of its box, its classes and their scores, and whether there is one."""


def _with_room(part: Formula, is_found: Value, room: tuple[int, int]) -> Formula:
    """Results [count, copies, ...] with zeros for those that aren't found, and behind them up to [room, ...]."""
    shape = part.shape
    there = Formula(part.b, is_found).reshape(shape[0], *(1 for _ in shape[1:])).value
    padding = tuple((0, room[d] - n if d < 2 else 0) for d, n in enumerate(shape))
    return part.where(there, part.constant(0.0)).emit("pad", padding=padding)


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


def _of_best_classes(boxes: Formula, scores: Formula, count: int, most: int, rules: dict[str, float]) -> Found:
    best = scores.emit("reduce_max", axes=(1,))
    chosen = boxes.emit("non_max_suppression", best, count=count, **rules)
    inside = chosen.maximum(0)
    is_found = boxes.b.emit("greater_equal", chosen.value, chosen.constant(0).value)
    of_chosen = scores.emit("gather", inside, axis=0)
    order = of_chosen.emit("top_k_indices", k=most)
    return chosen, order.cast("f32"), of_chosen.emit("top_k_values", k=most), is_found


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
    of, score = kinds.emit("gather", order, axis=0), best
    return places.emit("gather", order, axis=0), of.reshape(count, 1), score.reshape(count, 1), is_found


# ---- as a custom operator of TFLite files ---------------------------------------------------------------------------


def _floats(call: CustomCall, place: int) -> Value:
    """An operand in floats: if it is quantized, what it stands for."""
    value = call.operands[place]
    if value.type.dtype is DType.F32:
        return value
    if value.type.dtype is not DType.U8 or value.type.quantization is None:
        raise NetcError(f"its form for {value.type} is not supported")
    return call.emit("dequantize", value, x=value.type.quantization)


@custom_operator("TFLite_Detection_PostProcess")
def _custom(call: CustomCall) -> tuple[Value, ...]:
    """Boxes, classes, scores and their number."""
    operands = call.operands
    count, classes = (int(call.number(name)) for name in ("max_detections", "num_classes"))
    limits = {f"{name}_threshold": float(call.number(f"nms_{name}_threshold")) for name in ("iou", "score")}
    scales = tuple(float(call.number(f"{side}_scale")) for side in "yxhw")
    is_fit = len(operands) == 3 and operands[0].type.dtype is operands[2].type.dtype
    if not is_fit or len(call.operation.results) != 4:
        raise NetcError(f"its form for {', '.join(str(v.type) for v in operands)} is not supported")
    encodings, scores, anchors = (_floats(call, place) for place in range(3))
    return detection_postprocess(
        call.builder,
        encodings,
        scores,
        anchors,
        count=count,
        classes=classes,
        scales=scales,
        regular=bool(call.number("use_regular_nms", False)),
        per_class=int(call.number("detections_per_class", 100)),
        per_box=int(call.number("max_classes_per_detection", 1)),
        **limits,
    )

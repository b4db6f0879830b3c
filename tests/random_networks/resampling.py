"""Resizing, and sampling at places between elements."""

from __future__ import annotations

from typing import Any

from netc.compiler.graph import Value
from netc.compiler.ops.pictures.sampling import COORDINATES, ROUNDINGS
from netc.compiler.types import DType

from .maker import FLOATS, Maker
from .recipes import recipe
from .structure import NUMBERS


def _rules(m: Maker, spatial: int, mode: str) -> dict[str, Any]:
    rules: dict[str, Any] = {"mode": mode, "coordinates": m.choice(COORDINATES[:3])}
    if mode == "nearest":
        rules["rounding"] = m.choice(ROUNDINGS)
    elif mode != "area" and m.flag(3):
        rules["antialias"] = True
    elif mode != "area" and m.flag(3):
        rules["exclude_outside"] = True
    if mode == "cubic" and m.flag():
        rules["coefficient"] = -0.5
    if mode != "area" and m.flag(4):
        rules["scales"] = tuple(m.choice((1.5, 2.0, 0.6)) for _ in range(spatial))
    return rules


@recipe("resize")
def resize(m: Maker, name: str) -> Value:
    mode = m.choice(("linear", "nearest", "cubic", "area"))
    kinds = NUMBERS if mode == "nearest" else FLOATS
    spatial = m.choice((2, 1, 3))
    x = m.operand(kinds, fits=lambda t: t.rank == spatial + 2 and 0 not in t.shape, shape=lambda: m.image(spatial))
    size = tuple(m.choice((3, 1, 4, 5)) for _ in range(spatial))
    return m.emit(name, x, size=size, **_rules(m, spatial, mode))


@recipe("resize_gradient")
def resize_gradient(m: Maker, name: str) -> Value:
    x = m.operand(FLOATS, fits=lambda t: t.rank == 4 and 0 not in t.shape, shape=m.image)
    size = (m.choice((3, 1, 4, 5)), m.choice((2, 1, 7)))
    return m.emit(name, x, input_size=size, **_rules(m, 2, m.choice(("linear", "nearest", "cubic", "area"))))


@recipe("interpolate")
def interpolate(m: Maker, name: str) -> Value:
    x = m.operand(FLOATS[:2], fits=lambda t: t.rank > 0 and 0 not in t.shape, shape=lambda: m.shape((2, 3, 4)))
    axis = m.number(-x.type.rank, x.type.rank - 1)
    taps = (m.choice((3, 1, 5)), m.choice((2, 1, 4)))
    places = m.leaf(DType.I32, taps, str(x.type.shape[axis]))
    return m.emit(name, x, places, m.leaf(x.type.dtype, taps), axis=axis)


@recipe("weighted_gather", "weighted_scatter", "gathered_dot")
def weighted(m: Maker, name: str) -> Value:
    first = m.operand(FLOATS[:2], fits=lambda t: t.rank == 2 and 0 not in t.shape, shape=lambda: m.shape((2,)))
    (rows, channels), kind = first.type.shape, first.type.dtype
    taps = (m.choice((2, 1, 4)), rows if name == "weighted_scatter" else m.choice((3, 1, 7)))
    places = m.leaf(DType.I32, taps, "5" if name == "weighted_scatter" else str(rows))
    if name == "gathered_dot":
        return m.emit(name, first, places, m.leaf(kind, (taps[1], channels)))
    extra = {"rows": m.choice((5, 6))} if name == "weighted_scatter" else {}
    return m.emit(name, first, places, m.leaf(kind, taps), **extra)


def _aligned(m: Maker) -> dict[str, Any]:
    return {
        "size": (m.choice((2, 1)), m.choice((3, 1))),
        "spatial_scale": m.choice((1.0, 0.5)),
        "sampling_ratio": m.choice((-1, 2)),
        "aligned": m.flag(),
    }


@recipe("roi_align", "roi_align_max", "roi_align_gradient")
def roi_align(m: Maker, name: str) -> Value:
    rules, count = _aligned(m), m.choice((2, 1))
    if name != "roi_align_gradient":
        x = m.operand(FLOATS[:2], fits=lambda t: t.rank == 4 and 0 not in t.shape, shape=m.image)
    else:
        kind = m.dtype(FLOATS[:2])
        x = m.leaf(kind, (count, *rules["size"], m.choice((3, 1, 17))))
        rules["input_shape"] = (2, m.choice((4, 1)), m.choice((3, 5)))
    # Gradients go to x alone: where they are compared with differences, nothing moves the boxes.
    kinds = ("constant",) if m.settings.smooth else ("input", "param", "constant")
    boxes = m.leaf(x.type.dtype, (count, 4), "6", kinds=kinds)
    return m.emit(name, x, boxes, m.leaf(DType.I32, (count,), "2"), **rules)


@recipe("non_max_suppression")
def non_max_suppression(m: Maker, name: str) -> Value:
    count, kind = m.choice((5, 1, 9)), m.dtype(FLOATS)
    boxes, scores = m.leaf(kind, (count, 4), "8"), m.leaf(kind, (count,), "9")
    rules = {"iou_threshold": m.choice((0.5, 0.25)), "score_threshold": m.choice((-1.0, 4.0))}
    rules["any_corners"] = m.flag()
    return m.emit(name, boxes, scores, count=m.choice((3, 6)), **rules)


@recipe("soft_non_max_suppression")
def soft_non_max_suppression(m: Maker, name: str) -> Value:
    count, kind = m.choice((5, 1, 9)), m.dtype(FLOATS)
    boxes, scores = m.leaf(kind, (count, 4), "8"), m.leaf(kind, (count,), "9")
    rules = {
        "iou_threshold": m.choice((0.5, 0.25)),
        "score_threshold": m.choice((-1.0, 4.0)),
        "sigma": m.choice((0.0, 0.5)),
    }
    return m.emit(name, boxes, scores, count=m.choice((3, 6)), **rules)

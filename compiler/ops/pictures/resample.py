"""Resizing by all rules of ONNX and PyTorch: `resize` of [N, spatial..., C], its adjoint, and the layer of this name.

TFLite's two kernels, which have integer forms, stand in `resize`; the layer takes them where they mean the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...errors import ShapeError, near_miss
from ...graph.ir import Array, Attribute, Attributes, AttributeSpec, Builder, Emits, Operation, Operator, Scales, Value
from ...graph.registry import register
from ...loops.compute import Compute
from ...loops.ir import Cast, Expr, Unary, maximum, minimum
from ...types import DType, TensorType
from ..facets import INTEGER, PERMUTED, TFLITE
from ..layer import LayerBuilder, layer
from .interpolate import in_order, interpolated, multiplied
from .sampling import (
    COORDINATES,
    MODES,
    ROUNDINGS,
    Affine,
    Taps,
    affine,
    antialias_taps,
    area_taps,
    interpolation_taps,
    nearest,
    nearest_taps,
)

RULES = {
    "scales": AttributeSpec(tuple, "result / operand for each spatial dimension; empty: the ratios of the sizes", ()),
    "mode": AttributeSpec(str, "nearest, linear, cubic or area", "linear"),
    "coordinates": AttributeSpec(str, "where results lie: " + ", ".join(COORDINATES), "half_pixel"),
    "rounding": AttributeSpec(str, "of nearest: " + ", ".join(ROUNDINGS), "floor"),
    "coefficient": AttributeSpec(float, "slope of the cubic kernel at its neighbours", -0.75),
    "exclude_outside": AttributeSpec(bool, "elements outside don't count; else the border stands for them", False),
    "antialias": AttributeSpec(bool, "results that are larger than elements see all of these", False),
}
_FLOATS = (DType.F32, DType.F64, DType.F16)


def check_rules(name: str, x: TensorType, old: Sequence[int], size: Sequence[int], rules: Attributes) -> None:
    """Raise `ShapeError` unless [N, old..., C] can be resized to `size` by these rules."""
    if not 3 <= x.rank <= 5 or len(size) != x.rank - 2 or len(old) != len(size) or min(*old, *size) < 1:
        raise ShapeError(f"{name} can't bring {list(old)} to {list(size)} for {x}: it takes [N, spatial..., C]")
    scales = rules["scales"]
    if len(scales) not in (0, len(size)) or any(not (0 < s < math.inf) for s in scales):
        raise ShapeError(
            f"{name}: scales {list(scales)} don't give a number above 0 for each of {len(size)} dimensions"
        )
    for key, known in (("mode", MODES), ("coordinates", COORDINATES), ("rounding", ROUNDINGS)):
        if rules[key] not in known:
            hint = near_miss(rules[key], known) or "known: " + ", ".join(known)
            raise ShapeError(f'{name} knows no {key} "{rules[key]}"', hint=hint)
    if rules["mode"] != "nearest" and x.dtype not in _FLOATS:
        raise ShapeError(f"{name} mixes floats, not {x}", hint='cast it, or use mode = "nearest"')
    if rules["antialias"] and rules["mode"] not in ("linear", "cubic"):
        raise ShapeError(f"{name}: antialias goes with linear and cubic, not with {rules['mode']}")


def _rule(rules: Attributes, d: int, size: int, target: int, dtype: Any) -> Affine:
    scales = rules["scales"]
    return affine(rules["coordinates"], size, target, scales[d] if scales else 0.0, dtype)


def taps_of(rules: Attributes, old: Sequence[int], new: Sequence[int], dtype: DType) -> dict[int, Taps]:
    """Axis of [N, spatial..., C] -> its taps. Positions are computed in the type of the elements, of halves in f32."""
    kind = DType.F64.numpy if dtype is DType.F64 else DType.F32.numpy
    return {d + 1: _taps(rules, d, size, target, kind) for d, (size, target) in enumerate(zip(old, new, strict=True))}


def _taps(rules: Attributes, d: int, size: int, target: int, kind: Any) -> Taps:
    mode = rules["mode"]
    if mode == "area":
        return area_taps(size, target)
    if mode == "nearest":
        return nearest_taps(nearest(_rule(rules, d, size, target, "f4"), rules["rounding"], size, target), size)
    rule, slope = _rule(rules, d, size, target, kind), rules["coefficient"]
    if rules["antialias"]:
        return antialias_taps(rule, mode, size, target, slope)
    outside = rules["exclude_outside"]
    return interpolation_taps(rule, mode, size, target, kind, coefficient=slope, exclude_outside=outside)


def apply_taps(x: Array, taps: dict[int, Taps]) -> Array:
    """`interpolate.interpolated` in NumPy."""
    y = x.astype(DType.F32.numpy) if x.dtype == DType.F16.numpy else x
    for axis in in_order(taps):
        y = taps[axis].apply(y, axis)
    return y.astype(x.dtype)


@register
class ResizeAny(Operator):
    """x [N, spatial..., C] to [N, size..., C], one to three spatial dimensions, by any rule of ONNX and PyTorch."""

    name = "resize"
    operands = ("x",)
    attributes = {"size": AttributeSpec(tuple, "spatial size of the result"), **RULES}
    keeps_quantization = True
    scales = Scales.OPERAND
    anchor = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,), size = operands, attributes["size"]
        check_rules(self.name, x, x.shape[1:-1], size, attributes)
        return (TensorType(x.dtype, (x.shape[0], *size, x.shape[-1])),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,), size = operands, attributes["size"]
        if attributes["mode"] == "nearest":
            return (take_nearest(x, size, attributes),)
        return (apply_taps(x, taps_of(attributes, x.shape[1:-1], size, DType.of(x.dtype))),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value | None:
        (x,) = operands
        if attributes["mode"] == "nearest":
            return None
        return interpolated(b, x, taps_of(attributes, x.type.shape[1:-1], attributes["size"], x.type.dtype))

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value | None:
        (x,) = operands
        if x.type.dtype is not DType.F32:
            return None
        return multiplied(b, x, taps_of(attributes, x.type.shape[1:-1], attributes["size"], x.type.dtype))

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        return load_nearest(c, index, attributes["size"], attributes)

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (x,) = op.operands
        rules = {key: op.attributes[key] for key in RULES}
        return (b.emit("resize_gradient", cotangents[0], input_size=x.type.shape[1:-1], **rules),)


def take_nearest(x: Array, size: Sequence[int], rules: Attributes) -> Array:
    """The nearest elements of x [N, spatial..., C]."""
    for d, target in enumerate(size):
        old = x.shape[d + 1]
        x = x.take(nearest(_rule(rules, d, old, target, "f4"), rules["rounding"], old, target), d + 1)
    return x


def load_nearest(c: Compute, index: tuple[Expr, ...], size: Sequence[int], rules: Attributes) -> Expr:
    """`take_nearest` for one result."""
    n, *places, channel = index
    picked = [
        _nearest_place(c, place, _rule(rules, d, old, new, "f4"), rules["rounding"], old, new)
        for d, (place, old, new) in enumerate(zip(places, c.type(0).shape[1:-1], size, strict=True))
    ]
    return c.load(0, (n, *picked, channel))


def _nearest_place(c: Compute, place: Expr, rule: Affine, rounding: str, size: int, target: int) -> Expr:
    """`sampling.nearest` as an expression: a quotient of whole numbers where all results agree with it."""
    factor = max(target // size, 1)
    found = nearest(rule, rounding, size, target)
    if (found == np.minimum(np.arange(target) // factor, size - 1)).all():
        return minimum(place // factor, size - 1)
    position: Expr = Cast(place, DType.F32)
    position = (position + rule.before if rule.before else position) * rule.ratio
    position = position + rule.after if rule.after else position
    if rounding.startswith("round"):
        position = position + 0.5 if rounding == "round_prefer_ceil" else position - 0.5
    if rounding in ("floor", "round_prefer_ceil"):
        whole: Expr = Cast(Unary("floor", position), DType.I64)
    else:
        whole = 0 - Cast(Unary("floor", 0.0 - position), DType.I64)
    return c.let(maximum(minimum(whole, size - 1), 0))


@register
class ResizeGradient(Operator):
    """Adjoint of resize: what each element of [N, input_size..., C] gave to the results, added up from dy."""

    name = "resize_gradient"
    internal = True
    floats_only = True
    operands = ("dy",)
    attributes = {"input_size": AttributeSpec(tuple, "spatial size of what was resized"), **RULES}

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (dy,), size = operands, attributes["input_size"]
        check_rules(self.name, dy, size, dy.shape[1:-1], attributes)
        return (TensorType(dy.dtype, (dy.shape[0], *size, dy.shape[-1])),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (dy,) = operands
        return (apply_taps(dy, _adjoint(attributes, dy.shape[1:-1], DType.of(dy.dtype))),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (dy,) = operands
        return interpolated(b, dy, _adjoint(attributes, dy.type.shape[1:-1], dy.type.dtype))

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        rules = {key: op.attributes[key] for key in RULES}
        return (b.emit("resize", cotangents[0], size=op.operands[0].type.shape[1:-1], **rules),)


def _adjoint(attributes: Attributes, new: Sequence[int], dtype: DType) -> dict[int, Taps]:
    return {axis: each.adjoint() for axis, each in taps_of(attributes, attributes["input_size"], new, dtype).items()}


INTEGER.none("quantize takes resize_bilinear and resize_nearest, which the layer emits where it can", ResizeAny)
INTEGER.none("part of a training step", ResizeGradient)
TFLITE.none("made of others: products with matrices", ResizeAny)
TFLITE.none("part of a training step", ResizeGradient)
PERMUTED.none("channels stand last", ResizeAny, ResizeGradient)


# ---- layer ----------------------------------------------------------------------------------------------------------

_NAMES = {"bilinear": ("linear", 2), "trilinear": ("linear", 3), "bicubic": ("cubic", 2)}
"""PyTorch's names: mode and number of dimensions."""
Size = int | tuple[int, ...]
Factor = int | float | tuple[int | float, ...]


@layer("resize")
def resize(
    b: LayerBuilder,
    x: Value,
    size: Size | None = None,
    scale: Factor | None = None,
    mode: str = "linear",
    coordinates: str = "",
    rounding: str = "",
    antialias: bool = False,
    coefficient: float | None = None,
    exclude_outside: bool = False,
) -> Value:
    """Pictures x [N, spatial..., C] brought to `size`, or to their own size times `scale`, as PyTorch's interpolate.

    `mode` is nearest, linear (also bilinear, trilinear), cubic (also bicubic) or area. `coordinates` are those of
    ONNX's Resize: asymmetric for nearest and half_pixel for the others unless given. `rounding` of nearest is floor
    with asymmetric, else round_prefer_ceil (PyTorch's nearest-exact). `coefficient` of cubic is -0.75, with
    `antialias` -0.5.
    """
    mode = _mode(mode, x.type.rank - 2)
    new, scales = _target(x.type, size, scale)
    coordinates = coordinates or ("asymmetric" if mode == "nearest" else "half_pixel")
    scales = () if coordinates == "align_corners" else scales  # whose corners are those of whole pixels
    rules: dict[str, Attribute] = {
        "scales": scales,
        "mode": mode,
        "coordinates": coordinates,
        "rounding": rounding or ("floor" if coordinates == "asymmetric" else "round_prefer_ceil"),
        "coefficient": (-0.5 if antialias else -0.75) if coefficient is None else float(coefficient),
        "exclude_outside": exclude_outside,
        "antialias": antialias,
    }
    return resized(b, x, new, rules)


def resized(b: Emits, x: Value, size: tuple[int, ...], rules: Mapping[str, Attribute]) -> Value:
    """Pictures [N, spatial..., C] brought to `size` by the simplest operator that follows all of these rules."""
    check_rules("resize", x.type, x.type.shape[1:-1], size, rules)
    operator = _tflite_operator(x.type, rules)
    if operator is None:
        return b.emit("resize", x, size=size, **rules)
    flags = {"align_corners": "align_corners", "half_pixel": "half_pixel_centers"}
    coordinates = str(rules["coordinates"])
    return b.emit(operator, x, size=size, **({flags[coordinates]: True} if coordinates in flags else {}))


def _mode(name: str, spatial: int) -> str:
    mode, dimensions = _NAMES.get(name, (name, spatial))
    if dimensions != spatial:
        raise ShapeError(
            f'resize: "{name}" is for {dimensions} spatial dimensions, not {spatial}', hint=f'use "{mode}"'
        )
    return mode


def _target(x: TensorType, size: Size | None, scale: Factor | None) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """The new size, and the scales where they aren't the ratios of the sizes."""
    if (size is None) == (scale is None):
        raise ShapeError("resize takes a size or a scale", hint="such as size = [56, 56], or scale = 2")
    old = x.shape[1:-1]
    if size is not None:
        return (size,) * len(old) if isinstance(size, int) else tuple(size), ()
    factors = tuple(scale) if isinstance(scale, tuple) else (scale,) * len(old)
    if len(factors) != len(old) or any(f is None or not 0 < f < math.inf for f in factors):
        raise ShapeError(f"resize: scale {scale} doesn't give a number above 0 for each spatial dimension of {x}")
    scales = tuple(float(f or 0) for f in factors)
    new = tuple(math.floor(s * f) for s, f in zip(old, scales, strict=True))
    exact = all(s * f == n for s, f, n in zip(old, scales, new, strict=True))
    return new, () if exact else scales


def _tflite_operator(x: TensorType, rules: Attributes) -> str | None:
    """The operator of TFLite that means the same, if there is one."""
    if x.rank != 4 or rules["scales"] or rules["antialias"] or rules["exclude_outside"]:
        return None
    if rules["mode"] == "linear" and rules["coordinates"] in ("asymmetric", "align_corners", "half_pixel"):
        return "resize_bilinear"
    fitting = (("asymmetric", "floor"), ("align_corners", "round_prefer_ceil"), ("half_pixel", "round_prefer_ceil"))
    if rules["mode"] == "nearest" and (rules["coordinates"], rules["rounding"]) in fitting:
        return "resize_nearest"
    return None

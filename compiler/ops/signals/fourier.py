"""Fourier transforms of real numbers; complex numbers are pairs of real and imaginary part, the last dimension.

Source: numpy.fft.rfft and irfft. Lengths are split into factors, each of which is a product with a small matrix: Cooley
and Tukey, "An algorithm for the machine calculation of complex Fourier series", 1965.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Array, Attributes, AttributeSpec, Builder, Emits, Operation, Operator, Value
from ...graph.registry import register
from ...types import DType, TensorType
from ..facets import INTEGER, PERMUTED, TFLITE

_FACTOR = 32
"""Transforms up to this length are one product with a matrix."""
_NOUGHT = 1e-15
"""What sines and cosines differ from 0 where they should be 0."""
_LENGTH = AttributeSpec(int, "numbers that are transformed; those that x lacks are 0, others are left out")


class _RealTransform(Operator):
    """Base of both directions."""

    operands = ("x",)
    floats_only = True
    attributes = {"length": _LENGTH}

    def _check(self, x: TensorType, rank: int, attributes: Attributes) -> None:
        if x.rank < rank or attributes["length"] < 1:
            raise ShapeError(f"{self.name} can't transform {attributes['length']} numbers of {x}")


@register
class Rfft(_RealTransform):
    """The Fourier transform of real rows: x [..., L] to [..., length / 2 + 1, 2], real and imaginary parts."""

    name = "rfft"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        self._check(x, 1, attributes)
        return (TensorType(x.dtype, (*x.shape[:-1], attributes["length"] // 2 + 1, 2)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        if not x.shape[-1]:
            return (np.zeros((*x.shape[:-1], attributes["length"] // 2 + 1, 2), x.dtype),)
        found = np.fft.rfft(x.astype(np.float64), attributes["length"])
        return (np.stack((found.real, found.imag), axis=-1).astype(x.dtype),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,) = operands
        if x.type.dtype is DType.F16:
            return b.emit("cast", _rows(b, b.emit("cast", x, dtype="f32"), attributes["length"]), dtype="f16")
        return _rows(b, x, attributes["length"])

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (x,), length = op.operands, op.attributes["length"]
        scaled = b.emit("mul", cotangents[0], b.constant(_adjoint(length, x.type.dtype)))
        return (_fitted(b, b.emit("irfft", scaled, length=length), -1, x.type.shape[-1]),)


@register
class Irfft(_RealTransform):
    """The real rows whose transform is x [..., K, 2], real and imaginary parts: [..., length], the inverse of rfft.

    The imaginary parts of the first number, and of the last one of an even length, count as 0.
    """

    name = "irfft"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,) = operands
        self._check(x, 2, attributes)
        if x.shape[-1] != 2:
            raise ShapeError(f"irfft takes pairs of real and imaginary parts, not {x}")
        return (TensorType(x.dtype, (*x.shape[:-2], attributes["length"])),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,) = operands
        if not x.shape[-2]:
            return (np.zeros((*x.shape[:-2], attributes["length"]), x.dtype),)
        pairs = x.astype(np.float64)
        return (np.fft.irfft(pairs[..., 0] + 1j * pairs[..., 1], attributes["length"]).astype(x.dtype),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        """By the transform of what is conjugate: its real part is that of the inverse, but for the length."""
        (x,) = operands
        length: int = attributes["length"]
        if x.type.dtype is DType.F16:
            return b.emit("cast", self.decompose(b, (b.emit("cast", x, dtype="f32"),), attributes), dtype="f16")
        kept = _fitted(b, x, -2, length // 2 + 1)
        signs = np.ones((length // 2 + 1, 2))
        signs[:, 1] = -1
        signs[0, 1] = 0
        if length % 2 == 0:
            signs[-1, 1] = 0
        kept = b.emit("mul", kept, b.constant(signs.astype(x.type.dtype.numpy) / x.type.dtype.numpy.type(length)))
        real, imaginary = (
            b.emit("reshape", b.emit("slice", kept, **_part(kept.type, i)), shape=kept.type.shape[:-1]) for i in (0, 1)
        )
        rest = length - length // 2 - 1
        if rest:
            real, imaginary = _mirrored(b, real, rest, 1), _mirrored(b, imaginary, rest, -1)
        return _transform(b, real, imaginary)[0]

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        (x,), length = op.operands, op.attributes["length"]
        weights = (1 / _adjoint(length, DType.F64)).astype(x.type.dtype.numpy)
        found = b.emit("rfft", cotangents[0], length=length)
        scaled = b.emit("mul", found, b.constant(weights))
        return (_fitted(b, scaled, -2, x.type.shape[-2]),)


@register
class Rfft2(Operator):
    """The Fourier transform of real pictures: x [..., H, W] to [..., h, w / 2 + 1, 2], as numpy.fft.rfft2 gives it."""

    name = "rfft2"
    operands = ("x",)
    floats_only = True
    attributes = {"sizes": AttributeSpec(tuple, "h and w: what x lacks is 0, what it has beyond is left out")}

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (x,), sizes = operands, attributes["sizes"]
        if x.rank < 2 or len(sizes) != 2 or min(sizes) < 1:
            raise ShapeError(f"rfft2 can't transform {' x '.join(map(str, sizes))} numbers of {x}")
        return (TensorType(x.dtype, (*x.shape[:-2], sizes[0], sizes[1] // 2 + 1, 2)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        (x,), sizes = operands, attributes["sizes"]
        if not x.shape[-1] or not x.shape[-2]:
            return (np.zeros((*x.shape[:-2], sizes[0], sizes[1] // 2 + 1, 2), x.dtype),)
        found = np.fft.rfft2(x.astype(np.float64), sizes)
        return (np.stack((found.real, found.imag), axis=-1).astype(x.dtype),)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        (x,), (height, width) = operands, attributes["sizes"]
        wide = b.emit("cast", x, dtype="f32") if x.type.dtype is DType.F16 else x
        found = _along_columns(b, _rows(b, _fitted(b, wide, -2, height), width))
        return b.emit("cast", found, dtype="f16") if x.type.dtype is DType.F16 else found

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        """Adjoint of the columns' transform (the transform of what is conjugate, conjugate), then that of the rows'."""
        (x,), (_, width) = op.operands, op.attributes["sizes"]
        signs = b.constant(np.array([1, -1], x.type.dtype.numpy))
        turned = b.emit("mul", _along_columns(b, b.emit("mul", cotangents[0], signs)), signs)
        rows = b.emit("irfft", b.emit("mul", turned, b.constant(_adjoint(width, x.type.dtype))), length=width)
        return (_fitted(b, _fitted(b, rows, -1, x.type.shape[-1]), -2, x.type.shape[-2]),)


def _along_columns(b: Builder, x: Value) -> Value:
    """The transform of complex columns [..., h, K, 2]."""
    if x.type.shape[-3] == 1:
        return x
    if x.type.dtype is DType.F16:
        return b.emit("cast", _along_columns(b, b.emit("cast", x, dtype="f32")), dtype="f16")
    parts = (b.emit("slice", x, **_part(x.type, i)) for i in (0, 1))
    columns = (_turned(b, v, x.type.shape[:-1]) for v in parts)
    rows = (_turned(b, v, None) for v in _transform(b, *columns))
    return b.emit("concat", *(b.emit("reshape", v, shape=(*x.type.shape[:-1], 1)) for v in rows), axis=-1)


def _adjoint(length: int, dtype: DType) -> Array:
    """What the numbers of a transform are multiplied with so that its inverse is its adjoint."""
    weights = np.full((length // 2 + 1, 1), length / 2)
    weights[0] = length
    if length % 2 == 0:
        weights[-1] = length
    return weights.astype(dtype.numpy)


def _rows(b: Builder, x: Value, length: int) -> Value:
    """The transform of real rows."""
    real, imaginary = _transform(b, _fitted(b, x, -1, length), None)
    size = (*x.type.shape[:-1], length // 2 + 1)
    parts = (b.emit("slice", v, begin=(0,) * len(size), size=size) for v in (real, imaginary))
    return b.emit("concat", *(b.emit("reshape", v, shape=(*size, 1)) for v in parts), axis=-1)


def _part(type_: TensorType, number: int) -> dict[str, Any]:
    """The slice that has the real parts, or the imaginary ones."""
    return {"begin": (*(0,) * (type_.rank - 1), number), "size": (*type_.shape[:-1], 1)}


def _fitted(b: Emits, x: Value, axis: int, size: int) -> Value:
    """A dimension brought to a size: zeros behind it, or its end left out."""
    axis %= x.type.rank
    shape = x.type.shape
    if shape[axis] > size:
        return b.emit("slice", x, begin=(0,) * len(shape), size=(*shape[:axis], size, *shape[axis + 1 :]))
    if shape[axis] < size:
        padding = tuple((0, size - n if d == axis else 0) for d, n in enumerate(shape))
        return b.emit("pad", x, padding=padding)
    return x


def _mirrored(b: Emits, x: Value, count: int, sign: int) -> Value:
    """Rows with their numbers from 1 to `count` behind them, in reverse, times a sign."""
    outer = x.type.shape[:-1]
    zeros = (0,) * len(outer)
    steps = (*(1,) * len(outer), -1)
    turned = b.emit("strided_slice", x, begin=(*zeros, count), size=(*outer, count), strides=steps)
    return b.emit("concat", x, b.emit("neg", turned) if sign < 0 else turned, axis=-1)


def _transform(b: Builder, real: Value, imaginary: Value | None) -> tuple[Value, Value]:
    """The transform of rows [..., n] of complex numbers; without imaginary parts these are 0."""
    *outer, n = real.type.shape
    first = _factor(n)
    if first == n:
        return _product(b, real, imaginary)
    second = n // first
    apart = [_turned(b, v, (*outer, first, second)) for v in (real, imaginary) if v is not None]
    columns = _product(b, apart[0], apart[1] if len(apart) > 1 else None)
    places = np.outer(np.arange(second), np.arange(first))
    turned = _times(b, columns, _roots(places, n))
    rows = _transform(b, *(_turned(b, v, None) for v in turned))
    real, imaginary = (b.emit("reshape", _turned(b, v, None), shape=(*outer, n)) for v in rows)
    return real, imaginary


def _factor(n: int) -> int:
    """The length of the transforms that one of length n begins with; n itself if it is made at once."""
    if n <= _FACTOR:
        return n
    fitting = [f for f in range(2, min(_FACTOR, math.isqrt(n)) + 1) if n % f == 0]
    return fitting[-1] if fitting else n


def _turned(b: Emits, x: Value, shape: tuple[int, ...] | None) -> Value:
    """The last two dimensions (of another shape, if one is given) exchanged."""
    x = x if shape is None else b.emit("reshape", x, shape=shape)
    *outer, row, column = range(x.type.rank)
    return b.emit("transpose", x, permutation=(*outer, column, row))


def _product(b: Builder, real: Value, imaginary: Value | None) -> tuple[Value, Value]:
    """The transform as one product with a matrix."""
    *outer, n = real.type.shape
    roots = _roots(np.outer(np.arange(n), np.arange(n)), n)
    matrix = np.concatenate((roots.real, roots.imag), axis=1)
    joined = real
    if imaginary is not None:
        matrix = np.concatenate((matrix, np.concatenate((-roots.imag, roots.real), axis=1)))
        joined = b.emit("concat", real, imaginary, axis=-1)
    total = b.emit("dense", joined, b.constant(matrix.astype(real.type.dtype.numpy)))
    zeros = (0,) * len(outer)
    first, second = (b.emit("slice", total, begin=(*zeros, start), size=(*outer, n)) for start in (0, n))
    return first, second


def _roots(powers: Array, n: int) -> Array:
    """Powers of the first root of unity of order n, with exact zeros: real parts stay apart from imaginary ones."""
    roots = np.exp(-2j * np.pi * (powers % n) / n)
    return np.where(np.abs(roots.real) < _NOUGHT, 0, roots.real) + 1j * np.where(
        np.abs(roots.imag) < _NOUGHT, 0, roots.imag
    )


def _times(b: Builder, value: tuple[Value, Value], factors: Array) -> tuple[Value, Value]:
    """The product of complex numbers and constants."""
    dtype = value[0].type.dtype.numpy
    real, imaginary = (b.constant(part.astype(dtype)) for part in (factors.real, factors.imag))
    x, y = value
    return (
        b.emit("sub", b.emit("mul", x, real), b.emit("mul", y, imaginary)),
        b.emit("add", b.emit("mul", x, imaginary), b.emit("mul", y, real)),
    )


INTEGER.none("its results have no common range", _RealTransform, Rfft2)
PERMUTED.none("it runs along the last dimensions", _RealTransform, Rfft2)
TFLITE.none("TFLite has no inverse transform", Irfft)

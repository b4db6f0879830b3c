"""Fourier transforms and what goes with them."""

from __future__ import annotations

import math

import numpy as np

from ....compiler.graph.ir import Array, Value
from ..node import Node
from ..registry import onnx
from ..tensors import dtype_of

LONGEST = 1 << 12
"""The longest transform, which is a product with a matrix."""


@onnx("DFT", since=17)
def dft_along_attribute(c: Node) -> Value:
    """The Fourier transform along an axis, of real or complex numbers, which are pairs."""
    return _dft(c, int(c.attribute("axis", 1)))


@onnx("DFT", since=20)
def dft(c: Node) -> Value:
    """The Fourier transform along an axis, which is an input."""
    return _dft(c, int(c.one(2)) if c.has(2) else -2)


def _dft(c: Node, axis: int) -> Value:
    x = c.value(0)
    rank = x.type.rank
    axis = c.axis(axis, rank)
    inverse, onesided = c.flag("inverse"), c.flag("onesided")
    size = int(c.one(1)) if c.has(1) else 0
    if axis == rank - 1 or x.type.shape[-1] not in (1, 2):
        c.unsupported(f"it takes real numbers [..., 1] or complex ones [..., 2], not {x.type}")
    if inverse and onesided:
        return _real(c, x, axis, size)
    return transformed(c, x, axis, size or x.type.shape[axis], inverse=inverse, onesided=onesided)


def transformed(c: Node, x: Value, axis: int, size: int, *, inverse: bool, onesided: bool) -> Value:
    """[..., 1 or 2] to [..., 2], as a product with the matrix of the transform."""
    if not 1 <= size <= LONGEST:
        c.unsupported(f"a transform of length {size} is not supported")
    x = _sized(c, x, axis, size)
    angle = 2 * math.pi / size * np.outer(np.arange(size), np.arange(size))
    sign = 1 if inverse else -1
    results = size // 2 + 1 if onesided else size
    real, imaginary = np.cos(angle)[:, :results], (sign * np.sin(angle))[:, :results]
    factor = 1 / size if inverse else 1
    last = x.type.rank - 1
    order = [*(d for d in range(last) if d != axis), last, axis]
    rows = c.transpose(x, order)  # [..., 1 or 2, size]
    lead, parts = rows.type.shape[:-2], rows.type.shape[-2]
    weight = np.concatenate([real, imaginary], axis=1) if parts == 1 else _complex(real, imaginary)
    flat = c.reshape(rows, (*lead, parts * size))
    y = c.emit("dense", flat, c.made((weight * factor).astype(x.type.dtype.numpy)))
    y = c.reshape(y, (*lead, 2, results))
    return c.transpose(y, [order.index(d) for d in range(x.type.rank)])


def _complex(real: Array, imaginary: Array) -> Array:
    """The matrix for real and imaginary parts one after the other."""
    return np.block([[real, imaginary], [-imaginary, real]])


def _sized(c: Node, x: Value, axis: int, size: int) -> Value:
    """X with an axis cut off, or filled with zeros."""
    old = x.type.shape[axis]
    if old > size:
        shape = tuple(size if d == axis else s for d, s in enumerate(x.type.shape))
        return c.emit("slice", x, begin=(0,) * x.type.rank, size=shape)
    padding = tuple((0, size - old) if d == axis else (0, 0) for d in range(x.type.rank))
    return x if old == size else c.emit("pad", x, padding=padding, value=0.0)


def _real(c: Node, x: Value, axis: int, size: int) -> Value:
    """The inverse of a transform of real numbers of which only half was given."""
    size = size or 2 * (x.type.shape[axis] - 1)
    half = size // 2 + 1
    if not 1 <= size <= LONGEST or x.type.shape[-1] != 2:
        c.unsupported("this form is not supported")
    x = _sized(c, x, axis, half)
    angle = 2 * math.pi / size * np.outer(np.arange(half), np.arange(size))
    share = np.full((half, 1), 2.0)
    share[0] = 1
    if size % 2 == 0:
        share[-1] = 1
    weight = np.concatenate([share * np.cos(angle), -share * np.sin(angle)]) / size
    last = x.type.rank - 1
    order = [*(d for d in range(last) if d != axis), last, axis]
    rows = c.transpose(x, order)
    flat = c.reshape(rows, (*rows.type.shape[:-2], 2 * half))
    y = c.emit("dense", flat, c.made(weight.astype(x.type.dtype.numpy)))
    y = c.reshape(y, (*rows.type.shape[:-2], 1, size))
    return c.transpose(y, [order.index(d) for d in range(x.type.rank)])


@onnx("STFT", since=17)
def stft(c: Node) -> Value:
    """Fourier transforms of frames of a signal [N, T, 1 or 2]: [N, frames, frequencies, 2]."""
    x = c.value(0)
    x = c.reshape(x, (*x.type.shape, 1)) if x.type.rank == 2 else x
    step = int(c.one(1))
    window = c.value(2) if c.has(2) else None
    size = int(c.one(3)) if c.has(3) else window.type.shape[0] if window is not None else 0
    onesided = c.flag("onesided", True)
    length = x.type.shape[1]
    if size < 1 or step < 1 or length < size:
        c.unsupported(f"frames of {size} at steps of {step} don't fit {x.type}")
    frames = (length - size) // step + 1
    places = np.arange(frames)[:, None] * step + np.arange(size)
    cut = c.emit("gather", x, c.made(places), axis=1)
    if window is not None:
        cut = c.emit("mul", cut, c.reshape(window, (-1, 1)))
    return transformed(c, cut, 2, size, inverse=False, onesided=onesided)


@onnx("MelWeightMatrix", since=17)
def mel_weight_matrix(c: Node) -> Array:
    """How much each frequency counts in each band of the mel scale."""
    bands, length, rate = (int(c.one(i)) for i in range(3))
    low, high = float(c.one(3)), float(c.one(4))
    dtype = dtype_of(int(c.attribute("output_datatype", 1)))
    bins = length // 2 + 1
    if not 1 <= bands * bins <= 1 << 24:
        c.unsupported("such a matrix is not supported")
    edges = np.arange(bands + 2)
    low_mel, high_mel = (2595 * np.log10(1 + f / 700) for f in (low, high))
    mel = low_mel + edges * (high_mel - low_mel) / (bands + 2)
    places = np.floor((length + 1) * 700 * (10 ** (mel / 2595) - 1) / rate).astype(np.int64)
    matrix = np.zeros((bins, bands))
    for band in range(bands):
        first, middle, last = places[band : band + 3]
        if middle > first:
            rise = np.arange(first, middle + 1)
            matrix[rise, band] = (rise - first) / (middle - first)
        else:
            matrix[middle, band] = 1
        fall = np.arange(middle, last)
        if last > middle:
            matrix[fall, band] = (last - fall) / (last - middle)
    return matrix.astype(dtype.numpy)

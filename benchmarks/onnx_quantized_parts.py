"""What random quantized ONNX models are made of: a model that grows, weights, biases and activations."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

Array = np.ndarray[Any, Any]
LARGEST_SUM = 1 << 24
"""Whole numbers up to here are floats of single precision."""


@dataclass(frozen=True)
class Bytes:
    """A quantized tensor of the model."""

    name: str
    shape: tuple[int, ...]
    scale: float
    zero: int
    dtype: type[Any]
    spread: float
    """About the deviation of the numbers that it stands for."""


@dataclass
class Model:
    """A model that grows."""

    rng: random.Random
    draws: np.random.Generator
    is_exact: bool
    nodes: list[Any] = field(default_factory=list[Any])
    weights: list[Any] = field(default_factory=list[Any])
    tensors: list[Bytes] = field(default_factory=list[Bytes])
    depth: int = 0

    def name(self) -> str:
        """A new one."""
        return f"t{len(self.nodes)}_{len(self.weights)}"

    def constant(self, value: Any) -> str:
        """A weight of the file."""
        self.weights.append(numpy_helper.from_array(np.asarray(value), name := f"w{len(self.weights)}"))
        return name

    def node(self, operator: str, *operands: str, domain: str = "", **attributes: Any) -> str:
        """The result of a new node."""
        self.nodes.append(helper.make_node(operator, operands, [name := self.name()], domain=domain, **attributes))
        return name

    def scale(self, about: float) -> float:
        """One near a number."""
        wide = about * self.rng.uniform(0.6, 1.6)
        return float(np.float32(2.0 ** round(np.log2(wide)) if self.is_exact else wide))

    def steps(
        self, spread: float, *, positive: bool = False, dtype: type[Any] | None = None
    ) -> tuple[float, int, type[Any]]:
        """Scale, zero point and type of bytes for numbers of a deviation."""
        dtype = dtype or self.rng.choice([np.uint8, np.int8])
        low = np.iinfo(dtype).min
        zero = low + (self.rng.choice([0, 3]) if positive else self.rng.choice([128, 128, 100, 141, 7, 250]))
        return self.scale(max(spread, 1e-6) / 40), zero, dtype

    def marks(self, q: tuple[float, int, type[Any]]) -> tuple[str, str]:
        """Scale and zero point as weights of the file."""
        return self.constant(np.float32(q[0])), self.constant(q[2](q[1]))

    def real(self, x: Bytes) -> str:
        """What bytes stand for."""
        return self.node("DequantizeLinear", x.name, *self.marks((x.scale, x.zero, x.dtype)))

    def quantized(self, y: str, shape: Sequence[int], spread: float, *, positive: bool = False) -> Bytes:
        """Numbers as bytes."""
        q = self.steps(spread, positive=positive)
        return self.keep(self.node("QuantizeLinear", y, *self.marks(q)), shape, q, spread)

    def keep(self, name: str, shape: Sequence[int], q: tuple[float, int, type[Any]], spread: float) -> Bytes:
        """Note a tensor of bytes."""
        self.tensors.append(Bytes(name, (*map(int, shape),), *q, spread))
        self.depth += 1
        return self.tensors[-1]


@dataclass(frozen=True)
class Weight:
    """Integers, and their scale or scales along an axis."""

    whole: Array
    scale: Array
    zero: Array
    axis: int

    @property
    def real(self) -> Array:
        """What they stand for."""
        shape = [-1 if i == self.axis else 1 for i in range(self.whole.ndim)] if self.scale.ndim else []
        zero = self.zero.astype(np.int32).reshape(shape)
        return ((self.whole.astype(np.int32) - zero).astype(np.float32) * self.scale.reshape(shape)).astype(np.float32)


def weight(m: Model, shape: tuple[int, ...], axis: int, *, symmetric: bool = False) -> Weight:
    """One of a random kind.

    Filters of few numbers are multiples of other scales, too, whose products round.
    """
    m.is_exact &= prod(shape) >= 8 * shape[axis]
    kind = m.rng.choice(["tensor", "channel", "channel"] + ["unsigned"] * (not symmetric))
    if kind == "unsigned":
        whole = m.draws.integers(0, 256, shape).astype(np.uint8)
        return Weight(whole, np.float32(m.scale(0.01)), np.uint8(m.rng.choice([128, 120, 0, 255])), axis)  # type: ignore[arg-type]
    whole = m.draws.integers(-127, 128, shape).astype(np.int8)
    if m.rng.random() < 0.2:
        whole.reshape(-1)[m.draws.integers(whole.size)] = -128
    if m.rng.random() < 0.15 and not m.is_exact:
        np.moveaxis(whole, axis, 0)[m.rng.randrange(shape[axis])] = m.rng.choice([0, 1])
    if kind == "tensor":
        return Weight(whole, np.float32(m.scale(0.01)), np.int8(0), axis)  # type: ignore[arg-type]
    scales = np.array([m.scale(0.01 * m.rng.choice([1, 1, 1, 0.25])) for _ in range(shape[axis])], np.float32)
    return Weight(whole, scales, np.zeros(shape[axis], np.int8), axis)


def dequantized(m: Model, w: Weight) -> str:
    """A weight between floats: dequantized in the file, or floats that are whole multiples."""
    if m.rng.random() < 0.3:
        return m.constant(w.real)
    axis: dict[str, Any] = {"axis": w.axis} if w.scale.ndim else {}
    return m.node("DequantizeLinear", *(m.constant(a) for a in (w.whole, w.scale, w.zero)), **axis)


def whole_bias(m: Model, count: int) -> Array:
    """Multiples of the scale of the sums."""
    return m.draws.integers(-3000, 3000, count).astype(np.int32)


def real_bias(m: Model, x: Bytes, w: Weight, count: int) -> list[str]:
    """None, one of whole multiples, as floats or dequantized, or (where numbers needn't be exact) of others."""
    kind = m.rng.choice(["none", "floats", "dequantized"] + ["real"] * (not m.is_exact))
    scales = np.broadcast_to(np.float32(x.scale) * w.scale, (count,)).astype(np.float32)
    if kind == "none":
        return []
    if kind == "real":
        return [m.constant(m.draws.normal(0, 0.3, count).astype(np.float32))]
    whole = whole_bias(m, count)
    if kind == "floats":
        return [m.constant(whole.astype(np.float32) * scales)]
    return [m.node("DequantizeLinear", m.constant(whole), m.constant(scales), axis=0)]


def limited(m: Model, y: str, spread: float) -> tuple[str, bool]:
    """Numbers behind an activation, perhaps, and whether none is below zero."""
    rounded = ["sigmoid", "leaky", "swish"] * (not m.is_exact)
    kind = m.rng.choice(["none", "none", "relu", "clip", "high", "twice", *rounded])
    low, high = (m.constant(np.float32(v)) for v in (-spread * 0.5, spread))
    if kind == "relu":
        return m.node("Relu", y), True
    if kind == "clip":
        return m.node("Clip", y, low, high), False
    if kind == "high":
        return m.node("Clip", y, "", high), False
    if kind == "twice":
        return m.node("Clip", m.node("Relu", y), m.constant(np.float32(0)), high), True
    if kind == "sigmoid":
        return m.node("Sigmoid", y), True
    if kind == "leaky":
        return m.node("LeakyRelu", y, alpha=0.1), False
    if kind == "swish":
        return m.node("Mul", y, m.node("HardSigmoid", y, alpha=1 / 6, beta=0.5)), False
    return y, False

"""What random TFLite files are drawn with: element types, scales, zero points, shapes, and inputs for a file.

What is drawn comes from a `random.Random`; hypothesis has one of its own (`strategies.randoms`), whose draws shrink.
Scales lie between 1e-6 and 1e3 (a few far beyond), many of them at powers of two, at 1/n and where a bound of an
activation is a half; zero points anywhere in their type.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np

from .small_models import Model

BYTES = (np.int8, np.uint8)
ALL_BYTES = ((256,), (2, 128), (1, 16, 16, 1), (3, 5, 20), (1, 7, 8, 5))
"""Shapes with room for each of the 256 values."""
Scale = tuple[float, int]
"""Scale and zero point."""
Values = tuple[float, float] | str | None
"""What an input holds: numbers between two bounds, or anything.

Or anything but: 0 and the integer -1 ("divisor"), NaN ("no NaN"), all special floats ("finite").
"""
SPECIAL = (0.0, -0.0, np.nan, np.inf, -np.inf, 0.5, -0.5, 1.5, -2.5, 1e-40, 3.4e38, -3.4e38, 1.0, -1.0, 2.0**31, 1e10)
"""Floats that operators treat in ways of their own, or round."""


@dataclass
class Draw:
    """A file under construction, and the source of what is random in it."""

    r: Random
    m: Model = field(default_factory=Model)
    inputs: list[int] = field(default_factory=list)
    values: list[Values] = field(default_factory=list)
    """What each input may hold."""

    def flip(self) -> bool:
        """True in one of two cases."""
        return self.r.random() < 0.5

    def dtype(self, *types: Any) -> Any:
        """An element type."""
        return self.r.choice(types or BYTES)

    def scale(self, near: float | None = None) -> float:
        """A scale as an f32 number; `near` another one in two of three cases, if given."""
        if self.r.random() < 0.03:
            return float(np.float32(10 ** self.r.uniform(-14, 9)))
        if near is not None and self.r.random() < 0.67:
            value = near * 2.0 ** self.r.choice((0, -1, 1, self.r.uniform(-3, 3), self.r.uniform(-9, 9)))
        else:
            value = self.r.choice((self._any, self._power, self._fraction, self._half))()
        return float(np.float32(min(max(value, 1e-6), 1e3)))

    def _any(self) -> float:
        return float(10 ** self.r.uniform(-6, 3))

    def _power(self) -> float:
        return float(2.0 ** self.r.randint(-19, 9))

    def _fraction(self) -> float:
        return 1 / self.r.randint(1, 600)

    def _half(self) -> float:
        """A scale of which 1 or 6 is a whole number of times and a half."""
        return self.r.choice((1, 6)) / (self.r.randint(0, 300) + 0.5)

    def zero(self, dtype: Any) -> int:
        """A zero point; 16-bit numbers have none but 0."""
        info = np.iinfo(dtype)
        low, high = int(info.min), int(info.max)
        if dtype is np.int16:
            return 0
        return self.r.choice((low, high, (low + high + 1) // 2, self.r.randint(low, high), self.r.randint(low, high)))

    def quantized(self, dtype: Any, near: float | None = None) -> Scale:
        """Scale and zero point."""
        return self.scale(near), self.zero(dtype)

    def shape(self, rank: int, largest: int = 6) -> tuple[int, ...]:
        """Sizes of some dimensions, one of three of them 1."""
        return tuple(self.r.choice((1, self.r.randint(2, largest), self.r.randint(2, largest))) for _ in range(rank))

    def integers(self, dtype: Any, shape: Sequence[int]) -> Any:
        """Random numbers of an element type, all of its range."""
        info = np.iinfo(dtype)
        rng = np.random.default_rng(self.r.getrandbits(30))
        return rng.integers(info.min, info.max, tuple(shape), dtype, endpoint=True)

    def input(self, shape: Sequence[int], dtype: Any, given: Scale | None, values: Values = None) -> int:
        """A tensor that is an input of the model."""
        self.inputs.append(self.tensor(shape, dtype, given))
        self.values.append(values)
        return self.inputs[-1]

    def tensor(self, shape: Sequence[int], dtype: Any, given: Scale | None) -> int:
        """A tensor with a name of its own."""
        scale: dict[str, Any] = {} if given is None else {"scale": given[0], "zero": given[1]}
        return self.m.tensor(f"t{len(self.m.tensors)}", shape, dtype, **scale)

    def constant(self, array: Any, given: Scale | None = None) -> int:
        """A constant with a name of its own."""
        scale: dict[str, Any] = {} if given is None else {"scale": given[0], "zero": given[1]}
        return self.m.constant(f"t{len(self.m.tensors)}", np.asarray(array), **scale)

    def operator(self, name: str, inputs: Sequence[int], outputs: Sequence[int], options: Any, version: int) -> bytes:
        """The file: an operator and its tensors."""
        self.m.operator(name, inputs, outputs, options, version=version)
        return self.m.data(self.inputs, outputs)


Maker = Callable[[Draw], bytes]
"""Draws a file."""


def inputs_for(types: Sequence[tuple[Any, Sequence[int]]], seed: int) -> list[list[Any]]:
    """Two rows of inputs: all values of an 8-bit type (where there is room), then values and extremes at random."""
    rng = np.random.default_rng(seed)
    return [[_values(rng, dtype, tuple(shape), every) for dtype, shape in types] for every in (True, False)]


def rows_of(d: Draw, seed: int) -> list[list[Any]]:
    """Rows of inputs for a file that was drawn: two as by `inputs_for`, then one with special floats."""
    rng = np.random.default_rng(seed)
    tensors = [d.m.tensors[i] for i in d.inputs]
    return [
        [
            _allowed(rng, t["dtype"].type, tuple(t["shape"]), kind, row)
            for t, kind in zip(tensors, d.values, strict=True)
        ]
        for row in range(3)
    ]


def _allowed(rng: np.random.Generator, dtype: Any, shape: tuple[int, ...], kind: Values, row: int) -> Any:
    if isinstance(kind, tuple):
        low, high = kind
        if np.dtype(dtype).kind == "f":
            return rng.uniform(low, high, shape).astype(dtype)
        return rng.integers(int(low), int(high), shape, np.int64, endpoint=True).astype(dtype)
    values = _values(rng, dtype, shape, row == 0)
    if np.dtype(dtype).kind == "f" and row == 2 and kind != "finite":
        special = np.array(SPECIAL, dtype)
        chosen = special if kind is None else special[~np.isnan(special)]
        values = np.where(rng.random(shape) < 0.5, rng.choice(chosen, shape), values)
    if kind == "divisor":
        values = np.where((values == 0) | ((values == -1) & (np.dtype(dtype).kind == "i")), np.array(1, dtype), values)
    return np.asarray(values, dtype).reshape(shape)


def _values(rng: np.random.Generator, dtype: Any, shape: tuple[int, ...], every: bool) -> Any:
    if np.dtype(dtype).kind == "f":
        return (rng.standard_normal(shape) * rng.choice((0.1, 1, 20))).astype(dtype)
    if np.dtype(dtype).kind == "b":
        return rng.random(shape) < 0.5
    info = np.iinfo(dtype)
    values = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    if every and info.bits == 8 and values.size >= 256:
        values.reshape(-1)[:256] = rng.permutation(np.arange(info.min, info.max + 1)).astype(dtype)
    elif not every:
        extremes = rng.choice(np.array((info.min, info.max, 0), dtype), shape)
        values = np.where(rng.random(shape) < 0.3, extremes, values)
    return values

"""Random numbers as a pure function of a counter: the same on every machine and for every number of threads.

The generator is Philox2x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", 2011): ten
rounds of a keyed bijection of 64 bits. Key: seed and stream. Counter: the element's position and the step.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..graph.ir import Array, Attributes, AttributeSpec, Operator
from ..graph.registry import register
from ..loops.compute import Compute
from ..loops.ir import Cast, Const, Expr, binary
from ..types import DType, TensorType
from .conversion import element_type

_MULTIPLIER = 0xD256D193
_WEYL = 0x9E3779B9
_WORD = 0xFFFFFFFF
_ROUNDS = 10
_MANTISSA = 24
"""Bits of a result: as many as an f32 holds exactly."""


def philox(counter: tuple[Any, Any], key: int) -> tuple[Any, Any]:
    """Philox2x32-10 of a counter of two words, which are ints or arrays of type uint64, below 2**32."""
    a, b = counter
    for number in range(_ROUNDS):
        product = a * _MULTIPLIER
        a, b = (product >> 32) ^ b ^ round_key(key, number), product & _WORD
    return a, b


def round_key(key: int, number: int) -> int:
    """The key of a round."""
    return (key + number * _WEYL) & _WORD


def stream_key(seed: int, stream: int) -> int:
    """A key of 32 bits for one stream of a seed: the finaliser of SplitMix64 spreads both over all bits."""
    z = (seed * 0x9E3779B97F4A7C15 + stream * 0xD1B54A32D192ED03 + 0x8CB92BA72F3D8DD7) % 2**64
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
    return (z ^ (z >> 31)) >> 32


@register
class RandomUniform(Operator):
    """Numbers spread evenly over 0 <= u < 1 in steps of 2**-24, drawn anew for each value of `counter` (an i64 scalar).

    Element i depends on i, the counter (below 2**32), `seed` and `stream` alone.
    """

    name = "random_uniform"
    memory_bound = True
    work = 8
    operands = ("counter",)
    piecewise_constant = True
    attributes = {
        "shape": AttributeSpec(tuple, "shape of the result, of fewer than 2**32 elements"),
        "dtype": AttributeSpec(str, "element type: f32 or f64", "f32"),
        "seed": AttributeSpec(int, "number that all streams share", 0),
        "stream": AttributeSpec(int, "number that tells uses in one graph apart", 0),
    }

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        return 0.0, 1.0

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        (counter,) = operands
        result = TensorType(element_type(self.name, attributes["dtype"]), attributes["shape"])
        if counter.dtype is not DType.I64 or counter.rank != 0:
            raise ShapeError(f"random_uniform counts with an i64[], not {counter}")
        if result.dtype not in (DType.F32, DType.F64) or result.size > _WORD:
            raise ShapeError(f"random_uniform can't fill {result}")
        return (result,)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        shape = attributes["shape"]
        position = np.arange(math.prod(shape), dtype=np.uint64)
        counter = np.uint64(int(operands[0]) & _WORD)
        word, _ = philox((position, counter), stream_key(attributes["seed"], attributes["stream"]))
        mantissa = (word >> (32 - _MANTISSA)).astype(DType(attributes["dtype"]).numpy)
        return ((mantissa * mantissa.dtype.type(2.0**-_MANTISSA)).reshape(shape),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        position: Expr = Const(0)
        for i, size in zip(index, attributes["shape"], strict=True):
            position = position * size + i
        # Elements are computed one by one: `splat` asks the lowering for that where the position moves with a lane.
        a, b = c.splat(position), binary("and", c.load(0, ()), _WORD)
        key = stream_key(attributes["seed"], attributes["stream"])
        for number in range(_ROUNDS):
            product = a * _MULTIPLIER
            high = binary("and", binary("shr", product, 32), _WORD)
            a = binary("xor", binary("xor", high, b), round_key(key, number))
            b = binary("and", product, _WORD)
        return Cast(binary("shr", a, 32 - _MANTISSA), DType(attributes["dtype"])) * 2.0**-_MANTISSA

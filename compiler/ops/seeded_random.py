"""Random numbers of TFLite: what its kernels draw for given seeds, run after run.

The generator is Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", 2011): ten
rounds of a keyed bijection of 128 bits. Key: `seed`. Counter: a block's position, which is state of the network, and
`seed2`. What kernels make of the bits is in tensorflow/lite/kernels/random_ops.cc.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import ShapeError
from ..graph.ir import Array, Attributes, AttributeSpec, Builder, Operation, Operator, Value
from ..graph.registry import register
from ..loops.compute import Compute
from ..loops.ir import Const, Expr, Select, binary
from ..types import DType, TensorType
from .expressions import Formula
from .facets import INTEGER, PERMUTED, TFLITE, TfliteForm

_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85
_WORD = 0xFFFFFFFF
_ROUNDS = 10
WORDS = 4
"""Words of 32 bits in a block."""
_SKIPPED = 512
"""Blocks that MULTINOMIAL leaves out for each block of its results, as TensorFlow does, which may draw more."""
_SEEDS = {
    "seed": AttributeSpec(int, "the generator's key, of 64 bits"),
    "seed2": AttributeSpec(int, "the upper half of its counter"),
}


Function = Callable[..., Any]


def _mixed(counter: tuple[Any, ...], seed: int, xor: Function, high: Function, low: Function) -> tuple[Any, ...]:
    """Four words of a counter after all rounds; words are held in 64 bits, whose halves are `high` and `low`."""
    a, b, c, d = counter
    keys = [seed & _WORD, seed >> 32 & _WORD]
    for _ in range(_ROUNDS):
        first, second = a * _MULTIPLIERS[0], c * _MULTIPLIERS[1]
        a, c = xor(xor(high(second), b), keys[0]), xor(xor(high(first), d), keys[1])
        b, d = low(second), low(first)
        keys = [(key + weyl) & _WORD for key, weyl in zip(keys, _WEYL, strict=True)]
    return a, b, c, d


def _check_counter(name: str, counter: TensorType) -> None:
    if counter.dtype is not DType.I64 or counter.rank:
        raise ShapeError(f"{name} counts with an i64[], not {counter}")


@register
class RandomWords(Operator):
    """Words of 32 bits, as i64 [blocks, 4], of the blocks from number `counter` (i64 []) on."""

    name = "random_words"
    internal = True
    operands = ("counter",)
    attributes = {"blocks": AttributeSpec(int, "how many blocks"), **_SEEDS}
    piecewise_constant = True
    memory_bound = True
    work = 40

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        _check_counter(self.name, operands[0])
        return (TensorType(DType.I64, (attributes["blocks"], WORDS)),)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        number = np.arange(attributes["blocks"], dtype=np.uint64) + np.uint64(int(operands[0]) % 2**64)

        def high(x: Array) -> Array:
            return np.asarray(x >> np.uint64(32))

        def low(x: Array) -> Array:
            return np.asarray(x & np.uint64(_WORD))

        upper = (np.full_like(number, attributes["seed2"] >> bits & _WORD) for bits in (0, 32))
        words = _mixed((low(number), high(number), *upper), attributes["seed"], np.bitwise_xor, high, low)
        return (np.stack(words, axis=-1).astype(np.int64),)

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Expr:
        # Elements are computed one by one: `splat` asks the lowering for that where the position moves with a lane.
        position = c.let(c.splat(index[0] * WORDS + index[1]))
        number = c.let(c.load(0, ()) + binary("shr", position, 2))

        def high(x: Expr) -> Expr:
            return binary("and", binary("shr", x, 32), _WORD)

        def low(x: Expr) -> Expr:
            return binary("and", x, _WORD)

        def xor(x: Expr, y: Expr | int) -> Expr:
            return c.let(binary("xor", x, y))

        upper = (Const(attributes["seed2"] >> bits & _WORD) for bits in (0, 32))
        words = _mixed((low(number), high(number), *upper), attributes["seed"], xor, high, low)
        chosen: Expr = words[-1]
        for n in reversed(range(WORDS - 1)):
            chosen = Select(binary("eq", binary("and", position, 3), n), words[n], chosen)
        return chosen


class Seeded(Operator):
    """Base of random numbers of TFLite: operand 0 is the counter."""

    internal = True

    def blocks(self, operands: tuple[TensorType, ...], attributes: Attributes) -> int:
        """How many blocks the counter goes on."""
        raise NotImplementedError

    def words(self, b: Builder, counter: Value, blocks: int, attributes: Attributes) -> Formula:
        """Random words [blocks, 4]."""
        seeds = {key: attributes[key] for key in _SEEDS}
        return Formula(b, b.emit("random_words", counter, blocks=blocks, **seeds))


def _unit(words: Formula) -> Formula:
    """Floats from 0 up to below 1, of the lower 23 bits."""
    return words.emit("bitwise_and", (1 << 23) - 1).cast("f32") * 2.0**-23


@register
class SeededNumbers(Seeded):
    """Random numbers f32 of a shape, evenly spread from 0 to 1 or `normal`, for a counter i64 []."""

    name = "seeded_numbers"
    operands = ("counter",)
    attributes = {
        "shape": AttributeSpec(tuple, "shape of the result"),
        "normal": AttributeSpec(bool, "normally distributed numbers"),
        **_SEEDS,
    }
    piecewise_constant = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        _check_counter(self.name, operands[0])
        return (TensorType(DType.F32, attributes["shape"]),)

    def blocks(self, operands: tuple[TensorType, ...], attributes: Attributes) -> int:
        return -(-math.prod(attributes["shape"]) // WORDS)

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return evaluated(self, operands, attributes)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        shape = attributes["shape"]
        count = math.prod(shape)
        unit = _unit(self.words(b, operands[0], self.blocks((), attributes), attributes))
        pairs = unit.shape[0] * WORDS // 2
        numbers = self._normal(unit.reshape(pairs, 2)) if attributes["normal"] else unit
        flat = numbers.reshape(pairs * 2).emit("slice", begin=(0,), size=(count,))
        return flat.reshape(*shape).value

    def _normal(self, unit: Formula) -> Formula:
        """Box and Muller's transform of pairs; the angle is a product of doubles."""
        radius = (unit.column(0).maximum(1e-7).emit("log") * -2.0).emit("sqrt")
        angle = (unit.column(1).cast("f64") * (2 * math.pi)).cast("f32")
        sides = [(angle.emit(name) * radius).reshape(*unit.shape[:1], 1) for name in ("sin", "cos")]
        return sides[0].emit("concat", sides[1], axis=1)


@register
class SeededChoices(Seeded):
    """Random classes [N, count] by unnormalized logarithms of their odds, f32 [N, classes], for a counter i64 [].

    Classes whose logarithm isn't finite are never chosen.
    """

    name = "seeded_choices"
    operands = ("counter", "logits")
    attributes = {
        "count": AttributeSpec(int, "how many are chosen in each row"),
        "dtype": AttributeSpec(str, "element type: i32 or i64"),
        **_SEEDS,
    }
    piecewise_constant = True

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        counter, logits = operands
        _check_counter(self.name, counter)
        if logits.dtype is not DType.F32 or logits.rank != 2 or not logits.shape[1] or attributes["count"] < 0:
            raise ShapeError(f"{self.name} takes f32 [N, classes] and a count, not {logits} and {attributes['count']}")
        return (TensorType(DType(attributes["dtype"]), (logits.shape[0], attributes["count"])),)

    def blocks(self, operands: tuple[TensorType, ...], attributes: Attributes) -> int:
        rounded: int = -(-attributes["count"] // WORDS) * WORDS
        return operands[1].shape[0] * rounded * _SKIPPED

    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        return evaluated(self, operands, attributes)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Value:
        counter, logits = operands
        (rows, classes), count = logits.type.shape, attributes["count"]
        x = Formula(b, logits)
        is_finite = x.between(-_LARGEST, _LARGEST)
        most = x.where(is_finite, -_LARGEST).emit("reduce_max", axes=(1,), keepdims=True).cast("f64")
        odds = (x.where(is_finite, 0.0).cast("f64") - most).emit("exp").where(is_finite, 0.0)
        ends = odds.emit("cumulative_sum", axis=1)
        words = self.words(b, counter, -(-rows * count // 2), attributes).reshape(-(-rows * count // 2) * 2, 2)
        upper = words.column(0).emit("bitwise_and", (1 << 20) - 1).cast("f64")
        unit = (upper * 2.0**32 + words.column(1).cast("f64")) * 2.0**-52
        unit = unit.emit("slice", begin=(0,), size=(rows * count,)).reshape(rows, count, 1)
        total = ends.emit("slice", begin=(0, classes - 1), size=(rows, 1)).reshape(rows, 1, 1)
        is_passed = ends.reshape(rows, 1, classes).emit("less_equal", unit * total)
        passed = is_passed.cast("i32").emit("reduce_sum", axes=(2,), keepdims=False)
        return passed.cast(attributes["dtype"]).value


def evaluated(operator: Operator, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
    """What an operator is made of, in NumPy."""
    from ..graph.builder import GraphBuilder  # the meaning of a graph is made of the meanings of operators
    from ..graph.interpreter import evaluate

    b = GraphBuilder(operator.name)
    inputs = [b.input(f"x{i}", TensorType(DType.of(a.dtype), a.shape)) for i, a in enumerate(operands)]
    result = operator.decompose(b, tuple(inputs), attributes)
    assert isinstance(result, Value)
    return evaluate(b.finish([result]), list(operands))


def _write(c: Any, op: Operation) -> None:
    """RANDOM_UNIFORM, RANDOM_STANDARD_NORMAL or MULTINOMIAL, which count themselves."""
    operator = op.operator
    assert isinstance(operator, Seeded)
    blocks = operator.blocks(tuple(v.type for v in op.operands), op.attributes)
    if not c.counts_alone(op, blocks):
        c.fail(op, f"TFLite's form of {op.name} counts from 0 on, {blocks} in each run")
    seeds = {key: op.attributes[key] for key in _SEEDS}
    if isinstance(operator, SeededChoices):
        inputs = [c.place(op.operands[1]), c.constant(np.array(op.attributes["count"], np.int32), f"{op.name}/count")]
        c.node("MULTINOMIAL", inputs, [c.result(op)], "RandomOptions", **seeds)
        return
    name = "RANDOM_STANDARD_NORMAL" if op.attributes["normal"] else "RANDOM_UNIFORM"
    c.node(name, [c.vector(op.attributes["shape"])], [c.result(op)], "RandomOptions", **seeds)


_LARGEST = float(np.finfo(np.float32).max)

INTEGER.none("random numbers have no scale", RandomWords, SeededNumbers, SeededChoices)
TFLITE.none("part of what random numbers are made of", RandomWords)
TFLITE.add(TfliteForm(_write, ("RANDOM_UNIFORM", "RANDOM_STANDARD_NORMAL")), SeededNumbers)
TFLITE.add(TfliteForm(_write, "MULTINOMIAL"), SeededChoices)
PERMUTED.none("elements are taken in row-major order", RandomWords, SeededNumbers, SeededChoices)

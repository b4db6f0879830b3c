"""Random networks from a seed: small, made of most operators, with inputs and parameters to run them on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from netc.compiler.errors import Location
from netc.compiler.graph import Array, DType, Graph, GraphBuilder, TensorType, Value


@dataclass(frozen=True)
class Case:
    """A network with values to run it on."""

    graph: Graph
    inputs: dict[str, Array]
    params: dict[str, Array]


def random_case(seed: int, operations: int = 20) -> Case:
    """The network of a seed; the same on every run and machine."""
    return _Maker(np.random.default_rng(seed), operations).case()


class _Maker:
    def __init__(self, rng: np.random.Generator, operations: int) -> None:
        self.rng = rng
        self.count = operations
        self.b = GraphBuilder("random", {"seed": "known"})
        self.params: dict[str, Array] = {}
        self.values: list[Value] = []

    def case(self) -> Case:
        channels = int(self.rng.integers(1, 5))
        for name in ("image", "other"):
            size = (1, *map(int, self.rng.integers(3, 7, 2)), channels)
            self.values.append(self.b.input(name, TensorType(DType.F32, size)))
        for _ in range(self.count):
            self.values.append(self.step())
        outputs = [self.values[-1], self.values[int(self.rng.integers(len(self.values)))]]
        inputs = {v.name or "": self.array(v.type.shape) for v in self.b.inputs}
        return Case(self.b.finish(outputs), inputs, self.params)

    def step(self) -> Value:
        """Apply a random operator to a random value, preferably a late one."""
        makers = MAKERS
        while True:
            x = self.values[-1 - int(self.rng.geometric(0.4) - 1) % len(self.values)]
            result = makers[int(self.rng.integers(len(makers)))](self, x)
            if result is not None:
                return result

    def array(self, shape: tuple[int, ...], low: float = -1.0, high: float = 1.0) -> Array:
        return self.rng.uniform(low, high, shape).astype(np.float32)

    def param(self, *shape: int, low: float = -1.0, high: float = 1.0, trainable: bool = True) -> Value:
        name = f"p{len(self.params)}.weight"
        self.params[name] = self.array(shape, low, high)
        return self.b.emit("param", shape=shape, trainable=trainable, name=name)

    def emit(self, operator: str, *operands: Value, **attributes: object) -> Value:
        location = Location("random.net", len(self.b.operations) + 1, int(self.rng.integers(1, 80)))
        return self.b.emit(operator, *operands, location=location, **attributes)

    def pick(self, *options: str) -> str:
        return options[int(self.rng.integers(len(options)))]


Maker = Callable[[_Maker, Value], Value | None]


def _unary(m: _Maker, x: Value) -> Value | None:
    names = ("relu", "relu6", "tanh", "sigmoid", "neg", "abs", "leaky_relu", "hard_sigmoid", "identity")
    return m.emit(m.pick(*names), x)


def _clamp(m: _Maker, x: Value) -> Value | None:
    low, high = (0, 6) if m.rng.integers(2) else (-0.5, 0.75)
    return m.emit("clamp", x, low=low, high=high)


def _binary(m: _Maker, x: Value) -> Value | None:
    others = [v for v in m.values if v.type == x.type]
    other = others[int(m.rng.integers(len(others)))]
    return m.emit(m.pick("add", "sub", "mul", "maximum", "minimum"), x, other)


def _with_constant(m: _Maker, x: Value) -> Value | None:
    number = float(m.rng.choice([0.0, 1.0, 0.5, 6.0]))
    pair = [x, m.b.scalar(number, x.type.dtype)]
    if m.rng.integers(2):
        pair.reverse()
    return m.emit(m.pick("add", "mul", "maximum", "minimum"), *pair)


def _with_param(m: _Maker, x: Value) -> Value | None:
    if not x.type.rank:
        return None
    vector = m.param(x.type.shape[-1], low=0.5, high=1.5)
    return m.emit(m.pick("add", "sub", "mul", "div"), x, vector)


def _conv(m: _Maker, x: Value) -> Value | None:
    if x.type.rank != 4:
        return None
    channels, filters = x.type.shape[-1], int(m.rng.integers(1, 5))
    kernel, stride = int(m.rng.integers(1, 4)), int(m.rng.integers(1, 3))
    groups = channels if m.rng.integers(3) == 0 else 1
    if groups > 1:
        filters = groups
    operands = [x, m.param(kernel, kernel, channels // groups, filters)]
    if m.rng.integers(2):
        operands.append(m.param(filters))
    wide = min(x.type.shape[1:3]) >= kernel
    padding = ((1, 1), (kernel - 1, 0)) if wide and m.rng.integers(2) else "same"
    y = m.emit("conv2d", *operands, strides=(stride, stride), padding=padding, dilations=(1, 1), groups=groups)
    return _norm(m, y) if m.rng.integers(2) else y


def _norm(m: _Maker, x: Value) -> Value | None:
    if x.type.rank < 2:
        return None
    c = x.type.shape[-1]
    statistics = m.param(c, trainable=False), m.param(c, low=0.5, high=1.5, trainable=False)
    return m.emit("batch_norm", x, m.param(c, low=0.5, high=1.5), m.param(c), *statistics)


def _dense(m: _Maker, x: Value) -> Value | None:
    if x.type.rank < 1 or x.type.shape[-1] > 64:
        return None
    units = int(m.rng.integers(1, 6))
    return m.emit("dense", x, m.param(x.type.shape[-1], units))


def _pool(m: _Maker, x: Value) -> Value | None:
    if x.type.rank != 4 or min(x.type.shape[1:3]) < 2:
        return None
    return m.emit(m.pick("max_pool", "avg_pool"), x, size=(2, 2), strides=(1, 2), padding="same")


def _pad(m: _Maker, x: Value) -> Value | None:
    return m.emit("pad", x, padding=((0, 0), (1, 0), (0, 1), (0, 0))) if x.type.rank == 4 else None


def _reduce(m: _Maker, x: Value) -> Value | None:
    if x.type.rank < 3:
        return None
    axes = tuple(range(1, x.type.rank - 1))
    return m.emit(m.pick("reduce_mean", "reduce_max", "reduce_sum"), x, axes=axes, keepdims=bool(m.rng.integers(2)))


def _gate(m: _Maker, x: Value) -> Value | None:
    return m.emit("mul", x, m.emit("sigmoid", x))


def _reshape(m: _Maker, x: Value) -> Value | None:
    if x.type.rank != 4:
        return None
    n, h, w, c = x.type.shape
    return m.emit("reshape", x, shape=(n, w, h, c) if m.rng.integers(2) else (n, h * w * c))


def _transpose(m: _Maker, x: Value) -> Value | None:
    order = [0, *(1 + int(i) for i in m.rng.permutation(x.type.rank - 1))] if x.type.rank else []
    return m.emit("transpose", x, permutation=tuple(order))


def _join(m: _Maker, x: Value) -> Value | None:
    return m.emit("concat", x, x) if x.type.rank and x.type.shape[-1] < 6 else None


def _soft(m: _Maker, x: Value) -> Value | None:
    return m.emit("softmax", x) if x.type.rank else None


def _drop(m: _Maker, x: Value) -> Value | None:
    return m.emit("dropout", x, rate=0.5)


MAKERS: tuple[Maker, ...] = (
    _unary,
    _unary,
    _clamp,
    _binary,
    _binary,
    _with_constant,
    _with_param,
    _conv,
    _conv,
    _conv,
    _norm,
    _dense,
    _pool,
    _pad,
    _reduce,
    _gate,
    _reshape,
    _transpose,
    _join,
    _soft,
    _drop,
)

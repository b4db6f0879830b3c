"""Recurrent layers, step by step: RNN, LSTM, GRU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from ....compiler.graph.ir import Value
from ....compiler.ops.regions.scan import cut_out
from ....compiler.types import DType
from ..node import Node
from ..registry import onnx
from ..values import UnsupportedError
from .contributed import DOMAIN as CONTRIBUTED
from .quantized import dynamic_bytes

Activation = Callable[[Value], Value]


@dataclass
class Part:
    """One direction of a recurrent layer: its weights, and functions of its gates."""

    w: Value
    r: Value
    wb: Value | None
    rb: Value | None
    f: list[Activation]
    peephole: Value | None
    units: int
    clip: float | None


@dataclass
class Layer:
    """What all recurrent nodes have in common."""

    c: Node
    gates: int
    defaults: tuple[str, ...]
    units: int = field(init=False)
    directions: list[str] = field(init=False)
    x: Value = field(init=False)
    """[T, N, F]."""
    is_batchwise: bool = field(init=False)

    def __post_init__(self) -> None:
        c = self.c
        self.is_batchwise = c.flag("layout")
        x = c.value(0)
        self.x = c.transpose(x, (1, 0, 2)) if self.is_batchwise else x
        direction = c.choice("direction", "forward", "forward", "reverse", "bidirectional")
        self.directions = ["forward", "reverse"] if direction == "bidirectional" else [direction]
        self.units, columns = self.sizes()
        if int(c.attribute("hidden_size", self.units)) != self.units or columns != self.gates * self.units:
            c.unsupported(f"`hidden_size` doesn't fit the weight {c.type(2)}")
        self._check_shapes()

    def _check_shapes(self) -> None:
        """Each input has the shape that ONNX says; a larger one would be cut."""
        c, ways, units = self.c, len(self.directions), self.units
        samples, features = self.x.type.shape[1:]
        columns, state = self.gates * units, (ways, samples, units)
        state = (samples, ways, units) if self.is_batchwise else state
        wanted = {
            1: self.weight_shape(ways, features, columns),
            2: self.weight_shape(ways, units, columns),
            3: (ways, 2 * columns),
            4: (samples,),
            5: state,
            6: state,
            7: (ways, 3 * units),
        }
        for place, shape in wanted.items():
            if c.has(place) and c.shape(place) != shape:
                c.unsupported(f"input {place} is {c.type(place)}, but {units} units take {list(shape)}")

    def weight_shape(self, ways: int, inputs: int, columns: int) -> tuple[int, ...]:
        """The shape of a weight for some inputs."""
        return ways, columns, inputs

    def sizes(self) -> tuple[int, int]:
        """How many units there are, and how many results for all gates."""
        return self.c.shape(2)[2], self.c.shape(2)[1]

    def part(self, d: int) -> Part:
        """The weights and functions of a direction."""
        c = self.c
        clip = c.attribute("clip")
        names = list(c.attribute("activations", self.defaults * len(self.directions)))
        alphas, betas = list(c.attribute("activation_alpha", ())), list(c.attribute("activation_beta", ()))
        functions = [_activation(c, name, alphas, betas) for name in names]
        count = len(self.defaults)
        if len(names) != count * len(self.directions):
            c.unsupported(f"{len(names)} activations, not {count * len(self.directions)}")
        both = _of_direction(c, 3, d)
        half = self.gates * self.units
        return Part(
            self.matrix(1, d),
            self.matrix(2, d),
            _cut(c, both, 0, half) if both is not None else None,
            _cut(c, both, half, half) if both is not None else None,
            functions[d * count : (d + 1) * count],
            _of_direction(c, 7, d) if c.proto.op_type.endswith("LSTM") else None,
            self.units,
            None if clip is None else float(clip),
        )

    def matrix(self, place: int, d: int) -> Value:
        """A weight [gates * units, inputs] of a direction as that of a dense layer."""
        whole = self.c.turned(place, (0, 2, 1))
        one = self.c.emit("slice", whole, begin=(d, 0, 0), size=(1, *whole.type.shape[1:]))
        return self.c.reshape(one, whole.type.shape[1:])

    def initial(self, place: int, d: int) -> Value:
        """The first state [N, units] of a direction."""
        c, samples = self.c, self.x.type.shape[1]
        if not c.has(place):
            return c.full((samples, self.units), 0, self.x.type.dtype)
        state = c.value(place)
        state = c.transpose(state, (1, 0, 2)) if self.is_batchwise else state
        part = c.emit("slice", state, begin=(d, 0, 0), size=(1, samples, self.units))
        return c.reshape(part, (samples, self.units))

    def run(self, step: Callable[[Part, Value, tuple[Value, ...]], tuple[Value, ...]], states: int) -> list[Value]:
        """All steps in all directions: the hidden states of all steps, and the last of each state.

        `step` takes what the input adds to all gates, [N, gates * units], which one product gives for all steps.
        """
        c = self.c
        steps, samples = self.x.type.shape[:2]
        lengths = c.value(4) if c.has(4) else None
        columns, last = [], []
        for d, name in enumerate(self.directions):
            part = self.part(d)
            inputs = self.dense(self.x, part.w, part.wb)
            state = tuple(self.initial(5 + i, d) for i in range(states))
            sequences = (inputs,) if lengths is None else (inputs, self.is_within(lengths))

            def one(
                state: Sequence[Value], now: Sequence[Value], part: Part = part
            ) -> tuple[Sequence[Value], Sequence[Value]]:
                new = step(part, now[0], tuple(state))
                if len(now) == 1:
                    return new, (new[0],)
                kept = [c.emit("select", now[1], a, b) for a, b in zip(new, state, strict=True)]
                return kept, (c.emit("select", now[1], new[0], c.scalar(0, new[0])),)

            done = cut_out(c.builder, one, state, sequences, reverse=name == "reverse")
            columns.append(c.reshape(done.stacked[0], (steps, 1, samples, self.units)))
            last.append(done.states)
        y = columns[0] if len(columns) == 1 else c.emit("concat", *columns, axis=1)
        finals = [self._stacked([state[i] for state in last]) for i in range(states)]
        return [c.transpose(y, (2, 0, 1, 3)) if self.is_batchwise else y, *finals]

    def is_within(self, lengths: Value) -> Value:
        """For each step [T, N, 1] whether it lies within a sequence of so many steps."""
        c, (steps, samples) = self.c, self.x.type.shape[:2]
        places = c.made(np.arange(steps, dtype=lengths.type.dtype.numpy).reshape(steps, 1, 1))
        return c.emit("less", places, c.reshape(lengths, (1, samples, 1)))

    def _stacked(self, values: list[Value]) -> Value:
        rows = [self.c.reshape(v, (1, *v.type.shape)) for v in values]
        whole = rows[0] if len(rows) == 1 else self.c.emit("concat", *rows, axis=0)
        return self.c.transpose(whole, (1, 0, 2)) if self.is_batchwise else whole

    def dense(self, x: Value, weight: Value, bias: Value | None) -> Value:
        """X times a weight, plus a bias."""
        return self.c.emit("dense", x, weight, *((bias,) if bias is not None else ()))

    def gate(self, x: Value, i: int) -> Value:
        """One gate's part [N, units] of [N, gates * units]."""
        return self.c.emit("slice", x, begin=(0, i * self.units), size=(x.type.shape[0], self.units))

    def clipped(self, part: Part, x: Value) -> Value:
        """X within the limit, if there is one."""
        return x if part.clip is None else self.c.emit("clamp", x, low=-part.clip, high=part.clip)


def _of_direction(c: Node, place: int, d: int) -> Value | None:
    """A vector of a direction, out of [directions, size]."""
    if not c.has(place):
        return None
    whole = c.value(place)
    one = c.emit("slice", whole, begin=(d, 0), size=(1, whole.type.shape[1]))
    return c.reshape(one, whole.type.shape[1:])


def _cut(c: Node, x: Value, begin: int, size: int) -> Value:
    return c.emit("slice", x, begin=(begin,), size=(size,))


def _activation(c: Node, name: str, alphas: list[float], betas: list[float]) -> Activation:
    """A function by its name in ONNX; alphas and betas go to those that have them, in order."""
    plain = {"relu": "relu", "tanh": "tanh", "sigmoid": "sigmoid", "softplus": "softplus"}
    low = name.lower()
    if low in plain:
        return lambda x: c.emit(plain[low], x)
    if low == "softsign":
        return lambda x: c.emit("div", x, c.emit("add", c.emit("abs", x), c.scalar(1, x)))
    if low == "leakyrelu":
        alpha = alphas.pop(0) if alphas else 0.01
        return lambda x: c.emit("leaky_relu", x, alpha=float(alpha))
    if low == "hardsigmoid":
        a, b = alphas.pop(0) if alphas else 0.2, betas.pop(0) if betas else 0.5
        return lambda x: c.emit(
            "clamp", c.emit("add", c.emit("mul", x, c.scalar(a, x)), c.scalar(b, x)), low=0.0, high=1.0
        )
    raise UnsupportedError(f"the activation {name} is not supported")


@onnx("RNN", since=7)
def rnn(c: Node) -> tuple[Value, ...]:
    """The next state is f(W x + R h + b)."""
    layer = Layer(c, 1, ("Tanh",))

    def step(p: Part, of_x: Value, state: tuple[Value, ...]) -> tuple[Value, ...]:
        total = c.emit("add", of_x, layer.dense(state[0], p.r, p.rb))
        return (p.f[0](layer.clipped(p, total)),)

    return tuple(layer.run(step, 1))


@onnx("LSTM", since=7)
def lstm(c: Node) -> tuple[Value, ...]:
    """Long short-term memory with gates in the order input, output, forget, cell; peepholes where there are any."""
    return _lstm(Layer(c, 4, _LSTM_GATES))


_LSTM_GATES = ("Sigmoid", "Tanh", "Tanh")


def _lstm(layer: Layer) -> tuple[Value, ...]:
    c = layer.c
    coupled = c.flag("input_forget")

    def step(p: Part, of_x: Value, state: tuple[Value, ...]) -> tuple[Value, ...]:
        h, cell = state
        total = c.emit("add", of_x, layer.dense(h, p.r, p.rb))
        i, o, f, g = (layer.gate(total, n) for n in range(4))
        if p.peephole is not None:
            i = c.emit("add", i, c.emit("mul", _cut(c, p.peephole, 0, p.units), cell))
            f = c.emit("add", f, c.emit("mul", _cut(c, p.peephole, 2 * p.units, p.units), cell))
        i = p.f[0](layer.clipped(p, i))
        f = c.emit("sub", c.scalar(1, i), i) if coupled else p.f[0](layer.clipped(p, f))
        g = p.f[1](layer.clipped(p, g))
        new = c.emit("add", c.emit("mul", f, cell), c.emit("mul", i, g))
        if p.peephole is not None:
            o = c.emit("add", o, c.emit("mul", _cut(c, p.peephole, p.units, p.units), new))
        o = p.f[0](layer.clipped(p, o))
        return c.emit("mul", o, p.f[2](new)), new

    return tuple(layer.run(step, 2))


@dataclass(frozen=True)
class ByteWeight:
    """What belongs to a weight of bytes."""

    zero: int
    """What is added to its whole numbers, so that they are signed bytes."""
    sums: Value
    """Of its whole numbers, for each column."""
    scale: Value
    """One for all, or one for each column."""


@dataclass
class QuantizedLayer(Layer):
    """A layer whose weights are bytes [directions, inputs, gates * units], and whose operands become bytes as it runs.

    Products are sums of whole numbers, times the scales of operand and weight: what ONNX Runtime computes on one
    thread. (On several it cuts a batch in parts, each with a scale of its own.)
    """

    weights: dict[Value, ByteWeight] = field(default_factory=dict[Value, "ByteWeight"])

    def sizes(self) -> tuple[int, int]:
        """How many units there are, and how many results for all gates."""
        return self.c.shape(2)[1], self.c.shape(2)[2]

    def weight_shape(self, ways: int, inputs: int, columns: int) -> tuple[int, ...]:
        """The shape of a weight for some inputs."""
        return ways, inputs, columns

    def matrix(self, place: int, d: int) -> Value:
        """A weight of a direction [inputs, gates * units] as signed bytes, or floats where these are too small."""
        c, first = self.c, 6 + 2 * place
        scale, zero = (c.constant(p)[d] for p in (first, first + 1))
        whole = c.constant(place)[d].astype(np.int32) - zero.astype(np.int32)
        low, high = int(whole.min(initial=0)), int(whole.max(initial=0))
        shift = min(max(0, -128 - low), 127 - high)
        fits = high - low <= 255  # unless zero points differ much from column to column
        weight = c.made((whole + shift).astype(np.int8) if fits else whole.astype(np.float32))
        sums = c.made(whole.sum(axis=0, dtype=np.int32))
        self.weights[weight] = ByteWeight(shift, sums, c.made(scale.astype(np.float32)))
        return weight

    def dense(self, x: Value, weight: Value, bias: Value | None) -> Value:
        """X in bytes on a scale of its own, times a weight, plus a bias."""
        c, known = self.c, self.weights[weight]
        whole, zero, scale = dynamic_bytes(c, x)
        if weight.type.dtype.is_float:
            sums = c.emit("dense", c.emit("sub", c.cast(whole, DType.F32), zero), weight)
        else:
            sums = c.emit("dense_sum", whole, weight, x_zero=0, weight_zero=known.zero)
            sums = c.emit("sub", sums, c.emit("mul", known.sums, c.cast(zero, DType.I32)))
        y = c.emit("mul", c.cast(sums, DType.F32), c.emit("mul", scale, known.scale))
        return y if bias is None else c.emit("add", y, bias)


@onnx("DynamicQuantizeLSTM", domain=CONTRIBUTED)
def dynamic_quantize_lstm(c: Node) -> tuple[Value, ...]:
    """An LSTM with weights of 8 bits: behind its peepholes stand scales and zero points of both weights."""
    if c.has(4) and (c.known(4) is None or (c.constant(4) != c.shape(0)[0]).any()):
        c.unsupported("sequences of different lengths are not supported")
    return _lstm(QuantizedLayer(c, 4, _LSTM_GATES))


@onnx("GRU", since=7)
def gru(c: Node) -> tuple[Value, ...]:
    """Gated recurrent units with gates in the order update, reset, hidden."""
    layer = Layer(c, 3, ("Sigmoid", "Tanh"))
    behind = c.flag("linear_before_reset")

    def step(p: Part, of_x: Value, state: tuple[Value, ...]) -> tuple[Value, ...]:
        (h,) = state
        known = layer.units * (3 if behind else 2)
        bias = None if p.rb is None else _cut(c, p.rb, 0, known)
        of_h = layer.dense(h, c.emit("slice", p.r, begin=(0, 0), size=(p.units, known)), bias)
        z, r = (p.f[0](layer.clipped(p, c.emit("add", layer.gate(of_x, n), layer.gate(of_h, n)))) for n in range(2))
        if behind:
            inner = c.emit("mul", r, layer.gate(of_h, 2))
        else:
            begin, size = (0, 2 * p.units), (p.units, p.units)
            weight = c.emit("slice", p.r, begin=begin, size=size)
            bias = None if p.rb is None else _cut(c, p.rb, 2 * p.units, p.units)
            inner = layer.dense(c.emit("mul", r, h), weight, bias)
        n = p.f[1](layer.clipped(p, c.emit("add", layer.gate(of_x, 2), inner)))
        return (c.emit("add", c.emit("mul", c.emit("sub", c.scalar(1, z), z), n), c.emit("mul", z, h)),)

    return tuple(layer.run(step, 1))

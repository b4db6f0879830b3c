"""Recurrent layers, unrolled: each step is made of dense layers and activations, and all steps have the same weights.

Parameters have PyTorch's names and its order of gates: `weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, then
those of the layers above (`_l1`); those that run backwards end in `_reverse`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ...errors import ShapeError
from ...graph.ir import Value
from ..layer import LayerBuilder, layer

State = tuple[Value, ...]
"""What a step hands to the next: the hidden state, and the cell's with an LSTM; each is [B, H]."""


@dataclass(frozen=True, slots=True)
class _Cell:
    """A kind of recurrent layer: how many gates it has, how many states, and what a step does.

    `step` takes the input's and the hidden state's part of all gates, [B, gates * H] each, and the state.
    """

    gates: int
    states: int
    step: Callable[[LayerBuilder, Value, Value, State], State]


@dataclass(frozen=True, slots=True)
class _Options:
    layers: int
    bidirectional: bool
    bias: bool
    states: bool


def _gate(b: LayerBuilder, x: Value, index: int, units: int) -> Value:
    return b.emit("slice", x, begin=(0, index * units), size=(x.type.shape[0], units))


def _gates(b: LayerBuilder, x: Value, state: State) -> list[Value]:
    units = state[0].type.shape[1]
    return [_gate(b, x, i, units) for i in range(x.type.shape[1] // units)]


def _lstm_step(b: LayerBuilder, x: Value, h: Value, state: State) -> State:
    i, f, g, o = _gates(b, b.emit("add", x, h), state)
    kept = b.emit("mul", b.emit("sigmoid", f), state[1])
    cell = b.emit("add", kept, b.emit("mul", b.emit("sigmoid", i), b.emit("tanh", g)))
    return b.emit("mul", b.emit("sigmoid", o), b.emit("tanh", cell)), cell


def _gru_step(b: LayerBuilder, x: Value, h: Value, state: State) -> State:
    """The next state is n + z * (h - n), which is (1 - z) * n + z * h."""
    (xr, xz, xn), (hr, hz, hn) = _gates(b, x, state), _gates(b, h, state)
    r, z = (b.emit("sigmoid", b.emit("add", one, other)) for one, other in ((xr, hr), (xz, hz)))
    n = b.emit("tanh", b.emit("add", xn, b.emit("mul", r, hn)))
    return (b.emit("add", n, b.emit("mul", z, b.emit("sub", state[0], n))),)


def _simple_step(activation: str) -> Callable[[LayerBuilder, Value, Value, State], State]:
    return lambda b, x, h, state: (b.emit(activation, b.emit("add", x, h)),)


def _direction(b: LayerBuilder, cell: _Cell, x: Value, state: State, suffix: str, bias: bool) -> tuple[Value, State]:
    """One layer in one direction: x [B, T, F] to [B, T, H], in the order of x, and the last state."""
    (batch, steps, features), units = x.type.shape, state[0].type.shape[1]
    gates, init = cell.gates * units, f"uniform({1 / math.sqrt(units):.8g})"

    def dense(part: str, inputs: int) -> Callable[[Value], Value]:
        weights = [b.param(f"weight_{part}_{suffix}", (inputs, gates), init=init, checkpoint="oi")]
        if bias:
            weights.append(b.param(f"bias_{part}_{suffix}", (gates,), init=init))
        return lambda value: b.emit("dense", value, *weights)

    from_input, from_state = dense("ih", features), dense("hh", units)
    projected = from_input(x)
    outputs: dict[int, Value] = {}
    order = range(steps)
    for t in reversed(order) if suffix.endswith("_reverse") else order:
        now = b.emit("slice", projected, begin=(0, t, 0), size=(batch, 1, gates))
        now = b.emit("reshape", now, shape=(batch, gates))
        state = cell.step(b, now, from_state(state[0]), state)
        outputs[t] = b.emit("reshape", state[0], shape=(batch, 1, units))
    return b.emit("concat", *(outputs[t] for t in order), axis=1), state


def _recurrent(
    b: LayerBuilder,
    cell: _Cell,
    x: Value,
    units: int,
    initial: Sequence[Value | None],
    options: _Options,
) -> Value | tuple[Value, ...]:
    if x.type.rank != 3 or 0 in x.type.shape:
        raise ShapeError(f"a recurrent layer takes a sequence [N, T, F] of at least one step, not {x.type}")
    layers = options.layers
    if units < 1 or layers < 1:
        raise ShapeError(f"a recurrent layer has at least one unit and one layer, not {min(units, layers)}")
    directions = ("", "_reverse") if options.bidirectional else ("",)
    count, batch = layers * len(directions), x.type.shape[0]
    for value in initial:
        if value is not None and value.type.shape != (count, batch, units):
            raise ShapeError(f"an initial state must be [{count},{batch},{units}], not {value.type}")
    given = [[_part(b, value, i, (batch, units), x) for value in initial] for i in range(count)]
    last: list[State] = []
    for depth in range(layers):
        results = []
        for direction in directions:
            start = tuple(given[len(last)])
            result, state = _direction(b, cell, x, start, f"l{depth}{direction}", options.bias)
            results.append(result)
            last.append(state)
        x = results[0] if len(results) == 1 else b.emit("concat", *results, axis=-1)
    return (x, *(_stacked(b, [state[i] for state in last]) for i in range(cell.states))) if options.states else x


def _part(b: LayerBuilder, value: Value | None, index: int, shape: tuple[int, int], like: Value) -> Value:
    """One layer's and direction's part of an initial state: [B, H]; zeros unless given."""
    if value is None:
        return b.emit("constant", value=np.zeros(shape, like.type.dtype.numpy))
    part = b.emit("slice", value, begin=(index, 0, 0), size=(1, *shape))
    return b.emit("reshape", part, shape=shape)


def _stacked(b: LayerBuilder, values: Sequence[Value]) -> Value:
    """[B, H] each to [layers * directions, B, H]."""
    parts = [b.emit("reshape", value, shape=(1, *value.type.shape)) for value in values]
    return parts[0] if len(parts) == 1 else b.emit("concat", *parts, axis=0)


@layer("lstm")
def lstm(
    b: LayerBuilder,
    x: Value,
    units: int,
    layers: int = 1,
    bidirectional: bool = False,
    bias: bool = True,
    states: bool = False,
    h0: Value | None = None,
    c0: Value | None = None,
) -> Value | tuple[Value, ...]:
    """Long short-term memory: x [N, T, F] to the hidden states of all steps, [N, T, units]; twice that both ways.

    With `states`, the list of these and the last hidden and cell states, [layers * directions, N, units] each, as
    `h0` and `c0` (zeros unless given) are the first. Hochreiter, Schmidhuber: Long short-term memory, 1997.
    """
    cell = _Cell(4, 2, _lstm_step)
    options = _Options(layers, bidirectional, bias, states)
    return _recurrent(b, cell, x, units, (h0, c0), options)


@layer("gru")
def gru(
    b: LayerBuilder,
    x: Value,
    units: int,
    layers: int = 1,
    bidirectional: bool = False,
    bias: bool = True,
    states: bool = False,
    h0: Value | None = None,
) -> Value | tuple[Value, ...]:
    """Gated recurrent units: x [N, T, F] to the hidden states of all steps; options as for `lstm`.

    The reset gate is applied behind the hidden state's matrix, as in PyTorch. Cho et al.: Learning phrase
    representations using RNN encoder-decoder for statistical machine translation, 2014.
    """
    cell = _Cell(3, 1, _gru_step)
    options = _Options(layers, bidirectional, bias, states)
    return _recurrent(b, cell, x, units, (h0,), options)


@layer("rnn")
def rnn(
    b: LayerBuilder,
    x: Value,
    units: int,
    activation: str = "tanh",
    layers: int = 1,
    bidirectional: bool = False,
    bias: bool = True,
    states: bool = False,
    h0: Value | None = None,
) -> Value | tuple[Value, ...]:
    """Elman's recurrent layer: h' = activation(W x + U h + b), with tanh or relu; options as for `lstm`."""
    if activation not in ("tanh", "relu"):
        raise ShapeError(f"rnn has the activation tanh or relu, not {activation}")
    options = _Options(layers, bidirectional, bias, states)
    return _recurrent(b, _Cell(1, 1, _simple_step(activation)), x, units, (h0,), options)

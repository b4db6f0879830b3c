"""Files of one recurrent operator each, drawn at random: forms, sizes, scales, clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..draw import Draw

Generator = Callable[[Draw, Any], bytes]
GATES = ("input", "forget", "cell", "output")
TANH = 4
ACTIVATIONS = (0, 1, 3, TANH, TANH, TANH)


def _floats(d: Draw, shape: Sequence[int], size: float = 0.5) -> int:
    return d.constant((_random(d, shape) * size).astype(np.float32))


def _random(d: Draw, shape: Sequence[int]) -> Any:
    return np.random.default_rng(d.r.getrandbits(30)).standard_normal(tuple(shape))


def _variable(d: Draw, shape: Sequence[int], dtype: Any, scale: float | None = None, zero: int = 0) -> int:
    place = d.m.variable(f"state{len(d.m.tensors)}", shape, dtype)
    if scale is not None:
        d.m.tensors[place].update(scales=[scale], zero=zero)
    return place


class _Sizes:
    """What a layer is drawn with."""

    def __init__(self, d: Draw) -> None:
        self.batch, self.steps = d.r.choice((1, 2, 3)), d.r.randint(1, 6)
        self.inputs, self.cells = d.r.choice((1, 5, 8, 16)), d.r.choice((1, 3, 8, 17))
        self.time_major, self.coupled = d.flip(), d.r.random() < 0.3
        self.peephole, self.norm, self.projected = (d.r.random() < 0.3 for _ in range(3))
        self.units = d.r.choice((1, 2, 6)) if self.projected else self.cells

    def sequence(self, features: int) -> tuple[int, int, int]:
        return (self.steps, self.batch, features) if self.time_major else (self.batch, self.steps, features)


def _lstm_weights(d: Draw, s: _Sizes) -> tuple[list[int], list[int]]:
    """The seventeen weights of a direction, and the four of its normalisation."""
    present = [not (s.coupled and gate == "input") for gate in GATES]
    weights = [_floats(d, (s.cells, s.inputs)) if p else -1 for p in present]
    weights += [_floats(d, (s.cells, s.units)) if p else -1 for p in present]
    seeing = (present[0], True, True)
    weights += [_floats(d, (s.cells,)) if p and s.peephole else -1 for p in seeing]
    weights += [_floats(d, (s.cells,)) if p else -1 for p in present]
    weights += [_floats(d, (s.units, s.cells)) if s.projected else -1]
    weights += [_floats(d, (s.units,)) if s.projected and d.flip() else -1]
    return weights, [_floats(d, (s.cells,), 1.0) if p and s.norm else -1 for p in present]


def _lstm_fields(d: Draw) -> dict[str, Any]:
    clips = {"CellClip": d.r.choice((0.0, 0.0, 0.7)), "ProjClip": d.r.choice((0.0, 0.0, 0.3))}
    return {"FusedActivationFunction": d.r.choice(ACTIVATIONS), **clips}


def unidirectional_sequence_lstm(d: Draw, dtype: Any) -> bytes:
    if dtype is np.int8:
        return integer_lstm(d)
    s = _Sizes(d)
    x = d.input(s.sequence(s.inputs), dtype, None, "finite")
    weights, norms = _lstm_weights(d, s)
    states = [_variable(d, (s.batch, n), dtype) for n in (s.units, s.cells)]
    y = d.tensor(s.sequence(s.units), dtype, None)
    options = ("UnidirectionalSequenceLSTMOptions", {**_lstm_fields(d), "TimeMajor": s.time_major})
    return d.operator("UNIDIRECTIONAL_SEQUENCE_LSTM", [x, *weights, *states, *norms], [y], options, 3)


def lstm(d: Draw, dtype: Any) -> bytes:
    if dtype is np.int8:
        return integer_lstm(d, "LSTM")
    s = _Sizes(d)
    x = d.input((s.batch, s.inputs), dtype, None, "finite")
    weights, norms = _lstm_weights(d, s)
    states = [_variable(d, (s.batch, n), dtype) for n in (s.units, s.cells)]
    y = d.tensor((s.batch, s.units), dtype, None)
    operands = [x, *weights, *states, *(norms if s.norm or d.flip() else ())]
    return d.operator("LSTM", operands, [y], ("LSTMOptions", _lstm_fields(d)), 4)


def basic_lstm(d: Draw, dtype: Any) -> bytes:
    s = _Sizes(d)
    n, c = s.batch, s.cells
    x = d.input((n, s.inputs), dtype, None, "finite")
    h, cell = (_variable(d, (n, c), dtype) for _ in range(2))
    w, b = _floats(d, (4 * c, s.inputs + c)), _floats(d, (4 * c,))
    results = [d.tensor((n, size), dtype, None) for size in (c, c, s.inputs + c, 4 * c)]
    return d.operator("LSTM", [x, h, w, b, cell], results, ("LSTMOptions", {"KernelType": 1}), 2)


def bidirectional_sequence_lstm(d: Draw, dtype: Any) -> bytes:
    s = _Sizes(d)
    s.norm = False
    x = d.input(s.sequence(s.inputs), dtype, None, "finite")
    forward, _ = _lstm_weights(d, s)
    backward, _ = _lstm_weights(d, s)
    states = [_variable(d, (s.batch, n), dtype) for n in (s.units, s.cells) * 2]
    extra = [-1] * 9
    kind = d.r.choice(("none", "none", "weights", "stacked"))
    if kind == "weights":
        extra = [d.input(s.sequence(s.inputs), dtype, None, "finite")]
        for _ in range(2):
            extra += [_floats(d, (s.cells, s.inputs)) if i or not s.coupled else -1 for i in range(4)]
    elif kind == "stacked":
        extra = [d.input(s.sequence(s.inputs), dtype, None, "finite"), *[-1] * 8]
    merged = d.flip()
    sizes = [s.units * 2] if merged else [s.units] * 2
    results = [d.tensor(s.sequence(n), dtype, None) for n in sizes]
    fields = {**_lstm_fields(d), "MergeOutputs": merged, "TimeMajor": s.time_major}
    operands = [x, *forward, *backward, *states, *extra]
    return d.operator("BIDIRECTIONAL_SEQUENCE_LSTM", operands, results, ("BidirectionalSequenceLSTMOptions", fields), 1)


def rnn(d: Draw, dtype: Any) -> bytes:
    s = _Sizes(d)
    x = d.input((s.batch, s.inputs), dtype, None, "finite")
    rest = [_floats(d, shape) for shape in ((s.cells, s.inputs), (s.cells, s.cells), (s.cells,))]
    h, y = _variable(d, (s.batch, s.cells), dtype), d.tensor((s.batch, s.cells), dtype, None)
    options = ("RNNOptions", {"FusedActivationFunction": d.r.choice(ACTIVATIONS)})
    return d.operator("RNN", [x, *rest, h], [y], options, 1)


def unidirectional_sequence_rnn(d: Draw, dtype: Any) -> bytes:
    s = _Sizes(d)
    x = d.input(s.sequence(s.inputs), dtype, None, "finite")
    rest = [_floats(d, shape) for shape in ((s.cells, s.inputs), (s.cells, s.cells), (s.cells,))]
    h, y = _variable(d, (s.batch, s.cells), dtype), d.tensor(s.sequence(s.cells), dtype, None)
    fields = {"FusedActivationFunction": d.r.choice(ACTIVATIONS), "TimeMajor": s.time_major}
    return d.operator("UNIDIRECTIONAL_SEQUENCE_RNN", [x, *rest, h], [y], ("SequenceRNNOptions", fields), 1)


def bidirectional_sequence_rnn(d: Draw, dtype: Any) -> bytes:
    s = _Sizes(d)
    x = d.input(s.sequence(s.inputs), dtype, None, "finite")
    places: list[int] = [x]
    for _ in range(2):
        places += [_floats(d, shape) for shape in ((s.cells, s.inputs), (s.cells, s.cells), (s.cells,))]
        places.append(_variable(d, (s.batch, s.cells), dtype))
    kind = d.r.choice(("none", "none", "weights", "stacked"))
    extra = [-1, -1, -1]
    if kind != "none":
        extra[0] = d.input(s.sequence(s.inputs), dtype, None, "finite")
    if kind == "weights":
        extra[1:] = [_floats(d, (s.cells, s.inputs)) for _ in range(2)]
    merged = d.flip()
    sizes = [s.cells * 2] if merged else [s.cells] * 2
    results = [d.tensor(s.sequence(n), dtype, None) for n in sizes]
    fields = {"FusedActivationFunction": d.r.choice(ACTIVATIONS), "MergeOutputs": merged, "TimeMajor": s.time_major}
    options = ("BidirectionalSequenceRNNOptions", fields)
    return d.operator("BIDIRECTIONAL_SEQUENCE_RNN", [*places, *extra], results, options, 1)


def svdf(d: Draw, dtype: Any) -> bytes:
    if dtype is np.int8:
        return integer_svdf(d)
    batch, inputs, units = d.r.choice((1, 2)), d.r.choice((1, 5, 16)), d.r.choice((1, 3, 8))
    rank, memory = d.r.choice((1, 1, 2)), d.r.choice((1, 2, 7, 10))
    x = d.input((batch, inputs), dtype, None, "finite")
    features, time = _floats(d, (units * rank, inputs)), _floats(d, (units * rank, memory))
    bias = _floats(d, (units,)) if d.flip() else -1
    state, y = _variable(d, (batch, units * rank * memory), dtype), d.tensor((batch, units), dtype, None)
    options = ("SVDFOptions", {"Rank": rank, "FusedActivationFunction": d.r.choice((0, 1))})
    return d.operator("SVDF", [x, features, time, bias, state], [y], options, 1)


def _bytes(d: Draw, shape: Sequence[int], scale: float) -> int:
    return d.constant(np.maximum(d.integers(np.int8, shape), -127), (scale, 0))


def _power(d: Draw, low: float, high: float) -> float:
    return float(np.float32(2.0 ** d.r.uniform(low, high)))


def integer_lstm(d: Draw, name: str = "UNIDIRECTIONAL_SEQUENCE_LSTM") -> bytes:
    """A layer of 16-bit cells on 8-bit numbers; LSTM is one step of it."""
    s, one = _Sizes(d), name == "LSTM"
    if s.peephole and s.units > s.cells:
        s.peephole = False
    x, y = (_power(d, -9, -2), d.zero(np.int8)), (_power(d, -9, -6), d.zero(np.int8))
    place = d.input((s.batch, s.inputs) if one else s.sequence(s.inputs), np.int8, x)
    present = [not (s.coupled and gate == "input") for gate in GATES]
    weights = [_bytes(d, (s.cells, n), _power(d, -10, -4)) if p else -1 for n in (s.inputs, s.units) for p in present]
    for p in (present[0], True, True):
        scale = (_power(d, -18, -14), 0)
        weights.append(d.constant(d.integers(np.int16, (s.cells,)), scale) if p and s.peephole else -1)
    bias = d.r.choice((200, 30000))
    weights += [d.constant((_random(d, (s.cells,)) * bias).astype(np.int32), (1e-4, 0)) if p else -1 for p in present]
    hidden = (_power(d, -9, -6), d.zero(np.int8))
    weights += [_bytes(d, (s.units, s.cells), _power(d, -10, -5)) if s.projected else -1]
    has_bias = s.projected and d.flip()
    weights += [d.constant((_random(d, (s.units,)) * 200).astype(np.int32), (1e-4, 0)) if has_bias else -1]
    cell = 2.0 ** d.r.randint(-15, -9)
    states = [
        _variable(d, (s.batch, s.units), np.int8, *y),
        _variable(d, (s.batch, s.cells), np.int16, cell),
    ]
    norms = [
        d.constant(d.integers(np.int16, (s.cells,)), (_power(d, -16, -13), 0)) if p and s.norm else -1 for p in present
    ]
    between = [d.tensor((0,), np.int16, (_power(d, -14, -10), 0)) for _ in range(4)]
    between.append(d.tensor((0,), np.int8, hidden))
    result = d.tensor((s.batch, s.units) if one else s.sequence(s.units), np.int8, y)
    fields: dict[str, Any] = {"FusedActivationFunction": TANH} | ({} if one else {"TimeMajor": s.time_major})
    fields |= {"CellClip": d.r.choice((0.0, 0.0, 4.0)), "ProjClip": d.r.choice((0.0, 0.0, 0.3))}
    options = ("LSTMOptions" if one else "UnidirectionalSequenceLSTMOptions", fields)
    operands = [place, *weights, *states, *norms]
    d.m.operator(name, operands, [result], options, version=3, intermediates=between)
    return d.m.data(d.inputs, [result])


def integer_svdf(d: Draw, *, wide: bool = True) -> bytes:
    """With a memory of 16 bits, or of 8 bits, which LiteRT's kernel takes for one of 16."""
    batch, inputs, units = d.r.choice((1, 2)), d.r.choice((1, 5, 16)), d.r.choice((1, 3, 8))
    rank, memory = d.r.choice((1, 1, 2)), d.r.choice((1, 2, 7, 10))
    dtype = np.int16 if wide else np.int8
    x, y = (_power(d, -9, -2), d.zero(np.int8)), (_power(d, -9, -2), d.zero(np.int8))
    place = d.input((batch, inputs), np.int8, x)
    features = _bytes(d, (units * rank, inputs), _power(d, -10, -4))
    weight = _power(d, -16, -12) if wide else _power(d, -9, -6)
    time = d.constant(d.integers(dtype, (units * rank, memory)), (weight, 0))
    scale = (_power(d, -16, -10), 0) if wide else (_power(d, -8, -4), d.zero(np.int8))
    sums = float(np.float32(weight * scale[0]))
    bias = d.constant((_random(d, (units,)) * (30000 if wide else 3000)).astype(np.int32), (sums, 0))
    bias = bias if not wide or d.flip() else -1
    state, result = _variable(d, (batch, units * rank * memory), dtype, *scale), d.tensor((batch, units), np.int8, y)
    options = ("SVDFOptions", {"Rank": rank, "FusedActivationFunction": 1})
    return d.operator("SVDF", [place, features, time, bias, state], [result], options, 3)


def _spectrum(d: Draw, dtype: Any) -> tuple[int, tuple[int, ...]]:
    """RFFT2D on drawn pictures: the complex tensor and its shape."""
    height, width = d.r.choice((1, 1, 2, 4, 16)), d.r.choice((2, 4, 8, 32, 128, 512))
    outer = d.r.choice(((), (1,), (3, 2)))
    x = d.input((*outer, d.r.choice((height, height, 3)), d.r.choice((width, width, 20))), dtype, None, "finite")
    sizes = d.constant(np.array([height, width], np.int32))
    shape = (*outer, height, width // 2 + 1)
    spectrum = d.m.tensor("spectrum", shape, np.complex64)
    d.m.operator("RFFT2D", [x, sizes], [spectrum], ("Rfft2dOptions", {}))
    return spectrum, shape


def _of_spectrum(name: str, options: str | None) -> Generator:
    def generator(d: Draw, dtype: Any) -> bytes:
        spectrum, shape = _spectrum(d, dtype)
        y = d.tensor(shape, dtype, None)
        d.m.operator(name, [spectrum], [y], None if options is None else (options, {}))
        return d.m.data(d.inputs, [y])

    return generator


SEEING = (9, 10, 11, 26, 27, 28)
"""Places of the peepholes, in one direction and in the other."""


def _hybrid(generator: Generator) -> Generator:
    """The same layers with 8-bit weights: matrices and what sees the cell, but no vectors that are added."""

    def make(d: Draw, dtype: Any) -> bytes:
        generator(d, np.float32)
        (operator,) = d.m.operators
        x, *places = operator["inputs"]
        lstm = "LSTM" in operator["name"]
        for number, place in enumerate(places, 1):
            tensor = d.m.tensors[place]
            if place >= 0 and tensor["data"] is not None and (len(tensor["shape"]) == 2 or (lstm and number in SEEING)):
                numbers = np.maximum(d.integers(np.int8, tensor["shape"]), -127)
                tensor.update(data=numbers, dtype=np.dtype(np.int8), scales=[_power(d, -11, -6)], zero=0)
        name, fields = operator["options"]
        operator["options"] = name, {**fields, "AsymmetricQuantizeInputs": d.flip()}
        if dtype is not np.float32:
            d.m.tensors[x]["dtype"] = np.dtype(dtype)
        return d.m.data(d.inputs, operator["outputs"])

    return make


GENERATORS: Mapping[str, Generator] = {
    "RFFT2D": _of_spectrum("REAL", None),
    "REAL": _of_spectrum("REAL", None),
    "IMAG": _of_spectrum("IMAG", None),
    "COMPLEX_ABS": _of_spectrum("COMPLEX_ABS", None),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": unidirectional_sequence_lstm,
    "LSTM": lstm,
    "LSTM basic": basic_lstm,
    "BIDIRECTIONAL_SEQUENCE_LSTM": bidirectional_sequence_lstm,
    "RNN": rnn,
    "UNIDIRECTIONAL_SEQUENCE_RNN": unidirectional_sequence_rnn,
    "BIDIRECTIONAL_SEQUENCE_RNN": bidirectional_sequence_rnn,
    "SVDF": svdf,
    "UNIDIRECTIONAL_SEQUENCE_LSTM hybrid": _hybrid(unidirectional_sequence_lstm),
    "LSTM hybrid": _hybrid(lstm),
    "RNN hybrid": _hybrid(rnn),
    "UNIDIRECTIONAL_SEQUENCE_RNN hybrid": _hybrid(unidirectional_sequence_rnn),
    "BIDIRECTIONAL_SEQUENCE_RNN hybrid": _hybrid(bidirectional_sequence_rnn),
    "BIDIRECTIONAL_SEQUENCE_LSTM hybrid": _hybrid(bidirectional_sequence_lstm),
    "SVDF hybrid": _hybrid(svdf),
}

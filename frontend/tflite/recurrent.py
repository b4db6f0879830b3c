"""TFLite's recurrent layers: LSTM, simple ones and SVDF, whose states are variable tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...compiler.graph.ir import Value
from ...compiler.graph.registry import lookup
from ...compiler.ops.facets import reads
from ...compiler.ops.moves.moves import sliced
from ...compiler.ops.quantized.hybrid_recurrent import is_quantized
from ...compiler.ops.sequences.sequence_lstm import GATES
from ...compiler.types import DType
from .context import Context
from .hybrid import asymmetric, hybrid_weight, is_hybrid
from .integer_recurrent import integer_lstm, integer_svdf
from .lstm_places import BOTH_WAYS, FORWARD, Places

FUSED = ("", "relu", "relu_n1_to_1", "relu6", "tanh")
"""What codes of the schema's ActivationFunctionType stand for in recurrent layers."""
BASIC = 1
"""Code of the schema's LSTMKernelType."""
_AUXILIARY = 39
"""The auxiliary input of both directions."""


def activation(c: Context) -> str:
    """The layer's activation."""
    return str(c.operator.coded("fused_activation_function", FUSED))


def unidirectional_sequence_lstm(c: Context) -> Value:
    """UNIDIRECTIONAL_SEQUENCE_LSTM."""
    return _lstm(c, c.value(0), bool(c.option("time_major", False)))


def lstm(c: Context) -> Value | tuple[Value, ...]:
    """LSTM, one step of one; its basic kernel has another form."""
    if c.option("kernel_type", 0) == BASIC:
        return _basic_lstm(c)
    x = c.value(0)
    if x.type.rank != 2:
        c.unsupported(f"its input should be a matrix, not {x.type}")
    y = _lstm(c, c.emit("reshape", x, shape=(1, *x.type.shape)), True)
    return c.emit("reshape", y, shape=y.type.shape[1:])


def _lstm(c: Context, x: Value, time_major: bool) -> Value:
    if c.type(0).dtype is DType.I8:
        return integer_lstm(c, x, FORWARD, time_major)
    return float_lstm(c, x, FORWARD, time_major)


def float_lstm(c: Context, x: Value, places: Places, time_major: bool, extra: Value | None = None) -> Value:
    """One direction of an LSTM on floats; the auxiliary input stands behind the other one."""
    present = places.present(c)
    if is_hybrid(c, 0, present["output_weight"]):
        return _hybrid_lstm(c, x, places, time_major, extra)
    _check_floats(c, present.values())
    weights = {role: _weight(c, place) for role, place in present.items()}
    if extra is not None and places.extra is not None:
        x = c.emit("concat", x, extra, axis=-1)
        for i, gate in enumerate(GATES):
            if f"{gate}_weight" in weights:
                both = weights[f"{gate}_weight"], _weight(c, places.extra + i)
                weights[f"{gate}_weight"] = c.emit("concat", *both, axis=0)
    return _layer(c, "sequence_lstm", x, places, weights, {"time_major": time_major})


def _layer(
    c: Context, name: str, x: Value, places: Places, weights: dict[str, Value], options: dict[str, Any]
) -> Value:
    """The operator of a direction, and what becomes of its states."""
    options |= {
        "roles": tuple(weights),
        "activation": activation(c),
        "cell_clip": float(c.option("cell_clip", 0.0)),
        "projection_clip": float(c.option("proj_clip", 0.0)) if "projection" in weights else 0.0,
    }
    operands = (x, c.state(places.state), c.state(places.cell), *weights.values())
    y, h, cell = c.builder.operation(lookup(name), operands, options).results
    c.keep(places.state, h)
    c.keep(places.cell, cell)
    return y


def _hybrid_lstm(c: Context, x: Value, places: Places, time_major: bool, extra: Value | None) -> Value:
    """One direction of an LSTM of floats with 8-bit weights."""
    if extra is not None:
        c.unsupported("its form with 8-bit weights for an auxiliary input is not supported")
    weights, scales = {}, []
    for role, place in places.present(c).items():
        if is_quantized(role):
            weights[role], scale = _bytes(c, place)
            scales.append(scale)
        else:
            weights[role], dtype = c.value(place), c.type(place).dtype
            if dtype is not DType.F32:
                c.unsupported(f"its form with 8-bit weights and a {role} of {dtype} is not supported")
    options = {"time_major": time_major, "scales": tuple(scales), "symmetric": not asymmetric(c)}
    return _layer(c, "hybrid_lstm", x, places, weights, options)


def _bytes(c: Context, place: int) -> tuple[Value, float]:
    """An 8-bit weight and its scale: a matrix with a column for each cell, or a vector."""
    weight, given = hybrid_weight(c, place, (1, 0) if c.type(place).rank == 2 else (0,))
    if not given.is_per_tensor:
        c.unsupported("its form for floats takes weights of one scale")
    return weight, given.scale


def _check_floats(c: Context, places: Any) -> None:
    """Leave the operator opaque unless input and weights are floats."""
    types = {c.type(place).dtype for place in (0, *places)}
    if types != {DType.F32}:
        c.unsupported(f"its form for {', '.join(sorted(map(str, types)))} is not supported")


def _weight(c: Context, place: int) -> Value:
    """A matrix with a column for each cell, or a vector."""
    return c.weight(place, (1, 0))[0] if c.type(place).rank == 2 else c.value(place)


def bidirectional_sequence_lstm(c: Context) -> Value | tuple[Value, ...]:
    """BIDIRECTIONAL_SEQUENCE_LSTM: two layers, one of which runs from the last step to the first.

    An auxiliary input has weights of its own in both; without those, it is what the second layer reads.
    """
    time_major = bool(c.option("time_major", True))
    if not activation(c):
        c.unsupported("without an activation, LiteRT's kernel gives what its memory held")
    x, extra = c.value(0), c.value(_AUXILIARY) if c.has(_AUXILIARY) else None
    if c.option("merge_outputs", False) and not time_major and x.type.shape[0] > 1:
        c.unsupported("with merged outputs and the batch first, LiteRT's kernel takes states from beyond their tensor")
    has_weights = c.has(BOTH_WAYS[0].extra or 0) or c.has((BOTH_WAYS[0].extra or 0) + 1)
    second = x if extra is None or has_weights else extra
    extra = extra if has_weights else None
    axis = 0 if time_major else 1

    def one_way(x: Value, places: Places, extra: Value | None) -> Value:
        return float_lstm(c, x, places, time_major, extra)

    forward = one_way(x, BOTH_WAYS[0], extra)
    turned = None if extra is None else _turned(c, extra, axis)
    backward = one_way(_turned(c, second, axis), BOTH_WAYS[1], turned)
    return _merged(c, forward, _turned(c, backward, axis))


def _turned(c: Context, x: Value, axis: int) -> Value:
    """The steps in reverse."""
    return sliced(c.builder, x, [slice(None, None, -1 if d == axis else None) for d in range(x.type.rank)])


def _merged(c: Context, forward: Value, backward: Value) -> Value | tuple[Value, ...]:
    if c.option("merge_outputs", False):
        return c.emit("concat", forward, backward, axis=-1)
    return forward, backward


def _basic_lstm(c: Context) -> tuple[Value, ...]:
    """The basic kernel of LSTM: result, cells, the joined operands and the gates before their functions.

    Gates stand in the order input, cell, forget, output.
    """
    if c.type(0).dtype is not DType.F32:
        c.unsupported(f"the basic kernel for {c.type(0).dtype} is not supported")
    x, h, cell = c.value(0), c.state(1), c.state(4)
    joined = c.emit("concat", x, h, axis=-1)
    gates = c.emit("dense", joined, c.weight(2, (1, 0))[0], c.value(3))
    rows, cells = cell.type.shape
    opened, new, kept, shown = (c.emit("slice", gates, begin=(0, i * cells), size=(rows, cells)) for i in range(4))
    kept = c.emit("mul", c.emit("sigmoid", kept), cell)
    cell = c.emit("add", c.emit("mul", c.emit("sigmoid", opened), c.emit("tanh", new)), kept)
    result = c.emit("mul", c.emit("sigmoid", shown), c.emit("tanh", cell))
    c.keep(1, result)
    c.keep(4, cell)
    return result, cell, joined, gates


# ---- simple recurrent layers ----------------------------------------------------------------------------------------


def _rnn(c: Context, x: Value, places: Sequence[int], time_major: bool, extra: Sequence[Value] = ()) -> Value:
    """One direction; places of weight, recurrent weight, bias and state; an auxiliary input and its weight."""
    weight, recurrent, bias, state = places
    if is_hybrid(c, 0, weight):
        return _hybrid_rnn(c, x, places, time_major, extra)
    _check_floats(c, places[:3])
    w = c.weight(weight, (1, 0))[0]
    if extra:
        x, w = c.emit("concat", x, extra[0], axis=-1), c.emit("concat", w, extra[1], axis=0)
    operands = (x, c.state(state), w, c.weight(recurrent, (1, 0))[0], c.value(bias))
    options = {"activation": activation(c), "time_major": time_major}
    y, h = c.builder.operation(lookup("sequence_rnn"), operands, options).results
    c.keep(state, h)
    return y


def _hybrid_rnn(c: Context, x: Value, places: Sequence[int], time_major: bool, extra: Sequence[Value]) -> Value:
    """One direction of a layer of floats with 8-bit weights."""
    if extra:
        c.unsupported("its form with 8-bit weights for an auxiliary input is not supported")
    weight, recurrent, bias, state = places
    (w, first), (u, second) = (_bytes(c, place) for place in (weight, recurrent))
    options = {
        "activation": activation(c),
        "time_major": time_major,
        "scales": (first, second),
        "symmetric": not asymmetric(c),
    }
    operands = (x, c.state(state), w, u, c.value(bias))
    y, h = c.builder.operation(lookup("hybrid_rnn"), operands, options).results
    c.keep(state, h)
    return y


def rnn(c: Context) -> Value:
    """RNN: one step."""
    x = c.value(0)
    if x.type.rank != 2:
        c.unsupported(f"its input should be a matrix, not {x.type}")
    y = _rnn(c, c.emit("reshape", x, shape=(1, *x.type.shape)), (1, 2, 3, 4), True)
    return c.emit("reshape", y, shape=y.type.shape[1:])


def unidirectional_sequence_rnn(c: Context) -> Value:
    """UNIDIRECTIONAL_SEQUENCE_RNN."""
    return _rnn(c, c.value(0), (1, 2, 3, 4), bool(c.option("time_major", False)))


def bidirectional_sequence_rnn(c: Context) -> Value | tuple[Value, ...]:
    """BIDIRECTIONAL_SEQUENCE_RNN; an auxiliary input without weights is what the second layer reads."""
    time_major = bool(c.option("time_major", False))
    axis = 0 if time_major else 1
    x, auxiliary = c.value(0), c.value(9) if c.has(9) else None
    has_weights = c.has(10)

    if is_hybrid(c, 0, 1):
        c.unsupported("with 8-bit weights for floats, LiteRT's kernel gives other sums than that of one direction")

    # With the batch first, LiteRT's kernel has both layers read the same input.
    second = x if auxiliary is None or has_weights or not time_major else auxiliary
    extra: list[list[Value]] = [[], []]
    if auxiliary is not None and has_weights:
        extra = [[auxiliary, c.weight(10, (1, 0))[0]], [_turned(c, auxiliary, axis), c.weight(11, (1, 0))[0]]]
    forward = _rnn(c, x, (1, 2, 3, 4), time_major, extra[0])
    backward = _rnn(c, _turned(c, second, axis), (5, 6, 7, 8), time_major, extra[1])
    return _merged(c, forward, _turned(c, backward, axis))


def svdf(c: Context) -> Value:
    """SVDF."""
    if c.type(0).dtype is DType.I8:
        return integer_svdf(c)
    (rank,) = c.positive("rank")
    options: dict[str, Any] = {"rank": rank, "activation": activation(c)}
    name = "svdf"
    if is_hybrid(c, 0, 1):
        (features, first), (time, second) = _bytes(c, 1), hybrid_weight(c, 2, (0, 1))
        name, options["scales"], options["symmetric"] = "hybrid_svdf", (first, second.scale), not asymmetric(c)
    else:
        _check_floats(c, (1, 2))
        features, time = c.weight(1, (1, 0))[0], c.value(2)
    operands = [c.value(0), c.state(4), features, time, *([c.value(3)] if c.has(3) else [])]
    y, memory = c.builder.operation(lookup(name), operands, options).results
    c.keep(4, memory)
    return y


reads(unidirectional_sequence_lstm, "UNIDIRECTIONAL_SEQUENCE_LSTM")
reads(lstm, "LSTM")
reads(bidirectional_sequence_lstm, "BIDIRECTIONAL_SEQUENCE_LSTM")
reads(rnn, "RNN")
reads(unidirectional_sequence_rnn, "UNIDIRECTIONAL_SEQUENCE_RNN")
reads(bidirectional_sequence_rnn, "BIDIRECTIONAL_SEQUENCE_RNN")
reads(svdf, "SVDF")

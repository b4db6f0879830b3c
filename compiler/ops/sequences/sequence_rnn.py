"""TensorFlow Lite's simple recurrent layer over a sequence, and its rank-limited filter memory (SVDF)."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import ShapeError
from ...graph.ir import Attributes, AttributeSpec, Builder, Emits, Operator, Value
from ...graph.registry import register
from ...types import TensorType
from ..facets import INTEGER, PERMUTED
from ..regions.scan import scanned, time_first, time_second
from .sequence_layer import SequenceLayer


@register
class SequenceRnn(SequenceLayer):
    """h' = activation(W x + U h + b) over x [N, T, I], from the state h [N, C] to [N, T, C] and the last state.

    Weights [I, C], recurrent weights [C, C], bias [C]. Elman, "Finding structure in time", 1990.
    """

    name = "sequence_rnn"
    operands = ("x", "h", "weight", "recurrent", "bias")
    attributes = {
        "activation": AttributeSpec(str, "of the new state", "tanh"),
        "time_major": AttributeSpec(bool, "x is [T, N, I], and so is the result", False),
    }
    non_differentiable = "its steps are a loop; `rnn` is written step by step"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, h, weight, recurrent, bias = operands
        cells = bias.shape[0] if bias.rank == 1 else -1
        if x.rank != 3 or h.shape != (x.shape[attributes["time_major"]], cells):
            raise ShapeError(f"sequence_rnn can't begin with the state {h} on {x}")
        if weight.shape != (x.shape[2], cells) or recurrent.shape != (cells, cells):
            raise ShapeError(f"sequence_rnn can't apply {weight}, {recurrent} and {bias} to {x}")
        self.check_activation(attributes)
        return (TensorType(x.dtype, (*x.shape[:2], cells)), h.dense())

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> tuple[Value, ...]:
        x, h, weight, recurrent, bias = operands
        multiply = self.product(attributes)

        def step(
            b: Builder, states: Sequence[Value], xs: Sequence[Value], constants: Sequence[Value]
        ) -> tuple[Sequence[Value], Sequence[Value]]:
            total = b.emit("add", xs[0], multiply(b, "recurrent", states[0], constants[0]))
            new = self.activate(b, total, attributes["activation"])
            return (new,), (new,)

        sequence = time_first(b, multiply(b, "weight", x, weight, bias), attributes["time_major"])
        done = scanned(b, step, (h,), (sequence,), (recurrent,))
        return (time_second(b, done.stacked[0], attributes["time_major"]), *done.states)

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        x = operands[0].shape
        return x[0] * x[1] * (operands[2].size + operands[3].size)


@register
class Svdf(SequenceLayer):
    """A layer that remembers the last M results of each of F filters: x [N, I] to [N, F / rank] and the next memory.

    Operands: x, the memory [N, F * M], filters over the features [I, F], filters over time [F, M], bias [F / rank].
    Each unit sums `rank` neighbouring filters. Nakkiran et al., "Compressing deep neural networks using a rank-
    constrained topology", 2015 (TFLite's SVDF).
    """

    name = "svdf"
    operands = ("x", "memory", "features", "time", "bias?")
    attributes = {
        "rank": AttributeSpec(int, "filters that make up a unit"),
        "activation": AttributeSpec(str, "of the result", ""),
    }
    non_differentiable = "no rule is known"

    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        x, memory, features, _, *bias = operands
        check_svdf(self, operands, attributes["rank"])
        units = features.shape[1] // attributes["rank"]
        if bias and bias[0].shape != (units,):
            raise ShapeError(f"svdf: the bias {bias[0]} doesn't fit {units} units")
        self.check_activation(attributes)
        return (TensorType(x.dtype, (x.shape[0], units)), memory.dense())

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> tuple[Value, ...]:
        x, memory, features, time, *bias = operands
        new = self.product(attributes)(b, "features", x, features)
        after = remembered(b, memory, new, time.type.shape)
        weighed = b.emit("reduce_sum", b.emit("mul", after, time), axes=(-1,))
        batch, rank = x.type.shape[0], attributes["rank"]
        units = features.type.shape[1] // rank
        parts = b.emit("reshape", weighed, shape=(batch, units, rank))
        total = b.emit("reduce_sum", parts, axes=(-1,))
        for value in bias:
            total = b.emit("add", total, value)
        next_memory = b.emit("reshape", after, shape=memory.type.shape)
        return self.activate(b, total, attributes["activation"]), next_memory

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        return operands[0].shape[0] * (operands[2].size + operands[3].size)


def check_svdf(operator: Operator, operands: Sequence[TensorType], rank: int) -> None:
    """Raise `ShapeError` unless memory and filters fit each other."""
    x, memory, features, time, *_ = operands
    if x.rank != 2 or features.rank != 2 or time.rank != 2 or features.shape[0] != x.shape[1]:
        raise ShapeError(f"{operator.name} can't apply filters {features} and {time} to {x}")
    filters, steps = time.shape
    if features.shape[1] != filters or memory.shape != (x.shape[0], filters * steps) or not steps:
        raise ShapeError(f"{operator.name} can't keep {filters} filters of {steps} steps in {memory}")
    if rank < 1 or filters % rank:
        raise ShapeError(f"{operator.name} can't make units of {rank} out of {filters} filters")


def remembered(b: Emits, memory: Value, new: Value, sizes: tuple[int, ...]) -> Value:
    """The memory [N, F * M] without the oldest results and with new ones [N, F] behind it, as [N, F, M]."""
    batch, (filters, steps) = memory.type.shape[0], sizes
    apart = b.emit("reshape", memory, shape=(batch, filters, steps))
    last = b.emit("reshape", new, shape=(batch, filters, 1))
    if steps == 1:
        return last
    kept = b.emit("slice", apart, begin=(0, 0, 1), size=(batch, filters, steps - 1))
    return b.emit("concat", kept, last, axis=-1)


INTEGER.none("its weights are quantized in files, where it is q_svdf", Svdf)
INTEGER.none("TFLite has it in floats alone", SequenceRnn)
PERMUTED.none("the step in time and the channels have places", SequenceRnn, Svdf)

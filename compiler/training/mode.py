"""Training mode: batch normalisation by the batch's own statistics, dropout that drops, moving ranges.

Everything becomes ordinary operators, so that differentiation needs to know nothing about training.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from ..errors import ShapeError
from ..graph.builder import Rewriter
from ..graph.ir import Operation, Value
from ..ops.reductions.normalization import Dropout
from .formula import Formula


@dataclass
class TrainingMode:
    """Copies the operations of a rewriter's graph, changed to what they do in training.

    A batch_norm normalises by the batch's mean and (biased) variance over all dimensions but the channels. Its running
    statistics move towards these: new = (1 - momentum) * old + momentum * batch, with the unbiased variance, as in
    PyTorch. One whose statistics are not parameters, or are frozen, stays as it is. A dropout keeps each element with
    probability 1 - rate, divided by that; which ones depends on `seed`, the dropout's number in the graph, and
    `counter`. The range of a fake_quantize with momentum moves towards the smallest and the largest element of the
    batch, if its ends are parameters that are neither trained nor frozen. A range that several of them share moves
    towards the smallest and the largest element of all their operands.

    Before::

        %0 = batch_norm(%x, %gamma, %beta, %mean, %variance) {momentum = 0.1}
        %1 = dropout(%0) {rate = 0.5}

    After::

        %0 = reduce_mean(%x) {axes = [0, 1, 2]}
        %1 = channel_variance(%x, %0)
        %2 = batch_norm(%x, %gamma, %beta, %0, %1)
        %3 = random_uniform(%step) {shape = [8, 4, 4, 16]}
        %4 = greater(0.5, %3)
        %5 = select(%4, 0.0, mul(%2, 2.0))
    """

    builder: Rewriter
    seed: int
    counter: Callable[[], Value]
    """Gives an i64 scalar that is another one in each step; called if something is random."""
    frozen: Collection[str] = frozenset()
    """Names of parameters that stay as they are."""
    statistics: dict[str, Value] = field(default_factory=dict)
    """Next values of the running statistics, by the name of their parameter."""
    _streams: int = 0
    _extremes: dict[Value, Formula] = field(default_factory=dict)
    """The batch's smallest or largest element, by the end of a range that moves towards it."""

    def copy(self) -> None:
        """Copy the whole graph."""
        for op in self.builder.graph.operations:
            if op.name == "batch_norm" and self._has_running_statistics(op):
                self._batch_norm(op)
            elif isinstance(op.operator, Dropout):
                self._dropout(op, op.operator)
            else:
                self.builder.copy(op)
                if op.name == "fake_quantize" and op.attributes["momentum"]:
                    self._observe(op)

    def _has_running_statistics(self, op: Operation) -> bool:
        return all(self._moves(v) for v in op.operands[3:])

    def _moves(self, value: Value) -> bool:
        """Whether a value is a parameter that isn't frozen."""
        op = self.builder.graph.producers.get(value)
        return op is not None and op.name == "param" and op.result.name not in self.frozen

    def _batch_norm(self, op: Operation) -> None:
        x, gamma, beta, *running = (self._formula(v, op) for v in op.operands)
        axes = tuple(range(x.type.rank - 1))
        count = x.type.size // x.type.shape[-1]
        if count < 2:
            raise ShapeError(
                f"batch_norm needs more than one value per channel for its statistics, not {x.type}",
                location=op.location,
                hint="train with a larger batch",
            )
        mean = x.apply("reduce_mean", axes=axes)
        variance = x.apply("channel_variance", mean)
        normal = x.apply("batch_norm", gamma, beta, mean, variance, **op.attributes)
        self.builder.replace(op.result, normal.value)
        momentum = float(op.attributes["momentum"])
        batch = (mean, variance * (count / (count - 1)))
        for param, old, new in zip(op.operands[3:], running, batch, strict=True):
            name = param.name or ""
            moved = old.with_value(self.statistics.get(name, old.value)) * (1 - momentum) + new * momentum
            self.statistics[name] = moved.value

    def _dropout(self, op: Operation, operator: Dropout) -> None:
        x = self._formula(op.operands[0], op)
        rate = float(op.attributes["rate"])
        if rate:
            attributes = {"dtype": str(x.type.dtype), "seed": self.seed, "stream": self._streams}
            shared = op.attributes["shared"]
            shape = tuple(1 if d in shared else size for d, size in enumerate(x.type.shape))
            uniform = x.with_value(self.counter()).apply("random_uniform", shape=shape, **attributes)
            dropped, factor, summand = operator.while_training(rate)
            kept = x * factor + summand if summand else x * factor
            x = x.number(rate).greater(uniform).where(x.number(dropped), kept)
        self._streams += 1
        self.builder.replace(op.result, x.value)

    def _observe(self, op: Operation) -> None:
        """Move the ends of a range. Of several operations that share it, the last one decides, knowing the others."""
        x, momentum = self._formula(op.operands[0], op), float(op.attributes["momentum"])
        for end, extreme, of_both in zip(
            op.operands[1:], ("reduce_min", "reduce_max"), ("minimum", "maximum"), strict=True
        ):
            if not self._moves(end) or self.builder.graph.producers[end].attributes["trainable"]:
                continue
            found = x.apply(extreme)
            known = self._extremes.get(end)
            self._extremes[end] = found if known is None else known.apply(of_both, found)
            moved = self._formula(end, op) * (1 - momentum) + self._extremes[end] * momentum
            self.statistics[end.name or ""] = moved.value

    def _formula(self, old: Value, op: Operation) -> Formula:
        return Formula(self.builder, self.builder[old], op.location)

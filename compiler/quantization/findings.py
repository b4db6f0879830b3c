"""What quantization loses or guesses without an error: told before somebody trusts the integers.

Ranges and weights alone decide it, so nothing is run. Noise that is measured does not show it: a concat may be exact to
45 dB while one of its operands, a thousandth of the others, is rounded to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from fnmatch import fnmatchcase

import numpy as np

from ..errors import Diagnostic
from ..graph.ir import Array, Graph, Operation, Scales, Value
from ..ops.facets import INTEGER
from ..ops.moves.shape import Pad
from ..types import DType
from .calibration import Ranges
from .methods import LEVELS
from .quantizer import Quantizer, Scheme
from .scales import largest_size, row_blocks, weight_scale

FEW = 16
"""Fewer levels than these lose what an activation says: 4 bits are left."""
FEW_OF_WEIGHTS = 4
"""Fewer steps than these between 0 and a filter's largest weight lose the filter."""
_KEPT = "keep what makes or reads it in floats"
_APART = "return the operands one by one, bring them to like ranges first"
_CLOSER = "pad with a number near those that are padded"
"""How operators lose nothing that bring operands to the scale of their result."""


class QuantizationWarning(UserWarning):
    """Quantization lost or guessed something that its results don't show; `finding` tells what, where, and a cure."""

    def __init__(self, finding: Diagnostic) -> None:
        super().__init__(finding)  # so that a copy, also in another process, is made of it
        self.finding = finding

    def __str__(self) -> str:
        where = f"{self.finding.location}: " if self.finding.location else ""
        return f"{where}{self.finding.message}; {self.finding.hint}"


def findings(graph: Graph, ranges: Ranges, scheme: Scheme | None = None) -> tuple[Diagnostic, ...]:
    """What the integer form of a prepared float graph loses or guesses: one sentence, a place and a cure for each."""
    return tuple(_Finder(graph, ranges, scheme or Scheme()))


class _Finder:
    def __init__(self, graph: Graph, ranges: Ranges, scheme: Scheme) -> None:
        self.graph, self.scheme = graph, scheme
        self.q = Quantizer(graph, ranges, scheme)
        self.told: set[Value] = set()
        """Values that nothing more is said about."""

    def __iter__(self) -> Iterator[Diagnostic]:
        integers = [op for op in self.graph.operations if op.name != "constant" and not self._stays_float(op)]
        for op in integers:
            joins = op.operator.scales is Scales.JOINT or _adds(op)
            if joins and self._is_watched(op.result):  # which those of indices and truth values are not
                yield from self._operands(op)
        for value in self.graph.inputs:
            yield from self._value(value, None)
        for op in integers:
            for value in op.results:
                yield from self._value(value, op)
            form = INTEGER.of(op.operator)
            if form is not None and form.operator:
                yield from self._weight(op)

    def _stays_float(self, op: Operation) -> bool:
        name = self.q.names[self.q.final(op)]
        return any(fnmatchcase(name, pattern) for pattern in self.scheme.keep_float)

    def _is_watched(self, value: Value) -> bool:
        return value in self.q.scales and value.type.dtype is DType.F32

    def _operands(self, op: Operation) -> Iterator[Diagnostic]:
        """Operands that are lost on the scale which a concat has for all of them, or a pad for its value, too."""
        y = self.q.scale(op.result)
        for number, value in enumerate(op.operands, 1):
            count = self.q.levels(value, y)
            if count >= FEW:
                continue
            self._tell(value)
            problem = (
                f"operand {number} of {op.name}, `{self.q.names[value]}` ({self.q.range(value)}), covers "
                f"{_count(count)} on the scale of the whole ({self.q.range(op.result)})"
            )
            hint = f"{_CLOSER if _adds(op) else _APART}, or {_KEPT}"
            yield Diagnostic(problem, op.location, hint)

    def _tell(self, value: Value) -> None:
        """Say nothing of a value any more, nor of what it only has elements of."""
        self.told.add(value)
        op = self.graph.producers.get(value)
        if op is not None and op.operator.scales is Scales.OPERAND:
            self._tell(op.operands[0])

    def _value(self, value: Value, op: Operation | None) -> Iterator[Diagnostic]:
        """An activation that few levels are left to, or that calibration saw nothing of."""
        if not self._is_watched(value) or value in self.told:
            return
        own, given = self.q.range(value), self.q.scale(value)
        location = op.location if op is not None else None
        constant = own.low == own.high
        count = self.q.levels(value, given)
        if not constant and count >= FEW:
            return
        self.told.add(value)
        if op is not None and self._follows(op, constant):
            return
        what = f"`{self.q.names[value]}`"
        if constant:
            problem = f"{what} was {own.low + 0.0:.3g} throughout all samples: its scale is a guess"
            yield Diagnostic(problem, location, "calibrate with samples like those that it will meet")
        else:
            yield Diagnostic(f"{what} ({own}) covers {_count(count)}: {self._reason(value, op)}", location, _KEPT)

    def _follows(self, op: Operation, constant: bool) -> bool:
        """True if what there is to say about a result was said about what it is made of."""
        if not constant:
            return op.operator.scales is Scales.OPERAND and op.operands[0] in self.told
        return all(v in self.told for v in self._sources(op))

    def _sources(self, op: Operation) -> Iterator[Value]:
        """The activations that an operation, with the one that it is fused into, reads."""
        for value in op.operands:
            producer = self.graph.producers.get(value)
            if self._is_watched(value) or producer is None:
                yield value
            elif producer.name != "constant":
                yield from self._sources(producer)

    def _reason(self, value: Value, op: Operation | None) -> str:
        if op is not None and op.operator.scales is Scales.OPERAND:
            source = op.operands[0]
            return f"{op.name} keeps the scale of `{self.q.names[source]}` ({self.q.range(source)})"
        if op is not None and op.operator.fixed_scale is not None:
            return f"TFLite fixes the scale of {op.name}"
        own, given = self.q.range(value), self.q.scale(value)
        if max(abs(own.low), abs(own.high)) / given.scale > LEVELS / 2 and (own.low > 0 or own.high < 0):
            return "a scale reaches 0, from which it is far"
        return "its scale is that of what it is joined to"

    def _weight(self, op: Operation) -> Iterator[Diagnostic]:
        """Filters that the scale of a weight rounds to nothing, though their results would be seen."""
        weight = self.q.known(op.operands[1])
        if weight is None or not self._is_watched(self.q.final(op)):
            return
        lost = self._lost_filters(op, weight)
        if lost.size:
            filters = f"{len(lost)} of {weight.shape[-1]} filters"
            problem = f"{filters} of `{self.q.names[op.operands[1]]}` keep fewer than {FEW_OF_WEIGHTS} of 127 steps"
            hint = "even them out (--equalize), give each filter a scale of its own, or keep the layer in floats"
            yield Diagnostic(f"{problem}, the first is number {lost[0]}", op.location, hint)

    def _lost_filters(self, op: Operation, weight: Array) -> Array:
        x, y = self.q.scale(op.operands[0]), self.q.scale(self.q.final(op))
        bias = self.q.known(op.operands[2]) if len(op.operands) > 2 else None
        each = self.scheme.has_channels(op)
        given = weight_scale(weight, bias, x, y, per_channel=each)
        rows = weight.reshape(-1, weight.shape[-1])
        total = sum((np.abs(rows[part]).sum(axis=0, dtype=np.float64) for part in row_blocks(rows)), np.zeros(1))
        own = self.q.range(op.operands[0])
        reach = total * max(abs(own.low), abs(own.high)) / np.sqrt(len(rows))
        few = largest_size(weight, per_channel=True) < FEW_OF_WEIGHTS * np.asarray(given.scales)
        return np.flatnonzero(few & (reach > y.scale))


def _count(levels: float) -> str:
    return f"{round(levels)} of {LEVELS} levels"


def _adds(op: Operation) -> bool:
    """True for an operator that puts a number beside those of its operand."""
    return isinstance(op.operator, Pad)

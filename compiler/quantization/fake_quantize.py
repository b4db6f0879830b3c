"""Fake quantization of a network: its float form, rounded wherever the integer form will be.

`fake_quantize(graph)` puts fake_quantize operations behind the values that `quantize` gives integers, with the same
sharing of scales, and on the weights. What is trained is the network's own parameters: batch_norm is folded by
operations on them, with the running statistics as they are. When training is over, `FakeQuantized.integers` makes the
network of integers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from ..errors import Diagnostic, InternalError, NetcError
from ..graph.analysis import static_values
from ..graph.builder import Rewriter
from ..graph.ir import Array, Attribute, Graph, Operation, Scales, Value
from ..graph.names import value_names
from ..graph.registry import lookup
from ..ops.moves.shape import Pad
from ..passes.canonicalize import canonicalize
from ..passes.cse import cse
from ..passes.dce import dce
from ..passes.freeze import bind, inference_form
from ..passes.two_dimensions import windows_in_two_dimensions
from ..types import DType, Quantization
from .calibration import Ranges, in_integer_operators
from .findings import findings
from .methods import Range
from .quantizer import Scheme
from .rules import quantize
from .scales import HIGHEST, LOWEST, WEIGHT_LIMIT, covered
from .sharing import ScaleGroup, scale_groups

MOMENTUM = 0.01
"""Share of a new batch in ranges that move."""
PREFIX = "ranges."
"""Begins the names of the parameters that hold ranges: `ranges.conv1/relu.low`."""


@dataclass(frozen=True)
class FakeQuantized:
    """A network with fake quantization."""

    graph: Graph
    """Takes and gives what the network does. Parameters: the network's, and the ends of ranges (f32 scalars)."""
    _floats: Graph
    """The same without fake quantization."""
    _scheme: Scheme
    _names: Mapping[Value, str]
    _groups: tuple[ScaleGroup, ...]

    def values(self, ranges: Ranges) -> dict[str, Array]:
        """The parameters that hold ranges, from calibrated ones; raises `NetcError` if some are missing."""
        values: dict[str, Array] = {}
        for group in self._groups:
            if group.fixed is None:
                given = group.range(ranges, self._names)
                values[self._name(group, "low")] = np.array(given.low, np.float32)
                values[self._name(group, "high")] = np.array(given.high, np.float32)
        return values

    def ranges(self, values: Mapping[str, Array], method: str, samples: int) -> Ranges:
        """The range of each activation, from the parameters that hold them."""
        found: dict[str, Range] = {}
        for group in self._groups:
            if group.fixed is None:
                low, high = (float(values[self._name(group, end)]) for end in ("low", "high"))
                given = Range(min(low, 0.0), max(high, 0.0))
            else:
                given = covered(group.fixed)
            found.update((self._names[v], given) for v in group.members)
        return Ranges({name: found[name] for name in self._names.values() if name in found}, method, samples)

    def integers(self, params: Mapping[str, Array], ranges: Ranges, *, edges: DType = DType.I8) -> Graph:
        """The network of integers for trained parameters and ranges; `edges` is the type of inputs and outputs.

        Biases are as they were trained, with weights that were rounded already: means of the ranges change nothing.
        """
        scheme = replace(self._scheme, inputs=edges, outputs=edges)
        return quantize(bind(self._floats, params), replace(ranges, means={}), scheme)

    def findings(self, params: Mapping[str, Array], ranges: Ranges) -> tuple[Diagnostic, ...]:
        """What the network of integers for trained parameters and ranges loses or guesses."""
        return findings(bind(self._floats, params), ranges, self._scheme)

    def _name(self, group: ScaleGroup, end: str) -> str:
        return f"{PREFIX}{self._names[group.sources[0]]}.{end}"


def fake_quantize(graph: Graph, *, learned: bool = False, scheme: Scheme | None = None) -> FakeQuantized:
    """A float network with a `fake_quantize` at each place where its integer form rounds.

    The range of an activation is two parameters. With `learned` they are trained by gradients; else training moves them
    towards the smallest and the largest element of each batch. The range of a weight is symmetric and covers its
    largest element at that step. Biases have 32 bits and aren't rounded. Dropout is left out. Raises `NetcError` for
    operators without an integer form, located at the operation, and for a scheme that keeps some in floats.

    Before::

        %0 = batch_norm(conv2d(%x, %weight), ...)
        %1 = relu(%0)

    After::

        %2 = fake_quantize(%x, %ranges.x.low, %ranges.x.high) {momentum = 0.01}
        %5 = mul(%weight, ...)                                             (batch_norm, folded)
        %6 = reduce_max(abs(%5)) {axes = [0, 1, 2]}
        %7 = fake_quantize(%5, neg(%6), %6) {lowest = -127}
        %8 = conv2d(%2, %7, ...)
        %9 = fake_quantize(relu(%8), %ranges.relu.low, %ranges.relu.high) {momentum = 0.01}
    """
    scheme = scheme or Scheme()
    if scheme.keep_float or scheme.allow_float:
        raise NetcError("training with fake quantization can't keep parts of a network in floats")
    return _Inserter(_float_form(graph), learned, scheme).run()


def _float_form(graph: Graph) -> Graph:
    """What `prepare` makes, but with parameters."""
    folded = windows_in_two_dimensions(inference_form(dce(graph), integers=True))
    return in_integer_operators(dce(cse(canonicalize(folded))))


class _Inserter:
    """Copies a graph, and rounds on the way."""

    def __init__(self, floats: Graph, learned: bool, scheme: Scheme) -> None:
        self.floats, self.learned, self.scheme = floats, learned, scheme
        self.static = static_values(floats)
        self.b = Rewriter(floats)
        bound = _bound(floats)
        self.names = value_names(bound)
        self.groups = scale_groups(bound)
        some = {self.names[v]: Range(-1, 1) for group in self.groups for v in group.members}
        quantize(bound, Ranges(some, "", 0), scheme)  # refuses what it can't quantize, before anything is trained
        self.group_of = {v: group for group in self.groups for v in group.members}
        self.twins = self._twins(bound)
        self.ends: dict[ScaleGroup, tuple[Value, Value]] = {}
        self.weights: dict[tuple[Value, bool], Value] = {}

    def _twins(self, bound: Graph) -> dict[Value, Value]:
        """The value of the bound graph, which groups and names are those of, for each one that isn't static."""
        varying = [op for op in self.floats.operations if not self.static.issuperset(op.results)]
        others = [op for op in bound.operations if op.name != "constant"]
        if [op.name for op in varying] != [op.name for op in others]:
            raise InternalError("binding parameters changed the network")
        pairs = zip(varying, others, strict=True)
        twins = {r: t for op, other in pairs for r, t in zip(op.results, other.results, strict=True)}
        return twins | dict(zip(self.floats.inputs, bound.inputs, strict=True))

    def run(self) -> FakeQuantized:
        for value in self.floats.inputs:
            self._round(value)
        for op in self.floats.operations:
            if self.static.issuperset(op.results):
                self.b.copy(op)
                continue
            self._copy(op)
            for result in op.results:
                if not self._is_on_grid(op, result):
                    self._round(result)
        return FakeQuantized(self.b.close(), self.floats, self.scheme, self.names, self.groups)

    def _copy(self, op: Operation) -> None:
        """Copy an operation, which reads rounded weights and constants."""
        rounded = {v: self._constant(op, v) for v in op.operands if v in self.static and v.type.dtype.is_float}
        kept = {v: self.b[v] for v in rounded}
        for value, new in rounded.items():
            self.b.replace(value, new)
        self.b.copy(op)
        for value, old in kept.items():
            self.b.replace(value, old)

    def _is_on_grid(self, op: Operation, result: Value) -> bool:
        """True if a result needs no rounding, because its operands were rounded to the same grid."""
        group = self._group(result)
        if group is None:
            return True
        if op.operator.scales is Scales.JOINT:
            return all(self._group(v) is group for v in op.operands)
        exact = op.operator.scales is Scales.OPERAND and not op.operator.rounds
        if isinstance(op.operator, Pad):
            exact = op.attributes["value"] == 0
        return exact and self._group(op.operands[0]) is group

    def _group(self, value: Value) -> ScaleGroup | None:
        return self.group_of.get(self.twins[value]) if value in self.twins else None

    # ---- activations ----

    def _round(self, value: Value) -> None:
        """From now on the value is read as rounded to its grid."""
        group = self._group(value)
        if group is None:
            return
        attributes: dict[str, Attribute] = {}
        if group.fixed is None and self.learned:
            attributes["gradient_scale"] = 1 / math.sqrt(_elements(value) * (HIGHEST - LOWEST))
        elif group.fixed is None and self.twins[value] in group.sources:
            attributes["momentum"] = MOMENTUM
        operands = (self.b[value], *self._range(group))
        producer = self.floats.producers.get(value)
        location = producer.location if producer is not None else None
        rounded = self.b.operation(lookup("fake_quantize"), operands, attributes, location=location)
        self.b.replace(value, rounded.result)

    def _range(self, group: ScaleGroup) -> tuple[Value, Value]:
        """The ends of a group's range."""
        if group not in self.ends:
            self.ends[group] = self._fixed(group.fixed) if group.fixed is not None else self._parameters(group)
        return self.ends[group]

    def _fixed(self, given: Quantization) -> tuple[Value, Value]:
        ends = covered(given)
        return self.b.scalar(ends.low, DType.F32), self.b.scalar(ends.high, DType.F32)

    def _parameters(self, group: ScaleGroup) -> tuple[Value, Value]:
        name = f"{PREFIX}{self.names[group.sources[0]]}"
        low, high = (
            self.b.emit("param", name=f"{name}.{end}", shape=(), trainable=self.learned) for end in ("low", "high")
        )
        return low, high

    # ---- weights ----

    def _constant(self, op: Operation, value: Value) -> Value:
        """A weight, or another value that the input doesn't decide, as the integer form of `op` reads it."""
        if not op.operator.contraction:
            # concat, maximum and minimum take constants on the grid of the result, which is rounded anyway.
            return self.b[value] if op.operator.scales in (Scales.COMMON, Scales.JOINT) else self._asymmetric(value)
        if value is not op.operands[1]:
            return self.b[value]
        per_channel = self.scheme.has_channels(op)
        if (value, per_channel) not in self.weights:
            self.weights[value, per_channel] = self._symmetric(value, per_channel)
        return self.weights[value, per_channel]

    def _symmetric(self, value: Value, per_channel: bool) -> Value:
        new = self.b[value]
        axes = tuple(range(value.type.rank - 1)) if per_channel else None
        size = self.b.emit("abs", self.b.emit("stop_gradient", new))
        limit = self.b.emit("reduce_max", size, axes=axes)
        low = self.b.emit("neg", limit)
        return self.b.emit("fake_quantize", new, low, limit, lowest=-WEIGHT_LIMIT, highest=WEIGHT_LIMIT)

    def _asymmetric(self, value: Value) -> Value:
        new = self.b[value]
        fixed = self.b.emit("stop_gradient", new)
        low, high = (self.b.emit(f"reduce_{end}", fixed) for end in ("min", "max"))
        return self.b.emit("fake_quantize", new, low, high)


def _bound(floats: Graph) -> Graph:
    """The graph with some constants for parameters: which ones makes no difference to its form."""
    zeros = {
        op.result.name or "": np.zeros(op.result.type.shape, op.result.type.dtype.numpy) for op in floats.parameters
    }
    with np.errstate(all="ignore"):
        return bind(floats, zeros)


def _elements(value: Value) -> int:
    """Elements for one sample."""
    return max(1, value.type.size // (value.type.shape[0] if value.type.rank > 1 else 1))

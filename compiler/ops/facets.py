"""What the rest of netc knows of an operator: the rules of its consumers, a registry for each of them.

A *facet* holds rules by operator class. A rule stands in the operator's own file, made by `rules`, or with its consumer
where it is long or shared by many operators. It holds for derived classes, too, unless these have one of their own.
An operator without a rule has a reason; `tests/compiler/ops/test_facets.py` demands one of both for each operator.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from ..graph.ir import Attributes, Builder, Operation, Operator, Results, Value
from ..types import DType, TensorType
from .moves.axes import Permutation

RuleT = TypeVar("RuleT")


class Facet(Generic[RuleT]):
    """The rules of one consumer. `title` heads its column in docs/operators.md."""

    def __init__(self, title: str) -> None:
        self.title = title
        self._rules: dict[type[Any], RuleT] = {}
        self._reasons: dict[type[Any], str] = {}
        self._by_trait: list[tuple[Callable[[Operator], bool], RuleT]] = []
        self._found: dict[Operator, RuleT | None] = {}
        """What `of` gave since the last rule came."""

    def add(self, rule: RuleT, *operators: type[Any]) -> None:
        """Give operators a rule."""
        for operator in operators:
            self._check_free(operator)
            self._rules[operator] = rule
        self._found.clear()

    def none(self, reason: str, *operators: type[Any]) -> None:
        """Say why operators have no rule."""
        for operator in operators:
            self._check_free(operator)
            self._reasons[operator] = reason
        self._found.clear()

    def by_trait(self, has_trait: Callable[[Operator], bool], rule: RuleT) -> None:
        """Give a rule to all operators with a trait, but for classes that have one, or a reason for none."""
        self._by_trait.append((has_trait, rule))
        self._found.clear()

    def _check_free(self, operator: type[Any]) -> None:
        if operator in self._rules or operator in self._reasons:
            raise ValueError(f"{self.title}: {operator.__name__} has a rule, or a reason for none, already")

    def of(self, operator: Operator) -> RuleT | None:
        """The rule of an operator, or None."""
        if operator not in self._found:
            self._found[operator] = self._searched(operator)
        return self._found[operator]

    def _searched(self, operator: Operator) -> RuleT | None:
        base = next(self._known(operator), None)
        if base is not None:
            return self._rules.get(base)
        return next((rule for has_trait, rule in self._by_trait if has_trait(operator)), None)

    def reason(self, operator: Operator) -> str | None:
        """Why an operator has no rule; None if it has one, or if nobody said."""
        return next((self._reasons.get(base) for base in self._known(operator)), None)

    def _known(self, operator: Operator) -> Iterator[type[Any]]:
        return (base for base in type(operator).__mro__ if base in self._rules or base in self._reasons)


@dataclass(frozen=True, slots=True)
class IntegerForm:
    """What quantization makes of an operator (see `quantization.rules`)."""

    emit: Callable[[Any, Operation], Value] | None
    """Emits the integer form into a `Quantizer` and returns its result; None if `prepare` leaves nothing to do."""
    prepare: Callable[[Any, Operation], Results | None] | None = None
    """What stands for an operation before calibration, emitted into a `Rewriter`; None where it stays."""
    limited: bool = False
    """The integer form limits its results, so that the activation which alone reads them becomes part of it."""
    operator: str = ""
    """The operator that it is, where there is one and it has weights: "q_conv2d"."""
    filters: bool = False
    """Operand 1 holds filters along its last dimension, and each result is the product of a row with one of them."""
    short: bool = True
    """It takes activations of 16 bits, too."""


class Narrow(enum.Enum):
    """How a TFLite kernel takes integers of 8 and 16 bits, if the operation itself doesn't say what they mean."""

    MISREAD = "misread"
    """As quantized numbers, even without a scale, unless it computes with them (see `TfliteForm.plain`)."""
    COPIED = "copied"
    """As they are."""
    ALIKE = "alike"
    """As they are where all have one scale, or none."""
    COMPARED = "compared"
    """As they are where all have one scale that is fine enough (see `compares_integers`)."""


@dataclass(frozen=True, slots=True)
class TfliteForm:
    """How an operator is written into a TFLite file (see `tflite.emitter`)."""

    emit: Callable[[Any, Operation], None]
    """Writes an operation into an `Emitter`."""
    kind: str | tuple[str, ...] = ()
    """The TFLite operator that it becomes, or those that it may become."""
    activated: bool = False
    """The TFLite operator has a field for an activation."""
    narrow: Narrow = Narrow.MISREAD
    plain: frozenset[DType] = frozenset()
    """Integers of 8 and 16 bits without a scale that the kernel computes with."""
    raw: frozenset[DType] = frozenset()
    """Integers of 8 and 16 bits that the kernel takes as they are, whatever scale the file states."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """The TFLite operators that it may become."""
        return (self.kind,) if isinstance(self.kind, str) else self.kind


@dataclass(frozen=True, slots=True)
class Permuted:
    """A use of an operator on transposed operands.

    With these attributes, on the operands transposed by `operands`, it gives its result transposed by `result`.
    """

    attributes: Attributes
    result: Permutation
    operands: tuple[Permutation, ...]
    operator: Operator | None = None
    """The one that does so, where it is another one."""
    emit: Callable[[Builder, tuple[Value, ...]], Value] | None = field(default=None, compare=False)
    """Emits the result from the transposed operands, where that takes several operations."""


def along_axis(operands: tuple[TensorType, ...], attributes: Attributes, permutation: Permutation) -> Permuted:
    """The rule of an operator of one operand that works along the dimension `axis`."""
    moved = {**attributes, "axis": permutation.index(attributes["axis"] % len(permutation))}
    return Permuted(moved, permutation, (permutation,))


PermutationRule = Callable[[tuple[TensorType, ...], Attributes, Permutation], Permuted | None]
"""How a use on operands of these types, with these attributes, commutes with a permutation of the axes of those
operands that have the highest rank; None where it doesn't."""
Rewrite = Callable[[Any, Operation], Results | None]
"""What stands for the results of an operation, emitted into a `Rewriter`; None where the operation stays."""
EdgeRule = Callable[[Any, Operation, Any], None]
"""Adds the facts of an operation to an `edgetpu.from_graph.Conversion`, given the facts of its operands."""

SIMPLIFY: Facet[tuple[Callable[[Any, Any, Operation], Value | None], ...]] = Facet("simplifications")
"""Rewrites that are always right, tried in order; they take canonicalize's `View`, a `Rewriter` and an operation."""
TWO_DIMENSIONS: Facet[Rewrite] = Facet("two dimensions")
"""Windows of one and three dimensions as windows of two."""
LEGALIZE: Facet[Rewrite] = Facet("legalize for the Edge TPU")
"""What the Edge TPU lacks, said with operators that it has."""
INTEGER: Facet[IntegerForm] = Facet("integer form")
TFLITE: Facet[TfliteForm] = Facet("TFLite")
EDGETPU: Facet[EdgeRule] = Facet("Edge TPU")
"""Rules of operators that become something else than the kind of their TFLite form."""
PERMUTED: Facet[PermutationRule] = Facet("permutation of axes")
"""How operators commute with a permutation of axes; the rules stand in `permutation`."""


def own_rule(facet: Facet[Rewrite]) -> Rewrite:
    """The rewrite that is each operator's own."""

    def rule(b: Any, op: Operation) -> Results | None:
        own = facet.of(op.operator)
        return own(b, op) if own is not None else None

    return rule


TfliteReader = Callable[[Any], Value | tuple[Value | None, ...]]
"""Adds what a TFLite operator becomes to a `frontend.tflite.context.Context`, and returns its results.

None stands for a result that is no value: what refers to a variable.
"""
_READERS: dict[str, TfliteReader] = {}


def reads(reader: TfliteReader, *kinds: str) -> None:
    """Say what TFLite operators become."""
    for kind in kinds:
        if kind in _READERS:
            raise ValueError(f"{kind} is read in two ways")
        _READERS[kind] = reader


def readers() -> Mapping[str, TfliteReader]:
    """The readers by the name of the TFLite operator."""
    return _READERS

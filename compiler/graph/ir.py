"""The graph IR: SSA dataflow over tensors with static shapes, and what an operator is.

A `Graph` is a tuple of `Operation`s in topological order. Values, operations and graphs are never changed once made;
a pass builds a new graph (see `builder`) that shares every operation it did not touch. All of them can be copied and
pickled.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, Self, cast

from ..errors import InternalError, Location, NetcError, ShapeError
from ..loops.compute import Compute, Element, Procedure
from ..loops.ir import Expr, Stmt
from ..types import DType, Quantization, TensorType
from .algorithm import Algorithm
from .declarations import Array, Attribute, Attributes, AttributeSpec, Scales, Seams, completed, plain
from .element_types import check_floats, check_one_type

__all__ = [
    "Array",
    "Attribute",
    "AttributeSpec",
    "Attributes",
    "Builder",
    "Emits",
    "Graph",
    "Operation",
    "Operator",
    "Results",
    "Scales",
    "Seams",
    "Value",
    "walk",
]


@dataclass(frozen=True, eq=False, slots=True)
class Value:
    """One tensor in a graph. `name` is set where it means something to people: inputs, parameters."""

    type: TensorType
    name: str | None = None


Results = Value | tuple[Value, ...]
"""The only result of an operation, or all of several."""


class Operator(ABC):
    """Base class of all operators: one class per operator holds everything netc knows about it.

    Operands, attributes, shape rule (`infer`), NumPy meaning (`evaluate`), loop lowering (`compute`), gradient, cost.
    An operator has one instance, without state.
    """

    _instance: ClassVar[Operator]
    name: ClassVar[str]
    operands: ClassVar[tuple[str, ...]]
    """Names of the operands; "bias?" may be absent (only trailing ones), "*values" stands for any number."""
    attributes: ClassVar[Mapping[str, AttributeSpec]] = MappingProxyType({})
    floats_only: ClassVar[bool] = False
    """All operands are floats, of one type: others are refused before `infer` is asked. Integers have no such function,
    or none that stays among them."""
    elementwise: ClassVar[bool] = False
    """Each result element depends only on the elements at the same (broadcast) place."""
    commutative: ClassVar[bool] = False
    contraction: ClassVar[bool] = False
    """A sum of products with a weight (operand 1) and an optional bias (operand 2): convolutions and dense."""
    keeps_quantization: ClassVar[bool] = False
    """Results hold elements of the operands, unchanged: they are quantized as these are."""
    moves: ClassVar[bool] = False
    """Results hold elements of all operands at other places, whatever these stand for; around them may be padding, the
    attribute `value`."""
    picks: ClassVar[bool] = False
    """Each result is one of the operand's elements, by its place or its size: rounding these before gives what rounding
    results gives."""
    anchor: ClassVar[bool] = False
    """Elementwise operators on the result may join it in one kernel: contractions, pooling, reductions."""
    reads_once: ClassVar[bool] = False
    """An anchor that reads each element of its operand once, so that what makes them may join its kernel."""
    piecewise_constant: ClassVar[bool] = False
    """The derivative is zero wherever there is one (comparisons, sign): differentiation ends here, silently."""
    non_differentiable: ClassVar[str] = ""
    """Why there is no gradient, for operators without one: differentiation through them is refused with this reason."""
    view: ClassVar[bool] = False
    """Between dense tensors it only gives memory another shape."""
    internal: ClassVar[bool] = False
    """Passes make it; no text of a network calls it."""
    memory_bound: ClassVar[bool] = False
    """Making the result costs no more than passing over memory once; so it is with all elementwise operators."""
    work: ClassVar[int] = 1
    """Operations on single elements that an element of the result costs, in units of an addition."""
    clips: ClassVar[bool] = False
    """Elements inside `bounds` pass unchanged, others become the nearer bound: an activation that can be fused."""
    homogeneous: ClassVar[bool] = False
    """A positive factor of each channel passes through: f(a * x) = a * f(x)."""
    scales: ClassVar[Scales] = Scales.OWN
    rounds: ClassVar[bool] = False
    """Results on the scale of operand 0 are no elements of it, but means: they are rounded to that scale."""
    fixed_scale: ClassVar[Quantization | None] = None
    """The scale of 8-bit results that TensorFlow Lite's quantization specification demands."""
    procedural: ClassVar[bool] = False
    """Results aren't made one by one, but by statements in an order that counts: `procedure`, in place of `compute`."""
    regions: ClassVar[tuple[str, ...]] = ()
    """Attributes that hold graphs which the operator runs: conditions and loops (see `regions`)."""
    keeps_layouts: ClassVar[bool] = False
    """Graphs that it runs take operands and give results as they lie, margins included; else these are dense."""
    passive_operands: ClassVar[int] = 0
    """How many operands, from the first, never get a gradient, so that what makes them needn't be differentiable."""

    def __new__(cls) -> Self:
        """The only instance, in copies and pickles, too."""
        if "_instance" not in cls.__dict__:
            cls._instance = super().__new__(cls)
        return cast(Self, cls._instance)

    def __reduce__(self) -> tuple[type[Operator], tuple[()]]:
        return type(self), ()

    @property
    def doc(self) -> str:
        """First line of the class docstring."""
        return (self.__doc__ or "").strip().splitlines()[0]

    @abstractmethod
    def infer(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        """Shape rule: result types from operand types; raises `ShapeError` with both shapes where they do not fit."""

    def result_types(self, operands: tuple[TensorType, ...], attributes: Attributes) -> tuple[TensorType, ...]:
        """Result types with their quantization: what `infer` says, or that of the operands where it is kept.

        Raises `ShapeError` for sizes below 0, for operands that aren't floats where there must be floats, and for a
        quantization that the elements can't have.
        """
        if self.floats_only:
            check_floats(self, *operands)
            check_one_type(self, *operands)
        inferred = self.infer(operands, attributes)
        for type_ in inferred:
            self._check_result(type_)
        if not self.keeps_quantization:
            return inferred
        kept = {operand.quantization for operand in operands}
        quantization = kept.pop() if len(kept) == 1 else None
        if quantization is None or not quantization.is_per_tensor:
            return tuple(t.with_quantization(None) for t in inferred)
        return tuple(t.with_quantization(quantization) for t in inferred)

    def _check_result(self, type_: TensorType) -> None:
        if any(size < 0 for size in type_.shape):
            raise ShapeError(f"{self.name} can't give {type_}: a size is negative")
        given = type_.quantization
        problem = given.problem(type_.dtype, type_.shape) if given is not None and not self.keeps_quantization else None
        if problem is not None:
            raise ShapeError(f"{self.name}: {problem}")

    def works_by_rows(self, operands: tuple[TensorType, ...]) -> bool:
        """Whether some rows of the only result, along the first axis, can be made without the others: by `rows`."""
        return False

    def rows(self, operands: tuple[Array, ...], attributes: Attributes, start: int, stop: int) -> Array:
        """Rows `start` to `stop` of the result: by default, what is made of these rows of the only operand."""
        return self.evaluate((operands[0][start:stop],), attributes)[0]

    @abstractmethod
    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        """The meaning, in NumPy."""

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Element:
        """Loop lowering: the result element at `index`, as an expression or a reduction over operand elements."""
        raise NotImplementedError(f"{self.name} has no loop lowering; it must be decomposed or folded before")

    def procedure(self, p: Procedure, attributes: Attributes) -> list[Stmt]:
        """Loop lowering of a procedural operator: statements that read the operands and write the result.

        They write each element of the result, whose memory holds anything before.
        """
        raise NotImplementedError(f"{self.name} is made element by element")

    def seams(self, operands: Sequence[TensorType], attributes: Attributes) -> Seams:
        """Places along a dimension of the result from which on its elements come from elsewhere.

        Between two of them, neighbours in the result are neighbours in an operand, too (see `Compute.bounds`).
        """
        return Seams()

    def input_margins(
        self, operands: Sequence[TensorType], attributes: Attributes
    ) -> tuple[tuple[int, int], ...] | None:
        """Margins of zeros around operand 0 that spare a kernel all bounds checks; None where it needs none."""
        return None

    def bounds(self, attributes: Attributes) -> tuple[float, float]:
        """Numbers between which all results lie that aren't NaN."""
        return -math.inf, math.inf

    def expand(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Results | None:
        """The results made of simpler operators, for those that have no form of this one, such as a TFLite file."""
        return self.decompose(b, operands, attributes)

    def decompose(self, b: Builder, operands: tuple[Value, ...], attributes: Attributes) -> Results | None:
        """Composite operators: the results made of simpler operators. None for all others, which `compute` lowers."""
        return None

    def gradient(self, b: Builder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
        """Gradient rule: operations that compute the cotangent of each operand (None: zero) from those of the results.

        `op` is the operation as it stands in the graph under construction, so that its operands and results may be
        used. The rule is linear in the cotangents. Raises `NetcError` for operators without a gradient.
        """
        if self.piecewise_constant:
            return (None,) * len(op.operands)
        reason = self.non_differentiable or "no rule is known"
        raise NetcError(f"{self.name} can't be differentiated: {reason}", location=op.location)

    def macs(self, operands: tuple[TensorType, ...], results: tuple[TensorType, ...], attributes: Attributes) -> int:
        """Multiply-accumulate operations of one execution; 0 for operators that are not contractions."""
        return 0

    def complete(self, given: Attributes) -> Attributes:
        """Fill in defaults and check names and kinds of attributes."""
        return completed(self.name, self.attributes, given)

    def check_arity(self, count: int) -> None:
        """Raise `ShapeError` unless `count` operands fit the declaration."""
        required = sum(not n.startswith("*") and not n.endswith("?") for n in self.operands)
        unlimited = any(n.startswith("*") for n in self.operands)
        if count < required or (count > len(self.operands) and not unlimited):
            raise ShapeError(f"{self.name} takes {', '.join(self.operands)}, not {count} operands")


@dataclass(frozen=True, eq=False, slots=True)
class Operation:
    """One use of an operator. `body` holds the group of a `fused` operation."""

    operator: Operator
    operands: tuple[Value, ...]
    attributes: Attributes
    results: tuple[Value, ...]
    location: Location | None = None
    body: Graph | None = None
    algorithm: Algorithm | None = None
    """What a backend decided; None: nothing but how it computes such operations as a rule."""

    def __reduce__(self) -> tuple[Any, ...]:
        attributes = plain(self.attributes)
        rest = (self.results, self.location, self.body, self.algorithm)
        return _operation, (self.operator, self.operands, attributes, *rest)

    @property
    def name(self) -> str:
        """The operator's name."""
        return self.operator.name

    @property
    def result(self) -> Value:
        """The only result."""
        (result,) = self.results
        return result


@dataclass(frozen=True, eq=False)
class Graph:
    """A network: typed inputs, operations in topological order, outputs, and attributes such as `preprocess`.

    Where the attribute `updates` names parameters, these are state: the last outputs are what each run leaves in them.
    """

    name: str
    inputs: tuple[Value, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[Value, ...]
    attributes: Attributes = field(default_factory=lambda: MappingProxyType({}))

    def __reduce__(self) -> tuple[Any, ...]:
        return _graph, (self.name, self.inputs, self.operations, self.outputs, plain(self.attributes))

    @cached_property
    def producers(self) -> Mapping[Value, Operation]:
        """The operation that defines each value (graph inputs have none)."""
        return {result: op for op in self.operations for result in op.results}

    @cached_property
    def users(self) -> Mapping[Value, Sequence[Operation]]:
        """The operations that read each value, in order; a value that nothing reads has an empty list."""
        users: dict[Value, list[Operation]] = {v: [] for v in self.inputs}
        for op in self.operations:
            for operand in dict.fromkeys(op.operands):
                users[operand].append(op)
            for result in op.results:
                users[result] = []
        return users

    def has_one_use(self, value: Value) -> bool:
        """True if one operation reads the value, and nobody else: it is no output."""
        return len(self.users[value]) == 1 and value not in self.outputs

    @property
    def parameters(self) -> tuple[Operation, ...]:
        """The `param` operations, in order."""
        return tuple(op for op in self.operations if op.name == "param")

    @property
    def weights(self) -> tuple[Operation, ...]:
        """The `param` operations whose values come from elsewhere: all but those that state what they begin with."""
        return tuple(op for op in self.parameters if op.attributes["value"] is None)

    @cached_property
    def states(self) -> tuple[Operation, ...]:
        """The `param` operations that each run gives new values, in the order of the attribute `updates`."""
        names = self.attributes.get("updates", ())
        by_name = {op.result.name: op for op in self.parameters} if names else {}
        missing = [name for name in names if name not in by_name]
        if missing or len(names) > len(self.outputs):
            raise InternalError(f"graph {self.name} updates what is no parameter of it: {', '.join(missing)}")
        return tuple(by_name[name] for name in names)

    @property
    def results(self) -> tuple[Value, ...]:
        """The outputs that callers get: all but the next values of `states`, which come last."""
        return self.outputs[: len(self.outputs) - len(self.attributes.get("updates", ()))]

    @property
    def updates(self) -> Mapping[Value, Value]:
        """The values of `states`, each with the one that replaces it."""
        states = self.states
        return dict(zip((op.result for op in states), self.outputs[len(self.results) :], strict=True))

    def __str__(self) -> str:
        from .printer import print_graph  # it reads what is defined here

        return print_graph(self)


class Emits(Protocol):
    """What takes operations by the name of their operator: the builder of a rule, or that of a layer."""

    def emit(self, operator: str, *operands: Value, **attributes: Attribute) -> Value:
        """Add an operation and return its only result."""
        ...


class Builder(Emits, Protocol):
    """What a rule needs to emit operations: `builder.GraphBuilder` and those that derive from it."""

    def operation(
        self,
        operator: Operator,
        operands: Sequence[Value],
        attributes: Attributes | None = None,
        *,
        location: Location | None = None,
        name: str | None = None,
        body: Graph | None = None,
    ) -> Operation:
        """Add an operation; attributes are completed and checked, result types inferred (`ShapeError` if unfit)."""
        ...

    def emit(
        self,
        operator: str,
        *operands: Value,
        location: Location | None = None,
        name: str | None = None,
        **attributes: Attribute,
    ) -> Value:
        """Add an operation by operator name and return its only result."""
        ...

    def constant(
        self,
        value: Array,
        location: Location | None = None,
        *,
        quantization: Quantization | None = None,
        name: str | None = None,
    ) -> Value:
        """Add a constant."""
        ...

    def scalar(self, value: float, dtype: DType, location: Location | None = None) -> Value:
        """Add a constant of rank 0."""
        ...

    def inline(self, graph: Graph, arguments: Sequence[Value]) -> tuple[Value, ...]:
        """Add the operations of another graph, its inputs standing for `arguments`, and return its outputs."""
        ...


def _operation(operator: Operator, operands: tuple[Value, ...], attributes: dict[str, Any], *rest: Any) -> Operation:
    return Operation(operator, operands, MappingProxyType(attributes), *rest)


def _graph(
    name: str,
    inputs: tuple[Value, ...],
    operations: tuple[Operation, ...],
    outputs: tuple[Value, ...],
    attributes: dict[str, Any],
) -> Graph:
    return Graph(name, inputs, operations, outputs, MappingProxyType(attributes))


def walk(graph: Graph) -> Iterator[Operation]:
    """All operations of a graph, those inside fused bodies too, in order."""
    for op in graph.operations:
        yield op
        if op.body is not None:
            yield from walk(op.body)

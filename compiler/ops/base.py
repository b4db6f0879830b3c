"""What an operator is, and the registry of all of them.

One class per operator holds everything netc knows about it: operands, attributes, shape rule (`infer`), NumPy meaning
(`evaluate`), loop lowering (`compute`), gradient, cost. A *layer* is what people write in a `.net` file: a function
that creates parameters and emits operators; layers stand beside the operators that they use.
"""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from ..errors import NetcError, ShapeError, near_miss
from ..graph.ir import Array, Attribute, Attributes, Operation, Value
from ..graph.types import TensorType
from ..loops.compute import Compute, Element
from ..loops.ir import Expr
from .element_types import check_floats, check_one_type

if TYPE_CHECKING:
    from ..graph.builder import GraphBuilder

REQUIRED = object()
"""Default of an attribute that must be given."""


@dataclass(frozen=True, slots=True)
class AttributeSpec:
    """Declared attribute of an operator; `kind` is a class, or a tuple of classes, that its values belong to."""

    kind: type | tuple[type, ...]
    doc: str
    default: Any = REQUIRED


class Operator(ABC):
    """Base class of all operators. Instances carry no state."""

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
    anchor: ClassVar[bool] = False
    """Elementwise operators on the result may join it in one kernel: contractions, pooling, reductions."""
    reads_once: ClassVar[bool] = False
    """An anchor that reads each element of its operand once, so that what makes them may join its kernel."""
    piecewise_constant: ClassVar[bool] = False
    """The derivative is zero wherever there is one (comparisons, sign): differentiation ends here, silently."""
    non_differentiable: ClassVar[str] = ""
    """Why there is no gradient, for operators without one: differentiation through them is refused with this reason."""
    passive_operands: ClassVar[int] = 0
    """How many operands, from the first, never get a gradient, so that what makes them needn't be differentiable."""

    def __reduce__(self) -> tuple[Callable[[str], Operator], tuple[str]]:
        return lookup, (self.name,)

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

    @abstractmethod
    def evaluate(self, operands: tuple[Array, ...], attributes: Attributes) -> tuple[Array, ...]:
        """The meaning, in NumPy."""

    def compute(self, c: Compute, index: tuple[Expr, ...], attributes: Attributes) -> Element:
        """Loop lowering: the result element at `index`, as an expression or a reduction over operand elements."""
        raise NotImplementedError(f"{self.name} has no loop lowering; it must be decomposed or folded before")

    def seams(self, operands: Sequence[TensorType], attributes: Attributes) -> tuple[int, ...]:
        """Places along the result's last dimension from which on its elements come from elsewhere.

        Between two of them, neighbours in the result are neighbours in an operand, too (see `Compute.bounds`).
        """
        return ()

    def input_margins(
        self, operands: Sequence[TensorType], attributes: Attributes
    ) -> tuple[tuple[int, int], ...] | None:
        """Margins of zeros around operand 0 that spare a kernel all bounds checks; None where it needs none."""
        return None

    def decompose(self, b: GraphBuilder, operands: tuple[Value, ...], attributes: Attributes) -> Value | None:
        """Composite operators: the result made of simpler operators. None for all others, which `compute` lowers."""
        return None

    def gradient(self, b: GraphBuilder, op: Operation, cotangents: tuple[Value, ...]) -> tuple[Value | None, ...]:
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
        for key in given:
            if key not in self.attributes:
                raise NetcError(f"{self.name} has no attribute `{key}`", hint=near_miss(key, self.attributes))
        complete: dict[str, Attribute] = {}
        for key, spec in self.attributes.items():
            value = given.get(key, spec.default)
            if value is REQUIRED:
                raise NetcError(f"{self.name} needs the attribute `{key}`: {spec.doc}")
            if isinstance(value, list):
                value = tuple(value)
            if value is not spec.default and not isinstance(value, spec.kind):
                raise NetcError(f"attribute `{key}` of {self.name} can't be {value!r}: {spec.doc}")
            complete[key] = value
        return MappingProxyType(complete)

    def check_arity(self, count: int) -> None:
        """Raise `ShapeError` unless `count` operands fit the declaration."""
        required = sum(not n.startswith("*") and not n.endswith("?") for n in self.operands)
        unlimited = any(n.startswith("*") for n in self.operands)
        if count < required or (count > len(self.operands) and not unlimited):
            raise ShapeError(f"{self.name} takes {', '.join(self.operands)}, not {count} operands")


_OPERATORS: dict[str, Operator] = {}


def register(operator: type[Operator]) -> type[Operator]:
    """Class decorator: put an operator into the registry."""
    if operator.name in _OPERATORS:
        raise ValueError(f"operator {operator.name} is defined twice")
    _OPERATORS[operator.name] = operator()
    return operator


def lookup(name: str) -> Operator:
    """The operator called `name`, or `NetcError` with a near miss."""
    try:
        return _OPERATORS[name]
    except KeyError:
        raise NetcError(f"there is no operator `{name}`", hint=near_miss(name, _OPERATORS)) from None


def operators() -> Mapping[str, Operator]:
    """All operators by name."""
    return MappingProxyType(_OPERATORS)


class LayerBuilder(Protocol):
    """What a layer needs of the frontend: parameters under the current name, and operations at the current place."""

    def param(
        self,
        name: str,
        shape: Sequence[int],
        *,
        init: str,
        trainable: bool = True,
        checkpoint: str | None = None,
    ) -> Value:
        """Create the parameter `name` below the layer's own path; see the `param` operator for the attributes."""
        ...

    def emit(self, operator: str, *operands: Value, **attributes: Attribute) -> Value:
        """Add an operation and return its result."""
        ...


LayerFunction = Callable[..., Value]


@dataclass(frozen=True, slots=True)
class Layer:
    """A building block of the language: `function(builder, tensors..., hyperparameters...)` returns a tensor.

    The Python signature is the language signature: parameters annotated `Value` are tensors, the others are
    compile-time values with their defaults.
    """

    name: str
    function: LayerFunction
    signature: inspect.Signature

    @property
    def doc(self) -> str:
        """First line of the docstring."""
        return (self.function.__doc__ or "").strip().splitlines()[0]


_LAYERS: dict[str, Layer] = {}


def layer(name: str) -> Callable[[LayerFunction], LayerFunction]:
    """Decorator: make a function a layer of the language."""

    def add(function: LayerFunction) -> LayerFunction:
        if name in _LAYERS:
            raise ValueError(f"layer {name} is defined twice")
        _LAYERS[name] = Layer(name, function, inspect.signature(function, eval_str=True))
        return function

    return add


def layers() -> Mapping[str, Layer]:
    """All layers by name."""
    return MappingProxyType(_LAYERS)

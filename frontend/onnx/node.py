"""What a rule works with: one node of a file, its tensors as values of the graph, its attributes, its results."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np

from ...compiler.errors import Diagnostic, InternalError, NetcError
from ...compiler.graph.builder import GraphBuilder
from ...compiler.graph.ir import Array, Attribute, Value
from ...compiler.types import DType, TensorType
from .naming import weight_name
from .scope import Scope
from .tensors import array_of, plain
from .values import Constants, Given, Tensor, UnknownInputError, UnsupportedError

LONGEST = 1 << 16
"""Most numbers that shapes, axes and the like may have."""


class Walk(Protocol):
    """What rules ask of the walk over the file (see `converter`)."""

    folder: Path | None
    problems: list[Diagnostic]
    needed: set[str]
    """Inputs of the graph on which something depends that must be known."""
    to_train: bool
    """Whether forms for training become operators that know what training is."""
    producer: str
    """What wrote the file, by its own word."""

    def convert(self, graph: Any, scope: Scope) -> list[Tensor | None]:
        """Convert the nodes of a graph, whose inputs stand in the scope, and return its outputs."""
        ...


@dataclass(eq=False)
class Node:
    """One node while it is converted."""

    builder: GraphBuilder
    constants: Constants
    proto: Any
    opset: int
    """The operator set of the node's domain."""
    version: int
    """The operator set that defined the operator last."""
    inputs: Sequence[Tensor | None]
    converter: Walk
    scope: Scope
    attributes: dict[str, Any]
    """The node's attributes by name, decoded."""
    read: set[str] = field(default_factory=set)
    """Attributes that the rule has looked at."""

    def unsupported(self, reason: str, hint: str | None = None) -> NoReturn:
        """Refuse the node."""
        raise UnsupportedError(reason, hint=hint)

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """What fails inside has never been: its operations, constants and problems go."""
        builder, converter, names = self.builder, self.converter, set(self.constants.names)
        start, problems, needed = len(builder.operations), len(converter.problems), set(converter.needed)
        try:
            yield
        except NetcError:
            del builder.operations[start:], converter.problems[problems:]
            converter.needed = needed
            self.forget()
            self.constants.names = names

    def forget(self) -> None:
        """Let go of constants whose operations were taken back."""
        standing = {r for op in self.builder.operations for r in op.results}
        known = self.constants.values
        for key in [key for key, value in known.items() if value not in standing]:
            del known[key]

    # ---- tensors ----

    @property
    def count(self) -> int:
        """Number of inputs."""
        return len(self.inputs)

    @property
    def outputs(self) -> Sequence[str]:
        """Names of the outputs; empty for those that nobody reads."""
        return tuple(self.proto.output)

    def wants(self, place: int) -> bool:
        """True if output number `place` is read by somebody."""
        return place < len(self.proto.output) and bool(self.proto.output[place])

    def refuse_outputs(self, *places: int) -> None:
        """Refuse the node if one of these outputs, which netc doesn't compute, is read by somebody."""
        for place in places:
            if self.wants(place):
                self.unsupported(f"output {place}, `{self.outputs[place]}`, is not supported")

    def has(self, place: int) -> bool:
        """True if input number `place` is there."""
        return place < self.count and self.inputs[place] is not None

    def tensor(self, place: int) -> Tensor:
        """Input number `place`."""
        tensor = self.inputs[place] if place < self.count else None
        if tensor is None:
            self.unsupported(f"input {place} is missing")
        return tensor

    def type(self, place: int = 0) -> TensorType:
        """Type of input number `place`."""
        return self.tensor(place).type

    def shape(self, place: int = 0) -> tuple[int, ...]:
        """Shape of input number `place`."""
        return self.type(place).shape

    def known(self, place: int) -> Array | None:
        """What an input holds, if it is there and the same in every run."""
        tensor = self.inputs[place] if place < self.count else None
        return None if tensor is None else tensor.array

    def constant(self, place: int) -> Array:
        """The numbers of an input that must be known."""
        tensor = self.tensor(place)
        if tensor.array is None:
            if tensor.value is None:
                raise tensor.no_tensor()
            self.converter.needed |= tensor.sources
            inputs = ", ".join(f"`{name}`" for name in sorted(tensor.sources))
            where = f"input {place}, `{tensor.name}`," if tensor.name else f"input {place}"
            hint = f"give values of the inputs it depends on: {inputs}" if inputs else None
            raise UnknownInputError(f"{where} must be known when the file is read", hint=hint)
        return tensor.array

    def integers(self, place: int) -> tuple[int, ...]:
        """The elements of a short vector (or scalar) of integers, which must be known."""
        array = self.constant(place)
        if array.dtype.kind not in "iu" or array.ndim > 1 or array.size > LONGEST:
            self.unsupported(f"input {place} should be a short vector of integers, not {self.type(place)}")
        return tuple(int(v) for v in array.reshape(-1))

    def one(self, place: int) -> Any:
        """The only element of an input, which must be known."""
        array = self.constant(place)
        if array.size != 1:
            self.unsupported(f"input {place} should be one number, not {self.type(place)}")
        return array.reshape(-1)[0].item()

    def value(self, place: int = 0) -> Value:
        """Input number `place` as a value; numbers become a constant of the graph when they are first used."""
        return self.value_of(self.tensor(place))

    def values(self) -> list[Value]:
        """All inputs as values."""
        return [self.value(i) for i in range(self.count)]

    def value_of(self, tensor: Tensor) -> Value:
        """A tensor as a value."""
        if tensor.array is not None:
            return self._constant(tensor, None)
        if tensor.value is None:
            raise tensor.no_tensor()
        return tensor.value

    def _constant(self, tensor: Tensor, axes: tuple[int, ...] | None) -> Value:
        known = self.constants.values
        if (tensor, axes) not in known:
            assert tensor.array is not None
            array = tensor.array if axes is None else tensor.array.transpose(axes)
            known[tensor, axes] = self.builder.constant(array, name=self._weight_name(tensor))
        return known[tensor, axes]

    def _weight_name(self, tensor: Tensor) -> str | None:
        """A name for numbers that a node takes, unless others have it."""
        place = next((i for i, t in enumerate(self.inputs) if t is tensor), None)
        name = weight_name(self.proto, place, tensor.name) if place is not None else None
        if name is None or name in self.constants.names:
            return None
        self.constants.names.add(name)
        return name

    def turned(self, place: int, axes: tuple[int, ...]) -> Value:
        """An input with its dimensions in another order; known numbers are turned over at once."""
        tensor = self.tensor(place)
        if tensor.type.rank != len(axes):
            self.unsupported(f"input {place} should have {len(axes)} dimensions, not {tensor.type}")
        if axes == tuple(range(len(axes))):
            return self.value_of(tensor)
        if tensor.array is not None:
            return self._constant(tensor, axes)
        return self.emit("transpose", self.value_of(tensor), permutation=axes)

    # ---- attributes ----

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute, or `default` where the node has none of this name."""
        self.read.add(name)
        return self.attributes.get(name, default)

    def needed(self, name: str) -> Any:
        """An attribute that the node must have."""
        if name not in self.attributes:
            self.unsupported(f"the attribute `{name}` is missing")
        return self.attribute(name)

    def flag(self, name: str, default: bool = False) -> bool:
        """An attribute that is 0 or 1."""
        number = self.attribute(name, int(default))
        if number not in (0, 1):  # readers differ in what others mean
            self.unsupported(f"`{name}` can't be {number}", hint="known: 0, 1")
        return bool(number)

    def choice(self, name: str, default: str, *known: str) -> str:
        """An attribute of text that is one of some words."""
        word = self.attribute(name, default)
        if word not in known:
            self.unsupported(f'`{name}` can\'t be "{word}"', hint="known: " + ", ".join(known))
        return str(word)

    def ignore(self, *names: str) -> None:
        """Say that attributes don't matter."""
        self.read.update(names)

    def array(self, tensor: Any) -> Array:
        """What a TensorProto in an attribute holds."""
        return array_of(tensor, self.converter.folder)

    def axis(self, axis: int, rank: int) -> int:
        """An axis counted from the front."""
        if not -rank <= axis < rank:
            self.unsupported(f"there is no axis {axis} among {rank}")
        return axis % rank

    def axes(self, axes: Sequence[int], rank: int) -> tuple[int, ...]:
        """Axes counted from the front, each once."""
        normal = tuple(self.axis(int(a), rank) for a in axes)
        if len(set(normal)) != len(normal):
            self.unsupported(f"an axis stands twice in {list(axes)}")
        return normal

    # ---- operations ----

    def emit(self, operator: str, *operands: Value, **attributes: Attribute) -> Value:
        """Add an operation."""
        return self.builder.emit(operator, *operands, **attributes)

    def param(
        self, name: str, shape: Sequence[int], *, init: str, trainable: bool = True, checkpoint: str | None = None
    ) -> Value:
        """No rule makes parameters; this is here for layers of the language, which rules call."""
        raise InternalError(f"{self.proto.op_type} would make the parameter `{name}`")

    def made(self, array: Array) -> Value:
        """Numbers as a value."""
        return self.builder.constant(np.asarray(array))

    def scalar(self, number: float, like: Value) -> Value:
        """A number of the element type of a value."""
        return self.builder.scalar(number, like.type.dtype)

    def given(self, result: Given) -> Value:
        """A result of another rule as a value."""
        if result is None:
            self.unsupported("a result is missing")
        if isinstance(result, Tensor):
            return self.value_of(result)
        return result if isinstance(result, Value) else self.made(result)

    def number(self, place: int, dtype: DType) -> Value:
        """An input as another element type; known numbers may have types that netc doesn't have."""
        tensor = self.tensor(place)
        if tensor.array is not None and tensor.foreign is not None:
            return self.made(plain(tensor.array, dtype))
        return self.cast(self.value(place), dtype)

    def cast(self, x: Value, dtype: DType) -> Value:
        """A value as another element type, if it has a different one."""
        return x if x.type.dtype is dtype else self.emit("cast", x, dtype=str(dtype))

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        """A value in another shape, if it has a different one."""
        return x if x.type.shape == tuple(shape) else self.emit("reshape", x, shape=tuple(shape))

    def broadcast(self, x: Value, shape: Sequence[int]) -> Value:
        """A value repeated along new dimensions and those of size 1."""
        return x if x.type.shape == tuple(shape) else self.emit("broadcast_to", x, shape=tuple(shape))

    def full(self, shape: Sequence[int], number: float, dtype: DType) -> Value:
        """A tensor of one number."""
        if min(shape, default=1) < 0 or math.prod(shape) >= 1 << 40:
            self.unsupported(f"a tensor can't have the shape {list(shape)}")
        return self.broadcast(self.builder.scalar(number, dtype), shape)

    def transpose(self, x: Value, permutation: Sequence[int]) -> Value:
        """A value with its dimensions in another order."""
        order = tuple(permutation)
        return x if order == tuple(range(len(order))) else self.emit("transpose", x, permutation=order)

    def channels_last(self, x: Value) -> Value:
        """[N, C, spatial...] as [N, spatial..., C]."""
        rank = x.type.rank
        return x if rank < 3 else self.transpose(x, (0, *range(2, rank), 1))

    def channels_first(self, x: Value) -> Value:
        """[N, spatial..., C] as [N, C, spatial...]."""
        rank = x.type.rank
        return x if rank < 3 else self.transpose(x, (0, rank - 1, *range(1, rank - 1)))

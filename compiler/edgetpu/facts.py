"""What the Edge TPU prediction needs to know of a model: tensors and operators in TFLite's terms.

The facts don't depend on where a model comes from: `from_graph` derives them from a netc graph, `from_tflite` from a
TFLite file. Tensors are compared by identity; an operator's inputs are the very tensors that another one returns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

Option = int | float | bool | str
QUANTIZED_TYPES = ("INT8", "UINT8", "INT16")


@dataclass(frozen=True, eq=False, slots=True)
class TensorFacts:
    """One tensor. `dtype` is TFLite's name of the element type (INT8, FLOAT32, ...)."""

    shape: tuple[int, ...]
    dtype: str
    name: str = ""
    constant: bool = False
    per_channel: bool = False
    """The channels have scales of their own."""
    uniform_scales: bool = False
    """These scales are all equal."""
    zero: bool = False
    """A constant all of whose elements are zero."""
    dynamic: bool = False
    """Some dimension is only known at run time."""
    values: tuple[int, ...] | None = None
    """Elements of a small integer constant: axes, sizes, strides."""

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def channels(self) -> int:
        """Size of the innermost dimension."""
        return self.shape[-1] if self.shape else 1

    @property
    def positions(self) -> int:
        """Number of places that each hold all channels."""
        return math.prod(self.shape[:-1])

    def __str__(self) -> str:
        return f"{self.dtype.lower()}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True, eq=False, slots=True)
class OperatorFacts:
    """One operator. `kind` is TFLite's name (CONV_2D, or CUSTOM), `options` are named as in TFLite's schema."""

    kind: str
    inputs: tuple[TensorFacts | None, ...]
    outputs: tuple[TensorFacts, ...]
    version: int = 1
    options: Mapping[str, Option] = field(default_factory=lambda: MappingProxyType({}))
    location: str = ""
    """Where the user wrote it (`file:line:column`), or the name of the result."""
    written_as: str = ""
    """What the user called it, where that differs from `kind`."""

    @property
    def activations(self) -> tuple[TensorFacts, ...]:
        """Inputs that are computed, not constant."""
        return tuple(t for t in self.inputs if t is not None and not t.constant)

    @property
    def constants(self) -> tuple[TensorFacts, ...]:
        """Inputs whose values are known before the program runs."""
        return tuple(t for t in self.inputs if t is not None and t.constant)

    @property
    def output(self) -> TensorFacts:
        """The first result; a scalar if there is none."""
        return self.outputs[0] if self.outputs else TensorFacts((), "INT8")

    def input(self, index: int) -> TensorFacts | None:
        """The input at `index`; None where it is absent."""
        return self.inputs[index] if index < len(self.inputs) else None

    def number(self, option: str, default: int = 0) -> int:
        """A numeric option."""
        value = self.options.get(option, default)
        return default if isinstance(value, str) else int(value)

    @property
    def fused_activation(self) -> str:
        """The activation that belongs to the operator: NONE, RELU, RELU6, ..."""
        return str(self.options.get("FusedActivationFunction", "NONE"))


@dataclass(frozen=True, eq=False, slots=True)
class ModelFacts:
    """A model: operators in execution order."""

    name: str
    operators: tuple[OperatorFacts, ...]
    inputs: tuple[TensorFacts, ...]
    outputs: tuple[TensorFacts, ...]
    assumptions: tuple[str, ...] = ()
    """What had to be assumed to derive the facts, in sentences."""

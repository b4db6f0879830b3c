"""What a layer is, and the registry of all of them.

A *layer* is what people write in a `.net` file: a function that creates parameters and emits operators; layers stand
beside the operators that they use.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol, TypeVar

from ..graph.ir import Emits, Value


class LayerBuilder(Emits, Protocol):
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


LayerFunction = Callable[..., Value | tuple[Value, ...]]


@dataclass(frozen=True, slots=True)
class Layer:
    """A building block of the language: `function(builder, tensors..., hyperparameters...)` returns a tensor or more.

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


FunctionT = TypeVar("FunctionT", bound=LayerFunction)


def layer(name: str) -> Callable[[FunctionT], FunctionT]:
    """Decorator: make a function a layer of the language."""

    def add(function: FunctionT) -> FunctionT:
        if name in _LAYERS:
            raise ValueError(f"layer {name} is defined twice")
        _LAYERS[name] = Layer(name, function, inspect.signature(function, eval_str=True))
        return function

    return add


def layers() -> Mapping[str, Layer]:
    """All layers by name."""
    return MappingProxyType(_LAYERS)

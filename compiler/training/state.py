"""The tensors that a training step reads and replaces: `param` operations and the values that come after them."""

from __future__ import annotations

from ..graph.builder import GraphBuilder
from ..graph.ir import Value
from ..types import TensorType
from .formula import Formula


class TrainingState:
    """Parameters of a graph under construction, and their next values."""

    def __init__(self, builder: GraphBuilder) -> None:
        self.builder = builder
        self.parameters = {op.result.name or "": op.result for op in builder.operations if op.name == "param"}
        self.updates: dict[str, Value] = {}
        """Next value of each parameter that changes, by name."""

    def param(self, name: str, type: TensorType, init: str = "zeros") -> Formula:  # noqa: A002 (the field's own word)
        """Add a parameter that is not trained, or find it if it is there."""
        if name not in self.parameters:
            self.parameters[name] = self.builder.emit(
                "param", name=name, shape=type.shape, dtype=str(type.dtype), init=init, trainable=False
            )
        return Formula(self.builder, self.parameters[name])

    def replace(self, name: str, new: Formula, when: Formula | None = None) -> None:
        """From the next step on the parameter has a new value, if the boolean scalar `when` (default: true) holds."""
        old = Formula(self.builder, self.parameters[name])
        self.updates[name] = (new if when is None else when.where(new, old)).value

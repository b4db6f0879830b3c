"""What lies around an operator: who makes what it reads, who reads what it makes."""

from __future__ import annotations

from collections.abc import Sequence

from .facts import OperatorFacts, TensorFacts


class Surroundings:
    """Neighbours of the operators of a model, which are given in execution order."""

    def __init__(self, operators: Sequence[OperatorFacts] = ()) -> None:
        self._makers: dict[TensorFacts, OperatorFacts] = {}
        self._readers: dict[TensorFacts, list[OperatorFacts]] = {}
        self._shapes: set[OperatorFacts] = set()
        for op in operators:
            for tensor in op.activations:
                self._readers.setdefault(tensor, []).append(op)
            self._makers.update(dict.fromkeys(op.outputs, op))
            given = [self._makers.get(t) for t in op.activations]
            if op.kind in ("SHAPE", "RANK") or (given and all(maker in self._shapes for maker in given)):
                self._shapes.add(op)

    def maker(self, tensor: TensorFacts | None) -> OperatorFacts | None:
        """The operator that makes a tensor; None for inputs of the model and constants."""
        return None if tensor is None else self._makers.get(tensor)

    def readers(self, tensor: TensorFacts) -> Sequence[OperatorFacts]:
        """The operators that read a tensor."""
        return self._readers.get(tensor, ())

    def computes_shape(self, op: OperatorFacts) -> bool:
        """True if an operator computes with nothing but sizes of tensors."""
        return op in self._shapes

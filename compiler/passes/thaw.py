"""Thawing: a graph whose weights are parameters again, so that it can be trained, and the values that they had.

`thaw(graph)` gives arrays beside the graph, so it is a function and stands in no pipeline. It is the other way of
`freeze`, but for what that computed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from ..graph.builder import Rewriter
from ..graph.ir import Array, Attribute, Graph, Operation, Value
from .dce import dce

_MOVES = ("reshape", "transpose", "broadcast_to", "cast")
"""What may stand between a weight and the operation that it is for."""
_TABLE = 64
"""From so many elements on, a matrix that is another one transposed is the same weight."""


@dataclass(frozen=True, slots=True)
class _Role:
    """What a constant is for an operation: the last part of its name, and how it would be drawn."""

    word: str
    init: str
    trainable: bool = True
    checkpoint: str | None = None


def thaw(graph: Graph) -> tuple[Graph, Mapping[str, Array]]:
    """The graph with parameters for the constants that are its weights, and their values by name.

    Weights are constants of floats that convolutions, dense layers, products of matrices, batch_norm, prelu and the
    affine part of a normalisation take as such, and others of more than one number that the file gives a name. Of
    batch_norm, mean and variance are parameters that aren't trained. A weight without a name is called after the
    operator and its number: `conv2d_1.weight`. Two matrices of which one is the other transposed are one parameter.

    Before::

        %conv.weight = constant {value = dense<...>}
        %0 = conv2d(%x, %conv.weight)

    After::

        %conv.weight = param {init = "he_normal", checkpoint = "oihw"}
        %0 = conv2d(%x, %conv.weight)
    """
    made = _Thawing(graph)
    return made.run(), MappingProxyType(made.values)


@dataclass(eq=False)
class _Thawing:
    graph: Graph
    values: dict[str, Array] = field(default_factory=dict[str, Array])
    roles: dict[Value, tuple[_Role, str | None]] = field(default_factory=dict)
    """What each weight is, and what it is called unless it has a name."""
    tables: dict[tuple[tuple[int, ...], bytes], Value] = field(default_factory=dict)
    """New parameters that are matrices, by what they hold."""

    def run(self) -> Graph:
        """The graph with parameters; fills `values`."""
        self._find()
        rewriter = Rewriter(self.graph)
        taken = {v.name for v in self.graph.inputs} | {op.result.name for op in self.graph.parameters}
        for op in self.graph.operations:
            if op.name == "constant" and op.result in self.roles:
                rewriter.replace(op.result, self._parameter(rewriter, op, taken))
            else:
                rewriter.copy(op)
        return dce(rewriter.close())

    def _find(self) -> None:
        counts: Counter[str] = Counter()
        for op in self.graph.operations:
            found = [(self._origin(v), role) for v, role in _weights_of(self.graph, op)]
            weights = [(v, role) for v, role in found if v is not None]
            counts[op.name] += bool(weights)
            for value, role in weights:
                if value not in self.roles:
                    self.roles[value] = role, f"{op.name}_{counts[op.name]}.{role.word}"
        named = (op.result for op in self.graph.operations if op.name == "constant" and op.result.name)
        for value in named:
            if _is_floats(value) and value.type.size > 1:
                self.roles.setdefault(value, (_Role("", "zeros"), None))

    def _origin(self, value: Value) -> Value | None:
        """The constant that a weight is, or is made of by moving elements; None if it is computed."""
        op = self.graph.producers.get(value)
        while op is not None and op.name in _MOVES:
            op = self.graph.producers.get(op.operands[0])
        return op.result if op is not None and op.name == "constant" and _is_floats(op.result) else None

    def _parameter(self, b: Rewriter, op: Operation, taken: set[str | None]) -> Value:
        role, derived = self.roles[op.result]
        array: Array = op.attributes["value"]
        known = self.tables.get(_key(array.T)) if _is_table(array) else None
        if known is not None:
            return b.emit("transpose", known, permutation=(1, 0), location=op.location)
        name = base = op.result.name or derived or "weight"
        number = 2
        while name in taken:
            name, number = f"{base}_{number}", number + 1
        taken.add(name)
        self.values[name] = array
        attributes: dict[str, Attribute] = {
            "shape": array.shape,
            "dtype": str(op.result.type.dtype),
            "init": role.init,
            "trainable": role.trainable,
            "checkpoint": role.checkpoint if role.checkpoint and len(role.checkpoint) == array.ndim else None,
        }
        value = b.emit("param", name=name, location=op.location, **attributes)
        if _is_table(array):
            self.tables[_key(array)] = value
        return value


def _is_floats(value: Value) -> bool:
    return value.type.dtype.is_float and value.type.quantization is None


def _is_table(array: Array) -> bool:
    return array.ndim == 2 and array.size >= _TABLE and bool(np.ptp(array))


def _key(array: Array) -> tuple[tuple[int, ...], bytes]:
    return array.shape, np.ascontiguousarray(array).tobytes()


_NORMAL = (
    _Role("weight", "ones"),
    _Role("bias", "zeros"),
    _Role("running_mean", "zeros", trainable=False),
    _Role("running_var", "ones", trainable=False),
)
"""What batch_norm takes."""


def _weights_of(graph: Graph, op: Operation) -> list[tuple[Value, _Role]]:
    """The operands of an operation that are weights if they are constants."""
    if op.operator.contraction:
        order = _order(op)
        roles = (_Role("weight", "he_normal", checkpoint=order), _Role("bias", "zeros"))
        return list(zip(op.operands[1:], roles, strict=False))
    if op.name == "batch_norm":
        return list(zip(op.operands[1:], _NORMAL, strict=True))
    if op.name == "matmul":
        return [(v, _Role("weight", "xavier_uniform")) for v in op.operands if v.type.rank > 1]
    if op.name == "prelu":
        return [(op.operands[1], _Role("weight", "constant(0.25)"))]
    if op.name in ("mul", "add") and (place := _normalised(graph, op)) is not None:
        role = _Role("weight", "ones") if op.name == "mul" else _Role("bias", "zeros")
        return [(op.operands[1 - place], role)]
    return []


def _order(op: Operation) -> str | None:
    """How the weight of a contraction lies in published files."""
    if op.name == "dense":
        return "oi"
    spatial = "dhw"[5 - op.operands[1].type.rank :]
    return ("io" if op.name.startswith("transpose_conv") else "oi") + spatial


def _normalised(graph: Graph, op: Operation) -> int | None:
    """The operand that comes from a normalisation, perhaps by way of its factor or a change of shape."""
    for place, value in enumerate(op.operands):
        producer = graph.producers.get(value)
        for _ in range(3):
            if producer is None or producer.name == "normalize":
                break
            passes = producer.name in _MOVES or (producer.name == "mul" and op.name == "add")
            producer = graph.producers.get(producer.operands[0]) if passes else None
        if producer is not None and producer.name == "normalize":
            return place
    return None

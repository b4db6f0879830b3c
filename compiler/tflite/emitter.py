"""From a graph to the description of a TFLite file, operation by operation.

What becomes of an operation says its operator's rule, `TFLITE`. An activation that alone reads
the result of a convolution or the like is fused into it, as TFLite's operators can do that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np

from ..errors import NetcError
from ..graph.ir import Array, Graph, Operation, Value
from ..graph.names import UniqueNames, output_names, value_names
from ..ops.activations import activation_of
from ..ops.facets import TFLITE
from ..passes.half_constants import CONSTANTS, HALF, half_constants, holds_in_half
from ..types import DType, Quantization, TensorType
from .model import Field, Model, Node, Options, Tensor
from .narrow import misread

Mapping_ = Callable[["Emitter", Operation], None]

NONE, RELU, RELU_N1_TO_1, RELU6 = 0, 1, 2, 3
"""Codes of the schema's ActivationFunctionType."""


class Emitter:
    """A file in the making; mappings call `node` and the methods that give them the places of tensors."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.names = value_names(graph)
        named = zip(graph.outputs, output_names(graph), strict=False)
        self.names = {**self.names, **{value: name for value, name in named if value.name is None}}
        self.tensors: list[Tensor] = []
        self.nodes: list[Node] = []
        self._places: dict[Value, int] = {}
        self._constants: dict[tuple[bytes, str], int] = {}
        self._unique = UniqueNames()
        self._fused = dict(_fusions(graph))
        self._absorbed = frozenset(self._fused.values())
        self._halves = graph.attributes.get(CONSTANTS) == HALF

    def run(self) -> tuple[list[int], list[int]]:
        """Convert all operations; the places of the graph's inputs and outputs."""
        inputs = [self.place(v) for v in self.graph.inputs]
        for op in self.graph.operations:
            if op.name == "constant" or op in self._absorbed:
                continue
            if op.name == "param":
                hint = "give weights, so that its parameters become constants"
                raise NetcError(f"a TFLite file needs the value of `{op.result.name}`", hint=hint)
            form = TFLITE.of(op.operator)
            if form is None:
                reason = TFLITE.reason(op.operator)
                self.fail(op, f"there is no TFLite form of {op.name}" + (f": {reason}" if reason else ""))
            wrong = misread(op, form)
            if wrong is not None:
                problem = f"TFLite's form of {op.name} takes {wrong} for quantized numbers, which netc doesn't"
                self.fail(op, problem, "cast it to i32 or f32 first, or use operators on quantized numbers")
            form.emit(self, op)
        return inputs, self._outputs(inputs)

    def _outputs(self, inputs: Sequence[int]) -> list[int]:
        """The outputs; one that is an input, a constant or an output already is copied."""
        taken, places = set(inputs), []
        for value in self.graph.outputs:
            place = self.place(value)
            if place in taken or self.tensors[place].data is not None:
                copy = self.intermediate(value.type, self.names[value] + "/copy")
                self.node("RESHAPE", [place, self.vector(value.type.shape)], [copy])
                place = copy
            taken.add(place)
            places.append(place)
        return places

    def fail(self, op: Operation, problem: str, hint: str | None = None) -> NoReturn:
        """Raise the error about an operation."""
        raise NetcError(problem, location=op.location, hint=hint)

    # ---- tensors ----

    def _add(self, name: str, type_: TensorType, data: Array | None = None) -> int:
        if data is not None and self._halves and holds_in_half(data, half_constants.smallest):
            half = self._add(f"{name}/half", TensorType(DType.F16, type_.shape), data.astype(np.float16))
            place = self._add(name, type_)
            self.node("DEQUANTIZE", [half], [place], version=3)
            return place
        self.tensors.append(Tensor(self._unique.take(name), type_.with_layout(None), data))
        return len(self.tensors) - 1

    def place(self, value: Value) -> int:
        """The tensor of a value; that of a constant is added when it is first used."""
        if value not in self._places:
            producer = self.graph.producers.get(value)
            data = producer.attributes["value"] if producer is not None and producer.name == "constant" else None
            self._places[value] = self._add(self.names[value], value.type, data)
        return self._places[value]

    def known(self, op: Operation, operand: int) -> Array:
        """The value of an operand that must be constant."""
        producer = self.graph.producers.get(op.operands[operand])
        if producer is None or producer.name != "constant":
            self.fail(op, f"the TFLite form of {op.name} needs a constant as its {op.operator.operands[operand]}")
        array: Array = producer.attributes["value"]
        return array

    def constant(self, data: Array, name: str, quantization: Quantization | None = None) -> int:
        """A constant; equal ones share a tensor."""
        type_ = TensorType(DType.of(data.dtype), data.shape, None, quantization)
        key = (np.ascontiguousarray(data).tobytes(), str(type_))
        if key not in self._constants:
            self._constants[key] = self._add(name, type_, data)
        return self._constants[key]

    def vector(self, numbers: Iterable[int]) -> int:
        """A constant i32 vector: a shape, axes, an order of dimensions."""
        data = np.array(list(numbers), np.int32)
        return self.constant(data, "numbers/" + "_".join(map(str, data.tolist())))

    def intermediate(self, type_: TensorType, name: str) -> int:
        """A tensor between two operators that make up one operation."""
        return self._add(name, type_)

    def variable(self, type_: TensorType, name: str) -> int:
        """A tensor that an operator keeps from run to run; it begins with zeros."""
        place = self._add(name, type_)
        self.tensors[place] = replace(self.tensors[place], variable=True)
        return place

    # ---- operators ----

    def node(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: str | None = None,
        version: int = 1,
        **fields: Field,
    ) -> None:
        """Add an operator; fields that have the schema's default may be left out."""
        table = None if options is None else Options(options, fields)
        self.nodes.append(Node(name, version, tuple(inputs), tuple(outputs), table))

    def add(self, node: Node) -> None:
        """Add an operator with all that it may have."""
        self.nodes.append(node)

    def activation(self, op: Operation) -> int:
        """The code of the activation that is fused into a float operation."""
        follower = self._fused.get(op)
        return NONE if follower is None else _code(follower)

    def result(self, op: Operation) -> int:
        """The tensor of the only result; that of the fused activation, if there is one."""
        return self.place(self._fused.get(op, op).result)


def _fusions(graph: Graph) -> Iterable[tuple[Operation, Operation]]:
    """Operations, each with the activation that becomes part of it."""
    for op in graph.operations:
        source = graph.producers.get(op.operands[0]) if op.operands else None
        form = TFLITE.of(source.operator) if source is not None else None
        if source is None or form is None or not form.activated or not op.result.type.dtype.is_float or not _code(op):
            continue
        if source.result not in graph.outputs and len(graph.users[source.result]) == 1:
            yield source, op


def _code(op: Operation) -> int:
    """The code of an activation; 0 for operators that are none."""
    return {"relu": RELU, "relu6": RELU6, "relu_n1_to_1": RELU_N1_TO_1}.get(activation_of(op) or "", NONE)


def model_of(graph: Graph, metadata: Mapping[str, bytes]) -> Model:
    """The description of the file that holds a graph."""
    emitter = Emitter(graph)
    inputs, outputs = emitter.run()
    signature: Mapping[str, Any] = graph.attributes.get("signature", {})
    tensors = emitter.tensors
    return Model(
        graph.name,
        tensors,
        emitter.nodes,
        inputs,
        outputs,
        _signature_names(signature.get("inputs", ()), [tensors[i].name for i in inputs]),
        _signature_names(signature.get("outputs", ()), [tensors[i].name for i in outputs]),
        signature.get("key") or "serving_default",
        metadata,
    )


def _signature_names(given: Sequence[str], default: Sequence[str]) -> list[str]:
    """The names of a signature: those that the graph states if they are all there, else those of the tensors."""
    return list(given) if len(given) == len(default) and all(given) else list(default)

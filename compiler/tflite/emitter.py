"""From a graph to the description of a TFLite file, operation by operation.

What becomes of an operation says its operator's rule, `TFLITE`. An activation that alone reads
the result of a convolution or the like is fused into it, as TFLite's operators can do that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np

from ..errors import NetcError
from ..graph.ir import Array, Graph, Operation, Value
from ..graph.names import UniqueNames, value_names
from ..ops.facets import TFLITE
from ..ops.functions.activations import activation_of
from ..passes.half_constants import CONSTANTS, HALF, half_constants, holds_in_half
from ..signature import output_names
from ..types import DType, Quantization, TensorType
from .kernels import without_kernel
from .model import Field, Function, Model, Node, Options, Tensor
from .narrow import misread

NO_TYPE = TensorType(DType.I32, ())
"""Stands for the type of what refers to a variable."""

NONE, RELU, RELU_N1_TO_1, RELU6 = 0, 1, 2, 3
"""Codes of the schema's ActivationFunctionType."""


class Emitter:
    """A file in the making; mappings call `node` and the methods that give them the places of tensors."""

    def __init__(self, graph: Graph, functions: list[Function] | None = None) -> None:
        self.graph = graph
        self.names = value_names(graph)
        named = zip(graph.results, output_names(graph), strict=False)
        self.names = {**self.names, **{value: name for value, name in named if value.name is None}}
        self.tensors: list[Tensor] = []
        self.nodes: list[Node] = []
        self.functions: list[Function] = [] if functions is None else functions
        """The other subgraphs, from number 1 up."""
        self._is_called = functions is not None
        self._places: dict[Value, int] = {}
        self._handles: dict[str, int] = {}
        self._held: set[Value] = set()
        """States that lie in variable tensors."""
        self._constants: dict[tuple[bytes, str], int] = {}
        self._unique = UniqueNames()
        self._fused = dict(_fusions(graph))
        self._absorbed = set(self._fused.values())
        self._halves = graph.attributes.get(CONSTANTS) == HALF

    def run(self) -> tuple[list[int], list[int]]:
        """Convert all operations; the places of the graph's inputs and outputs."""
        inputs = [self.place(v) for v in self.graph.inputs]
        for op in self.graph.operations:
            if op.name == "constant" or op in self._absorbed or op in self.graph.states:
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
            try:
                form.emit(self, op)
            except NetcError as error:
                raise error.at(op.location) from None
        outputs = self._outputs(inputs)
        self._assign([op for op in self.graph.states if op.result not in self._held])
        return inputs, outputs

    def _assign(self, states: Sequence[Operation]) -> None:
        """Give variables the values for the next run, and say what they begin with."""
        for op in states:
            place = self.place(self.graph.updates[op.result])
            self.node("ASSIGN_VARIABLE", [self._handle(op), place], ())
        if states:
            self.functions.append(_initialization(states))
            once = Options("CallOnceOptions", {"init_subgraph_index": len(self.functions)})
            self.nodes.insert(0, Node("CALL_ONCE", 1, (), (), once))

    def _read(self, state: Operation) -> int:
        """The tensor of what the variable of a state holds in the beginning of a run."""
        place = self._add(f"{state.result.name}/value", state.result.type)
        self.node("READ_VARIABLE", [self._handle(state)], [place])
        return place

    def _handle(self, state: Operation) -> int:
        """The tensor that refers to the variable of a state."""
        name = state.result.name or ""
        if name not in self._handles:
            self._handles[name] = self._add(f"{name}/handle", NO_TYPE)
            self.tensors[self._handles[name]] = replace(self.tensors[self._handles[name]], resource=True)
            self.node("VAR_HANDLE", (), [self._handles[name]], "VarHandleOptions", shared_name=name)
        return self._handles[name]

    def _outputs(self, inputs: Sequence[int]) -> list[int]:
        """The outputs; one that is an input, a constant or an output already is copied.

        LiteRT aborts on a branch that returns a copied constant, so those of subgraphs are tensors of their own.
        """
        taken, places = set(inputs), []
        for value in self.graph.results:
            place = self.place(value)
            data = self.tensors[place].data
            if data is not None and self._is_called:
                place = self._add(self.names[value] + "/copy", value.type, data) if place in taken else place
            elif place in taken or data is not None:
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
        producer = self.graph.producers.get(value)
        if value not in self._places and producer in self.graph.states and producer is not None:
            self._places[value] = self._read(producer)
        if value not in self._places:
            data = producer.attributes["value"] if producer is not None and producer.name == "constant" else None
            self._places[value] = self._add(self.names[value], value.type, data)
        return self._places[value]

    def known(self, op: Operation, operand: int) -> Array:
        """The value of an operand that must be constant."""
        producer = self.graph.producers.get(op.operands[operand])
        if producer is None or not self.is_constant(op.operands[operand]):
            self.fail(op, f"the TFLite form of {op.name} needs a constant as its {op.operator.operands[operand]}")
        array: Array = producer.attributes["value"]
        return array

    def is_constant(self, value: Value) -> bool:
        """True for a value that is the same in every run."""
        producer = self.graph.producers.get(value)
        return producer is not None and producer.name == "constant"

    def turned(self, value: Value, order: tuple[int, ...]) -> int:
        """The tensor of a computed value with its dimensions in this order.

        A TRANSPOSE that nothing else reads becomes part of it.
        """
        place, type_ = self.place(value), value.type
        shape = tuple(type_.shape[axis] for axis in order)
        producer = self.graph.producers.get(value)
        if producer is not None and producer.name == "transpose":
            if self.graph.has_one_use(value):
                self.nodes = [node for node in self.nodes if place not in node.outputs]
            order = tuple(producer.attributes["permutation"][axis] for axis in order)
            value = producer.operands[0]
            place = self.place(value)
        if order == tuple(range(len(order))):
            return place
        result = self.intermediate(
            TensorType(type_.dtype, shape, None, type_.quantization), f"{self.names[value]}/turned"
        )
        self.node("TRANSPOSE", [place, self.vector(order)], [result], "TransposeOptions")
        return result

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

    def blocked(self, data: Array, scales: Array, name: str) -> int:
        """Integers of 4 bits [rows, columns] with a scale for each block of a row."""
        halves = self._add(f"{name}/scales", TensorType(DType.F16, scales.shape), scales.astype(np.float16))
        place = self._add(name, TensorType(DType.I8, data.shape), data)
        block = data.shape[1] // scales.shape[1]
        self.tensors[place] = replace(self.tensors[place], scales=halves, block=block)
        return place

    def intermediate(self, type_: TensorType, name: str) -> int:
        """A tensor between two operators that make up one operation."""
        return self._add(name, type_)

    def make_complex(self, place: int) -> None:
        """Let a tensor hold complex numbers."""
        self.tensors[place] = replace(self.tensors[place], complex=True)

    def variable(self, type_: TensorType, name: str) -> int:
        """A tensor that an operator keeps from run to run; it begins with zeros."""
        place = self._add(name, type_)
        self.tensors[place] = replace(self.tensors[place], variable=True)
        return place

    def is_own_state(self, op: Operation, operand: int, result: int) -> bool:
        """True if an operand is a state that only this operation reads and replaces: a variable tensor can hold it.

        It has to begin with zeros, or with its zero point.
        """
        value = op.operands[operand]
        state = self.graph.producers.get(value)
        if state not in self.graph.states or state is None or self.graph.updates[value] is not op.results[result]:
            return False
        others = value in self.graph.outputs or self.graph.outputs.count(op.results[result]) > 1
        alone = self.graph.users[value] == [op] and op.operands.count(value) == 1
        given = value.type.quantization
        zero = given.zero_point if given is not None and value.type.dtype is DType.I8 else 0
        used = others or bool(self.graph.users[op.results[result]])
        return alone and not used and bool(np.all(state.attributes["value"] == zero))

    def counts_alone(self, op: Operation, step: int) -> bool:
        """True if operand 0 counts from 0 on by `step`, for this operation alone; the file then leaves it out."""
        value = op.operands[0]
        state = self.graph.producers.get(value)
        if state not in self.graph.states or state is None or value in self.graph.outputs:
            return False
        new = self.graph.updates[value]
        adding = self.graph.producers.get(new)
        if adding is None or adding.name != "add" or adding.operands[0] is not value:
            return False
        added = self.graph.producers.get(adding.operands[1])
        is_step = added is not None and added.name == "constant" and added.attributes["value"] == step
        alone = {*self.graph.users[value]} == {op, adding} and not self.graph.users[new]
        if not is_step or not alone or self.graph.outputs.count(new) != 1 or state.attributes["value"]:
            return False
        self._held.add(value)
        self._absorbed.add(adding)
        return True

    def own_state(self, op: Operation, operand: int) -> int:
        """The variable tensor that holds a state of which `is_own_state` holds."""
        value = op.operands[operand]
        self._held.add(value)
        return self.variable(value.type, value.name or "state")

    # ---- operators ----

    def function(self, graph: Graph, *, handed_on: int = 0) -> int:
        """The number of a new subgraph; it returns so many of its last inputs as they are, behind its results."""
        inner = Emitter(graph, self.functions)
        inputs, outputs = inner.run()
        given = inputs[len(inputs) - handed_on :]
        self.functions.append(Function(graph.name, inner.tensors, inner.nodes, inputs, [*outputs, *given]))
        return len(self.functions)

    def node(
        self,
        name: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: str | None = None,
        version: int = 1,
        **fields: Field,
    ) -> None:
        """Add an operator; fields that have the schema's default may be left out.

        Raises `NetcError` where LiteRT could not run it on elements of this type.
        """
        lacking = without_kernel(name, [self.tensors[place].type.dtype for place in inputs])
        if lacking is not None:
            problem = f"LiteRT has no kernel of {name} for {lacking}"
            raise NetcError(problem, hint=f"cast to {'f32' if lacking.is_float else 'i32 or f32'} before it")
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


def _initialization(states: Sequence[Operation]) -> Function:
    """The subgraph that gives variables what the first run begins with."""
    tensors: list[Tensor] = []
    nodes: list[Node] = []
    for n, op in enumerate(states):
        name = op.result.name or ""
        tensors.append(Tensor(f"{name}/handle", NO_TYPE, resource=True))
        tensors.append(Tensor(name, op.result.type, op.attributes["value"]))
        nodes.append(Node("VAR_HANDLE", 1, (), (2 * n,), Options("VarHandleOptions", {"shared_name": name})))
        nodes.append(Node("ASSIGN_VARIABLE", 1, (2 * n, 2 * n + 1), ()))
    return Function("initialization", tensors, nodes, (), ())


def _fusions(graph: Graph) -> Iterable[tuple[Operation, Operation]]:
    """Operations, each with the activation that becomes part of it."""
    for op in graph.operations:
        source = graph.producers.get(op.operands[0]) if op.operands else None
        form = TFLITE.of(source.operator) if source is not None else None
        if source is None or form is None or not form.activated or not _code(op) or not op.result.type.dtype.is_float:
            continue
        if graph.has_one_use(source.result):
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
        emitter.functions,
    )


def _signature_names(given: Sequence[str], default: Sequence[str]) -> list[str]:
    """The names of a signature: those that the graph states if they are all there, else those of the tensors."""
    return list(given) if len(given) == len(default) and all(given) else list(default)

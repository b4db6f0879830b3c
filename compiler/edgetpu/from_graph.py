"""Facts of a netc graph, as if it were already quantized to int8 and written as TFLite.

A float graph will do, before any training: batch normalisation is taken as folded into the layer in front of it,
activations as fused into the operator in front of them, floats as int8, weights as quantized by channel (dense layers:
as a whole), biases as different from zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from ..graph.ir import Graph, Operation, Value
from ..ops.differentiation import StopGradient
from ..ops.facets import EDGETPU, TFLITE
from ..ops.functions.activations import activation_of
from ..ops.functions.clipping import Clamp, Relu, Relu6
from ..ops.functions.logic import BitwiseAnd, BitwiseXor
from ..ops.functions.squares import Square
from ..ops.moves.shape import Concat, Identity, Pad, Slice
from ..ops.moves.striding import StridedSlice
from ..ops.products.dense import Dense
from ..ops.reductions.normalization import BatchNorm, Dropout
from ..ops.seeded_random import SeededNumbers
from ..ops.sequences.sequence_lstm import SequenceLstm
from ..ops.sequences.sequence_rnn import SequenceRnn, Svdf
from ..ops.windows.convolution import Conv2D
from ..ops.windows.pooling import AvgPool, MaxPool
from ..ops.windows.transpose_convolution import TransposeConv2D
from ..ops.windows.window import dilated, window_of
from ..passes.float_weights import float_weights
from ..passes.spell_out import spelled_out
from ..passes.two_dimensions import pools_in_two_dimensions
from ..tflite import mappings  # noqa: F401 (which registers the forms)
from ..types import DType, TensorType
from .facts import ModelFacts, OperatorFacts, Option, TensorFacts

ASSUMPTIONS = (
    "The network is quantized to int8 with int8 input and output.",
    "Weights of convolutions have one scale per channel, those of dense layers one scale.",
    "Batch normalisation is folded into the layer in front of it; no bias is zero throughout.",
)
_DTYPES: Mapping[DType, str] = MappingProxyType(
    {
        DType.I8: "INT8",
        DType.U8: "UINT8",
        DType.I16: "INT16",
        DType.I32: "INT32",
        DType.I64: "INT64",
        DType.BOOL: "BOOL",
    }
)
_FUSES = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "SUB", "MUL")
_STEPS = ("StrideH", "StrideW", "DilationHFactor", "DilationWFactor")
_FOLDS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")


def model_facts(graph: Graph) -> ModelFacts:
    """Facts of a graph of netc."""
    return Conversion(spelled_out(pools_in_two_dimensions(float_weights(graph)), TFLITE, EDGETPU)).facts()


class Conversion:
    """One walk through a graph: netc's values become TFLite's tensors, its operations TFLite's operators."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._tensors: dict[Value, TensorFacts] = {}
        self._operators: list[OperatorFacts] = []
        self._maker: dict[TensorFacts, int] = {}
        self._assumed = False

    def facts(self) -> ModelFacts:
        """The facts of the whole graph."""
        for value in self._graph.inputs:
            self._tensors[value] = self._fresh(value.type, value.name or "")
        for op in self._graph.operations:
            self._visit(op)
        graph = self._graph
        inputs = tuple(self._tensors[v] for v in graph.inputs)
        outputs = tuple(self._tensors[v] for v in graph.results)
        return ModelFacts(graph.name, tuple(self._operators), inputs, outputs, ASSUMPTIONS if self._assumed else ())

    def _visit(self, op: Operation) -> None:
        operands = [self._tensors[v] for v in op.operands]
        if op in self._graph.states:
            variable = TensorFacts((), "RESOURCE", op.result.name or "")
            self._tensors[op.result] = self._emit(op, "READ_VARIABLE", [variable])
            return
        if op.name in ("param", "constant") or (operands and all(t.constant for t in operands)):
            for result in op.results:
                fresh = self._fresh(result.type, result.name or "")
                self._tensors[result] = replace(fresh, constant=op not in self._graph.states)
            return
        rule = EDGETPU.of(op.operator)
        if rule is None:
            self.plain(op, operands)
        else:
            rule(self, op, operands)

    def _fresh(self, kind: TensorType, name: str = "") -> TensorFacts:
        if kind.dtype.is_float:
            self._assumed = True
        return TensorFacts(kind.shape, _DTYPES.get(kind.dtype, "INT8"), name)

    def _emit(
        self,
        op: Operation,
        kind: str,
        inputs: list[TensorFacts | None],
        options: Mapping[str, Option] | None = None,
        output: TensorFacts | None = None,
    ) -> TensorFacts:
        made = output or self._fresh(op.results[0].type)
        place = str(op.location) if op.location else ""
        facts = OperatorFacts(kind, tuple(inputs), (made,), 1, MappingProxyType(dict(options or {})), place, op.name)
        self._maker[made] = len(self._operators)
        self._operators.append(facts)
        if output is None:
            self._tensors[op.results[0]] = made
        return made

    def _sole_maker(self, value: Value, kinds: tuple[str, ...]) -> int | None:
        """Index of the operator that makes a value which nothing else reads, if it is of one of these kinds."""
        index = self._maker.get(self._tensors[value])
        if index is None or len(self._graph.users[value]) > 1 or value in self._graph.outputs:
            return None
        return index if self._operators[index].kind in kinds else None

    def plain(self, op: Operation, operands: list[TensorFacts]) -> None:
        """The operator that its TFLite form is, or one of its own name, which nobody knows."""
        self._emit(op, _kind(op), [*operands, *self._settings(op)])
        for result in op.results[1:]:
            self._tensors[result] = self._fresh(result.type)

    def unknown(self, op: Operation, operands: list[TensorFacts]) -> None:
        """An operator that has no TFLite form as it is used."""
        self._emit(op, op.name.upper(), list(operands))
        for result in op.results[1:]:
            self._tensors[result] = self._fresh(result.type)

    def seeded_numbers(self, op: Operation, operands: list[TensorFacts]) -> None:
        """Numbers of one distribution or another."""
        self._emit(op, "RANDOM_STANDARD_NORMAL" if op.attributes["normal"] else "RANDOM_UNIFORM", list(operands))
        for result in op.results[1:]:
            self._tensors[result] = self._fresh(result.type)

    def _settings(self, op: Operation) -> list[TensorFacts]:
        """Axes and sizes, which TFLite gives as constant operands."""
        axes = op.attributes.get("axes")
        if op.name.startswith("reduce_") and axes is None:
            axes = tuple(range(op.operands[0].type.rank))
        return [_integers(tuple(axes))] if axes is not None else []

    def operand(self, op: Operation, operands: list[TensorFacts]) -> None:
        """Nothing but the operand."""
        self._tensors[op.result] = operands[0]

    def activation(self, op: Operation, operands: list[TensorFacts]) -> None:
        """Activations (relu and relu6) become part of the operator in front of them."""
        index = self._sole_maker(op.operands[0], _FUSES)
        if index is None or self._operators[index].fused_activation != "NONE":
            self.plain(op, operands)
            return
        maker = self._operators[index]
        self._operators[index] = replace(
            maker, options=MappingProxyType({**maker.options, "FusedActivationFunction": _kind(op)})
        )
        self._tensors[op.result] = operands[0]

    def batch_norm(self, op: Operation, operands: list[TensorFacts]) -> None:
        """Folded into a contraction, else a depthwise convolution of pictures, else a product and a sum."""
        index = self._sole_maker(op.operands[0], _FOLDS)
        if index is None or self._operators[index].fused_activation != "NONE":
            if op.operands[0].type.rank == 4:
                stored = replace(operands[1], shape=(1, 1, 1, operands[1].shape[0]), per_channel=True)
                options: dict[str, Option] = {"Padding": "VALID", "DepthMultiplier": 1, **dict.fromkeys(_STEPS, 1)}
                self._emit(op, "DEPTHWISE_CONV_2D", [operands[0], stored, replace(operands[2], dtype="INT32")], options)
                return
            scaled = self._emit(op, "MUL", [operands[0], operands[1]], output=self._fresh(op.result.type))
            self._emit(op, "ADD", [scaled, operands[2]])
            return
        maker = self._operators[index]
        place = 3 if maker.kind == "TRANSPOSE_CONV" else 2
        bias = replace(operands[2], dtype="INT32")
        self._operators[index] = replace(maker, inputs=(*maker.inputs[:place], bias))
        self._tensors[op.result] = operands[0]

    def convolution(self, op: Operation, operands: list[TensorFacts]) -> None:
        """CONV_2D or DEPTHWISE_CONV_2D, behind a PAD where the padding is neither "same" nor "valid"."""
        data, weight, *bias = operands
        kh, kw, fan_in, filters = weight.shape
        groups = int(op.attributes["groups"])
        depthwise = groups > 1 and groups == data.channels
        shape = (1, kh, kw, filters) if depthwise else (filters, kh, kw, fan_in)
        data, padding = self._padded(op, data, (kh, kw))
        strides, dilations = op.attributes["strides"], op.attributes["dilations"]
        options: dict[str, Option] = {
            "Padding": padding,
            "StrideH": strides[0],
            "StrideW": strides[1],
            "DilationHFactor": dilations[0],
            "DilationWFactor": dilations[1],
        }
        if depthwise:
            options["DepthMultiplier"] = fan_in * filters // groups
        stored = replace(weight, shape=shape, per_channel=True)
        biases: list[TensorFacts | None] = [replace(b, dtype="INT32") for b in bias]
        self._emit(op, "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D", [data, stored, *biases], options)

    def transpose_convolution(self, op: Operation, operands: list[TensorFacts]) -> None:
        """TRANSPOSE_CONV takes the size of its result first; it has no groups and no dilation, but zeros."""
        data, weight, *bias = operands
        kh, kw = dilated(weight.shape[:2], op.attributes["dilations"])
        stored = replace(weight, shape=(weight.shape[-1], kh, kw, data.shape[-1]), per_channel=True)
        size = _integers(op.result.type.shape)
        self._emit(op, "TRANSPOSE_CONV", [size, stored, data, *(replace(b, dtype="INT32") for b in bias)])

    def dense(self, op: Operation, operands: list[TensorFacts]) -> None:
        """FULLY_CONNECTED, whose weights stand row by row."""
        data, weight, *bias = operands
        stored = replace(weight, shape=weight.shape[::-1])
        self._emit(op, "FULLY_CONNECTED", [data, stored, *(replace(b, dtype="INT32") for b in bias)])

    def pooling(self, op: Operation, operands: list[TensorFacts]) -> None:
        """AVERAGE_POOL_2D or MAX_POOL_2D."""
        size = op.attributes["size"]
        data, padding = self._padded(op, operands[0], size)
        self._emit(op, _kind(op), [data], {"Padding": padding, "FilterHeight": size[0]})

    def _padded(self, op: Operation, data: TensorFacts, kernel: tuple[int, ...]) -> tuple[TensorFacts, str]:
        """The data of a window, behind a PAD if need be, and TFLite's word for the padding that is left."""
        window = window_of(op.name, op.operands[0].type.shape[1:-1], kernel, op.attributes)
        same = window_of(op.name, window.size, kernel, {**op.attributes, "padding": "same"}).padding
        if window.padding == same:
            return data, "SAME"
        if not any(before or after for before, after in window.padding):
            return data, "VALID"
        pads = ((0, 0), *window.padding, (0, 0))
        shape = tuple(size + before + after for size, (before, after) in zip(data.shape, pads, strict=True))
        amounts = _integers(tuple(p for pair in pads for p in pair))
        kind = "PAD" if not isinstance(op.operator, MaxPool) or self._positive(data) else "PADV2"
        return self._emit(op, kind, [data, amounts], output=replace(data, shape=shape)), "VALID"

    def _positive(self, data: TensorFacts) -> bool:
        """True if a relu made the tensor, so that zeros never win a maximum."""
        index = self._maker.get(data)
        if index is None:
            return False
        maker = self._operators[index]
        return maker.kind.startswith("RELU") or maker.fused_activation in ("RELU", "RELU6")

    def pad(self, op: Operation, operands: list[TensorFacts]) -> None:
        """PAD, or PADV2 for elements other than zero."""
        amounts = _integers(tuple(p for pair in op.attributes["padding"] for p in pair))
        self._emit(op, "PADV2" if op.attributes["value"] else "PAD", [operands[0], amounts])

    def concat(self, op: Operation, operands: list[TensorFacts]) -> None:
        """CONCATENATION."""
        self._emit(op, "CONCATENATION", list(operands), {"Axis": int(op.attributes["axis"])})

    def slice(self, op: Operation, operands: list[TensorFacts]) -> None:
        """STRIDED_SLICE."""
        begin, size = op.attributes["begin"], op.attributes["size"]
        strides = op.attributes.get("strides", (1,) * len(begin))
        end = tuple(b + n * step for b, n, step in zip(begin, size, strides, strict=True))
        constants = [_integers(begin), _integers(end), _integers(strides)]
        self._emit(op, "STRIDED_SLICE", [operands[0], *constants])

    def clamp(self, op: Operation, operands: list[TensorFacts]) -> None:
        """RELU_N1_TO_1 where it fits, or else a maximum and a minimum."""
        if activation_of(op) == "relu_n1_to_1":
            self._emit(op, "RELU_N1_TO_1", [operands[0]])
            return
        bound = TensorFacts((), "INT8", constant=True)
        raised = self._emit(op, "MAXIMUM", [operands[0], bound], output=self._fresh(op.result.type))
        self._emit(op, "MINIMUM", [raised, bound])


def _integers(values: tuple[int, ...]) -> TensorFacts:
    return TensorFacts((len(values),), "INT32", constant=True, values=tuple(values))


def _kind(op: Operation) -> str:
    form = TFLITE.of(op.operator)
    return form.kinds[0] if form is not None and len(form.kinds) == 1 else op.name.upper()


EDGETPU.add(Conversion.plain, BitwiseAnd, BitwiseXor, Square)
EDGETPU.add(Conversion.unknown, SequenceLstm, SequenceRnn, Svdf)
EDGETPU.add(Conversion.seeded_numbers, SeededNumbers)
EDGETPU.add(Conversion.operand, Identity, Dropout, StopGradient)
EDGETPU.add(Conversion.pooling, AvgPool, MaxPool)
EDGETPU.add(Conversion.batch_norm, BatchNorm)
EDGETPU.add(Conversion.clamp, Clamp)
EDGETPU.add(Conversion.concat, Concat)
EDGETPU.add(Conversion.convolution, Conv2D)
EDGETPU.add(Conversion.dense, Dense)
EDGETPU.add(Conversion.pad, Pad)
EDGETPU.add(Conversion.activation, Relu, Relu6)
EDGETPU.add(Conversion.slice, Slice, StridedSlice)
EDGETPU.add(Conversion.transpose_convolution, TransposeConv2D)

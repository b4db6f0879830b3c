"""Operators that pick, scatter, mirror and rearrange elements."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...graph.ir import Operation, Value
from ...ops.conversion import OneHot
from ...ops.facets import TFLITE, Narrow, TfliteForm
from ...ops.moves.blocks import BatchToSpaceND, DepthToSpace, SpaceToBatchND, SpaceToDepth
from ...ops.moves.indexing import Gather, GatherND
from ...ops.moves.scattering import LastUpdate, ScatterCombine, ScatterND
from ...ops.moves.striding import MIRRORS, MirrorPad, StridedSlice
from ...ops.reductions.reduction import normalize_axis
from ...ops.rules import version
from ...types import DType, TensorType
from ..emitter import Emitter
from ..model import Field, Function, Node, Tensor
from ..serialize import element_code

_BLOCKS_RANK = 4
"""Dimensions of what LiteRT's kernels share out to batches, at most."""


def strided_slice(c: Emitter, op: Operation) -> None:
    """REVERSE_V2 where whole neighbouring dimensions are turned, else STRIDED_SLICE."""
    x, given = op.operands[0].type, op.attributes
    begin, size, strides = (given[key] for key in ("begin", "size", "strides"))
    turned = [d for d, step in enumerate(strides) if step < 0]
    backward = all(strides[d] == -1 and begin[d] == x.shape[d] - 1 for d in turned)
    neighbours = bool(turned) and turned == list(range(turned[0], turned[-1] + 1))
    if size == x.shape and backward and neighbours and all(abs(step) == 1 for step in strides):
        c.node("REVERSE_V2", [c.place(op.operands[0]), c.vector(turned)], [c.result(op)], "ReverseV2Options")
        return
    end = [first + count * step for first, count, step in zip(begin, size, strides, strict=True)]
    # An end before the first element can't be said by a number, which would count from the end.
    mask = sum(1 << d for d, last in enumerate(end) if last < 0)
    inputs = [c.place(op.operands[0]), c.vector(begin), c.vector(max(last, 0) for last in end), c.vector(strides)]
    c.node("STRIDED_SLICE", inputs, [c.result(op)], "StridedSliceOptions", version(op, 1, 2), end_mask=mask)


def mirror_pad(c: Emitter, op: Operation) -> None:
    """MIRROR_PAD."""
    padding = op.attributes["padding"]
    pads = c.constant(np.array(padding, np.int32), "paddings/" + "_".join(str(n) for p in padding for n in p))
    mode = MIRRORS.index(op.attributes["mode"])
    c.node(
        "MIRROR_PAD", [c.place(op.operands[0]), pads], [c.result(op)], "MirrorPadOptions", version(op, 1, 2), mode=mode
    )


def _blocks(name: str, table: str) -> TfliteForm:
    def emit(c: Emitter, op: Operation) -> None:
        size = op.attributes["block_size"]
        c.node(
            name,
            [c.place(op.operands[0])],
            [c.result(op)],
            table,
            version(op, 1, 2 if name == "SPACE_TO_DEPTH" else 1),
            block_size=size,
        )

    return TfliteForm(emit, name, narrow=Narrow.COPIED)


def _batches(name: str, margins: str) -> TfliteForm:
    def emit(c: Emitter, op: Operation) -> None:
        x = op.operands[0]
        if x.type.rank > _BLOCKS_RANK:
            c.fail(op, f"there is no TFLite form of {op.name} with more than {_BLOCKS_RANK} dimensions")
        if op.attributes.get("value", x.type.zero_point) != x.type.zero_point:
            c.fail(op, f"TFLite's {name} pads with zeros", "put a pad before it")
        around = op.attributes[margins]
        amounts = c.constant(np.array(around, np.int32), f"{margins}/" + "_".join(str(n) for p in around for n in p))
        inputs = [c.place(x), c.vector(op.attributes["block_shape"]), amounts]
        c.node(name, inputs, [c.result(op)], None, version(op, 1, 2))

    return TfliteForm(emit, name, narrow=Narrow.COPIED)


def _indices(c: Emitter, op: Operation, operand: int, limits: tuple[int, ...], types: tuple[DType, ...]) -> int:
    """Indices in an element type that the kernel takes; known ones count from the front."""
    value = op.operands[operand]
    producer = c.graph.producers.get(value)
    if producer is not None and producer.name == "constant":
        known = producer.attributes["value"].astype(np.int64)
        front = np.where(known < 0, known + np.array(limits, np.int64), known).reshape(known.shape)
        return c.constant(front.astype(np.int32), c.names[value])
    return _narrowed(c, value, types)


def _narrowed(c: Emitter, value: Value, types: tuple[DType, ...]) -> int:
    """Whole numbers in one of some element types: as i32 unless they have one already."""
    if value.type.dtype in types:
        return c.place(value)
    narrow = c.intermediate(TensorType(DType.I32, value.type.shape), f"{c.names[value]}/i32")
    codes = {"in_data_type": element_code(value.type.dtype), "out_data_type": element_code(DType.I32)}
    c.node("CAST", [c.place(value)], [narrow], "CastOptions", **codes)
    return narrow


_WHOLE = (DType.I32, DType.I64)


def gather(c: Emitter, op: Operation) -> None:
    """GATHER."""
    x, batch = op.operands[0], op.attributes["batch_dims"]
    axis = normalize_axis(op.name, op.attributes["axis"], x.type.rank)
    inputs = [c.place(x), _indices(c, op, 1, (x.type.shape[axis],), _WHOLE)]
    number = 5 if batch else version(op, 1, 2)
    c.node("GATHER", inputs, [c.result(op)], "GatherOptions", number, axis=axis, batch_dims=batch)


def gather_nd(c: Emitter, op: Operation) -> None:
    """GATHER_ND."""
    x, indices = op.operands
    places = _indices(c, op, 1, x.type.shape[: indices.type.shape[-1]], _WHOLE)
    c.node("GATHER_ND", [c.place(x), places], [c.result(op)], "GatherNdOptions")


def scatter_nd(c: Emitter, op: Operation) -> None:
    """SCATTER_ND."""
    shape, (indices, updates) = op.attributes["shape"], op.operands
    places, data = _indices(c, op, 0, shape[: indices.type.shape[-1]], (DType.I32,)), c.place(updates)
    if not updates.type.rank:  # the kernel refuses a single number
        places = _listed(c, op, places, TensorType(DType.I32, indices.type.shape), "index")
        data = _listed(c, op, data, updates.type, "update")
    c.node("SCATTER_ND", [places, data, c.vector(shape)], [c.result(op)], "ScatterNdOptions")


def _listed(c: Emitter, op: Operation, place: int, type_: TensorType, name: str) -> int:
    """A list of the tensor at `place` alone."""
    shape = (1, *type_.shape)
    result = c.intermediate(replace(type_, shape=shape), f"{c.names[op.result]}/{name}")
    c.node("RESHAPE", [place, c.vector(shape)], [result], "ReshapeOptions", new_shape=shape)
    return result


def last_update(c: Emitter, op: Operation) -> None:
    """STABLEHLO_SCATTER of the numbers of updates, each of which takes the place of those before it."""
    *batch, _ = op.operands[0].type.shape
    start = c.constant(np.full(op.result.type.shape, -1, np.int32), f"{c.names[op.result]}/none")
    numbers = c.constant(np.arange(np.prod(batch, dtype=int), dtype=np.int32).reshape(batch), f"numbers/{batch}")
    _scatter(c, op, start, 0, numbers, None)


def scatter_combine(c: Emitter, op: Operation) -> None:
    """STABLEHLO_SCATTER of updates, joined to what is there."""
    kinds = {"mul": "STABLEHLO_MULTIPLY", "maximum": "STABLEHLO_MAXIMUM", "minimum": "STABLEHLO_MINIMUM"}
    x, _, updates = op.operands
    _scatter(c, op, c.place(x), 1, c.place(updates), kinds[op.attributes["by"]])


def _scatter(c: Emitter, op: Operation, start: int, operand: int, updates: int, kind: str | None) -> None:
    """STABLEHLO_SCATTER of slices at the places of an operand; without a `kind` updates stand for what was there."""
    shape, dtype = op.result.type.shape, op.result.type.dtype
    *batch, depth = op.operands[operand].type.shape
    places = _indices(c, op, operand, shape[:depth], _WHOLE)
    one = TensorType(dtype, ())
    tensors = [Tensor("old", one), Tensor("new", one)]
    if kind is None:
        c.functions.append(Function("update", tensors, (), (0, 1), (1,)))
    else:
        join = Node(kind, 1, (0, 1), (2,))
        c.functions.append(Function("join", [*tensors, Tensor("joined", one)], (join,), (0, 1), (2,)))
    fields: dict[str, Field] = {
        "update_window_dims": tuple(range(len(batch), len(batch) + len(shape) - depth)),
        "inserted_window_dims": tuple(range(depth)),
        "scatter_dims_to_operand_dims": tuple(range(depth)),
        "index_vector_dim": len(batch),
        "update_computation_subgraph_index": len(c.functions),
    }
    inputs = [start, places, updates]
    c.node("STABLEHLO_SCATTER", inputs, [c.result(op)], "StablehloScatterOptions", version=1, **fields)


def one_hot(c: Emitter, op: Operation) -> None:
    """ONE_HOT."""
    given, labels, type_ = op.attributes, op.operands[0], op.result.type
    places = _narrowed(c, labels, _WHOLE)
    axis = normalize_axis(op.name, given["axis"], type_.rank)
    depth = c.constant(np.array(given["depth"], np.int32), "depth")
    numbers = [c.constant(np.array(given[key], type_.dtype.numpy), key) for key in ("on", "off")]
    axis = -1 if axis == labels.type.rank else axis
    c.node("ONE_HOT", [places, depth, *numbers], [c.result(op)], "OneHotOptions", axis=axis)


TFLITE.add(TfliteForm(strided_slice, ("STRIDED_SLICE", "REVERSE_V2"), narrow=Narrow.COPIED), StridedSlice)
TFLITE.add(TfliteForm(mirror_pad, "MIRROR_PAD", narrow=Narrow.COPIED), MirrorPad)
TFLITE.add(_blocks("SPACE_TO_DEPTH", "SpaceToDepthOptions"), SpaceToDepth)
TFLITE.add(_blocks("DEPTH_TO_SPACE", "DepthToSpaceOptions"), DepthToSpace)
TFLITE.add(_batches("SPACE_TO_BATCH_ND", "padding"), SpaceToBatchND)
TFLITE.add(_batches("BATCH_TO_SPACE_ND", "crops"), BatchToSpaceND)
TFLITE.add(TfliteForm(gather, "GATHER", narrow=Narrow.COPIED), Gather)
TFLITE.add(TfliteForm(gather_nd, "GATHER_ND", narrow=Narrow.COPIED), GatherND)
TFLITE.add(TfliteForm(scatter_nd, "SCATTER_ND", narrow=Narrow.COPIED), ScatterND)
TFLITE.add(TfliteForm(last_update, "STABLEHLO_SCATTER", narrow=Narrow.COPIED), LastUpdate)
TFLITE.add(TfliteForm(scatter_combine, "STABLEHLO_SCATTER"), ScatterCombine)
TFLITE.add(TfliteForm(one_hot, "ONE_HOT", narrow=Narrow.COPIED), OneHot)

"""Which layers of the language an operation may have come from. Proposals are checked where they are used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from ...compiler.graph.ir import Graph, Operation, Value
from ...compiler.ops.pictures.grid_sample import MODES, PADDINGS


@dataclass(frozen=True, slots=True)
class Proposal:
    """A call of a layer: tensors and settings, defaults included."""

    layer: str
    operands: tuple[Value, ...]
    settings: Mapping[str, Any]


SLICE = "[]"
"""In place of a layer: `x[places]`, whose places are the setting `places`."""

RANGE = ("start", "stop", "step")
"""The parts of a place that is a range."""

Rule = Callable[[Graph, Operation], Iterator[Proposal]]


def one_or_all(sizes: tuple[int, ...]) -> Any:
    """A number for all dimensions where it is the same."""
    return sizes[0] if len(set(sizes)) == 1 else sizes


def padding(pad: Any) -> Any:
    """Padding as the language says it most shortly."""
    if isinstance(pad, str):
        return pad
    if all(before == after for before, after in pad):
        return one_or_all(tuple(before for before, _ in pad))
    return pad


def _init(graph: Graph, value: Value) -> str | None:
    """The rule of a parameter's initial values, if it is one."""
    op = graph.producers.get(value)
    return op.attributes["init"] if op is not None and op.name == "param" else None


def _with_init(graph: Graph, value: Value, settings: dict[str, Any]) -> dict[str, Any]:
    init = _init(graph, value)
    return settings if init is None else {**settings, "init": init}


def convolution(graph: Graph, op: Operation) -> Iterator[Proposal]:
    """`conv` and `depthwise_conv`."""
    x, weight, *bias = op.operands
    a = op.attributes
    filters, groups = weight.type.shape[-1], a["groups"]
    rest = {
        "kernel": one_or_all(weight.type.shape[:-2]),
        "stride": one_or_all(a["strides"]),
        "pad": padding(a["padding"]),
        "dilation": one_or_all(a["dilations"]),
    }
    has_bias = {"bias": bool(bias)}
    if groups == x.type.shape[-1] and groups > 1:
        settings = {**rest, "multiplier": filters // groups, **has_bias}
        yield Proposal("depthwise_conv", (x,), _with_init(graph, weight, settings))
    settings = {"filters": filters, **rest, "groups": groups, **has_bias}
    yield Proposal("conv", (x,), _with_init(graph, weight, settings))


def transposed_convolution(graph: Graph, op: Operation) -> Iterator[Proposal]:
    """`conv_transpose`, whose output padding is found by trying."""
    x, weight, *bias = op.operands
    a = op.attributes
    if not {"strides", "padding"} <= set(a):
        return
    for extra in (0, 1):
        settings = {
            "filters": weight.type.shape[-1] if len(weight.type.shape) > 2 else 1,
            "kernel": one_or_all(weight.type.shape[:-2]),
            "stride": one_or_all(a["strides"]),
            "pad": padding(a["padding"]),
            "output_pad": extra,
            "dilation": one_or_all(a.get("dilations", (1,))),
            "groups": a.get("groups", 1),
            "bias": bool(bias),
        }
        yield Proposal("conv_transpose", (x,), _with_init(graph, weight, settings))


def dense(graph: Graph, op: Operation) -> Iterator[Proposal]:
    """`dense`."""
    x, weight, *bias = op.operands
    settings = {"units": weight.type.shape[-1], "bias": bool(bias)}
    yield Proposal("dense", (x,), _with_init(graph, weight, settings))


def batch_norm(graph: Graph, op: Operation) -> Iterator[Proposal]:
    """`batch_norm`."""
    yield Proposal("batch_norm", op.operands[:1], {"eps": op.attributes["eps"], "momentum": op.attributes["momentum"]})


def pooling(graph: Graph, op: Operation) -> Iterator[Proposal]:
    """`max_pool`, `avg_pool`, the latter also of what was padded with zeros that count."""
    a, x = op.attributes, op.operands[0]
    size, stride = one_or_all(a["size"]), one_or_all(a["strides"])
    step = None if size == stride else stride
    if op.name == "avg_pool" and (before := graph.producers.get(x)) is not None and before.name == "pad":
        pads = before.attributes["padding"][1:-1]
        settings = {"size": size, "stride": step, "pad": padding(pads), "ceil": False, "count_padding": True}
        yield Proposal("avg_pool", before.operands, settings)
        yield Proposal("avg_pool", before.operands, {**settings, "ceil": True})
    yield Proposal(op.name, (x,), {"size": size, "stride": step, "pad": padding(a["padding"])})


def mean(graph: Graph, op: Operation) -> Iterator[Proposal]:
    """`global_avg_pool`, `global_max_pool`."""
    yield Proposal("global_max_pool" if op.name == "reduce_max" else "global_avg_pool", op.operands, {})


def reshape(graph: Graph, op: Operation) -> Iterator[Proposal]:
    """`flatten`, `squeeze`, `unsqueeze`; `global_avg_pool` of what keeps its dimensions."""
    (x,), shape = op.operands, op.attributes["shape"]
    if len(shape) == 2 and x.type.rank > 2:
        yield Proposal("flatten", (x,), {})
        before = graph.producers.get(x)
        if before is not None and before.name == "transpose":
            yield Proposal("flatten", before.operands, {"order": "channels_first"})
    yield from _squeezed(x, shape)


def _squeezed(x: Value, shape: tuple[int, ...]) -> Iterator[Proposal]:
    sizes = x.type.shape
    if len(sizes) > len(shape):
        for d in range(len(sizes)):
            if sizes[d] == 1 and sizes[:d] + sizes[d + 1 :] == shape:
                yield Proposal("squeeze", (x,), {"axes": d})
                return
    for d in range(len(shape)):
        if len(shape) == len(sizes) + 1 and shape[d] == 1 and shape[:d] + shape[d + 1 :] == sizes:
            yield Proposal("unsqueeze", (x,), {"axes": d})
            return


def concat(graph: Graph, op: Operation) -> Iterator[Proposal]:
    """`concat`."""
    axis, rank = op.attributes["axis"], op.result.type.rank
    yield Proposal("concat", op.operands, {"axis": axis})
    yield Proposal("concat", op.operands, {"axis": axis - rank})


def pad(graph: Graph, op: Operation) -> Iterator[Proposal]:
    """`pad` with a number."""
    yield Proposal("pad", op.operands, {"padding": op.attributes["padding"], "value": op.attributes["value"]})


def brackets(graph: Graph, op: Operation) -> Iterator[Proposal]:
    """`x[places]`; also of a slice that loses dimensions of which it keeps one element."""
    part: Operation | None = op
    if op.name == "reshape":
        part = graph.producers.get(op.operands[0])
    if part is None or part.name not in ("slice", "strided_slice"):
        return
    begin, size = part.attributes["begin"], part.attributes["size"]
    strides = part.attributes.get("strides", (1,) * len(size))
    places = tuple(map(_range, begin, size, strides, part.operands[0].type.shape))
    if op.name == "reshape":
        whole = part.operands[0].type.shape
        gone = [d for d, n in enumerate(size) if n == 1 and whole[d] > 1]
        if not gone or tuple(n for d, n in enumerate(size) if d not in gone) != op.attributes["shape"]:
            return
        places = tuple(begin[d] if d in gone else place for d, place in enumerate(places))
    while places and places[-1] == (None, None, None):
        places = places[:-1]
    yield Proposal(SLICE, part.operands, {"places": places})


def _range(begin: int, size: int, step: int, whole: int) -> tuple[int | None, int | None, int | None]:
    """`begin:end:step`, of which what goes without saying is None."""
    end = begin + (size - 1) * step + (1 if step > 0 else -1) if size else begin
    first = None if begin == (0 if step > 0 else whole - 1) else begin
    is_last = end >= whole if step > 0 else end < 0
    return first, None if is_last else end, None if step == 1 else step


def strided_slice(graph: Graph, op: Operation) -> Iterator[Proposal]:
    """`strided_slice`, which says where a range ends in place of how long it is."""
    begin, size, strides = (op.attributes[k] for k in ("begin", "size", "strides"))
    end: list[int | None] = []
    for b, n, s in zip(begin, size, strides, strict=True):
        last = b + (n - 1) * s + (1 if s > 0 else -1)
        end.append(last if last >= 0 else None)
    yield Proposal("strided_slice", op.operands, {"begin": begin, "end": tuple(end), "strides": strides})


def dropout(graph: Graph, op: Operation) -> Iterator[Proposal]:
    """`spatial_dropout`, `stochastic_depth`."""
    if op.attributes["shared"]:
        for layer in ("stochastic_depth", "spatial_dropout"):
            yield Proposal(layer, op.operands, {"rate": op.attributes["rate"]})


def resize(graph: Graph, op: Operation) -> Iterator[Proposal]:
    """`resize`, of which several operators come."""
    x, shape = op.operands[0], op.result.type.shape[1:-1]
    a = op.attributes
    if op.name == "resize":
        rest = {k: a[k] for k in ("mode", "coordinates", "rounding", "antialias", "coefficient", "exclude_outside")}
        yield Proposal("resize", (x,), {"size": shape, **rest})
        if len(a["scales"]) == len(shape):
            yield Proposal("resize", (x,), {"scale": a["scales"], **rest})


def grid_sample(graph: Graph, op: Operation) -> Iterator[Proposal]:
    """`grid_sample`, whose settings are found by trying: each makes other places and weights of the grid."""
    total = graph.producers.get(op.operands[0])
    if total is None or total.name != "weighted_gather":
        return
    pixels, grid = graph.producers.get(total.operands[0]), _grid(graph, total.operands[2])
    if pixels is None or grid is None:
        return
    for mode, edge, corners in product(MODES, PADDINGS, (False, True)):
        settings = {"mode": mode, "padding": edge, "align_corners": corners}
        yield Proposal("grid_sample", (pixels.operands[0], grid), settings)


def _grid(graph: Graph, weights: Value) -> Value | None:
    """The points from whose coordinates weights were computed: their list is what the first slice before these cuts."""
    open_, seen = [weights], {weights}
    while open_:
        producer = graph.producers.get(open_.pop())
        if producer is not None and producer.name == "slice":
            points = graph.producers.get(producer.operands[0])
            return points.operands[0] if points is not None and points.name == "reshape" else producer.operands[0]
        new = [v for v in (producer.operands if producer is not None else ()) if v not in seen]
        open_ += new
        seen.update(new)
    return None


def operator_layer(graph: Graph, op: Operation) -> Iterator[Proposal]:
    """A layer that has the name of an operator and its settings."""
    yield Proposal(op.name, op.operands, dict(op.attributes))


def prelu(graph: Graph, op: Operation) -> Iterator[Proposal]:
    """`prelu`."""
    yield Proposal("prelu", op.operands[:1], {})
    yield Proposal("prelu", op.operands[:1], {"shared": True})
    slope = graph.producers.get(op.operands[1])
    if slope is not None and slope.name == "reshape":
        yield Proposal("prelu", op.operands[:1], {})


def silu(graph: Graph, op: Operation) -> Iterator[Proposal]:
    """`silu`."""
    for place in (0, 1):
        gate = graph.producers.get(op.operands[place])
        if gate is not None and gate.name == "sigmoid":
            yield Proposal("silu", gate.operands, {})


def affine(graph: Graph, op: Operation) -> Iterator[Proposal]:
    """Normalisations whose last step is a factor or a summand of each channel."""
    for steps in (2, 1):
        source = op.operands[0]
        for _ in range(steps - 1):
            before = graph.producers.get(source)
            source = before.operands[0] if before is not None and before.operands else source
        yield from _normalised(graph, source, steps, op)


def _normalised(graph: Graph, source: Value, steps: int, op: Operation) -> Iterator[Proposal]:
    normal = graph.producers.get(source)
    if normal is None or normal.name != "normalize":
        return
    x, a = normal.operands[0], normal.attributes
    eps, axes = a.get("eps"), a.get("axes", ())
    rank = len(axes) if axes else 1
    for settings in ({"eps": eps}, {"eps": eps, "rank": rank}, {"eps": eps, "rank": rank, "bias": False}):
        yield Proposal("layer_norm", (x,), settings)
        if "bias" not in settings:
            yield Proposal("rms_norm", (x,), settings)


def normalize(graph: Graph, op: Operation) -> Iterator[Proposal]:
    """`layer_norm` and `rms_norm` without parameters."""
    eps = op.attributes.get("eps")
    yield Proposal("layer_norm", op.operands[:1], {"eps": eps, "affine": False})
    yield Proposal("layer_norm", op.operands[:1], {"eps": eps})
    yield Proposal("layer_norm", op.operands[:1], {"eps": eps, "bias": False})
    yield Proposal("rms_norm", op.operands[:1], {"eps": eps, "affine": False})
    yield Proposal("rms_norm", op.operands[:1], {"eps": eps})


PROPOSALS: Mapping[str, tuple[Rule, ...]] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), (convolution,)),
    **dict.fromkeys(("transpose_conv1d", "transpose_conv2d", "transpose_conv3d"), (transposed_convolution,)),
    "dense": (dense,),
    "batch_norm": (batch_norm,),
    "max_pool": (pooling,),
    "avg_pool": (pooling,),
    "reduce_mean": (mean,),
    "reduce_max": (mean,),
    "reshape": (grid_sample, brackets, reshape),
    "slice": (brackets,),
    "concat": (concat,),
    "pad": (pad,),
    "strided_slice": (brackets, strided_slice),
    "dropout": (dropout,),
    "resize": (resize,),
    "roi_align": (operator_layer,),
    "depth_to_space": (operator_layer,),
    "prelu": (prelu,),
    "add": (affine,),
    "mul": (silu, affine),
    "normalize": (normalize,),
}
"""Rules by the last operation that a layer emits."""

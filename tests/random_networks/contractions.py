"""Convolutions, dense layers, pooling, and what they are differentiated to."""

from __future__ import annotations

from typing import Any

from netc.compiler.graph import Value
from netc.compiler.ops.windows.window import dilated
from netc.compiler.ops.windows.winograd import AT_POINTS, FORMS, STAGES
from netc.compiler.types import DType

from .maker import FLOATS, INTEGERS, Maker, Shape, UnfitError
from .recipes import recipe


def window(m: Maker, size: Shape, *, dilates: bool = True, small_padding: bool = False) -> dict[str, Any]:
    """Kernel, strides, padding and dilations for maps of a size; the kernel may be larger than they are."""
    spatial = len(size)
    kernel = tuple(m.choice((3, 1, 2, 4) if spatial < 3 else (2, 1, 3)) for _ in range(spatial))
    strides = tuple(m.choice((1, 2, 1, 3)) for _ in range(spatial))
    dilations = tuple(m.choice((1, 1, 2)) if dilates and m.flag(3) else 1 for _ in range(spatial))
    kind = m.number(0, 3)
    padding: Any = ("same", "valid")[kind] if kind < 2 else _padding(m, kernel, small_padding)
    extent = dilated(kernel, dilations)
    if padding == "valid" and any(e > s for e, s in zip(extent, size, strict=True)):
        padding = "same"
    return {"kernel": kernel, "strides": strides, "dilations": dilations, "padding": padding}


def _padding(m: Maker, kernel: Shape, small: bool) -> tuple[tuple[int, int], ...]:
    most = [k - 1 if small else k for k in kernel]
    return tuple((m.number(0, limit), m.number(0, limit)) for limit in most)


def groups_and_channels(m: Maker, channels: int) -> tuple[int, int]:
    """Groups that divide channels, and a number of filters."""
    kind = m.number(0, 3)
    if kind == 3:
        divisors = [d for d in range(1, channels + 1) if channels % d == 0]
        groups = m.choice(divisors)
        return groups, groups * m.choice((1, 2, 3))
    if kind == 2:
        return channels, channels * m.choice((1, 1, 2))
    return 1, m.choice((4, 1, 3, 8, 16, 17, 5))


def image(m: Maker, spatial: int) -> Value:
    return m.operand(FLOATS, fits=lambda t: t.rank == spatial + 2, shape=lambda: m.image(spatial), new=4)


def convolution_of(m: Maker, x: Value) -> tuple[Shape, dict[str, Any]]:
    """The weight's shape and the attributes of a convolution of x."""
    w = window(m, x.type.shape[1:-1])
    channels = x.type.shape[-1]
    groups, filters = groups_and_channels(m, channels) if channels else (1, 3)
    return (*w.pop("kernel"), channels // groups, filters), {**w, "groups": groups}


def convolution(m: Maker, spatial: int) -> tuple[Value, Value, dict[str, Any]]:
    """x, weight and attributes of a convolution."""
    x = image(m, spatial)
    shape, attributes = convolution_of(m, x)
    return x, m.weight(x.type.dtype, shape), attributes


@recipe("conv1d", "conv2d", "conv3d")
def conv(m: Maker, name: str) -> Value:
    x, weight, attributes = convolution(m, int(name[4]))
    operands = [x, weight]
    if m.flag():
        operands.append(m.weight(x.type.dtype, weight.type.shape[-1:]))
    return m.emit(name, *operands, **attributes)


@recipe(*(f"conv{d}d_{what}_gradient" for d in (1, 2, 3) for what in ("input", "weight")))
def conv_gradient(m: Maker, name: str) -> Value:
    forward, spatial = name[:6], int(name[4])
    x, weight, attributes = convolution(m, spatial)
    y = m.emit(forward, x, weight, **attributes)
    dy = m.operand((y.type.dtype,), shape=y.type.shape)
    if "input" in name:
        return m.emit(name, dy, weight, size=x.type.shape[1:-1], **attributes)
    return m.emit(name, x, dy, kernel=weight.type.shape[:-2], **attributes)


@recipe("transpose_conv1d", "transpose_conv2d", "transpose_conv3d")
def transpose_conv(m: Maker, name: str) -> Value:
    x = image(m, int(name[-2]))
    channels = x.type.shape[-1]
    groups, c = groups_and_channels(m, channels) if channels else (1, 3)
    bias = [m.weight(x.type.dtype, (c,))] if m.flag() else []
    attributes = enlarging(m, x.type.shape[1:-1])
    weight = m.weight(x.type.dtype, (*attributes.pop("kernel"), channels // groups, c))
    return m.emit(name, x, weight, *bias, groups=groups, **attributes)


def enlarging(m: Maker, size: Shape) -> dict[str, Any]:
    """Kernel, size, strides, padding and dilations of a transposed convolution."""
    kernel, strides = (tuple(m.choice(o) for _ in size) for o in ((3, 1, 2, 4), (2, 1, 3)))
    padding = tuple((m.number(0, k - 1), m.number(0, k - 1)) for k in kernel)
    full = (
        (s - 1) * step + k - before - after
        for s, step, k, (before, after) in zip(size, strides, kernel, padding, strict=True)
    )
    goal = tuple(max(f + m.choice((0, 0, 1, 2, -1)), 1) for f in full)
    dilations = tuple(m.choice((1, 1, 2)) if m.flag(3) else 1 for _ in size)
    return {"kernel": kernel, "size": goal, "strides": strides, "padding": padding, "dilations": dilations}


@recipe("dense")
def dense(m: Maker, name: str) -> Value:
    x = m.operand(FLOATS, fits=lambda t: t.rank > 0, shape=lambda: m.shape((2, 4, 3, 1, 5)), new=4)
    units = m.choice((4, 1, 3, 8, 16, 17, 33))
    operands = [x, m.weight(x.type.dtype, (x.type.shape[-1], units))]
    if m.flag():
        operands.append(m.weight(x.type.dtype, (units,)))
    return m.emit(name, *operands)


@recipe("winograd_filter")
def winograd_filter(m: Maker, name: str) -> Value:
    lead = m.choice(((), (), (2,)))
    weight = m.weight(m.dtype(FLOATS), (*lead, 3, 3, m.choice((2, 1, 3)), m.choice((3, 1, 17))))
    tile, stride = m.choice(tuple(FORMS))
    stage = m.choice(STAGES) if (tile, stride) == (4, 1) else AT_POINTS
    return m.emit(name, weight, tile=tile, stride=stride, flip=m.flag(), stage=stage)


@recipe("strassen_filter")
def strassen_filter(m: Maker, name: str) -> Value:
    channels, half = 2 * m.choice((2, 1, 3)), m.choice((3, 1, 17))
    filters = m.choice((half, half + half // 2, 2 * half))
    operands = (m.weight(DType.F32, shape) for shape in ((channels, filters), (channels,), (filters,)))
    return m.emit(name, *operands, half=half, width=m.choice((4, 1, half)))


@recipe("filter_scales")
def filter_scales(m: Maker, name: str) -> Value:
    channels, filters = m.choice((2, 1, 5)), m.choice((3, 1, 17))
    return m.emit(name, m.weight(DType.F32, (channels, filters)), m.weight(DType.F32, (channels,)))


@recipe("channel_scales")
def channel_scales(m: Maker, name: str) -> Value:
    return m.emit(name, m.weight(DType.F32, (m.choice((2, 1, 5)), m.choice((3, 1, 17)))))


def pooling(m: Maker, dtypes: tuple[DType, ...], spatial: tuple[int, ...] = (2, 1, 3)) -> tuple[Value, dict[str, Any]]:
    """x and attributes of a pooling."""
    dimensions = m.choice(spatial)
    x = m.operand(dtypes, fits=lambda t: t.rank == dimensions + 2, shape=lambda: m.image(dimensions))
    w = window(m, x.type.shape[1:-1], dilates=False, small_padding=True)
    return x, {"size": w["kernel"], "strides": w["strides"], "padding": w["padding"]}


@recipe("max_pool", "avg_pool")
def pool(m: Maker, name: str) -> Value:
    x, attributes = pooling(m, (*FLOATS, *INTEGERS) if name == "max_pool" else FLOATS)
    return m.emit(name, x, **attributes)


@recipe("avg_pool_gradient")
def avg_pool_gradient(m: Maker, name: str) -> Value:
    x, attributes = pooling(m, FLOATS)
    y = m.emit("avg_pool", x, **attributes)
    dy = m.operand((y.type.dtype,), shape=y.type.shape)
    return m.emit(name, dy, input_size=x.type.shape[1:-1], **attributes)


@recipe("max_pool_index", "max_pool_gradient", "max_pool_gather")
def max_pool_parts(m: Maker, name: str) -> Value:
    x, attributes = pooling(m, FLOATS)
    if x.type.size == 0:
        raise UnfitError
    y = m.emit("max_pool", x, **attributes)
    index = m.emit("max_pool_index", x, y, **attributes)
    if name == "max_pool_gradient":
        dy = m.operand((y.type.dtype,), shape=y.type.shape)
        return m.emit(name, index, dy, input_size=x.type.shape[1:-1], **attributes)
    if name == "max_pool_gather":
        return m.emit(name, m.operand((x.type.dtype,), shape=x.type.shape), index, **attributes)
    return index

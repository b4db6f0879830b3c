"""Normalisation, by statistics of training or by those of each sample."""

from __future__ import annotations

from ....compiler.graph.ir import Value
from ....compiler.types import DType
from ..node import Node
from ..registry import EXPERIMENTAL, onnx


@onnx("BatchNormalization")
def batch_normalization(c: Node) -> tuple[Value | None, ...]:
    """(x - mean) * scale / sqrt(variance + epsilon) + bias for each channel, which stands second."""
    c.ignore("is_test")
    if not c.flag("spatial", True):
        c.unsupported("statistics of single places are not supported")
    if c.version < 7 and not c.flag("is_test"):
        c.unsupported("its form for training is not supported")
    in_training = c.flag("training_mode") or any(c.wants(i) for i in range(1, 5))
    if in_training and not c.converter.to_train:
        return _in_training(c)
    if c.type(0).rank < 2:
        c.unsupported(f"it takes [N, C, ...], not {c.type(0)}")
    x = c.channels_last(c.value(0))
    others = [c.cast(c.value(i), x.type.dtype) for i in range(1, 5)]
    kept = float(c.attribute("momentum", 0.9))  # ONNX counts what stays, netc what is new
    rules = {"eps": float(c.attribute("epsilon", 1e-5)), "momentum": round(1 - kept, 9)}
    y = c.emit("batch_norm", x, *others, **rules)
    return (c.channels_first(y), *(None,) * (len(c.outputs) - 1))  # running statistics move while it is trained


def _in_training(c: Node) -> tuple[Value | None, ...]:
    """By the statistics of the batch, and the running statistics after it (operator sets from 14 on)."""
    if c.version < 14:
        c.unsupported("its form for training is not supported before operator set 14")
    x = c.value(0)
    momentum, epsilon = float(c.attribute("momentum", 0.9)), float(c.attribute("epsilon", 1e-5))
    axes = (0, *range(2, x.type.rank))
    mean = c.emit("reduce_mean", x, axes=axes, keepdims=True)
    apart = c.emit("sub", x, mean)
    variance = c.emit("reduce_mean", c.emit("mul", apart, apart), axes=axes, keepdims=True)
    wide = (-1, *(1,) * (x.type.rank - 2))
    root = c.emit("sqrt", c.emit("add", variance, c.scalar(epsilon, x)))
    y = c.emit("div", apart, root)
    y = c.emit("add", c.emit("mul", y, c.reshape(c.value(1), wide)), c.reshape(c.value(2), wide))
    found: list[Value | None] = [y]
    for place, new in ((3, mean), (4, variance)):
        old = c.value(place)
        kept = c.emit("mul", old, c.scalar(momentum, old))
        found.append(c.emit("add", kept, c.emit("mul", c.reshape(new, (-1,)), c.scalar(1 - momentum, old))))
    return tuple(found)


@onnx("InstanceNormalization")
def instance_normalization(c: Node) -> Value:
    """Each channel of each sample by its own mean and variance."""
    x = c.value(0)
    axes = tuple(range(2, x.type.rank))
    y = c.emit("normalize", x, axes=axes, eps=float(c.attribute("epsilon", 1e-5)))
    return _affine(c, y, (c.value(1), c.value(2)))


def _affine(c: Node, y: Value, terms: tuple[Value, Value]) -> Value:
    """A factor and a summand for each channel, which stands second."""
    wide = (-1, *(1,) * (y.type.rank - 2))
    scale, bias = (c.reshape(term, wide) for term in terms)
    return c.emit("add", c.emit("mul", y, scale), bias)


@onnx("GroupNormalization", since=18)
def group_normalization_by_group(c: Node) -> Value:
    """Groups of channels of each sample; scale and bias are those of groups."""
    groups = int(c.needed("num_groups"))
    y = _by_group(c, groups)
    each = y.type.shape[1] // groups
    terms = []
    for place in (1, 2):
        term = c.reshape(c.value(place), (groups, 1))
        terms.append(c.reshape(c.broadcast(term, (groups, each)), (groups * each,)))
    return _affine(c, y, (terms[0], terms[1]))


@onnx("GroupNormalization", since=21)
def group_normalization(c: Node) -> Value:
    """Groups of channels of each sample; scale and bias are those of channels."""
    c.ignore("stash_type")
    y = _by_group(c, int(c.needed("num_groups")))
    return _affine(c, y, (c.cast(c.value(1), y.type.dtype), c.cast(c.value(2), y.type.dtype)))


def _by_group(c: Node, groups: int) -> Value:
    x = c.channels_last(c.value(0))
    if groups < 1 or x.type.shape[-1] % groups:
        c.unsupported(f"{groups} groups don't divide {x.type.shape[-1]} channels")
    axes = tuple(range(1, x.type.rank))
    y = c.emit("normalize", x, axes=axes, eps=float(c.attribute("epsilon", 1e-5)), groups=groups)
    return c.channels_first(y)


@onnx("LayerNormalization")
@onnx("LayerNormalization", domain=EXPERIMENTAL)  # ONNX Runtime's optimizer writes it whatever the operator set is
def layer_normalization(c: Node) -> tuple[Value | None, ...]:
    """Each sample over its last dimensions; the mean and the inverse deviation where they are asked for."""
    x = c.value(0)
    stash = DType.F32 if int(c.attribute("stash_type", 1)) == 1 else x.type.dtype
    first = c.axis(c.attribute("axis", -1), x.type.rank)
    epsilon = float(c.attribute("epsilon", 1e-5))
    axes = tuple(range(first, x.type.rank))
    y = c.emit("normalize", x, axes=axes, eps=epsilon)
    y = c.emit("mul", y, c.value(1))
    y = c.emit("add", y, c.value(2)) if c.has(2) else y
    if not c.wants(1) and not c.wants(2):
        return (y,)
    wide = c.cast(x, stash)
    mean = c.emit("reduce_mean", wide, axes=axes, keepdims=True)
    apart = c.emit("sub", wide, mean)
    variance = c.emit("reduce_mean", c.emit("mul", apart, apart), axes=axes, keepdims=True)
    root = c.emit("sqrt", c.emit("add", variance, c.scalar(epsilon, wide)))
    return y, mean, c.emit("div", c.scalar(1, wide), root)


@onnx("RMSNormalization")
def rms_normalization(c: Node) -> Value:
    """Each sample by the root of its mean square over the last dimensions."""
    x = c.value(0)
    c.ignore("stash_type")
    first = c.axis(c.attribute("axis", -1), x.type.rank)
    epsilon = float(c.attribute("epsilon", 1e-5))
    y = c.emit("normalize", x, axes=tuple(range(first, x.type.rank)), eps=epsilon, center=False)
    return c.emit("mul", y, c.value(1))


@onnx("LpNormalization")
def lp_normalization(c: Node) -> Value:
    """X divided by its norm along an axis; 0 where the norm is."""
    x, p = c.value(0), int(c.attribute("p", 2))
    axis = c.axis(c.attribute("axis", -1), x.type.rank)
    if p not in (1, 2):
        c.unsupported(f"the norm of order {p} is not supported")
    power = c.emit("mul", x, x) if p == 2 else c.emit("abs", x)
    total = c.emit("reduce_sum", power, axes=(axis,), keepdims=True)
    norm = c.emit("sqrt", total) if p == 2 else total
    zero = c.emit("equal", norm, c.scalar(0, x))
    safe = c.emit("select", zero, c.scalar(1, x), norm)
    return c.emit("select", zero, c.scalar(0, x), c.emit("div", x, safe))


@onnx("LRN")
def local_response_normalization(c: Node) -> Value:
    """X divided by a power of the squares of neighbouring channels."""
    x, size = c.channels_last(c.value(0)), int(c.needed("size"))
    rules = {"alpha": 1e-4, "beta": 0.75}
    given = {name: float(c.attribute(name, default)) for name, default in rules.items()}
    k = float(c.attribute("bias", 1.0))
    if size % 2 == 0:  # ONNX has one more neighbour behind, the operator in front: they agree for odd sizes
        return c.channels_first(_turned_response(c, x, size, k, given))
    return c.channels_first(c.emit("local_response_norm", x, size=size, k=k, **given))


def _turned_response(c: Node, x: Value, size: int, k: float, given: dict[str, float]) -> Value:
    """With the channels in reverse order, before and after change places."""
    channels = x.type.shape[-1]
    rank = x.type.rank
    steps = {"begin": (*(0,) * (rank - 1), channels - 1), "size": x.type.shape, "strides": (*(1,) * (rank - 1), -1)}
    y = c.emit("local_response_norm", c.emit("strided_slice", x, **steps), size=size, k=k, **given)
    return c.emit("strided_slice", y, **steps)


@onnx("MeanVarianceNormalization")
def mean_variance_normalization(c: Node) -> Value:
    """(x - mean) / deviation over axes."""
    x = c.value(0)
    axes = c.axes(c.attribute("axes", (0, 2, 3)), x.type.rank)
    mean = c.emit("reduce_mean", x, axes=axes, keepdims=True)
    apart = c.emit("sub", x, mean)
    variance = c.emit("reduce_mean", c.emit("mul", apart, apart), axes=axes, keepdims=True)
    return c.emit("div", apart, c.emit("add", c.emit("sqrt", variance), c.scalar(1e-9, x)))

"""Random quantized ONNX models of a few layers, for `onnx_random_quantized.py`."""

from __future__ import annotations

import random
from collections.abc import Callable
from math import prod, sqrt
from typing import Any

import numpy as np
from onnx import TensorProto, helper
from onnx_quantized_parts import LARGEST_SUM, Array, Bytes, Model, dequantized, limited, real_bias, weight, whole_bias


def windows(m: Model, x: Bytes) -> dict[str, Any] | None:
    """Attributes of a window, and its kernel; None where none fits."""
    spatial = len(x.shape) - 2
    kernel = [m.rng.randint(1, min(4, n)) for n in x.shape[2:]]
    strides, dilations = ([m.rng.choice([1, 1, 1, 2, 3]) for _ in range(spatial)] for _ in range(2))
    if m.rng.random() < 0.7:
        dilations = [1] * spatial
    pads = [m.rng.randint(0, k - 1) for k in kernel * 2] if m.rng.random() < 0.6 else [0] * 2 * spatial
    room = [n + pads[i] + pads[i + spatial] - (kernel[i] - 1) * dilations[i] for i, n in enumerate(x.shape[2:])]
    if min(room) < 1:
        return None
    return {"kernel_shape": kernel, "strides": strides, "dilations": dilations, "pads": pads}


def sizes_behind(x: Bytes, rules: dict[str, Any]) -> list[int]:
    """Of a result, along the dimensions behind the channels."""
    spatial, found = len(x.shape) - 2, []
    for i, n in enumerate(x.shape[2:]):
        reach = (rules["kernel_shape"][i] - 1) * rules["dilations"][i]
        found.append((n + rules["pads"][i] + rules["pads"][i + spatial] - reach - 1) // rules["strides"][i] + 1)
    return found


def convolution(m: Model, x: Bytes) -> Bytes | None:
    """Grouped, depthwise or whole."""
    if not 3 <= len(x.shape) <= 5 or (rules := windows(m, x)) is None:
        return None
    channels = x.shape[1]
    groups = m.rng.choice([1, 1, channels, *(g for g in (2, 3, 4) if channels % g == 0)])
    filters = groups * m.rng.choice([1, 1, 2] if groups == channels else [1, 3, 4, 8, 16, 5, 24])
    shape = (filters, channels // groups, *rules["kernel_shape"])
    fan = prod(shape[1:])
    if fan * 255 * 255 >= LARGEST_SUM and m.is_exact:
        return None
    is_whole = m.rng.random() < 0.4
    w = weight(m, shape, 0, symmetric=is_whole and x.dtype is np.int8)
    spread = x.spread * float(w.scale.mean()) * 70 * sqrt(fan)
    behind = (x.shape[0], filters, *sizes_behind(x, rules))
    if is_whole:
        q = m.steps(spread, dtype=x.dtype)
        operands = [x.name, *m.marks((x.scale, x.zero, x.dtype)), *(m.constant(a) for a in (w.whole, w.scale, w.zero))]
        bias = [m.constant(whole_bias(m, filters))] if m.rng.random() < 0.6 else []
        return m.keep(m.node("QLinearConv", *operands, *m.marks(q), *bias, group=groups, **rules), behind, q, spread)
    y = m.node("Conv", m.real(x), dequantized(m, w), *real_bias(m, x, w, filters), group=groups, **rules)
    y, positive = limited(m, y, spread)
    return m.quantized(y, behind, spread, positive=positive)


def transposed(m: Model, x: Bytes) -> Bytes | None:
    """A transposed convolution."""
    if not 3 <= len(x.shape) <= 4:
        return None
    spatial, filters = len(x.shape) - 2, m.rng.choice([1, 3, 8])
    kernel, strides = [m.rng.randint(1, 3) for _ in range(spatial)], [m.rng.randint(1, 2) for _ in range(spatial)]
    w = weight(m, (x.shape[1], filters, *kernel), 1, symmetric=True)
    y = m.node("ConvTranspose", m.real(x), dequantized(m, w), *real_bias(m, x, w, filters), strides=strides)
    sizes = [(n - 1) * s + k for n, s, k in zip(x.shape[2:], strides, kernel, strict=True)]
    spread = x.spread * float(w.scale.mean()) * 70 * sqrt(x.shape[1] * prod(kernel))
    return m.quantized(limited(m, y, spread)[0], (x.shape[0], filters, *sizes), spread)


def dense(m: Model, x: Bytes) -> Bytes | None:
    """A product with a weight."""
    given = x.shape[-1]
    if len(x.shape) < 2 or (m.is_exact and given * 255 * 255 >= LARGEST_SUM):
        return None
    features = m.rng.choice([1, 2, 5, 8, 16, 17, 33, 64])
    spread = x.spread * 0.7 * sqrt(given)
    behind, kind = (*x.shape[:-1], features), m.rng.choice(["matmul", "matmul", "gemm", "turned", "whole", "whole"])
    if kind == "whole":
        q = m.steps(spread, dtype=x.dtype)
        w = weight(m, (given, features), 1, symmetric=x.dtype is np.int8)
        operands = [x.name, *m.marks((x.scale, x.zero, x.dtype)), *(m.constant(a) for a in (w.whole, w.scale, w.zero))]
        return m.keep(m.node("QLinearMatMul", *operands, *m.marks(q)), behind, q, spread)
    if kind != "matmul" and len(x.shape) == 2:
        w = weight(m, (features, given) if kind == "turned" else (given, features), 0 if kind == "turned" else 1)
        y = m.node("Gemm", m.real(x), dequantized(m, w), *real_bias(m, x, w, features), transB=int(kind == "turned"))
    else:
        w = weight(m, (given, features), 1)
        y = m.node("MatMul", m.real(x), dequantized(m, w))
        for bias in real_bias(m, x, w, features):
            y = m.node("Add", *m.rng.sample([y, bias], 2))
    y, positive = limited(m, y, spread)
    return m.quantized(y, behind, spread, positive=positive)


def pool(m: Model, x: Bytes) -> Bytes | None:
    """Largest elements, or means."""
    if not 3 <= len(x.shape) <= 5 or (rules := windows(m, x)) is None:
        return None
    behind = (*x.shape[:2], *sizes_behind(x, rules))
    kind = m.rng.choice(["max", "bytes"] + ["mean", "global", "whole"] * (not m.is_exact))
    if kind == "bytes":
        return m.keep(m.node("MaxPool", x.name, **rules), behind, (x.scale, x.zero, x.dtype), x.spread)
    if kind == "max":
        return m.quantized(m.node("MaxPool", m.real(x), **rules), behind, x.spread)
    ones = (*x.shape[:2], *[1] * (len(x.shape) - 2))
    if kind == "global":
        return m.quantized(m.node("GlobalAveragePool", m.real(x)), ones, x.spread / sqrt(prod(x.shape[2:])))
    if kind == "whole":
        q = m.steps(x.spread / sqrt(prod(x.shape[2:])), dtype=x.dtype)
        operands = [x.name, *m.marks((x.scale, x.zero, x.dtype)), *m.marks(q)]
        name = m.node("QLinearGlobalAveragePool", *operands, domain="com.microsoft", channels_last=0)
        return m.keep(name, ones, q, x.spread)
    if set(rules["dilations"]) != {1}:
        return None
    del rules["dilations"]
    y = m.node("AveragePool", m.real(x), count_include_pad=m.rng.randint(0, 1), **rules)
    return m.quantized(y, behind, x.spread / sqrt(prod(rules["kernel_shape"])))


def together(m: Model, x: Bytes) -> Bytes | None:
    """Sums, products and joins with a tensor of the same shape, or itself."""
    other = m.rng.choice([t for t in m.tensors if t.shape == x.shape])
    words = ["Add", "Mul", "Concat", "Sub", *["QLinearAdd", "QLinearMul"] * (not m.is_exact)]  # these round other ties
    kind = m.rng.choice(words)
    spread = {"Mul": x.spread * other.spread, "QLinearMul": x.spread * other.spread}.get(kind, x.spread + other.spread)
    if kind == "Concat":
        axis = m.rng.randrange(len(x.shape))
        behind = [n + other.shape[i] * (i == axis) for i, n in enumerate(x.shape)]
        return m.quantized(m.node("Concat", m.real(x), m.real(other), axis=axis), behind, x.spread)
    if kind.startswith("QLinear"):
        if other.dtype is not x.dtype:
            return None
        q = m.steps(spread, dtype=x.dtype)
        operands = [s for t in (x, other) for s in (t.name, *m.marks((t.scale, t.zero, t.dtype)))]
        return m.keep(m.node(kind, *operands, *m.marks(q), domain="com.microsoft"), x.shape, q, spread)
    y, positive = limited(m, m.node(kind, m.real(x), m.real(other)), spread)
    return m.quantized(y, x.shape, spread, positive=positive)


def moved(m: Model, x: Bytes) -> Bytes | None:
    """Other orders and shapes, of bytes or of what they stand for."""
    kind = m.rng.choice(["transpose", "flatten", "split", "slice", "pad", "resize"])
    rank, is_real = len(x.shape), m.rng.random() < 0.5
    given = m.real(x) if is_real else x.name
    if kind == "transpose":
        order = m.rng.sample(range(rank), rank)
        y, behind = m.node("Transpose", given, perm=order), [x.shape[i] for i in order]
    elif kind == "flatten":
        behind = [x.shape[0], prod(x.shape[1:])]
        y = m.node("Reshape", given, m.constant(np.array(behind, np.int64)))
    elif kind == "split":
        factors = [f for f in (2, 3, 4) if x.shape[-1] % f == 0]
        if not factors or rank > 4:
            return None
        behind = [*x.shape[:-1], factors[0], x.shape[-1] // factors[0]]
        y = m.node("Reshape", given, m.constant(np.array(behind, np.int64)))
    elif kind == "slice":
        axis = m.rng.randrange(rank)
        begin = m.rng.randrange(x.shape[axis])
        ends = [np.array([v], np.int64) for v in (begin, x.shape[axis], axis)]
        y, behind = m.node("Slice", given, *map(m.constant, ends)), [*x.shape]
        behind[axis] -= begin
    elif kind == "pad":
        pads = [m.rng.choice([0, 0, 1, 2]) * (i % rank > 1) for i in range(2 * rank)]
        y = m.node("Pad", m.real(x), m.constant(np.array(pads, np.int64)))
        behind, is_real = [n + pads[i] + pads[i + rank] for i, n in enumerate(x.shape)], True
    else:
        if rank != 4:
            return None
        wide = m.constant(np.array([1, 1, 2, 2], np.float32))
        rules = {"coordinate_transformation_mode": "asymmetric", "mode": "nearest", "nearest_mode": "floor"}
        y, is_real = m.node("Resize", m.real(x), "", wide, **rules), True
        behind = [*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3]]
    if prod(behind) > 20_000:
        return None
    return m.quantized(y, behind, x.spread) if is_real else m.keep(y, behind, (x.scale, x.zero, x.dtype), x.spread)


def attention(m: Model, x: Bytes) -> Bytes | None:
    """Products of two activations, perhaps with a softmax between them."""
    rank = len(x.shape)
    if rank < 3 or (m.is_exact and x.shape[-1] * 255 * 255 >= LARGEST_SUM):
        return None
    other = m.rng.choice([t for t in m.tensors if t.shape == x.shape])
    order = [*range(rank - 2), rank - 1, rank - 2]
    spread = x.spread * other.spread * sqrt(x.shape[-1])
    behind = (*x.shape[:-1], x.shape[-2])
    if m.rng.random() < 0.3 and (x.dtype is np.uint8 or other.dtype is np.int8):
        q = m.steps(spread, dtype=x.dtype)
        turned = m.node("Transpose", other.name, perm=order)
        operands = [s for t, n in ((x, x.name), (other, turned)) for s in (n, *m.marks((t.scale, t.zero, t.dtype)))]
        return m.keep(m.node("QLinearMatMul", *operands, *m.marks(q)), behind, q, spread)
    scores = m.node("MatMul", m.real(x), m.node("Transpose", m.real(other), perm=order))
    if m.is_exact or m.rng.random() < 0.3:
        return m.quantized(scores, behind, spread)
    scaled = m.quantized(m.node("Mul", scores, m.constant(np.float32(1 / max(spread, 1e-6)))), behind, 1.0)
    shares = m.quantized(m.node("Softmax", m.real(scaled), axis=-1), behind, 0.2, positive=True)
    return m.quantized(m.node("MatMul", m.real(shares), m.real(other)), x.shape, other.spread)


LAYERS: dict[Callable[[Model, Bytes], Bytes | None], int] = {
    convolution: 6,
    transposed: 1,
    dense: 4,
    pool: 2,
    together: 3,
    moved: 2,
    attention: 1,
}
"""And how often they are drawn."""


def drawn(seed: int) -> tuple[Any, Array, Model]:
    """A model, its input, and how it was made."""
    rng = random.Random(seed)
    m = Model(rng, np.random.default_rng(seed), is_exact=rng.random() < 0.7)
    rank = rng.choice([2, 3, 4, 4, 4, 4, 5])
    channels = rng.choice([1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 24, 32])
    shape = (rng.randint(1, 3), channels, *(rng.randint(1, 5 if rank == 5 else 12) for _ in range(rank - 2)))
    q = m.steps(1.0)
    x = m.draws.standard_normal(shape).astype(np.float32)
    if rng.random() < 0.5:
        info = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)
        m.keep(m.node("QuantizeLinear", "x", *m.marks(q)), shape, q, 1.0)
    else:
        info = helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(np.dtype(q[2])), shape)
        limits = np.iinfo(q[2])
        x = np.clip(np.rint(x / q[0]) + q[1], limits.min, limits.max).astype(q[2])
        m.keep("x", shape, q, 1.0)
    wanted = rng.randint(1, 6)
    for _ in range(30):
        if len(m.tensors) <= wanted:
            (layer,) = rng.choices([*LAYERS], [*LAYERS.values()])
            layer(m, m.tensors[-1] if rng.random() < 0.85 else rng.choice(m.tensors))
    return _finished(m, info), x, m


def _finished(m: Model, info: Any) -> Any:
    """All bytes are outputs, or those of the last layer alone, as floats perhaps."""
    outputs = [t for t in m.tensors if t.name != "x"]
    named = [(t.name, helper.np_dtype_to_tensor_dtype(np.dtype(t.dtype)), t.shape) for t in outputs]
    kind = m.rng.choice(["all", "last", "real"])
    named = named if kind == "all" else named[-1:]
    if not named or kind == "real":
        named = [(m.real(m.tensors[-1]), TensorProto.FLOAT, m.tensors[-1].shape)]
    infos = [helper.make_tensor_value_info(*each) for each in named]
    graph = helper.make_graph(m.nodes, "random", [info], infos, m.weights)
    sets = [helper.make_opsetid("", 19), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=sets, ir_version=9)

"""What other libraries say that operators mean: NumPy's and PyTorch's functions, in double precision.

A reference takes the operands and the attributes and gives the result, or None where it has no such form.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from netc.compiler.graph import Array, Operation
from netc.compiler.graph.interpreter import evaluate_operation

from .checks import WrongError
from .maker import Network

Reference = Callable[[tuple[Any, ...], Mapping[str, Any]], Any]
TORCH: Any = importlib.import_module("torch") if importlib.util.find_spec("torch") else None
TOLERANCE = 1e-9


def _elementwise(name: str) -> Reference:
    return lambda operands, attributes: getattr(np, name)(*operands)


def _axis(function: Callable[..., Any]) -> Reference:
    return lambda o, a: function(o[0], axis=a["axis"])


def _reduce(function: Callable[..., Any]) -> Reference:
    return lambda o, a: function(o[0], axis=a["axes"], keepdims=a["keepdims"])


def _mean(x: Array, attributes: Mapping[str, Any]) -> Any:
    """The mean, that of integers without its fraction."""
    mean = np.mean(x, axis=attributes["axes"], keepdims=attributes["keepdims"])
    return mean if x.dtype.kind == "f" else np.trunc(mean)


def _softmax(x: Array, axis: int) -> Array:
    e: Array = np.exp(x)
    return e / e.sum(axis=axis, keepdims=True)


def _floor_div(operands: tuple[Any, ...], attributes: Mapping[str, Any]) -> Any:
    a, b = operands
    whole = np.issubdtype(a.dtype, np.integer)
    return np.where(b == 0, 0, np.floor_divide(a, np.where(b == 0, 1, b))) if whole else np.floor_divide(a, b)


def _div(operands: tuple[Any, ...], attributes: Mapping[str, Any]) -> Any:
    """Of integers without the fraction, and 0 where the divisor is."""
    a, b = operands
    whole = np.issubdtype(a.dtype, np.integer)
    return np.trunc(np.where(b == 0, 0, a / np.where(b == 0, 1, b))) if whole else np.divide(a, b)


def _space_to_depth(operands: tuple[Any, ...], attributes: Mapping[str, Any]) -> Any:
    (x,), size = operands, attributes["block_size"]
    n, h, w, c = x.shape
    blocks = x.reshape(n, h // size, size, w // size, size, c)
    return blocks.transpose(0, 1, 3, 2, 4, 5).reshape(n, h // size, w // size, size * size * c)


NUMPY: dict[str, Reference] = {
    **{name: _elementwise(name) for name in ("maximum", "minimum", "less", "less_equal", "greater", "greater_equal")},
    **{name: _elementwise(name) for name in ("equal", "not_equal", "sqrt", "exp", "log", "tanh", "sign", "sin", "cos")},
    **{name: _elementwise(name) for name in ("bitwise_and", "bitwise_or", "bitwise_xor")},
    "bitwise_not": _elementwise("invert"),
    **{name: _elementwise(name) for name in ("abs", "sinh", "cosh", "tan", "exp2", "expm1", "log1p", "log2", "log10")},
    **{name: _elementwise(name) for name in ("floor", "ceil", "trunc", "square", "isnan", "isinf", "isfinite")},
    **{f"a{name}": _elementwise(f"arc{name}") for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "tan2")},
    **{name: _elementwise(name) for name in ("logical_and", "logical_or", "logical_not")},
    "round": _elementwise("rint"),
    "rsqrt": lambda o, a: 1 / np.sqrt(o[0]),
    "reciprocal": lambda o, a: 1 / o[0],
    "elu": lambda o, a: np.where(o[0] > 0, o[0], np.expm1(np.minimum(o[0], 0))),
    "hard_swish": lambda o, a: o[0] * np.clip(o[0] / 6 + 0.5, 0, 1),
    "reduce_prod": _reduce(np.prod),
    "cumulative_sum": lambda o, a: None if a["exclusive"] or a["reverse"] else np.cumsum(o[0], axis=a["axis"]),
    "space_to_depth": _space_to_depth,
    "squared_difference": lambda o, a: (o[0] - o[1]) ** 2,
    "prelu": lambda o, a: np.where(o[0] > 0, o[0], o[0] * o[1]),
    "add": _elementwise("add"),
    "sub": _elementwise("subtract"),
    "mul": _elementwise("multiply"),
    "div": _div,
    "neg": _elementwise("negative"),
    "floor_div": _floor_div,
    "select": _elementwise("where"),
    "relu": lambda o, a: np.maximum(o[0], 0),
    "relu6": lambda o, a: np.clip(o[0], 0, 6),
    "clamp": lambda o, a: np.minimum(np.maximum(o[0], a["low"]), a["high"]),
    "leaky_relu": lambda o, a: np.where(o[0] > 0, o[0], a["alpha"] * o[0]),
    "sigmoid": lambda o, a: 1 / (1 + np.exp(-o[0])),
    "hard_sigmoid": lambda o, a: np.clip(o[0] / 6 + 0.5, 0, 1),
    "softplus": lambda o, a: np.log1p(np.exp(o[0])),
    **{
        name: (lambda o, a: o[0])
        for name in ("identity", "relayout", "stop_gradient", "dropout", "alpha_dropout", "custom_gradient")
    },
    "reshape": lambda o, a: np.reshape(o[0], a["shape"]),
    "transpose": lambda o, a: np.transpose(o[0], a["permutation"]),
    "broadcast_to": lambda o, a: np.broadcast_to(o[0], a["shape"]),
    "tile": lambda o, a: np.tile(o[0], a["multiples"]),
    "concat": lambda o, a: np.concatenate(o, a["axis"]),
    "slice": lambda o, a: o[0][tuple(slice(b, b + n) for b, n in zip(a["begin"], a["size"], strict=True))],
    "gather_nd": lambda o, a: o[0][tuple(np.moveaxis(o[1], -1, 0))],
    "reduce_sum": _reduce(np.sum),
    "reduce_mean": lambda o, a: _mean(o[0], a),
    "reduce_max": _reduce(np.max),
    "reduce_min": _reduce(np.min),
    "softmax": _axis(_softmax),
    "log_softmax": _axis(lambda x, axis: np.log(_softmax(x, axis))),
    "logsumexp": _axis(lambda x, axis: np.log(np.exp(x).sum(axis=axis))),
    "argmax": lambda o, a: np.argmax(o[0], axis=a["axis"]) if not a["last"] else None,
    "argmin": lambda o, a: np.argmin(o[0], axis=a["axis"]) if not a["last"] else None,
    "sort": lambda o, a: np.sort(o[0], axis=a["axis"]) if not a["descending"] else None,
    "argsort": lambda o, a: np.argsort(o[0], axis=a["axis"], kind="stable") if not a["descending"] else None,
    "reduce_any": _reduce(np.any),
    "reduce_all": _reduce(np.all),
    "one_hot": lambda o, a: np.moveaxis(
        np.where(np.arange(a["depth"]) == o[0][..., None], a["on"], a["off"]), -1, a["axis"]
    ),
    "gather": lambda o, a: None if a["batch_dims"] else np.take(*o, axis=a["axis"]),
    "take_along_axis": lambda o, a: np.take_along_axis(*o, axis=a["axis"]),
    "mirror_pad": lambda o, a: np.pad(o[0], a["padding"], mode=a["mode"]) if o[0].size and o[0].ndim else None,
    "dense": lambda o, a: np.einsum("...i,io->...o", o[0], o[1]) + (o[2] if len(o) > 2 else 0),
    "matmul": lambda o, a: np.matmul(
        np.swapaxes(o[0], -1, -2) if a["transpose_a"] else o[0], np.swapaxes(o[1], -1, -2) if a["transpose_b"] else o[1]
    ),
    "contract": lambda o, a: np.einsum(f"{a['a_axes']},{a['b_axes']}->{a['axes']}", *o),
    "batch_norm": lambda o, a: (o[0] - o[3]) / np.sqrt(o[4] + a["eps"]) * o[1] + o[2],
    "channel_variance": lambda o, a: np.var(o[0], axis=tuple(range(o[0].ndim - 1))),
    "lookup": lambda o, a: o[1][o[0].astype(int) - np.iinfo(o[0].dtype).min],
}


def _first(x: Any) -> Any:
    """Channels last to channels first, as a tensor of PyTorch."""
    return TORCH.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))


def _last(y: Any) -> Array:
    return np.moveaxis(y.numpy(), 1, -1)


def _filters(weight: Array) -> Any:
    """[kernel..., C, F] to [F, C, kernel...]."""
    return TORCH.from_numpy(np.ascontiguousarray(np.moveaxis(weight, (-1, -2), (0, 1))))


def _padding(attributes: Mapping[str, Any], size: tuple[int, ...], kernel: tuple[int, ...]) -> list[tuple[int, int]]:
    """(before, after) for each spatial dimension; "same" as TensorFlow has it."""
    given = attributes["padding"]
    if given == "valid":
        return [(0, 0)] * len(size)
    if given != "same":
        return list(given)
    pairs = []
    for s, k, stride, d in zip(
        size, kernel, attributes["strides"], attributes.get("dilations", (1,) * len(size)), strict=True
    ):
        total = max((-(-s // stride) - 1) * stride + (k - 1) * d + 1 - s, 0)
        pairs.append((total // 2, total - total // 2))
    return pairs


def _padded(x: Array, pairs: list[tuple[int, int]], value: float = 0.0) -> Array:
    return np.pad(x, [(0, 0), *pairs, (0, 0)], constant_values=value)


def _conv(operands: tuple[Any, ...], attributes: Mapping[str, Any]) -> Any:
    x, weight, *bias = operands
    if not x.size or not weight.size:
        return None
    kernel = weight.shape[:-2]
    padded = _first(_padded(x, _padding(attributes, x.shape[1:-1], kernel)))
    function = getattr(TORCH.nn.functional, f"conv{len(kernel)}d")
    given = {"stride": attributes["strides"], "dilation": attributes["dilations"], "groups": attributes["groups"]}
    return _last(function(padded, _filters(weight), **given)) + (bias[0] if bias else 0)


def _pool(operands: tuple[Any, ...], attributes: Mapping[str, Any], largest: bool) -> Any:
    (x,) = operands
    if not x.size or x.dtype.kind != "f":
        return None
    kernel, strides = attributes["size"], attributes["strides"]
    pairs = _padding(attributes, x.shape[1:-1], kernel)
    name = f"{'max' if largest else 'avg'}_pool{len(kernel)}d"
    function = getattr(TORCH.nn.functional, name)
    pooled = _last(function(_first(_padded(x, pairs, -np.inf if largest else 0.0)), kernel, strides))
    if largest:
        return pooled
    counted = _last(function(_first(_padded(np.ones_like(x), pairs)), kernel, strides))
    return pooled / counted


def _transpose_conv(operands: tuple[Any, ...], attributes: Mapping[str, Any]) -> Any:
    """PyTorch gives all that inputs reach; what is wanted is a window of it, with zeros beyond."""
    x, weight, *bias = operands
    if not x.size or not weight.size:
        return None
    *kernel, features, channels = weight.shape
    groups, spatial = attributes["groups"], len(kernel)
    parts = np.moveaxis(weight.reshape(*kernel, features, groups, channels // groups), (-2, -3, -1), (0, 1, 2))
    filters = TORCH.from_numpy(np.ascontiguousarray(parts.reshape(groups * features, channels // groups, *kernel)))
    function = getattr(TORCH.nn.functional, f"conv_transpose{spatial}d")
    given = {"stride": attributes["strides"], "dilation": attributes["dilations"], "groups": groups}
    full = _last(function(_first(x), filters, **given))
    first, size = [before for before, _ in attributes["padding"]], attributes["size"]
    beyond = [(0, 0), *((0, f + n) for f, n in zip(first, size, strict=True)), (0, 0)]
    inside = tuple(slice(f, f + n) for f, n in zip(first, size, strict=True))
    return np.pad(full, beyond)[(slice(None), *inside)] + (bias[0] if bias else 0)


def _pad(operands: tuple[Any, ...], attributes: Mapping[str, Any]) -> Any:
    result = np.full(
        [s + b + e for s, (b, e) in zip(operands[0].shape, attributes["padding"], strict=True)],
        attributes["value"],
        operands[0].dtype,
    )
    inside = tuple(slice(b, b + s) for s, (b, _) in zip(operands[0].shape, attributes["padding"], strict=True))
    result[inside] = operands[0]
    return result


def _attention(operands: tuple[Any, ...], attributes: Mapping[str, Any]) -> Any:
    q, k, v, *mask = map(TORCH.from_numpy, operands)
    inside = attributes["heads_inside"]
    if inside:
        q, k, v = (x.swapaxes(-2, -3) for x in (q, k, v))
    shape = (*np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2]), q.shape[-2], k.shape[-2])
    hidden = TORCH.zeros(shape, dtype=q.dtype)
    if attributes["causal"]:
        hidden = hidden + TORCH.triu(TORCH.full(shape[-2:], -np.inf, dtype=q.dtype), 1)
    mask = mask[0] + hidden if mask else hidden
    function = TORCH.nn.functional.scaled_dot_product_attention
    result = function(q, k, v, attn_mask=mask, scale=attributes["scale"])
    return (result.swapaxes(-2, -3) if inside else result).numpy()


NUMPY["pad"] = _pad


def _transformed(x: Array, length: int, count: int) -> Array:
    """The first `count` sums over the last dimension that a Fourier transform of some length consists of."""
    taken = x[..., :length]
    powers = np.outer(np.arange(taken.shape[-1]), np.arange(count)) % length
    result: Array = taken @ np.exp(-2j * np.pi * powers / length)
    return result


def _rfft(operands: tuple[Array, ...], attributes: Mapping[str, Any]) -> Array:
    length = attributes["length"]
    found = _transformed(operands[0], length, length // 2 + 1)
    return np.stack((found.real, found.imag), axis=-1)


def _rfft2(operands: tuple[Array, ...], attributes: Mapping[str, Any]) -> Array:
    height, width = attributes["sizes"]
    rows = _transformed(operands[0], width, width // 2 + 1).swapaxes(-1, -2)
    found = _transformed(rows, height, height).swapaxes(-1, -2)
    return np.stack((found.real, found.imag), axis=-1)


NUMPY |= {"rfft": _rfft, "rfft2": _rfft2}
WITH_TORCH: dict[str, Reference] = {
    **{f"conv{d}d": _conv for d in (1, 2, 3)},
    "max_pool": lambda o, a: _pool(o, a, True),
    "avg_pool": lambda o, a: _pool(o, a, False),
    **{f"transpose_conv{d}d": _transpose_conv for d in (1, 2, 3)},
    "attention": _attention,
}
REFERENCES: dict[str, Reference] = {**NUMPY, **(WITH_TORCH if TORCH else {})}


def check_references(network: Network) -> int:
    """Hold each operation that has a reference against it, in double precision; returns how many there were."""
    values: dict[Any, Array] = {v: _wide(network.inputs[v.name or ""]) for v in network.graph.inputs}
    compared = 0
    for op in network.graph.operations:
        if op.name == "param":
            values[op.result] = _wide(network.params[op.result.name or ""])
            continue
        operands = tuple(values[v] for v in op.operands)
        results = tuple(map(np.asarray, evaluate_operation(op, operands)))
        values.update(zip(op.results, map(_wide, results), strict=True))
        if op.name in REFERENCES:
            compared += _compare(op, operands, results[0])
    return compared


def _wide(array: Array) -> Array:
    return array.astype(np.float64) if array.dtype.kind == "f" else array


def _compare(op: Operation, operands: tuple[Array, ...], result: Array) -> bool:
    with np.errstate(all="ignore"):
        wanted = REFERENCES[op.name](operands, op.attributes)
    if wanted is None:
        return False
    wanted = np.asarray(wanted)
    if wanted.shape != result.shape:
        raise WrongError(f"{op.name} gives {result.shape}, its reference {wanted.shape}")
    if wanted.dtype.kind in "iu":
        wanted = wanted.astype(result.dtype)
    distance = np.abs(wanted.astype(np.float64) - result.astype(np.float64)).max(initial=0)
    if not distance <= TOLERANCE * max(1.0, float(np.abs(wanted.astype(np.float64)).max(initial=0))):
        raise WrongError(f"{op.name} is off its reference by {distance:.3g}: {dict(op.attributes)}, {operands}")
    return True

"""How far results may differ: what rounding anywhere in a network does to them, found by Monte Carlo arithmetic.

Every operation that rounds is evaluated on operands, and gives results, that are off by up to two units in the last
place, drawn at random. Operations that move or compare elements, and sums of whole numbers, don't round: what is made
of them alone must be right to the last bit. Source: Parker, "Monte Carlo Arithmetic", 1997.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from netc.compiler.graph import Array, Operation, Value
from netc.compiler.graph.interpreter import evaluate_operation
from netc.compiler.types import DType

from .maker import Network

UNROUNDED = frozenset(
    (
        *("reshape", "transpose", "broadcast_to", "pad", "slice", "concat", "tile", "gather_nd", "select"),
        *(
            "strided_slice",
            "strided_slice_gradient",
            "mirror_pad",
            "gather",
            "take_along_axis",
            "last_update",
            "next_nodes",
        ),
        *("space_to_depth", "depth_to_space", "space_to_batch_nd", "batch_to_space_nd"),
        *("identity", "relayout", "stop_gradient", "dropout", "alpha_dropout", "custom_gradient", "lookup"),
        *("relu", "relu6", "neg", "abs", "sign", "maximum", "minimum", "reduce_max", "reduce_min", "argmax"),
        *("less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "one_hot", "clamp"),
        *("max_pool", "max_pool_index", "max_pool_gather", "random_uniform", "resize_nearest"),
        *("random_words", "seeded_numbers", "seeded_choices"),
    )
)
"""Operators whose results are elements of their operands, or positions, or the same on every machine."""
LINEAR = frozenset(
    (
        *("add", "sub", "mul", "reduce_sum", "dense", "matmul", "transpose_conv2d", "max_pool_gradient", "scatter_nd"),
        *(f"conv{d}d{what}" for d in (1, 2, 3) for what in ("", "_input_gradient", "_weight_gradient")),
    )
)
"""Sums and products of operands: without rounding as long as these are whole numbers, and few."""
_PRECISION = {DType.F64: 52, DType.F32: 23, DType.F16: 10}
SAMPLES = 6
FACTOR = 16.0
"""Errors may be this much larger than those of the samples."""


def tolerances(network: Network, expected: tuple[Array, ...], samples: int = SAMPLES) -> list[float]:
    """The largest error allowed in each output."""
    largest = [0.0] * len(expected)
    for seed in range(samples):
        noisy = _evaluate(network, np.random.default_rng(seed))
        for i, (result, wanted) in enumerate(zip(noisy, expected, strict=True)):
            found = distances(result, wanted)
            largest[i] = max(largest[i], float(found[np.isfinite(found)].max(initial=0)))
    return [FACTOR * each for each in largest]


def distances(result: Array, wanted: Array) -> Array:
    """How far elements lie from each other: equal infinities, and elements that are both no numbers, not at all."""
    a, b = result.astype(np.float64), wanted.astype(np.float64)
    with np.errstate(all="ignore"):
        apart = np.abs(a - b)
    alike = (a == b) | (np.isnan(a) & np.isnan(b))
    return np.where(alike, 0.0, np.where(np.isnan(apart), np.inf, apart))


def _evaluate(network: Network, rng: np.random.Generator) -> list[Array]:
    """The outputs, off by what rounding may do."""
    graph = network.graph
    values: dict[Value, Array] = {v: network.inputs[v.name or ""] for v in graph.inputs}
    for op in graph.operations:
        operands = tuple(values[v] for v in op.operands)
        exact = is_exact(op, operands)
        if not exact:
            operands = tuple(_moved(rng, a) for a in operands)
        results = evaluate_operation(op, operands, network.params)
        values.update(
            (v, np.asarray(a) if exact else _moved(rng, np.asarray(a)))
            for v, a in zip(op.results, results, strict=True)
        )
    return [values[v] for v in graph.outputs]


def is_exact(op: Operation, operands: tuple[Array, ...]) -> bool:
    """True if every order and manner of evaluation gives the same bits."""
    floats = [a for a in operands if a.dtype.kind == "f"]
    if op.name == "seeded_numbers" and op.attributes["normal"]:  # they are made by logarithms and cosines
        return False
    if op.name in UNROUNDED or not op.operands or not (floats or op.results[0].type.dtype.is_float):
        return True
    if op.name not in LINEAR:
        return False
    bound = math.prod(max(float(np.abs(a).max(initial=0)), 1) for a in floats)
    terms = max((a.size for a in operands), default=1)
    limit = 2.0 ** _PRECISION[op.results[0].type.dtype]
    return all((np.floor(a) == a).all() for a in floats) and bound * terms <= limit


def _moved(rng: np.random.Generator, array: Array) -> Array:
    """The array with each float off by up to two units in the last place."""
    if array.dtype.kind != "f":
        return array
    epsilon = float(np.finfo(array.dtype).eps)
    noise: Any = 1 + 2 * epsilon * rng.uniform(-1, 1, array.shape)
    return np.asarray(array * noise).astype(array.dtype)

"""Random models of one node against ONNX Runtime: convolutions, pooling, transposed convolutions, resizing, and others.

    python benchmarks/onnx_random.py [--count 2000] [--seed 0] [--compiled] [--only OPERATOR]

Each model has a seed of its own, so that one can be repeated: --seed S --count 1. What ONNX Runtime refuses is drawn
again. Exit code 1 if a model gives other numbers; what netc refuses is counted by reason.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto, ValueInfoProto, helper, numpy_helper
from onnx_judge import count_wrong, wanted_of

from netc.compiler.errors import NetcError
from netc.compiler.graph.interpreter import evaluate
from netc.frontend.onnx import graph_of
from netc.pipeline import compile_graph

Drawn = tuple[str, dict[str, Any], list[tuple[int, ...]], dict[int, np.ndarray[Any, Any]], int]
"""Operator, attributes, shapes of the float inputs, known inputs by place, operator set."""


def sizes(rng: random.Random, count: int, low: int, high: int) -> list[int]:
    """Random numbers."""
    return [rng.randint(low, high) for _ in range(count)]


def _window(rng: random.Random, spatial: int, *, dilated: bool = True) -> tuple[dict[str, Any], list[int]]:
    kernel = sizes(rng, spatial, 1, 4)
    attributes: dict[str, Any] = {"kernel_shape": kernel}
    if rng.random() < 0.7:
        attributes["strides"] = sizes(rng, spatial, 1, 3)
    if dilated and rng.random() < 0.4:
        attributes["dilations"] = sizes(rng, spatial, 1, 3)
    mode = rng.choice(["none", "pads", "pads", "SAME_UPPER", "SAME_LOWER", "VALID"])
    if mode == "pads":
        attributes["pads"] = [rng.randint(0, k - 1) for k in kernel * 2]
    elif mode != "none":
        attributes["auto_pad"] = mode
    return attributes, kernel


def conv(rng: random.Random) -> Drawn:
    spatial = rng.choice([1, 2, 2, 2, 3])
    attributes, kernel = _window(rng, spatial)
    groups, each, filters = rng.choice([1, 1, 2, 3]), rng.randint(1, 4), rng.randint(1, 3)
    attributes["group"] = groups
    x = (rng.randint(1, 2), groups * each, *sizes(rng, spatial, 4, 11))
    shapes = [x, (groups * filters, each, *kernel)]
    return "Conv", attributes, shapes + [(groups * filters,)] * rng.randint(0, 1), {}, rng.choice([7, 11, 22])


def conv_transpose(rng: random.Random) -> Drawn:
    spatial = rng.choice([1, 2, 2, 2, 3])
    attributes, kernel = _window(rng, spatial)
    groups, each, filters = rng.choice([1, 1, 2, 3]), rng.randint(1, 4), rng.randint(1, 3)
    attributes["group"] = groups
    strides = attributes.get("strides", [1] * spatial)
    if rng.random() < 0.4:
        attributes["output_padding"] = [rng.randint(0, s - 1) for s in strides]
    x = (rng.randint(1, 2), groups * each, *sizes(rng, spatial, 2, 6))
    if rng.random() < 0.2:
        attributes.pop("pads", None)
        attributes["output_shape"] = [n * s + rng.randint(0, 1) for n, s in zip(x[2:], strides, strict=True)]
    shapes = [x, (groups * each, filters, *kernel)]
    return "ConvTranspose", attributes, shapes + [(groups * filters,)] * rng.randint(0, 1), {}, rng.choice([7, 11, 22])


def pool(rng: random.Random) -> Drawn:
    spatial = rng.choice([1, 2, 2, 2, 3])
    name, opset = rng.choice(["MaxPool", "AveragePool", "LpPool"]), rng.choice([10, 12, 19, 22])
    attributes, _ = _window(rng, spatial, dilated=opset >= 19 or name == "MaxPool")
    if attributes.get("auto_pad", "").startswith("SAME"):
        attributes.pop("dilations", None)  # which ONNX Runtime forgets when it pads
    if name != "LpPool" or opset >= 18:
        attributes["ceil_mode"] = rng.randint(0, 1)
    if name == "AveragePool":
        attributes["count_include_pad"] = rng.randint(0, 1)
    if name == "LpPool":
        attributes["p"] = rng.randint(1, 3)
    return name, attributes, [(rng.randint(1, 2), rng.randint(1, 4), *sizes(rng, spatial, 4, 11))], {}, opset


def resize(rng: random.Random) -> Drawn:
    rank = rng.choice([3, 4, 4, 4, 5])
    x = (rng.randint(1, 2), rng.randint(1, 3), *sizes(rng, rank - 2, 2, 7))
    mode = rng.choice(["nearest", "linear", "cubic"] if rank == 4 else ["nearest", "linear"])
    coordinates = ["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel", "half_pixel_symmetric"]
    attributes: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": rng.choice(coordinates)}
    if mode == "nearest":
        attributes["coordinate_transformation_mode"] = rng.choice(coordinates[:-1])  # symmetric ones are often ties
        attributes["nearest_mode"] = rng.choice(["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
    if mode == "cubic":
        attributes["exclude_outside"] = rng.randint(0, 1)
        attributes["cubic_coeff_a"] = rng.choice([-0.75, -0.5])
    if attributes["coordinate_transformation_mode"] != "align_corners" and rng.random() < 0.5:
        # With align_corners and scales ONNX's own tests want corners of unrounded sizes, ONNX Runtime of whole ones.
        scales = np.array([1, 1, *(rng.choice([0.5, 2, 1.5, 0.7, 3]) for _ in x[2:])], np.float32)
        known: dict[int, np.ndarray[Any, Any]] = {1: np.zeros(0, np.float32), 2: scales}
    else:
        new = np.array([*x[:2], *sizes(rng, rank - 2, 1, 12)], np.int64)
        known = {1: np.zeros(0, np.float32), 2: np.zeros(0, np.float32), 3: new}
        if attributes.get("nearest_mode") in ("floor", "ceil"):
            # Of positions that lie on an element ONNX Runtime's floats miss some; test_resizing.py has all of them.
            attributes["nearest_mode"] = rng.choice(["round_prefer_floor", "round_prefer_ceil"])
    return "Resize", attributes, [x], known, 19


def crop(rng: random.Random) -> Drawn:
    x = (1, rng.randint(1, 3), *sizes(rng, 2, 2, 16))
    mode = rng.choice(["nearest", "nearest", "linear", "cubic"])
    attributes: dict[str, Any] = {"mode": mode, "extrapolation_value": 7.0}
    attributes["coordinate_transformation_mode"] = "tf_crop_and_resize"
    attributes["nearest_mode"] = rng.choice(["floor", "ceil"])  # the others are often ties
    first, last = ([rng.choice(shares) for _ in range(2)] for shares in ([0, 0, 0.1, -0.2], [1, 1, 0.8, 1.3]))
    # To a size of its own ONNX Runtime doesn't crop.
    new = [n + (n == old) for n, old in zip(sizes(rng, 2, 1, 60), x[2:], strict=True)]
    roi = np.array([0, 0, *first, 1, 1, *last], np.float32)
    wanted = np.array([*x[:2], *new], np.int64)
    known: dict[int, np.ndarray[Any, Any]] = {1: roi, 2: np.zeros(0, np.float32), 3: wanted}
    return "Resize", attributes, [x], known, 19


def pad(rng: random.Random) -> Drawn:
    rank = rng.randint(1, 4)
    x = tuple(sizes(rng, rank, 3, 6))
    mode = rng.choice(["constant", "reflect", "edge", "wrap"])
    low = -1 if mode == "constant" else 0
    pads = np.array(sizes(rng, 2 * rank, low, 2), np.int64)
    known: dict[int, np.ndarray[Any, Any]] = {1: pads}
    known |= {2: np.array(1.5, np.float32)} if mode == "constant" and rng.random() < 0.5 else {}
    return "Pad", {"mode": mode}, [x], known, 19


def slice_(rng: random.Random) -> Drawn:
    rank = rng.randint(1, 4)
    x = tuple(sizes(rng, rank, 2, 6))
    axes = rng.sample(range(rank), rng.randint(1, rank))
    steps = [rng.choice([1, 1, 2, -1, -2]) for _ in axes]
    bounds = [[rng.choice([rng.randint(-8, 8), 2**31, -(2**31)]) for _ in axes] for _ in range(2)]
    signed = [a - rank * rng.randint(0, 1) for a in axes]
    known = {i: np.array(v, np.int64) for i, v in enumerate((*bounds, signed, steps), 1)}
    return "Slice", {}, [x], known, rng.choice([10, 13])


def reduction(rng: random.Random) -> Drawn:
    names = [
        "ReduceSum",
        "ReduceMean",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSumExp",
    ]
    rank = rng.randint(1, 4)
    axes = rng.sample(range(rank), rng.randint(1, rank))
    axes = [a - rank * rng.randint(0, 1) for a in axes]
    attributes: dict[str, Any] = {"keepdims": rng.randint(0, 1)}
    x = tuple(sizes(rng, rank, 1, 5))
    if rng.random() < 0.5:
        return rng.choice(names), attributes | {"axes": axes}, [x], {}, 11
    return rng.choice(names), attributes, [x], {1: np.array(axes, np.int64)}, 18


def normalization(rng: random.Random) -> Drawn:
    name = rng.choice(["BatchNormalization", "InstanceNormalization", "LayerNormalization", "LRN", "LpNormalization"])
    rank = 4 if name == "LRN" else rng.randint(3, 5)
    x = (rng.randint(1, 3), rng.randint(2, 7), *sizes(rng, rank - 2, 2, 5))
    channels = (x[1],)
    if name == "BatchNormalization":
        spread = {4: np.random.default_rng(0).random(x[1]).astype(np.float32) + 0.5}
        return name, {"epsilon": 0.01}, [x, channels, channels, channels], spread, 15
    if name == "InstanceNormalization":
        return name, {"epsilon": 0.01}, [x, channels, channels], {}, 6
    if name == "LayerNormalization":
        axis = rng.randint(-rank, rank - 1)
        return name, {"axis": axis}, [x, x[axis:], x[axis:]], {}, 17
    if name == "LRN":
        return name, {"size": rng.randint(1, 5), "alpha": 0.1, "bias": 1.5}, [x], {}, 13
    return name, {"axis": rng.randint(0, rank - 1), "p": rng.randint(1, 2)}, [x], {}, 22


def product(rng: random.Random) -> Drawn:
    if rng.random() < 0.5:
        m, k, n = sizes(rng, 3, 1, 5)
        turned = [rng.randint(0, 1) for _ in range(2)]
        attributes = {
            "transA": turned[0],
            "transB": turned[1],
            "alpha": rng.choice([1.0, 0.5]),
            "beta": rng.choice([1.0, 2.0]),
        }
        shapes = [(k, m) if turned[0] else (m, k), (n, k) if turned[1] else (k, n)]
        third: list[tuple[int, ...]] = rng.choice([[], [(n,)], [(m, n)], [(1, n)], [(m, 1)], [()]])
        return "Gemm", attributes, shapes + third, {}, 13
    lead = tuple(sizes(rng, rng.randint(0, 2), 1, 3))
    m, k, n = sizes(rng, 3, 1, 5)
    a, b = (*lead, m, k), (*(1 if rng.random() < 0.3 else s for s in lead), k, n)
    if rng.random() < 0.2:
        a = (k,)
    if rng.random() < 0.2:
        b = (k,)
    return "MatMul", {}, [a, b], {}, 13


FAMILIES: dict[str, tuple[Callable[[random.Random], Drawn], int]] = {
    "conv": (conv, 4),
    "conv_transpose": (conv_transpose, 4),
    "pool": (pool, 4),
    "resize": (resize, 4),
    "crop": (crop, 1),
    "pad": (pad, 1),
    "slice": (slice_, 1),
    "reduction": (reduction, 1),
    "normalization": (normalization, 1),
    "product": (product, 1),
}
"""How models are drawn, and how often."""


def model_of(drawn: Drawn, rng: np.random.Generator) -> tuple[Any, list[np.ndarray[Any, Any]]]:
    """The model, and values of its inputs: the first input is free, some others are weights."""
    name, attributes, shapes, known, opset = drawn
    arrays = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    free = [i == 0 or rng.random() < 0.3 for i in range(len(shapes))]
    infos = [helper.make_tensor_value_info(f"x{i}", TensorProto.FLOAT, s) for i, s in enumerate(shapes) if free[i]]
    weights = [numpy_helper.from_array(a, f"x{i}") for i, a in enumerate(arrays) if not free[i]]
    weights += [numpy_helper.from_array(np.asarray(a), f"x{i}") for i, a in known.items()]
    count = max(len(shapes), max(known, default=0) + 1)
    node = helper.make_node(name, [f"x{i}" for i in range(count)], ["y"], **attributes)
    graph = helper.make_graph([node], "random", infos, [ValueInfoProto(name="y")], weights)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return made, [a for a, is_free in zip(arrays, free, strict=True) if is_free]


def main() -> int:
    """Draw and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--only", choices=FAMILIES)
    options = parser.parse_args()
    names = [options.only] if options.only else [n for n, (_, weight) in FAMILIES.items() for _ in range(weight)]
    seeds = range(options.seed, options.seed + options.count)
    return count_wrong(seeds, lambda seed, counts: problems(seed, names, counts, compiled=options.compiled))


def problems(seed: int, names: list[str], counts: Counter[str], *, compiled: bool) -> list[str]:
    """Compare one model; what is wrong with its numbers."""
    rng = random.Random(seed)
    while True:
        drawn = FAMILIES[rng.choice(names)][0](rng)
        made, inputs = model_of(drawn, np.random.default_rng(seed))
        results = wanted_of(made, inputs)
        if not isinstance(results, str) and results[0].size:
            break
    (wanted,) = results
    try:
        graph = graph_of(made, "random")
        result = np.asarray(compile_graph(graph, threads=1)(*inputs) if compiled else evaluate(graph, inputs)[0])
    except NetcError as error:
        counts["refused: " + re.sub(r"\d+", "#", error.diagnostics[0].message)[:100]] += 1
        return []
    near = result.shape == wanted.shape and np.allclose(result, wanted, 1e-4, 1e-4, equal_nan=True)
    if near:
        counts["agree"] += 1
        return []
    name, attributes, shapes, known, opset = drawn
    found = f"{name}-{opset} {attributes} {shapes} {known}: {result.shape}, not {wanted.shape}"
    if result.shape == wanted.shape:
        found += f"\n  {np.abs(result - wanted).max()}: {result.reshape(-1)[:6]} {wanted.reshape(-1)[:6]}"
    return [found]


if __name__ == "__main__":
    sys.exit(main())

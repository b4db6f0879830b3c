"""1x1 convolutions and dense layers by Strassen's multiplication: the algebra, and compiled code for awkward sizes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.backends.cpu.cycles import cycles_of
from netc.compiler.errors import InternalError
from netc.compiler.graph.algorithm import Algorithm
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph, Operation
from netc.compiler.graph.parser import parse_graph
from netc.compiler.graph.printer import print_graph
from netc.compiler.modules.verifier import verify_module
from netc.compiler.ops.products import strassen
from netc.compiler.passes import SplitBatch, pipelines
from netc.compiler.types import DType, TensorType
from netc.runtime.program import Program

SIZES = [
    # images, height, width, channels, filters
    (1, 7, 7, 64, 64),
    (1, 14, 14, 96, 160),  # the last panel has fewer filters in the second half
    (2, 5, 9, 34, 88),  # pixels without another one, and a vector of which a half is there
    (3, 3, 3, 2, 33),
    (1, 1, 1, 6, 17),
    (5, 8, 8, 130, 20),
    (1, 11, 13, 1040, 72),  # long sums, which are cut
    (1, 40, 41, 16, 300),  # several blocks
]
DENSE_SIZES = [
    # the input, filters
    ((1, 1, 6), 17),
    ((2, 2, 34), 33),
    ((3, 3, 50), 88),  # channels and filters that fill no vectors
    ((1, 197, 64), 96),
    ((2, 197, 40), 20),
    ((4, 7, 7, 36), 72),
    ((1, 1, 5, 2), 31),
    ((2, 9, 1, 18), 40),
    ((1, 260, 1040), 300),  # several blocks, and long sums
]
BY_STRASSEN = Algorithm("strassen")


def test_the_algebra() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 2, 2, 3, 3))
    left = strassen.left_factors((a[0, 0], a[0, 1], a[1, 0], a[1, 1]))
    right = strassen.right_factors((b[0, 0], b[0, 1], b[1, 0], b[1, 1]))
    kept: dict[int | None, Any] = {None: 0.0}
    found = np.zeros((2, 2, 3, 3))
    for one, other, goals in zip(left, right, strassen.GOALS, strict=True):
        for goal in goals:
            total = kept[goal.sum] + one @ other
            if goal.kept is not None:
                kept[goal.kept] = total
            if goal.block is not None:
                found[goal.block] = total
    np.testing.assert_allclose(found, np.einsum("ijab,jkbc->ikac", a, b), rtol=1e-12)
    for q, goals in enumerate(strassen.GOALS):
        for goal in (g for g in goals if g.block is not None):
            assert q == strassen.FIRST or q >= strassen.OTHERS
            lower, right = (q + 1) % strassen.LOWER, q % strassen.RIGHT[0] // strassen.RIGHT[1]
            assert (goal.block, goal.sum) == ((lower, right), lower)
        for goal in (g for g in goals if g.kept is not None):
            assert q <= strassen.LAST_KEPT
            assert (goal.kept, goal.sum) == ((q % strassen.SECOND, 0) if q else (0, None))
        assert any(g.kept is not None for g in goals) == (q <= strassen.LAST_KEPT and q != strassen.FIRST)


def test_packed_weights_do_not_depend_on_how_the_file_has_them() -> None:
    """Filters of many files lie one after the other, and are as long as several blocks."""
    b = GraphBuilder("packed")
    w = b.emit("param", shape=(1040, 72), dtype="f32", name="w")
    channels = b.emit("channel_scales", w)
    filters = b.emit("filter_scales", w, channels)
    graph = b.finish([channels, filters, b.emit("strassen_filter", w, channels, filters, half=48, width=32)])
    weight = values(graph)["w"]
    assert weight.flags.c_contiguous
    for one, other in zip(
        *(evaluate(graph, (), {"w": each}) for each in (weight, np.asfortranarray(weight))), strict=True
    ):
        assert one.tobytes() == other.tobytes()


def convolution(size: tuple[int, ...], *, strides: tuple[int, int] = (1, 1), margins: bool = False) -> Graph:
    """A 1x1 convolution with bias, a residual sum, a factor for each filter and relu; perhaps one of 3x3 behind it."""
    images, height, width, channels, filters = size
    b = GraphBuilder("net")
    shapes = {"w": (1, 1, channels, filters), "b": (filters,), "k": (filters,)}
    x = b.emit("tanh", b.input("x", TensorType(DType.F32, (images, height, width, channels))))
    w, bias, factor = (b.emit("param", shape=s, dtype="f32", name=n) for n, s in shapes.items())
    y = b.emit("conv2d", x, w, bias, strides=strides, padding=((0, 0), (0, 0)), dilations=(1, 1))
    residual = b.input("r", y.type)
    y = b.emit("relu", b.emit("add", b.emit("mul", y, factor), residual))
    if margins:
        v = b.emit("param", shape=(3, 3, filters, 8), dtype="f32", name="v")
        y = b.emit("conv2d", y, v, strides=(1, 1), padding="same", dilations=(1, 1))
        v = b.emit("param", shape=(3, 3, channels, 8), dtype="f32", name="u")
        y = b.emit("add", y, b.emit("conv2d", x, v, strides=strides, padding=((1, 1), (1, 1)), dilations=(1, 1)))
    return b.finish([y])


def dense(shape: tuple[int, ...], filters: int, *, act: str = "gelu", margins: bool = False) -> Graph:
    """A dense layer with a bias, a factor for each filter, an activation and a residual sum; perhaps 3x3 behind it."""
    b = GraphBuilder("net")
    shapes = {"w": (shape[-1], filters), "b": (filters,), "k": (filters,)}
    x = b.emit("tanh", b.input("x", TensorType(DType.F32, shape)))
    w, bias, factor = (b.emit("param", shape=s, dtype="f32", name=n) for n, s in shapes.items())
    y = b.emit(act, b.emit("mul", b.emit("dense", x, w, bias), factor))
    y = b.emit("add", y, b.input("r", y.type))
    if margins:
        for name, value in (("v", y), ("u", x)):
            weight = b.emit("param", shape=(3, 3, value.type.shape[-1], 8), dtype="f32", name=name)
            made = b.emit("conv2d", value, weight, strides=(1, 1), padding="same", dilations=(1, 1))
            y = b.emit("add", y, made) if name == "u" else made
    return b.finish([y])


def by_strassen(graph: Graph) -> Graph:
    """The same with all 1x1 convolutions and dense layers by the algorithm."""

    def changed(op: Operation) -> Operation:
        if op.body is not None:
            return replace(op, body=replace(op.body, operations=tuple(map(changed, op.body.operations))))
        is_served = op.name == "dense" or (op.name == "conv2d" and op.operands[1].type.shape[:2] == (1, 1))
        return replace(op, algorithm=BY_STRASSEN) if is_served else op

    return replace(graph, operations=tuple(map(changed, graph.operations)))


def values(graph: Graph) -> dict[str, Any]:
    """Random arrays for inputs and parameters."""
    rng = np.random.default_rng(1)
    places = [*graph.inputs, *(p.result for p in graph.parameters)]
    return {v.name or "": rng.standard_normal(v.type.shape, dtype=np.float32) for v in places}


def check(graph: Graph, threads: tuple[int, ...] = (1, 3), **facts: Any) -> None:
    """Compare compiled code with the meaning: the same bits for all numbers of threads."""
    target = replace(host_target(), **facts)
    graph = by_strassen(optimize(graph, pipelines.TRAINING, target))
    arrays = values(graph)
    params = {n: a for n, a in arrays.items() if n in {p.result.name for p in graph.parameters}}
    inputs = [arrays[v.name or ""] for v in graph.inputs]
    (expected,) = evaluate(graph, inputs, params)
    results = []
    for count in threads:
        module = lower(graph, target, count)
        verify_module(module)
        assert any(p.name == "v" for k in module.kernels for p in k.params), "expected the products of halves"
        with Program(module, object_code(emit_module(module, target), target), target, count, params) as program:
            results.append(np.array(program(*inputs)))
    np.testing.assert_allclose(results[0], expected, atol=2e-5 * float(np.abs(expected).max()), rtol=0)
    assert len({r.tobytes() for r in results}) == 1


@pytest.mark.parametrize("size", SIZES, ids=lambda s: "x".join(map(str, s)))
def test_compiled_equals_meaning(size: tuple[int, ...]) -> None:
    check(convolution(size))


@pytest.mark.parametrize("strides", [(1, 1), (2, 2), (1, 3)])
@pytest.mark.parametrize("size", [(1, 14, 14, 32, 96), (2, 7, 5, 36, 40)], ids=lambda s: "x".join(map(str, s)))
def test_steps_and_margins(size: tuple[int, ...], strides: tuple[int, int]) -> None:
    """Pixels are picked from an input with margins, and results are written between others."""
    check(convolution(size, strides=strides, margins=True))


@pytest.mark.parametrize(("shape", "filters"), DENSE_SIZES, ids=str)
def test_dense_layers(shape: tuple[int, ...], filters: int) -> None:
    check(dense(shape, filters))


@pytest.mark.parametrize("act", ["relu", "sigmoid", "tanh"])
def test_dense_layers_with_other_epilogues(act: str) -> None:
    check(dense((2, 13, 70), 56, act=act))


def test_dense_layers_between_margins() -> None:
    check(dense((2, 7, 5, 36), 40, margins=True))


def test_dense_layers_with_shorter_vectors_and_fewer_registers() -> None:
    check(dense((2, 63, 40), 104), vector_lanes=8, vector_registers=16)


def test_threads_share_out_panels_of_dense_layers() -> None:
    check(dense((1, 25, 64), 400), threads=(1, 2, 3))


def test_shorter_vectors_and_fewer_registers() -> None:
    check(convolution((2, 7, 9, 40, 104)), vector_lanes=8, vector_registers=16)


def test_threads_share_out_panels_where_pixels_are_few() -> None:
    check(convolution((1, 5, 5, 64, 400)), threads=(1, 2, 3))


def test_results_do_not_depend_on_the_batch() -> None:
    """Each image has pairs of its own, also where threads take turns of fewer images."""
    target = host_target()
    graph = by_strassen(optimize(convolution((6, 5, 5, 64, 96)), pipelines.TRAINING, target))
    arrays = values(graph)
    params = {n: a for n, a in arrays.items() if n in {p.result.name for p in graph.parameters}}
    inputs, results = [arrays[v.name or ""] for v in graph.inputs], list[bytes]()
    for group in (6, 3, 1):
        module = lower(SplitBatch(group=group).run(graph), target, 2)
        with Program(module, object_code(emit_module(module, target), target), target, 2, params) as program:
            results.append(np.asarray(program(*inputs)).tobytes())
    assert len(set(results)) == 1


@pytest.mark.parametrize("shape", [(197, 40), (5, 5, 64)], ids=str)
def test_each_sample_of_a_dense_layer_has_the_same_bytes_in_all_batches(shape: tuple[int, ...]) -> None:
    """Also where threads take turns of fewer samples."""
    target, found = host_target(), [set[bytes](), set[bytes](), set[bytes]()]
    whole = {k: np.repeat(v, 3, axis=0) if k in "xr" else v for k, v in values(dense((1, *shape), 96)).items()}
    whole["x"] = np.random.default_rng(2).standard_normal(whole["x"].shape, dtype=np.float32)
    for batch in (1, 2, 3):
        graph = by_strassen(optimize(dense((batch, *shape), 96), pipelines.TRAINING, target))
        params = {n: a for n, a in whole.items() if n in {p.result.name for p in graph.parameters}}
        for group, threads in ((0, 1), (0, 3), (1, 2)):
            module = lower(SplitBatch(group=group).run(graph) if group else graph, target, threads)
            code = object_code(emit_module(module, target), target)
            with Program(module, code, target, threads, params) as program:
                y = np.asarray(program(*(whole[v.name or ""][:batch] for v in graph.inputs)))
            for number, sample in enumerate(y):
                found[number].add(sample.tobytes())
    assert [len(same) for same in found] == [1, 1, 1]


def test_it_is_chosen_for_all_batches_alike_where_it_was_measured() -> None:
    for cpu, chosen in (
        ("znver4", True),
        ("znver5", False),
        ("sapphirerapids", False),
        ("haswell", False),
        ("cortex-a76", False),
    ):
        for images in (1, 5):
            graph = optimize(convolution((images, 14, 14, 256, 256)), pipelines.TRAINING, find_target(cpu))
            assert ("by strassen" in print_graph(graph)) == chosen
    small = optimize(convolution((1, 14, 14, 32, 64)), pipelines.TRAINING, find_target("znver4"))
    assert "by strassen" not in print_graph(small)


@pytest.mark.parametrize("cpu", ["znver4", "znver5", "sapphirerapids", "haswell", "cortex-a76"])
@pytest.mark.parametrize("batch", [1, 2, 4])
def test_dense_layers_with_rows_of_each_sample_are_chosen(cpu: str, batch: int) -> None:
    """Rows of different samples must not be pairs: of a matrix, or where samples are numbered behind other things."""
    for made, shape, is_apart in (
        ("reshape", (batch * 4, 49, 256), True),
        ("reshape", (batch, 14, 14, 256), True),
        ("reshape", (batch * 196, 256), False),
        ("reshape", (batch, 2, 2, 49, 256), False),
        ("transpose", (196, batch, 256), False),
    ):
        b = GraphBuilder("net")
        x = b.input("x", TensorType(DType.F32, (batch, 196, 256)))
        w = b.emit("param", shape=(256, 1024), dtype="f32", name="w")
        x = b.emit("reshape", x, shape=shape) if made == "reshape" else b.emit("transpose", x, permutation=(1, 0, 2))
        y = b.emit("dense", x, w)
        chosen = optimize(b.finish([y]), pipelines.TRAINING, find_target(cpu))
        assert ("by strassen" in print_graph(chosen)) == (is_apart and cpu == "znver4"), shape


def test_dense_layers_of_matrices_are_refused() -> None:
    for shape in ((256,), (196, 256)):
        graph = optimize(dense(shape, 1024), pipelines.TRAINING, find_target("znver4"))
        assert "by strassen" not in print_graph(graph)
    with pytest.raises(InternalError, match=r"dense.* by strassen|can't be computed by strassen"):
        lower(by_strassen(optimize(dense((4, 16), 16), pipelines.TRAINING, host_target())), host_target())


@pytest.mark.parametrize(("rows", "channels", "filters"), [(197, 768, 256), (49, 256, 256)])
def test_rounding_of_dense_layers_is_that_of_direct_sums_within_six_times(
    rows: int, channels: int, filters: int
) -> None:
    b = GraphBuilder("net")
    x = b.input("x", TensorType(DType.F32, (1, rows, channels)))
    graph = b.finish([b.emit("dense", x, b.emit("param", shape=(channels, filters), dtype="f32", name="w"))])
    arrays, errors = values(graph), list[float]()
    exact = arrays["x"].astype(np.float64) @ arrays["w"].astype(np.float64)
    for each in (graph, by_strassen(graph)):
        module = lower(each, host_target(), 1)
        code = object_code(emit_module(module, host_target()), host_target())
        with Program(module, code, host_target(), 1, {"w": arrays["w"]}) as program:
            errors.append(float(np.sqrt(np.mean((program(arrays["x"]).astype(np.float64) - exact) ** 2))))
    assert 0 < errors[1] < 6 * errors[0]


def test_it_must_save_time() -> None:
    cycles = cycles_of(16)
    assert cycles.is_faster_by_strassen(196, 1024, 256)
    assert cycles.is_faster_by_strassen(49, 160, 960)
    assert not cycles.is_faster_by_strassen(3136, 256, 64)
    assert not cycles.is_faster_by_strassen(1, 1024, 1024), "a pixel has no other one"


def test_rounding_is_within_what_winograds_filtering_rounds() -> None:
    """256 channels: the root of the mean square of the errors, by that of the results, below 1.2e-6."""
    graph = by_strassen(parse_graph(PLAIN))
    arrays = values(graph)
    module = lower(graph, host_target(), 1)
    code = object_code(emit_module(module, host_target()), host_target())
    with Program(module, code, host_target(), 1, {"w": arrays["w"]}) as program:
        found = program(arrays["x"]).astype(np.float64)
    exact = arrays["x"].astype(np.float64) @ arrays["w"][0, 0].astype(np.float64)
    assert 0 < np.sqrt(np.mean((found - exact) ** 2) / np.mean(exact**2)) < 8e-7


def run(arrays: Mapping[str, Any], weight: Any) -> tuple[Any, Any]:
    """The plain graph's results [pixel, filter] in f64, and those of sums in f64."""
    module = lower(by_strassen(parse_graph(PLAIN)), host_target(), 1)
    code = object_code(emit_module(module, host_target()), host_target())
    with Program(module, code, host_target(), 1, {"w": weight}) as program:
        found = program(arrays["x"]).astype(np.float64).reshape(-1, 256)
    with np.errstate(invalid="ignore"):
        exact = arrays["x"].reshape(-1, 256).astype(np.float64) @ weight[0, 0].astype(np.float64)
    return found, exact


def relative_errors(found: Any, exact: Any) -> Any:
    """The root of the mean square of each filter's errors, by that of its results."""
    return np.sqrt(np.mean((found - exact) ** 2, axis=0) / np.mean(exact**2, axis=0))


def test_small_filters_do_not_have_the_errors_of_large_ones() -> None:
    """They are brought to one size by powers of two, and one of zeros, or with what isn't finite, stays as it is."""
    arrays = values(by_strassen(parse_graph(PLAIN)))
    sizes = np.exp(np.random.default_rng(3).standard_normal(256) * 4).astype(np.float32)
    sizes[7], sizes[9] = 0, 1e-42
    weight = arrays["w"] * sizes
    weight[0, 0, 3, 11] = np.inf
    found, exact = run(arrays, weight)
    others = [f for f in range(256) if f % 128 not in (7, 9, 11)]
    assert relative_errors(found[:, others], exact[:, others]).max() < 3e-6
    assert not np.isfinite(found[:, 11]).any()


@pytest.mark.parametrize("spread", [0, 2, 4])
def test_large_inputs_of_small_weights_do_not_hide_the_others(spread: float) -> None:
    """Channels are brought to one size, too: what counts is a channel's share of a result."""
    arrays = dict(values(by_strassen(parse_graph(PLAIN))))
    sizes = np.exp(np.random.default_rng(4).standard_normal(256) * spread).astype(np.float32)
    sizes[5], sizes[6] = 1e8, 1e-8
    arrays["x"] = arrays["x"] * sizes
    weight = arrays["w"] / sizes[:, None]
    weight[0, 0, :, 9] *= 1e-6
    weight[0, 0, 8] = 0
    weight[0, 0, ::3, 10:200] = 0
    found, exact = run(arrays, weight)
    assert relative_errors(found, exact).max() < 3e-6


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf], ids=str)
def test_what_is_not_finite_stays_in_its_pair(special: float) -> None:
    graph = by_strassen(parse_graph(PLAIN))
    arrays = values(graph)
    module = lower(graph, host_target(), 1)
    code = object_code(emit_module(module, host_target()), host_target())
    with Program(module, code, host_target(), 1, {"w": arrays["w"]}) as program:
        ordinary = np.array(program(arrays["x"])).reshape(-1, 256)
        for pixel in (0, 17, 48):
            image = arrays["x"].copy()
            image.reshape(-1, 256)[pixel, 130] = special
            found = np.array(program(image)).reshape(-1, 256)
            assert not np.isfinite(found[pixel]).any()
            others = np.arange(49) // 2 != pixel // 2
            np.testing.assert_array_equal(found[others], ordinary[others])


PLAIN = """
graph @g(%x: f32[1,7,7,256]) -> (f32[1,7,7,256]) {
  %w = param : f32[1,1,256,256]
  %0 = conv2d(%x, %w) {strides = [1,1], padding = "same", dilations = [1,1]} : f32[1,7,7,256]
  return %0
}
"""


@pytest.mark.parametrize(
    ("what", "instead"),
    [("[1,1,256,256]", "[3,3,256,256]"), ("256", "255"), ("256", "8")],
    ids=["window", "odd channels", "few filters"],
)
def test_what_it_cannot_compute_is_refused(what: str, instead: str) -> None:
    graph = parse_graph(PLAIN.replace(what, instead))
    wrong = replace(
        graph,
        operations=tuple(replace(op, algorithm=BY_STRASSEN) if op.name == "conv2d" else op for op in graph.operations),
    )
    with pytest.raises(InternalError, match=r"conv2d.* by strassen|can't be computed by strassen"):
        lower(wrong, host_target())

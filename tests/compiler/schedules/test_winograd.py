"""Convolutions by Winograd's filtering: the algebra, and compiled code against the meaning for awkward sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.backends.cpu.cycles import cycles_of
from netc.compiler.backends.cpu.schedules.winograd.gradient import partial_sums_of
from netc.compiler.errors import InternalError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.graph.parser import parse_graph
from netc.compiler.graph.printer import print_graph
from netc.compiler.loops.ir import Prefetch, statements
from netc.compiler.modules.verifier import verify_module
from netc.compiler.ops.windows import winograd
from netc.compiler.passes import SplitBatch, pipelines
from netc.compiler.targets.target import Target
from netc.compiler.types import DType, TensorType
from netc.runtime.program import Program

SIZES = [
    # images, height, width, channels, filters, threads
    (6, 8, 8, 16, 16, 1),
    (3, 13, 18, 40, 24, 2),
    (2, 14, 15, 17, 37, 3),
    (1, 14, 14, 96, 160, 3),  # shared out by panels of filters
    (2, 7, 9, 48, 80, 2),
    (5, 12, 20, 512, 20, 1),  # rows that would displace each other from the cache
]


@pytest.mark.parametrize("form", winograd.FORMS.values(), ids=map(str, winograd.FORMS))
def test_the_algebra(form: winograd.Filtering) -> None:
    rng = np.random.default_rng(0)
    reach = form.reach(form.tile)
    data, taps = rng.standard_normal((reach, reach)), rng.standard_normal((3, 3))
    b, g, a = (np.array(m) for m in (form.input, form.filter, form.output))
    met = np.minimum(np.arange(form.points), form.filter_points - 1)
    result = a @ ((g @ taps @ g.T)[np.ix_(met, met)] * (b @ data @ b.T)) @ a.T
    places = [form.stride * i for i in range(form.tile)]
    direct = [[(data[y : y + 3, x : x + 3] * taps).sum() for x in places] for y in places]
    np.testing.assert_allclose(result, direct, rtol=1e-12)


def convolution(op: str, size: tuple[int, ...], *, static: bool) -> Graph:
    """A convolution with bias, a residual sum, a factor for each filter and relu."""
    images, height, width, channels, filters, _ = size
    b = GraphBuilder("net")
    shapes = {"w": (3, 3, channels, filters), "b": (filters,), "k": (filters,)}
    x = b.emit("tanh", b.input("x", TensorType(DType.F32, (images, height, width, channels))))
    residual = b.input("r", TensorType(DType.F32, (images, height, width, filters)))
    w, bias, factor = (
        b.emit("param", shape=s, dtype="f32", name=n) if static else b.input(n, TensorType(DType.F32, s))
        for n, s in shapes.items()
    )
    window: dict[str, Any] = {"strides": (1, 1), "padding": ((1, 1), (1, 1))}
    extra: dict[str, Any] = {"dilations": (1, 1)} if op == "conv2d" else {"size": (height, width)}
    y = b.emit(op, x, w, bias, **window, **extra)
    return b.finish([b.emit("relu", b.emit("add", b.emit("mul", y, factor), residual))])


@pytest.mark.parametrize("static", [True, False], ids=["packed", "computed"])
@pytest.mark.parametrize("op", ["conv2d", "transpose_conv2d"])
@pytest.mark.parametrize("size", SIZES, ids=lambda s: "x".join(map(str, s)))
def test_compiled_equals_meaning(size: tuple[int, ...], op: str, static: bool) -> None:
    target = host_target() if static else replace(host_target(), float_units=1)  # two multiply few tiles directly
    parameters = check(convolution(op, size, static=static), target, size[-1])
    assert "v" in parameters, "expected the tiled schedule"


@pytest.mark.parametrize("op", ["conv2d", "transpose_conv2d"])
@pytest.mark.parametrize("size", [(1, 14, 14, 48, 130, 2), (2, 7, 9, 48, 60, 3)], ids=lambda s: "x".join(map(str, s)))
def test_filters_that_are_transformed_chunk_by_chunk(size: tuple[int, ...], op: str) -> None:
    """Where weights come from memory slowly; the cache is so small that there are three chunks."""
    target = replace(host_target(), streams_slowly=True, l2_bytes=640 * 1024)
    parameters = check(convolution(op, size, static=True), target, size[-1])
    assert "f" in parameters, "expected filters as they are"


@pytest.mark.parametrize("op", ["conv2d", "transpose_conv2d"])
@pytest.mark.parametrize(
    "size", [(1, 7, 7, 64, 48, 1), (1, 8, 12, 72, 37, 2), (2, 4, 8, 68, 20, 3)], ids=lambda s: "x".join(map(str, s))
)
def test_filters_that_come_to_their_points_in_registers(size: tuple[int, ...], op: str) -> None:
    """Where weights come from memory slowly and tiles are few: whole chunks of channels, others, and fewer."""
    target = replace(host_target(), streams_slowly=True)
    parameters = check(convolution(op, size, static=True), target, size[-1])
    assert {"f", "v", "m"} <= parameters
    assert "w" not in parameters


@pytest.mark.parametrize("registers", [16, 32])
@pytest.mark.parametrize("op", ["conv2d", "transpose_conv2d"])
@pytest.mark.parametrize(
    "size", [(1, 7, 7, 64, 48, 1), (1, 6, 8, 72, 37, 2), (2, 8, 4, 67, 20, 3)], ids=lambda s: "x".join(map(str, s))
)
def test_filters_that_are_packed_halfway(size: tuple[int, ...], op: str, registers: int) -> None:
    """Where tiles are few: chunks of channels, one for a number of them without divisors, and a last panel."""
    target = replace(host_target(), streams_slowly=False, vector_registers=registers)
    if not target.streams_quickly:
        pytest.skip("these processors have not been measured")
    graph = convolution(op, size, static=True)
    assert "by winograd_halfway[" in print_graph(optimize(graph, pipelines.TRAINING, target))
    parameters = check(graph, target, size[-1])
    assert {"f", "v", "m"} <= parameters
    assert "w" not in parameters


@pytest.mark.parametrize(
    "size",
    [
        (1, 14, 14, 64, 48, 1),
        (1, 13, 16, 72, 37, 2),
        (4, 8, 8, 68, 130, 3),
        pytest.param((1, 14, 14, 72, 60, 3), id="panels of two vectors"),
    ],
    ids=lambda s: "x".join(map(str, s)),
)
@pytest.mark.parametrize("op", ["conv2d", "transpose_conv2d"])
def test_more_filters_are_packed_halfway_where_a_core_outruns_them(size: tuple[int, ...], op: str) -> None:
    """Up to 16 tiles, unless filters stay in the L2 cache."""
    target = replace(host_target(), streams_slowly=False, vector_registers=32, float_units=2)
    if not target.outruns_caches:
        pytest.skip("these processors have not been measured")
    graph = convolution(op, size, static=True)
    for l2_bytes, algorithm in ((64 * 1024, "winograd_halfway["), (4 * 1024 * 1024, "winograd[")):
        target = replace(target, l2_bytes=l2_bytes)
        assert f"by {algorithm}" in print_graph(optimize(graph, pipelines.TRAINING, target))
        parameters = check(graph, target, size[-1])
        assert ("w" in parameters) == (algorithm == "winograd[")


@pytest.mark.parametrize("registers", [16, 32])
@pytest.mark.parametrize("op", ["conv2d", "transpose_conv2d"])
@pytest.mark.parametrize(
    "size", [(1, 18, 18, 96, 160), (3, 13, 18, 40, 60), (5, 12, 20, 56, 37)], ids=lambda s: "x".join(map(str, s))
)
def test_all_panels_follow_each_other_at_each_point(size: tuple[int, ...], op: str, registers: int) -> None:
    """Where filters come quickly, but don't stay in the L2 cache: the same bits by any number of threads."""
    target = replace(host_target(), streams_slowly=False, float_units=2, vector_registers=registers, l2_bytes=32 * 1024)
    if not target.streams_quickly:
        pytest.skip("these processors have not been measured")
    graph = optimize(convolution(op, (*size, 1), static=True), pipelines.TRAINING, target)
    arrays = values(graph)
    params = {n: a for n, a in arrays.items() if n in {p.result.name for p in graph.parameters}}
    inputs = [arrays[v.name or ""] for v in graph.inputs]
    (expected,) = evaluate(graph, inputs, params)
    results = []
    for threads in (1, 2, 3):
        module = lower(graph, target, threads)
        verify_module(module)
        (kernel,) = (k for k in module.kernels if any(p.name == "m" for p in k.params))
        products, weights = (next(p for p in kernel.params if p.name == name) for name in "mw")
        panels, _, _, width = weights.shape
        assert products.shape[-1] > panels * width * size[1] * size[2] // 16 // threads
        assert any(isinstance(s, Prefetch) and s.buffer == weights for s in statements(kernel.body))
        with Program(module, object_code(emit_module(module, target), target), target, threads, params) as program:
            results.append(program(*inputs))
    np.testing.assert_allclose(results[0], expected, atol=2e-5 * float(np.abs(expected).max()), rtol=0)
    assert len({np.asarray(r).tobytes() for r in results}) == 1


def test_stages_are_between_filters_and_their_points() -> None:
    """`COLUMN` and `SCALES` finish what `winograd_filter` begins."""
    taps = np.random.default_rng(5).standard_normal((3, 3, 4, 5))
    operator = winograd.WinogradFilter()
    stages = [{"tile": 4, "stride": 1, "flip": True, "stage": stage} for stage in winograd.STAGES]
    points, halfway, scaled = (operator.evaluate((taps,), stage)[0] for stage in stages)
    matrix = np.array(winograd.COLUMN) * np.array(winograd.SCALES)[:, np.newaxis]
    finished = np.einsum("qt,rtcf->rqcf", matrix, halfway.reshape(6, 3, 4, 5))
    np.testing.assert_allclose(finished.reshape(points.shape), points, rtol=1e-12, atol=1e-12)
    finished = np.einsum("rs,qt,stcf->rqcf", matrix, matrix, scaled.reshape(3, 3, 4, 5))
    np.testing.assert_allclose(finished.reshape(points.shape), points, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("channels", "how"), [(512, "in_registers"), (256, "halfway")])
def test_filters_for_very_few_tiles_that_come_from_memory_come_as_they_are(channels: int, how: str) -> None:
    graph = convolution("conv2d", (1, 7, 7, channels, channels, 1), static=True)
    assert f"by winograd_{how}[" in print_graph(optimize(graph, pipelines.INFERENCE, find_target("znver5")))


@pytest.mark.parametrize("op", ["conv2d", "transpose_conv2d"])
@pytest.mark.parametrize("size", [(3, 8, 8, 64, 48), (8, 8, 12, 64, 48), (2, 8, 8, 64, 48)], ids=str)
def test_how_filters_come_to_their_points_is_said_for_the_whole_batch(size: tuple[int, ...], op: str) -> None:
    """Threads take turns of fewer images, which must round alike."""
    target = replace(host_target(), streams_slowly=True, l2_bytes=640 * 1024)
    images, height, width, *_ = size
    tiles = images * winograd.tiles_of(height) * winograd.tiles_of(width)
    how = "winograd_in_registers[" if tiles <= 8 else "winograd_in_parts[" if tiles <= 64 else "winograd["
    graph = optimize(convolution(op, (*size, 1), static=True), pipelines.TRAINING, target)
    assert f"by {how}" in print_graph(graph)
    arrays = values(graph)
    params = {n: a for n, a in arrays.items() if n in {p.result.name for p in graph.parameters}}
    inputs, results = [arrays[v.name or ""] for v in graph.inputs], list[bytes]()
    for group in (images, 1):
        split = SplitBatch(group=group).run(graph)
        assert ("map(" in print_graph(split)) == (group < images)
        module = lower(split, target, 2)
        with Program(module, object_code(emit_module(module, target), target), target, 2, params) as program:
            results.append(np.asarray(program(*inputs)).tobytes())
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("facts", "algorithm"),
    [
        ({"streams_slowly": True, "l2_bytes": 640 * 1024}, "winograd_in_parts"),
        ({"streams_slowly": True, "l2_bytes": 64 * 1024 * 1024}, "winograd_in_parts"),
        ({"streams_slowly": False}, "winograd"),
        ({"streams_slowly": False, "vector_registers": 16, "l2_bytes": 32 * 1024}, "winograd"),
    ],
    ids=["chunks", "before", "packed", "at each point"],
)
@pytest.mark.parametrize(
    "size", [(1, 4, 14, 15, 16, 130, 2), (2, 3, 9, 8, 32, 60, 1)], ids=lambda s: "x".join(map(str, s))
)
def test_convolutions_of_three_dimensions(size: tuple[int, ...], facts: dict[str, Any], algorithm: str) -> None:
    """Planes are summed at the points, whatever window, stride and dilation they have."""
    images, depth, height, width, channels, filters, threads = size
    steps = ((1, 1, 1), (1, 1, 1)), ((2, 1, 1), (2, 1, 1))
    graph = volumes((images, depth, height, width, channels), filters, steps)
    target = replace(host_target(), **facts)
    assert print_graph(optimize(graph, pipelines.TRAINING, target)).count(f"by {algorithm}[1,4,4]") == 2
    parameters = check(graph, target, threads)
    assert "v" in parameters
    assert ("f" in parameters) == (algorithm == "winograd_in_parts" and facts["l2_bytes"] < 1024 * 1024)


@pytest.mark.parametrize("threads", [1, 3])
def test_convolutions_of_three_dimensions_with_filters_packed_halfway(threads: int) -> None:
    """One plane of 7 x 7 pixels, which sums over two: four tiles."""
    target = replace(host_target(), streams_slowly=False)
    if not target.streams_quickly:
        pytest.skip("these processors have not been measured")
    graph = volumes((1, 2, 7, 7, 40), 44, [((2, 1, 1), (1, 1, 1))])
    assert "by winograd_halfway[1,4,4]" in print_graph(optimize(graph, pipelines.TRAINING, target))
    assert {"f", "v"} <= check(graph, target, threads)


def volumes(shape: tuple[int, ...], filters: int, steps: Sequence[tuple[tuple[int, ...], tuple[int, ...]]]) -> Graph:
    """Convolutions of three dimensions, each of the one before, with these strides and dilations."""
    b = GraphBuilder("net")
    x = b.emit("tanh", b.input("x", TensorType(DType.F32, shape)))
    for number, (strides, dilations) in enumerate(steps):
        w = b.emit("param", shape=(3, 3, 3, x.type.shape[-1], filters), dtype="f32", name=f"w{number}")
        padding = ((dilations[0], dilations[0]), (1, 1), (1, 1))
        x = b.emit("conv3d", x, w, strides=strides, padding=padding, dilations=dilations)
    return b.finish([b.emit("relu", x)])


def test_no_code_is_written_twice() -> None:
    """Neither for the last panel, which is narrower, nor for the first chunk of channels."""

    def written(size: tuple[int, ...], target: Target) -> int:
        graph = optimize(convolution("conv2d", size, static=True), pipelines.TRAINING, target)
        (kernel,) = [k for k in lower(graph, target, 2).kernels if "conv2d" in k.name]
        return len(list(statements(kernel.body)))

    wide = replace(host_target(), streams_slowly=True)
    assert written((1, 8, 8, 128, 64, 2), wide) <= 1.1 * written((1, 8, 8, 32, 64, 2), wide)
    small = replace(wide, l2_bytes=640 * 1024)
    assert written((1, 14, 14, 48, 80, 2), small) <= 1.1 * written((1, 14, 14, 48, 96, 2), small)


def check(graph: Graph, target: Target, threads: int) -> set[str]:
    """Compare compiled code with the meaning; returns the names of all parameters of its kernels."""
    graph = optimize(graph, pipelines.TRAINING, target)
    module = lower(graph, target, threads)
    verify_module(module)
    arrays = values(graph)
    params = {n: a for n, a in arrays.items() if n in {p.result.name for p in graph.parameters}}
    inputs = [arrays[v.name or ""] for v in graph.inputs]
    (expected,) = evaluate(graph, inputs, params)
    with Program(module, object_code(emit_module(module, target), target), target, threads, params) as program:
        result = program(*inputs)
    np.testing.assert_allclose(result, expected, atol=2e-5 * float(np.abs(expected).max()), rtol=0)
    return {b.name for k in module.kernels for b in k.params}


@pytest.mark.parametrize(
    "size",
    [
        (8, 16, 16, 16, 16),
        (6, 12, 20, 40, 24),
        (16, 8, 8, 64, 37),
        pytest.param((4, 12, 8, 160, 144), id="in panels"),
        pytest.param((1, 44, 52, 144, 160), id="in panels, tiles in two blocks of which the last is shorter"),
    ],
    ids=lambda s: "x".join(map(str, s)),
)
def test_gradient_of_weights(size: tuple[int, ...]) -> None:
    """Compiled for one and for three threads: the same bits, near the meaning."""
    images, height, width, channels, filters = size
    b = GraphBuilder("net")
    x = b.emit("tanh", b.input("x", TensorType(DType.F32, (images, height, width, channels))))
    dy = b.emit("tanh", b.input("dy", TensorType(DType.F32, (images, height, width, filters))))
    window: dict[str, Any] = {"strides": (1, 1), "padding": "same", "dilations": (1, 1), "kernel": (3, 3)}
    graph = optimize(b.finish([b.emit("conv2d_weight_gradient", x, dy, **window)]), pipelines.TRAINING, host_target())
    target = host_target()
    inputs = list(values(graph).values())
    (expected,) = evaluate(graph, inputs)
    results = []
    for threads in (1, 3):
        module = lower(graph, target, threads)
        verify_module(module)
        assert any(p.name == "sums" for k in module.kernels for p in k.params), "expected the tiled schedule"
        with Program(module, object_code(emit_module(module, target), target), target, threads, {}) as program:
            results.append(program(*inputs))
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_allclose(results[0], expected, atol=2e-5 * float(np.abs(expected).max()), rtol=0)


CHANGING = """
graph @g(%x: f32[2,7,7,96], %w: f32[3,3,96,{F}]) -> (f32[2,7,7,{F}]) {
  %0 = relu(%x) : f32[2,7,7,96]{0:0,1:2,1:2,0:0}
  %1 = conv2d(%0, %w) {strides = [1,1], padding = "same", dilations = [1,1]} by winograd_in_parts[4,4] : f32[2,7,7,{F}]
  return %1
}
"""


@pytest.mark.parametrize(("filters", "by_parts"), [(240, True), (176, True), (150, False)])
def test_filters_that_change_come_to_their_points_part_by_part(filters: int, by_parts: bool) -> None:
    """The last panel may have fewer vectors; where the last vector isn't whole, a kernel of their own does it."""
    target = host_target()
    graph = parse_graph(CHANGING.replace("{F}", str(filters)))
    arrays = list(values(graph).values())
    (expected,) = evaluate(graph, arrays)
    found = []
    for threads in (1, 2):
        module = lower(graph, target, threads)
        assert any(p.name == "u" for k in module.kernels for p in k.params) != by_parts
        with Program(module, object_code(emit_module(module, target), target), target, threads, {}) as program:
            found.append(program(*arrays))
    np.testing.assert_array_equal(*found)
    np.testing.assert_allclose(found[0], expected, atol=2e-5 * float(np.abs(expected).max()), rtol=0)


def test_filters_that_change_come_to_their_points_part_by_part_where_weights_come_quickly() -> None:
    """For few tiles, and whole vectors of filters."""
    target = find_target("haswell")
    for images, filters, algorithm in ((2, 256, "winograd_in_parts"), (8, 256, "winograd"), (2, 252, "winograd")):
        b = GraphBuilder("net")
        x = b.emit("tanh", b.input("x", TensorType(DType.F32, (images, 14, 14, 256))))
        w = b.input("w", TensorType(DType.F32, (3, 3, 256, filters)))
        y = b.emit("conv2d", x, w, strides=(1, 1), padding="same", dilations=(1, 1))
        assert f" by {algorithm}[4,4] : " in print_graph(optimize(b.finish([y]), pipelines.TRAINING, target))


def test_an_input_gets_margins_for_the_gradient_of_a_weight() -> None:
    """Those of 7x7 pixels, which no convolution beside it is computed in tiles of; dy has what it needs."""
    b = GraphBuilder("net")
    x = b.emit("tanh", b.input("x", TensorType(DType.F32, (2, 7, 7, 160))))
    narrow, wide = (b.input(n, TensorType(DType.F32, s)) for n, s in (("y", (2, 7, 7, 8)), ("v", (1, 1, 8, 144))))
    w = b.emit("tanh", b.input("w", TensorType(DType.F32, (3, 3, 144, 160))))
    window: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1)}
    dy = b.emit("conv2d", narrow, wide, **window, padding="same")
    dw = b.emit("conv2d_weight_gradient", x, dy, **window, padding="same", kernel=(3, 3))
    dx = b.emit("transpose_conv2d", dy, w, **window, size=(7, 7), padding=((1, 1), (1, 1)))
    target = replace(host_target(), float_units=2)  # where weights that change are too dear for so few tiles
    graph = optimize(b.finish([dw, dx]), pipelines.TRAINING, target)
    text = print_graph(graph)
    assert "tanh(%x) : f32[2,7,7,160]{0:0,1:2,1:2,0:0}" in text
    assert text.count("by winograd[4,4]") == 1
    module = lower(graph, target, 2)
    inputs = list(values(graph).values())
    expected = evaluate(graph, inputs)
    code = object_code(emit_module(module, target), target)
    with Program(module, code, target, 2, {}) as program:
        for found, meant in zip(program(*inputs), expected, strict=True):
            np.testing.assert_allclose(found, meant, atol=2e-5 * float(np.abs(meant).max()), rtol=0)


def test_a_gradient_of_very_many_tiles_is_computed_directly() -> None:
    """At their points they would take more memory than is worth it."""
    assert partial_sums_of(1000, 512, 512, 8) == 1
    assert partial_sums_of(10000, 512, 512, 8) is None
    assert partial_sums_of(10000, 64, 64, 8) == 4


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf, 1e38], ids=str)
def test_what_is_not_finite_stays_within_its_tiles(special: float) -> None:
    """It reaches all results that it has a part in, and no others but those up to a tile away."""
    b = GraphBuilder("net")
    x = b.input("x", TensorType(DType.F32, (1, 32, 32, 64)))
    w = b.emit("param", shape=(3, 3, 64, 64), dtype="f32", name="w")
    window: dict[str, Any] = {"strides": (1, 1), "padding": "same", "dilations": (1, 1)}
    graph = optimize(b.finish([b.emit("conv2d", x, w, **window)]), pipelines.INFERENCE, host_target())
    module = lower(graph, host_target(), 1)
    assert any(p.name == "v" for k in module.kernels for p in k.params), "expected the tiled schedule"
    arrays = values(graph)
    code = object_code(emit_module(module, host_target()), host_target())
    with Program(module, code, host_target(), 1, {"w": arrays["w"]}) as program:
        ordinary = program(arrays["x"])
        for row, column in ((0, 0), (3, 4), (15, 16), (18, 13), (31, 31)):
            image = arrays["x"].copy()
            image[0, row, column, 5] = special
            (meant,) = evaluate(graph, [image], {"w": arrays["w"]})
            found = program(image)
            assert not np.isfinite(found[~np.isfinite(meant)]).any()
            near = np.ix_(*(np.abs(np.arange(32) - place) <= winograd.TILE for place in (row, column)))
            changed = (found != ordinary)[0].any(axis=-1)
            changed[near] = False
            assert not changed.any()


def values(graph: Graph) -> dict[str, Any]:
    """Random arrays for inputs and parameters."""
    rng = np.random.default_rng(1)
    places = [*graph.inputs, *(p.result for p in graph.parameters)]
    return {v.name or "": rng.standard_normal(v.type.shape, dtype=np.float32) for v in places}


def test_double_precision_and_small_convolutions_are_computed_directly() -> None:
    cycles = cycles_of(16)
    assert cycles.is_faster(1, (16, 16), 64, 64)
    assert winograd.is_served(DType.F32, (3, 3), (1, 1), (1, 1))
    assert not winograd.is_served(DType.F64, (3, 3), (1, 1), (1, 1))
    assert not winograd.is_served(DType.F32, (3, 3), (2, 2), (1, 1))
    assert not cycles.is_faster(1, (224, 224), 3, 16), "few channels: transforms outweigh products"
    assert not cycles.is_faster(1, (7, 7), 512, 512), "few tiles: the larger weights must be read for them"
    assert cycles.is_faster(8, (7, 7), 512, 512)
    changing = cycles_of(16, changing=True)
    assert not changing.is_faster(8, (7, 7), 512, 512), "weights at their points are written and read in each run"
    assert changing.is_faster(8, (14, 14), 256, 256)
    shorter = cycles_of(8, changing=True)
    assert shorter.is_faster(8, (7, 7), 512, 512), "with shorter vectors products take longer beside that"
    assert not shorter.is_faster(2, (7, 7), 512, 512)


CHOSEN = """
graph @g(%x: f32[1,15,15,64], %w: f32[3,3,64,64]) -> (f32[1,15,15,64]) {
  %0 = relu(%x) : f32[1,15,15,64]{LAYOUT}
  %1 = conv2d(%0, %w) {strides = [1,1], padding = "same", dilations = [1,1]} by winograd[4,4] : f32[1,15,15,64]
  return %1
}
"""
WHOLE, TOO_NARROW = "{0:0,1:2,1:2,0:0}", "{0:0,1:1,1:2,0:0}"


def test_what_was_chosen_is_obeyed() -> None:
    module = lower(parse_graph(CHOSEN.replace("{LAYOUT}", WHOLE)), host_target())
    assert any(p.name == "v" for k in module.kernels for p in k.params)
    direct = lower(parse_graph(CHOSEN.replace("{LAYOUT}", WHOLE).replace(" by winograd[4,4]", "")), host_target())
    assert not any(p.name == "v" for k in direct.kernels for p in k.params)


@pytest.mark.parametrize("layout", [TOO_NARROW, ""], ids=["narrow", "dense"])
def test_margins_that_are_too_narrow_are_no_reason_to_do_otherwise(layout: str) -> None:
    with pytest.raises(InternalError, match=r"conv2d.* by winograd\[4,4\]"):
        lower(parse_graph(CHOSEN.replace("{LAYOUT}", layout)), host_target())


def test_algorithms_that_no_schedule_knows_are_refused() -> None:
    for wrong in (
        CHOSEN.replace("{LAYOUT}", "").replace("winograd[4,4]", "fourier"),
        CHOSEN.replace("{LAYOUT}", "").replace("relu(%x)", "relu(%x) by winograd"),
    ):
        with pytest.raises(InternalError, match=r"there is no schedule for .* by "):
            lower(parse_graph(wrong), host_target())

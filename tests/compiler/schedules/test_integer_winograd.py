"""Convolutions of bytes by Winograd's filtering in integers: the algebra, and exact sums whatever the numbers are."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.backends.cpu.codegen import assembly, emit_module, object_code
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.backends.cpu.cycles import Cycles
from netc.compiler.backends.cpu.schedules.winograd.integer_convolution import parts_of
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.modules.interpreter import run_module
from netc.compiler.modules.verifier import verify_module
from netc.compiler.ops.quantized import winograd as words
from netc.compiler.passes import pipelines
from netc.compiler.targets.target import DotProduct, Target
from netc.compiler.types import DType, Quantization, TensorType
from netc.runtime.host import runs_here
from netc.runtime.program import Program

SIZES = [
    # images, height, width, channels, filters, threads
    (1, 8, 8, 16, 16, 1),
    (3, 13, 18, 40, 24, 2),
    (2, 7, 9, 3, 37, 3),
    (1, 1, 2, 1, 1, 1),
    (1, 6, 5, 129, 9, 2),
    (1, 4, 4, 300, 8, 1),  # summed up in parts
    (1, 14, 14, 32, 72, 3),
    (2, 5, 9, 182, 7, 4),  # a row of tiles for each thread
    (1, 6, 7, 30, 60, 2),  # threads share out the filters
    (2, 37, 40, 4, 20, 2),  # more than one block for each thread
]


def test_the_algebra() -> None:
    rng = np.random.default_rng(0)
    data, taps = rng.integers(-255, 256, (6, 6)), rng.integers(-255, 256, (3, 3))
    b, g, a = (np.array(m) for m in (words.INPUT, words.FILTER, words.OUTPUT))
    result = a @ ((g @ taps @ g.T) * (b @ data @ b.T)) @ a.T
    direct = np.array([[(data[y : y + 3, x : x + 3] * taps).sum() for x in range(4)] for y in range(4)])
    scale = 3 * 2 ** np.array(words.SHIFTS)
    assert np.array_equal(result, direct * np.outer(scale, scale))
    assert 9 * words.INVERSE % 2**32 == 1


def test_numbers_at_the_points_fit_16_bits() -> None:
    for matrix in (words.INPUT, words.FILTER):
        largest = int(np.abs(np.array(matrix)).sum(axis=1).max()) ** 2
        assert largest * 255 < 2**15


@pytest.mark.parametrize("x", [DType.I8, DType.U8])
@pytest.mark.parametrize(("weight", "zero"), [(DType.I8, 0), (DType.U8, 0), (DType.U8, 128), (DType.U8, 255)])
def test_so_many_channels_leave_the_bits_that_are_needed(x: DType, weight: DType, zero: int) -> None:
    left = max(abs(int(n)) for n in (np.iinfo(x.numpy).min, np.iinfo(x.numpy).max))
    right = max(abs(int(n) - zero) for n in (np.iinfo(weight.numpy).min, np.iinfo(weight.numpy).max))
    most = words.most_channels(x, weight, zero)
    assert 9 * left * right * most < 2**25 <= 9 * left * right * (most + 1)


def graph_of(
    size: tuple[int, ...], x: DType, weight: DType, weight_zero: int, numbers: str
) -> tuple[Graph, np.ndarray[tuple[int, ...], np.dtype[np.int8]]]:
    """A convolution, and an input; "least" and "largest" numbers make sums as large as they can be."""
    images, height, width, channels, filters, _ = size
    rng = np.random.default_rng(sum(size))

    def drawn(dtype: DType, shape: tuple[int, ...], largest: bool) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
        info = np.iinfo(dtype.numpy)
        if numbers == "any":
            return rng.integers(info.min, info.max + 1, shape).astype(dtype.numpy)
        return np.full(shape, info.max if largest else info.min, dtype.numpy)

    given, y = Quantization.of(0.02, -5 if x is DType.I8 else 120), Quantization.of(0.02 * channels, 3)
    weights = Quantization.of(0.01, weight_zero)
    if weight is DType.I8:
        weights = Quantization(tuple(np.linspace(0.005, 0.02, filters).tolist()), (0,) * filters, 3)
    b = GraphBuilder("case")
    image = (images, height, width, channels)
    value = b.input("x", TensorType(x, image, None, given))
    kernel = b.constant(drawn(weight, (3, 3, channels, filters), numbers == "largest"))
    bias = b.constant(rng.integers(-1000, 1000, filters).astype(np.int32))
    window = {"strides": (1, 1), "padding": ((1, 1), (1, 1)), "dilations": (1, 1), "groups": 1}
    result = b.emit("q_conv2d", value, kernel, bias, x=given, weight=weights, y=y, **window)
    return b.finish([result]), drawn(x, image, x is DType.U8)


@pytest.fixture
def _always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each convolution that can be computed so is."""
    monkeypatch.setattr(Cycles, "is_faster_in_words", lambda *_: True)


def target_of(cpu: str | None) -> Target:
    """A processor that multiplies words, and runs here."""
    target = find_target(cpu) if cpu else replace(host_target().without_tiles(), dot_product=DotProduct.WORDS)
    if not runs_here(target):
        pytest.skip(f"code for {target} doesn't run on this machine")
    return target


TYPES = pytest.mark.parametrize(("x", "weight", "zero"), [("i8", "i8", 0), ("u8", "u8", 255), ("i8", "u8", 128)])


def algorithm_of(graph: Graph) -> str:
    """What is expected of a graph with one convolution, whose weight is its first constant."""
    (x, *_), weight = graph.inputs, next(op for op in graph.operations if op.name == "constant").attributes["value"]
    attributes = graph.operations[-1].attributes
    zero = attributes["weight"].zero_points[0] if "weight" in attributes else attributes["weight_zero"]
    parts = parts_of(weight.size // weight.shape[-1] // 9, x.type.dtype, DType.of(weight.dtype), zero)
    return "winograd_in_one_sum" if parts > 1 and words.sums_fit(x.type.dtype, weight, zero) else "winograd"


def check(graph: Graph, data: np.ndarray[tuple[int, ...], np.dtype[np.int8]], target: Target, threads: int) -> None:
    """Compiled code gives what the graph means."""
    (expected,) = evaluate(graph, [data])
    optimized = optimize(graph, pipelines.INFERENCE, target)
    assert f" by {algorithm_of(graph)}[" in str(optimized)
    module = lower(optimized, target, threads=threads)
    verify_module(module)
    program = Program(module, object_code(emit_module(module, target), target), threads=threads)
    assert np.array_equal(program(data), expected)


@pytest.mark.usefixtures("_always")
@pytest.mark.parametrize("cpu", [None, "x86-64", "cascadelake", "znver5"])
@TYPES
@pytest.mark.parametrize("size", SIZES, ids=lambda s: "x".join(map(str, s)))
def test_sums_are_exact(size: tuple[int, ...], x: str, weight: str, zero: int, cpu: str | None) -> None:
    graph, data = graph_of(size, DType(x), DType(weight), zero, "any")
    check(graph, data, target_of(cpu), size[-1])


def sums_of_planes(
    size: tuple[int, ...],
    window: dict[str, object],
    x: DType,
    weight: DType,
    weight_zero: int,
    kernel: int = 3,
    x_zero: int | None = None,
) -> tuple[Graph, np.ndarray[tuple[int, ...], np.dtype[np.int8]]]:
    """Sums of a convolution of three dimensions, and an input."""
    *shape, channels, filters, _ = size
    rng = np.random.default_rng(sum(size))

    def drawn(dtype: DType, shape: tuple[int, ...]) -> np.ndarray[tuple[int, ...], np.dtype[np.int8]]:
        info = np.iinfo(dtype.numpy)
        return rng.integers(info.min, info.max + 1, shape).astype(dtype.numpy)

    b = GraphBuilder("case")
    zero = x_zero if x_zero is not None else -5 if x is DType.I8 else 120
    value = b.input("x", TensorType(x, (*shape, channels), None, Quantization.of(0.02, zero)))
    weights = b.constant(drawn(weight, (kernel, 3, 3, channels, filters)))
    bias = b.constant(rng.integers(-1000, 1000, filters).astype(np.int32))
    zeros = {"x_zero": zero, "weight_zero": weight_zero}
    result = b.emit("conv3d_sum", value, weights, bias, dilations=(1, 1, 1), groups=1, **window, **zeros)
    return b.finish([result]), drawn(x, (*shape, channels))


@pytest.mark.usefixtures("_always")
@pytest.mark.parametrize("cpu", [None, "cascadelake", "znver5"])
@TYPES
@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding"),
    [
        ((1, 5, 9, 11, 16, 24, 2), 3, 1, (1, 1)),
        ((2, 4, 6, 5, 7, 37, 3), 3, 2, (1, 0)),
        ((1, 3, 4, 4, 130, 8, 1), 2, 1, (0, 0)),  # as a rule in parts: some numbers show that sums are small
        ((1, 2, 8, 8, 8, 16, 1), 1, 1, (0, 0)),
    ],
)
def test_sums_over_planes_are_exact(
    size: tuple[int, ...],
    kernel: int,
    stride: int,
    padding: tuple[int, int],
    x: str,
    weight: str,
    zero: int,
    cpu: str | None,
) -> None:
    window = {"strides": (stride, 1, 1), "padding": (padding, (1, 1), (1, 1))}
    graph, data = sums_of_planes(size, window, DType(x), DType(weight), zero, kernel)
    check(graph, data, target_of(cpu), size[-1])


@pytest.mark.usefixtures("_always")
@pytest.mark.parametrize("cpu", [None, "cascadelake", "znver5"])
@pytest.mark.parametrize(
    ("size", "window", "left_out"),
    [
        ((1, 5, 9, 11, 16, 24, 3), {"strides": (1, 1, 1), "padding": ((1, 1), (1, 1), (1, 1))}, True),
        ((3, 3, 8, 16, 6, 40, 3), {"strides": (2, 1, 1), "padding": ((2, 1), (1, 1), (1, 1))}, True),
        ((2, 2, 4, 4, 8, 16, 2), {"strides": (1, 1, 1), "padding": ((1, 1), (1, 1), (1, 1))}, True),
        ((2, 9, 4, 4, 8, 16, 1), {"strides": (1, 1, 1), "padding": ((1, 1), (1, 1), (1, 1))}, False),  # small planes
        ((2, 1, 4, 4, 8, 16, 1), {"strides": (1, 1, 1), "padding": ((1, 1), (1, 1), (1, 1))}, None),  # always the same
        ((1, 4, 24, 24, 4, 16, 2), {"strides": (1, 1, 1), "padding": ((1, 1), (0, 0), (1, 1))}, True),
        ((1, 4, 8, 8, 7, 16, 1), {"strides": (1, 1, 1), "padding": ((1, 1), (1, 1), (1, 1))}, False),  # odd channels
        ((1, 4, 8, 8, 8, 16, 1), {"strides": (1, 1, 1), "padding": ((0, 0), (1, 1), (1, 1))}, False),  # no planes
    ],
)
def test_planes_of_zeros_are_left_out(
    size: tuple[int, ...], window: dict[str, object], left_out: bool | None, cpu: str | None
) -> None:
    target = target_of(cpu)
    for zero in (0, 120):
        graph, data = sums_of_planes(size, window, DType.U8, DType.I8, 0, x_zero=zero)
        check(graph, data, target, size[-1])
        text = str(lower(optimize(graph, pipelines.INFERENCE, target), target, threads=size[-1]))
        if left_out is not None:
            assert (re.search(r"for %kz\d* = (%|\w+\()", text) is not None) == (left_out and not zero)


def test_planes_of_padding_speak_for_direct_sums() -> None:
    target = find_target("znver5")
    assert target is not None
    window = {"strides": (1, 1, 1), "padding": ((1, 1), (1, 1), (1, 1))}
    for planes, tiled in ((8, True), (2, False)):
        size = (1, planes, 14, 14, 64, 64, 1)
        graph, _ = sums_of_planes(size, window, DType.U8, DType.I8, 0)
        assert (" by winograd" in str(optimize(graph, pipelines.INFERENCE, target))) == tiled


def test_numbers_of_weights_show_that_sums_fit() -> None:
    most = words.most_channels(DType.I8, DType.I8, 0)
    least = np.full((3, 3, most, 2), -128, np.int8)
    assert words.sums_fit(DType.I8, least, 0)
    wider = np.concatenate([least, least[:, :, :1]], 2)
    assert not words.sums_fit(DType.I8, wider, 0)
    wider[..., 0] = -126
    assert not words.sums_fit(DType.I8, wider, 0)  # of the other filter
    wider[..., 1] = -126
    assert words.sums_fit(DType.I8, wider, 0)
    assert not words.sums_fit(DType.U8, least, 0)


@pytest.mark.usefixtures("_always")
@pytest.mark.parametrize("numbers", ["least", "largest"])
@TYPES
@pytest.mark.parametrize("channels", [227, 300])
def test_the_largest_sums_are_exact(channels: int, x: str, weight: str, zero: int, numbers: str) -> None:
    graph, data = graph_of((1, 4, 4, channels, 16, 1), DType(x), DType(weight), zero, numbers)
    check(graph, data, target_of(None), 1)


@pytest.mark.parametrize(
    ("cpu", "size", "tiled"),
    [
        ("x86-64-v3", (1, 56, 56, 64, 64, 1), True),
        ("x86-64-v3", (1, 7, 7, 512, 512, 1), True),
        ("x86-64-v3", (1, 224, 224, 3, 64, 1), False),
        ("znver4", (1, 56, 56, 64, 64, 1), True),
        ("znver4", (1, 14, 14, 256, 256, 1), False),
        ("znver4", (1, 28, 28, 32, 32, 1), False),
        ("znver5", (1, 28, 28, 32, 32, 1), True),
        ("znver5", (1, 14, 14, 256, 256, 1), True),
        ("znver5", (1, 7, 7, 512, 512, 1), False),
        ("znver5", (8, 7, 7, 512, 512, 1), True),
        ("znver5", (1, 32, 32, 3, 32, 1), False),
        ("sapphirerapids", (1, 56, 56, 64, 64, 1), False),
        ("cortex-a76", (1, 56, 56, 64, 64, 1), False),
        ("wasm32", (1, 56, 56, 64, 64, 1), True),
    ],
)
def test_chosen_where_products_of_words_are_what_there_is(cpu: str, size: tuple[int, ...], tiled: bool) -> None:
    target = find_target(cpu)
    assert target is not None
    graph, _ = graph_of(size, DType.I8, DType.I8, 0, "any")
    assert (" by winograd" in str(optimize(graph, pipelines.INFERENCE, target))) == tiled


@pytest.mark.usefixtures("_always")
@pytest.mark.parametrize("cpu", ["x86-64-v3", "alderlake", "znver4", "znver5"])
def test_interpreted_too(cpu: str) -> None:
    target = find_target(cpu)
    assert target is not None
    graph, data = graph_of((1, 5, 6, 4, 10, 2), DType.I8, DType.I8, 0, "any")
    (expected,) = evaluate(graph, [data])
    module = lower(optimize(graph, pipelines.INFERENCE, target), target, threads=2)
    (found,) = run_module(module, [data], {})
    assert np.array_equal(found, expected)
    assert ("vpmaddwd" if cpu == "x86-64-v3" else "vpdpwssd") in assembly(emit_module(module, target), target)


@pytest.mark.usefixtures("_always")
@pytest.mark.parametrize(("cpu", "asks"), [("znver4", False), ("znver5", True)])
def test_cores_that_outrun_caches_ask_for_filters_at_their_points(cpu: str, asks: bool) -> None:
    target = find_target(cpu)
    assert target is not None
    graph, _ = graph_of((1, 6, 6, 300, 40, 1), DType.I8, DType.I8, 0, "any")
    text = str(lower(optimize(graph, pipelines.INFERENCE, target), target, threads=1))
    assert ("prefetch %w" in text) == asks
    assert ("%f: i8[" in text) != asks  # filters that are brought there in each run
    assert ("%t: i32[1,160]" in text) == asks  # all numbers of the filters for their ends


@pytest.mark.parametrize(("threads", "panels"), [(1, 3), (2, 2), (4, 4), (8, 3)])
def test_threads_share_out_panels_evenly(threads: int, panels: int) -> None:
    target = find_target("znver5")
    assert target is not None
    graph, _ = graph_of((1, 28, 28, 128, 128, threads), DType.I8, DType.I8, 0, "any")
    module = lower(optimize(graph, pipelines.INFERENCE, target), target, threads)
    assert [b.shape[0] for k in module.kernels for b in k.params if b.name == "w"] == [panels]

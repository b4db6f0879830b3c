"""Integer contractions by tile registers: every bit as the interpreter has it, whatever the sizes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.backends.cpu.schedules.geometry import Walk
from netc.compiler.backends.cpu.schedules.tiles import tile_contraction
from netc.compiler.backends.cpu.schedules.tiles.tile_shapes import REGISTERS, Shapes, Steps, held, parts_of, registers
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.loops.ir import Prefetch, Store, statements
from netc.compiler.modules.printer import print_module
from netc.compiler.modules.reader import parse_module
from netc.compiler.modules.verifier import verify_module
from netc.compiler.passes import pipelines
from netc.compiler.types import DType, Quantization, TensorType
from netc.pipeline import Request, build
from netc.runtime.program import Program

Numbers = np.ndarray[tuple[int, ...], np.dtype[np.int8]]

CASES = {
    # images, height, width, channels, filters, window, stride, dilation, groups, input and weight
    "odd sizes": (1, 9, 17, 12, 37, 3, 1, 1, 1, "i8", "i8"),
    "unsigned": (1, 7, 19, 64, 16, 3, 1, 1, 1, "u8", "u8"),
    "strides": (1, 11, 13, 64, 48, 3, 2, 1, 1, "i8", "i8"),
    "dilations": (1, 12, 9, 20, 18, 3, 1, 2, 1, "u8", "u8"),
    "a shorter last step": (2, 5, 6, 76, 33, 1, 1, 1, 1, "i8", "i8"),
    "a run to fill up": (1, 21, 10, 3, 20, 7, 2, 1, 1, "i8", "i8"),
    "groups": (1, 7, 8, 64, 64, 3, 1, 1, 2, "i8", "i8"),
    "groups of three tiles": (1, 4, 6, 64, 96, 5, 1, 1, 2, "i8", "i8"),
    "groups of five tiles": (1, 4, 6, 160, 640, 5, 1, 1, 8, "i8", "i8"),
    "one row": (1, 7, 7, 128, 160, 1, 1, 1, 1, "u8", "u8"),
    "images": (3, 6, 5, 32, 24, 3, 1, 1, 1, "i8", "i8"),
    "dense": (49, 0, 0, 100, 50, 0, 1, 1, 1, "i8", "i8"),
}


def graph_of(case: str) -> tuple[Graph, Numbers]:
    images, height, width, channels, filters, window, stride, dilation, groups, *kinds = CASES[case]
    x_type, weight_type = (DType(kind) for kind in kinds)
    rng = np.random.default_rng(len(case))
    x, y = Quantization.of(0.02, -5 if x_type is DType.I8 else 120), Quantization.of(1.5, 3)
    if weight_type is DType.I8:
        size = (window, window, channels // groups, filters) if window else (channels, filters)
        scales = tuple(np.linspace(0.005, 0.02, filters).tolist())
        weights, low = Quantization(scales, (0,) * filters, len(size) - 1), -127
    else:
        size, weights, low = (window, window, channels // groups, filters), Quantization.of(0.01, 128), 0
    b = GraphBuilder("case")
    shape = (images, height, width, channels) if window else (images, channels)
    value = b.input("x", TensorType(x_type, shape, None, x))
    info = np.iinfo(str(weight_type.numpy))
    weight = b.constant(rng.integers(low, info.max, size, endpoint=True).astype(weight_type.numpy))
    bias = b.constant(rng.integers(-1000, 1000, filters).astype(np.int32))
    attributes = {"x": x, "weight": weights, "y": y}
    if window:
        pad = window // 2 * dilation
        attributes |= {"strides": (stride,) * 2, "padding": ((pad, pad),) * 2, "dilations": (dilation,) * 2}
        attributes["groups"] = groups
    result = b.emit("q_conv2d" if window else "q_dense", value, weight, bias, **attributes)
    info = np.iinfo(str(x_type.numpy))
    return b.finish([result]), rng.integers(info.min, info.max, shape, endpoint=True).astype(x_type.numpy)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_sums_are_exact(case: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile_contraction, "GAIN", np.inf)
    has_tiles = host_target().has_byte_tiles
    target = host_target() if has_tiles else find_target("sapphirerapids")
    assert target is not None
    graph, x = graph_of(case)
    module = lower(optimize(graph, pipelines.INFERENCE, target), target, threads)
    verify_module(module)
    text = print_module(module)
    assert "tile_dot4" in text
    assert ("upper_product" in text) == (case != "dense")  # which has real factors
    assert print_module(parse_module(text)) == text
    if not has_tiles:
        pytest.skip("this machine has no tile registers, or the process may not use them")
    (expected,) = evaluate(graph, [x])
    with Program(module, object_code(emit_module(module, target), target), target, threads) as program:
        np.testing.assert_array_equal(program(x), expected)


@pytest.mark.parametrize("low", [None, 3])
@pytest.mark.parametrize("bits", [2, 9, 20])
def test_halves_and_far_sums_are_exact(bits: int, low: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Factors that are powers of two give many exact halves; biases go beyond all results of other factors."""
    monkeypatch.setattr(tile_contraction, "GAIN", np.inf)
    target = host_target() if (has_tiles := host_target().has_byte_tiles) else find_target("sapphirerapids")
    assert target is not None
    rng, one = np.random.default_rng(bits), Quantization.of(1.0, 0)
    b = GraphBuilder("halves")
    value = b.input("x", TensorType(DType.I8, (1, 10, 20, 64), None, one))
    weight = rng.integers(-2, 2, (64, 80), endpoint=True)
    weight[:, ::2] *= 60
    bias = (rng.integers(-300, 300, 80) << bits) // 2
    bias[:40] = rng.integers(-(1 << 31) + (1 << 22), (1 << 31) - (1 << 22), 40) >> rng.integers(0, 6, 40)
    attributes = {"weight": Quantization((1.0,) * 80, (0,) * 80, 3), "y": Quantization.of(2.0**bits, 3)}
    attributes |= {"strides": (1, 1), "padding": ((0, 0), (0, 0)), "dilations": (1, 1), "groups": 1}
    operands = (b.constant(weight[np.newaxis, np.newaxis].astype(np.int8)), b.constant(bias.astype(np.int32)))
    result = b.emit("q_conv2d", value, *operands, x=one, **attributes, low=low)
    graph, x = b.finish([result]), rng.integers(-128, 127, (1, 10, 20, 64), endpoint=True).astype(np.int8)
    module = lower(optimize(graph, pipelines.INFERENCE, target), target, 1)
    assert "upper_product" in print_module(module)
    if not has_tiles:
        pytest.skip("this machine has no tile registers, or the process may not use them")
    (expected,) = evaluate(graph, [x])
    assert len(np.unique(expected)) > 20
    with Program(module, object_code(emit_module(module, target), target), target, 1) as program:
        np.testing.assert_array_equal(program(x), expected)


def test_bands_ask_for_all_weights_of_the_next_channels() -> None:
    """Each line of them in one of the bands."""
    target = find_target("sapphirerapids")
    assert target is not None
    b = GraphBuilder("case")
    value = b.input("x", TensorType(DType.I8, (1, 14, 14, 256), None, Quantization.of(0.02, 0)))
    weight = b.constant(np.ones((1, 1, 256, 512), np.int8))
    kinds = {
        "x": Quantization.of(0.02, 0),
        "weight": Quantization((0.01,) * 512, (0,) * 512, 3),
        "y": Quantization.of(1.0, 0),
    }
    window = {"strides": (1, 1), "padding": ((0, 0), (0, 0)), "dilations": (1, 1), "groups": 1}
    graph = b.finish([b.emit("q_conv2d", value, weight, b.constant(np.zeros(512, np.int32)), **kinds, **window)])
    (kernel,) = lower(optimize(graph, pipelines.INFERENCE, target), target, 1).kernels
    asked = [s for s in statements(kernel.body) if isinstance(s, Prefetch)]
    loads = [s for s in statements(kernel.body) if isinstance(s, Store) and s.buffer.name.startswith("right")]
    assert asked
    assert {s.buffer.name for s in asked} == {"w"}
    assert len(asked) % len(loads) == 0


def test_code_for_other_programs_has_no_tiles() -> None:
    graph, _ = graph_of("images")
    for tiles in (True, False):
        module = build(Request(graph, cpu="sapphirerapids", threads=1, tiles=tiles), "loops").module
        assert ("tile_dot4" in print_module(module)) == tiles


@pytest.mark.parametrize("columns", range(1, 97))
def test_pixels_are_shared_out_evenly(columns: int) -> None:
    parts = parts_of(columns)
    assert sum(parts) == columns
    assert max(parts) <= min(16, min(parts) + 1)


@pytest.mark.parametrize("run", [3, 24, 60, 64, 68, 96, 144, 1152, 4 * 257])
def test_steps_cover_a_run(run: int) -> None:
    steps = Steps.of(run)
    assert steps.total == -(-run // 4)
    assert 1 <= steps.words <= 16
    assert 0 <= steps.rest < 16


def shapes_of(walk: Walk, filters: int, runs: int) -> Shapes:
    """Of bytes, on a core of Intel's."""
    return Shapes(
        g=walk,
        filters=filters,
        steps=Steps.of(walk.channels),
        runs=runs,
        gathering=0.0,
        threads=1,
        joined=4,
        residuals=(),
        itemsize=1,
        result_bytes=1,
        l1_bytes=48 << 10,
        l2_bytes=2 << 20,
    )


@pytest.mark.parametrize("run", [64, 68])
def test_registers_are_those_that_are_held(run: int) -> None:
    steps = Steps.of(run)
    for pixels in [(16,), (16, 16), (16, 15), (9, 9, 9), (16, 16, 15, 15), (3, 2, 1)]:
        for tiles in range(1, 7):
            inputs, weights = held(pixels, tiles)
            needed = len(pixels) * tiles + (inputs.total() + weights) * len(steps.sizes)
            assert registers(pixels, tiles, steps) == needed


def test_what_is_chosen_fits_the_registers() -> None:
    for width, channels, filters in [(17, 12, 37), (49, 76, 160), (289, 64, 20)]:
        walk = Walk(images=1, height=1, width=width, channels=channels, pitch=channels, buffer=(1, 1, width * channels))
        shapes = shapes_of(replace(walk, flat=True), filters, 1)
        tile, _, cycles = shapes.best()
        pixels, tiles = parts_of(tile.columns) * tile.rows, len(tile.widths)
        assert registers(pixels, tiles, shapes.steps) <= REGISTERS
        assert held(pixels, tiles)[0].total() >= 1
        assert cycles > width * channels * filters / 1024


@pytest.mark.parametrize("filters", [48, 80, 112, 128])
def test_no_tile_belongs_to_two_groups(filters: int) -> None:
    walk = Walk(images=1, height=4, width=6, channels=20, pitch=160, buffer=(1, 4, 960), groups=8)
    shapes = shapes_of(walk, filters, 9)
    assert {filters % (16 * cut.channels) for cut in shapes.cuts()} == {0}

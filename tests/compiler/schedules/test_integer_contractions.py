"""Integer convolutions and dense layers by dot products: every bit as the interpreter has it, on several targets."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.backends.cpu.codegen import assembly, emit_module, object_code
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph, Value
from netc.compiler.graph.parser import parse_graph
from netc.compiler.modules.interpreter import run_module
from netc.compiler.modules.printer import print_module
from netc.compiler.modules.reader import parse_module
from netc.compiler.modules.verifier import verify_module
from netc.compiler.passes import pipelines
from netc.compiler.types import DType, Quantization, TensorType
from netc.library import build_library
from netc.runtime.host import runs_here
from netc.runtime.program import Program
from tests.emulators.processes import missing, run_library

SHAPES = [
    # (height, width, channels, filters, kernel, stride); kernel 0 is a dense layer
    (9, 9, 16, 24, 3, 1),
    (14, 13, 64, 37, 1, 1),
    (15, 15, 3, 17, 3, 2),
    (8, 8, 6, 16, 5, 1),
    (5, 1, 36, 10, 0, 1),
    (1, 1, 64, 101, 0, 1),
    (3, 1, 30, 20, 0, 1),
    # and groups
    (7, 8, 32, 32, 3, 1, 8),
    (7, 8, 48, 24, 3, 2, 2),
    (5, 5, 16, 96, 1, 1, 2),
    (5, 5, 18, 18, 3, 1, 3),
]

OF_LANES = [
    # runs of 48, 20, 24 and 12 bytes
    (4, 5, 16, 9, 3, 1),
    (3, 1, 20, 6, 0, 1),
    (3, 4, 24, 33, 1, 1),
    (5, 5, 12, 10, 1, 1),
    (3, 3, 48, 8, 1, 1, 2),
]
"""For processors whose dot products take bytes from lanes of vectors."""


def graph_of(
    dtype: DType, shape: tuple[int, ...], weight_zero: int, largest_bias: int = 1000
) -> tuple[Graph, np.ndarray[tuple[int, ...], np.dtype[np.int8]]]:
    height, width, channels, filters, kernel, stride, *rest = shape
    groups = rest[0] if rest else 1
    rng = np.random.default_rng(sum(shape))
    low, high = (-128, 128) if dtype is DType.I8 else (0, 256)
    x, y = Quantization.of(0.02, -5 if dtype is DType.I8 else 120), Quantization.of(1.5, 3)
    size = (kernel, kernel, channels // groups, filters) if kernel else (channels, filters)
    scales = tuple(np.linspace(0.005, 0.02, filters).tolist())
    if dtype is DType.I8:
        weight_type = Quantization(scales, (0,) * filters, len(size) - 1)
    else:
        weight_type = Quantization.of(0.01, weight_zero)
    b = GraphBuilder("case")
    image = (1, height, width, channels) if kernel else (height, channels)
    value = b.input("x", TensorType(dtype, image, None, x))
    weight = b.constant(rng.integers(low, high, size).astype(dtype.numpy))
    bias = b.constant(rng.integers(-largest_bias, largest_bias, filters).astype(np.int32))
    attributes = {"x": x, "weight": weight_type, "y": y}
    if kernel:
        pad = (kernel // 2, kernel // 2)
        attributes |= {"strides": (stride, stride), "padding": (pad, pad), "dilations": (1, 1), "groups": groups}
    result = b.emit("q_conv2d" if kernel else "q_dense", value, weight, bias, **attributes)
    return b.finish([result]), rng.integers(low, high, image).astype(dtype.numpy)


@pytest.mark.parametrize("cpu", [None, "x86-64", "x86-64-v3", "x86-64-v4", "cascadelake", "alderlake"])
@pytest.mark.parametrize(("dtype", "weight_zero"), [(DType.I8, 0), (DType.U8, 100), (DType.U8, 128)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_are_exact(shape: tuple[int, ...], dtype: DType, weight_zero: int, cpu: str | None) -> None:
    target = find_target(cpu) if cpu else host_target()
    if not runs_here(target):
        pytest.skip(f"code for {target} doesn't run on this machine")
    graph, x = graph_of(dtype, shape, weight_zero)
    (expected,) = evaluate(graph, [x])
    module = lower(optimize(graph, pipelines.INFERENCE, target), target, 2)
    verify_module(module)
    text = print_module(module)
    assert print_module(parse_module(text)) == text
    with Program(module, object_code(emit_module(module, target), target), target, 2) as program:
        np.testing.assert_array_equal(program(x), expected)


def test_processors_without_long_vectors_have_the_instruction_too() -> None:
    graph, _ = graph_of(DType.I8, SHAPES[0], 0)
    target = find_target("alderlake")
    text = emit_module(lower(optimize(graph, pipelines.INFERENCE, target), target, 1), target)
    code = assembly(text, target)
    assert "{vex}\tvpdpbusd" in code or "{vex} vpdpbusd" in code
    assert "zmm" not in code


@pytest.mark.parametrize(
    ("cpu", "instruction"),
    [
        ("znver4", "vpdpbusd"),
        ("znver3", "avx2.pmadd.wd"),
        ("x86-64-v2", "sse2.pmadd.wd"),
        ("x86-64-v4", "avx512.pmadd"),
    ],
)
def test_the_dot_product_instruction_is_used(cpu: str, instruction: str) -> None:
    graph, _ = graph_of(DType.I8, SHAPES[0], 0)
    target = find_target(cpu)
    assert instruction in emit_module(lower(optimize(graph, pipelines.INFERENCE, target), target, 1), target)


@pytest.mark.parametrize("cpu", ["cascadelake", "alderlake", "znver4", "haswell"])
@pytest.mark.parametrize("shape", [SHAPES[0], SHAPES[1], SHAPES[3], SHAPES[8]], ids=str)
def test_sums_are_rescaled_from_a_table(shape: tuple[int, ...], cpu: str) -> None:
    """Biases go far beyond what becomes a byte."""
    graph, x = graph_of(DType.I8, shape, 0, 1 << 30)
    target = find_target(cpu)
    module = lower(optimize(graph, pipelines.INFERENCE, target), target, 1)
    verify_module(module)
    assert "upper_product(" in print_module(module)
    (expected,) = evaluate(graph, [x])
    np.testing.assert_array_equal(run_module(module, [x], {})[0], expected)
    if runs_here(target):
        with Program(module, object_code(emit_module(module, target), target), target, 1) as program:
            np.testing.assert_array_equal(program(x), expected)


@pytest.mark.parametrize(
    ("cpu", "dtype", "shape", "flips"),
    [
        ("cascadelake", DType.I8, SHAPES[0], True),
        ("cascadelake", DType.U8, SHAPES[0], False),
        ("cascadelake", DType.I8, SHAPES[5], False),  # one pixel
        ("alderlake", DType.I8, SHAPES[0], True),
        ("znver4", DType.I8, SHAPES[0], False),
    ],
)
def test_inputs_are_flipped_once(cpu: str, dtype: DType, shape: tuple[int, ...], flips: bool) -> None:
    graph, _ = graph_of(dtype, shape, 0)
    target = find_target(cpu)
    text = print_module(lower(optimize(graph, pipelines.INFERENCE, target), target, 1))
    assert bool(re.search(r"bitcast<u8>\(xor\(load i8x(32|64)", text)) == flips
    assert ("bitcast<u8>(xor(load i8x4 " in text) == (dtype is DType.I8 and not flips)


@pytest.mark.parametrize("cpu", ["x86-64-v3", "wasm32"])
def test_inputs_are_widened_once(cpu: str) -> None:
    graph, _ = graph_of(DType.I8, (14, 14, 64, 64, 5, 1), 0)
    target = find_target(cpu)
    text = print_module(lower(optimize(graph, pipelines.INFERENCE, target), target, 1))
    assert "%y: out i16[18,1152]) {" in text  # margins, too
    assert " dot2_words(" in text
    assert " dot4(" not in text


def test_factors_are_loaded_ahead_of_all_tiles() -> None:
    graph, _ = graph_of(DType.I8, (14, 13, 64, 48, 1, 1), 0)
    target = find_target("haswell")
    text = print_module(lower(optimize(graph, pipelines.INFERENCE, target), target, 1))
    ahead, _, tiles = text[text.index("for %j = ") :].partition("for %g = ")
    assert ahead.count(" = load i32x16 %t") == 3  # multipliers, addends, places
    assert "load i32x16 %t" not in tiles


def test_short_ends_of_tiles_are_expanded() -> None:
    """A table's numbers stay in registers where more follows, while sums wait on the stack."""
    target = find_target("haswell")
    b = GraphBuilder("f")
    conv, _ = graph_of(DType.I8, (14, 13, 64, 48, 1, 1), 0)
    (kind,) = (v.type for v in conv.results)
    (result,) = b.inline(conv, [b.input("x", conv.inputs[0].type)])
    given = {"a": kind.quantization, "b": kind.quantization, "y": kind.quantization}
    added = b.finish([b.emit("q_add", result, b.input("z", kind), **given)])
    for graph, waits in ((conv, False), (added, True)):
        text = print_module(lower(optimize(graph, pipelines.INFERENCE, target), target, 1))
        assert "upper_product(" in text
        assert ("stack %totals" in text) == waits


def test_sums_fill_the_registers() -> None:
    graph, _ = graph_of(DType.I8, (14, 14, 64, 64, 5, 1), 0)
    target = find_target("x86-64-v3")
    text = print_module(lower(optimize(graph, pipelines.INFERENCE, target), target, 1))
    # six pixels by two vectors of filters: twelve sums, two weights, an input and a product fill sixteen registers
    assert text.count("register %acc: i32x8[6]") == text.count("register %acc1: i32x8[6]") == 1


def test_short_rows_go_by_two_vectors() -> None:
    """Seven pixels: sums are added to in one cycle, so that six sums keep the core busy."""
    graph, _ = graph_of(DType.I8, (14, 14, 64, 64, 3, 2), 0)
    target = find_target("haswell")
    text = print_module(lower(optimize(graph, pipelines.INFERENCE, target), target, 1))
    assert re.findall(r"register %acc\d*: (\S+)", text)[:4] == ["i32x8[6]", "i32x8[6]", "i32x8[3]", "i32x8[3]"]


def of_lanes() -> tuple[Graph, list[np.ndarray[tuple[int, ...], np.dtype[np.int8]]]]:
    """Shapes with signed and unsigned bytes, as one graph; results of the latter are mostly far from bytes."""
    b, inputs = GraphBuilder("all"), []
    results: list[Value] = []
    for dtype, weight_zero, largest_bias in ((DType.I8, 0, 1000), (DType.U8, 100, 1 << 30)):
        for shape in OF_LANES:
            graph, x = graph_of(dtype, shape, weight_zero, largest_bias)
            inputs.append(x)
            results += b.inline(graph, [b.input(f"x{len(inputs)}", graph.inputs[0].type)])
    return b.finish(results), inputs


def test_bytes_are_taken_from_lanes() -> None:
    graph, inputs = of_lanes()
    target = find_target("cortex-a76")
    module = lower(optimize(graph, pipelines.INFERENCE, target), target, 1)
    verify_module(module)
    text = assembly(emit_module(module, target), target)
    assert {place in text for place in (".4b[1]", ".4b[2]", ".4b[3]")} == {True}
    for got, expected in zip(run_module(module, inputs, {}), evaluate(graph, inputs), strict=True):
        np.testing.assert_array_equal(got, expected)


def test_code_that_takes_bytes_from_lanes_is_exact(tmp_path: Path) -> None:
    if reason := missing("cortex-a76"):
        pytest.skip(reason)
    graph, inputs = of_lanes()
    library = build_library(graph, tmp_path / "out", target="cortex-a76", prefix="net")
    for got, expected in zip(run_library("cortex-a76", library, inputs), evaluate(graph, inputs), strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("cpu", ["aarch64-linux", "cortex-a53", "cortex-a76", "armv7"])
def test_hot_loops_keep_sums_in_registers(cpu: str) -> None:
    graph, _ = graph_of(DType.I8, (10, 10, 64, 64, 3, 1), 0)
    target = find_target(cpu)
    text = assembly(emit_module(lower(optimize(graph, pipelines.INFERENCE, target), target, 1), target), target)
    products = re.compile(r"^\tv?(?:smull|mull|sdot)", re.MULTILINE)
    blocks = [block for block in re.split(r"^\.LBB.*$", text, flags=re.MULTILINE) if len(products.findall(block)) > 7]
    assert blocks
    assert not [line for block in blocks for line in block.splitlines() if re.search(r"\bsp\b", line)]


@pytest.mark.parametrize("cpu", ["x86-64", "x86-64-v3", "cascadelake", "sapphirerapids", "cortex-a72", "neoverse-v1"])
def test_dense_layers_of_many_dimensions_with_margins(cpu: str) -> None:
    """Beyond four dimensions no tiles walk between margins: the sums come from other loops, not from none."""
    rng = np.random.default_rng(6)
    graph = parse_graph(
        """
        graph @net(%x: i8[1,2,2,2,8]<0.02:3>) -> (f32[1,2,2,2,3]) {
          %dense = param : i8[8,8]
          %0 = q_dense(%x, %dense) {x = <0.02:3>, weight = <0.0037>, y = <0.035:-6>} : i8[1,2,2,2,8]<0.035:-6>
          %1 = dequantize(%0) {x = <0.035:-6>} : f32[1,2,2,2,8]
          %conv = param : f32[2,2,2,8,3]
          %2 = conv3d(%1, %conv) {strides = [1,1,1], padding = "same", dilations = [1,1,1]} : f32[1,2,2,2,3]
          return %2
        }
        """
    )
    params = {
        "dense": rng.integers(-127, 128, (8, 8)).astype(np.int8),
        "conv": rng.standard_normal((2, 2, 2, 8, 3), np.float32),
    }
    x = rng.integers(-128, 128, (1, 2, 2, 2, 8)).astype(np.int8)
    (expected,) = evaluate(graph, [x], params)
    target = find_target(cpu)
    module = lower(optimize(graph, pipelines.INFERENCE, target), target)
    (found,) = run_module(module, [x], params)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("cpu", "shape", "asks"),
    [
        ("znver5", (7, 7, 512, 160, 1, 1), True),
        ("znver5", (7, 7, 128, 160, 3, 1), True),
        ("znver5", (7, 7, 128, 160, 1, 1), False),  # few weights
        ("znver5", (28, 28, 512, 160, 1, 1), False),  # that many pixels share
        ("znver5", (1, 1, 4096, 160, 0, 1), False),
        ("znver4", (7, 7, 512, 160, 1, 1), False),
        ("sapphirerapids", (7, 7, 512, 160, 1, 1), False),
    ],
    ids=str,
)
def test_cores_that_outrun_caches_ask_for_weights(cpu: str, shape: tuple[int, ...], asks: bool) -> None:
    target = find_target(cpu)
    assert target is not None
    graph, _ = graph_of(DType.I8, shape, 0)
    module = lower(optimize(graph, pipelines.INFERENCE, target.without_tiles()), target.without_tiles(), threads=1)
    verify_module(module)
    assert ("prefetch %w" in str(module)) == asks


def test_tiles_have_so_many_pixels_that_weights_come_beside_their_products() -> None:
    """Three vectors of weights serve seven pixels, where tiles of four vectors would have four or three."""
    target = find_target("znver5")
    assert target is not None
    graph, _ = graph_of(DType.I8, (7, 7, 512, 512, 3, 1), 0)
    (kernel,) = (k for k in lower(optimize(graph, pipelines.INFERENCE, target), target, 1).kernels if "conv" in k.name)
    assert next(b.shape for b in kernel.params if b.name == "w") == (11, 9 * 128, 3 * 64)

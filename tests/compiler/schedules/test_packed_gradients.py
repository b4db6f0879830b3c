"""Operands that training steps copy into panels: of gradients of weights, and weights that the step changes."""

from __future__ import annotations

import math
import operator
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import netc
from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.backends.cpu.schedules.contraction import AHEAD_BYTES
from netc.compiler.errors import InternalError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.loops.ir import Prefetch, statements
from netc.compiler.loops.parser import parse_kernel
from netc.compiler.loops.printer import print_kernel
from netc.compiler.modules.module import Module
from netc.compiler.modules.verifier import verify_kernel, verify_module
from netc.compiler.passes import pipelines
from netc.compiler.types import DType, TensorType
from netc.runtime.program import Program

Shape = tuple[int, ...]
SHAPES = [
    pytest.param((3, 7, 7, 20), 24, 1, 1, id="whole images"),
    pytest.param((2, 9, 11, 17), 40, 3, 1, id="taps, narrow last panels"),
    pytest.param((2, 14, 14, 64), 48, 3, 2, id="strided taps"),
    pytest.param((5, 8, 8, 40), 70, 1, 2, id="strided pixels"),
    pytest.param((2, 40, 40, 24), 32, 5, 1, id="rows of images"),
    pytest.param((1, 30, 30, 300), 16, 1, 1, id="several blocks of channels"),
]


def drawn(*shapes: Shape) -> list[NDArray[np.float32]]:
    random = np.random.default_rng(0)
    return [random.standard_normal(shape).astype(np.float32) for shape in shapes]


def window(kernel: int, stride: int) -> dict[str, Any]:
    half = kernel // 2
    return {"strides": (stride, stride), "padding": ((half, half), (half, half)), "dilations": (1, 1)}


def gradient(x: Shape, filters: int, kernel: int, stride: int, dtype: DType = DType.F32) -> tuple[Graph, Shape]:
    """Of a weight, and the shape of dy."""
    b = GraphBuilder("g")
    rows, columns = ((n - 1) // stride + 1 for n in x[1:3])
    dy = (x[0], rows, columns, filters)
    operands = [b.input(name, TensorType(dtype, shape)) for name, shape in (("x", x), ("dy", dy))]
    result = b.emit("conv2d_weight_gradient", *operands, kernel=(kernel, kernel), **window(kernel, stride))
    return b.finish([result]), dy


def panels(program: Program) -> set[str]:
    assert isinstance(program.module, Module)
    return {param.name for kernel in program.module.kernels for param in kernel.params} & {"xs", "dys", "panels"}


@pytest.mark.parametrize(("x", "filters", "kernel", "stride"), SHAPES)
def test_gradients_of_any_number_of_threads_are_equal(x: Shape, filters: int, kernel: int, stride: int) -> None:
    graph, dy = gradient(x, filters, kernel, stride)
    operands = drawn(x, dy)
    (exact,) = evaluate(graph, [a.astype(np.float32) for a in operands], {})
    found = []
    for threads in (1, 2, 3):
        with netc.compile(graph, threads=threads) as program:
            assert panels(program) == {"xs", "dys"}
            found.append(program(*operands))
    assert np.abs(found[0] - exact).max() < 1e-5 * math.sqrt(math.prod(dy[:-1]))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])


@pytest.mark.parametrize(("x", "filters", "kernel", "stride"), SHAPES[2:])
def test_larger_blocks_where_the_result_lies_beyond_the_cache(x: Shape, filters: int, kernel: int, stride: int) -> None:
    graph, dy = gradient(x, filters, kernel, stride)
    operands = drawn(x, dy)
    (exact,) = evaluate(graph, operands, {})
    host = host_target()  # panels of vectors with fewer lanes are narrower
    slow = replace(host, l2_bytes=2048, l1_bytes=1024 * host.vector_lanes, streams_slowly=True)
    shapes = []
    for target in (slow, replace(slow, streams_slowly=False)):
        module = lower(optimize(graph, pipelines.TRAINING, target), target, 2)
        shapes.append({p.name: p.bytes for k in module.kernels for p in k.params})
        with Program(module, object_code(emit_module(module, target), target), target, 2) as program:
            assert np.abs(program(*operands) - exact).max() < 1e-5 * math.sqrt(math.prod(dy[:-1]))
    assert shapes[0]["dys"] > shapes[1]["dys"]


def test_gradients_in_double_precision() -> None:
    graph, dy = gradient((2, 14, 14, 20), 24, 3, 2, DType.F64)
    operands = [a.astype(np.float64) for a in drawn((2, 14, 14, 20), dy)]
    (exact,) = evaluate(graph, operands, {})
    with netc.compile(graph, threads=2) as program:
        assert panels(program) == {"xs", "dys"}
        assert np.abs(program(*operands) - exact).max() < 1e-12


def test_a_gradient_of_one_known_element() -> None:
    b = GraphBuilder("g")
    x = b.input("x", TensorType(DType.F32, (1, 1, 1)))
    dy = b.emit("constant", value=np.full((1, 1, 1), 3, np.float32))
    dw = b.emit("conv1d_weight_gradient", x, dy, kernel=(3,), strides=(1,), padding="same", dilations=(1,))
    with netc.compile(b.finish([dw]), threads=1) as program:
        assert program(np.full((1, 1, 1), 2, np.float32)).ravel().tolist() == [0, 6, 0]


def convolution(filters: int, stride: int) -> Graph:
    """With a weight that isn't known before, and a sum with a tensor like the result."""
    b = GraphBuilder("g")
    shapes = {"x": (1, 24, 24, 12), "w": (3, 3, 12, filters)}
    x, w = (b.input(name, TensorType(DType.F32, shape)) for name, shape in shapes.items())
    y = b.emit("conv2d", x, w, **window(3, stride))
    return b.finish([b.emit("add", y, b.input("z", y.type))])


@pytest.mark.parametrize(
    ("filters", "stride", "is_copied"),
    [
        pytest.param(128, 2, True, id="whole panels"),
        pytest.param(60, 2, True, id="narrow last panel"),
        pytest.param(16, 2, False, id="one panel"),
    ],
)
def test_weights_are_copied_where_there_are_several_panels(filters: int, stride: int, is_copied: bool) -> None:
    graph = convolution(filters, stride)
    operands = drawn(*(value.type.shape for value in graph.inputs))
    (exact,) = evaluate(graph, operands, {})
    for threads in (1, 2):
        with netc.compile(graph, threads=threads) as program:
            assert ("panels" in panels(program)) == is_copied
            assert np.abs(program(*operands) - exact).max() < 1e-4


def test_tiles_ask_early_for_what_their_end_needs() -> None:
    """The result and what is added to it, each a line or more of each pixel; the text has all of it."""
    target = replace(host_target(), vector_lanes=8, vector_registers=16)
    module = lower(optimize(convolution(48, 2), pipelines.TRAINING, target), target, 1)
    verify_module(module)
    kernel = next(k for k in module.kernels if any(isinstance(s, Prefetch) for s in statements(k.body)))
    asked = {(s.buffer.name, s.writes) for s in statements(kernel.body) if isinstance(s, Prefetch)}
    assert asked == {("e0", False), ("y", True)}
    assert parse_kernel(print_kernel(kernel)) == kernel


def test_what_is_asked_for_lies_inside() -> None:
    text = "kernel @k(%x: f32[4], %y: out f32[4]) {{ prefetch %x[{}] prefetch out %y[0] %y[0] = load f32 %x[1] }}"
    facts_of = verify_kernel(parse_kernel(text.format(3)))
    assert not [a for a in facts_of.accesses["x"] if a.writes]
    with pytest.raises(InternalError):
        verify_kernel(parse_kernel(text.format(4)))


def one_by_one(
    side: int, channels: int, filters: int, strides: tuple[int, int] = (1, 1), padding: str = "same"
) -> Graph:
    """A 1x1 convolution of a square by weights that are known when they are loaded."""
    b = GraphBuilder("g")
    x = b.input("x", TensorType(DType.F32, (1, side, side, channels)))
    w = b.emit("param", shape=(1, 1, channels, filters), dtype="f32", name="w")
    return b.finish([b.emit("conv2d", x, w, strides=strides, padding=padding, dilations=(1, 1))])


@pytest.mark.parametrize(
    ("side", "filters", "l2_bytes", "ahead"),
    [(6, 640, 1 << 21, 24 * 32), (6, 640, 3 << 10, 1024), (3, 640, 1 << 21, 1024)],
    ids=["a panel for all bands", "two panels don't fit", "one band"],
)
def test_weights_are_asked_for_ahead_where_memory_is_slow(side: int, filters: int, l2_bytes: int, ahead: int) -> None:
    """Whatever lies behind them: nothing is read beyond the buffer, and the text has it."""
    graph = one_by_one(side, 24, filters)
    for slow in (True, False):
        target = replace(find_target("skylake-avx512"), streams_slowly=slow, l2_bytes=l2_bytes)
        module = lower(optimize(graph, pipelines.INFERENCE, target), target, 1)
        verify_module(module)
        asked = {
            (s.buffer.name, s.ahead) for k in module.kernels for s in statements(k.body) if isinstance(s, Prefetch)
        }
        assert asked == ({("w", ahead)} if slow else set())
        assert all(parse_kernel(print_kernel(kernel)) == kernel for kernel in module.kernels)


@pytest.mark.parametrize("cpu", ["haswell", "znver5"])
@pytest.mark.parametrize(
    ("side", "filters", "asks"),
    [(7, 160, True), (14, 160, True), (23, 160, False), (2, 160, False), (7, 48, False)],
    ids=str,
)
def test_other_cores_ask_for_large_weights_of_few_pixels(side: int, filters: int, asks: bool, cpu: str) -> None:
    graph = one_by_one(side, 120, filters)
    target = find_target(cpu)
    text = str(lower(optimize(graph, pipelines.INFERENCE, target), target, 1))
    assert ("prefetch %w" in text) == asks


@pytest.mark.parametrize(("cpu", "width"), [("znver4", 64), ("znver5", 32)])
def test_cores_that_outrun_weights_ask_for_all_of_the_next_panel(cpu: str, width: int) -> None:
    """Their register tiles are so narrow that it has room in the L2 cache beside the present one."""
    graph = one_by_one(7, 2048, 512)
    target = replace(find_target(cpu), saves_products=False)
    (kernel,) = (
        k for k in lower(optimize(graph, pipelines.INFERENCE, target), target, 1).kernels if "conv2d" in k.name
    )
    panels, depth, filters = next(b.shape for b in kernel.params if b.name == "w")
    assert (panels, depth, filters) == (-(-512 // width), 2048, width)
    ahead = {s.ahead for s in statements(kernel.body) if isinstance(s, Prefetch)}
    assert ahead == {depth * filters if cpu == "znver5" else AHEAD_BYTES // 4}


def test_bands_ask_for_all_of_the_next_panel() -> None:
    graph = one_by_one(6, 24, 64)
    target = find_target("skylake-avx512")
    text = str(lower(optimize(graph, pipelines.INFERENCE, target), target, 1))
    (bands,) = {int(n) for n in re.findall(r"for %g = 0 to (\d+)", text)}
    (step,) = set(re.findall(r"prefetch %w\[%j, (.*?), \d+\] ahead", text))
    names = {"floordiv": operator.floordiv}
    asked = {eval(step.replace("%", ""), {**names, "g": g, "k": k}) for g in range(bands) for k in range(24)}
    assert bands > 1
    assert asked == set(range(24))


def test_tiles_of_a_row_share_out_what_they_ask_for() -> None:
    """Each of them asks for another part, where rows of pixels have several."""
    graph = one_by_one(28, 96, 1024, strides=(2, 2), padding="valid")
    target = find_target("znver5")
    text = str(lower(optimize(graph, pipelines.INFERENCE, target), target, 1))
    places = set(re.findall(r"prefetch %w\[%j, (.*?), \d+\] ahead", text))
    assert places
    assert all("%g" in place and "%i" in place for place in places)


@pytest.mark.parametrize(("kernel", "parts"), [(1, [1]), (3, [1, 2, 2, 4])])
def test_multiplications_are_counted_where_they_are_done(kernel: int, parts: list[int]) -> None:
    b = GraphBuilder("g")
    window_of = {**window(kernel, 2), "size": (12, 12)}
    dy, w = (b.input(n, TensorType(DType.F32, s)) for n, s in (("dy", (2, 6, 6, 24)), ("w", (kernel, kernel, 24, 32))))
    graph = optimize(b.finish([b.emit("transpose_conv2d", dy, w, **window_of)]), pipelines.TRAINING, host_target())
    counts = [call.macs for call in lower(graph, host_target(), 1).calls if call.macs]
    assert sorted(counts) == [2 * 36 * 24 * 32 * part for part in parts]

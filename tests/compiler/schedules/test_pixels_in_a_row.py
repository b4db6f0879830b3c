"""Products of pixels, all of them in one row, with 16 vector registers: results between margins, weights asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netc.compiler.backends import lower, optimize
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.ir import Graph
from netc.compiler.loops.ir import Kernel, Prefetch, statements
from netc.compiler.loops.printer import print_kernel
from netc.compiler.modules.module import Module
from netc.compiler.passes import pipelines
from netc.compiler.targets.target import Target
from netc.compiler.types import DType, TensorType

from .by_threads import check_by_threads


@pytest.fixture(name="target")
def few_registers() -> Target:
    target = replace(host_target(), streams_slowly=False, vector_registers=16)
    if not target.streams_quickly or target.vector_lanes > 8:
        pytest.skip("these processors have not been measured")
    return target


def pixelwise(height: int, width: int, channels: int, filters: int) -> Graph:
    """A convolution of one pixel with bias, a residual sum and relu, whose result a window of 3 x 3 reads."""
    b = GraphBuilder("net")
    x = b.emit("tanh", b.input("x", TensorType(DType.F32, (1, height, width, channels))))
    r = b.input("r", TensorType(DType.F32, (1, height, width, filters)))
    shapes = {"w": (1, 1, channels, filters), "b": (filters,), "d": (3, 3, 1, filters)}
    w, bias, d = (b.emit("param", shape=shape, dtype="f32", name=name) for name, shape in shapes.items())
    y = b.emit("conv2d", x, w, bias, strides=(1, 1), padding="same", dilations=(1, 1))
    y = b.emit("relu", b.emit("add", y, r))
    return b.finish([b.emit("conv2d", y, d, strides=(1, 1), padding="same", dilations=(1, 1), groups=filters)])


def first_convolution(module: Module) -> Kernel:
    name = next(call.kernel for call in module.calls if "conv2d" in call.label)
    return next(k for k in module.kernels if k.name == name)


@pytest.mark.parametrize("size", [(7, 7, 96, 40), (14, 14, 64, 37), (5, 9, 72, 8), (1, 6, 64, 16)], ids=str)
def test_tiles_go_on_between_margins(target: Target, size: tuple[int, int, int, int]) -> None:

    def look(module: Module, threads: int) -> None:
        assert first_convolution(module).params[0].shape[:2] == (1, 1), "expected all pixels in a row"

    check_by_threads(pixelwise(*size), target, look)


@pytest.mark.parametrize("size", [(48, 48, 64, 16), (7, 7, 32, 16)], ids=["long rows", "short sums"])
def test_places_between_margins_are_not_always_worth_it(target: Target, size: tuple[int, int, int, int]) -> None:
    module = lower(optimize(pixelwise(*size), pipelines.INFERENCE, target), target, 1)
    assert "floordiv(%g * " not in print_kernel(first_convolution(module))


def dense(rows: int, channels: int, filters: int) -> Graph:
    b = GraphBuilder("net")
    x, w = b.input("x", TensorType(DType.F32, (1, rows, channels))), (channels, filters)
    return b.finish([b.emit("dense", x, b.emit("param", shape=w, dtype="f32", name="w"))])


@pytest.mark.parametrize(("rows", "asks"), [(196, True), (784, False)])
def test_bands_ask_for_the_weights_of_the_next_channel_tile(target: Target, rows: int, asks: bool) -> None:
    """For each line once, where so few rows share the weights that a core would wait for them."""
    module = lower(optimize(dense(rows, 768, 768), pipelines.INFERENCE, target), target, 1)
    (kernel,) = module.kernels
    weights = next(p for p in kernel.params if p.name == "w")
    asked = [s for s in statements(kernel.body) if isinstance(s, Prefetch)]
    assert bool(asked) == asks
    assert all(s.buffer == weights and s.ahead == 768 * weights.shape[-1] for s in asked)
    assert weights.shape[-1] == 16, "expected tiles of two vectors, whose weights come from the L2 cache in time"
    assert len(asked) in (0, 2), "expected one for each step of whole tiles, and of the last one"

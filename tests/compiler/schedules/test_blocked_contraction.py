"""Dense layers where a core outruns its caches: long sums block by block, pixels in one row, ends asked for early."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.backends.cpu.schedules.contraction import SWEPT_SHARE
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.ir import Graph
from netc.compiler.loops.ir import Allocate, Const, For, Kernel, Prefetch, Space, statements
from netc.compiler.modules.module import Module
from netc.compiler.modules.verifier import verify_module
from netc.compiler.passes import pipelines
from netc.compiler.targets.target import Target
from netc.compiler.types import DType, TensorType

from .by_threads import check_by_threads

ZEN5 = find_target("znver5")


def dense(*shape: int, filters: int, act: str = "relu") -> Graph:
    """A dense layer with bias, a residual sum and an activation."""
    b = GraphBuilder("net")
    x, r = (b.input(name, TensorType(DType.F32, (*shape[:-1], c))) for name, c in (("x", shape[-1]), ("r", filters)))
    w, bias = (
        b.emit("param", shape=s, dtype="f32", name=n) for n, s in (("w", (shape[-1], filters)), ("b", (filters,)))
    )
    return b.finish([b.emit(act, b.emit("add", b.emit("dense", x, w, bias), r))])


def lowered(graph: Graph, target: Target = ZEN5, threads: int = 1) -> Module:
    module = lower(optimize(graph, pipelines.INFERENCE, target), target, threads)
    verify_module(module)
    return module


def totals_of(kernel: Kernel) -> list[tuple[int, ...]]:
    """Shapes of what waits on the stack, of sums of several tiles."""
    stacks = [s.buffer for s in statements(kernel.body) if isinstance(s, Allocate) and s.buffer.space is Space.STACK]
    return [b.shape for b in stacks if b.shape[1] > ZEN5.vector_lanes]


@pytest.mark.parametrize(
    ("shape", "filters", "act"),
    [
        ((1, 50, 3072), 96, "gelu"),
        ((1, 197, 2048), 250, "relu"),
        ((1, 7, 7, 3072), 64, "relu"),
        ((1, 300, 2304), 330, "relu"),
        ((3, 350, 3072), 96, "relu"),
    ],
    ids=str,
)
def test_long_sums_go_block_by_block(shape: tuple[int, ...], filters: int, act: str) -> None:
    """With several sweeps, a narrower last tile and long ends; by any number of threads: the same bits."""
    target = replace(host_target(), streams_slowly=False, float_units=2)
    if not target.outruns_caches or target.l2_bytes != ZEN5.l2_bytes:
        pytest.skip("these processors have not been measured")

    def look(module: Module, threads: int) -> None:
        assert threads > 1 or any(totals_of(kernel) for kernel in module.kernels)

    check_by_threads(dense(*shape, filters=filters, act=act), target, look)


def test_a_part_asks_for_the_weights_of_the_next_one() -> None:
    (kernel,) = lowered(dense(1, 197, 3072, filters=768)).kernels
    _, steps, width = next(p.shape for p in kernel.params if p.name == "w")
    (rows, columns), *_ = totals_of(kernel)
    assert steps == 3072
    assert columns == width == 64
    asked = {s.ahead for s in statements(kernel.body) if isinstance(s, Prefetch) and s.buffer.name == "w"}
    assert asked == {256 * width}
    assert rows >= 197, "expected the totals of all pixels"


@pytest.mark.parametrize("rows", [600, 1300, 2100])
def test_many_rows_meet_the_weights_in_sweeps(rows: int) -> None:
    """Bands ask for the weights of the next panel together; by any number of threads: the same bits."""
    target = replace(host_target(), streams_slowly=False, float_units=2)
    if not target.outruns_caches or target.l2_bytes != ZEN5.l2_bytes:
        pytest.skip("these processors have not been measured")
    bytes_of_input = rows * 768 * 4
    sweeps = -(-bytes_of_input // (SWEPT_SHARE * target.l2_bytes))

    def look(module: Module, threads: int) -> None:
        if threads > 1:
            return
        (kernel,) = module.kernels
        outer = next(s for s in statements(kernel.body) if isinstance(s, For))
        assert (outer.var == "p" and outer.stop == Const(sweeps)) if sweeps > 1 else outer.var == "j"
        assert any(s.ahead for s in statements(kernel.body) if isinstance(s, Prefetch) and s.buffer.name == "w")

    check_by_threads(dense(1, rows, 768, filters=250), target, look)


@pytest.mark.parametrize(("depth", "cpu"), [(768, "znver5"), (3072, "znver4"), (3072, "haswell"), (2049, "znver5")])
def test_other_sums_stay_whole(depth: int, cpu: str) -> None:
    """Weights that fit the cache, parts of several lengths, and other processors."""
    target = replace(find_target(cpu), saves_products=False)
    assert not any(totals_of(kernel) for kernel in lowered(dense(1, 197, depth, filters=768), target).kernels)


@pytest.mark.parametrize(("cpu", "asks"), [("znver5", True), ("znver4", False)])
def test_dense_layers_ask_for_what_their_ends_read(cpu: str, asks: bool) -> None:
    target = replace(find_target(cpu), saves_products=False)
    (kernel,) = lowered(dense(1, 197, 768, filters=768), target).kernels
    names = {s.buffer.name for s in statements(kernel.body) if isinstance(s, Prefetch)}
    assert names == ({"w", "e0", "y"} if asks else set())


@pytest.mark.parametrize(("cpu", "flat"), [("znver5", True), ("znver4", False)])
def test_pixels_between_margins_are_one_row(cpu: str, flat: bool) -> None:
    b = GraphBuilder("net")
    x = b.emit("tanh", b.input("x", TensorType(DType.F32, (1, 7, 7, 512))))
    w = b.emit("param", shape=(512, 64), dtype="f32", name="w")
    d = b.emit("param", shape=(3, 3, 1, 64), dtype="f32", name="d")
    y = b.emit("dense", x, w)
    y = b.emit("conv2d", y, d, strides=(1, 1), padding="same", dilations=(1, 1), groups=64)
    module = lowered(b.finish([y]), replace(find_target(cpu), saves_products=False))
    kernel = next(k for k in module.kernels if "dense" in k.name)
    assert kernel.params[0].shape[1] == (1 if flat else 7)

"""Contractions whose operands are stored as bfloat16 or in half precision: meaning, loops and compiled code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.errors import NetcError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph, Value, walk
from netc.compiler.loops.ir import Prefetch, statements
from netc.compiler.lowering.packing import pack_weights
from netc.compiler.modules.interpreter import run_module
from netc.compiler.modules.verifier import verify_module
from netc.compiler.numerics import bfloat16_bits, from_bfloat16_bits
from netc.compiler.passes import pipelines
from netc.compiler.targets.target import Target
from netc.compiler.types import DType, TensorType
from netc.runtime.host import runs_here
from netc.runtime.program import Program

Array = NDArray[Any]
SAME = {"strides": (1, 1), "padding": "same", "dilations": (1, 1)}
CPUS = ("znver4", "znver5", "x86-64-v4", "x86-64-v3", "cortex-a76")
"""With products of pairs, and without."""

CONVOLUTIONS: Sequence[tuple[tuple[int, ...], tuple[int, ...], Mapping[str, Any]]] = [
    ((1, 7, 9, 16), (1, 1, 16, 32), {}),
    ((2, 5, 6, 7), (1, 1, 7, 19), {}),
    ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    ((1, 9, 8, 3), (3, 3, 3, 33), {"strides": (2, 2)}),
    ((1, 6, 7, 5), (3, 3, 5, 8), {"dilations": (2, 2)}),
    ((3, 6, 5, 4), (2, 3, 4, 6), {"padding": "valid"}),
    ((1, 11, 10, 1), (5, 5, 1, 4), {"strides": (2, 1)}),
]


class Maker:
    """Graphs with random inputs and parameters."""

    def __init__(self) -> None:
        self.b = GraphBuilder("net")
        self.rng = np.random.default_rng(0)
        self.inputs: dict[str, Array] = {}
        self.params: dict[str, Array] = {}

    def input(self, *shape: int) -> Value:
        name = f"x{len(self.inputs)}"
        self.inputs[name] = self.rng.standard_normal(shape).astype(np.float32)
        return self.b.input(name, TensorType(DType.F32, shape))

    def param(self, *shape: int) -> Value:
        name = f"w{len(self.params)}"
        self.params[name] = self.rng.standard_normal(shape).astype(np.float32) / np.float32(
            np.sqrt(np.prod(shape[:-1]))
        )
        return self.b.emit("param", shape=shape, dtype="f32", name=name)


def target_of(cpu: str) -> Target:
    target = find_target(cpu)
    assert target is not None
    return target


def check(maker: Maker, outputs: Sequence[Value], cpu: str, precision: str, threads: int) -> Graph:
    """Compiled code and loops against the meaning of the optimised graph, and that against f32; gives the graph."""
    graph, target = maker.b.finish(outputs), target_of(cpu)
    optimized = optimize(graph, pipelines.INFERENCE, target, precision=precision)
    expected = evaluate(optimized, maker.inputs, maker.params)
    for narrow, wide in zip(expected, evaluate(graph, maker.inputs, maker.params), strict=True):
        assert np.abs(narrow - wide).max(initial=0) <= 0.02 * np.abs(wide).max(initial=0)
    module = lower(optimized, target, threads)
    verify_module(module)
    results = [run_module(module, list(maker.inputs.values()), maker.params)]
    if runs_here(target):
        code = object_code(emit_module(module, target), target)
        with Program(module, code, target, threads, maker.params) as program:
            found = program(**maker.inputs)
            results.append(list(found) if isinstance(found, tuple) else [found])
    for outcome in results:
        for result, wanted in zip(outcome, expected, strict=True):
            # A sum in another order may fall on the other side of a boundary where it is rounded to bfloat16.
            np.testing.assert_allclose(result, wanted, rtol=0, atol=4e-3 * np.abs(wanted).max(initial=0))
            close = np.abs(result - wanted) <= 2e-5 * np.abs(wanted).max(initial=0)
            assert close.mean() > 0.9
    return optimized


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize("precision", ["bf16", "f16"])
@pytest.mark.parametrize("case", range(len(CONVOLUTIONS)))
def test_convolutions(cpu: str, precision: str, case: int) -> None:
    shape, kernel, attributes = CONVOLUTIONS[case]
    maker = Maker()
    x = maker.b.emit("relu", maker.input(*shape))
    y = maker.b.emit("conv2d", x, maker.param(*kernel), maker.param(kernel[-1]), **{**SAME, **attributes})
    y = maker.b.emit("conv2d", maker.b.emit("relu", y), maker.param(1, 1, kernel[-1], 5), **SAME)
    optimized = check(maker, [y], cpu, precision, threads=1 + case % 3)
    stored = {v.type.dtype for op in optimized.operations for v in op.operands if op.name == "fused"}
    assert (DType.I16 if precision == "bf16" else DType.F16) in stored


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize(("rows", "inner", "columns"), [(1, 1, 1), (1, 65, 70), (4, 33, 18), (3, 128, 256)])
def test_dense(cpu: str, rows: int, inner: int, columns: int) -> None:
    maker = Maker()
    x = maker.b.emit("dense", maker.input(rows, inner), maker.param(inner, columns), maker.param(columns))
    y = maker.b.emit("dense", maker.b.emit("tanh", x), maker.param(columns, 9))
    check(maker, [y], cpu, "bf16", threads=2)


@pytest.mark.parametrize("cpu", ["znver4", "x86-64-v3"])
def test_transposed_convolutions_and_three_dimensions(cpu: str) -> None:
    maker = Maker()
    x = maker.b.emit("relu", maker.input(1, 4, 5, 5))
    cut = ((0, 1), (0, 1))
    y = maker.b.emit("transpose_conv2d", x, maker.param(3, 3, 5, 10), size=(8, 10), strides=(2, 2), padding=cut)
    check(maker, [y], cpu, "bf16", threads=1)
    maker = Maker()
    x = maker.b.emit("relu", maker.input(1, 3, 4, 5, 3))
    y = maker.b.emit("conv3d", x, maker.param(2, 3, 3, 3, 9), strides=(1, 1, 1), padding="same", dilations=(1, 1, 1))
    check(maker, [y], cpu, "bf16", threads=2)


def residual_block(maker: Maker) -> Value:
    """What a bottleneck has: values that several read, a pool, a depthwise convolution, an output on the way."""
    b = maker.b
    x = b.emit("relu", maker.input(1, 6, 6, 32))
    for _ in range(2):
        y = b.emit("relu", b.emit("conv2d", x, maker.param(1, 1, 32, 48), maker.param(48), **SAME))
        y = b.emit("relu", b.emit("conv2d", y, maker.param(3, 3, 1, 48), **SAME, groups=48))
        y = b.emit("conv2d", y, maker.param(1, 1, 48, 32), **SAME)
        x = b.emit("relu", b.emit("add", x, y))
    return x


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("cpu", CPUS)
def test_residual_blocks(cpu: str, threads: int) -> None:
    maker = Maker()
    x = residual_block(maker)
    pooled = maker.b.emit("reduce_mean", x, axes=(1, 2))
    optimized = check(maker, [maker.b.emit("dense", pooled, maker.param(32, 10)), x], cpu, "bf16", threads)
    rounded = [op for op in walk(optimized) if op.name == "to_bfloat16" and op.operands[0].type.rank == 4]
    inputs = [op for op in rounded if op in optimized.operations and op.operands[0].type.shape[-2] == 6]
    assert bool(inputs or len(rounded) > 4) == target_of(cpu).has_bfloat16


def test_what_is_rounded_where() -> None:
    """The text of a layer for machines with products of pairs, and without."""
    maker = Maker()
    x = maker.b.emit("relu", maker.input(1, 8, 8, 16))
    graph = maker.b.finish([maker.b.emit("conv2d", x, maker.param(1, 1, 16, 16), **SAME)])
    pairs = str(optimize(graph, pipelines.INFERENCE, target_of("znver4"), precision="bf16"))
    assert "%0 = fused(%x = %x0) {" in pairs
    assert "to_bfloat16(%w0) : i16[1,1,16,16]" in pairs
    assert "i16[1,8,8,16]" in pairs
    alone = str(optimize(graph, pipelines.INFERENCE, target_of("cortex-a76"), precision="bf16"))
    assert "to_bfloat16(%w0) : i16[1,1,16,16]" in alone
    assert "i16[1,8,8,16]" not in alone
    half = str(optimize(graph, pipelines.INFERENCE, target_of("cortex-a76"), precision="f16"))
    assert "half_weight(%w0) : f16[1,1,16,16]" in half


@pytest.mark.parametrize(
    ("cpu", "loaded", "pixels"), [("cortex-a76", "i16x4", "spread"), ("x86-64-v3", "i16x8", "broadcast")]
)
def test_loops_without_products_of_pairs(cpu: str, loaded: str, pixels: str) -> None:
    maker = Maker()
    graph = maker.b.finish([maker.b.emit("dense", maker.input(8, 16), maker.param(16, 16))])
    text = str(lower(optimize(graph, pipelines.INFERENCE, target_of(cpu), precision="bf16"), target_of(cpu)))
    assert f"= from_bfloat16(load {loaded} %w[" in text
    assert f"= fma({pixels}<" in text


def test_weights_take_half_the_memory() -> None:
    maker = Maker()
    graph = maker.b.finish([maker.b.emit("dense", maker.input(1, 256), maker.param(256, 512))])
    sizes = {}
    for cpu in CPUS:
        for precision in ("f32", "bf16", "f16"):
            module = lower(optimize(graph, pipelines.INFERENCE, target_of(cpu), precision=precision), target_of(cpu))
            sizes[cpu, precision] = module.weights_bytes
        assert sizes[cpu, "bf16"] == sizes[cpu, "f16"] == sizes[cpu, "f32"] // 2


def test_weights_beyond_half_precision_are_refused() -> None:
    maker = Maker()
    graph = maker.b.finish([maker.b.emit("dense", maker.input(1, 4), maker.param(4, 4))])
    maker.params["w0"][1, 2] = 70000
    target = target_of("x86-64-v3")
    module = lower(optimize(graph, pipelines.INFERENCE, target, precision="f16"), target)
    with pytest.raises(NetcError, match="a weight of 70000 is beyond half precision"):
        pack_weights(module, maker.params)


@pytest.mark.parametrize("cpu", ["znver4", "x86-64-v3"])
def test_infinities_stay_where_they_are(cpu: str) -> None:
    """An odd run's last element is paired with zero, not with its neighbour."""
    maker = Maker()
    x = maker.b.emit("relu", maker.input(1, 1, 8, 3))
    graph = maker.b.finish([maker.b.emit("conv2d", x, maker.param(1, 1, 3, 16), **SAME)])
    maker.inputs["x0"][0, 0, 4] = np.inf
    target = target_of(cpu)
    if not runs_here(target):
        pytest.skip(f"this machine doesn't run code for {cpu}")
    module = lower(optimize(graph, pipelines.INFERENCE, target, precision="bf16"), target)
    with Program(module, object_code(emit_module(module, target), target), target, 1, maker.params) as program:
        y = program(**maker.inputs)
    assert np.isfinite(np.delete(y, 4, axis=2)).all()
    assert not np.isfinite(y[0, 0, 4]).any()


def test_rounding() -> None:
    numbers = np.array([1 + 2**-8, 1 + 3 * 2**-8, -(1 + 2**-8), 3.4e38, np.inf, -np.inf, 1e-39, -1e-39], np.float32)
    expected = np.array([1, 1 + 2**-6, -1, np.inf, np.inf, -np.inf, 0.0, -0.0], np.float32)
    found = from_bfloat16_bits(bfloat16_bits(numbers))
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))
    assert np.isnan(from_bfloat16_bits(bfloat16_bits(np.array([np.nan, -np.nan], np.float32)))).all()


def conv(maker: Maker, x: Value, filters: int) -> Value:
    return maker.b.emit("conv2d", x, maker.param(1, 1, x.type.shape[-1], filters), **SAME)


def stored(maker: Maker, outputs: Sequence[Value]) -> list[tuple[str, ...]]:
    """What machines with products of pairs store as bits, but for inputs and weights: the operators that make it."""
    optimized = check(maker, outputs, "znver4", "bf16", threads=2)
    made = [op for op in optimized.operations if op.result.type.dtype is DType.I16 and op.result.type.rank == 4]
    inside = ([m.name for m in op.body.operations] if op.body is not None else [op.name] for op in made)
    bits = ("from_bfloat16", "to_bfloat16", "relayout")
    return [tuple(name for name in names if name not in bits) for names in inside if names != ["to_bfloat16"]]


POOL = {"size": (3, 3), "strides": (2, 2), "padding": ((1, 1), (1, 1))}


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("max_pool", POOL),
        ("reduce_max", {"axes": (1,), "keepdims": True}),
        ("resize_nearest", {"size": (9, 10)}),
        ("transpose", {"permutation": (0, 2, 1, 3)}),
        ("reshape", {"shape": (1, 5, 7, 8)}),
        ("pad", {"padding": ((0, 0), (1, 2), (0, 1), (0, 3))}),
        ("slice", {"begin": (0, 1, 0, 3), "size": (1, 6, 4, 5)}),
        ("strided_slice", {"begin": (0, 6, 0, 0), "size": (1, 3, 5, 8), "strides": (1, -2, 1, 1)}),
        ("mirror_pad", {"padding": ((0, 0), (1, 1), (2, 0), (0, 0))}),
    ],
)
def test_what_elements_are_picked_or_moved_from_is_stored_so(operator: str, attributes: dict[str, Any]) -> None:
    """It changes no number: what comes out is rounded to the same bits."""
    maker = Maker()
    moved = maker.b.emit(operator, maker.input(1, 7, 5, 8), **attributes)
    graph = maker.b.finish([moved])
    rounded = {name: from_bfloat16_bits(bfloat16_bits(x)) for name, x in maker.inputs.items()}
    (after,), (before_it,) = evaluate(graph, maker.inputs, {}), evaluate(graph, rounded, {})
    np.testing.assert_array_equal(from_bfloat16_bits(bfloat16_bits(after)), before_it)
    maker = Maker()
    before = maker.b.emit("relu", conv(maker, maker.input(1, 7, 5, 8), 8))
    y = conv(maker, maker.b.emit(operator, before, **attributes), 6)
    found = stored(maker, [y])
    assert found == [("conv2d", "relu"), (operator,)]


def test_padding_of_other_numbers_is_no_matter_of_bits() -> None:
    maker = Maker()
    padded = maker.b.emit(
        "pad", conv(maker, maker.input(1, 7, 5, 8), 8), padding=((0, 0), (1, 1), (1, 1), (0, 0)), value=1.5
    )
    assert ("pad",) not in stored(maker, [conv(maker, padded, 6)])


def test_joined_values_are_stored_so_if_all_are() -> None:
    for is_output in (False, True):
        maker = Maker()
        x = maker.b.emit("relu", maker.input(1, 6, 6, 8))
        a, b = (
            conv(maker, x, 8),
            maker.b.emit("max_pool", conv(maker, x, 12), size=(1, 1), strides=(1, 1), padding="same"),
        )
        y = conv(maker, maker.b.emit("concat", a, b, axis=-1), 5)
        found = stored(maker, [y, a] if is_output else [y])
        assert (("concat",) in found) != is_output
        assert (("conv2d",) in found) != is_output


def test_branches_are_stored_so_where_their_sum_is() -> None:
    for is_read_later in (False, True):
        maker = Maker()
        one, other = (maker.b.emit("relu", maker.input(1, 6, 6, 16)) for _ in range(2))
        y = maker.b.emit("relu", maker.b.emit("add", conv(maker, one, 32), conv(maker, other, 32)))
        outputs = [conv(maker, y, 8)] if is_read_later else [maker.b.emit("tanh", y)]
        found = stored(maker, outputs)
        assert (("conv2d",) in found) == (("conv2d", "add", "relu") in found) == is_read_later


@pytest.mark.parametrize("strides", [(1, 1), (2, 2)])
def test_register_tiles_ask_for_the_next_weights_together(strides: tuple[int, int]) -> None:
    """Where a core multiplies two vectors of pairs in a cycle: each asks for its part of the next channel tile."""
    maker, side = Maker(), 7 * strides[0]
    x = maker.b.emit("relu", maker.input(1, side, side, 512))
    y = maker.b.emit("conv2d", x, maker.param(1, 1, 512, 288), **{**SAME, "strides": strides})
    optimized = check(maker, [y], "znver5", "bf16", threads=1)
    (kernel,) = (k for k in lower(optimized, target_of("znver5"), 1).kernels if "conv2d" in k.name)
    (weights,) = (p for p in kernel.params if p.name == "w")
    asked = [s for s in statements(kernel.body) if isinstance(s, Prefetch) and s.buffer == weights]
    assert asked
    assert {s.ahead for s in asked} == {weights.shape[1] * weights.shape[2]}

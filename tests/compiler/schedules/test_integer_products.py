"""Products of two activations of bytes: every bit as the interpreter has it, whatever the sizes and the machine."""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest

from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.backends.cpu.codegen import assembly, emit_module, object_code
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.backends.cpu.schedules.tiles import tile_contraction
from netc.compiler.graph import Array, Graph, GraphBuilder, Value, evaluate
from netc.compiler.modules.interpreter import run_module
from netc.compiler.modules.printer import print_module
from netc.compiler.modules.reader import parse_module
from netc.compiler.modules.verifier import verify_module
from netc.compiler.passes import pipelines
from netc.compiler.targets.target import Target
from netc.compiler.types import DType, Quantization, TensorType
from netc.library import build_library
from netc.runtime.host import runs_here
from netc.runtime.program import Program
from tests.emulators.processes import missing, run_library

SHAPES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "whole vectors": ((2, 32, 64), (2, 64, 48)),
    "ragged ends": ((3, 19, 37), (3, 37, 21)),
    "one matrix": ((17, 30), (30, 35)),
    "heads": ((1, 3, 50, 16), (1, 3, 16, 50)),
    "many heads": ((2, 1, 3, 21, 9), (2, 4, 3, 9, 7)),
    "one matrix on the right": ((4, 5, 12), (12, 18)),
    "one matrix on the left": ((9, 22), (3, 2, 22, 33)),
    "one row": ((6, 1, 40), (6, 40, 24)),
    "one column": ((2, 23, 18), (2, 18, 1)),
    "one product": ((2, 11, 1), (2, 1, 13)),
    "ones": ((1, 1, 1), (1, 1, 1)),
    "a long sum": ((1, 5, 530), (1, 530, 18)),
    "many rows": ((1, 110, 20), (1, 20, 33)),
}
CASES = {
    "plain": (False, False, -5, 7),
    "transposed on the right": (False, True, -128, 3),
    "a zero point on the left": (False, True, -128, 0),
    "transposed on the left": (True, False, 0, 0),
}
"""Which sides are transposed, and zero points."""
FEW = ("ragged ends", "one matrix", "one matrix on the left", "one row")


def _turned(shape: tuple[int, ...], turned: bool) -> tuple[int, ...]:
    return (*shape[:-2], shape[-1], shape[-2]) if turned else shape


def _graph(case: str, names: Collection[str]) -> tuple[Graph, list[Array]]:
    """Some shapes, of left sides that an operator makes, so that they may have margins, and of such from outside."""
    *turned, a_zero, b_zero = CASES[case]
    rng, g = np.random.default_rng(len(case)), GraphBuilder("all")
    samples, results = list[Array](), list[Value]()
    a, b = (Quantization.of(0.05, zero) for zero in (a_zero, b_zero))
    for n, (left, right) in enumerate(SHAPES[name] for name in names):
        shapes = _turned(left, turned[0]), _turned(right, turned[1])
        types = (TensorType(DType.I8, shape, None, q) for shape, q in zip(shapes, (a, b), strict=True))
        x, w = (g.input(f"{side}{n}", type_) for side, type_ in zip("ab", types, strict=True))
        samples += [rng.integers(-128, 127, shape, np.int8, endpoint=True) for shape in shapes]
        given = {"transpose_a": turned[0], "transpose_b": turned[1], "b": b}
        given["y"] = Quantization.of(0.05 * 0.05 * 73.0 * math.sqrt(left[-1]), 3)
        other = Quantization.of(0.06, a_zero)
        made = g.emit("requantize", x, dtype="i8", x=a, y=other)
        results += [g.emit("q_matmul", source, w, a=kind, **given) for source, kind in ((x, a), (made, other))]
    return g.finish(results), samples


def _target(cpu: str | None) -> Target:
    """This machine, or that processor, if its code runs here."""
    if cpu == "without tiles":
        return host_target().without_tiles()
    target = find_target(cpu) if cpu else host_target()
    assert target is not None
    if not runs_here(target):
        pytest.skip(f"code for {target} doesn't run on this machine")
    return target


@pytest.mark.parametrize("cpu", [None, "without tiles", "x86-64", "x86-64-v3", "x86-64-v4"])
@pytest.mark.parametrize("case", CASES)
def test_products_are_exact(case: str, cpu: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile_contraction, "GAIN", np.inf)
    target, threads = _target(cpu), list(CASES).index(case) + 1
    graph, operands = _graph(case, SHAPES)
    module = lower(optimize(graph, pipelines.INFERENCE, target), target, threads)
    verify_module(module)
    text = print_module(module)
    assert print_module(parse_module(text)) == text
    assert " matmul" not in text.replace("matmul_sum", "")
    with Program(module, object_code(emit_module(module, target), target), target, threads) as program:
        for got, expected in zip(program(*operands), evaluate(graph, operands), strict=True):
            assert len(np.unique(expected)) > min(20, expected.size // 8)
            np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("cpu", "product"),
    [
        ("sapphirerapids", "tile_dot4"),
        ("znver4", "dot4"),
        ("x86-64-v3", "dot2_words"),
        ("cortex-a76", "dot4"),
        ("wasm32", "dot2_words"),
    ],
)
def test_products_are_the_best_of_the_machine(cpu: str, product: str) -> None:
    b, one = GraphBuilder("heads"), Quantization.of(0.05, 1)
    left, right = (b.input(n, TensorType(DType.I8, (1, 4, 64, 64), None, one)) for n in "ab")
    graph = b.finish([b.emit("q_matmul", left, right, transpose_b=True, a=one, b=one, y=Quantization.of(2.0, 0))])
    target = find_target(cpu)
    assert target is not None
    text = print_module(lower(optimize(graph, pipelines.INFERENCE, target), target, 1))
    kernel = text[text.rindex("kernel @matmul_sum") :]
    assert f" = {product}" in kernel.replace("<16>", "")
    assert ("upper_product" in kernel) == (cpu in ("sapphirerapids", "znver4"))
    assert "transpose" not in text


@pytest.mark.parametrize("zeros", [(0, 0), (1, -3)], ids=str)
@pytest.mark.parametrize("bits", [1, 4, 9])
def test_halves_are_exact(bits: int, zeros: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Factors that are powers of two give many."""
    monkeypatch.setattr(tile_contraction, "GAIN", np.inf)
    target, rng = _target(None), np.random.default_rng(bits)
    g, (a, b) = GraphBuilder("halves"), (Quantization.of(1.0, zero) for zero in zeros)
    shapes, sizes = ((1, 2, 20, 40), (1, 2, 40, 33)), (2, min(60, 1 << bits >> 1))
    x, y = (g.input(n, TensorType(DType.I8, s, None, q)) for n, s, q in zip("xy", shapes, (a, b), strict=True))
    graph = g.finish([g.emit("q_matmul", x, y, a=a, b=b, y=Quantization.of(2.0**bits, -2))])
    operands = [
        rng.integers(-min(n, 60), min(n, 60), s, np.int8, endpoint=True) for s, n in zip(shapes, sizes, strict=True)
    ]
    (expected,) = evaluate(graph, operands)
    assert len(np.unique(expected)) > 3
    module = lower(optimize(graph, pipelines.INFERENCE, target), target, 1)
    with Program(module, object_code(emit_module(module, target), target), target, 1) as program:
        np.testing.assert_array_equal(program(*operands), expected)


def test_lanes_give_the_same_bytes(tmp_path: Path) -> None:
    """Interpreted, and on an emulator where there is one."""
    target = find_target("cortex-a76")
    assert target is not None
    graph, operands = _graph("transposed on the right", FEW)
    module = lower(optimize(graph, pipelines.INFERENCE, target), target, 1)
    verify_module(module)
    text = assembly(emit_module(module, target), target)
    assert {place in text for place in (".4b[1]", ".4b[2]", ".4b[3]")} == {True}
    expected = evaluate(graph, operands)
    for got, wanted in zip(run_module(module, operands, {}), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)
    if reason := missing("cortex-a76"):
        pytest.skip(reason)
    library = build_library(graph, tmp_path / "out", target="cortex-a76", prefix="net")
    for got, wanted in zip(run_library("cortex-a76", library, operands), expected, strict=True):
        np.testing.assert_array_equal(got, wanted)

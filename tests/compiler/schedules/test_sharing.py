"""Kernels that differ in numbers only are one kernel; results stay the same to the bit."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.backends import find_target, lower, optimize
from netc.compiler.graph.ir import Graph, Value
from netc.compiler.loops.ir import Let, Within
from netc.compiler.loops.parser import parse_kernel
from netc.compiler.lowering.memory import Lifetime, align, plan_arena
from netc.compiler.lowering.sharing import shared_kernels
from netc.compiler.modules.module import Module
from netc.compiler.passes import pipelines
from netc.compiler.types import DType, TensorType

LOWER = sys.modules["netc.compiler.lowering.lower"]
NET = """net deep(x: f32[N, 12, 12, 16]) {
  for i in range(4) { x = relu(x + (x |> conv(16, 3) |> relu |> conv(16, 3))) }
  return x
}
"""


def integers(tmp_path: Path) -> Graph:
    file = tmp_path / "deep.net"
    file.write_text(NET)
    samples = np.random.default_rng(0).standard_normal((4, 12, 12, 16), np.float32)
    return netc.quantize(file, calibration=samples)


def lowered(graph: Graph, cpu: str = "host") -> Module:
    target = find_target(cpu)
    assert target is not None
    return lower(optimize(graph, pipelines.INFERENCE, target), target, 2)


def contractions(module: Module) -> int:
    return sum(kernel.name.startswith("conv2d") for kernel in module.kernels)


@pytest.mark.parametrize("cpu", ["host", "x86-64", "cortex-a76"])
def test_layers_of_integers_share_kernels(tmp_path: Path, cpu: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = integers(tmp_path)
    module = lowered(graph, cpu)
    with monkeypatch.context() as patch:
        patch.setattr(LOWER, "shared_kernels", lambda kernels: {})
        apart = lowered(graph, cpu)
    assert contractions(module) < contractions(apart)
    assert len(module.calls) == len(apart.calls)


def test_results_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = integers(tmp_path)
    x = np.random.default_rng(1).integers(-128, 128, (1, 12, 12, 16), np.int8)
    found = netc.compile(graph, threads=2)(x)
    monkeypatch.setattr(LOWER, "shared_kernels", lambda kernels: {})
    assert np.array_equal(found, netc.compile(graph, threads=2)(x))


def kernel(name: str, body: str) -> Any:
    return parse_kernel(f"kernel @{name}(%x: i32[64], %t: i32[64], %y: out i32[64]) {{\n{body}\n}}\n")


LONG = "\n".join(f"  %y[{i}] = add(mul(load i32 %x[{i}], {{a}}: i32), {{b}}: i32)" for i in range(60))


def test_numbers_become_parameters() -> None:
    first, second = (kernel(n, LONG.format(a=a, b=7)) for n, a in (("p", 3), ("q", 5)))
    found = shared_kernels([first, second])
    assert found.keys() == {first, second}
    assert found[first].kernel == found[second].kernel
    assert [found[k].numbers[0].tolist() for k in (first, second)] == [[3], [5]]
    assert not shared_kernels([first])


@pytest.mark.parametrize(
    ("dtype", "numbers", "bound"),
    [
        ("f32", (0.25, -0.5), 1),
        ("f32", (1.0, -4.0), 8),
        ("f32", (-3.4028234663852886e38, 1.0), 1 << 128),
        ("f64", (1.6e308, -1.7e308), None),  # the power of two is no f64
        ("f32", (math.inf, 1.0), None),
        ("f32", (math.nan, 1.0), None),
    ],
)
def test_floats_that_become_parameters_have_bounds(dtype: str, numbers: tuple[float, float], bound: int | None) -> None:
    head = f"(%x: {dtype}[64], %y: out {dtype}[64])"
    lines = "\n".join(f"  %y[{i}] = mul(load {dtype} %x[{i}], {{}}: {dtype})" for i in range(60))
    kernels = [
        parse_kernel(f"kernel @k{i}{head} {{\n{lines.replace('{}', str(a))}\n}}\n") for i, a in enumerate(numbers)
    ]
    found = shared_kernels(kernels)
    assert found.keys() == set(kernels)
    first, *_ = found[kernels[0]].kernel.body
    assert isinstance(first, Let)
    assert (first.value.largest if isinstance(first.value, Within) else None) == bound


def test_places_stay_numbers() -> None:
    """Two kernels that read other elements are two kernels."""
    bodies = ["\n".join(f"  %y[{i}] = load i32 %x[{i + n}]" for i in range(60)) for n in (0, 1)]
    assert not shared_kernels([kernel(n, body) for n, body in zip("pq", bodies, strict=True)])


def test_bounds_of_places_that_depend_on_data_stay_numbers() -> None:
    line = "  %y[{i}] = load i32 %t[cast<i64>(max(min(load i32 %x[{i}], {a}: i32), 0: i32))]"
    bodies = ["\n".join(line.format(i=i, a=a) for i in range(60)) for a in (60, 63)]
    assert not shared_kernels([kernel(n, body) for n, body in zip("pq", bodies, strict=True)])


def simple_plan(lifetimes: list[Lifetime]) -> tuple[list[int], int]:
    """The plan of `plan_arena`, one comparison after the other."""
    placed: list[tuple[int, int, Lifetime]] = []
    for t in sorted(lifetimes, key=lambda t: (-t.bytes, t.first)):
        offset = 0
        for start, end, other in sorted(placed, key=lambda p: p[:2]):
            if other.last < t.first or t.last < other.first:
                continue
            if offset + align(t.bytes) <= start:
                break
            offset = max(offset, end)
        placed.append((offset, offset + align(t.bytes), t))
    where = {t.value: start for start, _, t in placed}
    return [where[t.value] for t in lifetimes], max(end for _, end, _ in placed)


def test_the_arena_is_planned_greedily() -> None:
    draw = np.random.default_rng(0)
    for count in (1, 5, 40, 200):
        kind = TensorType(DType.I8, (1,))
        lifetimes = [
            Lifetime(Value(kind), int(size), int(first), int(first + length))
            for size, first, length in zip(
                draw.integers(1, 900, count), draw.integers(0, 60, count), draw.integers(0, 25, count), strict=True
            )
        ]
        plan = plan_arena(lifetimes)
        assert ([plan.offsets[t.value] for t in lifetimes], plan.size) == simple_plan(lifetimes)

"""Groups that are alike share their kernels: nothing but the time of lowering may change by it."""

from __future__ import annotations

from typing import Any

import pytest

import netc
from netc.compiler.backends import lower, optimize
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.graph.ir import Graph, Operation
from netc.compiler.lowering import reuse
from netc.compiler.lowering.group import Group, group_of
from netc.compiler.modules.printer import print_module
from netc.compiler.passes import pipelines

TARGET = host_target()


def lowered(graph: Graph) -> str:
    return print_module(lower(optimize(graph, pipelines.INFERENCE, TARGET), TARGET, 2))


def scheduled(monkeypatch: pytest.MonkeyPatch, graph: Graph) -> list[Group]:
    """The groups for which schedules are asked."""
    asked: list[Group] = []
    first = reuse.ReusedKernels.__init__

    def spied(self: Any, schedule: Any) -> None:
        first(self, lambda group: (asked.append(group), schedule(group))[1])

    monkeypatch.setattr(reuse.ReusedKernels, "__init__", spied)
    lower(optimize(graph, pipelines.INFERENCE, TARGET), TARGET, 2)
    return asked


@pytest.mark.parametrize("model", ["resnet18", "mobilenet_v2", "cnn_mnist"])
def test_the_module_is_the_one_without_reuse(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = netc.load(model)
    shared = lowered(graph)
    monkeypatch.setattr(reuse.ReusedKernels, "kernels", lambda self, group: self._schedule(group))
    assert lowered(graph) == shared


def test_depth_asks_for_no_more_schedules(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    file = tmp_path / "deep.net"
    file.write_text(
        "net deep(x: f32[N, 32, 32, 16], units = 2) {\n"
        "  for i in range(units) { x = relu(x + (x |> conv(16, 3) |> relu |> conv(16, 3))) }\n  return x\n}\n"
    )
    counts = [len(scheduled(monkeypatch, netc.load(file, settings={"units": units}))) for units in (3, 9)]
    assert counts[0] == counts[1]


TEXT = """graph @g(%x: f32[4,8], %z: f32[4,8]) -> (f32[4,8], f32[4,8]) {{
  %w = param : f32[8,8]
  %0 = {first} : f32[4,8]
  %1 = {second} : f32[4,8]
  return %0, %1
}}
"""


def groups(first: str, second: str) -> tuple[Group, Group]:
    graph = netc.parse_graph(TEXT.format(first=first, second=second))
    static = {v for v in graph.producers if graph.producers[v].name == "param"}
    ops: list[Operation] = [op for op in graph.operations if op.name not in ("param", "constant")]
    a, b = (group_of(op, graph.producers, static) for op in ops[-2:])
    return a, b


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("add(%x, %z)", "add(%z, %x)", True),
        ("add(%x, %x)", "add(%z, %z)", True),
        ("add(%x, %x)", "add(%x, %z)", False),
        ("add(%x, %z)", "sub(%x, %z)", False),
        ("leaky_relu(%x) {alpha = 0.5}", "leaky_relu(%z) {alpha = 0.25}", False),
        ("dense(%x, %w)", "dense(%z, %w)", True),
        ("dense(%x, %w)", "matmul(%x, %w)", False),
    ],
)
def test_keys(first: str, second: str, same: bool) -> None:
    a, b = map(reuse.group_key, groups(first, second))
    assert (a == b) is same

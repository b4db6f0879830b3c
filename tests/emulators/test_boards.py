"""Libraries on microcontrollers: the same bytes as everywhere, on boards that QEMU emulates."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Value
from netc.compiler.library.elf import Elf
from netc.library import build_library
from tests.quantized_nets import PICTURE, Net, integers, quantized

from .boards import BOARDS, MICROBIT, emulate, missing


def network(n: Net, x: Value) -> Value:
    """Every kind of kernel that small networks have: with and without padding, of odd sizes, by pairs and alone."""
    y = n.b.emit("relu6", n.conv(x, 3, 3, 8, 13))
    y = n.b.emit("relu", n.conv(y, 3, 3, 1, 13, groups=13))
    y = n.conv(n.conv(y, 1, 1, 13, 12), 3, 3, 1, 12, groups=12, strides=(2, 2))
    y = n.b.emit("add", y, n.b.emit("relu", n.conv(y, 1, 1, 12, 12, bias=False)))
    y = n.conv(y, 1, 1, 12, 9, strides=(2, 2))
    y = n.b.emit("concat", n.b.emit("max_pool", y, size=(3, 3), strides=(1, 1), padding="same"), y, axis=-1)
    y = n.b.emit("reduce_mean", n.b.emit("sigmoid", y), axes=(1, 2))
    weight, bias = n.constant(18, 10, scale=0.5), n.constant(10)
    return n.b.emit("softmax", n.b.emit("dense", y, weight, bias), axis=-1)


@pytest.mark.parametrize("cpu", BOARDS)
def test_boards_give_the_same_bytes(cpu: str, tmp_path: Path) -> None:
    if reason := missing(cpu):
        pytest.skip(reason)
    net = Net(PICTURE, network)
    graph = quantized(net)
    inputs = [integers(net.samples(), v.type) for v in graph.inputs]
    library = build_library(graph, tmp_path / "net", target=cpu, prefix="net", embed_weights=True, selftest=False)
    emulation = emulate(cpu, tmp_path / "net/net.o", library.build.interface, inputs)
    for found, expected in zip(emulation.outputs, evaluate(graph, inputs, {}), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert emulation.outputs[0].std() > 0
    certified = library.build.stack_bytes
    assert certified is not None
    others = 32 if json.loads((tmp_path / "net/net.certificate.json").read_text())["functions_of_others"] else 0
    assert certified - 32 <= emulation.stack <= certified + others


@pytest.mark.parametrize("cpu", ["cortex-m0plus", "cortex-m4", "cortex-m55"])
def test_boards_overwrite_inputs_in_the_workspace(cpu: str, tmp_path: Path) -> None:
    if reason := missing(cpu):
        pytest.skip(reason)
    net = Net(PICTURE, network)
    graph = quantized(net)
    x = integers(net.samples(), graph.inputs[0].type)
    given = {"target": cpu, "prefix": "net", "selftest": False, "inputs_in_workspace": True}
    library = build_library(graph, tmp_path / "net", **given)
    assert set(Elf.read((tmp_path / "net/net.o").read_bytes()).undefined) <= {"memcpy", "memset"}
    emulation = emulate(cpu, tmp_path / "net/net.o", library.build.interface, [x])
    np.testing.assert_array_equal(emulation.outputs[0], evaluate(graph, [x], {})[0])


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_a_cortex_m0_runs_code_for_the_m0plus(tmp_path: Path) -> None:
    net = Net(PICTURE, network)
    graph = quantized(net)
    x = integers(net.samples(), graph.inputs[0].type)
    library = build_library(graph, tmp_path / "net", target="cortex-m0plus", prefix="net", selftest=False)
    emulation = emulate(MICROBIT, tmp_path / "net/net.o", library.build.interface, [x])
    np.testing.assert_array_equal(emulation.outputs[0], evaluate(graph, [x], {})[0])

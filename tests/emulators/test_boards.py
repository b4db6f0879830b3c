"""Libraries on microcontrollers: the same bytes as everywhere, on boards that QEMU emulates."""

from __future__ import annotations

import numpy as np
import pytest
from quantized_nets import PICTURE, Net, integers, quantized

from netc.compiler.backends import backend_of, find_target
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph, Value
from netc.compiler.library.interface import Interface, code_hash, interface_of, weights_region
from netc.compiler.lowering.packing import pack_weights
from netc.compiler.passes import pipelines

from .boards import BOARDS, emulate, missing


def library(graph: Graph, cpu: str) -> tuple[Interface, bytes]:
    """A library with embedded weights of a graph without parameters."""
    target = find_target(cpu)
    backend = backend_of(target)
    module = backend.lower(backend.optimize(graph, pipelines.INFERENCE, target), target)
    interface = interface_of(module, "net")
    text = backend.emit_library(module, target, interface)
    code = code_hash(text, backend.fingerprint(target))
    region = weights_region(interface, pack_weights(module, {}))
    return interface, backend.object_code(backend.complete_library(text, interface, code, region), target)


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


@pytest.mark.skipif(missing() is not None, reason=str(missing()))
@pytest.mark.parametrize("cpu", BOARDS)
def test_boards_give_the_same_bytes(cpu: str) -> None:
    net = Net(PICTURE, network)
    graph = quantized(net)
    inputs = [integers(net.samples(), v.type) for v in graph.inputs]
    interface, code = library(graph, cpu)
    emulation = emulate(cpu, code, interface, inputs)
    for found, expected in zip(emulation.outputs, evaluate(graph, inputs, {}), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert emulation.outputs[0].std() > 0

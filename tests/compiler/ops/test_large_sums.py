"""Sums of products near the ends of 32 bits: scaled by 1, they lose the bit that the reference's shift loses."""

import numpy as np
import pytest

import netc
from netc.compiler.backends.cpu.codegen import host_target
from netc.compiler.graph import evaluate, parse_graph

NET = """graph @g(%x: i8[1,4,4,1]<1.0>) -> (i8[1,4,4,4]<0.5>) {
  %w = constant {value = dense<1>} : i8[3,3,1,4]<0.5>
  %b = constant {value = dense<[1309918527,2065172054,-517443283,5]>} : i32[4]
  %y = q_conv2d(%x, %w, %b) {strides = [1,1], padding = "same", dilations = [1,1], x = <1.0>, weight = <0.5>,
    y = <0.5>} : i8[1,4,4,4]<0.5>
  return %y
}
"""


CPUS = ["host", "x86-64"] if host_target().triple.startswith("x86_64") else ["host"]


@pytest.mark.parametrize("cpu", CPUS)
def test_a_factor_of_one_wraps_as_the_reference_does(cpu: str) -> None:
    graph = parse_graph(NET)
    x = np.random.default_rng(0).integers(-8, 9, (1, 4, 4, 1)).astype(np.int8)
    (meant,) = evaluate(graph, [x])
    assert meant[0, 0, 0].tolist() == [-128, -128, -128, 2]  # as LiteRT's reference gives
    with netc.compile(graph, threads=1, cpu=cpu) as program:
        np.testing.assert_array_equal(program(x), meant)

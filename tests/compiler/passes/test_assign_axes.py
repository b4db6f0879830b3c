"""Random graphs full of transposes mean the same when their axes are assigned, and move fewer bytes."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from netc.compiler import passes
from netc.compiler.graph import Graph, Value, evaluate, parse_graph
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.ir import Attribute
from netc.compiler.graph.registry import operators
from netc.compiler.ops.facets import PERMUTED
from netc.compiler.passes.axis_cuts import cost
from netc.compiler.passes.axis_orders import Roots, transposes_left
from netc.compiler.passes.later_merges import with_later_merges
from netc.compiler.types import DType, Quantization, TensorType
from tests.random_networks import Seeded, draw_network
from tests.random_networks.maker import Network

COMMUTING = tuple(name for name, operator in operators().items() if PERMUTED.of(operator))
OTHERS = ("reshape", "conv2d", "max_pool", "gather_nd", "random_uniform")
TOLERANCE = {2: 2e-2, 4: 1e-4, 8: 1e-10}
"""Of floats, by the bytes of an element, relative to the largest result: sums are added up in another order."""
EIGHTH = Quantization.of(0.125, 128)


def drawn(seed: int) -> Network:
    """A network of some operators, a transpose before each of them on average."""
    random = np.random.default_rng(seed)
    few = tuple(map(str, random.choice(COMMUTING, 5)))
    names = (*few, "add", "mul", "concat", *("transpose",) * 8, str(random.choice(OTHERS)))
    return draw_network(Seeded(seed), names=names, operations=12)


def transposes(graph: Graph) -> int:
    return sum(op.name == "transpose" for op in graph.operations)


@pytest.mark.parametrize("start", range(0, 400, 40))
def test_results_stay(start: int) -> None:
    moved, before, after = 0, 0, 0
    for seed in range(start, start + 40):
        network = drawn(seed)
        graph = passes.run(network.graph, "assign-axes")
        assert str(parse_graph(str(graph))) == str(graph)
        assert passes.assign_axes(graph) is graph, "nothing is left to do"
        moved += graph is not network.graph
        before, after = before + transposes(network.graph), after + transposes(graph)
        assert cost(Roots(graph), {}) <= cost(Roots(network.graph), {})
        wanted = evaluate(network.graph, network.inputs, network.params)
        for expected, got in zip(wanted, evaluate(graph, network.inputs, network.params), strict=True):
            is_float = np.issubdtype(expected.dtype, np.floating)
            largest = float(np.abs(expected.astype(np.float64)).max(initial=1)) if is_float else 0.0
            atol = TOLERANCE[expected.dtype.itemsize] * largest if is_float else 0
            np.testing.assert_allclose(got, expected, rtol=0, atol=atol, err_msg=repr(network))
    assert moved >= 30
    assert after < before / 3


def test_makers_move_where_readers_stand() -> None:
    """The one transpose that is left is of an input; in the sum of products and positions both sides could move."""
    graph = parse_graph(Path(__file__).with_name("factorized_attention.ir").read_text())
    found = passes.run(graph, "assign-axes")
    (left,) = (op for op in found.operations if op.name == "transpose")
    assert left.operands[0] in found.inputs


def test_layers_along_tokens() -> None:
    """Two dense layers between transposes, beside a residual (MLP-Mixer): both work along the axis of the tokens."""
    graph = parse_graph(
        """graph @mixer(%x: f32[1,49,512]) -> (f32[1,49,512]) {
          %w = param : f32[49,256]
          %v = param : f32[256,49]
          %n = param : f32[256]
          %m = param : f32[49]
          %0 = relu(%x) : f32[1,49,512]
          %1 = normalize(%0) {axes = [2]} : f32[1,49,512]
          %2 = transpose(%1) {permutation = [0,2,1]} : f32[1,512,49]
          %3 = dense(%2, %w) : f32[1,512,256]
          %4 = add(%n, %3) : f32[1,512,256]
          %5 = gelu(%4) : f32[1,512,256]
          %6 = dense(%5, %v) : f32[1,512,49]
          %7 = add(%m, %6) : f32[1,512,49]
          %8 = transpose(%7) {permutation = [0,2,1]} : f32[1,49,512]
          %9 = add(%0, %8) : f32[1,49,512]
          return %9
        }"""
    )
    assert not transposes(passes.run(graph, "assign-axes"))


def test_ends_reach_through_what_is_done_by_element() -> None:
    """A transpose of bytes beside an input or an output isn't one that is left inside."""
    graph = parse_graph(
        """graph @g(%x: f32[1,3,4,5]) -> (f32[1,3,4,5]) {
          %0 = quantize_even(%x) {dtype = "u8", y = <0.1:129>} : u8[1,3,4,5]<0.1:129>
          %1 = transpose(%0) {permutation = [0,2,3,1]} : u8[1,4,5,3]<0.1:129>
          %2 = dequantize(%1) {x = <0.1:129>} : f32[1,4,5,3]
          %3 = softmax(%2) {axis = 3} : f32[1,4,5,3]
          %4 = quantize_even(%3) {dtype = "u8", y = <0.1:129>} : u8[1,4,5,3]<0.1:129>
          %5 = transpose(%4) {permutation = [0,3,1,2]} : u8[1,3,4,5]<0.1:129>
          %6 = dequantize(%5) {x = <0.1:129>} : f32[1,3,4,5]
          return %6
        }"""
    )
    assert transposes_left(graph).inside == 0
    assert transposes_left(graph).outside == 2


def test_overlapping_windows() -> None:
    """Heads that come before windows, merged with them where positions are added (HaloNet): windows alone are left.

    Windows that overlap are gathered by indices of more dimensions than what they are gathered from has.
    """
    graph = parse_graph(Path(__file__).with_name("windows.ir").read_text())
    found = passes.run(graph, "assign-axes")
    left = transposes_left(found)
    assert (left.inside, left.rearranging) == (0, 2)
    _check_meaning(graph, found)


@pytest.mark.parametrize(
    ("line", "result"),
    [
        ("relu(%1) : f32[6,4,5]", "f32[2,3,4,5]"),
        ("add(%1, %c) : f32[6,4,5]", "f32[2,3,4,5]"),
        ("mul(%v, %1) : f32[6,4,5]", "f32[2,3,4,5]"),
        ("add(%1, %1) : f32[6,4,5]", "f32[2,3,4,5]"),
        ("dense(%1, %w) : f32[6,4,7]", "f32[2,3,4,7]"),
        ("take_along_axis(%1, %i) {axis = 2} : f32[6,1,2]", "f32[2,3,1,2]"),
        ("broadcast_to(%1) {shape = [2,6,4,5]} : f32[2,6,4,5]", "f32[2,2,3,4,5]"),
        ("concat(%1, %c) {axis = 1} : f32[6,8,5]", "f32[2,3,8,5]"),
        ("slice(%1) {begin = [0,1,2], size = [6,2,3]} : f32[6,2,3]", "f32[2,3,2,3]"),
        ("pad(%1) {padding = [[0,0],[1,0],[0,2]]} : f32[6,5,7]", "f32[2,3,5,7]"),
        ("softmax(%1) {axis = 1} : f32[6,4,5]", "f32[2,3,4,5]"),
        ("reshape(%1) {shape = [1,6,20]} : f32[1,6,20]", "f32[1,2,3,20]"),
        ("softmax(%1) {axis = 0} : f32[6,4,5]", None),
        ("concat(%1, %c) {axis = 0} : f32[12,4,5]", None),
        ("slice(%1) {begin = [1,0,0], size = [4,4,5]} : f32[4,4,5]", None),
        ("pad(%1) {padding = [[1,0],[0,0],[0,0]]} : f32[7,4,5]", None),
        ("reshape(%1) {shape = [3,8,5]} : f32[3,8,5]", None),
    ],
)
def test_merges_come_later(line: str, result: str | None) -> None:
    """An operation works on the dimensions that a reshape merges, unless it does more than number rows by them."""
    last = line.rpartition(" : ")[2]
    graph = parse_graph(
        f"""graph @merged(%x: f32[3,2,4,5], %c: f32[6,4,5], %v: f32[4,5]) -> ({last}) {{
          %w = param : f32[5,7]
          %i = constant {{value = dense<[[[3,0]],[[1,1]],[[2,0]],[[4,1]],[[0,0]],[[2,3]]]>}} : i32[6,1,2]
          %0 = transpose(%x) {{permutation = [1,0,2,3]}} : f32[2,3,4,5]
          %1 = reshape(%0) {{shape = [6,4,5]}} : f32[6,4,5]
          %2 = {line}
          %3 = relu(%2) : {last}
          return %3
        }}"""
    )
    found = with_later_merges(graph)
    assert [str(op.result.type) for op in found.operations if op.name == "relu"][-1:] == [result or last]
    _check_meaning(graph, found)


@pytest.mark.parametrize("blocks", [1, 2, 3, 8])
def test_alike_blocks_move_together(blocks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quantized attention, whose products each take an operand in another order: depth adds no rounds."""
    module = import_module("netc.compiler.passes.assign_axes")
    rounds = []
    monkeypatch.setattr(module, "_best", lambda roots, best=module._best: (rounds.append(1), best(roots))[1])
    graph = _quantized_attention(blocks)
    found = passes.run(graph, "assign-axes")
    assert transposes_left(found).inside == 0
    assert len(rounds) <= 3
    _check_meaning(graph, found)


def _quantized_attention(blocks: int) -> Graph:
    """Attention of 2 heads, as exporters write it, whose operands are rounded to 8 bits: it stays products."""
    b, tokens, channels = GraphBuilder("attention"), 48, 32
    x = b.input("x", TensorType(DType.F32, (1, tokens, channels)))

    def rounded(value: Value) -> Value:
        return b.emit("dequantize", b.emit("quantize_even", value, dtype="u8", y=EIGHTH), x=EIGHTH)

    def moved(operator: str, value: Value, **attributes: Attribute) -> Value:
        return rounded(b.emit(operator, value, **attributes))

    def scaled(value: Value) -> Value:
        return rounded(b.emit("mul", value, b.constant(np.array([0.5], np.float32))))

    for i in range(blocks):
        weight = b.emit("param", name=f"w{i}", shape=(channels, 3 * channels), dtype="f32")
        rows = moved("reshape", rounded(b.emit("normalize", x, axes=(2,))), shape=(tokens, channels))
        split = moved("reshape", rounded(b.emit("dense", rows, weight)), shape=(1, tokens, 3, 2, 16))
        q, k, v = (moved("slice", split, begin=(0, 0, part, 0, 0), size=(1, tokens, 1, 2, 16)) for part in range(3))
        queries, values = (
            moved("reshape", moved("transpose", part, permutation=(2, 0, 3, 1, 4)), shape=(1, 2, tokens, 16))
            for part in (q, v)
        )
        keys = moved("transpose", moved("reshape", k, shape=(1, tokens, 2, 16)), permutation=(0, 2, 3, 1))
        products = rounded(b.emit("matmul", scaled(queries), scaled(keys)))
        sums = rounded(b.emit("matmul", moved("softmax", products, axis=3), values))
        merged = moved("reshape", moved("transpose", sums, permutation=(0, 2, 1, 3)), shape=(1, tokens, channels))
        x = rounded(b.emit("add", x, merged))
    return b.finish([x])


def _check_meaning(graph: Graph, found: Graph) -> None:
    random = np.random.default_rng(0)
    inputs = [random.standard_normal(v.type.shape).astype(np.float32) for v in graph.inputs]
    params = {
        str(op.result.name): random.standard_normal(op.result.type.shape).astype(np.float32)
        for op in graph.operations
        if op.name == "param"
    }
    for expected, got in zip(evaluate(graph, inputs, params), evaluate(found, inputs, params), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)

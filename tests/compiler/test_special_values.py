"""NaN, infinities, zeros, subnormals, ends of integers: graph, loops and machine code agree, and are right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netc.compiler.backends import find_target, lower
from netc.compiler.backends.cpu.codegen import emit_module, object_code
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.errors import NetcError
from netc.compiler.graph import parse_graph
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph
from netc.compiler.graph.registry import operators
from netc.compiler.modules.interpreter import run_module
from netc.compiler.passes import pipelines, run
from netc.compiler.tflite.writer import to_tflite
from netc.compiler.types import DType, TensorType
from netc.runtime.program import Program

from .special_values import ELSEWHERE, FLOATS, INTEGERS, elementwise_graph, reduction_graph

HOST = host_target()
CPUS = [
    name
    for name in ("x86-64", "x86-64-v2", "haswell", "x86-64-v4")
    if HOST.triple.startswith("x86_64") and find_target(name).vector_lanes <= HOST.vector_lanes
]
_POOLING = ("avg_pool", "avg_pool_gradient", "max_pool_gradient", "max_pool_gather")
_SUMS = ("softmax", "log_softmax", "logsumexp", "reduce_sum", "reduce_mean", "cumulative_sum", *_POOLING)
_SLOW = (name for name, operator in operators().items() if operator.elementwise and operator.work > 1)
APPROXIMATE = frozenset({"hard_sigmoid", *_SLOW, *_SUMS})
"""Operators whose last bits depend on the method or on the order of a sum."""
GRAPHS = {"elementwise": elementwise_graph, "reductions": reduction_graph}


def compiled(graph: Graph, arrays: list[Any], cpu: str) -> Any:
    target = find_target(cpu)
    module = lower(graph, target, 1)
    with Program(module, object_code(emit_module(module, target), target), target, 1, {}) as program:
        return program(*arrays)


def agree(name: str, found: Any, expected: Any) -> None:
    """Equal numbers; -0 and +0 are equal, and so are all NaNs."""
    assert found.dtype == expected.dtype
    if name not in APPROXIMATE or not np.issubdtype(expected.dtype, np.floating):
        np.testing.assert_array_equal(found, expected, err_msg=name)
        return
    limits = np.finfo(expected.dtype)
    smallest = limits.eps if name in ("log_softmax", "logsumexp") else limits.tiny  # 1 is added to exp(x)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(found, expected, rtol=32 * float(limits.eps), atol=float(smallest), err_msg=name)


@pytest.mark.parametrize("kind", GRAPHS)
@pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS], ids=str)
def test_all_meanings_agree(dtype: DType, kind: str) -> None:
    graph, arrays, names = GRAPHS[kind](dtype)
    expected = evaluate(graph, arrays)
    lowered = run(graph, "decompose")
    if dtype is not DType.F16:  # loops of halves are those of singles
        for name, found, meant in zip(names, run_module(lower(lowered, HOST, 1), arrays), expected, strict=True):
            agree(name, found, meant)
    for name, found, meant in zip(names, compiled(lowered, arrays, "host"), expected, strict=True):
        agree(name, found, meant)


@pytest.mark.parametrize("cpu", CPUS)
@pytest.mark.parametrize(("dtype", "kind"), [(DType.F32, kind) for kind in GRAPHS] + [(DType.I32, "elementwise")])
def test_processors_agree(dtype: DType, kind: str, cpu: str) -> None:
    """Plain x86-64 has no instructions for half precision."""
    graph, arrays, names = GRAPHS[kind](dtype, halves=not cpu.startswith("x86-64"))
    expected = evaluate(graph, arrays)
    for name, found, meant in zip(names, compiled(run(graph, "decompose"), arrays, cpu), expected, strict=True):
        agree(name, found, meant)


def test_every_operator_meets_special_values() -> None:
    met = {name for dtype in (*FLOATS, *INTEGERS) for graph in GRAPHS.values() for name in graph(dtype)[2]}
    missing = [name for name in operators() if name not in met and name not in ELSEWHERE]
    assert not missing, "extend tests/compiler/special_values.py"
    assert not met & ELSEWHERE.keys()


# ---- right values, one by one ---------------------------------------------------------------------------------------

NAN, INF = np.nan, np.inf
LIMITS = [255.4, 256.2, -1.0, 300.0, -129.5, 40000.0, -40000.0, 3e9, -3e9, 1e19, -1e19, INF, -INF, NAN]
CASTS = {
    "u8": [255, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255, 0, 255],
    "i8": [127, 127, -1, 127, -128, 127, -128, 127, -128, 127, -128, 127, -128, 127],
    "i16": [255, 256, -1, 300, -129, 32767, -32768, 32767, -32768, 32767, -32768, 32767, -32768, 32767],
    "i32": [255, 256, -1, 300, -129, 40000, -40000, *(2**31 - 1, -(2**31)) * 3, 2**31 - 1],
    "i64": [255, 256, -1, 300, -129, 40000, -40000, 3 * 10**9, -3 * 10**9, *(2**63 - 1, -(2**63)) * 2, 2**63 - 1],
}
"""What LiteRT's CAST makes of `LIMITS`."""


def one_operation(text: str, *arrays: Any) -> Any:
    """Results of a graph's text on every processor that runs here: all equal the interpreter's."""
    graph = parse_graph(text)
    (expected,) = evaluate(graph, arrays)
    for cpu in ("host", *CPUS):
        np.testing.assert_array_equal(compiled(run(graph, "decompose"), list(arrays), cpu), expected)
    return expected


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("goal", CASTS)
@pytest.mark.parametrize("source", ["f32", "f64"])
def test_floats_out_of_range_saturate(source: str, goal: str) -> None:
    x = np.array([LIMITS] * 2, DType(source).numpy).reshape(-1)[:-3]
    text = f'graph @g(%x: {source}[25]) -> ({goal}[25]) {{ %0 = cast(%x) {{dtype = "{goal}"}} : {goal}[25] return %0 }}'
    np.testing.assert_array_equal(one_operation(text, x), (CASTS[goal] * 2)[:-3])


@pytest.mark.parametrize("goal", CASTS)
def test_litert_saturates_alike(goal: str) -> None:
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    g = GraphBuilder("g")
    graph = g.finish([g.emit("cast", g.input("x", TensorType(DType.F32, (len(LIMITS),))), dtype=goal)])
    litert = interpreter.Interpreter(model_content=to_tflite(graph))
    litert.allocate_tensors()
    litert.set_tensor(litert.get_input_details()[0]["index"], np.array(LIMITS, np.float32))
    litert.invoke()
    np.testing.assert_array_equal(litert.get_tensor(litert.get_output_details()[0]["index"]), CASTS[goal])


def test_quantize_saturates() -> None:
    operation = '%0 = quantize(%x) {dtype = "i8", y = <0.5:3>} : i8[5]<0.5:3>'
    text = f"graph @g(%x: f32[5]) -> (i8[5]<0.5:3>) {{ {operation} return %0 }}"
    x = np.array([INF, -INF, NAN, 1e30, -0.75], np.float32)
    np.testing.assert_array_equal(one_operation(text, x), [127, -128, 127, 127, 1])


@pytest.mark.parametrize(("kind", "limits"), [("i8", (-128, 127)), ("u8", (0, 255)), ("i16", (-32768, 32767))])
@pytest.mark.parametrize("source", ["f32", "f64"])
def test_quantize_even_has_the_smallest_for_nan(kind: str, limits: tuple[int, int], source: str) -> None:
    count = 2 * 64 + 23
    operation = f'%0 = quantize_even(%x) {{dtype = "{kind}", y = <0.5:3>}} : {kind}[{count}]<0.5:3>'
    text = f"graph @g(%x: {source}[{count}]) -> ({kind}[{count}]<0.5:3>) {{ {operation} return %0 }}"
    x = np.resize(np.array([INF, -INF, NAN, 1e30, 1.25], source.replace("f", "float")), count)
    wanted = np.resize([limits[1], limits[0], limits[0], limits[1], 5], count)
    np.testing.assert_array_equal(one_operation(text, x), wanted)


@pytest.mark.parametrize("place", range(4))
def test_one_nan_makes_a_window_nan(place: int) -> None:
    x = np.arange(4, dtype=np.float32)
    x[place] = NAN
    attributes = '{size = [2,2], strides = [2,2], padding = "valid"}'
    text = f"graph @g(%x: f32[1,2,2,1]) -> (f32[1,1,1,1]) {{ %0 = max_pool(%x) {attributes} : f32[1,1,1,1] return %0 }}"
    assert np.isnan(one_operation(text, x.reshape(1, 2, 2, 1)))
    for name in ("reduce_max", "reduce_min"):
        assert np.isnan(one_operation(f"graph @g(%x: f32[4]) -> (f32[]) {{ %0 = {name}(%x) : f32[] return %0 }}", x))
    text = "graph @g(%x: f32[4]) -> (i32[]) { %0 = argmax(%x) {axis = 0} : i32[] return %0 }"
    assert one_operation(text, x) == place


PRODUCTS = {
    "dense": ("[9,1]", "[1,1]", "[9,1]", ""),
    "matmul": ("[9,1]", "[1,1]", "[9,1]", ""),
    "contract": ("[9,1]", "[1,1]", "[9,1]", '{a_axes = "ab", b_axes = "bc", axes = "ac"}'),
    "conv1d": ("[1,9,1]", "[1,1,1]", "[1,9,1]", '{strides = [1], padding = "valid", dilations = [1]}'),
    "conv2d": (
        "[1,3,3,4]",
        "[1,1,1,4]",
        "[1,3,3,4]",
        '{strides = [1,1], padding = "same", dilations = [1,1], groups = 4}',
    ),
    "conv2d_input_gradient": (
        *("[1,3,3,1]", "[1,1,1,1]", "[1,3,3,1]"),
        '{size = [3,3], strides = [1,1], padding = "same", dilations = [1,1]}',
    ),
    "conv2d_weight_gradient": (
        *("[1,1,1,9]", "[1,1,1,1]", "[1,1,9,1]"),
        '{kernel = [1,1], strides = [1,1], padding = "same", dilations = [1,1]}',
    ),
}
"""Products with nothing to add up: types of operands and of the result, and attributes."""


@pytest.mark.parametrize("name", PRODUCTS)
def test_infinity_times_zero_is_nan(name: str) -> None:
    first, second, result, attributes = PRODUCTS[name]
    call = f"{name}(%x, %w) {attributes} : f32{result}"
    graph = parse_graph(f"graph @g(%x: f32{first}, %w: f32{second}) -> (f32{result}) {{ %0 = {call} return %0 }}")
    for x, w in ((np.inf, 0), (0, np.inf)):
        operands = [np.full(v.type.shape, number, np.float32) for v, number in zip(graph.inputs, (x, w), strict=True)]
        with np.errstate(invalid="ignore"):
            (meant,) = evaluate(graph, dict(zip("xw", operands, strict=True)))
            found = [compiled(run(graph, pipelines.INFERENCE), operands, cpu) for cpu in CPUS]
        for result in (meant, *found):
            assert np.isnan(result).all()


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
def test_integers_are_divided_by_anything(dtype: DType) -> None:
    info = np.iinfo(str(dtype.numpy))
    pairs = [(7, 0), (0, 0), (info.min, 0), (7, 2), (info.max, info.max)]
    right = {"div": [0, 0, 0, 3, 1], "floor_div": [0, 0, 0, 3, 1]}
    if dtype is not DType.U8:
        pairs += [(info.min, -1), (-7, 2), (7, -2), (-7, -2)]
        right = {"div": [*right["div"], info.min, -3, -3, 3], "floor_div": [*right["floor_div"], info.min, -4, -4, 3]}
    a, b = (np.array(side, dtype.numpy) for side in zip(*pairs, strict=True))
    t = f"{dtype}[{len(pairs)}]"
    for name, quotients in right.items():
        text = f"graph @g(%a: {t}, %b: {t}) -> ({t}) {{ %0 = {name}(%a, %b) : {t} return %0 }}"
        np.testing.assert_array_equal(one_operation(text, a, b), quotients)


def test_sums_of_exponentials() -> None:
    x = np.array([[-INF, -INF], [INF, 0], [-INF, 3], [NAN, 0], [1000, 1000]], np.float32)
    text = "graph @g(%x: f32[5,2]) -> (f32[5]) { %0 = logsumexp(%x) {axis = 1} : f32[5] return %0 }"
    np.testing.assert_allclose(one_operation(text, x), [-INF, INF, 3, NAN, 1000 + np.log(2)], rtol=1e-6)


def test_subnormal_numbers_are_kept() -> None:
    x = np.array([1e-40, -3e-45], np.float32)
    text = "graph @g(%x: f32[2]) -> (f32[2]) { %0 = add(%x, %x) : f32[2] return %0 }"
    np.testing.assert_array_equal(one_operation(text, x), x + x)
    assert (x + x != 0).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("%0 = exp(%x) : i32[2]", r"exp takes floats, not i32\[2\]"),
        ("%0 = not_equal(%x, %x) : i1[2]\n %1 = add(%0, %0) : i1[2]", r"add takes numbers, not i1\[2\]"),
        ("%0 = clamp(%x) {low = nan, high = 1.0} : i32[2]", "NaN is no bound"),
        (
            "%0 = reshape(%x) {shape = [2,1]} : i32[2,1]\n %1 = softmax(%0) {axis = 1} : i32[2,1]",
            "softmax takes floats",
        ),
    ],
)
def test_element_types_without_a_meaning_are_refused(text: str, message: str) -> None:
    with pytest.raises(NetcError, match=message):
        parse_graph(f"graph @g(%x: i32[2]) -> (i32[2]) {{\n {text}\n return %x\n}}")


def test_a_choice_from_nothing_is_refused() -> None:
    g = GraphBuilder("g")
    x = g.input("x", TensorType(DType.F32, (3, 0)))
    for name in ("reduce_max", "reduce_min", "reduce_mean", "argmax", "softmax", "logsumexp"):
        with pytest.raises(NetcError, match="has no elements"):
            g.emit(name, x, **({"axes": (1,)} if name.startswith("reduce") else {"axis": 1}))

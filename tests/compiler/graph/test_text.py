"""The text form: what is printed reads back to the same graph, and wrong text is refused with its place."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from netc.compiler import passes
from netc.compiler.errors import Location, NetcError
from netc.compiler.graph import Array, GraphBuilder, evaluate, parse_graph, print_graph, verify
from netc.compiler.graph.algorithm import Algorithm
from netc.compiler.types import Quantization, parse_type
from tests.conftest import Golden
from tests.random_networks import random_case


def header(body: str, result: str = "f32[2]") -> str:
    return f"graph @g(%x: f32[2]) -> ({result}) {{\n{body}\n}}\n"


def test_golden(golden: Golden) -> None:
    b = GraphBuilder("a net", {"preprocess": {"crop": 0.875, "mean": (0.5, 1), "labels": 'a "b".txt'}, "odd key": None})
    image = b.input("image", parse_type("f32[1,8,8,3]"))
    weight = b.emit("param", shape=(3, 3, 3, 4), init="he_normal", checkpoint="oihw", name="block 1.weight")
    eps = b.constant(np.array(1e-5, np.float32))
    y = b.emit(
        "conv2d", image, weight, strides=(1, 1), padding="same", dilations=(1, 1), location=Location("a.net", 4, 5)
    )
    y = b.emit("add", y, eps, location=Location("my file.net", 5, 1))
    y = b.emit("relu", y, name="0")
    ramp = b.constant(np.arange(33, dtype=np.int16))
    text = str(passes.run(b.finish([y, ramp]), "fuse,assign-layouts"))
    golden(text)
    assert str(parse_graph(text)) == text


@pytest.mark.parametrize("seed", range(10))
def test_random_graphs_round_trip(seed: int) -> None:
    case = random_case(seed)
    read = parse_graph(str(case.graph))
    assert str(read) == str(case.graph)
    for a, b in zip(
        evaluate(case.graph, case.inputs, case.params), evaluate(read, case.inputs, case.params), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def payload_nan() -> Array:
    return np.array([0x7FC00001], np.uint32).view(np.float32)


@pytest.mark.parametrize(
    "array",
    [
        np.array([0.1, -0.0, np.inf, -np.inf, np.nan, 1e-45], np.float32),
        np.array([[0.1, 1 / 3], [2.0**-1074, 1e308]], np.float64),
        np.array([0.1, 65504, 6e-8], np.float16),
        np.array([[True, False]]),
        np.array([-(2**63), 2**63 - 1]),
        np.arange(100, dtype=np.uint8),
        np.full((3, 4), np.nan, np.float32),
        np.zeros((0, 3), np.float32),
        np.array(7, np.int8),
        np.full(50, -0.0, np.float32),
        payload_nan(),
        np.arange(12, dtype=np.float32).reshape(3, 4).T,
        np.arange(64, dtype=">f4"),
    ],
    ids=lambda a: f"{a.dtype}{list(a.shape)}",
)
def test_arrays_keep_every_bit(array: Array) -> None:
    b = GraphBuilder("g")
    text = str(b.finish([b.constant(array.astype(array.dtype.newbyteorder("=")))]))
    (result,) = evaluate(parse_graph(text))
    native = array.astype(array.dtype.newbyteorder("="))
    assert result.dtype == native.dtype
    assert result.shape == native.shape
    assert result.tobytes() == native.tobytes()
    assert str(parse_graph(text)) == text


@given(st.floats(width=32))
def test_every_float_keeps_its_bits(number: float) -> None:
    b = GraphBuilder("g")
    (result,) = evaluate(parse_graph(str(b.finish([b.constant(np.array([number], np.float32))]))))
    assert result.tobytes() == np.array([number], np.float32).tobytes()


@given(st.text(), st.text(min_size=1))
def test_every_name_survives(graph_name: str, value_name: str) -> None:
    b = GraphBuilder(graph_name, {value_name: graph_name})
    x = b.input(value_name, parse_type("f32[2]"))
    text = str(b.finish([b.emit("relu", x, location=Location(value_name, 3, 4))]))
    read = parse_graph(text)
    assert (read.name, read.inputs[0].name) == (graph_name, value_name)
    assert read.attributes == {value_name: graph_name}
    assert read.operations[0].location == Location(value_name, 3, 4)
    assert str(read) == text


def test_locations_can_be_left_out() -> None:
    graph = parse_graph(header("  %0 = relu(%x) : f32[2]  // a.net:1:2\n  return %0"))
    assert graph.operations[0].location == Location("a.net", 1, 2)
    assert "//" not in print_graph(graph, locations=False)


def test_other_comments_mean_nothing() -> None:
    graph = parse_graph(header("  // a remark\n  %0 = relu(%x) : f32[2]  // another remark\n  return %0"))
    assert graph.operations[0].location is None


WRONG = [
    ("", "expected `graph`, found the end of the text", "1:1"),
    ("graph @g(%x: f32[2]) -> (f32[2]) {\n  return %y\n}", "%y is not defined before this place", "2:10"),
    (header("  %0 = rely(%x) : f32[2]\n  return %0"), "there is no operator `rely`", "2:8"),
    (header("  %0 = relu(%x) : f32[3]\n  return %0"), "relu gives f32[2] here, not f32[3]", "2:19"),
    (header("  %0 = relu(%x)\n  return %0"), "expected `:` and the result's type, found `return`", "3:3"),
    (header("  %0 = relu(%x) : f32[2]\n  %0 = relu(%x) : f32[2]\n  return %0"), "%0 is defined twice", "3:3"),
    (header("  %0 = relu(%x, %x) : f32[2]\n  return %0"), "relu takes x, not 2 operands", "2:8"),
    (header("  %0 = add(%x) : f32[2]\n  return %0"), "add takes a, b, not 1 operands", "2:8"),
    (header("  %0 = clamp(%x) {lov = 0} : f32[2]\n  return %0"), "clamp has no attribute `lov`", "2:8"),
    (header("  %0 = clamp(%x) {low = 0, low = 1} : f32[2]\n  return %0"), "low is given twice", "2:28"),
    (header("  return %x", "f32[3]"), "the graph declares an output f32[3], but returns f32[2]", "1:26"),
    (header("  return %x, %x"), "the graph declares 1 outputs, but returns 2", "1:26"),
    (header("  %p = param {shape = [2]} : f32[2]\n  return %p"), "param takes its shape from the result type", "2:8"),
    (
        header("  %c = constant {value = dense<[1.0]>} : f32[2]\n  return %c"),
        "a list of 1 elements doesn't fit",
        "2:26",
    ),
    (header("  %c = constant {value = dense<[[1.0,2.0]]>} : f32[2]\n  return %c"), "a list of 1 elements", "2:26"),
    (header("  %c = constant {value = dense<[1.0,[2.0]]>} : f32[2]\n  return %c"), "the nesting of the lists", "2:26"),
    (header("  %c = constant {value = dense<1.5>} : i8[2]\n  return %c"), "an element of i8 can't be 1.5", "2:26"),
    (header("  %c = constant {value = dense<300>} : i8[2]\n  return %c"), "an element of i8 can't be 300", "2:26"),
    (header('  %c = constant {value = dense<base64 "!">} : f32[2]\n  return %c'), "this is not base64", "2:26"),
    (
        header('  %c = constant {value = dense<base64 "AAAA">} : f32[2]\n  return %c'),
        "takes 8 bytes, but there",
        "2:26",
    ),
    (header("  %0 = relu(%x) : f99[2]\n  return %0"), "`f99[2]` is not a tensor type", "2:19"),
    (header("  %0 = relu(%x) : f32[99999999999999]\n  return %0"), "this type is too large", "2:19"),
    (header("  %p = param : f32[999999999,999999999]\n  return %p"), "this type is too large", "2:16"),
    (header("  %0 = relu(%x) : f32[2]{1:1,1:1}\n  return %0"), "layout of `f32[2]{1:1,1:1}`", "2:19"),
    (header('  %0 = relu(%x) {a = "b} : f32[2]\n  return %0'), "this string doesn't end", "2:22"),
    (header("  %0 = relu(%x) ; f32[2]\n  return %0"), "';' has no meaning here", "2:17"),
    (header("  %0 = relu(%x) {a = [[[" + "[" * 5000), "attributes nest more than 32 deep", "2:54"),
    (header("  %c = constant {value = dense<" + "[" * 5000), "lists nest more than 32 deep", "2:65"),
    (header("  %0 = fused(%x = %x) {\n" * 1000), "a body can't hold fused", "3:8"),
    (header("  %0 = fused() {\n    %p = param : f32[2]\n"), "a body can't hold param", "3:10"),
    (header("  %0 = param : f32[2]\n"), "a parameter needs a name, not a number", "2:3"),
    ("graph @g(%0: f32[2])", "an input needs a name, not a number", "1:10"),
    ("graph @g(%x: f32[2]{1:1})", "inputs and outputs of a graph have no layout", "1:14"),
    (header(f"  %0 = clamp(%x) {{low = {'9' * 5000}, high = 1}} : f32[2]"), "this number is too large", "2:25"),
    (
        header('  %0 = max_pool(%x) {size = ["a"], strides = [1], padding = "same"} : f32[2]'),
        "max_pool takes [N, spatial..., channels], not f32[2]",
        "2:8",
    ),
    (header('  %0 = transpose(%x) {permutation = ["a",1]} : f32[2]'), "these operands and attributes don't fit", "2:8"),
    (header("  %0 = relu(%x) by 3 : f32[2]"), "expected the name of an algorithm, found `3`", "2:20"),
    (header("  %0 = relu(%x) by tiles[1] : f32[2]"), "tiles of 1 dimensions don't cover f32[2]", "2:17"),
    (header("  %0 = relu(%x) by tiles[a] : f32[2]"), "expected the size of a tile, found `a`", "2:26"),
    (header(f"  %0 = relu(%x) by tiles[{'9' * 5000}] : f32[2]"), "this number is too large", "2:26"),
    (header("  %0 = fused(%a = %x) {\n    return %a\n  } by tiles : f32[2]"), "expected `:` and the result's", "4:5"),
    (header("  return %x") + "graph", "expected the end of the text, found `graph`", "4:1"),
]


@pytest.mark.parametrize(("text", "message", "place"), WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_wrong_text_is_refused_with_its_place(text: str, message: str, place: str) -> None:
    with pytest.raises(NetcError) as caught:
        parse_graph(text, "g.ir")
    (diagnostic,) = caught.value.diagnostics
    assert message in diagnostic.message
    assert str(diagnostic.location) == f"g.ir:{place}"


@pytest.mark.parametrize("algorithm", [Algorithm("winograd", (4, 4)), Algorithm("direct"), Algorithm("by", (1, 64))])
def test_algorithms_are_read_back(algorithm: Algorithm) -> None:
    b = GraphBuilder("g")
    b.emit("relu", b.input("x", parse_type("f32[1,8,8,3]")), location=Location("a.net", 1, 2))
    b.operations[0] = replace(b.operations[0], algorithm=algorithm)
    graph = b.finish(b.operations[0].results)
    verify(graph)
    text = str(graph)
    assert f"relu(%x) by {algorithm} : f32[1,8,8,3]" in text
    for read in (parse_graph(text), pickle.loads(pickle.dumps(graph))):
        assert read.operations[0].algorithm == algorithm
        assert str(read) == text


@pytest.mark.parametrize("size", ["0", "65"])
def test_tiles_have_a_reasonable_size(size: str) -> None:
    with pytest.raises(NetcError, match="a tile has 1 to 64 places along each side"):
        parse_graph(f"graph @g(%x: f32[1,8,3]) -> () {{\n  %0 = relu(%x) by tiles[{size}] : f32[1,8,3]\n  return\n}}")


def test_near_misses() -> None:
    with pytest.raises(NetcError, match=r"did you mean relu\?"):
        parse_graph(header("  %0 = rely(%x) : f32[2]\n  return %0"))
    with pytest.raises(NetcError, match=r"did you mean image\?"):
        parse_graph("graph @g(%image: f32[2]) -> (f32[2]) {\n  return %imge\n}")


@pytest.mark.parametrize("seed", range(20))
def test_damaged_text_is_refused_or_sound(seed: int) -> None:
    text = str(passes.fuse(random_case(seed, 10).graph))
    rng = np.random.default_rng(seed)
    places: list[Location | None] = []
    for _ in range(60):
        start, length = int(rng.integers(len(text))), int(rng.integers(1, 8))
        patch = "".join(rng.choice(list('%@{}[]()<>,:="0-9.einf'), int(rng.integers(0, 4))))
        try:
            graph = parse_graph(text[:start] + patch + text[start + length :])
        except NetcError as error:
            places.append(error.diagnostics[0].location)
        else:
            verify(graph)
    assert len(places) > 20
    assert None not in places


QUANTIZED = """\
graph @quantized(%x: i8[1,4,4,2]<0.0078125:-1>) -> (i8[1,2,2,2]<0.0078125:-1>, i8[4,8]<0.0078125:-1>) {
  %w = constant {value = dense<1>} : i8[3,2]<axis=1 0.1,1.2345679e-05:3>
  %0 = max_pool(%x) {size = [2,2], strides = [2,2], padding = "valid"} : i8[1,2,2,2]{0:0,1:1,0:0,0:0}<0.0078125:-1>
  %1 = reshape(%x) {shape = [4,8]} : i8[4,8]<0.0078125:-1>
  %2 = relayout(%0) : i8[1,2,2,2]<0.0078125:-1>
  return %2, %1
}
"""


def test_quantization() -> None:
    graph = parse_graph(QUANTIZED)
    assert str(graph) == QUANTIZED
    verify(graph)
    weights = graph.operations[0].result.type.quantization
    assert weights == Quantization((0.1, 1.2345679e-05), (0, 3), axis=1)
    assert graph.operations[0].attributes["quantization"] == weights


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("i8[2]<axis=0 0.1>", "doesn't fit its elements or its shape"),
        ("f32[2]<0.1>", "doesn't fit its elements or its shape"),
        ("i8[2]<0.1:128>", "zero point 128 lies outside i8"),
        ("u8[2]<axis=0 0.1,0.2:-1>", "zero point -1 lies outside u8"),
        ("i16[2]<0.1:40000>", "zero point 40000 lies outside i16"),
        ("i8[2]<0.1,0.2>", "need an axis"),
        ("i8[2]<0.0:1>", "must be positive"),
        ("i8[2]<1e99>", "must be positive and finite"),
        ("i8[2]<0.1:99999999999>", "32-bit"),
        ("i8[2]<0.1:1:2>", "is not a quantization"),
    ],
)
def test_wrong_quantization(text: str, message: str) -> None:
    with pytest.raises(NetcError, match=message):
        parse_type(text)

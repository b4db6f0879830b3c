"""Every operator with a TFLite form: written, read back and run by LiteRT it means the same; what the Edge TPU is
predicted to map can be written, as floats and as integers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from netc.compiler.edgetpu import model_facts, predict, read_tflite
from netc.compiler.errors import NetcError
from netc.compiler.graph import Graph, GraphBuilder, evaluate
from netc.compiler.graph.registry import operators
from netc.compiler.ops.facets import TFLITE
from netc.compiler.quantization import Calibration, observation_graph, prepare, quantize
from netc.compiler.tflite import to_tflite
from netc.compiler.tflite.emitter import Emitter
from netc.compiler.tflite.reading import read_model
from netc.compiler.types import DType, Quantization, TensorType, parse_type
from netc.frontend.tflite import graph_of
from tests.quantized_nets import NETS, quantized

from ...frontend.tflite.hybrid_models import CASES as HYBRID_CASES
from ...frontend.tflite.litert import LiteRT, RefusedError
from ...frontend.tflite.operators import CASES, FLOAT_CASES
from ..cases import CASES as OPERATORS
from ..cases import OpCase
from .test_functions import FUNCTIONS
from .test_writer import GRAPHS, RNG

SHAPE = (2, 3, 4)
PICTURE = (1, 4, 6, 3)


def emitted(name: str, *shapes: tuple[int, ...], dtype: DType = DType.F32, **attributes: Any) -> Callable[[], Graph]:
    """One operator on inputs of some shapes."""

    def make() -> Graph:
        b = GraphBuilder("net")
        inputs = [b.input(f"x{i}", TensorType(dtype, shape)) for i, shape in enumerate(shapes)]
        return b.finish([b.emit(name, *inputs, **attributes)])

    return make


def picked() -> Graph:
    b = GraphBuilder("net")
    x = b.input("x", TensorType(DType.F32, (4, 5, 6)))
    return b.finish([b.emit("gather_nd", x, b.constant(np.array([[0, 3], [3, 1]], np.int32)))])


def gathered() -> Graph:
    b = GraphBuilder("net")
    x, indices = b.input("x", TensorType(DType.F32, (4, 5, 60))), b.input("i", TensorType(DType.I32, (2, 3)))
    return b.finish([b.emit("gather", x, indices, axis=2)])


def latest() -> Graph:
    b = GraphBuilder("net")
    places = b.input("places", TensorType(DType.I32, (3, 2)))
    places = b.emit("minimum", b.emit("maximum", places, b.scalar(0, DType.I32)), b.scalar(2, DType.I32))
    last = b.emit("last_update", places, shape=(3, 4))
    return b.finish([b.emit("add", last, b.input("x", TensorType(DType.I32, (3, 4))))])


def scattered() -> Graph:
    b = GraphBuilder("net")
    places = b.constant(np.array([[0, 3], [-1, 1], [0, 3]], np.int64))
    return b.finish([b.emit("scatter_nd", places, b.input("x", TensorType(DType.F32, (3, 6))), shape=(4, 5, 6))])


def joined() -> Graph:
    b = GraphBuilder("net")
    x, y = (b.input(name, TensorType(DType.F32, shape)) for name, shape in (("x", (4, 5, 6)), ("y", (3, 6))))
    places = b.constant(np.array([[0, 3], [-1, 1], [0, 3]], np.int64))
    return b.finish([b.emit("scatter_combine", x, places, y, by="maximum")])


def chosen() -> Graph:
    b = GraphBuilder("net")
    x, y = (b.input(name, TensorType(DType.F32, SHAPE)) for name in "xy")
    return b.finish([b.emit("select", b.emit("less", x, y), x, b.emit("neg", y))])


def unreached() -> Graph:
    """A transposed convolution whose last rows and columns no input reaches."""
    b = GraphBuilder("net")
    x = b.input("x", TensorType(DType.F32, (1, 3, 3, 4)))
    weights = [b.constant(RNG.standard_normal(shape).astype(np.float32)) for shape in ((2, 2, 4, 5), (5,))]
    return b.finish([b.emit("transpose_conv2d", x, *weights, size=(9, 7), strides=(2, 2), padding=((0, 0), (0, 0)))])


def reinterpreted() -> Graph:
    """Integers that stand for other numbers from here on."""
    b = GraphBuilder("net")
    x = b.input("x", TensorType(DType.I8, SHAPE, None, Quantization.of(0.5, 3)))
    return b.finish([b.emit("reinterpret", x, y=Quantization.of(0.25, -7))])


def quotient() -> Graph:
    b = GraphBuilder("net")
    a, d, y = Quantization.of(0.5, 3), Quantization.of(0.1, -7), Quantization.of(0.4, 5)
    x, by = (b.input(name, TensorType(DType.I8, SHAPE, None, given)) for name, given in (("x", a), ("by", d)))
    return b.finish([b.emit("q_div", x, by, a=a, b=d, y=y)])


def product() -> Graph:
    b = GraphBuilder("net")
    given, y = Quantization.of(0.03, -3), Quantization.of(0.02, 4)
    x = b.input("x", TensorType(DType.I8, SHAPE, None, given))
    return b.finish([b.emit("q_reduce_prod", x, axes=(1,), x=given, y=y)])


COMPARISONS = ("equal", "greater", "greater_equal", "less", "less_equal", "not_equal")
FORMS: dict[str, Callable[[], Graph]] = {
    **{name: emitted(name, SHAPE) for name in ("abs", "cos", "exp", "neg", "sin", "sqrt")},
    **{name: emitted(name, SHAPE, SHAPE) for name in (*COMPARISONS, "minimum")},
    "floor_div": emitted("floor_div", SHAPE, SHAPE, dtype=DType.I32),
    "bitwise_and": emitted("bitwise_and", SHAPE, SHAPE, dtype=DType.I32),
    "bitwise_xor": emitted("bitwise_xor", SHAPE, SHAPE, dtype=DType.I32),
    "right_shift": emitted("right_shift", SHAPE, SHAPE, dtype=DType.I32),
    "left_shift": emitted("left_shift", SHAPE, SHAPE, dtype=DType.I32),
    "last_update": latest,
    "logical_and": emitted("logical_and", SHAPE, SHAPE, dtype=DType.BOOL),
    "logical_or": emitted("logical_or", SHAPE, SHAPE, dtype=DType.BOOL),
    "logical_not": emitted("logical_not", SHAPE, dtype=DType.BOOL),
    "broadcast_to": emitted("broadcast_to", (2, 1, 4), shape=(3, 2, 5, 4)),
    "broadcast_to of six dimensions": emitted("broadcast_to", (1, 2, 1, 2, 1, 1), shape=(1, 2, 2, 2, 2, 1)),
    "tile": emitted("tile", SHAPE, multiples=(1, 2, 3)),
    **{name: emitted(name, SHAPE, dtype=DType.BOOL, axes=(1,)) for name in ("reduce_any", "reduce_all")},
    "reduce_min": emitted("reduce_min", SHAPE, axes=(1,), keepdims=False),
    "log_softmax": emitted("log_softmax", SHAPE, axis=-1),
    "matmul": emitted("matmul", (3, 4), (4, 5)),
    "resize_nearest": emitted("resize_nearest", PICTURE, size=(8, 9)),
    "gather_nd": picked,
    "gather": gathered,
    "scatter_nd": scattered,
    "scatter_combine": joined,
    "select": chosen,
    "reinterpret": reinterpreted,
    "q_div": quotient,
    "q_reduce_prod": product,
    "transpose_conv2d beyond the input": unreached,
    "max_pool of one dimension": emitted("max_pool", (2, 9, 3), size=(3,), strides=(2,), padding=((1, 1),)),
    "avg_pool of one dimension": emitted("avg_pool", (2, 9, 3), size=(3,), strides=(2,), padding="same"),
    "avg_pool of one padded dimension": emitted("avg_pool", (2, 9, 3), size=(4,), strides=(2,), padding=((2, 1),)),
    "avg_pool, padded": emitted("avg_pool", PICTURE, size=(3, 3), strides=(2, 2), padding=((1, 1), (2, 0))),
    "max_pool of three dimensions": emitted(
        "max_pool", (2, 4, 5, 6, 3), size=(2, 3, 2), strides=(1, 2, 2), padding=((1, 0), (1, 1), (0, 0))
    ),
    "avg_pool of three dimensions": emitted(
        "avg_pool", (2, 4, 5, 6, 3), size=(2, 3, 2), strides=(1, 2, 2), padding=((1, 0), (1, 1), (0, 1))
    ),
}
ELSEWHERE = {"opaque", "q_lstm", "q_svdf", "hybrid_lstm", "hybrid_rnn", "hybrid_svdf", "if", "while"}
ELSEWHERE |= {"blocked_dense", "seeded_numbers", "seeded_choices"}
"""Mappings of what public models, or states, are needed for (tests in `frontend/tflite`)."""


def arguments(graph: Graph) -> list[Any]:
    random = np.random.default_rng(3)
    return [_argument(random, v.type) for v in graph.inputs]


def _argument(random: np.random.Generator, type_: TensorType) -> Any:
    if type_.dtype.is_float:
        return (np.abs(random.standard_normal(type_.shape)) + 0.1).astype(type_.dtype.numpy)
    return random.integers(1, 50, type_.shape).astype(type_.dtype.numpy)


@pytest.mark.parametrize("name", [*FORMS, *GRAPHS])
def test_what_is_written_is_read_back_and_litert_agrees(name: str, litert: LiteRT) -> None:
    graph = {**GRAPHS, **FORMS}[name]()
    data = to_tflite(graph)
    again = graph_of(read_model(data), "again")
    assert not [op for op in again.operations if op.name == "opaque"]
    given = arguments(graph)
    wanted = evaluate(graph, given)
    for got in (evaluate(again, given), litert.first(data, [given])[0]):
        for one, other in zip(wanted, got, strict=True):
            assert one.dtype == other.dtype
            np.testing.assert_allclose(other, one, rtol=1e-5, atol=2e-5)


def float_cases() -> list[OpCase]:
    """Uses of operators on floats, with some elements."""
    floats = (c for c in OPERATORS if all(c.dtype(i) is DType.F32 for i in range(len(c.shapes))))
    return [c for c in floats if all(0 not in shape for shape in c.shapes)]


def written_cases() -> list[OpCase]:
    """Those that have a TFLite form."""
    return [case for case in float_cases() if TFLITE.of(operators()[case.op]) is not None]


@pytest.mark.parametrize("case", written_cases(), ids=lambda case: case.id)
def test_cases_are_written_and_read_back_and_litert_agrees(case: OpCase, litert: LiteRT) -> None:
    graph, operands = case.graph(), case.operands()
    count = len(graph.inputs)
    params = {op.result.name or "": x for op, x in zip(graph.parameters, operands[count:], strict=True)}
    try:
        data = to_tflite(graph, params)
    except NetcError as error:
        assert "TFLite" in str(error)  # noqa: PT017 (it says which form is lacking)
        return
    again = graph_of(read_model(data), "again")
    assert not [op for op in again.operations if op.name == "opaque"]
    given = operands[:count]
    (wanted,) = evaluate(graph, given, params)
    (answers,) = litert.first(data, [given])
    for got in (evaluate(again, given)[0], answers[0]):
        assert got.dtype == wanted.dtype
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=2e-5 * max(1.0, float(np.abs(wanted).max(initial=0))))


INTEGERS = (DType.I8, DType.U8, DType.I16, DType.I32, DType.I64)
ON_INTEGERS: dict[str, tuple[tuple[tuple[int, ...], ...], dict[str, Any]]] = {
    **{name: ((SHAPE,), {}) for name in ("relu", "relu6", "abs", "neg", "sign", "argmax")},
    **{name: ((SHAPE, (4,)), {}) for name in ("add", "sub", "mul", "div", "floor_div", "maximum", "minimum")},
    **{name: ((SHAPE, (4,)), {}) for name in COMPARISONS},
    **{name: ((SHAPE,), {"axes": (1,)}) for name in ("reduce_sum", "reduce_mean", "reduce_max", "reduce_min")},
    "clamp": ((SHAPE,), {"low": 0, "high": 6}),
    "pad": ((SHAPE,), {"padding": ((1, 0), (0, 2), (0, 0)), "value": 2}),
    "concat": ((SHAPE, SHAPE), {"axis": 1}),
    "transpose": ((SHAPE,), {"permutation": (2, 0, 1)}),
    "max_pool": ((PICTURE,), {"size": (2, 2), "strides": (2, 2), "padding": ((1, 1), (1, 0))}),
    "q_avg_pool": ((PICTURE,), {"size": (2, 2), "strides": (2, 2), "padding": "valid"}),
    "resize_nearest": ((PICTURE,), {"size": (8, 9)}),
}
"""Operators that take plain integers: shapes and attributes."""


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("name", ON_INTEGERS)
def test_plain_integers_are_not_taken_for_quantized_numbers(name: str, dtype: DType, litert: LiteRT) -> None:
    """They are refused, by netc or at least by LiteRT, or have the right results."""
    shapes, attributes = ON_INTEGERS[name]
    if name == "q_avg_pool" and dtype in (DType.I32, DType.I64):
        pytest.skip("it takes 8-bit and 16-bit integers")
    graph = emitted(name, *shapes, dtype=dtype, **attributes)()
    random = np.random.default_rng(5)
    low = 0 if dtype is DType.U8 else -9
    given = [random.integers(low, 10, v.type.shape).astype(dtype.numpy) for v in graph.inputs]
    if name in ("div", "floor_div"):
        given[1] = np.abs(given[1]) + np.ones((), given[1].dtype)
    try:
        data = to_tflite(graph)
    except NetcError as error:
        reasons = (f"TFLite's form of {name} takes {dtype}[", "LiteRT has no kernel of ")
        assert any(reason in str(error) for reason in reasons)  # noqa: PT017 (others are right)
        return
    try:
        (got,) = litert(data, [given])
    except RefusedError as error:
        assert "aborts" not in str(error)  # noqa: PT017
        return
    np.testing.assert_array_equal(got[0], evaluate(graph, given)[0])


@pytest.mark.parametrize("dtype", INTEGERS, ids=str)
@pytest.mark.parametrize("name", ["relu", "relu6", "clamp"])
def test_activations_of_plain_integers_are_maxima_and_minima(name: str, dtype: DType) -> None:
    shapes, attributes = ON_INTEGERS[name]
    names = [n.name for n in read_model(to_tflite(emitted(name, *shapes, dtype=dtype, **attributes)())).operators]
    assert names == ["MAXIMUM", "MINIMUM"][: 1 if name == "relu" else 2]


@pytest.mark.parametrize(
    ("name", "types"),
    [
        ("neg", ("i16[4]<0.5>",)),
        ("maximum", ("i8[4]<0.5>", "i8[4]<0.25>")),
        ("floor_mod", ("i8[4]<0.5>", "i8[4]<0.25>")),
        ("less", ("i16[4]<2.0>", "i16[4]<0.5>")),
    ],
)
def test_kernels_that_take_integers_as_they_are(name: str, types: tuple[str, ...], litert: LiteRT) -> None:
    b = GraphBuilder("net")
    inputs = [b.input(f"x{i}", parse_type(text)) for i, text in enumerate(types)]
    graph = b.finish([b.emit(name, *inputs)])
    given = [np.array([-7, 5, 100, 2], v.type.dtype.numpy) - i for i, v in enumerate(inputs)]
    ((got,),) = litert(to_tflite(graph), [given])
    np.testing.assert_array_equal(got, evaluate(graph, given)[0])


@pytest.mark.parametrize(
    ("name", "types", "attributes"),
    [
        ("mul", ("i8[4]", "i8[4]"), {}),
        ("mul", ("i16[4]<0.5>", "i16[4]<0.5>"), {}),
        ("less", ("i8[4]<2.0>", "i8[4]<2.0>"), {}),
        ("reduce_sum", ("u8[4]",), {"axes": (0,)}),
        ("concat", ("u8[4]<0.5>", "u8[4]<0.25>"), {}),
    ],
)
def test_integers_that_kernels_misread_are_refused(
    name: str, types: tuple[str, ...], attributes: dict[str, Any]
) -> None:
    b = GraphBuilder("net")
    inputs = [b.input(f"x{i}", parse_type(text)) for i, text in enumerate(types)]
    with pytest.raises(NetcError, match=f"TFLite's form of {name} takes .* for quantized numbers"):
        to_tflite(b.finish([b.emit(name, *inputs, **attributes)]))


def test_every_mapping_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    written: set[str] = set()
    run = Emitter.run

    def record(emitter: Emitter) -> Any:
        written.update(op.name for op in emitter.graph.operations)
        return run(emitter)

    monkeypatch.setattr(Emitter, "run", record)
    graphs = [make() for make in (*GRAPHS.values(), *FORMS.values())]
    graphs += [quantized(net) for net in NETS.values()]
    graphs += [graph_of(read_model(make()), "case") for make in (*CASES.values(), *FLOAT_CASES.values())]
    graphs += [graph_of(read_model(make()), "case") for make, _ in HYBRID_CASES.values()]
    for graph in graphs:
        to_tflite(graph)
    written.update(case.op for case in written_cases())
    written.update(FUNCTIONS)
    known = {name for name, operator in operators().items() if TFLITE.of(operator) is not None}
    assert known - written == ELSEWHERE


# ---- what is predicted -----------------------------------------------------------------------------------------------


@cache
def mapped_operators() -> list[OpCase]:
    """Uses of operators that would run on the Edge TPU, so that a file of them can be written."""
    facts = ((case, model_facts(case.graph())) for case in float_cases())
    return [case for case, model in facts if model.operators and not predict(model).causes]


def test_there_are_enough_of_them() -> None:
    assert len({case.op for case in mapped_operators()}) > 20


@pytest.mark.parametrize("case", mapped_operators(), ids=lambda case: case.id)
def test_what_is_predicted_to_map_can_be_written(case: OpCase) -> None:
    graph, operands = case.graph(), case.operands()
    count = len(graph.inputs)
    params = {op.result.name or "": x for op, x in zip(graph.parameters, operands[count:], strict=True)}
    to_tflite(graph, params)
    prepared = prepare(graph, params)
    calibration = Calibration(prepared)
    calibration.add(operands[:count], evaluate(observation_graph(prepared), operands[:count]))
    data = to_tflite(quantize(prepared, calibration.ranges("minmax")))
    assert not predict(read_tflite(data, "case")).causes


@pytest.mark.parametrize("name", NETS)
def test_prediction_and_writer_agree_on_networks(name: str) -> None:
    graph = NETS[name].graph()
    if predict(model_facts(graph)).causes:
        pytest.skip("not predicted to map")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data = to_tflite(quantized(NETS[name]))
    try:
        to_tflite(graph)
    except NetcError as error:
        pytest.fail(str(error))
    causes = predict(read_tflite(data, "net")).causes
    assert not causes or NETS[name].scheme.outputs is not DType.I8


@pytest.mark.parametrize(("sums", "kind"), [(None, "DEPTHWISE_CONV_2D"), ("i32", "CONV_2D")])
def test_sums_of_32_bits_have_no_depthwise_form(sums: str | None, kind: str) -> None:
    b, scale = GraphBuilder("net"), Quantization.of(0.01)
    x = b.input("x", TensorType(DType.I16, (1, 4, 4, 2), None, scale))
    weight = b.constant(np.ones((3, 3, 1, 2), np.int8), quantization=scale)
    bias = b.constant(np.array([5, -7], np.int32 if sums else np.int64))
    window: dict[str, Any] = {"strides": (1, 1), "dilations": (1, 1), "padding": "same", "groups": 2}
    y = b.emit("q_conv2d", x, weight, bias, x=scale, weight=scale, y=scale, sums=sums, **window)
    (operator,) = read_model(to_tflite(b.finish([y]))).operators
    assert operator.name == kind

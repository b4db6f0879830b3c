"""Forms of operators that netc lacks: the file is read, the operator stays opaque and says why; what is read runs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import tflite

import netc
from netc.compiler import passes
from netc.compiler.backends import lower, optimize
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.errors import NetcError
from netc.compiler.graph import Graph, evaluate, parse_graph, verify
from netc.compiler.ops.opaque import unknown_operators
from netc.compiler.tflite import to_tflite
from netc.compiler.tflite.reading import read_model
from netc.compiler.types import DType
from netc.frontend.tflite import graph_of

from .operators import CASES, FLOAT_CASES
from .small_models import Model

ELEMENTS = [np.float16, np.float64, np.float32, np.int64, np.int32, np.int16, np.int8, np.uint8, np.bool_]
FOREIGN = {"STRING": 5, "BFLOAT16": 18, "number 60": 60}


@cache
def models() -> dict[str, tuple[Model, tuple[Any, Any]]]:
    """One model for each operator, with its inputs and outputs, in the forms that netc has."""
    found: dict[str, tuple[Model, tuple[Any, Any]]] = {}
    write = Model.data

    def record(m: Model, inputs: Any, outputs: Any) -> bytes:
        found.setdefault(m.operators[-1]["name"], (m, (inputs, outputs)))
        return write(m, inputs, outputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Model, "data", record)
        for make in (*CASES.values(), *FLOAT_CASES.values()):
            make()
    return found


NAMES = sorted(models())


def changed(name: str, places: Iterator[int] | range, **fields: Any) -> Graph:
    """The graph of an operator whose tensors at some places are of another kind."""
    model, edges = models()[name]
    kept = model.tensors
    model.tensors = [_within({**t, **fields}) if i in places else t for i, t in enumerate(kept)]
    try:
        return graph_of(read_model(model.data(*edges)), "case")
    finally:
        model.tensors = kept


def _within(tensor: dict[str, Any]) -> dict[str, Any]:
    """A tensor with a zero point that its type has."""
    if tensor["dtype"].kind not in "iu":
        return tensor
    info = np.iinfo(tensor["dtype"])
    return {**tensor, "zero": min(max(tensor["zero"], info.min), info.max)}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_read_of_other_element_types_runs(name: str) -> None:
    """All computed tensors of the first input's type become of another one: the operator runs on it or stays opaque."""
    tensors, (inputs, _) = models()[name][0].tensors, models()[name][1]
    base = tensors[inputs[0]]["dtype"]
    places = [i for i, t in enumerate(tensors) if t["data"] is None and t["dtype"] == base]
    for dtype in ELEMENTS:
        graph = changed(name, places, dtype=np.dtype(dtype))
        if unknown_operators(graph):
            continue
        arguments = [np.ones(v.type.shape, v.type.dtype.numpy) for v in graph.inputs]
        with np.errstate(all="ignore"):
            evaluate(graph, arguments)
        lower(optimize(graph, passes.pipelines.INFERENCE, host_target()), host_target(), 1)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("foreign", FOREIGN)
def test_foreign_element_types_leave_the_operator_opaque(name: str, foreign: str) -> None:
    for place in range(len(models()[name][0].tensors)):
        graph = changed(name, range(place, place + 1), code=FOREIGN[foreign])
        verify(graph)
        assert str(parse_graph(str(graph))) == str(graph)
        (problem,) = unknown_operators(graph)
        assert f"the operator {name} (operator 0, tensor" in problem.message
        assert f"has elements of type {foreign}, which netc doesn't have" in problem.message
        with pytest.raises(NetcError, match=f"the operator {name}"):
            netc.compile(graph)
        with pytest.raises(NetcError, match=f"{name} can't be written again: tensor .* of type {foreign}"):
            to_tflite(graph)


def test_strings_pass_between_custom_operators() -> None:
    m = Model()
    x, y = (m.tensor(n, (1, 4), np.float32) for n in "xy")
    text = m.tensor("text", (1,), np.uint8)
    m.tensors[text]["code"] = FOREIGN["STRING"]
    m.operator("CUSTOM", (x,), (text,), custom="Write")
    m.operator("CUSTOM", (text,), (y,), custom="Read")
    graph = graph_of(read_model(m.data((x,), (y,))), "case")
    write, read = (op for op in graph.operations if op.name == "opaque")
    assert read.operands == write.results


def test_operators_without_results_are_kept() -> None:
    m = Model()
    x, y = (m.tensor(n, (1, 4), np.float32) for n in "xy")
    m.operator("CALL_ONCE", (), (), ("CallOnceOptions", {}))
    m.operator("RELU", (x,), (y,))
    graph = graph_of(read_model(m.data((x,), (y,))), "case")
    assert [d.message for d in unknown_operators(graph)] == [
        "netc can't run the operator CALL_ONCE (operator 0, tensor `opaque`): its subgraph has inputs"
    ]
    with pytest.raises(NetcError, match="CALL_ONCE can't be written again: it has no outputs"):
        to_tflite(graph)


def test_builtin_operators_of_a_later_schema_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tflite.BuiltinOperator, "RELU", 1000)
    m = Model()
    x, y = (m.tensor(n, (1, 4), np.float32) for n in "xy")
    m.operator("RELU", (x,), (y,))
    graph = graph_of(read_model(m.data((x,), (y,))), "case")
    with pytest.raises(NetcError, match=r"can't run the operator BUILTIN_1000 \(operator 0, tensor `y`\)"):
        netc.compile(graph)
    with pytest.raises(NetcError, match="BUILTIN_1000 can't be written again"):
        to_tflite(graph)


@pytest.mark.parametrize(("bias", "code"), [(np.int64, 0), (np.int64, 4), (np.int32, 2)])
def test_sums_of_sixteen_bit_contractions_have_the_type_of_the_bias(bias: Any, code: int) -> None:
    graph = graph_of(read_model(sixteen_bit_dense(bias, code)), "case")
    for given in (graph, graph_of(read_model(to_tflite(graph)), "case")):
        (op,) = (op for op in given.operations if op.name == "q_dense")
        assert op.attributes["sums"] == ("i32" if bias is np.int32 else None)
        assert op.operands[2].type.dtype is DType.of(np.dtype(bias))


@pytest.mark.parametrize(("bias", "code"), [(np.int32, 0), (np.int32, 4), (np.int64, 2)])
def test_sixteen_bit_contractions_say_what_they_are(bias: Any, code: int) -> None:
    graph = graph_of(read_model(sixteen_bit_dense(bias, code)), "case")
    with pytest.raises(NetcError) as caught:
        netc.compile(graph)
    width = np.dtype(bias).itemsize * 8
    assert caught.value.diagnostics[0].message == (
        "netc can't run the operator FULLY_CONNECTED (operator 0, tensor `y`): its form for input i16, weight i8, "
        f"bias i{width} and a quantized result is not supported"
    )


def sixteen_bit_dense(bias: Any, code: int) -> bytes:
    m = Model()
    x, y = m.tensor("x", (1, 8), np.int16, scale=0.001), m.tensor("y", (1, 4), np.int16, scale=0.002)
    w = m.constant("w", np.ones((4, 8), np.int8), scale=0.01)
    b = m.constant("b", np.zeros(4, bias), scale=1e-5)
    m.operator("FULLY_CONNECTED", (x, w, b), (y,), ("FullyConnectedOptions", {"QuantizedBiasType": code}), version=11)
    return m.data((x,), (y,))


def test_all_opaque_operators_are_named_at_once() -> None:
    m = Model()
    x, a, b, y = (m.tensor(n, (2, 5), np.float32) for n in "xaby")
    m.operator("LSH_PROJECTION", (x,), (a,))
    m.operator("RELU", (a,), (b,))
    lengths = m.constant("lengths", np.array([2, 1], np.int32))
    m.operator("SKIP_GRAM", (b, lengths), (y,), ("SkipGramOptions", {"NgramSize": 1}))
    graph = graph_of(read_model(m.data((x,), (y,))), "case")
    for run in (netc.compile, lambda g: netc.quantize(g, calibration=[np.ones((2, 5), np.float32)])):
        with pytest.raises(NetcError) as caught:
            run(graph)
        first, second = caught.value.diagnostics
        assert (
            first.message
            == "netc can't run the operator LSH_PROJECTION (operator 0, tensor `a`): netc has no hashes of bytes"
        )
        assert second.message == "netc can't run the operator SKIP_GRAM (operator 2, tensor `y`): netc has no strings"
        assert second.hint is not None
        assert "netc run FILE --engine litert" in second.hint


def test_operators_of_tensorflow_are_refused_with_one_sentence() -> None:
    m = Model()
    x, y = (m.tensor(name, (2,), np.float32) for name in "xy")
    m.operator("CUSTOM", (x,), (y,), custom="FlexErf")
    graph = graph_of(read_model(m.data((x,), (y,))), "case")
    with pytest.raises(
        NetcError, match=r"FlexErf \(operator 0, tensor `y`\): it is TensorFlow's own operator Erf, which"
    ):
        netc.compile(graph)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("RANDOM_UNIFORM", "its random numbers are other ones in each run of LiteRT"),
        ("UNIQUE", "how many results it has is not known before the model runs"),
        ("SKIP_GRAM", "netc has no strings"),
    ],
)
def test_builtin_operators_that_are_refused_say_why(name: str, reason: str) -> None:
    m = Model()
    x, y = m.tensor("x", (2,), np.int32), m.tensor("y", (2,), np.float32)
    m.operator(name, (x,), (y,))
    (op,) = graph_of(read_model(m.data((x,), (y,))), "case").operations
    assert op.attributes["reason"].startswith(reason)


def test_a_number_of_results_that_is_computed_leaves_top_k_opaque() -> None:
    m = Model()
    x, k = m.tensor("x", (4,), np.float32), m.tensor("k", (), np.int32)
    y, places = m.tensor("y", (2,), np.float32), m.tensor("places", (2,), np.int32)
    m.operator("TOPK_V2", (x, k), (y, places), ("TopKV2Options", {}))
    (op,) = graph_of(read_model(m.data((x, k), (y, places))), "case").operations
    assert op.attributes["reason"] == "input 1, tensor `k`, is not a constant"


@pytest.mark.parametrize(
    ("begin", "stride", "reason"),
    [(1, 1, ""), (1, -1, "leaves an element unset"), (5, 1, "there is no element 5 in dimension 0")],
)
def test_a_single_element_of_a_slice(begin: int, stride: int, reason: str) -> None:
    m = Model()
    x, y = m.tensor("x", (3, 2), np.float32), m.tensor("y", (2,), np.float32)
    numbers = [m.constant(f"n{i}", np.array([n], np.int32)) for i, n in enumerate((begin, 2, stride))]
    m.operator("STRIDED_SLICE", (x, *numbers), (y,), ("StridedSliceOptions", {"ShrinkAxisMask": 1}))
    graph = graph_of(read_model(m.data((x,), (y,))), "case")
    reasons = [op.attributes["reason"] for op in graph.operations if op.name == "opaque"]
    assert len(reasons) == bool(reason)
    assert all(reason in each for each in reasons)


def test_an_axis_that_is_computed() -> None:
    m = Model()
    x, y = (m.tensor(n, (2, 3), np.float32) for n in "xy")
    rank, axis = (m.tensor(n, (), np.int32) for n in ("rank", "axis"))
    m.operator("RANK", (x,), (rank,))
    m.operator("SUB", (rank, m.constant("one", np.array(1, np.int32))), (axis,), ("SubOptions", {}))
    m.operator("CUMSUM", (x, axis), (y,), ("CumsumOptions", {}))
    (op,) = graph_of(read_model(m.data((x,), (y,))), "case").operations
    assert (op.name, op.attributes["axis"]) == ("cumulative_sum", 1)


@pytest.mark.parametrize(
    ("name", "options", "given"),
    [
        ("SHAPE", ("ShapeOptions", {"OutType": 4}), np.int64),
        ("SHAPE", ("ShapeOptions", {"OutType": 2}), np.int32),
        ("RANK", ("RankOptions", {}), np.int32),
        ("ARG_MAX", ("ArgMaxOptions", {"OutputType": 4}), np.int64),
        ("ARG_MIN", ("ArgMinOptions", {"OutputType": 2}), np.int32),
        ("ONE_HOT", ("OneHotOptions", {"Axis": -1}), np.int16),
    ],
)
def test_results_have_the_type_that_the_kernel_gives(name: str, options: Any, given: Any) -> None:
    shapes = {"SHAPE": (1,), "RANK": (), "ONE_HOT": (3, 4)}
    for stated in (np.int8, np.int16, np.int32, np.int64, np.float32):
        m = Model()
        x = m.tensor("x", (3,), np.int32)
        more: dict[str, tuple[Any, ...]] = {
            **dict.fromkeys(("ARG_MAX", "ARG_MIN"), (np.array(0, np.int32),)),
            "ONE_HOT": (np.array(4, np.int32), np.array(1, given), np.array(0, given)),
        }
        constants = [m.constant(f"c{i}", array) for i, array in enumerate(more.get(name, ()))]
        y = m.tensor("y", shapes.get(name, ()), stated)
        m.operator(name, (x, *constants), (y,), options)
        reasons = unknown_operators(graph_of(read_model(m.data((x,), (y,))), "case"))
        assert bool(reasons) == (stated is not given)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16, np.int32])
def test_whole_numbers_without_a_scale_are_not_dequantized(dtype: Any) -> None:
    m = Model()
    x, y = m.tensor("x", (3,), dtype), m.tensor("y", (3,), np.float32)
    m.operator("DEQUANTIZE", (x,), (y,))
    assert unknown_operators(graph_of(read_model(m.data((x,), (y,))), "case"))

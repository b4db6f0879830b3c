"""Quantized networks come near their float originals, keep the rules of the specification, and say what they can't."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from netc.compiler.errors import Location, NetcError
from netc.compiler.graph.interpreter import evaluate
from netc.compiler.graph.ir import Graph, Operation
from netc.compiler.graph.verifier import verify
from netc.compiler.quantization import METHODS, Ranges, Scheme, quantize
from netc.compiler.quantization.scales import rounding_error, weight_scale, weight_to_integers
from netc.compiler.tflite import to_tflite
from netc.compiler.tflite.names import ACTIVATIONS
from netc.compiler.tflite.reading import read_model
from netc.compiler.types import DType, Quantization
from netc.frontend.tflite.reader import graph_of
from tests.quantized_nets import NETS, PICTURE, Net, calibrated, integers, quantized

NOT_IN_16_BITS = ("layer norm", "instance norm", "group norm", "log_softmax", "squared_difference")
"""Networks with operators of which TFLite has kernels for 8 bits alone."""


def real(x: np.ndarray, graph: Graph) -> np.ndarray:
    given = graph.outputs[0].type.quantization
    return x if given is None else (x.astype(np.float64) - given.zero_point) * given.scale


def only(graph: Graph, name: str) -> Operation:
    (op,) = (op for op in graph.operations if op.name == name)
    return op


@pytest.mark.parametrize("name", NETS)
def test_integers_come_near_the_floats(name: str) -> None:
    net = NETS[name]
    graph = quantized(net)
    verify(graph)
    x = net.samples()
    (wanted,) = evaluate(net.graph(), [x])
    (got,) = evaluate(graph, [integers(x, graph.inputs[0].type)])
    noise = ((real(got, graph) - wanted) ** 2).sum()
    assert (wanted.astype(np.float64) ** 2).sum() > 1000 * noise  # 30 dB


@pytest.mark.parametrize("name", NETS)
def test_files_hold_the_same_integers(name: str) -> None:
    graph = quantized(NETS[name])
    again = graph_of(read_model(to_tflite(graph)), "again")
    x = integers(NETS[name].samples(), graph.inputs[0].type)
    assert again.inputs[0].type == graph.inputs[0].type
    np.testing.assert_array_equal(evaluate(again, [x])[0], evaluate(graph, [x])[0])


def short(net: Net, *, allow_float: bool = False) -> Net:
    """The same network with activations of 16 bits."""
    given = {"inputs": DType.I16, "outputs": DType.I16, "allow_float": allow_float or net.scheme.allow_float}
    return replace(net, scheme=replace(net.scheme, short=True, **given))


IN_16_BITS = {f"{name}, 16 bits": short(net) for name, net in NETS.items() if name not in NOT_IN_16_BITS}


@pytest.mark.parametrize("name", [*NETS, *IN_16_BITS])
def test_litert_gives_the_same_integers(name: str) -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="LiteRT is not installed")
    net = {**NETS, **IN_16_BITS}[name]
    graph = quantized(net)
    x = integers(net.samples(), graph.inputs[0].type)
    reference = litert.OpResolverType.BUILTIN_REF
    interpreter = litert.Interpreter(model_content=to_tflite(graph), experimental_op_resolver_type=reference)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    got = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_array_equal(got, evaluate(graph, [x])[0])


def test_activations_limit_the_results_of_what_they_follow() -> None:
    op = only(quantized(NETS["conv"]), "q_conv2d")
    y = op.result.type.quantization
    assert y is not None
    assert y.zero_point == -128
    assert (op.attributes["low"], op.attributes["high"]) == (-128, 127)


@pytest.mark.parametrize(
    ("name", "bounds", "written"),
    [("relu", {}, "RELU"), ("relu6", {}, "RELU6"), ("clamp", {"low": -1.0, "high": 1.0}, "RELU_N1_TO_1")],
)
def test_activations_keep_their_names_in_files(name: str, bounds: dict[str, float], written: str) -> None:
    def emit(n: Net, x: Any) -> Any:
        return n.b.emit(name, n.b.emit("add", x, n.constant(4, 4)), **bounds)

    # Results of 0 to less than 6 fill the range, which relu and relu6 leave alike.
    graph = quantized(Net((4, 4), emit))
    (operator,) = read_model(to_tflite(graph)).operators
    assert operator.coded("fused_activation_function", ACTIVATIONS) == written


def test_weights_are_symmetric_and_have_a_scale_for_each_filter() -> None:
    graph = quantized(NETS["depthwise"])
    given = only(graph, "q_conv2d").attributes["weight"]
    assert given.axis == 3
    assert set(given.zero_points) == {0}
    weight = graph.producers[only(graph, "q_conv2d").operands[1]].attributes["value"]
    assert np.abs(weight.astype(int)).max(axis=(0, 1, 2)).tolist() == [127] * 16


def test_scales_are_shared_or_fixed_where_the_specification_says_so() -> None:
    pool = only(quantized(NETS["avg_pool"]), "q_avg_pool")
    assert pool.result.type.quantization == pool.operands[0].type.quantization
    softmax = only(quantized(NETS["softmax"]), "q_softmax")
    assert softmax.result.type.quantization == Quantization.of(1 / 256, -128)
    assert only(quantized(NETS["swish"]), "q_logistic").attributes["y"] == Quantization.of(1 / 256, -128)
    concat = only(quantized(NETS["concat"]), "concat")
    assert {v.type.quantization for v in concat.operands} == {concat.result.type.quantization}


def test_concat_widens_the_ranges_of_what_only_it_reads() -> None:
    def two(n: Net, x: object) -> object:
        a, b = (n.conv(x, 1, 1, 8, 4) for _ in range(2))
        return n.b.emit("concat", a, b, axis=-1)

    graph = quantized(Net(PICTURE, two))
    assert [op.name for op in graph.operations if op.name != "constant"] == ["q_conv2d", "q_conv2d", "concat"]


def test_weights_of_many_rows_are_rounded_as_those_of_few() -> None:
    weight = np.random.default_rng(0).standard_normal((3000, 400)).astype(np.float32)
    given = weight_scale(weight, None, Quantization.of(1), Quantization.of(1), per_channel=True)
    np.testing.assert_allclose(given.scales, np.abs(weight).max(0) / 127, rtol=1e-6)
    whole = weight_to_integers(weight, given)
    parts = [weight_to_integers(weight[rows], given) for rows in (slice(1700), slice(1700, None))]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    error = rounding_error(weight, whole, given)
    np.testing.assert_allclose(error, whole * np.array(given.scales) - weight, atol=1e-7)
    assert np.abs(error / given.scales).max() <= 0.5 + 1e-5


def test_filters_of_zeros_keep_their_bias() -> None:
    x, y = Quantization.of(0.02), Quantization.of(0.05)
    weight = np.zeros((1, 1, 4, 3), np.float32)
    weight[..., 0] = 0.5
    weight[..., 2] = 1e-30
    bias = np.array([1.0, 2.5, 1e4], np.float32)
    given = weight_scale(weight, bias, x, y, per_channel=True)
    assert np.all(np.array(given.scales) > 0)
    assert np.all(np.abs(bias / (x.scale * np.array(given.scales))) <= 2**30 * 1.001)
    assert weight_to_integers(weight, given)[0, 0, 0].tolist() == [127, 0, 0]


def test_chosen_results_stay_floats() -> None:
    net = Net(PICTURE, lambda n, x: n.conv(n.conv(x, 1, 1, 8, 4), 1, 1, 4, 4), Scheme(keep_float=("conv2d_1",)))
    names = [op.name for op in quantized(net).operations if op.name != "constant"]
    assert names == ["q_conv2d", "dequantize", "conv2d", "quantize"]


def test_operators_without_an_integer_form_are_an_error() -> None:
    net = Net(PICTURE, lambda n, x: n.b.emit("cos", x))
    with pytest.raises(NetcError, match=r"cos \(`cos`\) has no integer form"):
        quantized(net)


@pytest.mark.parametrize("name", NETS)
def test_operators_take_16_bits_or_stay_floats(name: str) -> None:
    net = NETS[name]
    graph = quantized(short(net, allow_float=True))
    assert any(op.name == "dequantize" for op in graph.operations) == (name in NOT_IN_16_BITS or net.scheme.allow_float)
    if name in NOT_IN_16_BITS:
        with pytest.raises(NetcError, match=r"has no integer form of 16 bits\n  hint: .* --keep-float "):
            quantized(short(net))
    verify(graph)
    x = net.samples()
    (wanted,) = evaluate(net.graph(), [x])
    (got,) = evaluate(graph, [integers(x, graph.inputs[0].type)])
    noise = ((real(got, graph) - wanted) ** 2).sum()
    assert (wanted.astype(np.float64) ** 2).sum() > 1000 * noise


def test_edges_have_the_types_asked_for() -> None:
    graph = quantized(NETS["unsigned edges"])
    assert (graph.inputs[0].type.dtype, graph.outputs[0].type.dtype) == (DType.U8, DType.U8)
    with pytest.raises(NetcError, match="takes and gives i8, u8, f32, not i16"):
        Scheme(DType.I16)


@pytest.mark.parametrize("method", METHODS)
def test_all_methods_give_usable_ranges(method: str) -> None:
    net = NETS["conv"]
    graph = quantized(net, method)
    x = net.samples()
    (wanted,) = evaluate(net.graph(), [x])
    (got,) = evaluate(graph, [integers(x, graph.inputs[0].type)])
    assert (wanted**2).sum() > 100 * ((real(got, graph) - wanted) ** 2).sum()


def test_ranges_are_saved_and_read(tmp_path: Path) -> None:
    prepared, calibration = calibrated(NETS["conv"].graph(), NETS["conv"].samples())
    ranges = calibration.ranges("mse")
    path = tmp_path / "ranges.json"
    path.write_text(ranges.to_json(), encoding="utf-8")
    assert Ranges.read(path) == ranges
    assert to_tflite(quantize(prepared, Ranges.read(path))) == to_tflite(quantize(prepared, ranges))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not a file of calibrated ranges"),
        ("[]", "not a file of calibrated ranges"),
        ('{"method": "mse", "samples": 1, "ranges": {"x": [1]}}', "not a file of calibrated ranges"),
        ('{"method": "mse", "samples": 1, "ranges": {"x": [1, 0]}}', "the range of `x` can't be"),
        ('{"method": "mse", "samples": 1, "ranges": {"x": [0, Infinity]}}', "the range of `x` can't be"),
    ],
)
def test_damaged_ranges_are_an_error(text: str, problem: str) -> None:
    with pytest.raises(NetcError, match=problem):
        Ranges.from_json(text)


def test_scales_that_no_kernel_takes_are_an_error() -> None:
    net = Net((1, 4), lambda net, x: net.b.emit("sub", x, x, location=Location("net.net", 3, 7)))
    prepared, calibration = calibrated(net.graph(), net.samples() * 1e7)
    with pytest.raises(NetcError, match=r"factor of .* is too large") as caught:
        quantize(prepared, calibration.ranges("minmax"))
    assert caught.value.diagnostics[0].location == Location("net.net", 3, 7)


def test_missing_ranges_are_an_error() -> None:
    prepared, calibration = calibrated(NETS["conv"].graph(), NETS["conv"].samples())
    ranges = calibration.ranges("minmax")
    with pytest.raises(NetcError, match="no calibrated range of `x`"):
        quantize(prepared, Ranges({"y": ranges["x"]}, "minmax", 1))


def test_calibration_says_what_is_wrong() -> None:
    net = NETS["dense"]
    _, calibration = calibrated(net.graph(), net.samples())
    with pytest.raises(NetcError, match="no calibration method `mes`"):
        calibration.ranges("mes")
    with pytest.raises(NetcError, match="`x` holds infinities or NaNs"):
        calibrated(net.graph(), np.full(net.shape, np.inf, np.float32))

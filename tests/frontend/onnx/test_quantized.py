"""Quantized ONNX files: QDQ and QLinear forms, as floats and as integers in TFLite files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
runtime = pytest.importorskip("onnxruntime")
quantizer = pytest.importorskip("onnxruntime.quantization")

from onnx import TensorProto, helper  # noqa: E402

import netc  # noqa: E402
from netc.cli import main  # noqa: E402
from netc.compiler.graph import verify  # noqa: E402
from netc.compiler.graph.interpreter import evaluate  # noqa: E402
from netc.compiler.quantization import quantize_as_given, states_scales  # noqa: E402
from netc.compiler.tflite import to_tflite  # noqa: E402
from netc.compiler.types import DType  # noqa: E402
from netc.frontend.onnx import graph_of  # noqa: E402

from .small_models import classifier, model  # noqa: E402

FORMS = [
    (form, activations, per_channel)
    for form in ("QDQ", "QOperator")
    for activations, per_channel in (("QInt8", True), ("QUInt8", False))
]


class Samples(quantizer.CalibrationDataReader):  # type: ignore[name-defined]
    """Inputs for ONNX Runtime's calibration."""

    def __init__(self, name: str, arrays: Any) -> None:
        self.rest = iter([{name: array} for array in arrays])

    def get_next(self) -> Any:
        return next(self.rest, None)


@pytest.fixture(scope="module")
def pictures() -> Any:
    """Inputs of the classifier."""
    return np.random.default_rng(5).standard_normal((6, 1, 3, 8, 8)).astype(np.float32)


def quantized_file(folder: Path, pictures: Any, form: str, activations: str, *, per_channel: bool) -> Path:
    """The classifier, quantized by ONNX Runtime."""
    floats, path = folder / "floats.onnx", folder / "quantized.onnx"
    made = classifier()
    onnx.save(made, floats)
    quantizer.quantize_static(
        floats,
        path,
        Samples(made.graph.input[0].name, pictures),
        quant_format=quantizer.QuantFormat[form],
        activation_type=quantizer.QuantType[activations],
        weight_type=quantizer.QuantType.QInt8,
        per_channel=per_channel,
    )
    return path


@pytest.mark.parametrize(("form", "activations", "per_channel"), FORMS)
def test_files_of_onnx_runtime_become_integer_graphs(
    form: str, activations: str, per_channel: bool, pictures: Any, tmp_path: Path
) -> None:
    path = quantized_file(tmp_path, pictures, form, activations, per_channel=per_channel)
    graph = netc.load(path)
    verify(graph)
    assert states_scales(graph)
    given = quantize_as_given(graph, {})
    verify(given.graph)
    names = [op.name for op in given.graph.operations if op.name != "constant"]
    assert (names.count("q_conv2d"), names.count("q_dense")) == (1, 1)
    assert not set(names) & {"conv2d", "dense", "mul", "round"}
    step = max(op.attributes["x"].scale for op in given.graph.operations if op.name == "dequantize")
    options = runtime.SessionOptions()
    if form == "QDQ" or activations == "QUInt8":  # no sums that saturate at 16 bits; QGemm of i8 has no such kernel
        options.add_session_config_entry("session.x64quantprecision", "1")
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    program = litert_program(to_tflite(given.graph))
    for picture in pictures:
        (wanted,) = session.run(None, {session.get_inputs()[0].name: picture})
        (floats,) = evaluate(graph, [picture])
        (integers,) = evaluate(given.graph, [picture])
        assert np.abs(floats - wanted).max() <= step * 1.01
        assert np.abs(integers - wanted).max() <= step * 2.01
        np.testing.assert_array_equal(program(picture), integers)


def litert_program(file: bytes) -> Any:
    """A TFLite file as a function, run by LiteRT's reference kernels."""
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    kernels = litert.OpResolverType.BUILTIN_REF
    interpreter = litert.Interpreter(model_content=file, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()

    def run(x: Any) -> Any:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

    return run


def chain(*nodes: tuple[str, tuple[str, ...], str], weights: Any = None, kind: int = TensorProto.FLOAT) -> Any:
    """A model of one input x [1, 4], with scales s (0.1), t (0.25) and zero points z (3, u8), zero (0, i8)."""
    made = [helper.make_node(op, list(inputs), [output], name=output) for op, inputs, output in nodes]
    known = {
        "s": np.float32(0.1),
        "t": np.float32(0.25),
        "z": np.uint8(3),
        "zero": np.int8(0),
        **(weights or {}),
    }
    return model(made, {"x": (1, 4)}, [nodes[-1][2]], known, kinds={"x": kind})


def between(op: str, *operands: str, scale: tuple[str, str] = ("s", "z"), weights: Any = None) -> Any:
    """A model whose operator reads d, which is x rounded by a scale, and whose result is rounded by t and zero."""
    return chain(
        ("QuantizeLinear", ("x", *scale), "q"),
        ("DequantizeLinear", ("q", *scale), "d"),
        (op, operands, "a"),
        ("QuantizeLinear", ("a", "t", "zero"), "r"),
        ("DequantizeLinear", ("r", "t", "zero"), "y"),
        weights=weights,
    )


def islands(made: Any) -> Any:
    """What becomes of a model."""
    return quantize_as_given(graph_of(made, "chain"), {})


def test_halves_are_rounded_to_even_numbers() -> None:
    made = chain(("QuantizeLinear", ("x", "t", "zero"), "y"))
    x = np.array([[0.125, 0.375, -0.125, 40]], np.float32)
    (found,) = evaluate(graph_of(made, "q"), [x])
    np.testing.assert_array_equal(found, [[0, 2, 0, 127]])


def test_an_operator_between_scales_works_on_integers() -> None:
    given = islands(between("Add", "d", "d"))
    assert [op.name for op in given.graph.operations] == ["quantize", "q_add", "dequantize"]
    assert given.graph.operations[0].result.type.quantization == netc_scale(0.1, -125)
    assert not given.notes


def netc_scale(scale: float, zero_point: int) -> Any:
    """One scale for a tensor."""
    from netc.compiler.types import Quantization

    return Quantization.of(scale, zero_point)


def test_a_value_on_two_scales_is_requantized() -> None:
    made = chain(
        ("QuantizeLinear", ("x", "s", "z"), "q"),
        ("QuantizeLinear", ("x", "t", "zero"), "r"),
        ("DequantizeLinear", ("q", "s", "z"), "d"),
        ("DequantizeLinear", ("r", "t", "zero"), "e"),
        ("Add", ("d", "e"), "a"),
        ("QuantizeLinear", ("a", "t", "zero"), "f"),
        ("DequantizeLinear", ("f", "t", "zero"), "y"),
    )
    given = islands(made)
    assert [op.name for op in given.graph.operations] == ["quantize", "requantize", "q_add", "dequantize"]
    assert any("another scale" in note for note in given.notes)


def test_edges_of_the_file_stay() -> None:
    made = chain(
        ("DequantizeLinear", ("x", "s", "z"), "d"),
        ("Relu", ("d",), "a"),
        ("QuantizeLinear", ("a", "t", "z"), "y"),
        kind=TensorProto.UINT8,
    )
    given = islands(made)
    assert given.graph.inputs[0].type.dtype is given.graph.outputs[0].type.dtype is DType.U8
    x = np.arange(4, dtype=np.uint8).reshape(1, 4) * 60
    (wanted,) = evaluate(graph_of(made, "chain"), [x])
    (found,) = evaluate(given.graph, [x])
    assert np.abs(found.astype(int) - wanted.astype(int)).max() <= 1


def test_what_has_no_integer_form_stays_float_and_says_so() -> None:
    made = between("Atan", "d")
    given = islands(made)
    names = [op.name for op in given.graph.operations]
    assert names.count("quantize") == names.count("dequantize") == 2
    assert any("stays float" in note for note in given.notes)
    x = np.array([[0.26, -3, 100, 0]], np.float32)
    np.testing.assert_allclose(evaluate(given.graph, [x])[0], evaluate(graph_of(made, "chain"), [x])[0], atol=1e-6)


def test_a_weight_off_any_symmetric_grid_gets_new_integers_and_says_so() -> None:
    weight = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    given = islands(between("MatMul", "d", "w", weights={"w": weight}))
    assert "q_dense" in [op.name for op in given.graph.operations]
    assert any("new integers" in note for note in given.notes)


def test_activations_with_a_scale_for_each_channel_stay_float_and_say_so() -> None:
    rng = np.random.default_rng(1)
    known = {
        "w": rng.standard_normal((4, 3)).astype(np.float32),
        "many": np.array([0.1, 0.2, 0.3, 0.4], np.float32),
        "zeros": np.zeros(4, np.int8),
    }
    made = between("MatMul", "d", "w", scale=("many", "zeros"), weights=known)
    given = islands(made)
    assert any("a scale for each channel" in note for note in given.notes)
    x = np.array([[0.26, -3, 100, 0]], np.float32)
    np.testing.assert_allclose(evaluate(given.graph, [x])[0], evaluate(graph_of(made, "chain"), [x])[0], atol=1e-6)


def test_quantize_writes_a_quantized_file_without_samples(
    pictures: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = quantized_file(tmp_path, pictures, "QDQ", "QUInt8", per_channel=True)
    target = tmp_path / "out.tflite"
    assert main(["quantize", str(path), "--input", "i8", "--output-type", "i8", "-o", str(target)]) == 0
    graph = netc.load(target)
    assert graph.inputs[0].type.dtype is graph.outputs[0].type.dtype is DType.I8
    assert "with the scales of" in capsys.readouterr().out
    assert main(["quantize", str(path), "--equalize", "-o", str(target)]) == 2
    assert "--equalize" in capsys.readouterr().err
    device = tmp_path / "device.tflite"
    assert main(["compile", str(path), "--target", "edgetpu", "-o", str(device)]) == 0
    assert netc.load(device).inputs[0].type.dtype is DType.I8


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("by_channel", [False, True])
def test_nan_becomes_the_smallest_integer(dtype: Any, by_channel: bool) -> None:
    """As in ONNX Runtime and the reference evaluator; ONNX leaves it open."""
    scale = np.full(3, 0.1, np.float32) if by_channel else np.float32(0.1)
    weights = {"s": scale, "z": np.full(np.shape(scale), 7, dtype)}
    made = model([helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"], axis=1)], {"x": (2, 3)}, ["y"], weights)
    x = np.array([[np.nan, 1, np.inf], [-np.inf, np.nan, -1]], np.float32)
    session = runtime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    (wanted,) = session.run(None, {"x": x})
    np.testing.assert_array_equal(evaluate(graph_of(made, "nan"), [x])[0], wanted)
    assert wanted[0, 0] == np.iinfo(dtype).min

"""What ends a whole compilation, where evidence is at odds, and causes that the neighbours of an operator explain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netc.compiler.edgetpu import OperatorFacts, Release, Report, predict, to_data, to_html, to_text
from netc.compiler.errors import NetcError

from .models import constant, convolution, elementwise, integers, model, tensor


def custom(name: str, dtype: str = "FLOAT32") -> OperatorFacts:
    return OperatorFacts("CUSTOM", (tensor(1, 8, dtype=dtype),), (tensor(1, 8, dtype=dtype),), written_as=name)


def causes(report: Report) -> list[tuple[str, str]]:
    return [(f.cause, f.cure) for f in report.failures]


def test_sizes_of_run_time_are_said_once_and_first() -> None:
    data = replace(tensor(1, 8, 8, 3), dynamic=True, name="image")
    layer = convolution(data, 4)
    shape = OperatorFacts("SHAPE", layer.outputs, (tensor(4, dtype="INT32"),))
    first = OperatorFacts("STRIDED_SLICE", (*shape.outputs, integers(0)), (tensor(1, dtype="INT32"),))
    size = OperatorFacts("PACK", (*first.outputs, integers(256)), (tensor(2, dtype="INT32"),))
    flat = OperatorFacts("RESHAPE", (*layer.outputs, *size.outputs), (tensor(1, 256),))
    report = predict(model(layer, shape, first, size, flat, inputs=(data,)))
    assert [cause for cause, _ in causes(report)] == ["sizes are only known at run time, first of image"]
    text = to_text(report)
    assert text.startswith("The Edge TPU compiler refuses the whole model:\n  sizes are only known")
    assert text.count("a shape is computed at run time") == 1
    assert "8-bit" not in text
    assert "The compiler refuses the whole model." in to_html(report)
    assert to_data(report)["failures"]


@pytest.mark.parametrize(
    ("op", "release", "cause"),
    [
        (replace(convolution(tensor(1, 8, 8, 3), 4), version=6), "16.0", "version 6 of CONV_2D is newer than release"),
        (replace(elementwise("REVERSE_V2", tensor(1, 8)), version=3), "15.0", "version 3 of REVERSE_V2"),
        (elementwise("GELU", tensor(1, 8)), "16.0", "GELU is newer than release 16.0"),
        (custom("Atan"), "16.0", "the custom operator Atan is not known to it"),
    ],
)
def test_what_the_compiler_does_not_load(op: OperatorFacts, release: str, cause: str) -> None:
    (failure,) = predict(model(op), Release.parse(release)).failures
    assert failure.cause.startswith(cause)
    assert failure.cure


def test_what_it_loads() -> None:
    for op in (
        replace(convolution(tensor(1, 8, 8, 3), 4), version=5),
        replace(elementwise("REVERSE_V2", tensor(1, 8)), version=3),
        custom("TFLite_Detection_PostProcess"),
    ):
        assert predict(model(op)).failures == ()


def test_custom_operators_that_are_meant_for_the_host() -> None:
    text = to_text(predict(model(custom("TFLite_Detection_PostProcess"))))
    assert "instead: nothing: it is meant to run on the CPU" in text


def test_a_compiled_file_is_no_source() -> None:
    with pytest.raises(NetcError, match="compiled for the Edge TPU already"):
        predict(model(custom("edgetpu-custom-op", "UINT8")))


def test_large_tensors_are_doubted() -> None:
    large, small = elementwise("LOGISTIC", tensor(1, 8400, 80)), elementwise("LOGISTIC", tensor(1, 48, 48, 17))
    (doubt,) = predict(model(large)).doubts
    assert doubt.startswith("1 LOGISTIC of up to 672,000 elements")
    assert "In doubt:" in to_text(predict(model(large)))
    assert "In doubt" in to_html(predict(model(large)))
    assert predict(model(small)).doubts == ()


def quantize(shape: tuple[int, ...], floats: OperatorFacts | None = None) -> OperatorFacts:
    source = floats.outputs[0] if floats else tensor(*shape, dtype="FLOAT32")
    return OperatorFacts("QUANTIZE", (source,), (tensor(*shape),))


def test_borders_and_floats_in_the_middle() -> None:
    first = quantize((1, 8))
    down = OperatorFacts("DEQUANTIZE", first.outputs, (tensor(1, 8, dtype="FLOAT32"),))
    floats = elementwise("EXP", *down.outputs)
    again = quantize((1, 8), floats)
    last = OperatorFacts("DEQUANTIZE", again.outputs, (tensor(1, 8, dtype="FLOAT32"),))
    rows = predict(model(first, down, floats, again, last)).rows
    said = [(o.cause, o.rewrite) for row in rows if (o := row.placement.objection)]
    assert said[0][0] == "floats enter here: the host quantizes them"
    assert said[1][1].startswith("quantize EXP behind it")
    assert said[3][0] == "EXP in front of it works on floats"
    assert said[4][1] == "let the model end in integers; the host converts them"


def test_causes_of_their_own() -> None:
    data = tensor(1, 4, 1, 4, 8)
    packed = OperatorFacts("PACK", (data, data), (tensor(1, 4, 2, 4, 8),))
    for op, words in (
        (elementwise("SOFTMAX", tensor(7, 10)), "the softmax has 7 rows"),
        (elementwise("SPLIT_V", tensor(1, 10)), "use SPLIT into equal parts"),
        (elementwise("SVDF", tensor(1, 10)), "a convolution over time"),
        (elementwise("READ_VARIABLE", tensor(1, 10)), "pass the states as inputs and outputs"),
        (packed, "write resize_nearest by 2"),
    ):
        assert words in to_text(predict(model(op))), op.kind


def test_a_tensor_without_a_shape_is_no_cause() -> None:
    data = replace(tensor(), dynamic=False)
    layer = OperatorFacts("CONV_2D", (data, constant(8, 3, 3, 4)), (tensor(),))
    assert "grouped" not in to_text(predict(model(layer)))

"""Which region the compiler makes."""

from __future__ import annotations

from netc.compiler.edgetpu import OperatorFacts, Status, predict

from .models import convolution, elementwise, model, tensor


def test_everything_behind_a_break_stays_on_the_cpu() -> None:
    first = convolution(tensor(1, 8, 8, 4), 8)
    leaky = elementwise("LEAKY_RELU", *first.outputs)
    second = convolution(leaky.outputs[0], 8)
    report = predict(model(first, leaky, second))
    assert [row.placement.status for row in report.rows] == [
        Status.MAPPED,
        Status.NOT_SUPPORTED,
        Status.SECOND_SUBGRAPH,
    ]
    assert len(report.mapped) == 1
    assert [row.index for row in report.causes] == [1]


def test_behind_means_in_the_data_flow() -> None:
    stem = convolution(tensor(1, 8, 8, 4), 8)
    dead_end = elementwise("ARG_MAX", *stem.outputs)
    beside = convolution(stem.outputs[0], 8)
    joined = elementwise("ADD", beside.outputs[0], dead_end.outputs[0])
    report = predict(model(stem, dead_end, beside, joined))
    assert [row.placement.mapped for row in report.rows] == [True, False, True, False]


def test_operators_at_the_head_break_nothing() -> None:
    image = tensor(1, 8, 8, 4, dtype="FLOAT32")
    quantized = OperatorFacts("QUANTIZE", (image,), (tensor(1, 8, 8, 4),))
    layer = convolution(quantized.outputs[0], 8)
    report = predict(model(quantized, layer))
    assert [row.placement.status for row in report.rows] == [Status.LIMITATION, Status.MAPPED]


def test_unsupported_operators_keep_their_own_status_behind_a_break() -> None:
    first = convolution(tensor(1, 8, 8, 4), 8)
    gather = elementwise("GATHER", *first.outputs)
    leaky = elementwise("LEAKY_RELU", *gather.outputs)
    last = elementwise("RELU", *leaky.outputs)
    report = predict(model(first, gather, leaky, last))
    assert [status for _, _, status in report.status_table()] == [
        Status.MAPPED,
        Status.SECOND_SUBGRAPH,
        Status.NOT_SUPPORTED,
        Status.NOT_SUPPORTED,
    ]


def test_a_break_is_named_to_those_behind() -> None:
    first = convolution(tensor(1, 8, 8, 4), 8)
    leaky = OperatorFacts("LEAKY_RELU", first.outputs, (tensor(1, 8, 8, 8),), location="net.net:3:4")
    last = elementwise("RELU", *leaky.outputs)
    objection = predict(model(first, leaky, last)).rows[2].placement.objection
    assert objection is not None
    assert "LEAKY_RELU (net.net:3:4)" in objection.cause


def test_an_empty_model_is_predicted() -> None:
    report = predict(model(elementwise("LEAKY_RELU", tensor(1, 4))))
    assert report.mapped == ()
    assert report.memory.cached == 0

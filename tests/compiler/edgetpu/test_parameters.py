"""Bytes of parameters, against numbers that the compiler printed or wrote."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netc.compiler.edgetpu import LATEST, OperatorFacts, Release, TensorFacts, predict
from netc.compiler.edgetpu.parameters import LONG_DENSE_ROW, LONG_ROW, Parameters, parameters_of

from .models import constant, convolution, dense, elementwise, model, tensor


def stored(op: OperatorFacts, release: Release = LATEST, *, from_host: bool = False) -> Parameters:
    return parameters_of(op, release, from_host=from_host)


def test_convolutions() -> None:
    layer = convolution(tensor(1, 8, 8, 64), 64, 3)
    assert stored(layer) == Parameters(16 * (16 * 9 * 16 + 16), 16 * (16 * 9 * 16 + 16))
    by_channel = convolution(tensor(1, 8, 8, 64), 64, 3, per_channel=True)
    assert stored(by_channel).file == 16 * (16 * 9 * 16 + 48)
    unbiased = replace(by_channel, inputs=(*by_channel.inputs[:2], constant(64, dtype="INT32", zero=True)))
    assert stored(unbiased).file == 16 * (16 * 9 * 16 + 32)


@pytest.mark.parametrize(("filters", "groups"), [(1, 1), (3, 4), (17, 8), (64, 16), (68, 32), (1001, 256)])
def test_outputs_are_padded(filters: int, groups: int) -> None:
    assert stored(convolution(tensor(1, 8, 8, 32), filters)).file == -(-groups * (16 * 8 + 16) // 64) * 64


def test_one_output_channel() -> None:
    assert stored(convolution(tensor(1, 2, 2, 3), 1)).file == 64
    assert stored(convolution(tensor(1, 128, 128, 32), 1)).file == 192
    assert stored(dense(tensor(1, 256), 1)).file == 4 * 16 * 64


def test_depthwise_is_stored_as_diagonal_blocks() -> None:
    def depthwise(channels: int, filters: int, kernel: int) -> OperatorFacts:
        weight = constant(1, kernel, kernel, filters)
        inputs = (tensor(1, 8, 8, channels), weight, constant(filters, dtype="INT32"))
        return OperatorFacts("DEPTHWISE_CONV_2D", inputs, (tensor(1, 8, 8, filters),))

    assert stored(depthwise(32, 32, 3)).file == 8 * (16 * 9 + 16)
    assert stored(depthwise(1, 8, 7)).file == 3200


def test_dense_layers_keep_the_places_of_their_input_apart() -> None:
    image = tensor(1, 2, 2, 3)
    layer = OperatorFacts("FULLY_CONNECTED", (image, constant(100, 12), constant(100)), (tensor(1, 100),))
    assert stored(layer).file == 32 * (16 * 4 + 16)


def test_long_rows_of_dense_layers_are_streamed_with_their_biases() -> None:
    short, long = tensor(1, LONG_DENSE_ROW // 4), tensor(1, LONG_DENSE_ROW // 4 + 4)
    assert stored(dense(short, 10)).streamed == 0
    layer = dense(long, 10)
    biased = replace(layer, inputs=(*layer.inputs, constant(10, dtype="INT32")))
    assert stored(biased) == Parameters(streamed=4 * (LONG_DENSE_ROW + 16 + 16))


def test_long_rows_of_convolutions_are_streamed_but_not_their_biases() -> None:
    layer = convolution(tensor(1, 9, 9, LONG_ROW // 16 // 9 * 4 + 4), 10, 3)
    assert stored(layer) == Parameters(64, 16 * 16, 4 * 16 * 9 * (LONG_ROW // 16 // 9 + 1))


def test_biases_of_zero_and_scales_of_channels() -> None:
    layer = convolution(tensor(1, 8, 8, 32), 16)
    data, weight, bias = layer.inputs
    assert weight is not None

    def per_group(weight: TensorFacts, bias: TensorFacts | None, release: Release = LATEST) -> int:
        return stored(replace(layer, inputs=(data, weight, bias)), release).file // 4 - 16 * 8

    assert per_group(weight, bias) == 16
    zeros = constant(16, dtype="INT32", zero=True)
    assert [per_group(weight, zeros, release) for release in (LATEST, Release(15, 0), Release(1, 0))] == [0, 16, 16]
    channels = replace(weight, per_channel=True)
    assert per_group(channels, None) == 32
    assert per_group(replace(channels, uniform_scales=True), None) == 16


def test_channels_that_a_reshape_cuts_are_padded_piece_by_piece() -> None:
    layer = convolution(tensor(1, 8, 8, 32), 45)
    cut = OperatorFacts("RESHAPE", layer.outputs, (tensor(1, 576, 5),))
    row = predict(model(layer, cut)).rows[0]
    assert row.stored is not None
    assert row.stored.file == 32 * (16 * 8 + 16)  # 45 channels in pieces of 5 count as 72, that is 18 groups: 32
    whole = predict(model(layer, OperatorFacts("RESHAPE", layer.outputs, (tensor(1, 64, 45),)))).rows[0]
    assert whole.stored is not None
    assert whole.stored.file == 12 * (16 * 8 + 16)


@pytest.mark.parametrize(("height", "stride", "rows"), [(1, 1, 1), (2, 2, 2), (2, 1, 3), (8, 1, 3)])
def test_rows_of_a_kernel_that_only_meet_padding_are_not_stored(height: int, stride: int, rows: int) -> None:
    layer = convolution(tensor(1, height, 8, 32), 16, 3)
    options = {"Padding": "SAME", "StrideH": stride, "StrideW": 1}
    assert stored(replace(layer, options=options)).file == 4 * (16 * rows * 3 * 8 + 16)


@pytest.mark.parametrize(("classes", "expected"), [(10, 576), (965, 46464), (256, 192), (16384, 192)])
def test_softmax_since_16(classes: int, expected: int) -> None:
    softmax = elementwise("SOFTMAX", tensor(1, classes))
    assert stored(softmax).file == expected
    assert stored(softmax, Release(15, 0)).file == 0


def test_constants_of_elementwise_operators_are_streamed() -> None:
    assert stored(elementwise("MUL", tensor(1, 128), constant(128))).streamed == 2048
    assert stored(elementwise("SUB", tensor(1, 9, 9, 3), constant(1, 1, 1, 3))).streamed == 64
    assert stored(elementwise("MUL", tensor(1, 48, 48, 1), constant(48, 48, 1))).streamed == 2304
    assert stored(elementwise("MUL", tensor(1, 9, 9, 3), constant())).streamed == 0


def test_flattening_channels_that_four_does_not_divide() -> None:
    def flatten(*shape: int) -> OperatorFacts:
        data = tensor(*shape)
        return OperatorFacts("RESHAPE", (data,), (tensor(1, data.size),))

    assert stored(flatten(1, 6, 6, 64)).file == 0
    assert stored(flatten(1, 3, 3, 1)).file == 640
    assert stored(flatten(1, 64, 64, 1)).file == 1088
    assert stored(flatten(1, 1, 1, 1001)).file == 64
    assert stored(flatten(1, 64, 64, 1), from_host=True).file == 0
    assert stored(flatten(1, 180, 27), Release(14, 1)).file + stored(flatten(1, 180, 27), Release(14, 1)).streamed == (
        1216 * (16 * 1260 + 16)
    )


def test_splitting_channels() -> None:
    one = tensor(1, 8, 8, 1)
    assert stored(OperatorFacts("SPLIT", (tensor(1, 8, 8, 6),), (one,) * 6)).file == 192
    assert stored(OperatorFacts("SPLIT", (tensor(1, 8, 8, 8),), (tensor(1, 8, 8, 4),) * 2)).file == 0


def test_whole_layers_are_cached_while_there_is_room() -> None:
    """Five convolutions of 452 and of 522 filters: the real compiler streamed one layer, and two."""
    for filters, streamed in ((442, 0), (452, 1), (522, 2), (642, 3)):
        operators = [convolution(tensor(1, 64, 64, 3), filters, 3, per_channel=True)]
        for _ in range(4):
            operators.append(convolution(operators[-1].outputs[0], filters, 3, per_channel=True))
        report = predict(model(*operators))
        assert sum(row.stored is not None and row.stored.streamed > 0 for row in report.rows) == streamed


def test_early_releases_leave_less_beside_activations() -> None:
    layer = convolution(tensor(1, 512, 512, 32), 32)
    late, early = predict(model(layer)), predict(model(layer), Release(1, 0))
    assert late.memory.activations == early.memory.activations == 196_608
    assert early.memory.capacity < late.memory.capacity < 8 << 20

"""What the compiler says of single operators."""

from __future__ import annotations

from dataclasses import replace

import pytest

from netc.compiler.edgetpu import LATEST, OperatorFacts, Release, Status, TensorFacts
from netc.compiler.edgetpu.support import REWRITES, SUPPORT, objection
from netc.compiler.errors import NetcError

from .models import constant, convolution, dense, elementwise, integers, tensor

IMAGE = (1, 16, 16, 8)


def status(op: OperatorFacts, release: Release = LATEST) -> Status:
    """The status of an operator by itself."""
    found = objection(op, release)
    return Status.MAPPED if found is None else found.status


def resize(kind: str, size: int, version: int = 1) -> OperatorFacts:
    return OperatorFacts(kind, (tensor(*IMAGE), integers(size, size)), (tensor(1, size, size, 8),), version)


def test_ordinary_operators_map() -> None:
    image = tensor(*IMAGE)
    for op in (
        convolution(image, 32, 3),
        dense(tensor(1, 64), 10),
        elementwise("ADD", image, image),
        elementwise("LOGISTIC", image),
        elementwise("SOFTMAX", tensor(1, 10)),
        resize("RESIZE_BILINEAR", 32, version=3),
    ):
        assert status(op) is Status.MAPPED, op.kind


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        (elementwise("LEAKY_RELU", tensor(*IMAGE)), Status.NOT_SUPPORTED),
        (elementwise("LOGISTIC", tensor(*IMAGE, dtype="FLOAT32")), Status.DATA_TYPE),
        (elementwise("MUL", tensor(1, 4, dtype="INT32"), tensor(1, 4, dtype="INT32")), Status.DATA_TYPE),
        (OperatorFacts("DEQUANTIZE", (tensor(1, 10),), (tensor(1, 10, dtype="FLOAT32"),)), Status.DATA_TYPE),
        (OperatorFacts("CUSTOM", (tensor(1, 10),), (tensor(1, 10, dtype="FLOAT32"),)), Status.DATA_TYPE),
        (OperatorFacts("QUANTIZE", (tensor(1, 10, dtype="FLOAT32"),), (tensor(1, 10),)), Status.LIMITATION),
        (convolution(tensor(30, 16, 16, 8), 8), Status.RANK),
        (convolution(tensor(30, 16, 16, 8, dtype="FLOAT32"), 8), Status.RANK),
        (resize("RESIZE_BILINEAR", 33), Status.LIMITATION),
        (elementwise("SOFTMAX", tensor(1, 16385)), Status.LIMITATION),
        (elementwise("SOFTMAX", tensor(7, 10)), Status.TWO_DIMENSIONAL),
        (OperatorFacts("MEAN", (tensor(1, 256, 128, 3), integers(1, 2)), (tensor(1, 3),)), Status.LIMITATION),
        (OperatorFacts("MEAN", (tensor(1, 64, 128, 3), integers(1, 2)), (tensor(1, 3),)), Status.MAPPED),
        (OperatorFacts("MEAN", (tensor(1, 8, 8, 6), integers(-1)), (tensor(1, 8, 8),)), Status.LIMITATION),
        (OperatorFacts("SUM", (tensor(1, 8, 8, 4), integers(0)), (tensor(8, 8, 4),)), Status.LIMITATION),
        (
            OperatorFacts("PAD", (tensor(*IMAGE), integers(0, 1, 0, 0, 0, 0, 0, 0)), (tensor(1, 16, 16, 8),)),
            Status.LIMITATION,
        ),
        (OperatorFacts("SPLIT", (integers(0), tensor(*IMAGE)), (tensor(1, 16, 16, 8),) * 2), Status.LIMITATION),
        (OperatorFacts("SPLIT", (integers(0), tensor(*IMAGE)), (tensor(1, 16, 16, 8),)), Status.MAPPED),
    ],
)
def test_status(op: OperatorFacts, expected: Status) -> None:
    assert status(op) is expected


def test_weights_must_be_constant_and_rows_single() -> None:
    layer = dense(tensor(1, 64), 10)
    assert status(replace(layer, inputs=(tensor(1, 64), tensor(10, 64)))) is Status.NOT_CONSTANT
    assert status(replace(layer, inputs=(tensor(7, 64), constant(10, 64)), outputs=(tensor(7, 10),))) is (
        Status.TWO_DIMENSIONAL
    )
    assert status(replace(layer, version=9)) is Status.VERSION


def test_strides_of_slices() -> None:
    def strided(stride: int) -> OperatorFacts:
        bounds = (integers(0, 0, 0, 0), integers(1, 16, 16, 8), integers(1, stride, 1, 1))
        return OperatorFacts("STRIDED_SLICE", (tensor(*IMAGE), *bounds), (tensor(1, 16 // stride, 16, 8),))

    assert status(strided(1)) is Status.MAPPED
    assert status(strided(2)) is Status.STRIDE


def test_activations_belong_to_convolutions_but_not_to_pooling() -> None:
    relu = {"FusedActivationFunction": "RELU"}
    assert status(replace(convolution(tensor(*IMAGE), 8), options=relu)) is Status.MAPPED
    assert status(replace(elementwise("AVERAGE_POOL_2D", tensor(*IMAGE)), options=relu)) is Status.LIMITATION


def test_groups_and_uneven_dilations() -> None:
    layer = convolution(tensor(*IMAGE), 8, 3)
    assert status(replace(layer, options={"DilationHFactor": 2, "DilationWFactor": 2})) is Status.MAPPED
    assert status(replace(layer, options={"DilationHFactor": 2, "DilationWFactor": 1})) is Status.LIMITATION
    assert status(replace(layer, inputs=(tensor(*IMAGE), constant(8, 3, 3, 4)))) is Status.LIMITATION
    row = replace(layer, inputs=(tensor(*IMAGE), constant(8, 1, 3, 8)))
    assert status(replace(row, options={"DilationHFactor": 1, "DilationWFactor": 2})) is Status.MAPPED


def test_only_zeros_are_joined_on() -> None:
    data = tensor(*IMAGE)
    assert status(elementwise("CONCATENATION", data, constant(*IMAGE, zero=True))) is Status.MAPPED
    assert status(elementwise("CONCATENATION", data, constant(*IMAGE))) is Status.LIMITATION
    assert status(elementwise("CONCATENATION", data, data, constant(*IMAGE, zero=True))) is Status.LIMITATION


def test_sizes_known_at_run_time_only() -> None:
    data = replace(tensor(*IMAGE), dynamic=True)
    assert status(elementwise("RELU", data)) is Status.LIMITATION


def test_releases_differ() -> None:
    transposed = elementwise("TRANSPOSE", tensor(*IMAGE))
    assert status(transposed) is Status.MAPPED
    assert status(transposed, Release(15, 0)) is Status.NOT_SUPPORTED
    assert status(resize("RESIZE_NEAREST_NEIGHBOR", 32, version=3), Release(15, 0)) is Status.VERSION
    assert status(resize("RESIZE_BILINEAR", 64), Release(2, 0)) is Status.IMPRECISE


def test_release_from_text() -> None:
    assert Release.parse("16.0.384591198") == LATEST
    assert str(Release.parse("2.1.302470888")) == "2.1"
    with pytest.raises(NetcError, match=r"there is no release 99\.0"):
        Release.parse("99.0")
    for text in ("16", "x.1", "1.", "", "1.²"):
        with pytest.raises(NetcError, match="is not a release"):
            Release.parse(text)


def test_every_refused_operator_has_another_way() -> None:
    assert not set(REWRITES) & set(SUPPORT) - {"TRANSPOSE"}
    found = objection(elementwise("HARD_SWISH", TensorFacts(IMAGE, "INT8")), LATEST)
    assert found is not None
    assert found.rewrite == "write x * relu6(x + 3) * (1/6)"

"""Contractions whose weights are computed, which are written with them, and weights on a dimension of another name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from .calls import check
from .small_models import Model

WINDOW = {"Padding": 0, "StrideW": 1, "StrideH": 1}
F = np.float32
FORMS = {
    "FULLY_CONNECTED": ((3, 5), (4, 5), (3, 4), ("FullyConnectedOptions", {})),
    "CONV_2D": ((1, 5, 4, 3), (2, 3, 3, 3), (1, 5, 4, 2), ("Conv2DOptions", WINDOW)),
    "DEPTHWISE_CONV_2D": (
        (1, 5, 4, 3),
        (1, 3, 3, 6),
        (1, 5, 4, 6),
        ("DepthwiseConv2DOptions", {**WINDOW, "DepthMultiplier": 2}),
    ),
    "CONV_3D": ((1, 3, 4, 4, 2), (2, 2, 2, 2, 3), (1, 3, 4, 4, 3), ("Conv3DOptions", {**WINDOW, "StrideD": 1})),
}


def _contraction(name: str, dtype: Any) -> bytes:
    x_shape, w_shape, y_shape, options = FORMS[name]
    m = Model()
    scales = [{} if dtype is F else {"scale": s} for s in (0.1, 0.02, 0.3)]
    x, w = m.tensor("x", x_shape, dtype, **scales[0]), m.tensor("w", w_shape, dtype, **scales[1])
    bias = m.constant("bias", np.arange(y_shape[-1]).astype(F if dtype is F else np.int32))
    y = m.tensor("y", y_shape, dtype, **scales[2])
    m.operator(name, (x, w, bias), (y,), options)
    return m.data((x, w), (y,))


@pytest.mark.parametrize("name", FORMS)
def test_computed_weights_of_floats(name: str) -> None:
    check(_contraction(name, F), tolerance=1e-4)


@pytest.mark.parametrize("name", ["FULLY_CONNECTED", "CONV_2D"])
def test_computed_weights_of_integers(name: str) -> None:
    check(_contraction(name, np.int8))


def test_a_computed_weight_of_a_transposed_convolution() -> None:
    m = Model()
    size = m.constant("size", np.array((1, 7, 7, 3), np.int32))
    x, w, y = (m.tensor(n, s, F) for n, s in (("x", (1, 3, 3, 2)), ("w", (3, 3, 3, 2)), ("y", (1, 7, 7, 3))))
    options = {"Padding": 1, "StrideH": 2, "StrideW": 2}
    m.operator("TRANSPOSE_CONV", (size, w, x), (y,), ("TransposeConvOptions", options))
    check(m.data((x, w), (y,)), tolerance=1e-4)


def test_a_weight_that_is_turned_elsewhere_too() -> None:
    m = Model()
    order = m.constant("order", np.array((1, 0), np.int32))
    x, y, w, turned = (m.tensor(n, s, F) for n, s in (("x", (3, 5)), ("y", (3, 3)), ("w", (3, 5)), ("turned", (5, 3))))
    m.operator("TANH", (x,), (w,))
    m.operator("TRANSPOSE", (w, order), (turned,), ("TransposeOptions", {}))
    m.operator("FULLY_CONNECTED", (x, w, -1), (y,), ("FullyConnectedOptions", {}))
    check(m.data((x,), (y, turned)), tolerance=1e-4)


@pytest.mark.parametrize("asymmetric", [False, True])
def test_scales_of_a_dense_layer_along_its_inputs_are_those_of_filters(asymmetric: bool) -> None:
    m, rng = Model(), np.random.default_rng(4)
    x, y = m.tensor("x", (3, 5), F), m.tensor("y", (3, 5), F)
    numbers = rng.integers(-127, 128, (5, 5)).astype(np.int8)
    w = m.constant("w", numbers, scale=(0.01, 0.02, 0.05, 0.04, 0.03), axis=1)
    options = {"AsymmetricQuantizeInputs": asymmetric}
    m.operator("FULLY_CONNECTED", (x, w, -1), (y,), ("FullyConnectedOptions", options))
    check(m.data((x,), (y,)), tolerance=1e-5)

"""Operators of ONNX Runtime's own domain against ONNX Runtime: what its optimizers and quantizers write."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from onnx import helper  # noqa: E402

import netc  # noqa: E402
from netc.frontend.onnx import graph_of  # noqa: E402

from .agreement import agrees, problems  # noqa: E402
from .one_node import DRAW, Array, check, floats, of, small_bytes  # noqa: E402

# ---- products, activations, normalisation ---------------------------------------------------------------------------

ACTIVATIONS = {
    "Relu": [],
    "Tanh": [],
    "Sigmoid": [],
    "LeakyRelu": [0.2],
    "Clip": [-0.5, 0.75],
    "HardSigmoid": [0.3, 0.4],
}


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("adds", [False, True])
def test_convolutions_with_an_activation(activation: str, adds: bool) -> None:
    x, w, b = floats(2, 4, 7, 6), floats(6, 2, 3, 3), floats(6)
    inputs = [x, None, None, *([floats(2, 6, 4, 4)] if adds else [])]
    numbers = ACTIVATIONS[activation]
    rules = {"activation_params": numbers} if numbers else {}
    sizes = {"group": 2, "strides": [2, 2], "pads": [1, 2, 1, 1]}
    check("FusedConv", inputs, {1: w, 2: b}, activation=activation, **rules, **sizes)


@pytest.mark.parametrize("activation", ["Relu", "Tanh", "Sigmoid", "LeakyRelu", "Softplus", "Softsign"])
def test_dense_layers_with_an_activation(activation: str) -> None:
    numbers = {"activation_alpha": 0.3} if activation == "LeakyRelu" else {}
    known = {1: floats(6, 5), 2: floats(6)}
    check("FusedGemm", [floats(3, 5)], known, transB=1, alpha=0.5, beta=2.0, activation=activation, **numbers)


def test_an_unknown_activation_is_refused_by_name() -> None:
    made, _ = of("FusedGemm", [floats(3, 5)], {1: floats(5, 6)}, activation="Cosine")
    said = problems(made)
    for word in ("com.microsoft.FusedGemm", "Cosine", "known: ", "Relu"):
        assert word in said


def test_blocks_for_one_processor_are_refused_with_a_cure() -> None:
    made, _ = of("ReorderOutput", [floats(1, 16, 4, 4)], domain="com.microsoft.nchwc", channels=6)
    made.opset_import.append(helper.make_opsetid("com.microsoft.nchwc", 1))
    said = problems(made)
    assert "in blocks for one kind of processor" in said
    assert "ORT_ENABLE_EXTENDED" in said


def test_a_name_like_an_unknown_one_is_of_its_domain() -> None:
    made, _ = of("BiasGeluu", [floats(3, 5), floats(5)])
    assert "did you mean BiasGelu?" in problems(made)
    made, _ = of("Conv", [floats(1, 1, 5)])
    assert "did you mean Conv?" not in problems(made)


@pytest.mark.parametrize("flags", range(16))
@pytest.mark.parametrize("operator", ["FusedMatMul", "TransposeMatMul"])
def test_products_of_transposed_matrices(operator: str, flags: int) -> None:
    names = ("transA", "transB", *(("transBatchA", "transBatchB") if operator == "FusedMatMul" else ()))
    turned = {name: flags >> i & 1 for i, name in enumerate(names)}
    shapes = []
    for side, shape in (("A", [2, 3, 4, 5]), ("B", [2, 3, 5, 6])):
        shape[-2:] = shape[:-3:-1] if turned[f"trans{side}"] else shape[-2:]
        if turned.get(f"transBatch{side}"):
            shape = [shape[2], *shape[:2], shape[3]]
        shapes.append(shape)
    check(operator, [floats(*shape) for shape in shapes], alpha=0.25, **turned)


@pytest.mark.parametrize("operator", ["Gelu", "BiasGelu", "FastGelu", "QuickGelu"])
@pytest.mark.parametrize("biased", [False, True])
def test_activations(operator: str, biased: bool) -> None:
    if biased and operator in ("Gelu", "QuickGelu"):
        pytest.skip("it has no bias")
    bias = {1: floats(8)} if biased or operator == "BiasGelu" else {}
    check(operator, [3 * floats(2, 5, 8)], bias, **({"alpha": 1.3} if operator == "QuickGelu" else {}))


@pytest.mark.parametrize("skip", [(2, 5, 8), (1, 5, 8), (5, 8)])
@pytest.mark.parametrize("places", [(), (3,), (3, 4)])
def test_norms_of_sums(skip: tuple[int, ...], places: tuple[int, ...]) -> None:
    known = {2: floats(8), **{place: floats(8) for place in places}}
    check("SkipLayerNormalization", [floats(2, 5, 8), floats(*skip)], known, outputs=0b1001, epsilon=1e-3)


@pytest.mark.parametrize("biased", [False, True])
def test_root_mean_square_norms_of_sums(biased: bool) -> None:
    known = {2: floats(8), **({3: floats(8)} if biased else {})}
    check("SkipSimplifiedLayerNormalization", [floats(2, 5, 8), floats(2, 5, 8)], known, outputs=0b1001)
    check("SimplifiedLayerNormalization", [floats(2, 5, 8)], {1: floats(8)}, domain="", axis=-1, epsilon=1e-3)


def test_layer_norms_before_onnx_had_them() -> None:
    made, arrays = of("LayerNormalization", [floats(2, 5, 8)], {1: floats(8), 2: floats(8)}, domain="", axis=-1)
    made.opset_import[0].version = 12
    agrees(made, *arrays)


@pytest.mark.parametrize("places", [(), (1,), (7,), (1, 7), (1, 7, 8)])
def test_embeddings(places: tuple[int, ...]) -> None:
    def ids(high: int) -> Array:
        return DRAW.integers(0, high, (2, 5)).astype(np.int32)

    inputs: list[Array | None] = [ids(9), *[None] * 8]
    for place, high in ((1, 2), (7, 2), (8, 6)):
        inputs[place] = ids(high) if place in places else None
    known = {2: floats(9, 8), 3: floats(6, 8), 5: floats(8), 6: floats(8)}
    if 1 in places:
        known[4] = floats(2, 8)
    check("EmbedLayerNormalization", inputs, known, outputs=0b111)
    if 8 in places:
        return
    inputs = [*inputs[:8], *[None] * 10]
    for place in tuple(known):
        known[place] = DRAW.integers(0, 256, known[place].shape).astype(np.uint8)
        known |= {place + 6: np.float32(0.02), place + 11: np.uint8(120)}
    check("QEmbedLayerNormalization", inputs, known, outputs=0b11)


# ---- weights in blocks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "zero"), [(b, z) for b in (2, 4, 8) for z in ("none", "bytes", "floats")][:-1])
@pytest.mark.parametrize("inputs", [32, 40])
def test_products_with_weights_in_blocks(bits: int, zero: str, inputs: int) -> None:
    outputs, size = 6, 16
    blocks = -(-inputs // size)
    known = {1: DRAW.integers(0, 256, (outputs, blocks, size * bits // 8)).astype(np.uint8)}
    known[2] = np.abs(floats(outputs, blocks)) / 8
    if zero == "bytes":
        known[3] = DRAW.integers(0, 256, (outputs, -(-blocks * bits // 8))).astype(np.uint8)
    elif zero == "floats":
        known[3] = floats(outputs, blocks) + (1 << (bits - 1))
    check("MatMulNBits", [floats(2, 3, inputs)], known, K=inputs, N=outputs, bits=bits, block_size=size)


@pytest.mark.parametrize("kind", [0, 1])
def test_products_with_weights_out_of_sixteen_numbers(kind: int) -> None:
    inputs, outputs, size = 48, 6, 32
    known = {1: DRAW.integers(0, 256, inputs * outputs // 2).astype(np.uint8)}
    known[2] = np.abs(floats(inputs * outputs // size))
    check("MatMulBnb4", [floats(3, inputs)], known, K=inputs, N=outputs, quant_type=kind, block_size=size)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("zero", [False, True])
def test_slices_of_tables_in_blocks(bits: int, zero: bool) -> None:
    rows, features, size = 7, 48, 16
    known = {0: DRAW.integers(0, 256, (rows, features * bits // 8)).astype(np.uint8)}
    known[2] = np.abs(floats(rows, features // size)) / 8
    if zero:
        known[3] = DRAW.integers(0, 256, (rows, -(-features // size * bits // 8))).astype(np.uint8)
    ids = DRAW.integers(0, rows, (2, 3))
    check("GatherBlockQuantized", [None, ids], known, bits=bits, block_size=size, gather_axis=0, quantize_axis=1)


# ---- bytes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("biased", [False, True])
def test_floats_from_products_of_bytes(by_column: bool, dtype: Any, biased: bool) -> None:
    scale = np.abs(floats(6)) / 9 if by_column else np.float32(0.02)
    zero = small_bytes(dtype, 6) if by_column else np.array(3, dtype)
    bias = floats(6) if biased else None
    weight = small_bytes(dtype, 5, 6)
    known = {1: weight, 2: np.array(0.1, np.float32), 3: scale, 4: np.uint8(120), 5: zero}
    known |= {6: bias} if bias is not None else {}
    check("MatMulIntegerToFloat", [DRAW.integers(0, 256, (2, 3, 5)).astype(np.uint8)], known)
    known = {1: weight, 2: scale, 3: zero, **({4: bias} if bias is not None else {})}
    check("DynamicQuantizeMatMul", [floats(2, 3, 5)], known)


@pytest.mark.parametrize("operator", ["QLinearAdd", "QLinearMul", "QLinearAveragePool"])
def test_results_without_a_zero_point_have_the_type_of_the_operands(operator: str) -> None:
    x = DRAW.integers(-128, 128, (1, 2, 4, 4)).astype(np.int8)
    scale, zero = np.float32(0.1), np.int8(3)
    if operator == "QLinearAveragePool":
        check(operator, [x], {1: scale, 2: zero, 3: scale}, kernel_shape=[2, 2])
    else:
        known = {1: scale, 2: zero, 4: scale, 5: zero, 6: np.float32(0.3377)}
        check(operator, [x, None, None, x[::-1].copy()], known)


def test_choices_of_bytes() -> None:
    x = DRAW.integers(0, 256, (2, 3, 4)).astype(np.uint8)
    choice = {p + i: a for p in (2, 5, 7) for i, a in enumerate((np.float32(p / 4), np.uint8(p)))}
    check("QLinearWhere", [x > 99, x, None, None, x[::-1].copy()], choice)


@pytest.mark.parametrize("groups", [1, 2])
def test_bytes_with_channels_last(groups: int) -> None:
    x = DRAW.integers(0, 256, (2, 7, 6, 4)).astype(np.uint8)
    scales = {1: np.float32(0.1), 2: np.uint8(120), 4: np.float32(0.02), 6: np.float32(0.5378), 7: np.uint8(99)}
    weight = {3: small_bytes(np.int8, 6, 4 // groups, 3, 2), 5: np.int8(0), 8: DRAW.integers(-99, 99, 6).astype("i4")}
    rules = {"group": groups, "strides": [2, 1], "pads": [1, 0, 1, 1]}
    check("QLinearConv", [x], scales | weight, channels_last=1, **rules)
    windows = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1], "ceil_mode": 1}
    check("NhwcMaxPool", [x], **windows)
    marks = {1: np.float32(0.1), 2: np.uint8(7), 3: np.float32(0.1377), 4: np.uint8(9)}
    for counts in (0, 1):
        for last in (0, 1):
            check("QLinearAveragePool", [x], marks, channels_last=last, count_include_pad=counts, **windows)


# ---- what PyTorch's older exporter wrote ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 5])
def test_inverses_and_determinants(size: int) -> None:
    check("Inverse", [floats(2, 3, size, size)])
    check("Inverse", [floats(size, size)])
    check("Det", [floats(2, size, size)], domain="")
    swapped = np.roll(np.eye(size, dtype=np.float32), 1, axis=0) * 3
    check("Inverse", [swapped])
    check("Det", [swapped], domain="")


@pytest.mark.parametrize("matrix", [np.zeros((2, 2)), np.ones((4, 4)), np.diag([1.0, 0.0, 2.0, 3.0])])
def test_determinants_of_singular_matrices_are_zero(matrix: Array) -> None:
    check("Det", [matrix.astype(np.float32)], domain="")


def test_determinants_of_matrices_that_are_not_square_are_refused() -> None:
    made, _ = of("Det", [floats(2, 4)], domain="")
    assert "f32[2,4] are no square matrices" in problems(made)


def test_triangles_and_points_of_a_grid() -> None:
    check("Trilu", [floats(2, 4, 5)], {1: np.array(1)}, upper=0)
    for mode in ("bilinear", "nearest", "bicubic"):
        check("GridSample", [floats(1, 2, 5, 6), floats(1, 3, 4, 2)], mode=mode, padding_mode="border", align_corners=1)


def test_bytes_of_dynamic_scales_are_summed_up_as_integers() -> None:
    known = {1: small_bytes(np.int8, 64, 16), 2: np.float32(0.02), 3: np.int8(0), 4: floats(16)}
    for operator, inputs in (("DynamicQuantizeMatMul", [floats(4, 64)]), ("QAttention", None)):
        if inputs is None:
            known = {1: small_bytes(np.int8, 64, 24), 2: floats(24), 3: np.float32(0.02), 4: np.float32(0.01)}
            known |= {6: np.uint8(100), 7: np.int8(0)}
            inputs = [DRAW.integers(0, 256, (2, 5, 64)).astype(np.uint8)]
        made, _ = of(operator, inputs, known, **({"num_heads": 4} if operator == "QAttention" else {}))
        names = [op.name for op in netc.passes.run(graph_of(made, "sums"), "sum-bytes").operations]
        assert "dense_sum" in names
        assert "dense" not in names

"""Shape rules refuse, in one message, what has no meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netc.compiler.errors import ShapeError
from netc.compiler.graph import GraphBuilder, evaluate
from netc.compiler.types import DType, Quantization, TensorType, parse_type

WINDOW = {"strides": (1, 1), "padding": "same", "dilations": (1, 1)}
PICTURE = ("f32[1,4,4,3]", "f32[3,3,3,2]")
POOL = {"size": (2, 2), "strides": (2, 2), "padding": "valid"}
BACK = {**WINDOW, "size": (4, 4)}
HALF = Quantization.of(0.5, -5)
ZEROS = {"x_zero": 0, "x_offset": 0, "weight_zero": 0}
SHARE = Quantization.of(1 / 256, -128)
SCALES = {"x": HALF, "weight": Quantization.of(0.1), "y": Quantization.of(1.0, 3)}

REFUSED: tuple[tuple[str, tuple[str, ...], dict[str, Any], str], ...] = (
    ("dense", ("u8[1,4]", "f32[4,2]"), {}, "takes floats, not u8"),
    ("q_conv2d", ("i8[1,4,4,3]", "i8[3,3,3,2]"), {**WINDOW, **SCALES}, r"write i8\[1,4,4,3\]<0.5:-5> where it is made"),
    ("q_dense", ("i8[1,4]", "i8[4,2]"), SCALES, r"i8\[1,4\] doesn't say so"),
    ("q_mul", ("i8[4]<0.5:-5>", "i8[4]"), {"a": HALF, "b": HALF, "y": HALF}, r"`b` is <0.5:-5>, but i8\[4\] doesn't"),
    ("dequantize", ("i8[4]",), {"x": HALF}, r"i8\[4\] doesn't say so"),
    ("q_softmax", ("i8[3,0]<0.5:-5>",), {"x": HALF, "y": SHARE, "dtype": "i8"}, r"has no elements along \[-1\]"),
    ("q_log_softmax", ("i8[3,0]<0.5:-5>",), {"x": HALF, "y": Quantization.of(1 / 16, 127)}, r"has no elements"),
    (
        "softmax_share",
        ("i32[2]", "i32[1]", "i32[1]"),
        {"y": SHARE, "dtype": "f32"},
        "softmax_share gives i8, u8, i16, not f32",
    ),
    ("softmax_share", ("i32[]", "i32[1]", "i32[1]"), {"y": SHARE, "dtype": "i8"}, r"can't divide i32\[\]"),
    ("softmax_exponent", ("i64[3,1]",), {"dtype": "i8"}, "softmax_exponent takes i32, not i64"),
    (
        "lstm_gate",
        ("i32[2]", "i32[2]"),
        {"total": (1, 2, 3), "fed_back": (1, 2)},
        "`total` is a multiplier and",
    ),
    ("lstm_gate", ("i32[2]", "i32[2]"), {"total": (1, 2), "fed_back": (1, 32)}, "`fed_back` is a multiplier"),
    ("lstm_cell", ("i16[2]",) * 4, {"bits": -16}, "needs a cell scale between"),
    ("lstm_cell", ("i16[2]",) * 4, {"bits": -11, "clip": -1}, "a limit not below 0"),
    ("pack_dot4", ("i8[8,4]",), {"rows": 0, "width": 4}, "in 0 rows"),
    ("pack_dot4", ("i8[8,4]",), {"rows": 1, "width": 0}, "panels of 0 filters"),
    ("pack_dot4", ("i8[8,0]",), {"rows": 1, "width": 4}, r"can't pack i8\[8,0\]"),
    ("pack_wide", ("i8[8,4]",), {"rows": 3, "width": 4}, "in 3 rows"),
    ("pack_groups", ("i8[9,6,12]",), {"widths": (6,)}, r"in vectors of \(6,\) filters"),
    ("pack_groups", ("i8[9,4,0]",), {"widths": (4,)}, r"can't pack i8\[9,4,0\]"),
    ("pack_groups", ("i8[9,4,20]",), {"widths": (16,)}, "20 filters in panels of"),
    ("dot4_correction", ("i8[3,4]",), {**ZEROS, "planes": ((0, 4),)}, "has no such parts"),
    ("winograd_filter", ("f32[3,3,8,4]",), {"tile": 3}, "no filters for tiles of 3 x 3"),
    ("winograd_filter", ("f32[3,3,8,4]",), {"tile": 2, "stage": "scaled"}, "no filters for tiles of 2 x 2 are scaled"),
    ("winograd_filter", ("f32[3,3,8,4]",), {"stride": 3}, "no filters for tiles of 4 x 4 with a stride of 3"),
    ("winograd_filter", ("f32[3,3,8,4]",), {"stride": 2, "stage": "halfway"}, "with a stride of 2 are halfway"),
    ("winograd_filter", ("f32[3,3,8,4]",), {"stage": "nowhere"}, "stage can't be 'nowhere'"),
    ("winograd_words", ("i8[3,2,8,4]",), {}, "filters of bytes of size 3 x 3"),
    ("winograd_words", ("i16[3,3,8,4]",), {}, "filters of bytes of size 3 x 3"),
    ("winograd_words", ("i8[3,3,8,4]",), {"weight_zero": 128}, "128 is no zero point"),
    ("pack_depthwise", ("i8[3,3,1,4]",), {"rows": 0, "stride": 1}, "needs positive `rows`"),
    ("pack_depthwise", ("i8[3,3,1,4]",), {"rows": 1, "stride": 1, "together": 3}, "can't put 3 rows side by side"),
    ("pack_depthwise", ("i8[3,0,1,4]",), {"rows": 1, "stride": 1}, r"can't pack i8\[3,0,1,4\]"),
    ("channel_scales", ("f32[2,8,4]",), {}, r"takes weights \[C, F\] of f32, not f32\[2,8,4\]"),
    ("filter_scales", ("f32[8,0]", "f32[8]"), {}, r"takes weights \[C, F\] of f32, not f32\[8,0\]"),
    ("filter_scales", ("f32[8,4]", "f32[4]"), {}, r"takes 8 scales of channels, not f32\[4\]"),
    ("strassen_filter", ("f32[8,4]", "f32[8]", "f32[8]"), {"half": 2, "width": 2}, "takes 4 scales of filters"),
    ("strassen_filter", ("f32[7,4]", "f32[7]", "f32[4]"), {"half": 2, "width": 2}, "can't cut"),
    ("strassen_filter", ("f32[8,4]", "f32[8]", "f32[4]"), {"half": 5, "width": 2}, "halves of 5 filters"),
    ("strassen_filter", ("f32[8,4]", "f32[8]", "f32[4]"), {"half": 1, "width": 2}, "halves of 1 filters"),
    ("strassen_filter", ("f32[8,4]", "f32[8]", "f32[4]"), {"half": 2, "width": 0}, "panels of 0"),
    ("q_avg_pool", ("i8[1,0,4,3]",), {**POOL, "padding": ((1, 1), (0, 0))}, r"has no elements along \[1, 2\]"),
    ("max_pool", ("f32[1,4,0,3]",), {**POOL, "padding": ((0, 0), (1, 1))}, r"has no elements along \[1, 2\]"),
    ("conv2d_sum", ("i8[1,4,4,3]", "i8[3,3,3,2]"), {**WINDOW, "x_zero": -5}, "pads with `x_zero` = -5"),
    ("conv2d_sum", ("i8[1,4,4,3]<0.5:-5>", "i8[3,3,3,2]"), {**WINDOW, "x_zero": 0}, "<0.5:-5> is -5"),
    ("dense", ("f32[1,4]", "f64[4,2]"), {}, "one element type"),
    ("matmul", ("i32[2,2]", "i32[2,2]"), {}, "takes floats"),
    ("conv2d", ("f32[1,4,4,3]", "f16[3,3,3,2]"), WINDOW, "one element type"),
    ("conv2d", PICTURE, {**WINDOW, "strides": (0, 1)}, r"strides \[0, 1\] must be positive"),
    ("conv2d", PICTURE, {**WINDOW, "dilations": (1, -1)}, r"dilations \[1, -1\] must be positive"),
    ("conv2d", ("f32[1,4,4,3]", "f32[0,3,3,2]"), WINDOW, r"window \[0, 3\] must be positive"),
    ("conv2d", PICTURE, {**WINDOW, "padding": "nonsense"}, "padding 'nonsense'"),
    ("conv2d", PICTURE, {**WINDOW, "padding": ((1, 1),)}, "for 2 dimensions"),
    ("conv2d", PICTURE, {**WINDOW, "padding": ((1, 1), (1, 1), (0, 0))}, "for 2 dimensions"),
    ("conv2d", PICTURE, {**WINDOW, "padding": ((1,), (1, 1))}, "for 2 dimensions"),
    ("conv2d", PICTURE, {**WINDOW, "padding": ((-1, 1), (1, 1))}, "for 2 dimensions"),
    ("conv2d_input_gradient", ("f32[1,4,4,2]", "f32[3,3,3,2]"), {**BACK, "groups": 0}, "can't have 0 groups"),
    ("conv2d_input_gradient", ("f32[1,4,4,2]", "f32[3,3,3,2]"), {**BACK, "groups": -1}, "can't have -1 groups"),
    ("avg_pool", ("f32[1,4,4,3]",), {**POOL, "strides": (2, 0)}, "must be positive"),
    ("avg_pool", ("u8[1,4,4,3]",), POOL, "takes floats"),
    ("max_pool", ("f32[1,4,4,3]",), {**POOL, "padding": ()}, "for 2 dimensions"),
    ("batch_norm", ("u8[2,3]", *["f32[3]"] * 4), {}, "takes floats, not u8"),
    ("batch_norm", ("f32[2,3]", *["f64[3]"] * 4), {}, "one element type"),
    ("pad", ("u8[3]",), {"padding": ((1, 1),), "value": -9}, r"u8\[3\] can't hold -9"),
    ("pad", ("i32[3]",), {"padding": ((1, 1),), "value": 0.5}, "can't hold 0.5"),
    ("broadcast_to", ("f32[1]",), {"shape": (-1,)}, "a size is negative"),
    ("random_uniform", ("i64[]",), {"shape": (2,), "dtype": "nonsense"}, "no element type `nonsense`"),
    ("resize_bilinear", ("i32[1,2,2,1]",), {"size": (4, 4)}, "takes floats or 8-bit"),
    ("transpose_conv2d", ("f32[1,2,2,1]", "f32[2,2,1,1]"), {**BACK, "padding": ((-1, 0), (0, 0))}, "for 2 dimensions"),
)


@pytest.mark.parametrize(("name", "operands", "attributes", "message"), REFUSED)
def test_refused(name: str, operands: tuple[str, ...], attributes: dict[str, Any], message: str) -> None:
    b = GraphBuilder("refused")
    values = [b.input(f"x{i}", parse_type(text)) for i, text in enumerate(operands)]
    given = {k: v for k, v in attributes.items() if name != "transpose_conv2d" or k != "dilations"}
    with pytest.raises(ShapeError, match=message):
        b.emit(name, *values, **given)


def test_padding_of_a_scalar_is_the_scalar() -> None:
    b = GraphBuilder("scalar")
    graph = b.finish([b.emit("pad", b.input("x", TensorType(DType.F32, ())), padding=())])
    (result,) = evaluate(graph, [np.array(3.0, np.float32)])
    assert result.shape == ()
    assert result == 3

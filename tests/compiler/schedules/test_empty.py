"""Contractions and operators on quantized numbers without elements: one meaning in every stage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netc.compiler.graph import GraphBuilder
from netc.compiler.passes import pipelines
from netc.compiler.types import Quantization, parse_type
from tests.random_networks.checks import Machine, check_network
from tests.random_networks.maker import Network

X, Y = Quantization.of(0.5, -5), Quantization.of(1.0, 3)
SCALES = {"x": X, "weight": Quantization.of(0.1), "y": Y}
WINDOW = {"strides": (1, 1), "padding": ((1, 1), (1, 1)), "dilations": (1, 1)}
BACK = {"size": (4, 5), "strides": (2, 2), "padding": ((1, 1), (0, 0))}

CASES: tuple[tuple[str, tuple[str, ...], dict[str, Any]], ...] = (
    *(
        ("q_conv2d", (f"i8[{x}]<0.5:-5>", f"i8[{weight}]", f"i32[{filters}]"), {**WINDOW, **SCALES})
        for x, weight, filters in (
            ("0,4,4,3", "3,3,3,2", "2"),
            ("1,4,4,3", "3,3,3,0", "0"),
            ("1,4,4,0", "3,3,0,2", "2"),
            ("1,0,4,3", "2,3,3,2", "2"),
        )
    ),
    ("q_conv2d", ("i8[0,4,4,3]<0.5:-5>", "i8[3,3,1,3]"), {**WINDOW, **SCALES, "groups": 3}),
    ("conv2d_sum", ("i8[1,4,0,3]<0.5:-5>", "i8[3,2,3,2]"), {**WINDOW, "x_zero": -5}),
    *(
        ("q_dense", (f"i8[{x}]<0.5:-5>", f"i8[{weight}]", f"i32[{units}]"), SCALES)
        for x, weight, units in (("0,4", "4,3", "3"), ("2,0", "0,3", "3"), ("2,4", "4,0", "0"), ("2,0,4", "4,3", "3"))
    ),
    *(
        ("q_transpose_conv2d", (f"i8[{x}]<0.5:-5>", f"i8[{weight}]", f"i32[{weight[-1]}]"), {**BACK, **SCALES})
        for x, weight in (
            ("0,2,2,3", "3,3,3,2"),
            ("1,0,2,3", "3,3,3,2"),
            ("1,2,0,3", "3,3,3,2"),
            ("1,2,2,0", "3,3,0,2"),
            ("1,2,2,3", "3,3,3,0"),
        )
    ),
    # Padding alone: margins of a value without elements would be written by nobody.
    *(
        ("conv2d", (f"f32[{x}]", f"f32[{weight}]", f"f32[{weight[-1]}]"), {**WINDOW, "groups": groups})
        for x, weight, groups in (
            ("1,0,4,3", "2,3,3,8", 1),
            ("1,4,0,3", "3,2,3,8", 1),
            ("1,4,0,8", "3,2,1,8", 8),
            ("1,4,4,0", "3,3,0,8", 1),
        )
    ),
    *(
        ("transpose_conv2d", (f"f32[{x}]", f"f32[{weight}]", f"f32[{weight[-1]}]"), BACK)
        for x, weight in (("1,0,2,3", "3,3,3,8"), ("1,2,0,3", "3,3,3,8"), ("1,2,2,0", "3,3,0,8"))
    ),
    ("dense", ("f32[3,0]", "f32[0,16]"), {}),
    *(
        ("q_matmul", (f"i8[{a}]<0.5:-5>", f"i8[{b}]<0.5:-5>"), {"a": X, "b": X, "y": Y})
        for a, b in (("2,3,0", "2,0,4"), ("2,0,5", "2,5,4"), ("2,3,5", "2,5,0"), ("0,3,5", "0,5,4"), ("3,0", "0,4"))
    ),
    ("q_softmax", ("i8[0,5]<0.5:-5>",), {"x": X, "y": Quantization.of(1 / 256, -128), "dtype": "i8"}),
    ("q_log_softmax", ("i8[2,0,5]<0.5:-5>",), {"x": X, "y": Quantization.of(1 / 16, 127)}),
    ("q_l2_normalize", ("i8[3,0]<0.5:-5>",), {"x": X, "y": Quantization.of(1 / 128, 0)}),
    ("softmax_share", ("i32[3,0]", "i32[3,1]", "i32[3,1]"), {"y": Quantization.of(1 / 256, -128), "dtype": "i8"}),
    ("lstm_gate", ("i32[0,3]", "i32[0,3]"), {"total": (1 << 30, -3), "fed_back": (0, 0)}),
    ("q_mean", ("i8[0,4]<0.5:-5>",), {"axes": (1,), "x": X, "y": Y}),
    ("q_avg_pool", ("i8[0,4,4,3]<0.5:-5>",), {"size": (2, 2), "strides": (2, 2), "padding": "same"}),
    ("q_add", ("i8[0,4]<0.5:-5>", "i8[4]<0.5:-5>"), {"a": X, "b": X, "y": Y}),
)


@pytest.mark.parametrize(("name", "types", "attributes"), CASES, ids=lambda v: v if isinstance(v, str) else None)
@pytest.mark.parametrize("weights", ["known", "computed"])
def test_nothing_is_computed_alike(name: str, types: tuple[str, ...], attributes: dict[str, Any], weights: str) -> None:
    b = GraphBuilder("empty")
    random = np.random.default_rng(0)
    inputs, values = {}, []
    for number, text in enumerate(types):
        type_ = parse_type(text)
        array = random.integers(1, 9, type_.shape).astype(type_.dtype.numpy)
        if number and weights == "known":
            values.append(b.constant(array, quantization=type_.quantization))
        else:
            values.append(b.input(f"x{number}", type_))
            inputs[f"x{number}"] = array
    network = Network(b.finish([b.emit(name, *values, **attributes)]), inputs, {})
    machines = (("host", "decompose"), ("host", pipelines.INFERENCE), ("cascadelake", pipelines.INFERENCE))
    check_network(network, [Machine(cpu, 2, pipeline) for cpu, pipeline in machines])

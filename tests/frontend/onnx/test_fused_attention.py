"""Attention as ONNX Runtime's optimizers write it: masks, caches, groups of heads, rotary embedding."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


from netc.compiler.graph.interpreter import evaluate  # noqa: E402
from netc.frontend.onnx import graph_of  # noqa: E402

from .agreement import problems  # noqa: E402
from .one_node import DRAW, Array, check, floats, of, small_bytes  # noqa: E402


def lengths(*numbers: int) -> Array:
    return np.array(numbers, np.int32)


MASKS: dict[str, Array | None] = {
    "none": None,
    "ends": lengths(3, 5),
    "ends and begins": lengths(4, 5, 1, 0),
    "keys": (DRAW.random((2, 5)) < 0.7).astype(np.int32),
    "queries and keys": (DRAW.random((2, 5, 5)) < 0.7).astype(np.int32),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("causal", [0, 1])
@pytest.mark.parametrize("biased", [False, True])
def test_attention_with_its_projection(mask: str, causal: int, biased: bool) -> None:
    known = {1: floats(6, 24) / 2, 2: floats(24) / 2}
    inputs = [floats(2, 5, 6), None, None, MASKS[mask], None, floats(2, 4, 5, 5) if biased else None]
    check("Attention", inputs, known, outputs=0b11, num_heads=4, unidirectional=causal)


def test_attention_with_values_of_another_width() -> None:
    known = {1: floats(6, 8 + 8 + 12), 2: floats(28)}
    check("Attention", [floats(2, 5, 6)], known, num_heads=4, qkv_hidden_sizes=[8, 8, 12], scale=0.2)


@pytest.mark.parametrize("mask", [None, np.ones((2, 8), np.int32), (DRAW.random((2, 8)) < 0.6).astype(np.int32)])
def test_attention_that_goes_on(mask: Array | None) -> None:
    known = {1: floats(6, 24), 2: floats(24)}
    inputs = [floats(2, 3, 6), None, None, mask, floats(2, 2, 4, 5, 2)]
    check("Attention", inputs, known, outputs=0b11, num_heads=4, unidirectional=1)


@pytest.mark.parametrize("mask", ["none", "ends", "keys", "queries and keys"])
@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("causal", [0, 1])
def test_attention_of_queries_keys_and_values(mask: str, biased: bool, causal: int) -> None:
    bias = floats(8 + 8 + 12) if biased else None
    more = floats(1, 4, 5, 5) if biased else None
    inputs = [floats(2, 5, 8), floats(2, 5, 8), floats(2, 5, 12), bias, MASKS[mask], more]
    check("MultiHeadAttention", inputs, num_heads=4, unidirectional=causal)


def test_attention_across_networks() -> None:
    check("MultiHeadAttention", [floats(2, 3, 8), floats(2, 7, 8), floats(2, 7, 8)], num_heads=2)
    check("MultiHeadAttention", [floats(2, 3, 8), floats(2, 2, 7, 4), floats(2, 2, 7, 4)], num_heads=2)


def test_an_order_of_queries_and_other_keys_is_refused() -> None:
    made, _ = of("MultiHeadAttention", [floats(2, 3, 8), *[floats(2, 7, 8)] * 2], num_heads=2, unidirectional=1)
    assert "`unidirectional` says nothing of 7 keys for 3 queries" in problems(made)
    check("MultiHeadAttention", [floats(2, 7, 8), *[floats(2, 3, 8)] * 2], num_heads=2, unidirectional=1)


@pytest.mark.parametrize("causal", [0, 1])
def test_attention_with_a_cache(causal: int) -> None:
    rows = [floats(2, 3, 8) for _ in range(3)]
    inputs = [*rows, floats(24), None, None, floats(2, 4, 5, 2), floats(2, 4, 5, 2)]
    check("MultiHeadAttention", inputs, outputs=0b111, num_heads=4, unidirectional=causal)


@pytest.mark.parametrize("operator", ["Attention", "MultiHeadAttention", "GroupQueryAttention"])
def test_attention_of_half_the_precision(operator: str) -> None:
    found = []
    for dtype in (np.float32, np.float16):
        DRAW.bit_generator.state = np.random.PCG64(3).state
        q, k, v = (floats(2, 5, 8).astype(dtype) for _ in range(3))
        known = {1: floats(8, 24).astype(dtype) / 4}
        if operator == "Attention":
            made, arrays = of(operator, [q, None, None, MASKS["ends"]], known, num_heads=4, unidirectional=1)
        elif operator == "MultiHeadAttention":
            made, arrays = of(operator, [q, k, v, None, MASKS["keys"]], num_heads=4, unidirectional=1)
        else:
            known = {6: np.array(5, np.int32)}
            rows = [q, k[..., :4].copy(), v[..., :4].copy(), None, None, lengths(4, 4)]
            made, arrays = of(operator, rows, known, outputs=0b111, num_heads=4, kv_num_heads=2)
        found.append(evaluate(graph_of(made, "half"), arrays)[0])
    assert found[1].dtype == np.float16
    np.testing.assert_allclose(found[1], found[0], 0.02, 0.02)


@pytest.mark.parametrize("causal", [0, 1])
def test_rows_without_any_key_are_numbers_in_half_the_precision(causal: int) -> None:
    known = {1: floats(6, 24).astype(np.float16)}
    inputs = [floats(2, 5, 6).astype(np.float16), None, None, np.zeros((2, 5), np.int32)]
    fill = float(np.finfo(np.float32).min)
    made, arrays = of("Attention", inputs, known, num_heads=4, unidirectional=causal, mask_filter_value=fill)
    assert np.isfinite(evaluate(graph_of(made, "half"), arrays)[0]).all()


def test_packed_operands_are_those_apart() -> None:
    q, k, v = (floats(2, 5, 4, 3) for _ in range(3))
    rows = [x.reshape(2, 5, 12) for x in (q, k, v)]
    forms = [rows, [np.stack((q, k, v), axis=3)], [rows[0], np.stack((k, v), axis=3)]]
    found = []
    for form in forms:
        made, arrays = of("MultiHeadAttention", form, num_heads=4)
        found.append(evaluate(graph_of(made, "packed"), arrays)[0])
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("form", ["rows", "heads", "part"])
@pytest.mark.parametrize("places", [lengths(3).astype(np.int64), DRAW.integers(0, 9, (2, 5))])
def test_turned_places(interleaved: int, form: str, places: Array) -> None:
    half = 2 if form == "part" else 4
    angles = floats(9, half)
    x = floats(2, 3, 5, 8) if form == "heads" else floats(2, 5, 24)
    rules = {"num_heads": 3, "rotary_embedding_dim": 4} if form == "part" else {}
    check("RotaryEmbedding", [x, places], {2: np.cos(angles), 3: np.sin(angles)}, interleaved=interleaved, **rules)


def test_numbers_that_are_no_flags_are_refused() -> None:
    angles = floats(9, 4)
    made, _ = of("RotaryEmbedding", [floats(2, 5, 24), lengths(3)], {2: angles, 3: angles}, interleaved=8)
    assert "`interleaved` can't be 8" in problems(made)


# past, rows, the length of each sample less 1, total length
CACHES = {
    "first": (0, 5, lengths(4, 4), 5),
    "one more": (5, 1, lengths(5, 5), 6),
    "shorter": (5, 1, lengths(5, 2), 6),
    "two more": (5, 2, lengths(6), 7),
    "wide": (8, 1, lengths(5, 3), 6),
}


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("rules", [{}, {"softcap": 0.7}, {"local_window_size": 3}, {"do_rotary": 1}, {"scale": 0.3}])
@pytest.mark.parametrize("packed", [False, True])
def test_groups_of_heads(cache: str, rules: dict[str, Any], packed: bool) -> None:
    past, rows, ends, total = CACHES[cache]
    samples = len(ends)
    q, k, v = floats(samples, rows, 4 * 16), floats(samples, rows, 2 * 16), floats(samples, rows, 2 * 16)
    inputs: list[Array | None] = [np.concatenate((q, k, v), axis=2), None, None] if packed else [q, k, v]
    inputs += [floats(samples, 2, past, 16), floats(samples, 2, past, 16)] if past else [None, None]
    known = {6: np.array(total, np.int32)}
    if "do_rotary" in rules:
        angles = floats(9, 8)
        known |= {7: np.cos(angles), 8: np.sin(angles)}
    check("GroupQueryAttention", [*inputs, ends], known, outputs=0b111, num_heads=4, kv_num_heads=2, **rules)


@pytest.mark.parametrize("mask", ["none", "ends", "keys"])
def test_attention_of_bytes(mask: str) -> None:
    x = DRAW.integers(0, 256, (2, 5, 6)).astype(np.uint8)
    known = {1: small_bytes(np.int8, 6, 24), 2: floats(24), 3: np.float32(0.02), 4: np.float32(0.01)}
    known |= {6: np.uint8(100), 7: np.int8(0)}
    check("QAttention", [x, *[None] * 4, MASKS[mask]], known, num_heads=4)


def test_a_first_prompt_has_one_place_for_all_samples() -> None:
    """As ONNX Runtime's list has it: of the places of a first prompt the kernel uses only the first element."""
    q, k, v = floats(2, 3, 4 * 16), floats(2, 3, 2 * 16), floats(2, 3, 2 * 16)
    angles = floats(9, 8)
    known = {6: np.array(3, np.int32), 7: np.cos(angles), 8: np.sin(angles)}
    places = np.array([[2, 0, 5], [1, 1, 1]])
    inputs = [q, k, v, None, None, lengths(2, 2), None, None, None, places]
    check("GroupQueryAttention", inputs, known, outputs=0b111, num_heads=4, kv_num_heads=2, do_rotary=1)


def test_a_bias_of_scores_for_part_of_a_cache() -> None:
    rows = [floats(1, 1, 4 * 16), floats(1, 1, 2 * 16), floats(1, 1, 2 * 16), *[floats(1, 2, 8, 16) for _ in range(2)]]
    bias = floats(1, 4, 1, 6)
    inputs = [*rows, lengths(5), *[None] * 4, bias]
    check("GroupQueryAttention", inputs, {6: np.array(6, np.int32)}, outputs=0b111, num_heads=4, kv_num_heads=2)

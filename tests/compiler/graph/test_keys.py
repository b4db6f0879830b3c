"""Keys of attributes: equal where all elements have the same bits, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from netc.compiler.graph.keys import attributes_key, glance

ARRAYS = {
    "empty": np.zeros((0, 3), np.float32),
    "few": np.arange(6, dtype=np.int8),
    "few floats": np.array([0.0, -0.0, np.nan], np.float32),
    "many": np.arange(5000, dtype=np.int16),
    "many, strided": np.arange(20000, dtype=np.float64).reshape(100, 200)[:, ::2],
    "truths": np.arange(9000) % 3 == 0,
    "one": np.full((70, 80), 3.5, np.float32),
    "one, broadcast": np.broadcast_to(np.float32(3.5), (70, 80)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_equal_arrays_have_equal_keys(name: str) -> None:
    array = ARRAYS[name]
    assert attributes_key({"value": array}) == attributes_key({"value": array.copy()})
    assert attributes_key({"value": array}) != attributes_key({"other": array})
    assert glance({"value": array}) == glance({"value": array.copy()})


@pytest.mark.parametrize("name", [name for name, array in ARRAYS.items() if array.size])
def test_another_element_is_another_key(name: str) -> None:
    array = ARRAYS[name].copy()
    key = attributes_key({"value": array})
    for place in (0, array.size // 2, array.size - 1):
        other = array.copy()
        other.reshape(-1)[place] = not array.reshape(-1)[place] if array.dtype == bool else 77
        assert attributes_key({"value": other}) != key


def test_signs_of_zero_types_and_shapes_count() -> None:
    zeros = np.zeros(3000, np.float32)
    keys = [attributes_key({"value": a}) for a in (zeros, -zeros, zeros.view(np.int32), zeros.reshape(3, 1000))]
    assert len(set(keys)) == 4


def test_one_repeated_number_costs_no_more_than_the_number() -> None:
    assert attributes_key({"value": ARRAYS["one"]}) == attributes_key({"value": ARRAYS["one, broadcast"]})

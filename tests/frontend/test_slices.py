"""Slices in brackets, of tensors and of lists: NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

from netc.compiler.errors import NetcError
from netc.compiler.graph import evaluate
from netc.frontend import load_text

X = np.arange(2 * 4 * 6).reshape(2, 4, 6).astype(np.float32)
PLACES = [
    "0",
    ":",
    "-1",
    "1:",
    ":-1",
    "::2",
    "::-1",
    ":, 1:3",
    "1, :, 2",
    "0, -1, -1",
    ":, :, 5:1:-2",
    ":, 7:, 0",
    ":, -9:2",
]


@pytest.mark.parametrize("places", PLACES)
def test_numpy_slices_tensors_the_same(places: str) -> None:
    (got,) = evaluate(load_text(f"net n(x: f32[2, 4, 6]) {{ return x[{places}] }}", "n.net"), [X])
    np.testing.assert_array_equal(got, eval(f"x[{places}]", {"x": X}))


@pytest.mark.parametrize("places", ["1:", ":-1", "::2", "::-1", "3:0:-2", "7:"])
def test_python_slices_lists_the_same(places: str) -> None:
    text = f'net n(x: f32[2, 4, 6]) {{ a = [5, 6, 7, 8][{places}]\n return x * len(a) + len("{{a}}") }}'
    (got,) = evaluate(load_text(text, "n.net"), [X])
    part = eval(f"[5, 6, 7, 8][{places}]")
    np.testing.assert_array_equal(got, X * len(part) + len(str(part)))


def test_bounds_are_computed_where_the_net_is_read() -> None:
    text = "net n(x: f32[2, 4, 6]) { for i in range(2) { x = x[:, i:len([1, 2, 3]) + i] }\n return x }"
    assert load_text(text, "n.net").outputs[0].type.shape == (2, 2, 6)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("x[0, 0, 0, 0]", "4 places don't fit a tensor f32[2,4,6]"),
        ("x[2]", "there is no element 2 in dimension 0 of a tensor f32[2,4,6]"),
        ("x[:, -5]", "there is no element -5 in dimension 1"),
        ("x[::0]", "the step of a range can't be 0"),
        ("x[1.5:]", "an item is chosen by a whole number, not the number 1.5"),
        ("x * [1, 2][0, 1]", "a list has one dimension"),
        ("x * 3[1:]", "only lists and tensors have items, not the number 3"),
    ],
)
def test_misuse(expression: str, message: str) -> None:
    with pytest.raises(NetcError) as caught:
        load_text(f"net n(x: f32[2, 4, 6]) {{ return {expression} }}", "n.net")
    assert message in str(caught.value)

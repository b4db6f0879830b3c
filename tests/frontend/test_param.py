"""Parameters that a block declares itself: names, initial values, other orders of dimensions in published weights."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from netc.compiler.errors import NetcError
from netc.compiler.graph import evaluate
from netc.compiler.initial import RULES, parse_initial
from netc.compiler.published import parse_order
from netc.frontend import check_text, load_text
from netc.runtime.weights import initial_weights, read_weights, write_weights

TEXT = """
block scaled(x) { return x * param("gamma", [channels(x)], init = "constant(1e-6)", checkpoint = "c11->c") }
net n(image: f32[N, 2, 3, 4]) {
  x = image + param("pos_embed", [1, 2, 3, 4], init = "trunc_normal(0.02)", checkpoint = "1chw->1hwc")
  return scaled@"blocks.0"(x) + param@head("offset", [], trainable = false)
}
"""


def draw(rule: str, *shape: int) -> np.ndarray:
    return parse_initial(rule).draw(shape, np.dtype(np.float32), lambda: np.random.default_rng(0))


def test_names_shapes_and_values() -> None:
    graph = load_text(TEXT)
    found = {p.result.name: (p.result.type.shape, p.attributes["trainable"]) for p in graph.parameters}
    assert found == {"pos_embed": ((1, 2, 3, 4), True), "blocks.0.gamma": ((4,), True), "head.offset": ((), False)}
    weights = initial_weights(graph)
    np.testing.assert_array_equal(weights["blocks.0.gamma"], np.full(4, 1e-6, np.float32))
    image = np.ones((1, 2, 3, 4), np.float32)
    (result,) = evaluate(graph, [image], weights)
    np.testing.assert_allclose(result, (image + weights["pos_embed"]) * np.float32(1e-6), rtol=1e-6)


def test_published_weights_have_other_shapes(tmp_path: Path) -> None:
    graph = load_text(TEXT)
    published = {
        "pos_embed": np.arange(24, dtype=np.float32).reshape(1, 4, 2, 3),
        "blocks.0.gamma": np.arange(4, dtype=np.float32).reshape(4, 1, 1),
        "head.offset": np.full((), 3, np.float32),
    }
    save_file(published, tmp_path / "w.safetensors")
    weights = read_weights(tmp_path / "w.safetensors", graph)
    np.testing.assert_array_equal(weights["pos_embed"], published["pos_embed"].transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(weights["blocks.0.gamma"], [0, 1, 2, 3])
    write_weights(tmp_path / "again.safetensors", graph, weights)
    for name, array in load_file(tmp_path / "again.safetensors").items():
        np.testing.assert_array_equal(array, published[name], strict=True)


@pytest.mark.parametrize(
    ("text", "shape", "file"),
    [("oihw", (3, 5, 2, 7), (7, 2, 3, 5)), ("oi", (2, 7), (7, 2)), ("ab->b1a", (3, 1, 2), (2, 3)), ("1->", (), (1,))],
)
def test_orders(text: str, shape: tuple[int, ...], file: tuple[int, ...]) -> None:
    order = parse_order(text, len(shape))
    array = np.arange(math.prod(file)).reshape(file)
    assert order.shape_in_file(shape) == file
    assert order.read(array).shape == shape
    np.testing.assert_array_equal(order.write(order.read(array)), array)


def test_initial_values() -> None:
    assert all(
        abs(draw(rule, 100, 100).std() - s) < 0.01 * s
        for rule, s in [("normal(0.5)", 0.5), ("uniform(0.3)", 0.3 / 3**0.5), ("trunc_normal(0.1)", 0.08796)]
    )
    assert np.abs(draw("trunc_normal(1)", 1000)).max() <= 2 > 0.9 * np.abs(draw("trunc_normal(1)", 1000)).max()
    assert np.abs(draw("uniform(0.3)", 1000)).max() <= 0.3
    shape = (3, 3, 20, 60)
    for name, variance in {"he": 2 / 180, "xavier": 2 / (180 + 540), "lecun": 1 / 180}.items():
        for kind in ("normal", "uniform"):
            assert abs(draw(f"{name}_{kind}", *shape).var() - variance) < 0.03 * variance
    for rule, takes in RULES.items():
        assert draw(f"{rule}(0.5)" if takes else rule, 0, 3).shape == (0, 3)


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("he_norml", "there is no initialisation `he_norml`"),
        ("normal", r"the initialisation normal takes a number, such as `normal\(0.02\)`"),
        ("ones(2)", "the initialisation ones takes no number: write `ones`"),
        ("normal(-1)", "not a number that it can take"),
        ("normal(1e)", "not a number that it can take"),
        ("constant(1e39)", "not a number that it can take"),
    ],
)
def test_wrong_rules(rule: str, expected: str) -> None:
    with pytest.raises(NetcError, match=expected):
        parse_initial(rule)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('"a b", [1]', "can't be a part of a parameter's name"),
        ('"a", [-1]', "a parameter can't have negative sizes"),
        ('"a", 3', "`shape` of param must be a list of whole numbers, not the number 3"),
        ('"a", [1], init = "one"', "there is no initialisation `one`"),
        ('"a", [1], checkpoint = "ab"', "names 2 dimensions of the graph"),
        ('"a", [1, 2], checkpoint = "ab->ac"', "is no order of dimensions"),
        ('"a", [1, 2], checkpoint = "aa->aa"', "names a dimension twice"),
        ('"a", [2], checkpoint = "c->1"', "is no order of dimensions"),
    ],
)
def test_misuse(arguments: str, expected: str) -> None:
    (found,) = check_text(f"net n(x: f32[N, 2]) {{ return x + param({arguments}) }}")
    assert expected in found.message
    assert found.location is not None

"""What arrays mean to a net: the same numbers give the same samples whatever their type, and guesses are said."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from netc.compiler.errors import NetcError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.ir import Graph
from netc.compiler.types import DType, TensorType
from netc.runtime.data.interpretation import Facts, interpret
from netc.runtime.data.layout import laid_out, sample_shape
from netc.runtime.data.source import ArraySource
from netc.runtime.training.batches import ArrayMaker, evaluation_plans
from netc.runtime.training.samples import Preparation

STANDARD = {"divide": 255, "mean": (0.5, 0.25, 0.0), "std": (0.5, 1.0, 2.0)}
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 4, 5, 3), np.uint8)
PIXELS[0, 0, 0] = (0, 255, 2)
WANTED = ((PIXELS / 255 - np.array(STANDARD["mean"])) / np.array(STANDARD["std"])).astype(np.float32)


def net(shape: tuple[int, ...] = (4, 5, 3), **declared: Any) -> Graph:
    b = GraphBuilder("net", {"preprocess": declared} if declared else {})
    return b.finish([b.input("x", TensorType(DType.F32, (2, *shape)))])


def samples(graph: Graph, values: Any, name: str = "x_test") -> tuple[np.ndarray, tuple[str, ...]]:
    """What the net is given, and what is said."""
    found = interpret(graph, Facts.of(name, values))
    preparation = Preparation(sample_shape(graph), found.preprocess, interpretation=found)
    source = ArraySource(name, None, np.zeros(len(values), np.int32), values)
    made = [m.images for m in ArrayMaker(source, preparation).make(evaluation_plans(len(values), 2))]
    return np.concatenate(made), found.notes


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "int64", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(6, 4, 5, 3), (6, 60), (6, 4, 5, 1, 3)])
def test_the_same_pixels_give_the_same_samples(dtype: str, shape: tuple[int, ...]) -> None:
    got, notes = samples(net(**STANDARD), PIXELS.astype(dtype).reshape(shape))
    np.testing.assert_allclose(got, WANTED, atol=1e-6)
    assert [n for n in notes if "preprocess" in n] == (
        [] if dtype == "uint8" else [f"x_test is {dtype} from 0 to 255: preprocess is applied"]
    )
    assert any("row by row" in n for n in notes) == (len(shape) == 2)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("first", [True, False])
def test_a_net_that_takes_channels_first_takes_arrays_of_both_orders(dtype: str, first: bool) -> None:
    graph = net((3, 4, 5), **STANDARD)
    pixels = PIXELS.astype(dtype)
    got, _ = samples(graph, pixels.transpose(0, 3, 1, 2) if first else pixels)
    np.testing.assert_allclose(got, WANTED, atol=1e-6)
    np.testing.assert_array_equal(laid_out(got, graph.inputs[0].type), got.transpose(0, 3, 1, 2))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_pixels_that_were_divided_by_255(dtype: str) -> None:
    got, notes = samples(net(**STANDARD), (PIXELS / 255).astype(dtype))
    np.testing.assert_allclose(got, WANTED, atol=1e-6)
    assert notes == (f"x_test is {dtype} from 0 to 1: taken for pixels / 255, preprocess is applied",)
    smooth = (PIXELS / 255).astype(dtype) * 0.999
    got, _ = samples(net(**STANDARD), smooth)
    np.testing.assert_allclose(got, (smooth - np.array(STANDARD["mean"])) / np.array(STANDARD["std"]), atol=1e-6)


def test_where_preprocess_changes_nothing_nothing_is_said() -> None:
    values = (PIXELS / 255).astype(np.float32)
    for graph in (net(divide=255), net()):
        got, notes = samples(graph, values)
        np.testing.assert_array_equal(got, values)
        assert notes == ()


def test_pixels_with_fractions_are_not_rounded() -> None:
    values = PIXELS.astype(np.float32) * np.float32(0.9)
    got, notes = samples(net(**STANDARD), values)
    np.testing.assert_allclose(got, (values / 255 - np.array(STANDARD["mean"])) / np.array(STANDARD["std"]), atol=1e-5)
    assert "pixels with fractions, preprocess is applied" in notes[0]
    with pytest.raises(NetcError, match="can't be resized"):
        samples(net((2, 2, 3), **STANDARD), values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (WANTED, "taken as it is, normalised already"),
        (WANTED * 10, "these are no pixels"),
        (
            PIXELS.astype("uint16") * 16,
            "no pixels from 0 to 255, so preprocess is not applied; `white = 4080`",
        ),
    ],
)
def test_what_is_no_pixels_goes_in_as_it_is(values: Any, said: str) -> None:
    got, (note,) = samples(net(**STANDARD), values)
    np.testing.assert_array_equal(got, values)
    assert said in note


def test_white_is_declared() -> None:
    for values, white in ((PIXELS.astype("uint16") * 16, 255 * 16), ((PIXELS / 255).astype("f4"), 1)):
        got, (note,) = samples(net(**STANDARD, white=white), values)
        np.testing.assert_allclose(got, WANTED, atol=1e-6)
        assert f"preprocess is applied with white at {white}" in note


def test_rows_of_a_net_that_takes_no_pictures() -> None:
    x = np.array([[0, 51], [255, 102]])
    for dtype in ("uint8", "int64", "float32"):
        got, (note,) = samples(net((2,), divide=51), x.astype(dtype))
        np.testing.assert_array_equal(got, x / 51)
        assert note.endswith(": preprocess is applied")
        got, notes = samples(net((2,)), x.astype(dtype))
        np.testing.assert_array_equal(got, x)
        assert notes == ()


def test_a_net_that_declares_nothing() -> None:
    for values, divisor, said in (
        (PIXELS, 255, ()),
        (PIXELS.astype("int32"), 255, ("divided by 255",)),
        (PIXELS.astype("f4"), 1, ("taken as it is",)),
    ):
        got, notes = samples(net(), values)
        np.testing.assert_allclose(got, PIXELS / np.float32(divisor), rtol=1e-6)
        assert len(notes) == len(said)
        assert all(word in note for word, note in zip(said, notes, strict=True))


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
def test_pictures_of_another_size_are_resized(dtype: str) -> None:
    small = net((2, 2, 3), **STANDARD, crop=0.5)
    expected, _ = samples(small, PIXELS)
    np.testing.assert_array_equal(samples(small, PIXELS.astype(dtype))[0], expected)


CHANNELS_FIRST = r"shape \[3,4,5\], net net takes \[4,5,3\]\n  hint: channels come last: x_test.transpose\(0, 2, 3, 1\)"


@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
@pytest.mark.parametrize("declared", [{}, STANDARD])
@pytest.mark.parametrize(
    ("wanted", "given", "message"),
    [
        ((4, 5, 3), (3, 4, 5), CHANNELS_FIRST),
        ((4, 5, 3), (3, 8, 8), r"channels come last: x_test.transpose\(0, 2, 3, 1\)"),
        ((4, 5, 3), (4, 5, 5), "pictures have 1 or 3 channels"),
        ((4, 5, 3), (4, 5, 4), r"leave the fourth channel out: x_test\[..., :3\]"),
        ((4, 5, 3), (3, 5, 4), r"shape \[3,5,4\]"),
        ((4, 5, 3), (61,), r"shape \[61\]"),
        ((16, 3), (3, 16), r"channels come last: x_test.transpose\(0, 2, 1\)"),
        ((4, 5, 3), (0, 10**10, 3), r"shape \[0,10000000000,3\], net"),
        ((4, 5, 1), (0, 10**10), r"shape \[0,10000000000\], net"),
        ((5, 4, 6), (4, 6, 5), r"this net takes channels first: x_test.transpose\(0, 3, 1, 2\)"),
    ],
)
def test_other_layouts_are_refused(
    wanted: tuple[int, ...], given: tuple[int, ...], message: str, declared: dict[str, Any], dtype: str
) -> None:
    declared = declared if wanted[-1] == 3 else {}
    with pytest.raises(NetcError, match=message):
        samples(net(wanted, **declared), np.full((2, *given), 200, dtype))


def test_one_channel_may_come_first() -> None:
    grey = PIXELS[..., :1]
    first = grey.transpose(0, 3, 1, 2).copy()
    for values in (grey, first, grey[..., 0]):
        np.testing.assert_array_equal(samples(net((4, 5, 1), divide=255), values)[0], grey / np.float32(255))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_can_be_no_sample(bad: float) -> None:
    with pytest.raises(NetcError, match="x_test holds infinities or NaNs"):
        Facts.of("x_test", np.array([[0.0, bad]]))
    with pytest.raises(NetcError, match="x_test must hold numbers"):
        Facts.of("x_test", np.array([["a"]]))

"""Specifications as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netc.compiler.errors import NetcError
from netc.compiler.spec import Spec, parse_spec, parse_specs


def test_names_arguments_and_values() -> None:
    specs = parse_specs("crop(4, mode=reflect), flip, data(classes=[0, -1], on=true, name='a b', scale=5e-4)")
    assert [s.name for s in specs] == ["crop", "flip", "data"]
    assert specs[0] == Spec("crop", (4,), {"mode": "reflect"})
    assert specs[2].named == {"classes": (0, -1), "on": True, "name": "a b", "scale": 5e-4}


@pytest.mark.parametrize("text", ["", "  ", "none"])
def test_nothing(text: str) -> None:
    assert parse_specs(text) == ()


@pytest.mark.parametrize(
    "text",
    ["crop(", "crop(4))", "1", "crop(x+1)", "crop(**a)", "a.b", "f(f(1))", "], [", "(" * 500, "f(-" + "9" * 400 + ")"],
)
def test_refuses_what_it_can_not_read(text: str) -> None:
    with pytest.raises(NetcError):
        parse_specs(text)


def test_one_spec_is_one() -> None:
    with pytest.raises(NetcError, match="should be one name"):
        parse_spec("a, b")


values = st.recursive(
    st.integers(-1000, 1000) | st.booleans() | st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=5,
)
names = st.sampled_from(["alpha", "beta", "gamma"])


@given(names, st.lists(values, max_size=3), st.dictionaries(names, values, max_size=3))
def test_text_parses_back(name: str, positional: list[object], named: dict[str, object]) -> None:
    spec = Spec(name, tuple(positional), named)
    assert parse_spec(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("crop", "needs `padding`"),
        ("crop(1, 2, 3)", "takes padding, mode"),
        ("crop(padding=1, mod=2)", "did you mean mode"),
        ("crop(1, padding=2)", "given twice"),
    ],
)
def test_bind_refuses(text: str, message: str) -> None:
    with pytest.raises(NetcError, match=message):
        parse_spec(text).bind({"padding": int, "mode": "zero"})


def test_bind_fills_in_defaults() -> None:
    assert parse_spec("crop(4)").bind({"padding": int, "mode": "zero"}) == {"padding": 4, "mode": "zero"}

"""Text of strangers: escaped where it is shown, compared with few names only, pickled as it is."""

from __future__ import annotations

import copy
import pickle
import time

import pytest

from netc.compiler.errors import Diagnostic, Location, NetcError, near_miss
from netc.compiler.page import escape
from netc.compiler.text import printable, shortened
from netc.frontend import SourceError


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("conv1/relu_6;ü 模", "conv1/relu_6;ü 模"),
        ("\x1b[2J\x1b]0;x\x07", r"\x1b[2J\x1b]0;x\x07"),
        ("a\nerror: b\r\t", r"a\nerror: b\r\t"),
        ("\x9b31m\x85\x7f\0", r"\x9b31m\x85\x7f\x00"),
        ("gpj.\u202etset\u2066\u2028", r"gpj.\u202etset\u2066\u2028"),
        ("\ud800", r"\ud800"),
        ("non-breaking\xa0space, \u200djoiner", "non-breaking\xa0space, \u200djoiner"),
    ],
)
def test_what_a_terminal_obeys_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert escape(f"<{text}>") == f"&lt;{shown}&gt;"
    assert str(NetcError(f"no `{text}`")) == f"error: no `{shown}`"


def test_no_part_of_an_error_forges_a_line() -> None:
    evil = "x\n  hint: y\x1b"
    place = Location(evil, 1, 2)
    diagnostic = Diagnostic(evil, place, evil, ((evil, place),), (evil,))
    lines = str(NetcError([diagnostic])).splitlines()
    assert len(lines) == 4
    assert all(line.isprintable() for line in lines)
    assert lines[1] == r"  x\n  hint: y\x1b"


def test_kept_characters() -> None:
    assert printable("a\tb\nc\x1b", keep="\n\t") == "a\tb\nc\\x1b"


def test_long_names_are_cut_in_the_middle() -> None:
    assert shortened("a" * 80) == "a" * 80
    cut = shortened("a" * 50 + "b" * 50, 60)
    assert (len(cut), cut[:1], cut[-1:]) == (60, "a", "b")
    assert "..." in cut


def test_a_near_miss_among_many_names_takes_no_time() -> None:
    names = [f"layer{i}.conv{i % 7}.weight" for i in range(50_000)]
    start = time.process_time()
    assert near_miss("layer4711.conv0.wieght", names) == "did you mean layer4711.conv0.weight?"
    assert near_miss("x" * 100_000, names) is None
    assert near_miss("l" * 60, ["l" * 59 + chr(i) for i in range(200, 2000)]) is not None
    assert time.process_time() - start < 2


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
def test_copies_of_errors_say_the_same(copied: object) -> None:
    assert callable(copied)
    error = NetcError("a", location=Location("t.net", 1, 2), hint="b", details=["c", "d"])
    again = copied(error)
    assert (str(again), again.diagnostics) == ("t.net:1:2: error: a\n  c\n  d\n  hint: b", error.diagnostics)
    source = copied(SourceError(error.diagnostics, {"t.net": "text"}))
    assert (str(source), source.sources) == (str(error), {"t.net": "text"})

"""Diagnostics as text: each file of bad snippets holds, behind `//=`, what netc must say about them.

`pytest --update-golden` rewrites the expectations.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from netc.compiler.errors import Diagnostic, Location, NetcError
from netc.frontend import SourceError, check_text, load_network, load_text, render, to_json

FOLDER = Path(__file__).parent / "diagnostics"
SPLIT = "// -----\n"
MARK = "//="


def expectation(snippet: str) -> tuple[str, str]:
    """The snippet without its expectation, and the expectation."""
    lines = snippet.splitlines()
    text = "".join(f"{line}\n" for line in lines if not line.startswith(MARK))
    return text, "".join(f"{line}\n" for line in lines if line.startswith(MARK))


def diagnose(text: str) -> str:
    diagnostics = check_text(text, "t.net")
    rendered = render(SourceError(diagnostics, {"t.net": text}))
    return "".join(f"{MARK} {line}".rstrip() + "\n" for line in rendered.splitlines())


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.net")))
def test_snippets(name: str, update_golden: bool) -> None:
    path = FOLDER / name
    snippets = [expectation(s) for s in path.read_text("utf-8").split(SPLIT)]
    found = [diagnose(text) for text, _ in snippets]
    assert all(found), "each snippet is wrong"
    if update_golden:
        path.write_text(SPLIT.join(t + f for (t, _), f in zip(snippets, found, strict=True)), "utf-8")
        return
    for (text, expected), actual in zip(snippets, found, strict=True):
        assert actual == expected, text


def test_excerpt_keeps_tabs_and_cuts_long_lines() -> None:
    text = "net n(image: f32[N, 2]) {\n\ty = " + "1 + " * 100 + "qqqq" + " + 1" * 100 + "\n\treturn image\n}\n"
    report = diagnose(text).splitlines()
    assert len(report) == 3
    line, carets = report[1], report[2]
    assert line[carets.index("^") :].startswith("qqqq")
    assert len(line) < 140


def test_excerpt_is_read_from_disk_or_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.net"
    path.write_text("net a(x: f32[N]) { return y }\n")
    with pytest.raises(NetcError) as caught:
        load_network(path)
    shown = render(NetcError(list(caught.value.diagnostics)))
    assert "return y" in shown
    assert "^" in shown
    path.unlink()
    assert "return y" not in render(NetcError(list(caught.value.diagnostics)))


def test_json() -> None:
    at, call = Location("a.net", 2, 3, 2, 7), Location("a.net", 5, 1, 5, 2)
    (record,) = json.loads(to_json([Diagnostic("wrong", at, "do it right", (("stage", call),))]))
    place = {"file": "a.net", "line": 2, "column": 3, "end_line": 2, "end_column": 7}
    trail = {"block": "stage", "file": "a.net", "line": 5, "column": 1, "end_line": 5, "end_column": 2}
    assert record == {"message": "wrong", **place, "hint": "do it right", "trail": [trail]}


def test_errors_without_a_place_have_no_excerpt() -> None:
    assert render(NetcError("wrong", hint="do it right")) == "error: wrong\n  hint: do it right"


def test_errors_of_several_files_are_reported_together(tmp_path: Path) -> None:
    (tmp_path / "one.net").write_text("block a(x) { return x + }\n")
    (tmp_path / "two.net").write_text('import "one.net"\nnet two(x: f32[N] { return a(x) }\n')
    with pytest.raises(NetcError) as caught:
        load_network(tmp_path / "two.net")
    files = [Path(d.location.file).name for d in caught.value.diagnostics if d.location]
    assert files == ["two.net", "one.net"]


def test_a_run_reports_twenty_errors_at_most() -> None:
    text = "net n(image: f32[N, 2]) {\n" + "  x = 1 / 0\n" * 50 + "  return image\n}\n"
    with pytest.raises(NetcError) as caught:
        load_text(text)
    assert len(caught.value.diagnostics) == 20

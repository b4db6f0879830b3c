"""Pass tests: every file in tests/ir holds a graph, the passes to run on it (`// RUN:`) and the expected graph."""

from __future__ import annotations

from pathlib import Path

import pytest

from netc.compiler import passes
from netc.compiler.backends import parse_pipeline
from netc.compiler.graph import parse_graph

FOLDER = Path(__file__).parent / "ir"
SEPARATOR = "// -----\n"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.ir")), ids=lambda p: p.stem)
def test_ir(path: Path, update_golden: bool) -> None:
    given, separator, expected = path.read_text(encoding="utf-8").partition(SEPARATOR)
    header = given.splitlines()[0]
    assert header.startswith("// RUN: "), f"{path} must begin with `// RUN: passes`"
    graph = passes.run(parse_graph(given, path.name), parse_pipeline(header.removeprefix("// RUN: ")))
    text = str(graph)
    assert str(parse_graph(text)) == text
    if update_golden:
        path.write_text(given + SEPARATOR + text, encoding="utf-8")
        return
    assert separator, f"{path} has no expected graph; `pytest --update-golden` writes it"
    assert text == expected

"""The table of operators and element types in docs: it is what the readers are, and some of its files still agree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from netc.compiler.ops.facets import readers
from netc.compiler.tflite.names import OPERATORS

from .agreement import described
from .litert import LiteRT
from .sweep import TYPES, drawn, generators, operator_of
from .sweep.document import COMMAND
from .sweep.verdict import judge

PAGE = Path(__file__).resolve().parents[3] / "docs" / "tflite-operators.md"


@pytest.fixture(scope="module")
def table() -> Mapping[str, list[str]]:
    """The cells behind the name of each operator."""
    rows = [line.strip("|").split("|") for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:1] == "|"]
    return {name.strip().strip("*"): [cell.strip() for cell in cells] for name, *cells in rows[2:]}


def test_the_table_has_all_operators(table: Mapping[str, list[str]]) -> None:
    assert sorted(table) == sorted(OPERATORS)
    assert f"`{COMMAND}`" in PAGE.read_text(encoding="utf-8")


def test_the_table_says_which_operators_are_read(table: Mapping[str, list[str]]) -> None:
    found = {name for name, cells in table.items() if cells[0] == "yes"}
    assert found == set(readers()), "python benchmarks/tflite_operators.py --refresh docs/tflite-operators.md"
    swept = {operator_of(name) for name in generators()}
    for name, (_, *cells) in table.items():
        assert len(cells) == len(TYPES)
        if name not in swept:
            assert not any(cells), name
        elif any(cell.startswith(("exact", "close")) for cell in cells):
            assert name in readers()


def test_no_form_differs(table: Mapping[str, list[str]]) -> None:
    assert not {name for name, cells in table.items() if any("differs" in cell for cell in cells)}


@pytest.mark.parametrize("column", TYPES)
def test_a_file_of_each_form_equals_litert(column: str, table: Mapping[str, list[str]], litert: LiteRT) -> None:
    """One file of each form that the table calls exact or close, interpreted."""
    place = 1 + list(TYPES).index(column)
    for name in sorted(generators()):
        if not table[operator_of(name)][place].startswith(("exact", "close")):
            continue
        d, data = drawn(name, column, 1, 0)
        found = judge(litert, d, data, 0, compiles=False)
        assert found.outcome != "differs", f"{described(data)}: {found.detail}"

"""docs/operators.md is what the definitions of operators and layers say."""

from pathlib import Path

from netc.compiler.graph.registry import operators
from netc.compiler.ops.layer import layers
from netc.reference import COMMAND, reference

PATH = Path(__file__).parents[2] / "docs" / "operators.md"


def test_reference_is_up_to_date(update_golden: bool) -> None:
    text = reference()
    if update_golden:
        PATH.write_text(text, encoding="utf-8")
    assert text == PATH.read_text(encoding="utf-8"), f"operators have changed: run `{COMMAND}`"


def test_reference_names_everything() -> None:
    text = reference()
    for layer in layers():
        assert f"### `{layer}(" in text
    for operator in operators():
        assert f"| `{operator}(" in text

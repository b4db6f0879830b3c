"""The examples and the limits of the language reference hold."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from netc.compiler.initial import RULES
from netc.compiler.types import Quantization
from netc.frontend import check_text, load_text, parse_source
from netc.frontend.arithmetic import BUILTINS, MAX_LIST, MAX_TEXT
from netc.frontend.budget import MAX_BYTES, MAX_FILE, MAX_OPERATIONS, MAX_STEPS, MAX_TOKENS
from netc.frontend.lexer import MAX_NESTING
from netc.frontend.modules import MAX_FILES
from netc.frontend.parser import MAX_ERRORS, literals
from netc.frontend.quantized import Stored
from netc.frontend.state import MAX_DEPTH, MAX_ELEMENTS, MAX_PATH, MAX_RANK
from netc.frontend.tensors import MAX_POWER, QUERIES
from netc.frontend.tree import MAX_INTEGER

REFERENCE = (Path(__file__).parents[2] / "docs" / "language.md").read_text("utf-8")
EXAMPLES = re.findall(r"```\n(.*?)```", REFERENCE, re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples(number: int) -> None:
    assert check_text(EXAMPLES[number]) == []


def test_example_of_parameter_names() -> None:
    (example,) = [e for e in EXAMPLES if "net named" in e]
    names = [p.result.name or "" for p in load_text(example).parameters]
    section = REFERENCE[REFERENCE.index("### Names of parameters") : REFERENCE.index("### Shared parameters")]
    mentioned = re.findall(r"`([a-z0-9_.]+\.(?:weight|bias))`", section)
    assert len(mentioned) == 7
    assert set(mentioned) <= set(names)


def test_example_of_shared_parameters() -> None:
    (example,) = [e for e in EXAMPLES if "net siamese" in e]
    section = REFERENCE[REFERENCE.index("### Shared parameters") :]
    names = [p.result.name or "" for p in load_text(example).parameters]
    assert re.findall(r"`(tower\.[a-z0-9_.]+)`", section) == names


def test_example_of_integers() -> None:
    section = REFERENCE[REFERENCE.index("### Integer networks") : REFERENCE.index("### Recurrent layers")]
    text = "".join(line[4:] + "\n" for line in section.split("\n") if line.startswith("    "))
    scales = {f"{layer}.{kind}.scales": np.float32(0.5) for layer in "ab" for kind in ("weight", "bias")}
    graph = load_text(text, stored={"digits.safetensors": Stored("digits.safetensors", scales)})
    assert graph.outputs[0].type.quantization == Quantization.of(0.128, 34)


def test_table_of_initial_values() -> None:
    table = REFERENCE[REFERENCE.index("| `init` |") : REFERENCE.index("The last two dimensions of a shape")]
    assert set(re.findall(r"`([a-z]\w+)[`(]", table)) - {"init"} == set(RULES)


def test_example_of_comments() -> None:
    (example,) = [e for e in EXAMPLES if "func examples" in e]
    comments = [c.text for c in parse_source(example, "t").comments]
    assert [c.split()[1] for c in comments] == ["divides", "one", "divisor:", "result"]


def test_limits_are_the_stated_ones() -> None:
    table = REFERENCE[REFERENCE.index("## Limits") :]
    assert (MAX_FILE, MAX_FILES, MAX_NESTING, MAX_DEPTH) == (1 << 20, 100, 100, 150)
    assert f"1 MiB; 100; {MAX_TOKENS:,} |\n| open brackets | 100 |" in table
    assert f"| {MAX_DEPTH} |" in table
    assert f"| {MAX_STEPS:,} |" in table
    assert f"| {MAX_BYTES >> 20} MiB; {MAX_PATH:,} |" in table
    assert f"| {MAX_RANK}; 2**31 |" in table
    assert f"| {MAX_LIST:,}; {MAX_TEXT:,} |" in table
    assert f"| {MAX_OPERATIONS:,} |" in table
    assert (MAX_INTEGER, MAX_ELEMENTS) == (2**63 - 1, 2**31)
    assert f"up to {MAX_ERRORS} errors" in REFERENCE
    assert f"from 1 to {MAX_POWER} is a product" in REFERENCE


def test_all_functions_and_keywords_are_mentioned() -> None:
    keywords = {word for word in literals() if word.isalpha()}
    for name in {*BUILTINS, *QUERIES, *keywords}:
        assert re.search(rf"`{name}[`(]", REFERENCE), name

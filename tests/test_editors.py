"""The grammar for editors knows every keyword of the language and tells comments from divisions."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netc.frontend.parser import literals

FOLDER = Path(__file__).resolve().parents[1] / "editors"
GRAMMAR: dict[str, Any] = json.loads((FOLDER / "netc.tmLanguage.json").read_text(encoding="utf-8"))
RULES: dict[str, Any] = GRAMMAR["repository"]
KEYWORDS = sorted(word for word in literals() if word.isalpha())


def rules(node: Any) -> Iterator[dict[str, Any]]:
    """All rules of a grammar, at any depth."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from rules(child)


def scope(text: str) -> str:
    """What the rules for keywords make of a word."""
    return next((r["name"] for r in RULES["keyword"]["patterns"] if re.fullmatch(r["match"], text)), "")


@pytest.mark.parametrize("word", KEYWORDS)
def test_every_keyword_has_a_colour(word: str) -> None:
    assert scope(word)


def test_names_that_contain_keywords_have_none() -> None:
    for word in ("nets", "inside", "format", "orient", "subnet"):
        assert not scope(word)


def test_expressions_are_sound_and_references_lead_somewhere() -> None:
    for rule in rules(GRAMMAR):
        for key in ("match", "begin", "end"):
            if isinstance(rule.get(key), str):
                re.compile(rule[key])
        if "include" in rule:
            assert rule["include"].removeprefix("#") in RULES


@pytest.mark.parametrize(
    ("line", "divides"),
    [
        ("half = size // 2", True),
        ("rounded = max(divisor, int(size + divisor / 2) // divisor * divisor)", True),
        ("third = size / 3 // one of three parts", False),
        ("// divisor: at the beginning of a line it is always a comment", False),
        ("y = x                                        // assignment of it", False),
        ("for i in range(n // 2) {", True),
    ],
)
def test_comments_and_divisions(line: str, divides: bool) -> None:
    assert bool(re.search(RULES["division"]["match"], line)) == divides


def test_the_extension_names_its_files() -> None:
    package = json.loads((FOLDER / "package.json").read_text(encoding="utf-8"))["contributes"]
    paths = [package["grammars"][0]["path"], package["languages"][0]["configuration"]]
    for path in paths:
        assert json.loads((FOLDER / path).read_text(encoding="utf-8"))
    assert package["grammars"][0]["scopeName"] == GRAMMAR["scopeName"]

"""Random inputs for `fuzz.py`: mutants of sound files and texts, and programs drawn from the grammar."""

from __future__ import annotations

import io
import random
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_readers import NET, TEXTS, graphs, loops, picture
from lark.grammar import NonTerminal, Rule

from netc.frontend.modules import library_names
from netc.frontend.parser import grammar

sys.path.append(str(Path(__file__).resolve().parents[1]))
from tests.damage import copy_parts, flip_bits, truncate

ROOT = Path(__file__).resolve().parents[1]
_WORDS = (
    *"(){}[];,=@\"'.%\\:",
    *("\n", "\r", "\t", "\0", "é", "\u2028", "\ud800", "\x1b[2J"),
    *("net ", "block ", "func ", "import ", "if ", "then ", "else ", "for ", "in ", "return ", "not ", "same", "f32["),
    *("|>", "//", "==", "**", "+=", "{x}", "9", "1e999", "0.5", "9**9**9", "x", "-" * 300, "(" * 200, "not " * 400),
    *("a |> relu " * 50, "1+" * 2000, "[0] * 10000", "max(x)", "range(10000)", "enumerate(a)", '@"{i}"', "9" * 5000),
)


# ---- bytes ----------------------------------------------------------------------------------------------------------


def _words(data: bytearray, rng: random.Random) -> None:
    words = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, rng.randrange(1 << 32), rng.randrange(len(data)))
    for _ in range(rng.choice((1, 2, 8))):
        place = rng.randrange(max(1, len(data) - 4)) // 4 * 4
        data[place : place + 4] = rng.choice(words).to_bytes(4, rng.choice(("little", "big")))


def _insert(data: bytearray, rng: random.Random) -> None:
    place = rng.randrange(len(data))
    data[place:place] = rng.randbytes(rng.randrange(1, 40))


_MUTATIONS: Sequence[Callable[[bytearray, random.Random], None]] = (truncate, flip_bits, _words, copy_parts, _insert)


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """A few random changes to a file."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3))):
        if changed:
            rng.choice(_MUTATIONS)(changed, rng)
    return bytes(changed)


# ---- texts ----------------------------------------------------------------------------------------------------------


@cache
def _networks() -> Sequence[str]:
    paths = [*sorted((ROOT / "models").glob("*.net")), *sorted((ROOT / "tests/frontend/diagnostics").glob("*.net"))]
    return [NET, *(path.read_text("utf-8") for path in paths)]


def mutated_text(text: str, rng: random.Random, words: Sequence[str] = _WORDS) -> str:
    """A few random changes to a text: parts dropped, words put in, parts repeated."""
    for _ in range(rng.randint(1, 5)):
        at, kind = rng.randrange(len(text) + 1), rng.random()
        if kind < 0.35:
            text = text[:at] + text[at + rng.randint(1, 12) :]
        elif kind < 0.8:
            text = text[:at] + rng.choice(words) + text[at:]
        else:
            start = rng.randrange(len(text) + 1)
            text = text[:at] + text[start : start + rng.randrange(60)] + text[at:]
    return text


def mutated_network(rng: random.Random) -> str:
    """A mutant of a shipped model, or of a snippet that the tests of messages use."""
    return mutated_text(rng.choice(_networks()), rng)


def small_text(rng: random.Random) -> tuple[str, str]:
    """The name of a small language, and a mutant of one of its texts."""
    readers = {**TEXTS, "loops": loops(), "graphs": graphs()}
    name = rng.choice(list(readers))
    text = rng.choice(readers[name].sound)
    return name, mutated_text(text, rng) if rng.random() < 0.4 else _retyped(text, rng)


def _retyped(text: str, rng: random.Random) -> str:
    """The text with one word or sign in place of another of its own: many such texts are still read."""
    words = re.findall(r"\w+|[^\w\s]", text)
    places = [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]
    start, end = rng.choice(places)
    given = rng.choice((rng.choice(words), rng.choice(words), "0", "-1", "3", "0.5", "1e30", "true", "none", "inf", ""))
    return text[:start] + given + text[end:]


# ---- the grammar ----------------------------------------------------------------------------------------------------


_DEEPEST = 120
"""How deep a derivation goes at will."""


@cache
def _rules() -> Mapping[str, Sequence[Rule]]:
    found: dict[str, list[Rule]] = {}
    for rule in grammar().rules:
        found.setdefault(rule.origin.name, []).append(rule)
    return found


@cache
def _depths() -> Mapping[str, int]:
    """How deep the smallest derivation of each rule is."""
    depths: dict[str, int] = {}
    changed = True
    while changed:
        changed = False
        for name, rules in _rules().items():
            depth = min((_depth(rule, depths) for rule in rules), default=sys.maxsize)
            if depth < depths.get(name, sys.maxsize):
                depths[name], changed = depth, True
    return depths


def _depth(rule: Rule, depths: Mapping[str, int]) -> int:
    parts = [depths.get(s.name, sys.maxsize - 1) if isinstance(s, NonTerminal) else 0 for s in rule.expansion]
    return 1 + max(parts, default=0)


@cache
def _spelling() -> Mapping[str, str]:
    return {t.name: str(t.pattern.value) for t in grammar().terminals if type(t.pattern).__name__ == "PatternStr"}


def _terminal(name: str, rng: random.Random) -> str:
    if name in _spelling():
        return _spelling()[name]
    if name == "NAME":
        names: list[str] = [*"xyzab", "image", "i", "n", *rng.sample(sorted(library_names()), 3)]
        return rng.choice(names)
    if name == "NUMBER":
        return rng.choice(("0", "1", "2", "3", "8", "0.5", "1e9", "10000", "9223372036854775807"))
    if name == "STRING":
        return rng.choice(('"a"', '"{x}"', '"a{i}.b"', '"same"', '"none.net"', '""'))
    if name == "COMPARE":
        return rng.choice(("==", "<", ">=", "!="))
    return {"AUGMENT": "+=", "_NEWLINE": "\n"}.get(name, name)


class _Derivation:
    """Tokens of a random derivation: about `size` of them are drawn freely, then the shortest rules end it."""

    def __init__(self, rng: random.Random, size: int) -> None:
        self.rng = rng
        self.size = size
        self.tokens: list[str] = []

    def expand(self, name: str, depth: int = 0) -> None:
        """Derive a rule of the grammar."""
        rules, depths = _rules()[name], _depths()
        ends = len(self.tokens) > self.size or depth > _DEEPEST
        rule = min(rules, key=lambda r: _depth(r, depths)) if ends else self.rng.choice(rules)
        for symbol in rule.expansion:
            if isinstance(symbol, NonTerminal):
                self.expand(symbol.name, depth + 1)
            else:
                self.tokens.append(_terminal(symbol.name, self.rng))


def _derived(name: str, rng: random.Random) -> str:
    derivation = _Derivation(rng, rng.choice((10, 40, 150)))
    derivation.expand(name)
    return " ".join(derivation.tokens)


def _likely_body(rng: random.Random) -> str:
    """Statements that may well make sense, with expressions drawn from the grammar here and there."""
    layers = ("relu", "conv({}, 3)", "batch_norm", "max_pool({})", "dense({})", "flatten", "softmax", "dropout(0.5)")
    numbers = ("n", "2", "a[0]", "n * 2", "len(a)", "max(a)", "3 // 2", "sum(range(n))")
    statements = (
        lambda: f"{rng.choice(('image', 'x'))} = {rng.choice(('image', 'x'))} |> {rng.choice(layers)}",
        lambda: f"a = a + [{rng.choice(numbers)}]",
        lambda: f"n = {rng.choice(numbers)}",
        lambda: f"for i in {rng.choice(('range(n)', 'a', 'enumerate(a)'))} {{ image = image |> {rng.choice(layers)} }}",
        lambda: f"if {rng.choice(numbers)} > {rng.choice(numbers)} {{ x = relu(x) }} else {{ a = a * {{}} }}",
        lambda: f"z = {_derived('expression', rng)}" if rng.random() < 0.3 else "z = x * 2",
    )
    lines = [rng.choice(statements)().replace("{}", rng.choice(numbers)) for _ in range(rng.randint(1, 8))]
    return "{\n" + "\n".join([*lines, f"return {rng.choice(('image', 'x', 'x, image'))}"]) + "\n}"


def program(rng: random.Random) -> str:
    """A file of definitions drawn from the grammar, and a net that may call them."""
    definitions = [_derived("definition", rng) for _ in range(rng.choice((0, 0, 1, 4)))]
    body = rng.choice((lambda: _derived("body", rng), lambda: _likely_body(rng)))()
    return "\n".join([*definitions, f"net whole(image: f32[N, 8, 8, 3], x: f32[N, 4], n = 2, a = [1, 2]) {body}\n"])


# ---- files of other tools -------------------------------------------------------------------------------------------


@cache
def _models() -> Sequence[bytes]:
    from tests.frontend.tflite import operators, small_models

    made = [small_models.classifier(), small_models.mixture(), small_models.unusual()]
    return [*made, *(make() for make in (*operators.CASES.values(), *operators.FLOAT_CASES.values()))]


def flatbuffer(rng: random.Random) -> bytes:
    """A mutant of a small TFLite file."""
    model = rng.choice(_models())
    if rng.random() < 0.4:
        return mutated_bytes(model, rng)
    changed = bytearray(model)  # one small change: many such files are still read
    place = rng.randrange(8, len(changed))
    changed[place] = rng.choice((0, 1, 2, 127, 255, changed[place] ^ 1 << rng.randrange(8)))
    return bytes(changed)


def arrays(rng: random.Random) -> bytes:
    """A file of arrays of any types and shapes, some of them under the names of a data set."""
    types = ("u1", "i1", "<i4", ">i8", "<f4", "<f8", "<f2", "?", "<c8", "<U3", "S2", "M8[s]", "u1, <f4")
    stored: dict[str, np.ndarray[Any, Any]] = {}
    for name in ("x_train", "y_train", "x_test", "y_test", "extra"):
        if rng.random() < 0.9:
            shape = tuple(rng.choice((0, 1, 3, 4)) for _ in range(rng.randrange(5)))
            stored[name] = np.zeros(shape, rng.choice(types))
            if stored[name].dtype.kind in "iuf" and stored[name].size:
                stored[name].flat[0] = rng.choice((0, 1, 3, 127))
    stream = io.BytesIO()
    np.savez(stream, **stored)  # type: ignore[arg-type]
    data = stream.getvalue()
    return data if rng.random() < 0.7 else mutated_bytes(data, rng)


@cache
def _pictures() -> Sequence[bytes]:
    kinds = (("PNG", "RGB"), ("PNG", "L"), ("PNG", "P"), ("PNG", "1"), ("PNG", "I;16"), ("JPEG", "RGB"), ("JPEG", "L"))
    others = (("BMP", "RGB"), ("GIF", "P"), ("WEBP", "RGB"), ("TIFF", "RGB"), ("PPM", "RGB"))
    return [picture(kind, mode) for kind, mode in (*kinds, *others) if mode != "I;16"]


def broken_picture(rng: random.Random) -> bytes:
    """A mutant of a picture of one of the usual kinds."""
    return mutated_bytes(rng.choice(_pictures()), rng)

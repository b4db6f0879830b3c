"""Syntax errors in the user's words: what was found, what could stand there, what may have been meant."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from lark import Token

from ..compiler.errors import Diagnostic, Location, near_miss
from .lexer import BINARY_OPERATORS, DEFINITION_KEYWORDS, NEWLINE

_VALUE_STARTS = frozenset(("NAME", "NUMBER", "STRING", "LPAR"))
_OPERATORS = BINARY_OPERATORS | {"AUGMENT", "AT", "DOT"}
COMMENT_HINT = "here `//` divides: a comment after a value needs two words, or a line of its own"
_DESCRIPTIONS = {
    "NAME": "a name",
    "NUMBER": "a number",
    "STRING": "text in double quotes",
    "COMPARE": "a comparison",
    "AUGMENT": "an assignment such as +=",
    NEWLINE: "a new line",
}
_FOREIGN_WORDS = {
    "def": "a piece of a network is a `block`, arithmetic is a `func`",
    "class": "a piece of a network is a `block`",
    "fn": "a piece of a network is a `block`, arithmetic is a `func`",
    "elif": "write `else if`",
    "let": "write `name = value`",
    "var": "write `name = value`",
    "const": "write `name = value`",
    "lambda": "define a `block` or a `func` and pass its name",
}


def describe_error(
    token: Token, previous: Token | None, allowed: Collection[str], spelling: Mapping[str, str], file: str, whole: str
) -> Diagnostic:
    """Say what is wrong at `token`, where the tokens `allowed` (types) could stand; `whole` is what is parsed."""
    location = location_of(token, file)
    found = _found(token, whole)
    if token.type in ("$END", NEWLINE) and previous is not None:
        location = Location(file, previous.end_line or 0, previous.end_column or 0, previous.end_line or 0, 0)
    if "NET" in allowed:
        return _not_a_definition(token, location)
    return Diagnostic(
        f"expected {_expected(allowed, spelling, whole)}, not {found}", location, _hint(token, previous, allowed)
    )


def location_of(token: Token, file: str) -> Location:
    """Where a token stands."""
    return Location(file, token.line or 1, token.column or 1, token.end_line or 1, token.end_column or 1)


def _found(token: Token, whole: str) -> str:
    if token.type == "$END":
        return f"the end of the {whole}"
    if token.type == NEWLINE:
        return "`;`" if token == ";" else "the end of the line"
    text = str(token)
    return f"`{text if len(text) <= 40 else text[:40] + '...'}`"


def _expected(allowed: Collection[str], spelling: Mapping[str, str], whole: str) -> str:
    """Shorten the list of allowed tokens to the alternatives that help."""
    rest = set(allowed)
    parts: list[str] = []
    if rest >= _VALUE_STARTS:
        parts.append("a value")
        rest -= {*_VALUE_STARTS, "LBRACE", "LSQB", "MINUS", "PLUS", "NOT", "IF", "TRUE", "FALSE", "NONE"}
        rest -= {NEWLINE, "FOR", "WHILE", "RETURN"}
    elif rest - _OPERATORS - {"LPAR", "LSQB"}:
        rest -= _OPERATORS
        if rest - {"LPAR", "LSQB"} and not rest & {"NAME", "STRING"}:
            rest -= {"LPAR", "LSQB"}
    descriptions = {**_DESCRIPTIONS, "$END": f"the end of the {whole}"}
    parts += sorted(descriptions.get(kind, f"`{spelling.get(kind, kind)}`") for kind in rest)
    if len(parts) > 1:
        return ", ".join(parts[:-1]) + " or " + parts[-1]
    return parts[0] if parts else "something else"


def _not_a_definition(token: Token, location: Location) -> Diagnostic:
    text = str(token)
    cure = _FOREIGN_WORDS.get(text) or near_miss(text, DEFINITION_KEYWORDS)
    return Diagnostic(
        f"a file is made of net, block, func, gradient, import, train and preprocess, not of `{token}`", location, cure
    )


def _hint(token: Token, previous: Token | None, allowed: Collection[str]) -> str | None:
    text, before = str(token), str(previous or "")
    if before in _FOREIGN_WORDS:
        return _FOREIGN_WORDS[before]
    if text in _FOREIGN_WORDS:
        return _FOREIGN_WORDS[text]
    if "NAME" in allowed and text.isidentifier() and token.type != "NAME":
        return f"`{text}` is a word of the language and can't be a name"
    if token.type == "EQUAL" and "COMPARE" in allowed:
        return "to compare, write `==`"
    if previous is not None and previous.type == "NAME" and token.type == "NAME":
        keyword = near_miss(before, ("for", "if", "while", "return", "else"))
        return keyword if keyword and NEWLINE in allowed else None
    if token.type == "FLOOR":
        return COMMENT_HINT
    if token.type in ("PLUS", "MINUS", "STAR", "SLASH") and "PIPE" in allowed:
        return "`|>` binds looser than arithmetic: put the pipe into parentheses"
    if "." in (text, before):
        return "a decimal number has digits, such as 0.5; `record.name` is a field of a record"
    if token.type == "COLON" and "LBRACE" in allowed:
        return "bodies stand in braces"
    return None


def statement_around(tokens: Sequence[Token], index: int) -> tuple[int, int] | None:
    """The stretch of tokens of the statement around `index`, or None where it lies outside any body."""
    start = _statement_start(tokens, index)
    if start is None:
        return None
    end, depth = index, 0
    while end < len(tokens):
        kind = tokens[end].type
        if depth == 0 and (kind == "RBRACE" or (kind == NEWLINE and end > start)):
            break
        depth += (kind == "LBRACE") - (kind == "RBRACE")
        end += 1
    return start, max(end, start + 1)


def _statement_start(tokens: Sequence[Token], index: int) -> int | None:
    depth = 0
    for at in range(min(index, len(tokens)) - 1, -1, -1):
        kind = tokens[at].type
        if depth == 0 and (kind == "LBRACE" or kind == NEWLINE):
            return at + 1 if kind == "LBRACE" or _inside_body(tokens, at) else None
        depth += (kind == "RBRACE") - (kind == "LBRACE")
    return None


def _inside_body(tokens: Sequence[Token], index: int) -> bool:
    return sum((t.type == "LBRACE") - (t.type == "RBRACE") for t in tokens[:index]) > 0

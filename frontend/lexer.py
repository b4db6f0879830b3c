"""Text of a .net file -> tokens, one list for each definition.

What the grammar leaves to the lexer: telling a comment from a floor division (see `_divides`), dropping line ends that
don't end a statement, matching brackets, and cutting the file at its definitions so that an error in one leaves the
others readable. Problems are collected, never raised.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field

from lark import Token

from ..compiler.errors import Diagnostic, Location
from .budget import Budget

_NETWORK = re.compile(
    r"""^[ \t]*(?:(?:net|block|func|gradient)[ \t]+\w+[ \t]*[(=]
      | import[ \t]+"
      | (?:train|preprocess)[ \t]+\w+[ \t]*\{)""",
    re.VERBOSE | re.MULTILINE,
)

MAX_NESTING = 100
"""Brackets that may be open at the same time."""

NEWLINE = "_NEWLINE"
DEFINITION_KEYWORDS = ("net", "block", "func", "gradient", "import", "train", "preprocess")

_SCAN = re.compile(
    r"""(?P<blank>[ \t]+)
      | (?P<newline>\n|;)
      | (?P<slashes>//)
      | (?P<NUMBER>(?:[0-9][0-9_]*(?:\.[0-9][0-9_]*)?|\.[0-9][0-9_]*)(?:[eE][+-]?[0-9]+)?)
      | (?P<NAME>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<STRING>"(?:\\.|[^"\\\n])*")
      | (?P<operator>\|>|\*\*|[=!<>]=|[-+*/]=|[-+*/%<>=(){}\[\],:@.])
      | (?P<quoted>'[^'\n]*'?|"[^\n]*)
      | (?P<strange>&&|\|\||\#[^\n]*|(?s:.))""",
    re.VERBOSE,
)
_NUMBER_TAIL = re.compile(r"[A-Za-z0-9_.]+")
_NAME_FOLLOWS = re.compile(r'[ \t]+[A-Za-z_"]')
_COMPARISONS = frozenset(("==", "!=", "<=", ">=", "<", ">"))
_AUGMENTED = frozenset(("+=", "-=", "*=", "/="))
_OPENERS = {"(": ")", "[": "]", "{": "}"}
_CLOSERS = {closer: opener for opener, closer in _OPENERS.items()}
_OPERAND_ENDS = frozenset(("NAME", "NUMBER", "STRING", "RPAR", "RSQB", "TRUE", "FALSE", "NONE"))
BINARY_OPERATORS = frozenset(
    ("PIPE", "PLUS", "MINUS", "STAR", "SLASH", "FLOOR", "PERCENT", "POWER", "COMPARE", "AND", "OR")
)
"""Tokens that stand between two values."""
_CONTINUES = BINARY_OPERATORS | {"THEN", "ELSE", "EQUAL"}
"""Tokens that continue a statement on both sides: a line end before or after them is dropped."""
_CONTINUES_AFTER = _CONTINUES | {"COMMA", "NOT", "IN", "RETURN", "AUGMENT", "COLON", "AT"}
_CONTINUES_BEFORE = _CONTINUES | {"LBRACE"}
_WORDS_IN_ARITHMETIC = frozenset(("and", "or", "not"))
_ENDS_ARITHMETIC = frozenset((",", "{", "}", "|>", "then", "else"))
_FUNCTIONS_IN_ARITHMETIC = frozenset(("int", "float", "round", "floor", "ceil", "abs", "max", "min", "len", "sum"))
_CURES = {
    "#": "comments start with //",
    "&&": "write `and`",
    "||": "write `or`",
    "!": "write `not`, or `!=` to compare",
    "|": "write `|>` to pipe a value into a block, or `or` between conditions",
    "&": "write `and`",
    "^": "write `**` for a power",
    "?": "write `if condition then a else b`",
}


@dataclass(frozen=True, slots=True)
class Comment:
    """One comment, from its slashes to the end of the line."""

    text: str
    location: Location


@dataclass(slots=True)
class Chunk:
    """The tokens of one definition; `broken` when its brackets don't match, so that parsing it would only confuse."""

    tokens: list[Token] = field(default_factory=list[Token])
    diagnostics: list[Diagnostic] = field(default_factory=list[Diagnostic])
    broken: bool = False

    @property
    def is_definition(self) -> bool:
        """Whether it starts like one."""
        return bool(self.tokens) and str(self.tokens[0]) in DEFINITION_KEYWORDS


@dataclass(slots=True)
class Tokens:
    """What the lexer finds in a text."""

    chunks: list[Chunk] = field(default_factory=lambda: [Chunk()])
    comments: list[Comment] = field(default_factory=list[Comment])


def is_network(text: str) -> bool:
    """Whether a text holds anything that begins like a definition."""
    return _NETWORK.search(text) is not None


class Source:
    """A text, or the part of it from `start` to `end`, that knows the line and column of every character."""

    def __init__(self, text: str, file: str, budget: Budget | None = None) -> None:
        self.budget = budget or Budget()
        self.text = text
        self.file = file
        self.start = 0
        self.end = len(text)
        self._lines = [0, *(m.end() for m in re.finditer("\n", text))]

    def position(self, offset: int) -> tuple[int, int]:
        """Line and column, from 1."""
        line = bisect_right(self._lines, offset)
        return line, offset - self._lines[line - 1] + 1

    def location(self, start: int, end: int) -> Location:
        """The stretch between two offsets."""
        return Location(self.file, *self.position(start), *self.position(end))

    def part(self, start: int, end: int) -> Source:
        """The same text, restricted."""
        part = object.__new__(Source)
        part.budget, part.text, part.file, part._lines = self.budget, self.text, self.file, self._lines
        part.start, part.end = start, end
        return part


class Lexer:
    """One run over a source; `literals` gives the token type of each keyword and operator.

    With `whole` the source is a file, else a single expression, where nothing is a comment.
    """

    def __init__(self, source: Source, literals: Mapping[str, str], *, whole: bool = True) -> None:
        self.source = source
        self.literals = literals
        self.whole = whole
        self.out = Tokens()
        self.open: list[tuple[str, int]] = []
        self.known: set[str] = set()
        self.pending_newline: Token | None = None
        self.line_start = True
        self.in_pipe = False
        self.dead_line = -1

    def run(self) -> Tokens:
        """Read the whole source. Raises `OverspentError` if it has too many tokens."""
        offset = self.source.start
        while offset < self.source.end:
            match = _SCAN.match(self.source.text, offset, self.source.end)
            assert match is not None, "the last alternative takes any character"
            offset = self._take(match.lastgroup or "", match.group(), offset)
        self._close_all()
        self.out.chunks = [chunk for chunk in self.out.chunks if chunk.tokens or chunk.diagnostics]
        return self.out

    def _take(self, kind: str, text: str, offset: int) -> int:
        end = offset + len(text)
        if kind not in ("blank", "newline", "slashes"):
            self.source.budget.token()
        if kind == "newline":
            self._newline(text, offset)
        elif kind == "slashes":
            if self._divides(end):
                self._emit("FLOOR", text, offset)
            else:
                return self._comment(offset)
        elif kind == "NUMBER":
            self._number(text, offset)
        elif kind == "NAME":
            self._name(text, offset)
        elif kind == "STRING":
            self._emit(kind, text, offset)
        elif kind == "operator":
            self._operator(text, offset)
        elif kind in ("quoted", "strange"):
            self._strange(kind, text, offset)
        return end

    # --- tokens

    def _emit(self, kind: str, text: str, offset: int) -> None:
        if self.pending_newline is not None and kind not in _CONTINUES_BEFORE:
            if self.whole and not self.open:
                self.out.chunks.append(Chunk())
            else:
                self.chunk.tokens.append(self.pending_newline)
        if kind in ("LBRACE", "RBRACE") or (self.pending_newline is not None and kind not in _CONTINUES_BEFORE):
            self.in_pipe = False
        self.pending_newline = None
        self.chunk.tokens.append(self._token(kind, text, offset))
        self.in_pipe = self.in_pipe or (kind == "PIPE" and self._at_statement_level())
        self.line_start = False

    def _at_statement_level(self) -> bool:
        return not self.open or self.open[-1][0] == "{"

    def _token(self, kind: str, text: str, offset: int) -> Token:
        line, column = self.source.position(offset)
        end_line, end_column = self.source.position(offset + len(text))
        return Token(kind, text, offset, line, column, end_line, end_column, offset + len(text))

    @property
    def chunk(self) -> Chunk:
        """The definition that is being read."""
        return self.out.chunks[-1]

    def _last(self) -> Token | None:
        return self.chunk.tokens[-1] if self.chunk.tokens else None

    def _newline(self, text: str, offset: int) -> None:
        self.line_start = self.line_start or text == "\n"
        if not self._at_statement_level():
            return
        last = self._last()
        if last is not None and last.type not in _CONTINUES_AFTER and self.pending_newline is None:
            self.pending_newline = self._token(NEWLINE, text, offset)

    def _name(self, text: str, offset: int) -> None:
        if text in DEFINITION_KEYWORDS and self._starts_definition(offset + len(text)):
            self._close_all()
            self.out.chunks.append(Chunk())
            self.pending_newline = None
        self.known.add(text)
        self._emit(self.literals.get(text, "NAME"), text, offset)

    def _starts_definition(self, end: int) -> bool:
        last = self._last()
        if self.open:  # something isn't closed, or the keyword is misused as a name
            return self.line_start and _NAME_FOLLOWS.match(self.source.text, end, self.source.end) is not None
        return self.line_start or last is None or last.type == "RBRACE" or self.pending_newline is not None

    def _number(self, text: str, offset: int) -> None:
        end = offset + len(text)
        tail = _NUMBER_TAIL.match(self.source.text, end, self.source.end)
        if tail:
            self._complain(f"`{_short(text + tail.group())}` is not a number", offset, tail.end())
        self._emit("NUMBER", text, offset)

    def _operator(self, text: str, offset: int) -> None:
        if text in _OPENERS:
            self.open.append((text, offset))
            if len(self.open) == MAX_NESTING + 1:
                self._complain(f"brackets are nested more than {MAX_NESTING} deep", offset, offset + 1)
                self.chunk.broken = True
        elif text in _CLOSERS:
            self._close(text, offset)
        kind = "COMPARE" if text in _COMPARISONS else "AUGMENT" if text in _AUGMENTED else self.literals[text]
        if kind == "RBRACE":
            self.pending_newline = None
        self._emit(kind, text, offset)

    def _close(self, closer: str, offset: int) -> None:
        if self.open and self.open[-1][0] == _CLOSERS[closer]:
            self.open.pop()
            return
        if not self.chunk.broken:
            if self.open:
                opener, at = self.open[-1]
                place = self.source.location(at, at + 1)
                message, hint = (
                    f"`{closer}` doesn't close the `{opener}` of line {place.line}",
                    f"`{opener}` is at {place}",
                )
                self._complain(message, offset, offset + 1, hint)
            else:
                self._complain(f"`{closer}` closes nothing", offset, offset + 1)
        self.chunk.broken = True

    def _close_all(self) -> None:
        if self.open and not self.chunk.broken:
            opener, offset = self.open[-1]
            self._complain(f"`{opener}` is never closed", offset, offset + 1, f"add the missing `{_OPENERS[opener]}`")
            self.chunk.broken = True
        self.open.clear()

    # --- what is no token

    def _strange(self, kind: str, text: str, offset: int) -> None:
        if kind == "quoted":
            if text.startswith("'"):
                written = text.strip("'")
                self._complain("text stands in double quotes", offset, offset + len(text), f'write "{written}"')
            else:
                self._complain("text has no closing quote on its line", offset, offset + len(text))
            self._emit("STRING", '""', offset)
            return
        cure = next((c for start, c in _CURES.items() if text.startswith(start)), None)
        shown = text[0] if text.startswith("#") else text
        name = f"`{shown}`" if shown.isprintable() else f"the character U+{ord(shown):04X}"
        self._complain(f"{name} has no meaning in a .net file", offset, offset + len(shown), cure)

    def _complain(self, message: str, start: int, end: int, hint: str | None = None) -> None:
        location = self.source.location(start, end)
        if location.line != self.dead_line:  # one complaint for a line: others mostly follow from it
            self.chunk.diagnostics.append(Diagnostic(message, location, hint))
        self.dead_line = location.line

    # --- comments

    def _comment(self, offset: int) -> int:
        end = self.source.text.find("\n", offset, self.source.end)
        end = self.source.end if end < 0 else end
        text = self.source.text[offset:end].rstrip()
        self.out.comments.append(Comment(text, self.source.location(offset, offset + len(text))))
        return end

    def _divides(self, offset: int) -> bool:
        """Whether `//` just before `offset` is a floor division.

        It is where a value stands before it on the same line and the rest of the line reads as arithmetic: numbers,
        operators, brackets and names that the file has used before, no two values side by side. The rest ends where
        the expression can't go on: at a comma, a brace, a closing bracket, `|>`, `then`, `else` or further slashes.
        After `|>` outside brackets it never is: stages of a pipe are not divided.
        """
        if not self.whole:
            return True
        last = self._last()
        if self.line_start or self.pending_newline or last is None or last.type not in _OPERAND_ENDS:
            return False
        if self.in_pipe and self._at_statement_level():
            return False
        return self._reads_as_arithmetic(offset)

    def _reads_as_arithmetic(self, offset: int) -> bool:
        after_value, seen, depth = False, False, 0
        while offset < self.source.end:
            match = _SCAN.match(self.source.text, offset, self.source.end)
            assert match is not None, "the last alternative takes any character"
            kind, text, offset = match.lastgroup, match.group(), match.end()
            if kind == "blank":
                continue
            if text == "." and not self.source.text[offset : offset + 1].isidentifier():
                return False
            depth += (text in ("(", "[")) - (text in (")", "]"))
            if kind in ("newline", "slashes") or depth < 0 or (depth == 0 and text in _ENDS_ARITHMETIC):
                break
            if kind in ("quoted", "strange"):
                return False
            if kind in ("NUMBER", "NAME", "STRING") and text not in _WORDS_IN_ARITHMETIC:
                if after_value or (kind == "NAME" and depth == 0 and not self._used(text)):
                    return False
                after_value = seen = True
            elif not seen and text not in ("(", "-", "+"):
                return False
            else:
                after_value = text in (")", "]")
        return seen

    def _used(self, name: str) -> bool:
        return name in self.known or name in _FUNCTIONS_IN_ARITHMETIC


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:40] + "..."

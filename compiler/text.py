"""Text that was written by strangers, made fit to be shown: on a terminal, in a line of a table, on a page."""

from __future__ import annotations

import json
import re

PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.$-]*")
"""Names of text forms that need no quotes. Digits alone stand for values without a name."""
_UNSHOWN = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")
"""Control characters, which a terminal obeys; breaks of lines; marks that turn the direction of text; surrogates."""
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: str, keep: str = "") -> str:
    r"""The text with control characters as visible escapes (`\x1b`, `\n`, `\u202e`), but for those in `keep`."""
    if text.isprintable():
        return text
    return _UNSHOWN.sub(lambda match: match[0] if match[0] in keep else _escaped(match[0]), text)


def _escaped(character: str) -> str:
    code = ord(character)
    return _SHORT.get(character) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def shortened(text: str, limit: int = 80) -> str:
    """The text, or its beginning and its end with dots between them if it has more than `limit` characters."""
    if len(text) <= limit:
        return text
    tail = limit // 3
    return f"{text[: limit - tail - 3]}...{text[-tail:]}"


def quoted(text: str) -> str:
    """Text as a string literal."""
    return json.dumps(text, ensure_ascii=not text.isprintable())


def with_article(noun: str) -> str:
    """The noun behind `a` or `an`; names of formats are spoken letter by letter."""
    return f"an {noun}" if noun.startswith(("ONNX", "archive", "image", "index")) else f"a {noun}"

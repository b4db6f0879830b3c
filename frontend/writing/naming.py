"""Names of blocks, parameters and tensors that mean nothing else in the language."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from ..lexer import DEFINITION_KEYWORDS
from ..modules import library_names
from .items import Expr, Item, Loop
from .leaves import names_in

KEYWORDS = (
    *DEFINITION_KEYWORDS,
    *("return", "for", "in", "while", "if", "then", "else", "and", "or", "not", "true", "false", "none"),
)
"""Words that can't be names."""
RECORD = "stage"
"""The variable of a loop over records."""
TENSORS = ("x", "y", "z", "u", "v", "w", "p", "q", "r", "s", "t")
"""Names for tensors."""


def identifier(text: str, base: str) -> str:
    """A text as a name; `base` where nothing is left of it."""
    name = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_")
    if not name:
        name = base
    if name[0].isdigit():
        name = f"{base}_{name}"
    return name + "_" if name in KEYWORDS else name


def free(name: str, taken: Collection[str]) -> str:
    """The name, with a number if it is taken."""
    base, number = name, 2
    while name in taken:
        name, number = f"{base}_{number}", number + 1
    return name


def block_name(prefixes: Sequence[tuple[str, ...] | None], taken: Collection[str]) -> str:
    """A name for a block from the paths of its calls: their last word that isn't a number."""
    words: list[str] = []
    for prefix in prefixes[:1]:
        for part in reversed(prefix or ()):
            if word := re.sub(r"[\d_]+$", "", part):
                words.append("unit" if word in KEYWORDS else identifier(word, "unit"))
    used = {*taken, *library_names(), *TENSORS, *KEYWORDS, RECORD}
    if not words:
        return free("unit", used)
    name = words[0]
    return free(f"{name}_block" if name in library_names() or name == RECORD else name, used)


def callees(items: Sequence[Item]) -> set[str]:
    """Everything that is called in there."""
    found: set[str] = set()
    for item in items:
        if isinstance(item, Loop):
            found |= callees(item.body.items)
        else:
            found.add(item.name)
    return found


def taken_names(items: Sequence[Item]) -> set[str]:
    """Names that a parameter of these items can't have."""
    taken = {*callees(items), *TENSORS, *KEYWORDS, "channels", "range", "zip", "same", "valid", "N", RECORD}
    work = list(items)
    while work:
        item = work.pop()
        if isinstance(item, Loop):
            taken |= {column.name for column in item.columns}
            work.extend(item.body.items)
            values: list[object] = [c.value for c in item.columns]
        else:
            values = [s.value for s in item.slots] + list(item.label or ())
        taken |= {name for v in values if isinstance(v, Expr) for name in names_in(v.text)}
    return taken

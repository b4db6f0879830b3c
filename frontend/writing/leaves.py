"""Values that differ between places of equal structure: which become parameters, which follow from others."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from .items import Expr, Leaf, Var, has_expression

WIDTHS = frozenset({"filters", "units"})
"""Arguments that are numbers of channels: what they are is often said by other widths."""
LISTS = frozenset(
    {"shape", "size", "begin", "end", "strides", "axes", "padding", "permutation", "stride", "kernel", "pad", "value"}
)
"""Arguments that are lists themselves."""
_PLURALS = dict.fromkeys(("i", "j", "k", "n", "m"), "steps")
_WORDS = {"y": "scale"}
"""What arguments are called where they become parameters, if not by their own name."""
NUMBERS = ("i", "j", "k", "n", "m")
"""Names for the numbers in labels."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A parameter: its name, what it stands for, its value at each place."""

    name: str
    word: str
    values: tuple[Leaf, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """The values of one leaf at all places; `word` says what it is."""

    word: str
    values: tuple[Leaf, ...]


def abstracted(
    columns: Sequence[Column],
    tensors: Sequence[tuple[str, Sequence[Var]]],
    taken: Collection[str],
    *,
    knows_batch: bool = True,
) -> tuple[list[Leaf], list[Setting]]:
    """What stands in place of each leaf, and the parameters for it.

    `tensors` are the tensors from outside, with their name and what they are at each place; `taken` are names that
    aren't free. Without `knows_batch` nothing there can say what the batch is.
    """
    settings: list[Setting] = []
    result: list[Leaf] = []
    used = set(taken)
    for column in columns:
        is_sayable = knows_batch or not has_expression(column.values[0])
        if is_sayable and all(_same(v, column.values[0]) for v in column.values):
            result.append(column.values[0])
            continue
        found = _derived(column, settings, tensors)
        if found is None:
            is_rows = column.word not in LISTS and all(isinstance(v, tuple) for v in column.values)
            name = _name(_PLURALS.get(column.word, f"{column.word}s") if is_rows else column.word, used)
            used.add(name)
            settings.append(Setting(name, column.word, column.values))
            found = name
        result.append(Expr(found))
    return result, settings


def _same(a: Leaf, b: Leaf) -> bool:
    return type(a) is type(b) and bool(a == b)


def _name(word: str, used: Collection[str]) -> str:
    if word == "#":
        free = next((n for n in NUMBERS if n not in used), None)
        if free is not None:
            return free
        word = "number"
    word = _WORDS.get(word, word)
    base, number = word, 2
    while word in used:
        word, number = f"{base}_{number}", number + 1
    return word


def _derived(column: Column, settings: Sequence[Setting], tensors: Sequence[tuple[str, Sequence[Var]]]) -> str | None:
    """An expression of what is there already that gives a column."""
    for setting in settings:
        if _alike(setting.word, column.word) and all(map(_same, setting.values, column.values)):
            return setting.name
    if not all(type(v) is int for v in column.values):
        return None
    if column.word == "pad":
        return _half_of_kernel(column, settings)
    if column.word in WIDTHS:
        return _from_widths(column, settings, tensors)
    if column.word == "#":
        shifts = (_shifted(setting, column.values) for setting in settings if setting.word == "#")
        return next(filter(None, shifts), None)
    return None


def _half_of_kernel(column: Column, settings: Sequence[Setting]) -> str | None:
    """Padding that keeps the size, by the kernel."""
    for setting in settings:
        pairs = zip(setting.values, column.values, strict=True)
        if setting.word == "kernel" and all(type(k) is int and k // 2 == p for k, p in pairs):
            return f"{setting.name} // 2"
    return None


def _from_widths(
    column: Column, settings: Sequence[Setting], tensors: Sequence[tuple[str, Sequence[Var]]]
) -> str | None:
    """A number of channels, by another one or by those of a tensor."""
    for setting in settings:
        if setting.word in WIDTHS and (text := _multiple(setting.name, setting.values, column.values)):
            return text
    for name, vars_ in tensors:
        if all(v.type.rank > 1 for v in vars_):
            widths = [v.type.shape[-1] for v in vars_]
            if widths == list(column.values):
                return f"channels({name})"
            if text := _multiple(f"channels({name})", widths, column.values):
                return text
    return None


def _alike(one: str, other: str) -> bool:
    return one == other or {one, other} <= WIDTHS or {one, other} <= LISTS - {"stride", "kernel", "pad"}


def _multiple(name: str, known: Sequence[Leaf], wanted: Sequence[Leaf]) -> str | None:
    for factor in range(2, 9):
        if all(w == factor * k for k, w in zip(known, wanted, strict=True)):
            return f"{factor} * {name}"
    for factor in range(2, 9):
        if all(w * factor == k for k, w in zip(known, wanted, strict=True)):
            return f"{name} // {factor}"
    return None


def _shifted(setting: Setting, wanted: Sequence[Leaf]) -> str | None:
    steps = {w - k for k, w in zip(setting.values, wanted, strict=True) if isinstance(k, int)}
    if len(steps) != 1 or not all(isinstance(k, int) for k in setting.values):
        return None
    step = steps.pop()
    return f"{setting.name} + {step}" if step > 0 else f"{setting.name} - {-step}"


def names_in(text: str) -> list[str]:
    """The names in an expression."""
    return re.findall(r"[A-Za-z_]\w*", text)

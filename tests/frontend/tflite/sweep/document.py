"""The table of operators and element types in docs, from what a sweep found."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from netc.compiler.ops.facets import readers
from netc.compiler.tflite.names import OPERATORS

from . import TYPES, operator_of
from .verdict import Verdict

COMMAND = "python benchmarks/tflite_operators.py --count 2000 --write docs/tflite-operators.md"
ABSENT = "\N{EN DASH}"
HEAD = f"""# TFLite's operators, type by type

Written by `{COMMAND}`, which
compares netc with LiteRT's reference kernels on random files of one operator each (seed {{seed}}): {{files}} files that
LiteRT runs, of which {{differing}} differ.

The columns are the element type of the first operand, of what is chosen or moved, or of what is converted. i8, u8 and
i16 are quantized numbers where the operator has such a form. A cell says what came out:

- **exact**: every byte equals the reference kernels' result, interpreted and compiled;
- **close**: floats lie within 1e-4 of the range of the results, or within three times what LiteRT's own other kernels
  differ;
- **refused**: netc leaves the operator opaque, for the reason of that number below; behind exact or close it says
  that some of the files are refused;
- {ABSENT}: LiteRT refuses the form, or the operator.

Operators in italics are not in the sweep: of them the table says only whether netc reads them.

"""


def document(found: Mapping[tuple[str, str], Sequence[Verdict]], seed: int) -> str:
    """The page."""
    merged: dict[tuple[str, str], list[Verdict]] = {}
    for (name, column), verdicts in found.items():
        merged.setdefault((operator_of(name), column), []).extend(verdicts)
    swept, numbers = {operator for operator, _ in merged}, _Numbers()
    lines = [f"| operator | read | {' | '.join(TYPES)} |", f"| --- | --- |{' --- |' * len(TYPES)}"]
    for operator in sorted(OPERATORS):
        cells = [_cell(merged.get((operator, column), ()), numbers) if operator in swept else "" for column in TYPES]
        name = operator if operator in swept else f"*{operator}*"
        lines.append(f"| {name} | {_is_read(operator)} | {' | '.join(cells)} |")
    ran = [v for verdicts in found.values() for v in verdicts if v.outcome != "LiteRT refuses"]
    head = HEAD.format(seed=seed, files=len(ran), differing=sum(v.outcome == "differs" for v in ran))
    reasons = [f"{number}. {reason}" for reason, number in numbers.by_reason.items()]
    return head + "\n".join((*lines, "", "Reasons:", "", *reasons, ""))


def refreshed(page: str) -> str:
    """A page whose column of what is read is that of today; what a sweep found stays."""

    def row(line: str) -> str:
        name, *cells = line.strip("|").split("|")
        operator = name.strip().strip("*")
        if operator not in OPERATORS:
            return line
        return f"|{'|'.join((name, f' {_is_read(operator)} ', *cells[1:]))}|"

    return "\n".join(row(line) if line.startswith("|") else line for line in page.split("\n"))


def _is_read(operator: str) -> str:
    return "yes" if operator in readers() else "no"


class _Numbers:
    """Reasons by number, in the order of their first use."""

    def __init__(self) -> None:
        self.by_reason: dict[str, int] = {}

    def __call__(self, reason: str) -> int:
        return self.by_reason.setdefault(_general(reason), len(self.by_reason) + 1)


def _general(reason: str) -> str:
    """A reason without the numbers and names of one file."""
    reason = re.sub(r"`[^`]*`", "`…`", reason)
    reason = re.sub(r"\b(f32|i8|u8|i16|i32|i64|bool)\[[^]]*\]", r"\1[…]", reason)
    reason = re.sub(r"<[^>]*>", "<…>", reason)
    return re.sub(r"-?\d+(\.\d+(e[+-]?\d+)?|e[+-]?\d+)", "…", reason)


def _cell(verdicts: Sequence[Verdict], numbers: _Numbers) -> str:
    outcomes = Counter(v.outcome for v in verdicts)
    if sum(outcomes.values()) == outcomes["LiteRT refuses"]:
        return ABSENT
    parts = [next((o for o in ("differs", "close", "exact") if outcomes[o]), "")]
    if outcomes["refused"]:
        reasons = Counter(numbers(v.detail) for v in verdicts if v.outcome == "refused")
        parts.append("refused " + ", ".join(str(n) for n in sorted(reasons)))
    return "; ".join(part for part in parts if part)

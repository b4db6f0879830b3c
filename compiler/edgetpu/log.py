"""What `edgetpu_compiler` printed, read, and compared with what was predicted.

Forms: those of releases 1.0 to 16.0 as people quoted them; "available" became "remaining" in 14.1. Sizes stay as they
were printed, since that is what can be compared.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from .report import Report
from .text import size

_LINES = {
    "version": r"Edge TPU Compiler version (\S+)",
    "cached": r"On-chip memory used for caching model parameters: (\S+)",
    "remaining": r"On-chip memory (?:remaining|available) for caching model parameters: (\S+)",
    "streamed": r"Off-chip memory used for streaming uncached model parameters: (\S+)",
    "subgraphs": r"Number of Edge TPU subgraphs: (\d+)",
    "total": r"Total number of operations: (\d+)",
}
_ROW = re.compile(r"^([A-Z][A-Z0-9_]+) +(\d+) +(\S.*?)\s*$", re.MULTILINE)
_SUCCESS = re.compile(r"^Model (?:successfully compiled|compiled successfully)", re.MULTILINE)
_ERROR = re.compile(
    r"^(?:ERROR: .*|Internal compiler error.*|Compilation failed.*|Model not quantized.*)$", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class CompilerLog:
    """The output of one run; what it doesn't tell is empty. `table` has rows of operator, count, status."""

    succeeded: bool
    errors: tuple[str, ...]
    version: str
    cached: str
    remaining: str
    streamed: str
    subgraphs: str
    total: str
    table: tuple[tuple[str, int, str], ...]

    @staticmethod
    def parse(text: str) -> CompilerLog:
        """Read standard output, with the operator log that `-s` adds."""
        found = {name: re.search(pattern, text) for name, pattern in _LINES.items()}
        facts = {name: match.group(1) if match else "" for name, match in found.items()}
        table = tuple((kind, int(count), status) for kind, count, status in _ROW.findall(text))
        errors = tuple(dict.fromkeys(line.strip() for line in _ERROR.findall(text)))
        return CompilerLog(_SUCCESS.search(text) is not None, errors, table=table, **facts)


def differences(report: Report, log: CompilerLog) -> tuple[str, ...]:
    """What the compiler did otherwise than predicted, one sentence each; nothing where it is silent."""
    predicted = Counter({(kind, status.value): count for kind, count, status in report.status_table()})
    real: Counter[tuple[str, str]] = Counter()
    for kind, count, status in log.table:
        real[kind, status] += count
    sentences = []
    if real:
        keys = sorted({key for key in predicted | real if predicted[key] != real[key]})
        sentences += [
            f"{kind}, {status}: {predicted[kind, status]} predicted, {real[kind, status]} in the log"
            for kind, status in keys
        ]
    sizes = (
        ("cached", size(report.memory.cached), log.cached),
        ("streamed", size(report.memory.streamed), log.streamed),
    )
    sentences += [
        f"parameters {what}: {ours} predicted, {theirs} in the log"
        for what, ours, theirs in sizes
        if theirs and ours != theirs
    ]
    return tuple(sentences)

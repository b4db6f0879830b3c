"""What `onnx_exports.py` finds, as lines of JSON and as a table."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from common import table

LIMIT = 1e-4
"""Largest difference from PyTorch, as a share of the range of the outputs."""
OWN_ERRORS = 4
"""Times PyTorch's own error, that of a larger difference may be."""


@dataclass
class Finding:
    """What a file showed; None where that was not looked at."""

    net: str
    exporter: str
    size: int = 0
    differs: float | None = None
    own: float | None = None
    """How far PyTorch is from its results in double precision; only where `differs` is large."""
    exact: float | None = None
    """How far netc is from them."""
    inside: int | None = None
    rearranging: int | None = None
    outside: int | None = None
    read_s: float | None = None
    operations: str | None = None
    ms: float | None = None
    peer_ms: float | None = None
    ms_2: float | None = None
    peer_ms_2: float | None = None
    problem: str | None = None
    """Why there are no numbers, or why they are wrong."""
    code: str | None = None
    """The commit of netc."""

    @property
    def key(self) -> tuple[str, str, int]:
        """What tells files apart."""
        return self.net, self.exporter, self.size

    @property
    def is_sound(self) -> bool:
        """True unless netc is at fault."""
        if self.problem is not None:
            return self.problem.startswith("not exported")
        return self.differs is not None

    def knows(self, *, times: bool) -> bool:
        """Whether all that is asked for is found."""
        return self.problem is not None or (self.ms_2 is not None if times else self.differs is not None)

    def ratio(self, threads: int) -> float | None:
        """Time of netc over that of ONNX Runtime."""
        own, theirs = (self.ms, self.peer_ms) if threads == 1 else (self.ms_2, self.peer_ms_2)
        return own / theirs if own and theirs else None

    @property
    def _errors(self) -> str:
        return "" if self.own is None else f" (from double precision: {self.exact:.1e}, PyTorch {self.own:.1e})"

    def line(self) -> str:
        """What is found in a line for people."""
        head = f"{self.net} {self.exporter}, {self.size}: "
        if self.inside is None:
            return head + str(self.problem)
        parts = [
            *(() if self.differs is None else (f"{self.differs:.1e}{self._errors}",)),
            f"{self.inside} inside, {self.rearranging} rearranging, {self.outside} outside",
            *(f"{k} thread(s): {r:.2f}" for k in (1, 2) if (r := self.ratio(k)) is not None),
            f"read in {self.read_s:.1f} s ({self.operations})",
        ]
        return head + ", ".join(parts)

    def row(self) -> list[str]:
        """A line of the table."""
        if self.differs is None:
            return [self.net, self.exporter, str(self.size or ""), str(self.problem).splitlines()[0], *[""] * 8]
        numbers = (self.ms, self.peer_ms, self.ratio(1), self.ms_2, self.peer_ms_2, self.ratio(2))
        return [
            self.net,
            self.exporter,
            str(self.size),
            f"{self.differs:.1e}{self._errors}",
            str(self.inside),
            str(self.rearranging),
            *("" if n is None else f"{n:.2f}" for n in numbers),
        ]


HEADERS = (
    "net",
    "exporter",
    "size",
    "differs by",
    "transposes",
    "shuffles",
    "1 thread: netc, ms",
    "ONNX Runtime, ms",
    "ratio",
    "2 threads: netc, ms",
    "ONNX Runtime, ms",
    "ratio",
)


class Results:
    """Findings in a file of JSON lines, of which the last of an exported file counts."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.found: dict[tuple[str, str, int], Finding] = {}
        known = {f.name for f in fields(Finding)}
        for line in path.read_text().splitlines() if path is not None and path.exists() else ():
            self._take(Finding(**{k: v for k, v in json.loads(line).items() if k in known}))

    def add(self, finding: Finding) -> None:
        """Take a finding in, and write it."""
        self._take(finding)
        if self.path is not None:
            with self.path.open("a") as stream:
                stream.write(json.dumps({k: v for k, v in asdict(finding).items() if v is not None}) + "\n")

    def _take(self, finding: Finding) -> None:
        """Let a finding count; of a file that was only read, what an earlier one measured counts still."""
        earlier = self.found.get(finding.key)
        if earlier is not None and finding.problem is None and earlier.problem is None:
            for name in ("differs", "own", "exact", "ms", "peer_ms", "ms_2", "peer_ms_2"):
                if getattr(finding, name) is None and (name.startswith(("ms", "peer")) or finding.differs is None):
                    setattr(finding, name, getattr(earlier, name))
        self.found[finding.key] = finding

    def has(self, name: str, exporter: str, size: int, *, times: bool) -> bool:
        """Whether all that is asked for a file is known."""
        finding = self.found.get((name, exporter, size))
        return finding is not None and finding.knows(times=times)

    def text(self) -> str:
        """A table of all, without columns that hold nothing, and their medians."""
        findings = sorted(self.found.values(), key=lambda f: (f.net.startswith("timm/"), f.net, f.exporter, f.size))
        rows = [f.row() for f in findings]
        filled = [i for i in range(len(HEADERS)) if any(row[i] for row in rows)]
        headers, *lines = [[row[i] for i in filled] for row in (list(HEADERS), *rows)]
        return "\n".join((*self._summary(findings), "", table(headers, lines), ""))

    @staticmethod
    def _summary(findings: Sequence[Finding]) -> Iterator[str]:
        right = [f for f in findings if f.differs is not None]
        if right:
            nets = len({f.net for f in right})
            within = sum((f.differs or 0) <= LIMIT for f in right)
            left = sum(not f.inside for f in right)
            yield f"{nets} nets, {len(right)} files: {within} within {LIMIT:.0e}, {left} with no transpose left inside."
        for threads in (1, 2):
            ratios = [r for f in findings if (r := f.ratio(threads)) is not None]
            if ratios:
                middle, low, high = statistics.median(ratios), min(ratios), max(ratios)
                yield f"Ratio, {threads} thread(s), {len(ratios)} files: median {middle:.2f}, {low:.2f} to {high:.2f}."

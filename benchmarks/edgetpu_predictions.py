"""Compare predictions for the Edge TPU with what Google's compiler did, where public files and logs tell.

    python benchmarks/edgetpu_predictions.py [FOLDER]

FOLDER holds ground_truth.json, compiler_logs.json, calibration.json and models/ (default: `edgetpu` beside the data).
Prints a table in Markdown.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common import beside_data, parser
from edgetpu_public import convolution_sweep, dense_sweep, model_facts, model_files, release_of, zero_biases
from edgetpu_witnesses import release_of as log_release
from edgetpu_witnesses import witness

from netc.compiler.edgetpu import ModelFacts, Report, Status, predict
from netc.compiler.edgetpu.text import size

MIB = 1 << 20


@dataclass
class Score:
    """Hits among cases, and what missed."""

    hits: int = 0
    cases: int = 0
    misses: list[str] = field(default_factory=list[str])

    def count(self, hit: bool, what: str) -> None:
        """Add a case."""
        self.cases += 1
        self.hits += hit
        if not hit:
            self.misses.append(what)

    def __str__(self) -> str:
        return f"{self.hits:,} of {self.cases:,}"


def main() -> None:
    """Print all scores."""
    options = parser(__doc__)
    options.add_argument("folder", nargs="?", type=Path)
    folder = options.parse_args().folder or beside_data("edgetpu")
    rows = scores(folder)
    print("| what is compared | equal |")
    print("| --- | --- |")
    for what, score in rows:
        print(f"| {what} | {score} |")
    print("\nMissed:\n")
    for what, score in rows:
        for miss in score.misses:
            print(f"- {what}: {miss}")


def scores(folder: Path) -> list[tuple[str, Score]]:
    """What is compared, and how it came out."""
    truth = json.loads((folder / "ground_truth.json").read_text(encoding="utf-8"))
    logs = json.loads((folder / "compiler_logs.json").read_text(encoding="utf-8"))
    calibration = json.loads((folder / "calibration.json").read_text(encoding="utf-8"))
    reports = ground_truth_reports(truth["models"], folder)
    return [
        *placement_scores(reports),
        *byte_scores(reports),
        *sweep_scores(calibration),
        ("operator tables of logs beside a model, equal in every line", table_score(reports)),
        ("lines of other logs: status equal", line_score(logs["logs"])),
    ]


Pair = tuple[Mapping[str, Any], Report]


def ground_truth_reports(models: Iterable[Mapping[str, Any]], folder: Path) -> list[Pair]:
    """Each entry of the ground truth with the prediction for it."""
    files, zeros = model_files(folder / "models"), zero_biases(folder)
    return [(m, predict(model_facts(m, files, zeros[m["id"]]), release_of(m))) for m in models]


def placement_scores(reports: list[Pair]) -> list[tuple[str, Score]]:
    """Operators on the right side, in models compiled as one subgraph and in the others."""
    single, several = Score(), Score()
    for entry, report in reports:
        score = single if entry["counts"]["custom_ops"] == 1 else several
        for op, row in zip(entry["ops"], report.rows, strict=True):
            score.count(op["mapped"] == row.placement.mapped, f"{entry['id']} operator {op['index']} {op['op']}")
    return [
        ("operators mapped or not, in models with one subgraph", single),
        ("operators mapped or not, in a model cut into several subgraphs by a flag", several),
    ]


def byte_scores(reports: list[Pair]) -> list[tuple[str, Score]]:
    """Bytes of parameters: in the file, streamed, and as printed."""
    file, streamed, printed = Score(), Score(), Score()
    for entry, report in reports:
        memory = entry["memory"]
        cached = memory["parameters_cached_bytes"] or 0
        off_chip = memory["parameters_streamed_bytes_per_inference"] or 0
        total = cached + off_chip
        file.count(total == report.memory.file, f"{entry['id']}: {total:,}, predicted {report.memory.file:,}")
        streamed.count(
            off_chip == report.memory.streamed, f"{entry['id']}: {off_chip:,}, predicted {report.memory.streamed:,}"
        )
        _count_printed(entry, report, printed)
    return [
        ("bytes of parameters in the file, to the byte", file),
        ("bytes streamed at each inference, to the byte", streamed),
        ("on-chip memory, to the printed digits", printed),
    ]


def _count_printed(entry: Mapping[str, Any], report: Report, score: Score) -> None:
    measured = (entry.get("measured") or {}).get("on_chip_MiB")
    if measured is not None:
        score.count(_prints(measured, report.memory.cached), f"{entry['id']}: {measured} MiB")
    logged = (entry.get("log") or {}).get("on_chip_used")
    if logged is not None:
        predicted = size(report.memory.cached)
        score.count(logged == predicted, f"{entry['id']}: {logged}, predicted {predicted}")


def _prints(mib: float, count: int) -> bool:
    """True if the compiler would print `count` bytes as `mib`: exact below 1 MiB, else to two decimals."""
    return mib * MIB == count if mib < 1 else f"{count / MIB:.2f}" == f"{mib:.2f}"


def sweep_scores(calibration: Mapping[str, Any]) -> list[tuple[str, Score]]:
    """Rows of the sweeps: cached and streamed bytes together, and apart."""
    scores = []
    sweeps: tuple[tuple[str, Callable[[int], ModelFacts]], ...] = (
        ("conv_sweep", convolution_sweep),
        ("dense_sweep", dense_sweep),
    )
    for name, build in sweeps:
        together, apart = Score(), Score()
        for filters, _, on_chip, off_chip, *_ in calibration[name]["rows"]:
            report = predict(build(filters))
            cached, whole = report.memory.cached, sum(_chip_bytes(report))
            fits = _prints(on_chip, whole) if not off_chip else abs(whole - (on_chip + off_chip) * MIB) < 0.02 * MIB
            together.count(fits, f"{filters}: {on_chip} + {off_chip} MiB, predicted {whole / MIB:.4f}")
            apart.count(_prints(on_chip, cached), f"{filters}: {on_chip} MiB cached, predicted {cached / MIB:.4f}")
        scores += [(f"{name}: cached and streamed together", together), (f"{name}: cached", apart)]
    return scores


def _chip_bytes(report: Report) -> Iterable[int]:
    for row in report.rows:
        if row.stored is not None:
            yield row.stored.chip or row.stored.streamed


def table_score(reports: list[Pair]) -> Score:
    """Whole operator tables, as `-s` prints them."""
    score = Score()
    for entry, report in reports:
        operators = (entry.get("log") or {}).get("operators")
        if operators:
            seen = Counter({(o["op"], o["status"]): o["count"] for o in operators})
            ours = Counter({(kind, status.value): count for kind, count, status in report.status_table()})
            score.count(seen == ours, f"{entry['id']}: {dict((seen - ours) | (ours - seen))}")
    return score


def line_score(logs: Iterable[Mapping[str, Any]]) -> Score:
    """Lines of operator tables without a model."""
    score = Score()
    for log in logs:
        for line in log["operators"]:
            status = Status(line["status"])
            model = witness(line["op"], status, log.get("note") or "")
            row = predict(model, log_release(log["compiler_version"], status)).rows[-1]
            what = f"{line['op']}: {status.value}, predicted {row.placement.status.value} ({log['compiler_version']})"
            score.count(row.placement.status is status, what)
    return score


if __name__ == "__main__":
    main()

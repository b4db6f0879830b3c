"""The report as text, in the layout and the words of `edgetpu_compiler -s`, and as data for tools."""

from __future__ import annotations

from .latency import BASIS
from .report import Report, Row
from .status import Status

_NAME, _COUNT = 31, 11
"""Widths of the columns of the compiler's operator log."""


def size(count: int) -> str:
    """A number of bytes as the compiler prints it: `4.00KiB`, `6.02MiB`."""
    if count < 1 << 10:
        return f"{count:.2f}B"
    return f"{count / (1 << 10):.2f}KiB" if count < 1 << 20 else f"{count / (1 << 20):.2f}MiB"


def to_text(report: Report) -> str:
    """The whole report."""
    sections = [_failures(report)] if report.failures else []
    sections += [_summary(report), _log(report)]
    if report.causes:
        sections.append(_causes(report))
    if report.doubts:
        sections.append("In doubt:\n" + "\n".join(f"  {sentence}" for sentence in report.doubts))
    if report.model.assumptions:
        sections.append("Assumed:\n" + "\n".join(f"  {sentence}" for sentence in report.model.assumptions))
    return "\n\n".join(sections) + "\n"


def _failures(report: Report) -> str:
    """What stops everything, in front of all that would happen without it."""
    lines = ["The Edge TPU compiler refuses the whole model:"]
    for failure in report.failures:
        lines += [f"  {failure.cause}", f"    instead: {failure.cure}"]
    lines.append("Below is what it would do with the rest if that were mended.")
    return "\n".join(lines)


def _summary(report: Report) -> str:
    memory, latency = report.memory, report.latency
    lines = [
        f"Prediction for Edge TPU Compiler version {report.release}",
        f"Input model: {report.model.name}",
        f"On-chip memory used for caching model parameters: {size(memory.cached)}",
        f"On-chip memory remaining for caching model parameters: {size(memory.remaining)} (estimate)",
        f"Off-chip memory used for streaming uncached model parameters: {size(memory.streamed)}",
        f"Number of Edge TPU subgraphs: {min(1, len(report.mapped))}",
        f"Total number of operations: {len(report.rows)}",
        f"Number of operations that will run on Edge TPU: {len(report.mapped)}",
        f"Number of operations that will run on CPU: {len(report.on_cpu)}",
        f"Time of the Edge TPU part: about {latency.total * 1e3:.2f} ms",
    ]
    return "\n".join(lines)


def _log(report: Report) -> str:
    rows = [f"{'Operator':{_NAME}}{'Count':{_COUNT}}Status", ""]
    rows += [f"{kind:{_NAME}}{count:<{_COUNT}}{status.value}" for kind, count, status in report.status_table()]
    return "\n".join(rows)


def _causes(report: Report) -> str:
    lines = ["What keeps operators on the CPU:"]
    for rows in grouped_causes(report):
        op, objection = rows[0].operator, rows[0].placement.objection
        if objection is None:
            continue
        more = f" (and {len(rows) - 1} more like it)" if len(rows) > 1 else ""
        lines.append(f"  {op.location or op.kind}: {op.written_as or op.kind}: {objection.cause}{more}")
        if objection.rewrite:
            lines.append(f"    instead: {objection.rewrite}")
    behind = sum(row.placement.status is Status.SECOND_SUBGRAPH for row in report.on_cpu)
    if behind:
        lines.append(f"  {behind} operators that could map come behind these, and stay on the CPU with them")
    return "\n".join(lines)


def grouped_causes(report: Report) -> list[list[Row]]:
    """Operators on the CPU by their own fault; those of the same kind, or cause, with the same cure are one group."""
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in report.causes:
        objection = row.placement.objection
        if objection is not None:
            kind = "" if objection.common else row.operator.kind
            key = (kind, objection.status.value, objection.rewrite)
            groups.setdefault(key, []).append(row)
    return list(groups.values())


def to_data(report: Report) -> dict[str, object]:
    """The report as numbers, strings, lists and dictionaries; sizes in bytes, times in seconds."""
    memory, latency = report.memory, report.latency
    return {
        "model": report.model.name,
        "compiler_release": str(report.release),
        "failures": [{"cause": f.cause, "rewrite": f.cure} for f in report.failures],
        "doubts": list(report.doubts),
        "operators_total": len(report.rows),
        "operators_mapped": len(report.mapped),
        "operators_on_cpu": len(report.on_cpu),
        "memory": {
            "cached_on_chip": memory.cached,
            "streamed_per_inference": memory.streamed,
            "parameters_in_file": memory.file,
            "capacity_estimate": memory.capacity,
            "activations_per_tile_estimate": memory.activations,
        },
        "latency": {
            "seconds": latency.total,
            "arithmetic": latency.arithmetic,
            "transfers": latency.transfers,
            "streaming": latency.streaming,
            "basis": BASIS,
        },
        "status_table": [
            {"operator": kind, "count": count, "status": status.value} for kind, count, status in report.status_table()
        ],
        "operators": [_row(row) for row in report.rows],
        "assumptions": list(report.model.assumptions),
    }


def _row(row: Row) -> dict[str, object]:
    op, objection, stored = row.operator, row.placement.objection, row.stored
    return {
        "index": row.index,
        "operator": op.kind,
        "written_as": op.written_as,
        "location": op.location,
        "output": [str(t) for t in op.outputs],
        "mapped": row.placement.mapped,
        "status": row.placement.status.value,
        "cause": objection.cause if objection else "",
        "rewrite": objection.rewrite if objection else "",
        "parameters_in_file": stored.file if stored else 0,
        "cached_on_chip": stored.chip if stored else 0,
        "streamed_per_inference": stored.streamed if stored else 0,
    }

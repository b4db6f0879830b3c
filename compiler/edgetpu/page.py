"""The report as one self-contained HTML page: no scripts, no links to other files."""

from __future__ import annotations

from importlib.resources import files

from .. import page as html
from ..page import escape
from .latency import BASIS
from .report import Report, Row
from .status import Status
from .text import grouped_causes, size


def to_html(report: Report) -> str:
    """The whole page."""
    style = files("netc.compiler.edgetpu").joinpath("page.css").read_text(encoding="utf-8")
    body = "".join(
        (
            _header(report),
            _failures(report),
            _cards(report),
            _partition(report),
            _memory(report),
            _causes(report),
            _doubts(report),
            _log(report),
            _operators(report),
            _basis(report),
        )
    )
    return html.page(f"{report.model.name} on the Edge TPU", style, body)


def _header(report: Report) -> str:
    kind = f"Edge TPU prediction, compiler release {report.release}"
    return html.header(kind, report.model.name, _verdict(report))


def _verdict(report: Report) -> str:
    mapped, total = len(report.mapped), len(report.rows)
    if report.failures:
        sentence = "The compiler refuses the whole model."
    elif total == 1:
        sentence = f"The only operator runs on the {'Edge TPU' if mapped else 'CPU'}."
    elif mapped == total:
        sentence = f"All {total} operators run on the Edge TPU."
    elif not mapped:
        sentence = f"None of {total} operators runs on the Edge TPU."
    else:
        sentence = f"{mapped} of {total} operators run on the Edge TPU, {total - mapped} on the CPU."
    return sentence


def _failures(report: Report) -> str:
    """What stops everything."""
    if not report.failures:
        return ""
    articles = (
        f'<article><h3>{escape(f.cause)}</h3><p class="cure"><b>Instead:</b> {escape(f.cure)}</p></article>'
        for f in report.failures
    )
    note = "All below is what the compiler would do with the rest if this were mended."
    return html.section("What makes the compilation fail", "".join(articles), note)


def _doubts(report: Report) -> str:
    """Where evidence is at odds."""
    if not report.doubts:
        return ""
    return html.section("In doubt", "<ul>" + "".join(f"<li>{escape(s)}</li>" for s in report.doubts) + "</ul>")


def _cards(report: Report) -> str:
    memory, latency = report.memory, report.latency
    cards = (
        ("On the Edge TPU", f"{len(report.mapped)} / {len(report.rows)}", "operators"),
        ("Cached on chip", size(memory.cached), f"of about {size(max(0, memory.capacity))} for parameters"),
        ("Streamed", size(memory.streamed), "at each inference"),
        ("Time on the Edge TPU", f"{latency.total * 1e3:.2f} ms", _parts(report)),
    )
    return html.cards(cards)


def _parts(report: Report) -> str:
    latency = report.latency
    parts = (("arithmetic", latency.arithmetic), ("data", latency.transfers), ("streaming", latency.streaming))
    return "estimate: " + ", ".join(f"{name} {seconds * 1e3:.2f}" for name, seconds in parts)


def _partition(report: Report) -> str:
    """One cell for each operator in execution order."""
    cells = "".join(f'<i class="{_class(row)}" title="{escape(_title(row))}"></i>' for row in report.rows)
    legend = "".join(
        f'<span><i class="{name}"></i>{text}</span>'
        for name, text in (
            ("mapped", "Edge TPU"),
            ("streamed", "Edge TPU, parameters streamed"),
            ("cause", "CPU: can't map"),
            ("behind", "CPU: could map, but comes behind one that can't"),
        )
    )
    strip = f'<div class="strip">{cells}</div><p class="legend">{legend}</p>'
    return html.section("Partition", strip, "Operators in execution order.")


def _class(row: Row) -> str:
    if row.stored is not None:
        return "streamed" if row.stored.streamed else "mapped"
    return "behind" if row.placement.status is Status.SECOND_SUBGRAPH else "cause"


def _title(row: Row) -> str:
    op = row.operator
    return f"{row.index} {op.kind} {op.outputs[0] if op.outputs else ''}: {row.placement.status.value}"


def _memory(report: Report) -> str:
    memory = report.memory
    free = max(0, memory.capacity - memory.cached)
    whole = max(1, memory.cached + free + memory.streamed)
    parts = (
        ("mapped", memory.cached, "cached on chip"),
        ("free", free, "free for parameters (estimate)"),
        ("streamed", memory.streamed, "streamed at each inference"),
    )
    bars = "".join(
        f'<i class="{name}" style="width:{100 * count / whole:.3f}%" title="{escape(text)}: {size(count)}"></i>'
        for name, count, text in parts
    )
    legend = "".join(
        f'<span><i class="{name}"></i>{escape(text)}: <b>{size(count)}</b></span>' for name, count, text in parts
    )
    return html.section(
        "Parameter memory",
        f'<div class="bar">{bars}</div><p class="legend">{legend}</p>'
        f'<p class="note">The compiled file holds {memory.file:,} bytes of parameters.</p>',
    )


def _causes(report: Report) -> str:
    groups = grouped_causes(report)
    if not groups:
        return ""
    return html.section("What keeps operators on the CPU", "".join(map(_cause, groups)))


def _cause(rows: list[Row]) -> str:
    op, objection = rows[0].operator, rows[0].placement.objection
    if objection is None:
        return ""
    places = ", ".join(escape(row.operator.location or f"operator {row.index}") for row in rows[:6])
    more = f" and {len(rows) - 6} more" if len(rows) > 6 else ""
    cure = f'<p class="cure"><b>Instead:</b> {escape(objection.rewrite)}</p>' if objection.rewrite else ""
    return (
        f"<article><h3>{escape(op.written_as or op.kind)}: {escape(objection.cause)}</h3>"
        f'<p class="place">{places}{more}</p><p class="status">{escape(objection.status.value)}</p>{cure}</article>'
    )


def _log(report: Report) -> str:
    rows = "".join(html.row((kind, str(count), status.value), {1}) for kind, count, status in report.status_table())
    return html.section("Operator log", f"<table>{html.head_row(('Operator', 'Count', 'Status'), {1})}{rows}</table>")


def _operators(report: Report) -> str:
    largest = max([row.stored.file for row in report.rows if row.stored] + [1])
    head = html.head_row(("", "Operator", "Output", "Parameters in file", "", "Status", "Written at"), {0, 3})
    rows = "".join(_operator(row, largest) for row in report.rows)
    return html.section("Operators", f'<table class="wide">{head}{rows}</table>')


def _operator(row: Row, largest: int) -> str:
    op, stored = row.operator, row.stored
    stored_bytes = stored.file if stored else 0
    bar = (
        f'<td><i class="share {_class(row)}" style="width:{100 * stored_bytes / largest:.2f}%"></i></td>'
        if stored_bytes
        else "<td></td>"
    )
    objection = row.placement.objection
    status = escape(row.placement.status.value if objection is None else objection.cause)
    outputs = ", ".join(str(t) for t in op.outputs[:2])
    return (
        f'<tr><td class="number">{row.index}</td><td><i class="dot {_class(row)}"></i>{escape(op.kind)}</td>'
        f'<td>{escape(outputs)}</td><td class="number">{f"{stored_bytes:,}" if stored_bytes else ""}</td>{bar}'
        f'<td>{status}</td><td class="place">{escape(op.location)}</td></tr>'
    )


def _basis(report: Report) -> str:
    sentences = [*report.model.assumptions, f"Time: {BASIS}"]
    sentences.append(
        "Statuses are the words of edgetpu_compiler. Placement and bytes follow rules found in public pairs of models "
        "before and after compilation; the room for parameters is an estimate."
    )
    return html.section("Basis", "<ul>" + "".join(f"<li>{escape(s)}</li>" for s in sentences) + "</ul>")

"""Curves of training runs: loss, accuracy, learning rate and throughput over epochs, with matplotlib.

Each run has a colour. Fine lines are means over the steps between two records, bold ones means over an epoch, drawn at
its middle; results on the test split stand at its end.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, PercentFormatter

from .compiler.errors import NetcError
from .compiler.text import shortened

Record = Mapping[str, Any]

_COLORS = ("#1f6fb4", "#d9541e", "#2b9348", "#8e44ad", "#b8860b", "#c2185b", "#00838f", "#5d4037")
_INK, _MUTED, _GRID = "#222222", "#666666", "#e4e4e4"
_NEEDED = ("position", "epoch", "loss")
"""What each record has."""
_OTHERS = ("accuracy", "test_accuracy", "learning_rate", "images_per_second")
_LARGEST = 1e38
_MIDDLE = -0.5
"""From the end of an epoch to its middle."""


@dataclass(frozen=True, slots=True)
class _Curves:
    """A run's records, by kind."""

    name: str
    color: str
    steps: Sequence[Record]
    epochs: Sequence[Record]

    def line(self, axes: Axes, records: Sequence[Record], key: str, shift: float = 0.0, **style: Any) -> None:
        """Draw one quantity over the epochs, if there are records of it."""
        points = [(r["position"] + shift, r[key]) for r in records if key in r]
        if points:
            x, y = zip(*points, strict=True)
            axes.plot(x, y, color=self.color, **style)


def draw(runs: Mapping[str, Sequence[Record]], kind: str) -> bytes:
    """Draw runs, given their records by name, as a file of `kind` (png, svg or pdf).

    Raises `NetcError` if none of them has any records yet.
    """
    curves = [_curves(i, name, records) for i, (name, records) in enumerate(runs.items())]
    if not any(c.steps or c.epochs for c in curves):
        raise NetcError("there is nothing to draw yet: no step was logged")
    figure = Figure(figsize=(11, 7), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.1, wspace=0.03)  # type: ignore[union-attr, call-arg]
    FigureCanvasAgg(figure)
    panels: Sequence[tuple[str, Callable[[Axes, _Curves], None]]] = (
        ("Loss", _loss),
        ("Accuracy", _accuracy),
        ("Learning rate", _rate),
        ("Throughput, images per second", _throughput),
    )
    for axes, (title, panel) in zip(figure.subplots(2, 2).flat, panels, strict=True):
        for each in curves:
            panel(axes, each)
        _dress(axes, title)
        axes.set_xlim(0, 1.01 * max(r["position"] for c in curves for r in (*c.steps, *c.epochs)))
    _adjust(figure.axes, curves)
    _title(figure, curves)
    stream = io.BytesIO()
    figure.savefig(stream, format=kind, dpi=130, metadata={"Date": None} if kind == "svg" else None)
    return stream.getvalue()


def _curves(number: int, name: str, records: Sequence[Record]) -> _Curves:
    steps, epochs = ([r for r in records if r.get("kind") == kind] for kind in ("step", "epoch"))
    for record in (*steps, *epochs):
        _check(name, record)
    return _Curves(name, _COLORS[number % len(_COLORS)], steps, epochs)


def _check(name: str, record: Record) -> None:
    """Raise `NetcError` unless a record has what is drawn of it, in numbers that axes can have."""
    for key in (*_NEEDED, *(key for key in _OTHERS if key in record)):
        value = record.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
            raise NetcError(f"the metrics of {name} are damaged: {key} is {shortened(repr(value))}")


def _loss(axes: Axes, run: _Curves) -> None:
    run.line(axes, run.steps, "loss", linewidth=0.8, alpha=0.45)
    run.line(axes, run.epochs, "loss", _MIDDLE, linewidth=2, marker="o", markersize=3.5)


def _accuracy(axes: Axes, run: _Curves) -> None:
    run.line(axes, run.epochs, "accuracy", _MIDDLE, linewidth=1.3, linestyle=(0, (4, 2)), alpha=0.8)
    run.line(axes, run.epochs, "test_accuracy", linewidth=2, marker="o", markersize=3.5)


def _rate(axes: Axes, run: _Curves) -> None:
    run.line(axes, run.steps or run.epochs, "learning_rate", linewidth=1.6)


def _throughput(axes: Axes, run: _Curves) -> None:
    run.line(axes, run.steps, "images_per_second", linewidth=0.8, alpha=0.45)
    run.line(axes, run.epochs, "images_per_second", _MIDDLE, linewidth=2, marker="o", markersize=3.5)


def _dress(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=_INK, fontweight="bold")
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_MUTED)
    axes.tick_params(colors=_MUTED, labelsize=9)
    axes.set_xlabel("epoch", color=_MUTED, fontsize=9)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
    axes.margins(y=0.08)


def _adjust(panels: Sequence[Axes], curves: Sequence[_Curves]) -> None:
    """Scales that suit each quantity."""
    loss, accuracy, rate, throughput = panels
    values = [float(r["loss"]) for c in curves for r in (*c.steps, *c.epochs)]
    if min(values) > 0 and max(values) / min(values) > 20:
        loss.set_yscale("log")
        loss.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        loss.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        loss.yaxis.set_minor_formatter(NullFormatter())
        loss.tick_params(which="minor", color=_GRID)
    if accuracy.lines:
        accuracy.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
    else:
        accuracy.text(0.5, 0.5, "not recorded", transform=accuracy.transAxes, ha="center", color=_MUTED)
    rate.set_ylim(bottom=0)
    throughput.set_ylim(bottom=0)
    throughput.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _title(figure: Figure, curves: Sequence[_Curves]) -> None:
    """Names of the runs with their best results, and what the lines mean."""
    handles = [figure.axes[0].plot([], [], color=c.color, linewidth=3)[0] for c in curves]
    labels = [_label(c).replace("$", r"\$") for c in curves]  # no formulas
    figure.legend(
        handles,
        labels,
        loc="outside upper left",
        ncols=1 + (len(curves) > 3),
        frameon=False,
        fontsize=10,
        labelcolor=_INK,
    )
    note = "fine: between records · bold: each epoch · accuracy: bold on the test split, dashed in training"
    figure.supxlabel(note, fontsize=8.5, color=_MUTED)


def _label(run: _Curves) -> str:
    tested = [(r["test_accuracy"], -r["epoch"]) for r in run.epochs if "test_accuracy" in r]
    if not tested:
        return run.name
    best, epoch = max(tested)
    return f"{run.name} — best {best:.2%} in epoch {-epoch}"

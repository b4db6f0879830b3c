"""The quantization report as one self-contained HTML page: where accuracy is lost, worst layers first."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from .. import page as html
from ..page import escape
from .charts import decibels, histogram, noise_chart, weight_bar
from .methods import Range
from .report import Accuracy, Activation, Report, Weight

WORST = 5
"""Most layers that stand out in the chart: up to one of four."""


def to_html(report: Report) -> str:
    """The whole page."""
    style = files("netc.compiler.quantization").joinpath("page.css").read_text(encoding="utf-8")
    body = "".join(
        (
            html.header(_kind(report), report.net, _verdict(report)),
            html.cards(_cards(report)),
            _warnings(report.warnings),
            _chart(report),
            _table(report.worst),
            _histograms(report.worst),
            _weights(report.weights),
            _basis(report),
        )
    )
    return html.page(f"{report.net} as int8", style, body)


def _kind(report: Report) -> str:
    return f"Quantization to int8, calibrated on {report.samples} samples by {report.method}"


def _verdict(report: Report) -> str:
    accuracy = report.accuracy
    if accuracy is not None:
        change = (accuracy.integer_top1 - accuracy.float_top1) * 100
        return f"Top-1 goes from {accuracy.float_top1:.2%} to {accuracy.integer_top1:.2%} ({change:+.2f} points)."
    if not report.layers:
        return "No layer could be compared."
    return f"The output has {decibels(report.layers[-1].decibels, ' dB')} of signal to quantization noise."


def _cards(report: Report) -> list[tuple[str, str, str]]:
    smaller = report.float_bytes / max(1, report.file_bytes)
    cards = [
        ("Size", _size(report.file_bytes), f"weights as floats: {_size(report.float_bytes)}, {smaller:.1f} times"),
    ]
    if report.worst:
        cards += [
            ("Output", decibels(report.layers[-1].decibels, " dB"), "signal to quantization noise"),
            ("Worst layer", decibels(report.worst[0].decibels, " dB"), report.worst[0].name),
        ]
    return cards if report.accuracy is None else [*_accuracy(report.accuracy), *cards]


def _accuracy(accuracy: Accuracy) -> list[tuple[str, str, str]]:
    without = f", without {accuracy.left_out} of the calibration" if accuracy.left_out else ""
    return [
        ("Top-1", f"{accuracy.integer_top1:.2%}", f"as floats {accuracy.float_top1:.2%}"),
        ("Agreement", f"{accuracy.agreement:.2%}", f"{accuracy.data}, {accuracy.samples} samples{without}"),
    ]


def _warnings(texts: Sequence[str]) -> str:
    if not texts:
        return ""
    listed = "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in texts) + "</ul>"
    return html.section("Warnings", listed, "What is lost or guessed, though noise does not show it.")


def _chart(report: Report) -> str:
    note = "In decibels, in the order of the network: higher is better. Each step of 6 dB halves the noise."
    worst = report.worst[: min(WORST, (len(report.layers) + 3) // 4)]
    legend = _legend(("bar", "layer"), ("worst", "the worst"))
    return html.section("Signal to quantization noise", noise_chart(report.layers, worst) + legend, note)


def _legend(*entries: tuple[str, str]) -> str:
    return '<p class="legend">' + "".join(f'<span><i class="{c}"></i>{escape(t)}</span>' for c, t in entries) + "</p>"


def _table(layers: Sequence[Activation]) -> str:
    titles = ("Layer", "Operator", "SQNR dB", "Bias", "Range", "Scale", "Zero point", "Clipped", "Written at")
    numbers = {2, 3, 4, 5, 6, 7}
    rows = "".join(html.row(_cells(layer), numbers) for layer in layers)
    return html.section("Layers, worst first", f"<table>{html.head_row(titles, numbers)}{rows}</table>")


def _cells(layer: Activation) -> tuple[str, ...]:
    scale = layer.scale
    return (
        layer.name,
        layer.noise.operator,
        decibels(layer.decibels),
        f"{layer.noise.bias:.2g}",
        str(layer.covered),
        "float" if scale is None else f"{scale.scale:.4g}",
        "" if scale is None else str(scale.zero_point),
        _share(layer.clipped),
        layer.location,
    )


def _histograms(layers: Sequence[Activation]) -> str:
    note = (
        "What calibration saw, worst layers first, over the range that the 256 levels cover. Heights are logarithmic."
    )
    legend = _legend(("seen", "numbers seen"), ("range", "covered range"))
    figures = "".join(map(_figure, layers))
    return html.section("Activations", f'<div class="figures">{figures}</div>{legend}', note)


def _figure(layer: Activation) -> str:
    seen = str(Range(layer.seen.low, layer.seen.high))
    text = f"{decibels(layer.decibels, ' dB')}; covers {layer.covered} of {seen}; clipped {_share(layer.clipped)}"
    return f"<figure>{histogram(layer)}<figcaption><b>{escape(layer.name)}</b><br>{escape(text)}</figcaption></figure>"


def _weights(weights: Sequence[Weight]) -> str:
    if not weights:
        return ""
    titles = ("Weight", "Operator", "Filters", "Smallest", "Median", "Largest", "Ratio", "", "Written at")
    high = max(w.largest for w in weights)
    low = min((w.smallest for w in weights if w.smallest > 0), default=high)
    low = max(low, high * 1e-6)
    rows = "".join(_weight(w, low, high) for w in sorted(weights, key=_ratio, reverse=True))
    note = (
        "The largest absolute weight of each filter, over the filters of a layer; most uneven layers first. A scale "
        "for each filter takes care of uneven ones, a scale for all of them does not. Bars are logarithmic, marks are "
        "medians."
    )
    return html.section("Weights", f"<table>{html.head_row(titles, {2, 3, 4, 5, 6})}{rows}</table>", note)


def _weight(weight: Weight, low: float, high: float) -> str:
    ratio = _ratio(weight)
    numbers = (
        str(weight.filters),
        *(f"{v:.3g}" for v in (weight.smallest, weight.median, weight.largest)),
        f"{ratio:.3g}" if ratio < float("inf") else "",
    )
    cells = "".join(f'<td class="number">{n}</td>' for n in numbers)
    return (
        f"<tr><td>{escape(weight.name)}</td><td>{escape(weight.operator)}</td>{cells}"
        f'<td>{weight_bar(weight, low, high)}</td><td class="place">{escape(weight.location)}</td></tr>'
    )


def _ratio(weight: Weight) -> float:
    if weight.smallest == 0:
        return float("inf") if weight.largest > 0 else 1.0
    return weight.largest / weight.smallest


def _basis(report: Report) -> str:
    sentences = [
        "Signal and noise are energies of a layer's numbers as floats and of the error that the whole integer network "
        "up to that layer makes, over a few samples of the calibration data. Bias is the mean error.",
        f"The method {report.method} chose ranges; inputs and outputs are covered completely. Layers that must have "
        "one scale, such as those of a concatenation, cover the widest of their ranges.",
        "Clipped is the share of the numbers seen that lie outside of the range.",
    ]
    return html.section("Basis", "<ul>" + "".join(f"<li>{escape(s)}</li>" for s in sentences) + "</ul>")


def _share(share: float) -> str:
    return "0 %" if share == 0 else f"{100 * share:.2g} %" if share >= 1e-6 else "< 0.0001 %"


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"

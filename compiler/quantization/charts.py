"""The pictures of the quantization report, as SVG: noise of layers, histograms of activations, weights of filters.

Colours come from classes that the page's style defines, so that they follow light and dark.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from ..page import escape
from .report import Activation, Bars, Weight

WIDTH, HEIGHT = 1040, 220
LEFT, BOTTOM, TOP = 44, 22, 8
"""Room around the chart of all layers."""
STEP = 10
"""Decibels between lines of the chart."""
FIGURE = (240, 84)
BAR = (200, 12)


def noise_chart(layers: Sequence[Activation], worst: Collection[Activation]) -> str:
    """A bar for each layer in the order of the network, as high as its decibels; no noise at all reaches the top."""
    finite = [layer.decibels for layer in layers if math.isfinite(layer.decibels)] or [0.0]
    low = min(0, STEP * math.floor(min(finite) / STEP))
    high = max(STEP, STEP * math.ceil(max(finite) / STEP))
    scale = (HEIGHT - BOTTOM - TOP) / (high - low)

    def y(decibels: float) -> float:
        return TOP + (high - min(max(decibels, low), high)) * scale

    lines = "".join(_line(y(level), f"{level} dB") for level in range(low, high + 1, STEP))
    pitch = (WIDTH - LEFT) / max(1, len(layers))
    bars = "".join(
        _bar(layer, LEFT + (i + 0.5) * pitch, 0.8 * min(pitch, 40), y(layer.decibels), y(low), layer in worst)
        for i, layer in enumerate(layers)
    )
    text = f'<text x="{LEFT}" y="{HEIGHT - 4}">input</text><text x="{WIDTH}" y="{HEIGHT - 4}" class="end">output</text>'
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="Signal to quantization noise of each layer">{lines}{bars}{text}</svg>'
    )


def _line(y: float, label: str) -> str:
    return (
        f'<line x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{LEFT - 6}" y="{y + 4:.1f}" class="end">{label}</text>'
    )


def _bar(layer: Activation, center: float, width: float, top: float, bottom: float, is_worst: bool) -> str:
    title = escape(f"{layer.name} ({layer.noise.operator}): {decibels(layer.decibels, ' dB')}")
    kind = "worst" if is_worst else "bar"
    return (
        f'<rect class="{kind}" x="{center - width / 2:.2f}" y="{top:.1f}" width="{width:.2f}" '
        f'height="{max(1.0, bottom - top):.1f}"><title>{title}</title></rect>'
    )


def histogram(layer: Activation) -> str:
    """What was seen of an activation, heights logarithmic, over the range that its integers cover."""
    width, height = FIGURE
    seen, covered = layer.seen, layer.covered
    low, high = min(seen.low, covered.low), max(seen.high, covered.high)
    scale = width / (high - low)
    left, right = (covered.low - low) * scale, (covered.high - low) * scale
    zero = f'<line x1="{-low * scale:.1f}" x2="{-low * scale:.1f}" y1="0" y2="{height}"/>' if low < 0 < high else ""
    return (
        f'<svg class="histogram" viewBox="0 0 {width} {height}" role="img" aria-label="Histogram of '
        f'{escape(layer.name)}"><rect class="range" x="{left:.1f}" width="{right - left:.1f}" height="{height}"/>'
        f'{zero}<path d="{_outline(seen, low, scale, height)}"/>'
        f'<path class="ends" d="M{left:.1f} 0V{height}M{right:.1f} 0V{height}"/></svg>'
    )


def _outline(seen: Bars, low: float, scale: float, height: int) -> str:
    """The bars' outline as a path."""
    highest = math.log1p(max(seen.counts))
    start = (seen.low - low) * scale
    steps = "".join(
        f"V{height - (height - 4) * math.log1p(count) / highest:.1f}h{seen.width * scale:.2f}" for count in seen.counts
    )
    return f"M{start:.1f} {height}{steps}V{height}Z"


def weight_bar(weight: Weight, low: float, high: float) -> str:
    """The spread of a layer's filters between the smallest and the largest of the network, on a logarithmic scale."""
    width, height = BAR
    span = math.log(high / low) if high > low else 1.0
    first, middle, last = (
        (width - 2) * math.log(max(v, low) / low) / span for v in (weight.smallest, weight.median, weight.largest)
    )
    return (
        f'<svg class="spread" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
        f'<rect class="bar" x="{first:.1f}" y="3" width="{max(2.0, last - first):.1f}" height="6"/>'
        f'<rect class="median" x="{middle:.1f}" y="0" width="2" height="12"/></svg>'
    )


def decibels(value: float, unit: str = "") -> str:
    """A ratio in digits; without noise there is none."""
    return f"{value:.1f}{unit}" if math.isfinite(value) else ("no noise" if value > 0 else "no signal")

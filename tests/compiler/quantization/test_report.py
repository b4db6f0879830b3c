"""The quantization report: its figures, and that the page is well formed, self-contained and escapes names."""

import math
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from netc.compiler.quantization import Noise, quantize
from netc.compiler.quantization.charts import histogram, noise_chart
from netc.compiler.quantization.methods import Range
from netc.compiler.quantization.page import to_html
from netc.compiler.quantization.report import Accuracy, Activation, Bars, Report, Weight, report_on, to_data
from netc.compiler.types import Quantization
from tests.quantized_nets import NETS, calibrated

VOID = {"meta", "br"}


class Balance(HTMLParser):
    """Follows open tags and gathers attributes."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += attrs


def layer(name: str, noise: float, scale: float | None = 0.5) -> Activation:
    given = None if scale is None else Quantization.of(scale, 0)
    return Activation(
        Noise(name, "relu", 100.0, noise, 0.0), "x.net:1:2", Range(-1, 1), given, 0.0, Bars(-1, 0.5, (1, 9, 3))
    )


def report(*layers: Activation) -> Report:
    weights = (Weight("even", "conv2d", "", 4, 0.5, 0.6, 0.7), Weight("uneven", "dense", "", 4, 0.0, 0.1, 0.2))
    return Report("a <net>", "mse", 7, 4000, 1000, layers, weights)


def made() -> Report:
    """Of a convolution with relu6, calibrated on what has a few far outliers."""
    net = NETS["conv"]
    prepared, calibration = calibrated(net.graph(), net.samples())
    ranges = calibration.ranges("minmax")
    (name,) = [n for n in ranges.ranges if "relu6" in n]
    narrow = replace(ranges, ranges={**ranges.ranges, name: Range(0.0, 3.0)})
    noise = [Noise(name, "relu6", 4.0, 1.0, 0.25)]
    return report_on(calibration, narrow, quantize(prepared, narrow), noise, 1000)


def test_figures_of_a_layer() -> None:
    (found,) = made().layers
    assert found.decibels == pytest.approx(10 * math.log10(4))
    assert (found.covered.low, found.covered.high) == pytest.approx((0, 3), abs=0.02)
    net = NETS["conv"]
    _, calibration = calibrated(net.graph(), net.samples())
    counts = calibration.statistics[found.name].histogram
    above = counts.counts[counts.centers > 3.02].sum() / counts.counts.sum()
    assert 0 < found.clipped == pytest.approx(above, rel=0.05)
    assert sum(found.seen.counts) == counts.counts.sum()
    assert len(found.seen.counts) <= 64
    assert found.seen.low <= 0
    assert found.seen.high >= 6


def test_weights_are_those_of_filters() -> None:
    net = NETS["conv"]
    prepared, _ = calibrated(net.graph(), net.samples())
    (op,) = [op for op in prepared.operations if op.name == "conv2d"]
    largest = np.abs(prepared.producers[op.operands[1]].attributes["value"]).max(axis=(0, 1, 2))
    (weight,) = made().weights
    assert (weight.filters, weight.smallest, weight.largest) == pytest.approx((16, largest.min(), largest.max()))
    assert made().float_bytes == 4 * (3 * 3 * 8 * 16 + 16)


def test_records() -> None:
    data = to_data(report(layer("a", 0.0), layer("b", 1.0, scale=None)))
    assert [row["decibels"] for row in data["layers"]] == [None, 20.0]
    assert [row["scale"] for row in data["layers"]] == [0.5, None]
    assert data["accuracy"] is None


@pytest.mark.parametrize("accuracy", [None, Accuracy("mnist", 90, 10, 0.9, 0.8, 0.85)])
def test_the_page_is_well_formed_and_needs_nothing_else(accuracy: Accuracy | None) -> None:
    page = to_html(replace(report(layer("a<b>", 1.0), layer("c", 10.0, scale=None)), accuracy=accuracy))
    balance = Balance()
    balance.feed(page)
    balance.close()
    assert balance.open == []
    assert not {"src", "href"} & {name for name, _ in balance.attributes}
    for outside in ("http", "<script", "@import", "url("):
        assert outside not in page
    assert "a &lt;net&gt;" in page
    assert "<b>a&lt;b&gt;</b>" in page
    assert page.index("<td>c</td>") < page.index("<td>a&lt;b&gt;</td>")  # worst first
    assert page.index("<td>uneven</td>") < page.index("<td>even</td>")
    assert ("Top-1 goes from 90.00% to 80.00% (-10.00 points)." in page) == (accuracy is not None)


def test_a_report_without_layers() -> None:
    assert "No layer could be compared." in to_html(report())


def test_the_chart_has_a_bar_for_each_layer_as_high_as_its_decibels() -> None:
    layers = [layer("a", 1.0), layer("b", 10.0), layer("c", 0.0), layer("d", 1000.0)]
    bars = ElementTree.fromstring(noise_chart(layers, layers[3:])).findall("rect")
    heights = [float(bar.attrib["height"]) for bar in bars]
    assert [bar.attrib["class"] for bar in bars] == ["bar", "bar", "bar", "worst"]
    assert heights[0] == pytest.approx(1.5 * heights[1], abs=0.2)  # 20 and 10 dB above a line at -10 dB
    assert heights[2] == max(heights)
    assert bars[2][0].text == "c (relu): no noise"


def test_the_histogram_shows_the_covered_range() -> None:
    narrow = replace(layer("a", 1.0), seen=Bars(-128.0, 64.0, (1, 5, 2, 1)))
    svg = ElementTree.fromstring(histogram(narrow))
    band = svg.find("rect")
    assert band is not None
    assert (float(band.attrib["x"]), float(band.attrib["width"])) == pytest.approx((60, 119.5), abs=0.2)
    assert svg.findall("path")[0].attrib["d"].count("h") == 4

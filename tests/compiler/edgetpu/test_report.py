"""The report as text, data and a page."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

from netc.compiler.edgetpu import OperatorFacts, Report, predict, to_data, to_html, to_text
from netc.compiler.edgetpu.latency import FIXED_SECONDS, MACS_PER_SECOND, padded_macs
from netc.compiler.edgetpu.text import size

from .models import constant, convolution, elementwise, model, tensor


def partial() -> Report:
    first = convolution(tensor(1, 8, 8, 4), 8)
    leaky = OperatorFacts("LEAKY_RELU", first.outputs, (tensor(1, 8, 8, 8),), 1, {}, "<net>.net:3:4", "leaky_relu")
    return predict(model(first, leaky, convolution(leaky.outputs[0], 8), inputs=first.activations))


class _Checker(HTMLParser):
    """Notes unbalanced tags and what would be loaded from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.faults: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        self.faults += [f"{name}={value}" for name, value in attrs if name in ("src", "href") or tag == "script"]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}>")


def test_text_has_the_words_of_the_compiler() -> None:
    lines = to_text(partial()).splitlines()
    assert "Number of operations that will run on CPU: 2" in lines
    assert "On-chip memory used for caching model parameters: 512.00B" in lines
    assert f"{'LEAKY_RELU':31}{'1':11}Operation not supported" in lines
    assert "  <net>.net:3:4: leaky_relu: the Edge TPU has no leaky_relu" in lines
    assert "    instead: write maximum(x, alpha * x), or use relu" in lines


def test_data_is_json_with_every_operator() -> None:
    data = json.loads(json.dumps(to_data(partial())))
    assert [op["status"] for op in data["operators"]] == [
        "Mapped to Edge TPU",
        "Operation not supported",
        "More than one subgraph is not supported",
    ]
    assert data["memory"]["cached_on_chip"] == 512
    assert data["operators_mapped"] == 1


def test_page_is_self_contained_and_escaped() -> None:
    page = to_html(partial())
    checker = _Checker()
    checker.feed(page)
    assert checker.faults == []
    assert checker.open == []
    assert "&lt;net&gt;.net:3:4" in page
    assert "1 of 3 operators run on the Edge TPU, 2 on the CPU." in page


def test_page_of_models_that_map_wholly_or_not_at_all() -> None:
    assert "The only operator runs on the Edge TPU." in to_html(predict(model(elementwise("RELU", tensor(1, 4)))))
    assert "None of 2 operators runs" in to_html(predict(model(*_chain("EXP", "LOG"))))


def _chain(first: str, second: str) -> tuple[OperatorFacts, OperatorFacts]:
    op = elementwise(first, tensor(1, 4))
    return op, elementwise(second, *op.outputs)


def test_sizes_are_printed_as_the_compiler_does() -> None:
    assert [size(n) for n in (0, 1023, 4096, 1048575, 6312427)] == [
        "0.00B",
        "1023.00B",
        "4.00KiB",
        "1024.00KiB",
        "6.02MiB",
    ]


def test_latency_grows_with_arithmetic_padded_to_the_lanes() -> None:
    layer = convolution(tensor(1, 64, 64, 3), 65, 3)
    assert padded_macs(layer) == 64 * 64 * 9 * 4 * 128
    report = predict(model(layer))
    assert report.latency.arithmetic == padded_macs(layer) / MACS_PER_SECOND
    assert report.latency.total > report.latency.arithmetic + FIXED_SECONDS
    inputs = (tensor(1, 8, 8, 32), constant(1, 3, 3, 32))
    assert padded_macs(OperatorFacts("DEPTHWISE_CONV_2D", inputs, (tensor(1, 8, 8, 32),))) == 64 * 9 * 4 * 64

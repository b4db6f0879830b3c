"""The sequence of calls: that of a long network is split into several functions."""

from __future__ import annotations

import re

import numpy as np
import pytest

import netc
from netc.compiler.backends import lower, optimize
from netc.compiler.backends.cpu.codegen import emit_module, object_code, sequence
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.passes import pipelines
from netc.runtime.program import Program

CALLS = re.compile(r'call void @"(kernel\.\w+)"')


@pytest.mark.parametrize("threads", [1, 2])
def test_parts_of_a_sequence(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    target = host_target()
    module = lower(optimize(netc.load("cnn_mnist"), pipelines.INFERENCE, target), target, threads)
    whole = emit_module(module, target)
    monkeypatch.setattr(sequence, "PART", 2)
    split = emit_module(module, target)
    assert whole.count("@netc.sequence.") == 0
    assert split.count("define internal void @netc.sequence.") == -(-len(module.calls) // 2)
    assert CALLS.findall(split) == CALLS.findall(whole)
    rng = np.random.default_rng(0)
    image = rng.random((1, 28, 28, 1), np.float32)
    parameters = netc.load("cnn_mnist").parameters
    weights = {p.result.name: rng.standard_normal(p.result.type.shape, np.float32) for p in parameters}
    results = []
    for text in (whole, split):
        with Program(module, object_code(text, target), target, threads, weights) as loaded:
            results.append(loaded(image))
    np.testing.assert_array_equal(results[0], results[1])


def test_one_thread_passes_where_bounds_of_tiles_are_loose() -> None:
    """The 512 channels of 38 x 38 places: what is proved of their Winograd tiles reaches into the margins."""
    target = host_target()
    module = lower(optimize(netc.load("ssd300_vgg16"), pipelines.INFERENCE, target), target, 1)
    assert any(call.label == "clear_margins" for call in module.calls)

"""Packed weights, whole and in parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from netc.compiler.graph.interpreter import SHARED_BYTES, evaluate
from netc.compiler.lowering import packing
from netc.compiler.lowering.packing import pack_weights, weights_in_order
from netc.compiler.modules.module import Module
from netc.pipeline import Request, build

NETWORK = """
net layers(image: f32[N, 24, 24, 16], classes = 10) {
  return image |> conv(40, 3) |> batch_norm |> relu |> conv(24, 3, stride = 2) |> conv(256, 1)
    |> conv(320, 1) |> global_avg_pool |> dense(classes)
}
"""


@pytest.fixture(scope="module", params=[("haswell", "winograd_filter"), ("znver4", "strassen_filter")])
def module(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Module:
    cpu, operator = request.param
    path = tmp_path_factory.mktemp("packing") / "layers.net"
    path.write_text(NETWORK, encoding="utf-8")
    built = build(Request(path, cpu=cpu, threads=1), "loops").module
    assert operator in {op.name for op in built.setup.operations}
    return built


def parameters(module: Module) -> dict[str, Any]:
    return {
        op.result.name or "": np.random.default_rng(i).uniform(0.5, 1.5, op.result.type.shape).astype(np.float32)
        for i, op in enumerate(module.setup.operations)
        if op.name == "param"
    }


class Recorder(dict[str, Any]):
    """Parameters that say how often each was looked up."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.reads = Counter[str]()

    def __getitem__(self, name: str) -> Any:
        self.reads[name] += 1
        return super().__getitem__(name)


def test_a_weight_and_its_scales_are_made_of_one_look_at_it(module: Module) -> None:
    params = Recorder(parameters(module))
    pack_weights(module, params)
    large = {name for name, array in params.items() if array.nbytes > SHARED_BYTES}
    assert large
    assert {params.reads[name] for name in large} == {1}


def test_parts_are_those_of_the_whole(module: Module, monkeypatch: pytest.MonkeyPatch) -> None:
    params = parameters(module)
    outputs = evaluate(module.setup, (), params)
    for size in (1, 30000, 1 << 20):
        monkeypatch.setattr(packing, "PART_BYTES", size)
        region, count, end = pack_weights(module, params), 0, 0
        for offset, array in zip(module.weight_offsets, outputs, strict=True):
            assert region[offset : offset + array.nbytes].tobytes() == array.tobytes()
        for offset, part in weights_in_order(module, params):
            assert offset >= end
            end, count = offset + part.nbytes, count + 1
            assert region[offset:end].tobytes() == part.tobytes()
        assert (count > len(outputs)) == (size < 1 << 20)

"""Tests of onnx.backend.test, a part of them: none may give wrong numbers. `benchmarks/onnx_backend.py` runs all."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnx")

FAMILIES = (
    *("abs", "add", "argmax", "averagepool", "batchnorm", "cast_FLOAT_to", "clip", "concat", "constant", "conv_"),
    *("convtranspose", "cumsum", "dequantize", "einsum", "expand", "flatten", "gather", "gelu", "gemm", "globalmax"),
    *("gru", "if", "instancenorm", "layer_normalization", "logsoftmax", "loop11", "lstm", "matmul", "maxpool", "mod_"),
    *("nonmaxsuppression", "onehot", "pow", "quantizelinear", "range", "reduce_mean", "reshape", "resize", "scan"),
    *("scatter", "shape", "slice", "softmax", "split", "squeeze", "tfidf", "top_k", "transpose", "unsqueeze", "where"),
    "flexattention",
)
"""Beginnings of names."""


@contextmanager
def suite() -> Iterator[Any]:
    """The module `onnx_backend` of the benchmarks."""
    folder = str(Path(__file__).parents[3] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        import onnx_backend

        yield onnx_backend
    finally:
        sys.path.remove(folder)


def test_families_of_node_tests() -> None:
    """Every second of them, as graphs mean it; what is refused says why."""
    with suite() as module:
        names = tuple(f"test_{family}" for family in FAMILIES)
        chosen = [case for case in module.cases("node") if case[0].name.startswith(names)][::2]
        found = [module.outcome("node", *case, compiled=False) for case in chosen]
    assert len(found) > 250
    wrong = [o for o in found if o.status in ("WRONG", "CRASH")]
    assert not wrong, "\n".join(o.row for o in wrong)
    assert all(o.reason for o in found if o.status == "refused")
    assert sum(o.status == "pass" for o in found) > 0.9 * len(found)


@pytest.mark.parametrize("kind", ["pytorch-converted", "pytorch-operator"])
def test_nets_of_pytorch_in_compiled_form(kind: str) -> None:
    """Every sixth of them, compiled."""
    with suite() as module:
        found = [module.outcome(kind, *case, compiled=True) for case in list(module.cases(kind))[::6]]
    assert [o.row for o in found if o.status != "pass"] == []

"""Random models of one node against ONNX Runtime, of fixed seeds; `benchmarks/onnx_random.py` draws more."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(("family", "count"), [("all", 120), ("conv", 20), ("conv_transpose", 20), ("slice", 20)])
def test_random_models(family: str, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
    import onnx_random

    names = [*onnx_random.FAMILIES] if family == "all" else [family]
    counts: Counter[str] = Counter()
    wrong = [seed for seed in range(count) if onnx_random.problems(seed, names, counts, compiled=False)]
    assert wrong == []
    assert counts["agree"] > 0.85 * count


def test_random_models_of_onnx_runtime_s_domain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "benchmarks"))
    import onnx_random_contributed

    counts: Counter[str] = Counter()
    wrong = [seed for seed in range(150) if onnx_random_contributed.problems(seed, None, counts, compiled=False)]
    assert wrong == []
    assert sum(n for what, n in counts.items() if what.endswith("agrees")) > 100

"""Small members of families against their twins in torchvision; `benchmarks/against_torchvision.py` has all members."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc

torch = pytest.importorskip("torch")
if find_spec("torchvision") is None:
    pytest.skip("torchvision isn't there", allow_module_level=True)

Members = dict[str, tuple[dict[str, Any], Callable[[Any], Any]]]
MEMBERS: Members = {
    "convnext": (
        {"size": 32, "depths": [1, 2], "widths": [16, 32]},
        lambda models: models.ConvNeXt(
            [models.convnext.CNBlockConfig(16, 32, 1), models.convnext.CNBlockConfig(32, None, 2)], num_classes=10
        ),
    ),
    "vit": (
        {"size": 32, "patch": 8, "layers": 2, "heads": 4, "width": 32},
        lambda models: models.VisionTransformer(32, 8, 2, 4, 32, 128, num_classes=10),
    ),
    "swin": (
        {"size": 32, "width": 16, "depths": [2, 2], "heads": [2, 4], "window": 4},
        lambda models: models.SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4], num_classes=10),
    ),
}
"""Settings of the net, and how the twin is made."""


@contextmanager
def benchmarks() -> Iterator[Any]:
    """The module `twins` of the benchmarks."""
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        import twins

        yield twins
    finally:
        sys.path.remove(folder)


@pytest.mark.parametrize("family", MEMBERS)
def test_transformers_are_those_of_torchvision(family: str, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    settings, make = MEMBERS[family]
    with benchmarks() as twins:
        torch.manual_seed(0)
        module = make(twins.torchvision().models).eval()
        twins.draw(module)
    weights = tmp_path / "twin.safetensors"
    save_file(module.state_dict(), weights)
    x = np.random.default_rng(0).standard_normal((2, 32, 32, 3), np.float32)
    with torch.no_grad():
        expected = module(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    with netc.compile(family, weights=weights, batch=2, settings={**settings, "classes": 10}) as program:
        assert np.abs(program(x) - expected).max() <= 1e-5 * np.ptp(expected)

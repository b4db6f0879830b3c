"""Modules of PyTorch that tests read."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")

from torch import nn  # noqa: E402

import netc  # noqa: E402
from netc.compiler.errors import NetcError  # noqa: E402

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))


class Small(nn.Module):
    """Convolution, batch normalisation with statistics of its own, a flattened picture, two outputs."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3)
        self.bn = nn.BatchNorm2d(8)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(8 * 6 * 6, 5)
        nn.init.normal_(self.bn.running_mean)
        nn.init.uniform_(self.bn.running_var, 0.5, 1.5)

    def forward(self, x: Any, scale: Any = None) -> Any:
        y = self.bn(self.conv(x)).relu().flatten(1)
        y = self.fc(self.drop(y))
        return {"scores": y if scale is None else y * scale, "total": x.sum()}


class Pair(nn.Module):
    """A function of two tensors as a module."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any, y: Any) -> Any:
        return self.function(x, y)


class Does(nn.Module):
    """A function as a module."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Any) -> Any:
        return self.function(x)


def refusal(function: Any, *, match: str) -> NetcError:
    """The error about a function that isn't read for `X`."""
    with pytest.raises(NetcError, match=match) as caught:
        netc.from_torch(Does(function).eval(), X)
    return caught.value

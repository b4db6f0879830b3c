"""A network in which schedules ask for all that they can ask for."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

import netc as library

ROUNDS = 21
"""How often two programs are compared."""


def net_of(text: str) -> library.Graph:
    """The network of a text."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.net"
        path.write_text(text, encoding="utf-8")
        return library.load(path)


@pytest.fixture(scope="module")
def wide() -> library.Graph:
    """All that is asked: 3x3 with and without Winograd's filtering, 1x1, depthwise."""
    return net_of(
        "net wide(image: f32[1, 28, 28, 32]) {\n"
        "  return image |> conv(64, 3) |> conv(64, 3, groups = 64) |> conv(32, 1) |> relu |> conv(64, 3, 2)\n}\n"
    )

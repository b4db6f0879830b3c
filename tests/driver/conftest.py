"""Fixtures for tests of the command line: a small net, its weights, a cache of its own, and a caller."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netc.cli import main
from netc.loading import load
from netc.runtime.weights import initial_weights, write_weights

NET = """\
net tiny(image: f32[N, 12, 12, 1], classes = 10) {
  return image |> conv@conv1(4, 3) |> relu |> max_pool(2) |> flatten |> dense@fc(classes)
}
preprocess tiny { divide = 255 }
"""


@dataclass(frozen=True)
class Result:
    """What a command did."""

    code: int
    out: str
    err: str


Call = Callable[..., Result]


@pytest.fixture(autouse=True)
def private_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled objects of these tests go to a folder that ends with the session."""
    monkeypatch.setenv("NETC_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def netc(capsys: pytest.CaptureFixture[str]) -> Call:
    """`netc("show", path)` runs a command in this process."""

    def call(*arguments: object) -> Result:
        code = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A small convolutional net for grey pictures of 12 x 12 pixels."""
    path = tmp_path / "tiny.net"
    path.write_text(NET, encoding="utf-8")
    return path


@pytest.fixture
def tiny_weights(tiny: Path) -> Path:
    """Weights that fit the small net."""
    path = tiny.with_suffix(".safetensors")
    graph = load(tiny)
    write_weights(path, graph, initial_weights(graph, seed=5))
    return path


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A grey picture."""
    path = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 12), np.uint8)).save(path)
    return path


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """A data folder with a very small mnist test set."""
    home = tmp_path / "data" / "mnist"
    home.mkdir(parents=True)
    pictures = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
    sizes = b"".join(n.to_bytes(4, "big") for n in (2051, *pictures.shape))
    (home / "t10k-images-idx3-ubyte").write_bytes(sizes + pictures.tobytes())
    (home / "t10k-labels-idx1-ubyte").write_bytes((2049).to_bytes(4, "big") + (5).to_bytes(4, "big") + bytes(range(5)))
    return home.parent

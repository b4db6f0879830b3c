"""Objects for machines without an operating system: networks of integers need nothing but `memcpy` and `memset`."""

from __future__ import annotations

import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import netc
from netc.compiler.backends import find_target, target_names
from netc.compiler.graph.ir import Graph
from netc.compiler.library.elf import Elf
from netc.compiler.targets.target import Environment
from netc.library import build_library
from tests.quantized_nets import PICTURE, Net, quantized

from .test_boards import network

BARE = [name for name in target_names() if find_target(name).environment is Environment.BARE]
TEXT = """
net many(image: f32[N, 6, 6, 4]) {
  a = image |> conv(4, 3) |> hard_swish
  b = image |> conv(4, 1) |> tanh |> leaky_relu
  c = a * b + relu(a - b)
  d = c |> avg_pool(2) |> resize(scale = 2)
  e = concat(c, d) |> global_avg_pool |> dense(8)
  f = image |> flatten |> dense(8)
  return e * f |> gelu |> dense(3) |> softmax
}
"""


@cache
def networks(folder: Path) -> dict[str, Graph]:
    path = folder / "many.net"
    path.write_text(TEXT)
    random = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        many = netc.quantize(path, calibration=[(random.standard_normal((1, 6, 6, 4), np.float32),)], threads=1)
    return {"pictures": quantized(Net(PICTURE, network)), "many": many}


@pytest.mark.parametrize("target", BARE)
def test_integers_need_no_other_functions(
    target: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netc.library_files.has_ziglang", lambda: False)
    for name, graph in networks(tmp_path_factory.getbasetemp()).items():
        build_library(graph, tmp_path, target=target, prefix="net", selftest=False)
        undefined = set(Elf.read((tmp_path / "net.o").read_bytes()).undefined)
        assert undefined <= {"memcpy", "memset"}, f"{name}: {undefined}"


@pytest.mark.parametrize("target", ["cortex-m4", "cortex-m55", "armv7"])
def test_places_made_of_floats_need_none_either(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such a machine has floats of 32 bits, and calls functions to convert them from and to 64."""
    monkeypatch.setattr("netc.library_files.has_ziglang", lambda: False)
    path = tmp_path / "near.net"
    layers = 'conv(4, 1) |> resize(size = [129, 129], mode = "nearest")'
    path.write_text(f"net near(image: f32[N, 33, 33, 4]) {{ return image |> {layers} }}\n")
    picture = np.random.default_rng(0).standard_normal((1, 33, 33, 4), np.float32)
    graph = netc.quantize(path, calibration=[(picture,)], threads=1)
    build_library(graph, tmp_path, target=target, prefix="net", selftest=False)
    assert set(Elf.read((tmp_path / "net.o").read_bytes()).undefined) <= {"memcpy", "memset"}

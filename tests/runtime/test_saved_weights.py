"""Weights that are written to a saved program while they are packed."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest

import netc
from netc import keeping
from netc.runtime import saved_weights
from netc.runtime.cache import ObjectCache
from netc.runtime.program import Array
from netc.runtime.saved import load_program
from netc.runtime.saved_weights import WeightsFile

PAGE = 1 << 16
SIZE = 50000

NETWORK = """
net small(image: f32[N, 8, 8, 3], classes = 4) {
  return image |> conv(16, 3) |> batch_norm |> relu |> conv(24, 3) |> global_avg_pool |> dense(classes)
}
"""


def pieces() -> list[tuple[int, Array]]:
    """Arrays of several types and orders of elements, with gaps between them."""
    rng = np.random.default_rng(3)
    panels = rng.standard_normal((40, 30)).astype(np.float32).T
    turned = rng.standard_normal((6, 10, 20)).astype(np.float32).transpose(2, 0, 1)
    flat = rng.integers(-128, 128, 20000).astype(np.int8)
    empty, single = np.zeros((0, 4), np.float32), np.array(2.5, np.float32)
    return [(64, panels), (64 + panels.nbytes, turned), (10048, single), (10112, empty), (12992, flat)]


@pytest.mark.parametrize(("chunk", "piece"), [(64, 16), (1024, 1 << 20), (4096, 300), (1 << 23, 1 << 20)])
def test_weights_lie_where_they_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, piece: int) -> None:
    monkeypatch.setattr(saved_weights, "CHUNK", chunk)
    monkeypatch.setattr(saved_weights, "_PIECE", piece)
    wanted = np.zeros(SIZE, np.uint8)
    for offset, array in pieces():
        wanted[offset : offset + array.nbytes] = np.frombuffer(array.tobytes(), np.uint8)
    with (tmp_path / "file").open("w+b") as file:
        weights = WeightsFile(file, SIZE, PAGE)
        assert not weights.is_filled
        found = weights.fill(pieces())
        assert weights.is_filled
        np.testing.assert_array_equal(found, wanted)
        sums = [f"{zlib.crc32(wanted[i : i + chunk]):08x}" for i in range(0, SIZE, chunk)]
        assert weights.finish({}, b"code", np.zeros(0, np.uint8)) == (len(sums) * 11 < PAGE - 1000)
        assert weights._checksums == sums
        found[:] = 1  # the file doesn't notice
    assert (tmp_path / "file").read_bytes()[PAGE:] == wanted.tobytes()


def test_there_must_be_room(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file:
        weights = WeightsFile(file, SIZE, PAGE)
        weights.fill([])
        assert not weights.finish({}, bytes(PAGE), np.zeros(0, np.uint8))
        assert weights.finish({}, bytes(PAGE - 1000), np.zeros(0, np.uint8))


# ---- in the cache ---------------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network whose weights count as large."""
    monkeypatch.setenv("NETC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(keeping, "LARGE", 1)
    path = tmp_path / "small.net"
    path.write_text(NETWORK, encoding="utf-8")
    return path


def sample() -> Array:
    return np.random.default_rng(0).standard_normal((1, 8, 8, 3), np.float32)


def names(tmp_path: Path) -> list[str]:
    """Kinds of the files in the cache."""
    return sorted(path.suffix for path in (tmp_path / "cache").iterdir())


def test_the_file_becomes_the_program_of_the_network(small: Path, tmp_path: Path) -> None:
    wanted = netc.compile(netc.load(small), threads=1)
    cold = netc.compile(small, threads=1)
    assert names(tmp_path) == [".netc", ".netc-object"]
    (path,) = (tmp_path / "cache").glob("*.netc")
    assert path.stat().st_size == keeping.ROOM + wanted.packed_weights.size
    warm, loaded = netc.compile(small, threads=1), load_program(path, threads=1, verify=True)
    for program in (cold, warm, loaded):
        np.testing.assert_array_equal(program.packed_weights, wanted.packed_weights)
        np.testing.assert_array_equal(program(sample()), wanted(sample()))


def test_other_weights_stay_out_of_the_file(small: Path, tmp_path: Path) -> None:
    program = netc.compile(small, threads=1)
    wanted = program(sample())
    graph = netc.load(small)
    program.repack({op.result.name or "": np.zeros(op.result.type.shape, np.float32) for op in graph.weights})
    assert not program(sample()).any()
    np.testing.assert_array_equal(netc.compile(small, threads=1)(sample()), wanted)


@pytest.mark.parametrize("lacking", ["room", "disk", "folder"])
def test_where_that_is_impossible_weights_are_in_memory(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lacking: str
) -> None:
    def full(self: WeightsFile, begin: int, chunk: Array) -> None:
        raise OSError(28, "No space left on device")

    if lacking == "room":
        monkeypatch.setattr(WeightsFile, "finish", lambda *given: False)
    elif lacking == "disk":
        monkeypatch.setattr(WeightsFile, "write", full)
    else:
        monkeypatch.setattr(ObjectCache, "begin_program", lambda self, size: None)
    program = netc.compile(small, threads=1)
    np.testing.assert_array_equal(program(sample()), netc.compile(netc.load(small), threads=1)(sample()))
    assert names(tmp_path) == [".netc", ".netc-object"]  # it is kept all the same
    assert netc.compile(small, threads=1)._pack is None


def test_what_cannot_be_compiled_leaves_nothing(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: object, **named: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("netc.pipeline.compile_object", broken)
    with pytest.raises(RuntimeError):
        netc.compile(small, threads=1)
    assert names(tmp_path) == []

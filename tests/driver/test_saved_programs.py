"""Saved programs on the command line, and networks that are known from the cache."""

from __future__ import annotations

import os
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc as library
from netc import known, programs, ready
from netc.programs import NetworkProgram

from .conftest import Call


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NETC_CACHE_DIR", str(tmp_path / "own"))
    return tmp_path / "own"


@pytest.fixture
def saved(netc: Call, tiny: Path, tiny_weights: Path) -> Path:
    path = tiny.with_suffix(".netc")
    result = netc("compile", tiny, "--weights", tiny_weights, "-o", path)
    assert result.code == 0, result.err
    return path


def test_commands_take_saved_programs(netc: Call, saved: Path, tiny: Path, tiny_weights: Path, picture: Path) -> None:
    ran = netc("run", saved, "--image", picture)
    assert (ran.code, ran.out) == (0, netc("run", tiny, "--weights", tiny_weights, "--image", picture).out)
    assert netc("check", saved).out == f"{saved}: no errors\n"
    shown = netc("show", saved).out
    assert shown.splitlines()[0] == netc("show", tiny).out.splitlines()[0]
    assert "compiled for " in shown
    assert netc("bench", saved, "--seconds", 0, "--profile").code == 0
    samples = tiny.parent / "samples.npz"
    images = np.random.default_rng(0).integers(0, 256, (6, 12, 12), np.uint8)
    np.savez(samples, x_test=images, y_test=np.arange(6))
    wanted = netc("eval", tiny, "--weights", tiny_weights, "--data", samples, "--json")
    assert wanted.code == 0, wanted.err
    assert netc("eval", saved, "--data", samples, "--json").out == wanted.out


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            ("run", "{}", "--weights", "w.safetensors"),
            "saved program, which is complete: --weights can't be given",
        ),
        (("run", "{}", "--net", "tiny", "--cpu", "haswell"), "--net, --cpu can't be given"),
        (("bench", "{}", "--batch", "3"), "is compiled for a batch of 1, not of 3"),
        (("show", "{}", "--set", "classes=3"), "--set can't be given"),
        (("check", "{}", "--target", "edgetpu"), "only its soundness can be checked"),
        (("compile", "tiny.net", "-o", "x.o"), "-o needs --emit"),
        (("compile", "tiny.net", "--weights", "w"), "--weights is for --target edgetpu, or for -o FILE.netc"),
    ],
)
def test_what_does_not_go_with_them_is_said(netc: Call, saved: Path, arguments: tuple[str, ...], problem: str) -> None:
    result = netc(*(each.format(saved) for each in arguments))
    assert result.code == 2
    assert problem in result.err


def test_damage_has_exit_code_2(netc: Call, saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-1])
    for command in ("run", "bench", "show", "check"):
        result = netc(command, saved)
        assert result.code == 2
        assert result.err.startswith(f"error: saved program {saved} is damaged: it has ")


# ---- known networks -------------------------------------------------------------------------------------------------


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is compiled for `netc run` and its like."""
    made: list[str] = []
    compiled = ready._compiled
    monkeypatch.setattr(ready, "_compiled", lambda *given: (made.append(given[1]), compiled(*given))[1])
    return made


def test_a_known_network_is_not_compiled_again(
    netc: Call, tiny: Path, tiny_weights: Path, picture: Path, empty_cache: Path, compilations: list[str]
) -> None:
    def run(*more: object) -> str:
        result = netc("run", tiny, "--weights", tiny_weights, "--image", picture, *more)
        assert result.code == 0, result.err
        return result.out

    first = run()
    assert run() == first
    assert len(compilations) == 1
    run("--threads", 1)
    run("--preprocess", "divide=127")
    assert len(compilations) == 3
    run("--preprocess", "divide=127")
    assert len(compilations) == 3


def test_what_changed_is_compiled_again(
    netc: Call, tiny: Path, tiny_weights: Path, picture: Path, empty_cache: Path, compilations: list[str]
) -> None:
    def run() -> str:
        result = netc("run", tiny, "--weights", tiny_weights, "--image", picture)
        assert result.code == 0, result.err
        return result.out

    first = run()
    text, status = tiny.read_text(encoding="utf-8"), tiny.stat()
    tiny.write_text(text.replace("relu", "tanh"), encoding="utf-8")
    os.utime(tiny, ns=(status.st_atime_ns, status.st_mtime_ns))  # of the same length and time
    assert run() != first
    tiny.write_text(text, encoding="utf-8")
    assert run() == first
    data = bytearray(tiny_weights.read_bytes())
    data[-4:] = b"\0\0\0\x41"
    tiny_weights.write_bytes(data)
    assert run() != first
    assert len(compilations) == 4


def test_a_net_of_a_file_with_another_name_is_known(
    netc: Call, tiny: Path, picture: Path, empty_cache: Path, compilations: list[str]
) -> None:
    def run() -> str:
        result = netc("run", tiny, "--image", picture)
        assert result.code == 0, result.err
        return result.out

    family, text = tiny.with_name("family.net"), tiny.read_text(encoding="utf-8")
    tiny.rename(family)
    first = run()
    assert run() == first
    assert len(compilations) == 1
    family.write_text(text.replace("relu", "tanh"), encoding="utf-8")
    assert run() != first
    family.rename(tiny.with_name("branch.net"))
    run()
    assert len(compilations) == 3
    family.write_text(text, encoding="utf-8")
    refused = netc("run", tiny, "--image", picture)
    assert refused.code == 2
    assert "two files define the net `tiny`" in refused.err


def test_a_folder_behind_a_link_is_another(
    netc: Call, tiny: Path, picture: Path, empty_cache: Path, compilations: list[str]
) -> None:
    other = tiny.parent / "other"
    (other / "inner").mkdir(parents=True)
    link = tiny.parent / "link"
    link.symlink_to(other / "inner", target_is_directory=True)
    text = tiny.read_text(encoding="utf-8")
    (other / tiny.name).write_text(text.replace("relu", "tanh"), encoding="utf-8")
    first = netc("run", tiny, "--image", picture)
    second = netc("run", f"{link}/../{tiny.name}", "--image", picture)
    assert (first.code, second.code) == (0, 0)
    assert second.out != first.out
    assert len(compilations) == 2


@pytest.mark.parametrize("damage", ["truncate", "facts"])
def test_damaged_entries_are_made_anew(
    netc: Call, tiny: Path, picture: Path, empty_cache: Path, compilations: list[str], damage: str
) -> None:
    first = netc("run", tiny, "--image", picture).out
    (entry,) = empty_cache.glob("*.netc")
    data = entry.read_bytes()
    entry.write_bytes(data[:-1] if damage == "truncate" else data[:60] + b"x" + data[61:])
    assert netc("run", tiny, "--image", picture).out == first
    assert len(compilations) == 2
    assert entry.read_bytes() == data


def test_without_a_cache_nothing_is_kept(
    netc: Call, tiny: Path, picture: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch, compilations: list[str]
) -> None:
    monkeypatch.setenv("NETC_CACHE_BYTES", "0")
    for _ in range(2):
        assert netc("run", tiny, "--image", picture).code == 0
    assert len(compilations) == 2
    assert not empty_cache.exists()


def test_long_files_are_known_by_their_times(tmp_path: Path) -> None:
    path = tmp_path / "long"
    path.write_bytes(bytes(known.SHORT + 1))
    assert known._record(str(path)) is None  # it may change without showing it
    os.utime(path, ns=(0, time.time_ns() - 2 * known.SETTLED))
    record = known._record(str(path))
    assert record is not None
    assert record[4] is None
    assert known._is_unchanged(record)
    os.utime(path)
    assert not known._is_unchanged(record)


def test_compile_finds_known_networks(tiny: Path, empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[object] = []
    request = programs._request
    monkeypatch.setattr(programs, "_request", lambda *given: (made.append(given), request(*given))[1])

    def compiled(**given: Any) -> tuple[NetworkProgram, list[str]]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            program = library.compile(tiny, **given)
        return program, [f"{warning.category.__name__}: {warning.message}" for warning in caught]

    x = np.random.default_rng(0).standard_normal((1, 12, 12, 1), np.float32)
    samples = np.random.default_rng(1).standard_normal((8, 12, 12, 1), np.float32)
    cases: list[dict[str, Any]] = [{}, {"quantize": "int8", "calibration": samples}, {"batch": 2}]
    for given in cases:
        x = np.repeat(x[:1], given.get("batch", 1), axis=0)
        first, warned = compiled(threads=1, **given)
        count = len(made)
        second, again = compiled(threads=1, **given)
        assert again == warned
        assert bool(warned) == ("quantize" in given)
        np.testing.assert_array_equal(second(x), first(x))
        assert len(made) == count
        assert str(second) == str(first)
        assert str(second.graph) == str(first.graph)
        second.save(tiny.with_suffix(".tflite"))
        first.save(tiny.parent / "first.tflite")
        assert tiny.with_suffix(".tflite").read_bytes() == (tiny.parent / "first.tflite").read_bytes()
    other, _ = compiled(threads=1, quantize="int8", calibration=2 * samples)
    assert str(other.graph) != str(compiled(threads=1, quantize="int8", calibration=samples)[0].graph)


def test_known_networks_warn_of_the_same_losses(tmp_path: Path, empty_cache: Path) -> None:
    path = tmp_path / "lossy.net"
    path.write_text("net lossy(x: f32[N, 8]) { return concat(320 * sigmoid(x), sigmoid(x)) }\n", encoding="utf-8")
    samples = np.random.default_rng(1).standard_normal((8, 8), np.float32)
    said: list[list[str]] = []
    found: list[list[object]] = []
    for _ in range(2):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            library.compile(path, quantize="int8", calibration=samples, threads=1)
        losses = [w.message for w in caught if isinstance(w.message, library.QuantizationWarning)]
        said.append([str(loss) for loss in losses])
        found.append([loss.finding for loss in losses])
    assert said[0] == said[1] != []
    assert found[0] == found[1]


@pytest.mark.parametrize(("shape", "batch"), [("3, 4, 4, 2", 3), ("1, 4, 4, 2", 1), ("5", 1)])
def test_a_batch_that_a_file_fixes_is_said(netc: Call, tmp_path: Path, shape: str, batch: int) -> None:
    path = tmp_path / "fixed.net"
    path.write_text(f"net fixed(x: f32[{shape}]) {{ return relu(x) }}\n", encoding="utf-8")
    assert netc("compile", path, "-o", tmp_path / "fixed.netc").code == 0
    library.write_tflite(path, tmp_path / "fixed.tflite")
    for name in ("fixed.net", "fixed.netc", "fixed.tflite"):
        assert f"fixed, batch {batch}, " in netc("bench", tmp_path / name, "--seconds", 0).out
    assert netc("bench", tmp_path / "fixed.netc", "--seconds", 0, "--batch", batch).code == 0
    assert netc("bench", tmp_path / "fixed.netc", "--seconds", 0, "--batch", batch + 1).code == 2

"""`netc build`: what is written, and what is refused."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

import netc
from netc.compiler.errors import NetcError
from netc.library import build_library

from .conftest import Call
from .libraries import needs_ziglang


@needs_ziglang
def test_folders_may_be_called_anything(tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / '100%s, 7%% "ü" @x'
    build_library(tiny, out, prefix="net")
    with netc.load_library(out / "net.so") as library:
        library.selftest()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--no-embed-weights",), "--no-embed-weights --no-selftest"),
        (("--embed-weights",), "--prefix tiny --embed-weights --no-selftest"),
        (("--weights-section", ".flash"), "--weights-section .flash --no-selftest"),
    ],
)
def test_the_command_of_the_page_builds_the_same(
    netc: Call, tiny: Path, tmp_path: Path, options: tuple[str, ...], told: str
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert netc("build", tiny, "--target", "cortex-m4", "--no-selftest", *options, "-o", first).code == 0
    (line,) = (line for line in (first / "README.md").read_text().splitlines() if line.startswith("    netc build"))
    assert told in line
    words = shlex.split(line.replace("DIR", str(second)))
    assert netc(*words[1:]).code == 0
    contents = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in (first, second)]
    assert contents[0] == contents[1]


def test_mistakes_are_said(netc: Call, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    cases = [
        (("--target", "cortex-a67"), "did you mean cortex-a76?"),
        (("--prefix", "2nets"), "can't begin names in C"),
        (("--target", "cortex-m4", "--threads", "2"), "runs on one thread"),
        (("--inputs-in-workspace", "--threads", "2"), "only code for one thread has its inputs in the workspace"),
        (("--target", "cortex-m4", "--ram", "50"), "doesn't fit in 50 bytes of RAM: the least is"),
        (("--weights-section", "", "--embed-weights"), "--weights-section is empty"),
        (("--weights-section", ".x", "--no-embed-weights"), "weights in a section are embedded"),
        (("--weights-section", ".bss.weights"), "means something else to linkers"),
        (("--weights-section", ".symtab", "--target", "cortex-m4"), "means something else to linkers"),
        (("--weights-section", ".flash", "--target", "aarch64-macos"), "a segment and a section, as macOS has them"),
        (("--prefix", "string"), "string.h would hide a header of C"),
        (("--set", "sizes=3"), "sizes"),
        (("--freeze", "fc.*"), "--freeze is for training"),
        (("--train", "--target", "wasm32"), "libraries for WebAssembly don't train"),
        (("--weights", str(tiny)), "tiny.net"),
    ]
    for options, message in cases:
        done = netc("build", tiny, "-o", out, *options)
        assert done.code == 2
        assert message in done.err, done.err
        assert not out.exists()
    done = netc("build", tiny, "-o", tiny)
    assert done.code == 2
    assert "no folder" in done.err
    done = netc("build", tiny, "-o", "")
    assert done.code == 2
    assert "-o/--output is empty" in done.err
    with pytest.raises(NetcError, match="the name of the folder is empty"):
        build_library(tiny, "")


@needs_ziglang
def test_nothing_is_half_written(netc: Call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    assert netc("build", tiny, "-o", out).code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def fail(*arguments: Any) -> None:
        raise NetcError("the linker is out of order")

    monkeypatch.setattr("netc.library_files.link_shared", fail)
    for folder in (out, tmp_path / "new"):
        assert netc("build", tiny, "-o", folder, "--seed", "1").code == 2
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "tiny.net"]


def test_without_a_linker_objects_and_texts_are_written(
    netc: Call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("netc.library_files.has_ziglang", lambda: False)
    done = netc("build", tiny, "-o", tmp_path / "out", "--json", "--no-selftest")
    assert "no .a and .so without a linker: pip install 'netc[build]'" in done.err
    files = json.loads(done.out)["files"]
    assert "tiny.o" in files
    assert "tiny.so" not in files


def test_targets_are_listed(netc: Call) -> None:
    rows = json.loads(netc("targets", "--json").out)
    known = {row["name"]: row for row in rows}
    assert known["host"]["runner_present"]
    assert known["cortex-m4"]["threads"] is False
    assert known["cortex-a76"]["dot_product"] == "neon"
    assert known["wasm32"]["linker"] is None
    assert known["x86-64-v4"]["runner"] in (None, "a processor with AVX-512")  # not QEMU
    assert known["alderlake"]["runner"] in (None, "a processor with AVX-VNNI")
    table = netc("targets").out.splitlines()
    assert len(table) == len(rows) + 2
    assert table[0].split()[:2] == ["target", "triple"]

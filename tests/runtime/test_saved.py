"""Saved programs: the round trip, sharing, and what is said of files that aren't sound."""

from __future__ import annotations

import copy
import hashlib
import json
import multiprocessing
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import netc
from netc.compiler.errors import NetcError
from netc.compiler.image import SAVED_MAGIC
from netc.runtime import processor
from netc.runtime import saved as saved_programs
from netc.runtime.saved import SavedFile, load_program

NETWORK = """
net small(image: f32[N, 8, 8, 3], classes = 4) {
  return image |> conv(6, 3) |> batch_norm |> relu |> conv(6, 3, stride = 2) |> global_avg_pool |> dense(classes)
}
preprocess small { labels = ["a", "b", "c", "d"], divide = 127.5, mean = 1 }
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    (folder / "small.net").write_text(NETWORK, encoding="utf-8")
    netc.compile(folder / "small.net", threads=2, seed=4).save(folder / "small.netc")
    return folder / "small.netc"


def sample(seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((1, 8, 8, 3), np.float32)


def test_round_trip(saved: Path) -> None:
    wanted = netc.compile(saved.with_suffix(".net"), threads=2, seed=4)
    for threads in (None, 1, 2, 3):
        with load_program(saved, threads=threads, verify=True) as program:
            np.testing.assert_array_equal(program(sample()), wanted(sample()))
            assert program.inputs == wanted.inputs
            assert program.outputs == wanted.outputs
            assert program.labels == ("a", "b", "c", "d")
            assert program.signature.attributes["preprocess"]["divide"] == 127.5
            assert len(program.profile(sample())) == len(program.module.calls) > 0


def test_weights_are_mapped_and_stay(saved: Path) -> None:
    program = load_program(saved)
    assert not program.packed_weights.flags.writeable
    with pytest.raises(NetcError, match="mapped"):
        program.repack({})


def _scores(program: Any) -> Any:
    return program(sample())


def test_copies_and_other_processes_load_the_file(saved: Path) -> None:
    program = load_program(saved, threads=1)
    wanted = program(sample())
    np.testing.assert_array_equal(copy.deepcopy(program)(sample()), wanted)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        np.testing.assert_array_equal(pool.apply(_scores, (program,)), wanted)


def test_the_program_outlives_its_file(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "gone.netc"
    path.write_bytes(saved.read_bytes())
    program = load_program(path)
    path.unlink()
    assert program(sample()).shape == (1, 4)


def test_a_state_begins_as_the_network_states_it(tmp_path: Path) -> None:
    graph = netc.parse_graph(
        'graph @count(%x: f32[2]) -> (f32[2], f32[2]) attributes {updates = ["total"]} {\n'
        "  %total = param {value = dense<[10.0,20.0]>, trainable = false} : f32[2]\n"
        "  %0 = add(%total, %x) : f32[2]\n"
        "  return %0, %0\n"
        "}\n"
    )
    netc.compile(graph, threads=1).save(tmp_path / "count.netc")
    program = load_program(tmp_path / "count.netc")
    ones = np.ones(2, np.float32)
    assert [list(program(ones)) for _ in range(2)] == [[11, 21], [12, 22]]
    program.reset()
    assert list(program(ones)) == [11, 21]
    with pytest.raises(TypeError, match="copied"):
        copy.copy(program)


# ---- files that aren't sound ----------------------------------------------------------------------------------------


def _with_facts(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    """A file whose facts are changed, with the checksum that belongs to them."""
    (length,) = struct.unpack_from("<Q", data, 16)
    facts = json.loads(data[56 : 56 + length])
    rest = data[56 + length :]
    code_and_state = rest[: facts["code_bytes"] + facts["state_bytes"]]
    weights = data[len(data) - facts["weights_bytes"] :]
    change(facts)
    text = json.dumps(facts).encode()
    head = data[:16] + struct.pack("<Q", len(text))
    front = head + hashlib.sha256(head + text + code_and_state).digest() + text + code_and_state
    return front + bytes(-len(front) % 65536) + weights


def test_files_of_format_1_can_be_read_and_verified(saved: Path, tmp_path: Path) -> None:
    data, weights, path = saved.read_bytes(), SavedFile(saved).weights.tobytes(), tmp_path / "earlier.netc"
    sums = [hashlib.sha256(weights).hexdigest()]  # they fit one chunk
    changed = _with_facts(data[:8] + struct.pack("<I", 1) + data[12:], lambda facts: facts.update(checksums=sums))
    path.write_bytes(changed)
    load_program(path, verify=True)
    path.write_bytes(_flip(changed, len(changed) - 5))
    with pytest.raises(NetcError, match="weights are not what was written"):
        load_program(path, verify=True)


def _flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


DAMAGE: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda d: b"", "is no saved program"),
    "foreign": (lambda d: b"\x7fELF" + d[4:], "is no saved program"),
    "short head": (lambda d: d[:30], "is damaged|is no saved program"),
    "cut in the facts": (lambda d: d[:200], "is damaged: its facts are cut off"),
    "cut in the code": (lambda d: d[:9000], "is damaged: its checksum is wrong"),
    "cut in the weights": (lambda d: d[:-1], "is damaged: it has .* bytes, not"),
    "longer": (lambda d: d + b"x", "is damaged: it has .* bytes, not"),
    "newer": (lambda d: d[:8] + struct.pack("<I", 3) + d[12:], "was written by a newer netc, in format 3"),
    "facts flipped": (lambda d: _flip(d, 100), "is damaged: its"),
    "code flipped": (lambda d: _flip(d, 20000), "is damaged: its checksum is wrong"),
    "endless facts": (lambda d: d[:16] + struct.pack("<Q", 1 << 60) + d[24:], "is damaged: its facts are cut off"),
    "no facts": (lambda d: _with_facts(d, lambda f: f.pop("calls")), "is not a saved program, or is damaged"),
    "types of nothing": (
        lambda d: _with_facts(d, lambda f: f.update(inputs=[["x", "f33[2]"]])),
        "is not a tensor type",
    ),
    "nested": (
        lambda d: _with_facts(d, lambda f: f.update(target=[])),
        "is not a saved program, or is damaged",
    ),
    "arena": (lambda d: _with_facts(d, lambda f: f.update(arena_bytes=1 << 62)), "more than this machine has"),
    "another processor": (
        lambda d: _with_facts(d, lambda f: f["target"].update(triple="sparc64-unknown-linux-gnu", cpu="niagara")),
        r"is code for niagara \(sparc64-unknown-linux-gnu\), and this machine is",
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_wrong_is_said(saved: Path, tmp_path: Path, damage: str) -> None:
    change, message = DAMAGE[damage]
    path = tmp_path / "damaged.netc"
    path.write_bytes(change(saved.read_bytes()))
    with pytest.raises(NetcError, match=message) as caught:
        load_program(path)
    assert len(caught.value.diagnostics) == 1


def test_the_test_changes_facts_soundly(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "same.netc"
    path.write_bytes(_with_facts(saved.read_bytes(), lambda facts: None))
    assert load_program(path, verify=True)(sample()).shape == (1, 4)


def test_damaged_weights_are_found_where_they_are_checked(saved: Path, tmp_path: Path) -> None:
    path = tmp_path / "damaged.netc"
    path.write_bytes(_flip(saved.read_bytes(), saved.stat().st_size - 1))
    load_program(path)
    with pytest.raises(NetcError, match="its weights are not what was written, from byte"):
        load_program(path, verify=True)


def test_missing_instruction_sets_are_named(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = SavedFile(saved).facts["target"]["needs"]
    if not lacking or processor.features() is None:
        pytest.skip("nothing is needed here")
    monkeypatch.setattr(processor, "features", lambda: frozenset({"sse"}))
    with pytest.raises(NetcError, match=f"and this machine lacks .*{lacking[0]}"):
        load_program(saved)


def test_no_such_file_and_folders(tmp_path: Path) -> None:
    with pytest.raises(NetcError, match="there is no saved program"):
        load_program(tmp_path / "none.netc")
    with pytest.raises(NetcError, match="is a folder"):
        load_program(tmp_path)


def test_a_file_appears_complete_or_not_at_all(saved: Path, tmp_path: Path) -> None:
    before = sorted(os.listdir(saved.parent))
    with pytest.raises(NetcError, match="can't write"):
        netc.compile(saved.with_suffix(".net"), threads=1).save(tmp_path / "none" / "small.netc")
    assert sorted(os.listdir(saved.parent)) == before
    assert saved.read_bytes().startswith(SAVED_MAGIC)


def test_running_imports_nothing_of_the_compiler(saved: Path) -> None:
    code = (
        "import sys, netc, numpy as np; p = netc.load_program(sys.argv[1], threads=2);"
        "p(np.zeros((1, 8, 8, 3), np.float32)); print(*sys.modules)"
    )
    command = [sys.executable, "-c", code, str(saved)]
    loaded = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert "llvmlite" not in loaded
    assert not [m for m in loaded if m.startswith(("netc.compiler.graph", "netc.compiler.backends", "netc.frontend"))]


@pytest.mark.parametrize("chunk", [64, 100, 1 << 20])
def test_each_stretch_of_weights_has_its_checksum(saved: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(saved_programs, "CHUNK", chunk)
    path = saved.with_name(f"chunks{chunk}.netc")
    netc.compile(saved.with_name("small.net"), threads=2, seed=4).save(path)
    file = SavedFile(path)
    weights = file.weights.tobytes()
    wanted = [f"{zlib.crc32(weights[i : i + chunk]):08x}" for i in range(0, len(weights), chunk)]
    assert file.facts["checksums"] == wanted
    np.testing.assert_array_equal(file.weights, SavedFile(saved).weights)
    load_program(path, verify=True)

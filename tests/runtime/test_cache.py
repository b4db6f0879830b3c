"""The cache of compiled objects: damage, limits, folders that can't be written, several processes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from netc.compiler.codegen import Target
from netc.compiler.errors import NetcError
from netc.runtime.cache import ObjectCache, cache_key, compile_object, default_folder

TEXT = "define i32 @answer() {\n  ret i32 42\n}\n"


@pytest.fixture
def cache(tmp_path: Path) -> ObjectCache:
    return ObjectCache(tmp_path / "objects")


def test_the_second_compilation_is_a_hit(cache: ObjectCache) -> None:
    first = compile_object(TEXT, Target.host(), cache)
    second = compile_object(TEXT, Target.host(), cache)
    assert (first.hit, first.problem) == (False, None)
    assert (second.hit, second.problem) == (True, None)
    assert first.code == second.code


def test_keys_depend_on_text_and_target() -> None:
    keys = {cache_key(text, Target.named(cpu)) for text in (TEXT, TEXT + "\n") for cpu in ("haswell", "x86-64")}
    assert len(keys) == 4
    assert cache_key(TEXT, Target.host()) == cache_key(TEXT, Target.host())


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "header"])
def test_damaged_files_are_compiled_again(cache: ObjectCache, damage: str) -> None:
    code = compile_object(TEXT, Target.host(), cache).code
    (path,) = cache.folder.iterdir()
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(
        {
            "truncate": data[:-1],
            "flip": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
            "empty": b"",
            "header": b"x" + data[1:],
        }[damage]
    )
    again = compile_object(TEXT, Target.host(), cache)
    assert not again.hit
    assert again.code == code
    assert compile_object(TEXT, Target.host(), cache).hit


def test_the_least_recently_used_objects_go(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path, 3500)
    for number, key in enumerate("abc"):
        assert cache.put(key, bytes(1000)) is None
        os.utime(next(tmp_path.glob(f"{key}.*")), (number, number))
    assert cache.get("a") == bytes(1000)
    assert cache.put("d", bytes(1000)) is None
    assert cache.get("b") is None
    assert all(cache.get(key) for key in "acd")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 3500


def test_objects_larger_than_the_cache_are_not_kept(tmp_path: Path) -> None:
    problem = ObjectCache(tmp_path, 0).put("a", b"code")
    assert problem is not None
    assert "larger than the cache" in problem
    assert not list(tmp_path.iterdir())


def test_folders_that_can_not_be_used_are_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = ObjectCache(tmp_path / "file" / "objects")
    result = compile_object(TEXT, Target.host(), cache)
    assert result.code
    assert not result.hit
    assert result.problem is not None
    assert str(cache.folder) in result.problem


def test_several_processes_share_a_folder(tmp_path: Path) -> None:
    script = f"""
from netc.compiler.codegen import Target
from netc.runtime.cache import compile_object
for number in range(20):
    text = {TEXT!r}.replace("42", str(number))
    result = compile_object(text, Target.host())
    assert result.code and result.problem is None, result
"""
    environment = {**os.environ, "NETC_CACHE_DIR": str(tmp_path), "NETC_CACHE_BYTES": "8000"}
    workers = [subprocess.Popen([sys.executable, "-c", script], env=environment) for _ in range(2)]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    assert not list(tmp_path.glob("*.tmp"))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 8000


def test_the_environment_chooses_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NETC_CACHE_DIR", str(tmp_path / "a"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "b"))
    monkeypatch.setenv("NETC_CACHE_BYTES", "1000")
    assert ObjectCache.default() == ObjectCache(tmp_path / "a", 1000)
    monkeypatch.delenv("NETC_CACHE_DIR")
    assert default_folder() == tmp_path / "b" / "netc"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_folder().name == "netc"
    monkeypatch.setenv("NETC_CACHE_BYTES", "many")
    with pytest.raises(NetcError, match="NETC_CACHE_BYTES is `many`"):
        ObjectCache.default()

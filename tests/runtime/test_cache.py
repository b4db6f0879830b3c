"""The cache of compiled objects: damage, limits, folders that can't be written, several processes."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from netc.compiler.backends import find_target
from netc.compiler.backends.cpu.codegen import machine
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.compiler.errors import InternalError, NetcError
from netc.runtime.cache import CacheWarning, CompiledObject, ObjectCache, cache_key, compile_object, default_folder
from tests.surroundings import files_of_at_most

TEXT = "define i32 @answer() {\n  ret i32 42\n}\n"


@pytest.fixture
def cache(tmp_path: Path) -> ObjectCache:
    return ObjectCache(tmp_path / "objects")


def test_the_second_compilation_is_a_hit(cache: ObjectCache) -> None:
    first = compile_object(TEXT, host_target(), cache)
    second = compile_object(TEXT, host_target(), cache)
    assert (first.hit, first.problem) == (False, None)
    assert (second.hit, second.problem) == (True, None)
    assert first.code == second.code


def test_keys_depend_on_text_and_target() -> None:
    keys = {cache_key(text, find_target(cpu)) for text in (TEXT, TEXT + "\n") for cpu in ("haswell", "x86-64")}
    assert len(keys) == 4
    assert cache_key(TEXT, host_target()) == cache_key(TEXT, host_target())


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "header", "another key", "a part"])
def test_damaged_files_are_compiled_again(cache: ObjectCache, damage: str) -> None:
    code = compile_object(TEXT, host_target(), cache).code
    (path,) = cache.folder.iterdir()
    assert cache.put("other", b"other code") is None
    data = path.read_bytes()
    middle = len(data) // 2
    path.write_bytes(
        {
            "truncate": data[:-1],
            "flip": data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :],
            "empty": b"",
            "header": b"x" + data[1:],
            "another key": (cache.folder / f"other{path.suffix}").read_bytes(),
            "a part": data[:-1000],
        }[damage]
    )
    again = compile_object(TEXT, host_target(), cache)
    assert not again.hit
    assert again.code == code
    assert compile_object(TEXT, host_target(), cache).hit


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
    result = compile_object(TEXT, host_target(), cache)
    assert result.code
    assert not result.hit
    assert result.problem is not None
    assert str(cache.folder) in result.problem


def bind(path: Path) -> None:
    with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as server:  # their names must be short
        server.bind(path.name)


FOREIGN_ENTRIES: dict[str, Callable[[Path], object]] = {
    "others may write": lambda entry: entry.chmod(0o602),
    "the group may write": lambda entry: entry.chmod(0o620),
    "a link": lambda entry: (entry.rename(entry.with_name("x")), entry.symlink_to("x")),
    "a link to a device": lambda entry: (entry.unlink(), entry.symlink_to("/dev/zero")),
    "a link to itself": lambda entry: (entry.unlink(), entry.symlink_to(entry)),
    "a pipe": lambda entry: (entry.unlink(), os.mkfifo(entry)),
    "a socket": lambda entry: (entry.unlink(), bind(entry)),
    "a folder": lambda entry: (entry.unlink(), entry.mkdir()),
    "somebody's": lambda entry: os.chown(entry, 65534, -1),
}
FOREIGN_FOLDERS: dict[str, Callable[[Path], object]] = {
    "others may write": lambda folder: folder.chmod(0o707),
    "all may write": lambda folder: folder.chmod(0o1777),
    "the group may write": lambda folder: folder.chmod(0o770),
    "somebody's": lambda folder: os.chown(folder, 65534, -1),
}


def compiled_with_a_warning(cache: ObjectCache, place: Path) -> CompiledObject:
    reasons = "(is no regular file|can be written by others|belongs to user)"
    said = f"not taken from the cache of compiled objects: {re.escape(str(place))} {reasons}"
    with pytest.warns(CacheWarning, match=said) as warnings:
        found = compile_object(TEXT, host_target(), cache)
    assert len(warnings) == 1
    return found


@pytest.mark.parametrize("kind", FOREIGN_ENTRIES)
def test_entries_that_others_could_have_written_are_replaced(cache: ObjectCache, kind: str) -> None:
    skip_unless_files_can_be_given_away(kind)
    code = compile_object(TEXT, host_target(), cache).code
    (entry,) = cache.folder.iterdir()
    FOREIGN_ENTRIES[kind](entry)
    again = compiled_with_a_warning(cache, entry)
    assert (again.code, again.hit) == (code, False)
    if kind == "a folder":
        assert again.problem == f"{cache.folder}: Is a directory"
    else:
        assert compile_object(TEXT, host_target(), cache) == CompiledObject(code, True)


@pytest.mark.parametrize("kind", FOREIGN_FOLDERS)
def test_folders_that_others_could_have_written_are_passed_over(cache: ObjectCache, kind: str) -> None:
    skip_unless_files_can_be_given_away(kind)
    code = compile_object(TEXT, host_target(), cache).code
    FOREIGN_FOLDERS[kind](cache.folder)
    for _ in range(2):
        again = compiled_with_a_warning(cache, cache.folder)
        assert (again.code, again.hit) == (code, False)
        assert again.problem is not None
        assert "let NETC_CACHE_DIR name a folder of your own" in again.problem
    assert len(list(cache.folder.iterdir())) == 1


def skip_unless_files_can_be_given_away(kind: str) -> None:
    if kind == "somebody's" and os.geteuid() != 0:
        pytest.skip("only root gives files away")


def test_folders_are_made_for_their_owner_alone(cache: ObjectCache) -> None:
    before = os.umask(0)
    try:
        assert cache.put("a", b"code") is None
    finally:
        os.umask(before)
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(next(cache.folder.iterdir()).stat().st_mode) == 0o600
    assert cache.get("a") == b"code"


def test_only_objects_are_trimmed(cache: ObjectCache) -> None:
    cache.folder.mkdir(0o700)
    for name in ("notes.txt", "other.tmp"):
        (cache.folder / name).write_bytes(bytes(1000))
        os.utime(cache.folder / name, (0, 0))
    (cache.folder / "stale.netc-part").write_bytes(bytes(1000))
    os.utime(cache.folder / "stale.netc-part", (0, 0))
    (cache.folder / "link.netc-object").symlink_to(cache.folder / "notes.txt")
    small = ObjectCache(cache.folder, 1200)
    assert small.put("a", bytes(1000)) is None
    assert sorted(path.name for path in cache.folder.iterdir()) == [
        "a.netc-object",
        "link.netc-object",
        "notes.txt",
        "other.tmp",
    ]
    os.utime(cache.folder / "a.netc-object", (1 << 40, 1 << 40))  # a clock that was wrong
    assert small.put("b", bytes(1000)) is None
    assert small.get("a") == bytes(1000)


def test_full_disks_leave_no_parts(cache: ObjectCache) -> None:
    with files_of_at_most(100):
        assert cache.put("a", bytes(1000)) == f"{cache.folder}: File too large"
    assert not list(cache.folder.iterdir())
    assert cache.get("a") is None


def test_several_processes_share_a_folder(tmp_path: Path) -> None:
    script = f"""
from netc.compiler.backends.cpu.codegen.host import host_target
from netc.runtime.cache import compile_object
for number in range(20):
    text = {TEXT!r}.replace("42", str(number))
    result = compile_object(text, host_target())
    assert result.code and result.problem is None, result
"""
    environment = {**os.environ, "NETC_CACHE_DIR": str(tmp_path), "NETC_CACHE_BYTES": "8000"}
    workers = [subprocess.Popen([sys.executable, "-c", script], env=environment) for _ in range(2)]
    assert [worker.wait(60) for worker in workers] == [0, 0]
    assert not list(tmp_path.glob("*part"))
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 8000


def test_a_cache_of_no_bytes_gives_nothing(tmp_path: Path) -> None:
    assert ObjectCache(tmp_path).put("key", b"code") is None
    assert ObjectCache(tmp_path).get("key") == b"code"
    assert ObjectCache(tmp_path, 0).get("key") is None


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


def test_only_verified_modules_become_objects(tmp_path: Path) -> None:
    """What was refused once isn't kept: it is refused again."""
    cache, target = ObjectCache(tmp_path), host_target()
    text = machine.header(target) + "define i32 @f() {\n  ret i32 1\n}\n"
    asked: list[bool] = []

    def refuse() -> None:
        asked.append(True)
        raise InternalError("no")

    for _ in range(2):
        with pytest.raises(InternalError, match="no"):
            compile_object(text, target, cache, verify=refuse)
    assert not compile_object(text, target, cache, verify=lambda: asked.append(True)).hit
    assert compile_object(text, target, cache, verify=refuse).hit
    assert len(asked) == 3

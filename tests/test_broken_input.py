"""Whatever stands in a file or a text, readers take it or raise one `NetcError`: never anything else, never a hang."""

from __future__ import annotations

import os
import random
import signal
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from fuzz_readers import FILES, TEXTS, FileReader, TextReader, graphs, loops

from netc.compiler.errors import NetcError

SECONDS = 5
"""Longest time for one input."""
SEEDS = 20
"""Draws of each random damage."""

Damage = Callable[[bytes, random.Random], bytes]


def _change(data: bytes, rng: random.Random, make: Callable[[int], bytes], count: int = 4) -> bytes:
    for _ in range(count):
        at, length = rng.randrange(len(data) + 1), rng.randrange(5)
        data = data[:at] + make(length) + data[at + length :]
    return data


RANDOM: Mapping[str, Damage] = {
    "cut": lambda data, rng: data[: rng.randrange(len(data))],
    "flipped": lambda data, rng: _change(data, rng, lambda n: rng.randbytes(n)),
    "shifted": lambda data, rng: _change(data, rng, lambda n: rng.randbytes(n + 1), 1),
    "zeroed": lambda data, rng: _change(data, rng, lambda n: bytes(n), 8),
    "full": lambda data, rng: _change(data, rng, lambda n: b"\xff" * n, 8),
    "noise": lambda data, rng: rng.randbytes(rng.randrange(300)),
    "digits": lambda data, rng: _change(data, rng, lambda n: b"9" * 400, 1),
}
_JSON = (
    *("null", "true", "1", "1e999", "NaN", "-Infinity", '"x"', "[]", "{}", "[[1, 2]]"),
    *('{"format": 1}', '{"ranges": 1}', '{"ranges": {"a": 1}}', '{"format": 1, "format": 3}'),
    *('{"format": 1, "recipe": []}', '{"format": 2, "recipe": {}}'),
    '{"ranges": {"a": [2, 1]}, "method": 1, "samples": "x"}',
    '{"ranges": {"a": [1e999, 1]}, "method": 1, "samples": 1}',
)
_MAGIC = (
    *(b"\x89PNG\r\n\x1a\n", b"PK\3\4", b"PK\5\6", b"\x1f\x8b\x08", b"GIF89a", b"\xff\xd8\xff", b"\x7fELF"),
    b"\x93NUMPY",
)
FIXED: Mapping[str, bytes] = {
    "empty": b"",
    "blank": b" ",
    "lines": b"\n" * 5000,
    "null": b"\0",
    "nulls": bytes(5000),
    "mark": b"\xef\xbb\xbf",
    "two bytes a character": "net".encode("utf-16"),
    "not UTF-8": b"\xc3\x28\xa0\xa1",
    "surrogate": b'"\xed\xa0\x80"',
    "escapes": b"\x1b[2J\x1b]0;x\x07\r\n\x9b31m",
    "long line": b"x" * 100_000,
    "long number": b"9" * 100_000,
    **{f"nested {c.decode()}": c * 20_000 for c in (b"[", b"{", b"(", b'{"a":', b"[[", b"-", b"not ")},
    **{f"json {text}": text.encode() for text in _JSON},
    **{f"magic {magic!r}": magic for magic in _MAGIC},
    **{f"magic {magic!r} and nulls": magic + bytes(100) for magic in _MAGIC},
    "header of weights": (1 << 62).to_bytes(8, "little") + b"{",
    "weights without names": (2).to_bytes(8, "little") + b"{}",
    "weights of a wrong type": (11).to_bytes(8, "little") + b'{"a": null}',
    "flatbuffer": b"\x04\0\0\0TFL3" + b"\xff" * 64,
    "flatbuffer of nulls": bytes(4) + b"TFL3" + bytes(64),
    "sizes of pictures": b"\0\0\x08\x03" + b"\xff" * 12,
}


@contextmanager
def in_time(what: str) -> Iterator[None]:
    def fail(*_: object) -> None:
        raise AssertionError(f"{what} takes more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def read(what: str, call: Callable[[], object]) -> str | None:
    """The message of a refused input; None if it is taken."""
    try:
        with in_time(what), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call()
    except NetcError as error:
        return str(error)
    except Exception as error:
        raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
    return None


def prepared(reader: FileReader, folder: Path) -> Path:
    for name, content in (reader.beside or {}).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content())
    path = folder / reader.name
    path.parent.mkdir(exist_ok=True)
    return path


@pytest.mark.parametrize("name", FILES)
def test_sound_files_are_taken(name: str, tmp_path: Path) -> None:
    path = prepared(FILES[name], tmp_path)
    path.write_bytes(FILES[name].sound())
    refused = read(name, lambda: FILES[name].read(path))
    assert (refused is None) is (name != "checkpoint")  # whose checksum is missing


@pytest.mark.parametrize("name", FILES)
def test_broken_files(name: str, tmp_path: Path) -> None:
    reader = FILES[name]
    path, sound, rng = prepared(reader, tmp_path), reader.sound(), random.Random(name)
    damaged = {f"{kind} {i}": damage(sound, rng) for kind, damage in RANDOM.items() for i in range(SEEDS)}
    refused = 0
    for what, data in {**FIXED, **damaged, "twice": sound + sound, "backwards": sound[::-1]}.items():
        path.write_bytes(data)
        refused += read(f"{name}, {what}", lambda: reader.read(path)) is not None
    assert refused > 40


def _places(path: Path) -> Iterator[tuple[str, Path]]:
    """Things that are no files, at `path`."""
    yield "missing", path
    path.mkdir()
    yield "folder", path
    path.rmdir()
    os.mkfifo(path)
    yield "pipe", path
    path.unlink()
    for what, target in {
        "circle": path,
        "dangling": path.with_name("nothing"),
        "nothing": Path("/dev/null"),
        "endless": Path("/dev/zero"),
        "noise": Path("/dev/urandom"),
    }.items():
        path.symlink_to(target)
        yield what, path
        path.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        yield "socket", path
    path.unlink()
    yield "long name", path.with_name("x" * 5000 + path.suffix)
    yield "null in the name", path.with_name("x\0" + path.suffix)


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_file(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = prepared(FILES[name], tmp_path)
    if len(str(path)) > 100:
        pytest.skip("sockets need a short path")
    for what, place in _places(path):
        refused = read(f"{name}, {what}", lambda place=place: FILES[name].read(place))
        if name not in ("metrics", "labels"):  # a run may have no metrics, a net no file of labels
            assert refused is not None, f"{name}, {what}"


def mutants(reader: TextReader, rng: random.Random, count: int) -> Iterator[str]:
    signs = (*"()[]{}=,:%@\"'\\<>-+.# \n\0\x1b\ud800é", "9" * 50, "1e999", "nan", "true", "none", "a", "[" * 300)
    for _ in range(count):
        text = rng.choice(reader.sound)
        for _ in range(rng.randint(1, 3)):
            at, length = rng.randrange(len(text) + 1), rng.choice((0, 0, 1, 2, 9))
            text = text[:at] + rng.choice((*signs, text[at : at + 20])) + text[at + length :]
        yield text


@pytest.mark.parametrize("name", TEXTS)
def test_broken_texts(name: str) -> None:
    rng = random.Random(name)
    for text in (*(f.decode("utf-8", "replace") for f in FIXED.values()), *mutants(TEXTS[name], rng, 150)):
        read(f"{name}: {text[:80]!r}", lambda text=text: TEXTS[name].read(text))


@pytest.mark.parametrize("reader", [loops, graphs])
def test_broken_ir(reader: Callable[[], TextReader]) -> None:
    rng, made = random.Random(0), reader()
    for text in (*(f.decode("utf-8", "replace") for f in FIXED.values()), *mutants(made, rng, 100)):
        read(f"{text[:80]!r}", lambda text=text: made.read(text))

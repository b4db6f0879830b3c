"""Saved programs: code, packed weights and what is to be known of them in one file, which is mapped, not read.

    head      magic, version of the format, length of the facts, SHA-256 of all that stands before the weights
    facts     JSON: inputs, outputs, state, labels, sizes, processor, version of netc
    code      a linked image (`compiler/image.py`), or objects for LLVM's linker
    state     what the state of the network begins with
    weights   at a multiple of `PAGE`: as the code reads them

What stands before the weights is read and checked whenever a file is opened. Weights are mapped: processes share their
pages, and nothing is copied. Their checksums, a CRC-32 for each `CHUNK` (in format 1 a SHA-256), are for
`verify_weights`: to check them costs as much as to read them. A saved program is code, and is run as such: its
checksums find damage, not intent.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import numpy as np

from ..compiler.errors import Location, NetcError
from ..compiler.files import replacing
from ..compiler.image import PAGE, SAVED_MAGIC, SAVED_SUFFIX, Image, LoadedObject
from ..compiler.reading import absolute, first_bytes, open_file, reading
from ..compiler.signature import NamedType, Signature
from ..compiler.types import TensorType, parse_type
from .host import available_cores, physical_memory
from .image import LoadedImage
from .processor import missing_features
from .program import ENTRIES, Array, Program

VERSION = 2
"""Of the format. A change that older readers don't understand raises it."""
_HEAD = struct.Struct("<8sIIQ")
_DIGEST = hashlib.sha256().digest_size
MAX_FACTS = 1 << 27
"""Bytes of facts that are read."""
MAX_CODE = 1 << 30
"""Bytes of code, and of state, that are read."""
CHUNK = 1 << 23
"""Bytes of weights that have a checksum."""
_BLANK = "0" * 8
"""As long as a checksum."""
_WHAT = "saved program"
_CURE = "`netc compile NET -o FILE.netc` writes one"


@dataclass(frozen=True, slots=True)
class SavedCall:
    """A call of a kernel, for profiles."""

    label: str
    macs: int
    location: Location | None


@dataclass(frozen=True, slots=True)
class SavedPlan:
    """What a running program must know, as a module says it."""

    name: str
    inputs: tuple[tuple[str, TensorType], ...]
    outputs: tuple[tuple[str, TensorType], ...]
    calls: tuple[SavedCall, ...]
    arena_bytes: int
    weights_bytes: int
    state: tuple[tuple[str, TensorType, int], ...]
    state_bytes: int


# ---- writing --------------------------------------------------------------------------------------------------------


def write_saved(
    path: str | os.PathLike[str], facts: Mapping[str, Any], code: bytes, state: Array, weights: Array
) -> None:
    """Write a saved program: the file appears complete or not at all. `facts` are what `SavedFile` reads."""
    with replacing(path) as part, part.open("wb") as file:
        write_to(file, facts, code, state, weights)


def write_to(file: IO[bytes], facts: Mapping[str, Any], code: bytes, state: Array, weights: Array) -> None:
    """Write a saved program into an empty file; while weights are written, other threads find their checksums."""
    from concurrent.futures import ThreadPoolExecutor  # which nobody needs who reads

    flat = np.ascontiguousarray(weights).data.cast("B") if weights.size else memoryview(b"")
    known = {**facts, "weights_bytes": len(flat)}
    blank = front(known, code, state, [_BLANK for _ in _chunks(flat)])
    start = -(-len(blank) // PAGE) * PAGE if flat else 0
    with ThreadPoolExecutor(available_cores()) as pool:
        written = pool.submit(write_at, file, start, flat)
        found = list(pool.map(checksum, _chunks(flat)))
        written.result()
    write_at(file, 0, front(known, code, state, found))


def front(facts: Mapping[str, Any], code: bytes, state: Array, checksums: Sequence[str], least: int = 0) -> bytes:
    """What stands before the weights, whose checksums these are: with blanks behind the facts, `least` bytes long."""
    held = state.tobytes()
    text = _facts_text({**facts, "code_bytes": len(code)}, checksums)
    text = text.ljust(least - _HEAD.size - _DIGEST - len(code) - len(held))
    head = _HEAD.pack(SAVED_MAGIC, VERSION, 0, len(text))
    return b"".join((head, _digest(head, text, code, held), text, code, held))


def write_at(file: IO[bytes], place: int, data: bytes | memoryview) -> None:
    """Write bytes at a place of a file."""
    file.seek(place)
    file.write(data)


def _facts_text(facts: Mapping[str, Any], checksums: Sequence[str]) -> bytes:
    return json.dumps({**facts, "checksums": checksums}, separators=(",", ":")).encode()


def _digest(*parts: bytes) -> bytes:
    hashed = hashlib.sha256()
    for part in parts:
        hashed.update(part)
    return hashed.digest()


def _chunks(weights: memoryview) -> list[memoryview]:
    return [weights[i : i + CHUNK] for i in range(0, len(weights), CHUNK)]


def checksum(chunk: memoryview) -> str:
    """That of a chunk of weights: it is to find damage, in a third of the time of a SHA-256 at most."""
    return f"{zlib.crc32(chunk):08x}"


def _digest_of(chunk: memoryview) -> str:
    """As `checksum`, in format 1."""
    return hashlib.sha256(chunk).hexdigest()


def _weights_start(facts: int, code: int, state: int) -> int:
    return -(-(_HEAD.size + _DIGEST + facts + code + state) // PAGE) * PAGE


# ---- reading --------------------------------------------------------------------------------------------------------


def is_saved_name(path: str | os.PathLike[str]) -> bool:
    """Whether a file is called as saved programs are."""
    return os.fspath(path).lower().endswith(SAVED_SUFFIX)


def is_saved(path: str | os.PathLike[str]) -> bool:
    """Whether a file is called as saved programs are, or begins like one."""
    return is_saved_name(path) or begins_like_saved(path)


def begins_like_saved(path: str | os.PathLike[str]) -> bool:
    """Whether there is a file that begins as saved programs do."""
    return first_bytes(path, len(SAVED_MAGIC)) == SAVED_MAGIC


class SavedFile:
    """A saved program that was found sound, but for its weights, which are only mapped.

    Raises `NetcError` for anything else: another kind of file, a damaged one, one of a newer netc.
    """

    def __init__(self, path: str | os.PathLike[str], file: IO[bytes] | None = None) -> None:
        """`file` is what was opened by other means; it is closed."""
        self.path = os.fspath(path)
        with (
            file or open_file(path, _WHAT) as stream,
            reading(path, _WHAT, "`netc compile NET -o FILE.netc` writes one"),
        ):
            self.facts, self.code, self._state = self._read(stream)
            self.weights = self._mapped(stream)
            self.plan = _plan(self.facts)
            self.signature = _signature(self.facts["network"])
            names, note = self.facts["labels"]
            self.labels: tuple[str, ...] | None = None if names is None else tuple(map(str, names))
            self.labels_note: str | None = note
            self.note: str | None = self.facts["note"]
            self.drawn: int | None = self.facts["drawn"]
            self.threads, self.batch = int(self.facts["threads"]), int(self.facts["batch"])
            self.macs, self.precision = int(self.facts["macs"]), str(self.facts["precision"])
            self.cpu, self.triple = str(self.facts["target"]["cpu"]), str(self.facts["target"]["triple"])
            self._needs = tuple(map(str, self.facts["target"]["needs"]))
            self._exports, self._slots = self.facts["exports"], tuple(map(str, self.facts["slots"]))

    def _read(self, stream: IO[bytes]) -> tuple[Mapping[str, Any], bytes, bytes]:
        """Facts, code and state, which have the checksum that they should have."""
        head, digest = stream.read(_HEAD.size), stream.read(_DIGEST)
        if len(head) < _HEAD.size or not head.startswith(SAVED_MAGIC):
            raise NetcError(f"{self.path} is no saved program", hint=_CURE)
        _, self._version, _, length = _HEAD.unpack(head)
        if self._version > VERSION:
            written = f"was written by a newer netc, in format {self._version}"
            problem = f"{self.path} {written}; this one reads format {VERSION}"
            raise NetcError(problem, hint="compile it again, or update netc")
        text = stream.read(length) if length <= MAX_FACTS else b""
        if len(text) != length:
            raise self._damaged("its facts are cut off")
        try:
            facts = json.loads(text)
            code_bytes, state_bytes = int(facts["code_bytes"]), int(facts["state_bytes"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self._damaged("its facts can't be read") from None
        if not (0 <= code_bytes <= MAX_CODE and 0 <= state_bytes <= MAX_CODE):
            raise self._damaged("its facts can't be read")
        code, state = stream.read(code_bytes), stream.read(state_bytes)
        if _digest(head, text, code, state) != digest:
            raise self._damaged("its checksum is wrong")
        self._start = _weights_start(length, code_bytes, state_bytes)
        return facts, code, state

    def _mapped(self, stream: IO[bytes]) -> Array:
        size, there = int(self.facts["weights_bytes"]), os.fstat(stream.fileno()).st_size
        if size and there != self._start + size:
            raise self._damaged(f"it has {there:,} bytes, not {self._start + size:,}")
        if not size:
            return np.zeros(0, np.uint8)
        mapped = mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ, offset=self._start)
        return np.frombuffer(mapped, np.uint8)

    def _damaged(self, how: str) -> NetcError:
        return NetcError(f"saved program {self.path} is damaged: {how}", hint="compile it again")

    def verify_weights(self) -> None:
        """Compare the weights with their checksums; raises `NetcError` that says where they differ."""
        chunks = _chunks(self.weights.data if self.weights.size else memoryview(b""))
        found = list(map(_digest_of if self._version < VERSION else checksum, chunks))
        stated = self.facts["checksums"]
        wrong = [i for i, (a, b) in enumerate(zip(found, stated, strict=False)) if a != b]
        if wrong or len(found) != len(stated):
            first = self._start + CHUNK * (wrong[0] if wrong else 0)
            raise self._damaged(f"its weights are not what was written, from byte {first:,} on")

    def initial(self) -> Mapping[str, Array]:
        """What the state that the network states begins with."""
        stated = set(self.facts["initial"])
        region = np.frombuffer(self._state, np.uint8)
        return {
            name: region[offset : offset + type_.bytes].view(type_.dtype.numpy).reshape(type_.shape)
            for name, type_, offset in self.plan.state
            if name in stated
        }

    def check_machine(self) -> None:
        """Raise `NetcError` unless this machine can run the code, and has the memory for it."""
        system, processor = os.uname().sysname.lower(), os.uname().machine.replace("arm64", "aarch64")
        lacking = missing_features(self._needs)
        foreign = self.triple.split("-")[0] != processor or ("linux" in self.triple) != (system == "linux")
        if foreign or lacking:
            reason = f"lacks {', '.join(lacking)}" if lacking and not foreign else f"is {processor}, {system}"
            problem = f"{self.path} is code for {self.cpu} ({self.triple}), and this machine {reason}"
            raise NetcError(problem, hint="compile the network here")
        if self.plan.arena_bytes > physical_memory():
            needed = self.plan.arena_bytes / 1e9
            raise NetcError(f"{self.path} works on {needed:.3g} GB, more than this machine has")

    def load(self) -> LoadedObject:
        """Its code in this process."""
        if self._exports is not None:
            return LoadedImage(Image(self.code, self._slots, self._exports))
        from ..compiler.backends import backend_of  # LLVM links for processors that netc's linker doesn't know
        from ..compiler.backends.cpu.codegen.host import host_target

        return backend_of(host_target()).load(self.code, host_target(), ENTRIES)


def _plan(facts: Mapping[str, Any]) -> SavedPlan:
    return SavedPlan(
        str(facts["network"]["name"]),
        _types(facts["inputs"]),
        _types(facts["outputs"]),
        tuple(SavedCall(str(label), int(macs), _location(place)) for label, macs, place in facts["calls"]),
        int(facts["arena_bytes"]),
        int(facts["weights_bytes"]),
        tuple((str(name), parse_type(type_), int(offset)) for name, type_, offset in facts["state"]),
        int(facts["state_bytes"]),
    )


def _signature(network: Mapping[str, Any]) -> Signature:
    inputs, results, states = (
        tuple(NamedType(parse_type(type_), name) for name, type_ in network[kind])
        for kind in ("inputs", "results", "states")
    )
    attributes = MappingProxyType({name: _tuples(value) for name, value in network["attributes"].items()})
    return Signature(str(network["name"]), inputs, results, states, attributes, bool(network["gives_probabilities"]))


def _types(pairs: Sequence[Sequence[str]]) -> tuple[tuple[str, TensorType], ...]:
    return tuple((str(name), parse_type(type_)) for name, type_ in pairs)


def _location(place: Sequence[Any] | None) -> Location | None:
    return None if place is None else Location(str(place[0]), int(place[1]), int(place[2]))


def _tuples(value: Any) -> Any:
    """Lists as tuples, which attributes of graphs hold."""
    if isinstance(value, dict):
        return {name: _tuples(item) for name, item in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


class SavedProgram(Program):
    """A program from a file, whose weights are mapped: they can't be changed, and processes share them.

    `signature` says what goes in and comes out, `labels` are the names of the classes, if there are any.
    """

    def __init__(self, file: SavedFile, threads: int | None = None) -> None:
        """`threads` None: as many as it was compiled for, where there are so many cores."""
        file.check_machine()
        self._file = file
        self.signature = file.signature
        self.labels = file.labels
        count = min(file.threads, available_cores()) if threads is None else threads
        self._begin(file.plan, file.load(), file.weights, count, file.initial())
        self._fill_state({})

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled as the path of its file."""
        if self.state:
            return super().__reduce__()
        return _loaded, (absolute(self._file.path), self.threads)


def _loaded(path: str, threads: int) -> SavedProgram:
    return SavedProgram(SavedFile(path), threads)


def load_program(path: str | os.PathLike[str], *, threads: int | None = None, verify: bool = False) -> SavedProgram:
    """Load a program that `netc compile -o FILE.netc` or `program.save("FILE.netc")` wrote.

    Only load files that you trust: they hold machine code, which runs with your rights. `threads` is how many a run
    uses (None: as many as it was compiled for, at most one for each core). `verify` compares the weights with their
    checksums, too. The file must stay as it is while the program lives. Raises `NetcError` for a file that is damaged,
    no saved program, or for another machine.
    """
    file = SavedFile(Path(path))
    if verify:
        file.verify_weights()
    return SavedProgram(file, threads)

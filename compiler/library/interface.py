"""The C interface of a library as data: tensors, memory, weights, status codes. Header, code and facts are made of it.

docs/libraries.md states it for people.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

from ..errors import NetcError
from ..graph.ir import Array
from ..modules.module import Module
from ..types import TensorType

ABI = 1
"""The version of the interface: a library of another one is called otherwise."""
ALIGNMENT = 64
"""Of workspace and weights in bytes, where the machine is content with no less."""
CODE = "{{code}}"
"""Stands in the text of a library for the hash of its code, until that is known."""
WORKER_BYTES = 256
"""What `runtime.ll` notes of a thread."""
HEAD_BYTES = 64
"""Before the arena in a workspace that has a head, and before the weights in their file."""


class Status(enum.IntEnum):
    """What the functions of a library return."""

    OK = 0
    NULL_POINTER = 1
    MISALIGNED = 2
    WEIGHTS_SIZE = 3
    OTHER_WEIGHTS = 4
    DAMAGED_WEIGHTS = 5
    NO_WEIGHTS = 6
    WRONG_ANSWER = 7
    NO_THREADS = 8
    WRONG_PICTURE = 9
    NO_STATE = 10


MEANINGS: Mapping[Status, str] = {
    Status.OK: "done",
    Status.NULL_POINTER: "a pointer is null",
    Status.MISALIGNED: "workspace or weights are not aligned",
    Status.WEIGHTS_SIZE: "the weights have another size",
    Status.OTHER_WEIGHTS: "the weights belong to other code",
    Status.DAMAGED_WEIGHTS: "the weights are damaged",
    Status.NO_WEIGHTS: "no weights are bound to the workspace",
    Status.WRONG_ANSWER: "the self-test gave another answer",
    Status.NO_THREADS: "threads could not be started, or were stopped",
    Status.WRONG_PICTURE: "a picture has no such size or number of channels",
    Status.NO_STATE: "the state was not reset before the first run",
}


class Task(enum.Enum):
    """What a library does: the name of its function behind the prefix."""

    RUN = "run"
    """Outputs of inputs."""
    TRAIN = "train_step"
    """A step of training: the last input are labels, outputs are metrics, the state is what is trained."""


class Storage(enum.Enum):
    """Where a library has its weights."""

    EMBEDDED = "embedded"
    """Read-only data of the object."""
    SECTION = "section"
    """Read-only data of the object in a section with a name, which a linker script places."""
    FILE = "file"
    """A file beside the library, which the caller loads or maps."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output. `name` is the network's, `identifier` that of C."""

    name: str
    identifier: str
    type: TensorType


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A library for one network."""

    prefix: str
    """Of all its names, `net_run`."""
    name: str
    """What the network is called."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    arena_bytes: int
    state_bytes: int
    weights_bytes: int
    """As packed for the code, the initial state behind them; without the head of a file."""
    storage: Storage
    section: str | None = None
    """That of weights in `Storage.SECTION`."""
    threads: int = 1
    """How many threads a context may have; with 1 there are no contexts."""
    web_workers: bool = False
    """Threads are workers that JavaScript starts, not pthreads."""
    alignment: int = ALIGNMENT
    task: Task = Task.RUN
    state: tuple[tuple[str, TensorType, int], ...] = ()
    """Name, type and offset in the state of each part of it."""
    inputs_in_arena: tuple[int, ...] = ()
    """Where a run finds its inputs in the arena, which it overwrites; empty if they are the caller's."""

    @property
    def input_offsets(self) -> tuple[int, ...]:
        """Where a run finds its inputs in the workspace; empty if they are the caller's."""
        return tuple(self.arena_offset + offset for offset in self.inputs_in_arena)

    @property
    def head_bytes(self) -> int:
        """The part of the workspace that says which weights are bound to it, and whether it holds a state."""
        return HEAD_BYTES if self.storage is Storage.FILE or self.state_bytes else 0

    @property
    def stored_bytes(self) -> int:
        """Of the weights' file with its head, or of the data in the object."""
        return self.weights_bytes + (HEAD_BYTES if self.storage is Storage.FILE else 0)

    @property
    def arena_offset(self) -> int:
        """Where the arena starts in a workspace; the state is before it."""
        return self.head_bytes + self.state_bytes

    @property
    def workspace_bytes(self) -> int:
        """All memory of a run besides its inputs, its outputs and the stack; C has no arrays without elements."""
        return max(self.arena_offset + self.arena_bytes, self.alignment)

    @property
    def has_pthreads(self) -> bool:
        """Its threads are those of POSIX."""
        return self.threads > 1 and not self.web_workers

    @property
    def context_bytes(self) -> int:
        """Size of a context for several threads, if there are any, with what describes JavaScript's workers."""
        if self.threads == 1:
            return 0
        return self.workers_offset + WORKER_BYTES * self.threads if self.web_workers else self._plain_context

    @property
    def workers_offset(self) -> int:
        """Where a context has the descriptions of its workers, if these are JavaScript's."""
        return _aligned(self._plain_context)

    @property
    def _plain_context(self) -> int:
        """The context of `runtime.ll` and pointers."""
        return 576 + 8 * (2 + len(self.inputs) + len(self.outputs))

    @property
    def selftest_offsets(self) -> tuple[int, ...]:
        """Where the self-test's buffers hold the inputs, then the outputs; at the end, their bytes in all."""
        sizes = [_aligned(tensor.type.bytes) for tensor in (*self.inputs, *self.outputs)]
        return tuple(accumulate(sizes, initial=0))

    @property
    def state_places(self) -> tuple[tuple[str, TensorType, int], ...]:
        """Name, type and offset in the workspace of each part of the state."""
        return tuple((name, type_, self.head_bytes + offset) for name, type_, offset in self.state)

    @property
    def state_offset(self) -> int:
        """Where the weights hold the initial state."""
        return self.weights_bytes - self.state_bytes


def interface_of(
    module: Module,
    prefix: str,
    *,
    storage: Storage = Storage.EMBEDDED,
    section: str | None = None,
    threads: int = 1,
    web_workers: bool = False,
    alignment: int = ALIGNMENT,
    outputs: Sequence[str] = (),
    task: Task = Task.RUN,
) -> Interface:
    """The interface of a module's library; `outputs` are the names of its outputs, where the network has any.

    Raises `NetcError` for settings that exclude each other.
    """
    names = tuple(outputs) or tuple(name for name, _ in module.outputs)
    given = zip(names, (t for _, t in module.outputs), strict=True)
    if section is not None and storage is not Storage.SECTION:
        raise NetcError("only weights in a section have the name of one")
    return Interface(
        prefix=prefix,
        name=module.name,
        inputs=_tensors(module.inputs, "input"),
        outputs=_tensors(tuple(given), "output"),
        arena_bytes=module.arena_bytes,
        state_bytes=_aligned(module.state_bytes),
        weights_bytes=_aligned(module.weights_bytes) + _aligned(module.state_bytes),
        storage=storage,
        section=section,
        threads=threads,
        web_workers=web_workers,
        alignment=alignment,
        task=task,
        state=tuple(module.state),
        inputs_in_arena=module.input_offsets,
    )


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT


def _tensors(given: Sequence[tuple[str, TensorType]], fallback: str) -> tuple[Tensor, ...]:
    taken: set[str] = set()
    tensors = []
    for number, (name, type_) in enumerate(given):
        base = identifier(name) or f"{fallback}{number}"
        base = f"{base}_" if base in _RESERVED else base
        free, count = base, 1
        while free.upper() in taken:  # as constants have it
            count += 1
            free = f"{base}_{count}"
        taken.add(free.upper())
        tensors.append(Tensor(name, free, type_))
    return tuple(tensors)


_WORDS = """
    alignas alignof and asm auto bool break case catch char class const constexpr continue default delete do double
    else enum explicit export extern false final float for friend goto if inline int long mutable namespace new not
    nullptr operator or private protected public register restrict return short signed sizeof static struct switch
    template this throw true try typedef typename union unsigned using virtual void volatile while xor
    fn impl let loop match mod move mut pub ref self super trait type unsafe use where
    NULL EOF assert errno linux unix stdin stdout stderr
"""
_RESERVED = frozenset(_WORDS.split())
"""Words of C, C++ and Rust, and macros that programs often have."""
_SYSTEM = """
    assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg stdatomic
    stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype pthread unistd
"""
_HEADERS = frozenset(_SYSTEM.split())
"""Headers of C and of its threads: a `math.h` of a network's would take the place of the system's."""


def identifier(name: str) -> str:
    """A name as C, C++ and Rust have it: letters, digits and single underscores; empty if nothing of it remains.

    It may be a word of these languages.
    """
    ascii_only = "".join(c if c.isascii() and c.isalnum() else "_" for c in name)
    plain = "_".join(part for part in ascii_only.split("_") if part)
    if not plain:
        return ""
    return f"n{plain}" if plain[0].isdigit() else plain


def usual_prefix(name: str) -> str:
    """The prefix of a network that is called so."""
    found = identifier(name).lower() or "net"
    return f"{found}_net" if found in _HEADERS else found


def check_prefix(prefix: str) -> str:
    """A prefix for names in C and of files; raises `NetcError` for what is none."""
    if not prefix or identifier(prefix) != prefix:
        cure = identifier(prefix)
        hint = f"for example {cure}" if cure else "letters, digits and underscores"
        raise NetcError(f"`{prefix}` can't begin names in C", hint=hint)
    if prefix.lower() in _HEADERS:
        raise NetcError(f"{prefix}.h would hide a header of C", hint=f"for example {prefix}_net")
    return prefix


def code_hash(text: str, fingerprint: str) -> int:
    """64 bits that stand for the code of a library: of the text that it is made of, and of what makes it."""
    return int.from_bytes(hashlib.sha256(f"{fingerprint}\0{text}".encode()).digest()[:8], "little")


def weights_region(interface: Interface, packed: Array, state: Array | None = None) -> bytes:
    """The weights as the code reads them, with the initial state behind them."""
    body = bytes(packed).ljust(interface.state_offset, b"\0")
    return (body + (b"" if state is None else bytes(state))).ljust(interface.weights_bytes, b"\0")

"""A program's code as several objects, which LLVM makes side by side: what is loaded here needn't be one file.

Kernels call nothing but helpers, so they can stand in any object; each has its own copy of the helpers that it needs.
How they are shared out depends on the text alone, so equal texts give equal bytes on every machine. Kernels with tight
loops are objects of their own, since a setting of LLVM holds for a whole one.
"""

from __future__ import annotations

import ctypes
import re
import struct
import threading
from collections.abc import Sequence
from typing import Any

import llvmlite.binding as llvm

from ....errors import InternalError
from ....targets.target import DotProduct, Target
from . import machine

PARTS = 4
"""Objects with kernels, at most."""
LEVEL = 2
"""Of LLVM's optimisation, for kernels ..."""
CALLS_LEVEL = 0
"""... and for all else, a few instructions for each call of a kernel: so LLVM takes a fifth of the time for them."""
SHORTEST = 1 << 18
"""Characters of a text that is worth it, at least."""
FREE = 6
"""Registers beside what a loop carries from one step to the next, at most, where it needs all of them."""
KEPT_CONSTANTS = range(3, 13)
"""Of a kernel that is quicker with its constants in registers all the same: those of Winograd's transformations."""
_PHIS = re.compile(r":\n((?: *%\S+ = phi .*\n)+)")
_CARRIED = {kind: re.compile(rf"(?:^ *%\S+ = phi <\d+ x {kind}> .*\n)+", re.MULTILINE) for kind in ("float", "i32")}
"""What a loop carries from one step to the next: floats, or sums of bytes."""
_CONSTANT = re.compile(r"splat \(float ([^)]*)\)")
_ANY_CONSTANT = re.compile(r"splat \(([^)]*)\)")
_MAGIC = b"netc objects\n"
_KERNEL = re.compile(r'define internal (void @"kernel\.[^"]*"\()(.*?)\) ')
_END = "\n}\n"


def code_of(text: str, target: Target) -> bytes:
    """What `load_object` takes for a module's text."""
    texts, tight = _parts(text, target)
    if len(texts) == 1 and not tight:
        return machine.object_code(text, target)
    objects = _objects(texts, target, [CALLS_LEVEL, *[LEVEL] * (len(texts) - 1)])
    if tight:
        with machine.constants_where_used():
            objects += _objects(tight, target, [LEVEL] * len(tight))
    sizes = struct.pack(f"<{len(objects) + 1}Q", len(objects), *map(len, objects))
    return b"".join([_MAGIC, sizes, *objects])


def objects_of(code: bytes) -> Sequence[bytes]:
    """The objects that stand in what `code_of` gave; an object is one by itself."""
    if not code.startswith(_MAGIC):
        return (code,)
    (count,) = struct.unpack_from("<Q", code, len(_MAGIC))
    sizes = struct.unpack_from(f"<{count}Q", code, len(_MAGIC) + 8)
    start, objects = len(_MAGIC) + 8 * (count + 1), []
    for size in sizes:
        objects.append(code[start : start + size])
        start += size
    return objects


def fingerprint(target: Target) -> str:
    """What besides the text decides the bytes of the code."""
    constants = f"constants {FREE} {KEPT_CONSTANTS.start}-{KEPT_CONSTANTS.stop}"
    return f"{machine.fingerprint(target)}, {constants}, levels {CALLS_LEVEL} {LEVEL}"


def _parts(text: str, target: Target) -> tuple[list[str], list[str]]:
    """The texts of the objects, that of all but the kernels first; and those of kernels with tight loops."""
    kernels, others, declared = list[str](), list[str](), list[str]()
    end = 0
    for found in _KERNEL.finditer(text):
        others.append(text[end : found.start()])
        end = text.index(_END, found.end()) + len(_END)
        kernels.append("define hidden " + text[found.start(1) : end])
        types = ", ".join(parameter.split()[0] for parameter in found[2].split(", "))
        declared.append(f"declare hidden {found[1]}{types})\n")
    tight = [kernel for kernel in kernels if _is_tight(kernel, target)]
    if not tight and (len(text) < SHORTEST or len(kernels) < 2):
        return [text], []
    first = "".join([*others, text[end:], *declared])
    head = machine.header(target)

    def shared_out(kernels: list[str]) -> list[str]:
        parts = 1 if len(text) < SHORTEST else PARTS
        return [machine.with_helpers(head + share, target) for share in _shares(kernels, parts)]

    return [first, *shared_out([k for k in kernels if k not in tight])], shared_out(tight)


def _shares(kernels: Sequence[str], parts: int) -> list[str]:
    """So many texts of about the same length, or as many as there are kernels."""
    shares: list[list[str]] = [[] for _ in range(min(parts, len(kernels)))]
    lengths = [0] * len(shares)
    for kernel in sorted(kernels, key=len, reverse=True):
        least = lengths.index(min(lengths))
        shares[least].append(kernel)
        lengths[least] += len(kernel)
    return ["\n".join(share) for share in shares]


def _is_tight(kernel: str, target: Target) -> bool:
    """True if a loop needs all of few registers for what it carries from one step to the next.

    LLVM takes constants out of all loops, into registers, and back into memory where it knows that loops which use them
    are short. With 16 registers they had better stay where they are used: silu behind a layer takes 0.93 of the time.
    With 32 the sums of a tile stay in registers either way, and constants behind them are quicker in registers, too.
    """
    if not (target.reads_operands and target.has_few_registers):
        return False
    if target.dot_product is DotProduct.VNNI and _adds_bytes_tightly(kernel, target):
        return True
    if _carried("float", kernel) < target.vector_registers - FREE:
        return False
    constants = len(set(_CONSTANT.findall(kernel)))
    return constants not in KEPT_CONSTANTS


def _adds_bytes_tightly(kernel: str, target: Target) -> bool:
    """The same for sums of bytes; where words are multiplied, constants in registers did no harm."""
    carried, constants = _carried("i32", kernel), len(set(_ANY_CONSTANT.findall(kernel)))
    return carried > target.vector_registers // 2 and carried + constants > target.vector_registers


def _carried(kind: str, kernel: str) -> int:
    """Vectors of this kind that a loop carries from one step to the next, at most."""
    runs = (run for block in _PHIS.finditer(kernel) for run in _CARRIED[kind].finditer(block[1]))
    return max((len(run[0].splitlines()) for run in runs), default=0)


def _objects(texts: Sequence[str], target: Target, levels: Sequence[int]) -> list[bytes]:
    """The objects of several texts, each made in a context and by a thread of its own while the next ones are read."""
    jobs: list[_Emission] = []
    threads: list[threading.Thread] = []
    with machine.AT_WORK:
        try:
            for text, level in reversed(list(zip(texts, levels, strict=True))):  # the first one takes least
                module, each = machine.parse(text, llvm.create_context()), machine.new_target_machine(target, level)
                machine.optimize(module, each, machine.passes_for(target))
                jobs.insert(0, _Emission(each, module))
                if len(jobs) < len(texts):
                    threads.append(threading.Thread(target=jobs[0].run))
                    threads[-1].start()
            jobs[0].run()
        finally:
            for thread in threads:
                thread.join()
        return [job.result() for job in jobs]


class _Emission:
    """One call of LLVM, made without the lock that llvmlite puts around all of them: nothing is shared."""

    def __init__(self, target: Any, module: llvm.ModuleRef) -> None:
        self._error = llvm.ffi.OutputString()
        self._arguments = (target, module, 1, self._error)
        locked = llvm.ffi.lib.LLVMPY_TargetMachineEmitToMemory
        self._call = getattr(locked, "_cfn", locked)  # llvmlite gives it no public name
        self._buffer: Any = None

    def run(self) -> None:
        """Make the object."""
        self._buffer = self._call(*self._arguments)

    def result(self) -> bytes:
        """The object, once it is made."""
        if not self._buffer:
            raise InternalError(f"LLVM can't make code: {self._error}")
        library = llvm.ffi.lib
        start, size = library.LLVMPY_GetBufferStart(self._buffer), library.LLVMPY_GetBufferSize(self._buffer)
        try:
            return ctypes.string_at(start, size)
        finally:
            library.LLVMPY_DisposeMemoryBuffer(self._buffer)

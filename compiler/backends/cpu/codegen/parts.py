"""A program's code as several objects, which LLVM makes side by side: what is loaded here needn't be one file.

Kernels call nothing but helpers, so they can stand in any object; each has its own copy of the helpers that it needs.
How they are shared out depends on the text alone, so equal texts give equal bytes on every machine.
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
from ....targets.target import Target
from . import machine

PARTS = 4
"""Objects with kernels, at most."""
SHORTEST = 1 << 18
"""Characters of a text that is worth it, at least."""
_MAGIC = b"netc objects\n"
_KERNEL = re.compile(r'^define internal (void @"kernel\.[^"]*"\()(.*?)\) ', re.MULTILINE)
_END = "\n}\n"


def code_of(text: str, target: Target) -> bytes:
    """What `load_object` takes for a module's text."""
    texts = _parts(text, target)
    if len(texts) == 1:
        return machine.object_code(text, target)
    objects = _objects(texts, target)
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


def _parts(text: str, target: Target) -> list[str]:
    """The texts of the objects: that of all but the kernels comes first."""
    if len(text) < SHORTEST:
        return [text]
    kernels, others, declared = list[str](), list[str](), list[str]()
    end = 0
    for found in _KERNEL.finditer(text):
        others.append(text[end : found.start()])
        end = text.index(_END, found.end()) + len(_END)
        kernels.append("define hidden " + text[found.start(1) : end])
        types = ", ".join(parameter.split()[0] for parameter in found[2].split(", "))
        declared.append(f"declare hidden {found[1]}{types})\n")
    if len(kernels) < 2:
        return [text]
    shares: list[list[str]] = [[] for _ in range(min(PARTS, len(kernels)))]
    lengths = [0] * len(shares)
    for kernel in sorted(kernels, key=len, reverse=True):
        least = lengths.index(min(lengths))
        shares[least].append(kernel)
        lengths[least] += len(kernel)
    first = "".join([*others, text[end:], *declared])
    head = machine.header(target)
    return [first, *(machine.with_helpers(head + "\n".join(share), target) for share in shares)]


def _objects(texts: Sequence[str], target: Target) -> list[bytes]:
    """The objects of several texts, each made in a context and by a thread of its own while the next ones are read."""
    jobs: list[_Emission] = []
    threads: list[threading.Thread] = []
    with machine.AT_WORK:
        try:
            for text in reversed(texts):  # the first one is short
                module, each = machine.parse(text, llvm.create_context()), machine.new_target_machine(target)
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

"""Single kernels in this process: for tests, and for timing schedules."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import llvmlite.binding as llvm
from numpy.typing import NDArray

from ....errors import InternalError
from ....loops.ir import Kernel
from ....targets.target import Target
from . import machine
from .host import host_target
from .llvm import emit_kernel, symbol
from .python_call import loaded_objects


@dataclass(frozen=True)
class LoadedObject:
    """An object file linked into this process; the code stays as long as this lives."""

    addresses: dict[str, int]
    keep: tuple[Any, ...] = field(repr=False)


def load_object(code: bytes, target: Target, symbols: Sequence[str]) -> LoadedObject:
    """Link an object, or those of `parts.code_of`, into this process and find the addresses of its symbols.

    JITLink puts all sections of an object side by side. LLVM's older linker maps each where there is room; in a large
    process they may lie more than 2 GB apart, where code can't reach its constants, and LLVM aborts.
    """
    jit = llvm.create_lljit_compiler(machine.target_machine(target), use_jit_link=True)
    builder = llvm.JITLibraryBuilder().add_current_process()
    for image in loaded_objects(code, target, symbols):
        builder.add_object_img(image)
    for name in symbols:
        builder.export_symbol(name)
    try:
        tracker = builder.link(jit, "netc")
    except RuntimeError as error:
        raise InternalError(f"can't load compiled code: {error}") from error
    return LoadedObject({name: int(tracker[name]) for name in symbols}, (tracker, jit))


@dataclass(frozen=True)
class CompiledKernel:
    """A kernel loaded into this process."""

    kernel: Kernel
    target: Target
    text: str
    loaded: LoadedObject = field(repr=False)

    @property
    def address(self) -> int:
        """Where the function starts: `void f(void *buffers..., int64_t tid, int64_t nthreads)`."""
        return self.loaded.addresses[symbol(self.kernel.name)]

    @cached_property
    def assembly(self) -> str:
        """The machine code as text."""
        return machine.assembly(self.text, self.target)

    @cached_property
    def function(self) -> Any:
        """The ctypes function: pointers, then thread and number of threads."""
        pointers = [ctypes.c_void_p] * len(self.kernel.params)
        return ctypes.CFUNCTYPE(None, *pointers, ctypes.c_int64, ctypes.c_int64)(self.address)

    def run(self, arrays: Sequence[NDArray[Any]], tid: int = 0, nthreads: int = 1) -> None:
        """Run one thread's share on arrays of the parameters' types and shapes; outputs are written in place."""
        for array, buffer in zip(arrays, self.kernel.params, strict=True):
            fits = array.dtype == buffer.dtype.numpy and array.shape == buffer.shape and array.flags.c_contiguous
            if not fits:
                raise InternalError(f"%{buffer.name} takes {buffer.dtype}{list(buffer.shape)}, C-contiguous")
        self.function(*(a.ctypes.data for a in arrays), tid, nthreads)


def kernel_text(kernel: Kernel, target: Target) -> str:
    """A module of LLVM text with one kernel that can be called from outside."""
    return machine.with_helpers(machine.header(target) + emit_kernel(kernel, target, linkage="dso_local"), target)


def load_kernel(kernel: Kernel, target: Target | None = None) -> CompiledKernel:
    """Compile one kernel for this machine (or another target that it can run) and load it."""
    target = target or host_target()
    text = kernel_text(kernel, target)
    code = machine.object_code(text, target)
    return CompiledKernel(kernel, target, text, load_object(code, target, [symbol(kernel.name)]))

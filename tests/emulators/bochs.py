"""Run a static program for x86-64 in Bochs' processor, which knows vectors of 512 bits; QEMU's doesn't.

    python bochs.py PROGRAM < INPUT > OUTPUT

It begins in 64-bit mode, in memory whose addresses are the physical ones, and has three calls of the system: read from
stdin, write to stdout, exit. Needs `bochscpu-python`, whose wheels for Linux ask for glibc 2.38.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAGE, LARGE_PAGE, GIB = 1 << 12, 1 << 21, 1 << 30
STACK_BYTES = 8 << 20
READ, WRITE = 0, 1
SYSTEM = PAGE
"""Where the processor goes at a call of the system, which is answered by then: an instruction that returns."""
RETURN = b"\x48\x0f\x07"
IS_SYSCALL = 17
PRESENT, LARGE = 0b111, 0x80
"""Of page tables: present, writable and everybody's; 2 MiB and not a table."""
CRASHED = 99
EXCEPTIONS = 200
"""Exit statuses: something is wrong here; exception 0 of the processor."""


def main() -> None:
    """The command line."""
    program = Path(sys.argv[1]).read_bytes()
    memory, tables = loaded(program)
    os._exit(run(memory, tables, int.from_bytes(program[24:32], "little")))  # Bochs' own end isn't clean


def loaded(program: bytes) -> tuple[mmap.mmap, int]:
    """The memory that a program begins with, and where its page tables are, right above the stack."""
    (first,), (count,) = struct.unpack_from("<Q", program, 32), struct.unpack_from("<H", program, 56)
    heads = [struct.unpack_from("<IIQQQQQQ", program, first + 56 * i) for i in range(count)]
    parts = [(offset, place, size, whole) for kind, _, offset, place, _, size, whole, _ in heads if kind == 1]
    end = max(place + whole for _, place, _, whole in parts)
    tables = -(-end // LARGE_PAGE) * LARGE_PAGE + STACK_BYTES
    gibs = -(-tables // GIB)
    memory = mmap.mmap(-1, tables + PAGE * (2 + gibs))
    for offset, place, size, _ in parts:
        memory[place : place + size] = program[offset : offset + size]
    memory[SYSTEM : SYSTEM + len(RETURN)] = RETURN
    directories = [tables + PAGE * (2 + i) for i in range(gibs)]
    struct.pack_into("<Q", memory, tables, tables + PAGE | PRESENT)
    struct.pack_into(f"<{gibs}Q", memory, tables + PAGE, *(d | PRESENT for d in directories))
    pages = [place | PRESENT | LARGE for place in range(0, gibs * GIB, LARGE_PAGE)]
    struct.pack_into(f"<{len(pages)}Q", memory, directories[0], *pages)
    return memory, tables


def run(memory: mmap.mmap, tables: int, entry: int) -> int:
    """The exit status of a program."""
    import bochscpu
    from bochscpu.memory import page_insert

    base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for place in range(0, len(memory), PAGE):
        page_insert(place, base + place)
    session, hook = bochscpu.Session(), bochscpu.Hook()
    session.missing_page_handler = lambda place: print(f"no memory at {place:#x}", file=sys.stderr)  # noqa: T201
    session.cpu.state = _state(bochscpu, tables, entry)
    status = CRASHED

    def call(session: Any, processor: int, what: int, *where: int) -> None:
        nonlocal status
        if what != IS_SYSCALL:
            return
        cpu = session.cpu
        number, data, count = cpu.rax, cpu.rsi, cpu.rdx
        if number == READ:
            found = sys.stdin.buffer.read(count)
            memory[data : data + len(found)] = found
            cpu.rax = len(found)
        elif number == WRITE:
            cpu.rax = sys.stdout.buffer.write(memory[data : data + count])
        else:
            status = cpu.rdi
            session.stop()

    def exception(session: Any, processor: int, vector: int, error: int) -> None:
        nonlocal status
        print(f"exception {vector} at {session.cpu.rip:#x}", file=sys.stderr)  # noqa: T201
        status = EXCEPTIONS + vector
        session.stop()

    hook.far_branch, hook.exception = _ending(call), _ending(exception)
    session.run([hook])
    sys.stdout.buffer.flush()
    return status


def _ending(hook: Callable[..., None]) -> Callable[..., None]:
    """Errors of a hook end the run: Bochs can't pass them on."""

    def safe(session: Any, *arguments: int) -> None:
        try:
            hook(session, *arguments)
        except BaseException:
            traceback.print_exc()
            session.stop()

    return safe


def _state(bochscpu: Any, tables: int, entry: int) -> Any:
    """A process of Linux right after its start, with the state of all vectors enabled."""
    state = bochscpu.State()
    state.cr0, state.cr3, state.cr4, state.efer = 0x80050033, tables, 0x40620, 0xD01
    state.xcr0, state.mxcsr, state.mxcsr_mask, state.fpcw = 0xE7, 0x1F80, 0xFFFF, 0x37F
    state.rip, state.rsp, state.rflags = entry, tables - 64, 2
    state.lstar, state.star = SYSTEM, 0x23 << 48 | 0x10 << 32
    state.cs = _segment(bochscpu, 0x33, 0xA0FB)
    for name in ("ss", "ds", "es", "fs", "gs"):
        setattr(state, name, _segment(bochscpu, 0x2B, 0xC0F3))
    return state


def _segment(bochscpu: Any, selector: int, attributes: int) -> Any:
    segment = bochscpu.Segment()
    segment.present, segment.selector, segment.attr = True, selector, attributes
    segment.base, segment.limit = 0, 0xFFFFFFFF
    return segment


if __name__ == "__main__":
    main()

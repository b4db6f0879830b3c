"""Boards that QEMU emulates: a library is linked with `main.c`, started, and gives its outputs back.

Needs qemu-system-arm, or qemu-system-misc for RISC-V, and, to link, the `ziglang` package; the plugin that counts
instructions needs a C compiler.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from netc.compiler.graph.ir import Array
from netc.compiler.library.elf import Elf
from netc.compiler.library.interface import Interface

from .tensors import joined, outputs_of

HERE = Path(__file__).parent
SECONDS = 900


@dataclass(frozen=True)
class Board:
    """A machine of QEMU's: memory for code from the address where it starts, and memory for everything else."""

    machine: str
    zig: tuple[str, str]
    """Triple and processor as zig names them."""
    code: tuple[int, int]
    """Address and bytes."""
    memory: tuple[int, int]
    constants_in_code: bool = False
    """Memory is too small for the weights."""
    painted: int = 32768
    """Bytes below the caller's frame that are painted to see what a run touches."""
    qemu: str = "qemu-system-arm"
    options: tuple[str, ...] = ()
    """Further ones of QEMU's."""


_MIB = 1 << 20
_MPS2 = {"code": (0, 4 * _MIB), "memory": (0x21000000, 16 * _MIB)}
BOARDS = {
    "cortex-m0plus": Board("mps2-an385", ("thumb-freestanding-eabi", "cortex_m0plus"), **_MPS2),
    "cortex-m4": Board("mps2-an386", ("thumb-freestanding-eabihf", "cortex_m4"), **_MPS2),
    "cortex-m7": Board(
        "mps2-an500", ("thumb-freestanding-eabihf", "cortex_m7"), (0, 4 * _MIB), (0x60000000, 16 * _MIB)
    ),
    "cortex-m33": Board(
        "mps2-an505", ("thumb-freestanding-eabihf", "cortex_m33"), (0x10000000, 4 * _MIB), (0x80000000, 16 * _MIB)
    ),
    "cortex-m55": Board(
        "mps3-an547", ("thumb-freestanding-eabihf", "cortex_m55"), (0, _MIB // 2), (0x60000000, 512 * _MIB)
    ),
}
"""By target. Those of the M0+ run on a Cortex-M3, which has all of its instructions and a larger memory."""
RISCV = Board(
    "virt",
    ("riscv32-freestanding-none", "generic_rv32+m+a+c"),
    (0x80000000, 4 * _MIB),
    (0x80400000, 60 * _MIB),
    qemu="qemu-system-riscv32",
    options=("-bios", "none", "-m", "64"),
)
BOARDS["riscv32"] = RISCV
MICROBIT = Board(
    "microbit", ("thumb-freestanding-eabi", "cortex_m0"), (0, _MIB // 4), (0x20000000, 1 << 14), True, painted=2048
)
"""A Cortex-M0, which knows no instructions but those of the M0+; it has 16 KiB of memory."""


@dataclass(frozen=True)
class Emulation:
    """What came of a run."""

    outputs: tuple[Array, ...]
    instructions: int | None
    """Executed by the run; None where nothing counts them."""
    stack: int
    """Bytes that the run touched below the caller's frame."""


def missing(target: str = "cortex-m4") -> str | None:
    """What is needed and not there."""
    qemu = BOARDS[target].qemu
    if shutil.which(qemu) is None:
        return f"{qemu} is not installed"
    return None if find_spec("ziglang") else "ziglang is not installed"


def emulate(
    target: str | Board,
    library: Path,
    interface: Interface,
    inputs: Sequence[Array],
    *,
    counts: bool = False,
) -> Emulation:
    """Run the object of a library with embedded weights once on a board, that for a target or another one."""
    board = BOARDS[target] if isinstance(target, str) else target
    with TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(library, folder / "net.o")
        (folder / "tensors.h").write_text(_tensors(interface, board))
        (folder / "board.ld").write_text(_script(board))
        (folder / "input.bin").write_bytes(joined(inputs))
        _link(board, folder)
        plugin = _plugin(folder) if counts else []
        command = [
            board.qemu,
            "-M",
            board.machine,
            *board.options,
            "-semihosting-config",
            "enable=on,target=native",
            "-display",
            "none",
        ]
        command += ["-serial", "null", "-monitor", "null", "-kernel", "net.elf", *plugin]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
        if done.returncode:
            raise RuntimeError(f"{board.machine} ended with {done.returncode}: {done.stderr[-2000:]}")
        result = (folder / "output.bin").read_bytes()
    return Emulation(outputs_of(interface, result), _count(done), int.from_bytes(result[-4:], "little"))


def _count(done: subprocess.CompletedProcess[str]) -> int | None:
    lines = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("instructions ")]
    return int(lines[-1]) if lines else None


def _tensors(interface: Interface, board: Board) -> str:
    lines = [f"#define NETC_RUN {interface.prefix}_run", f"enum {{ PAINTED = {board.painted} }};"]
    if interface.state_bytes:
        lines.append(f"#define NETC_RESET {interface.prefix}_reset")
    lines.append(f"static uint8_t workspace[{interface.workspace_bytes}] __attribute__((aligned(64)));")
    for kind, tensors, const in (("input", interface.inputs, "const "), ("output", interface.outputs, "")):
        sizes = [t.type.bytes for t in tensors]
        lines.append(f"#define {kind.upper()}S {len(sizes)}")
        offsets = interface.input_offsets if kind == "input" else ()
        lines += [f"#define input{i} (workspace + {offset})" for i, offset in enumerate(offsets)]
        for i, size in enumerate(() if offsets else sizes):
            lines.append(f"static uint8_t {kind}{i}[{max(size, 1)}] __attribute__((aligned(64)));")
        names = ", ".join(f"{kind}{i}" for i in range(len(sizes)))
        lines.append(f"static {const}void *const {kind}s[{max(len(sizes), 1)}] = {{{names}}};")
        lines.append(f"static const size_t {kind}_bytes[] = {{{', '.join(map(str, sizes))}}};")
    return "\n".join([*lines, ""])


def _script(board: Board) -> str:
    constants = "CODE" if board.constants_in_code else "DATA"
    regions = [
        f"  {name} : ORIGIN = {start:#x}, LENGTH = {size:#x}"
        for name, (start, size) in (("CODE", board.code), ("DATA", board.memory))
    ]
    return "\n".join(
        [
            "MEMORY {",
            *regions,
            "}",
            "SECTIONS {",
            "  .text : { KEEP(*(.vectors)) *(.text*) } > CODE",
            "  /DISCARD/ : { *(.ARM.exidx*) *(.ARM.extab*) }",
            f"  .rodata : {{ *(.rodata*) }} > {constants}",
            "  .data : { *(.data*) } > DATA",
            "  .bss (NOLOAD) : { *(.bss*) *(COMMON) } > DATA",
            "  stack_top = ORIGIN(DATA) + LENGTH(DATA);",
            "}",
            "ENTRY(start)",
            "",
        ]
    )


def _link(board: Board, folder: Path) -> None:
    """Make a program of main.c and the library; with zig's own library, which it has to build, only if need be."""
    triple, cpu = board.zig
    zig = [sys.executable, "-m", "ziglang"]
    compiler = [*zig, "cc", "-target", triple, f"-mcpu={cpu}", "-O2", "-std=c99", "-ffreestanding"]
    compiler += ["-fno-sanitize=all", "-fno-stack-protector", "-fno-unwind-tables", f"-I{folder}"]
    _tool(board, folder, [*compiler, "-c", str(HERE / "main.c"), "-o", "main.o"])
    if set(Elf.read((folder / "net.o").read_bytes()).undefined) <= {"memcpy", "memset"}:
        _tool(board, folder, [*zig, "ld.lld", "-T", "board.ld", "main.o", "net.o", "-o", "net.elf"])
    else:
        _tool(board, folder, [*compiler, "-T", "board.ld", "main.o", "net.o", "-o", "net.elf"])


def _tool(board: Board, folder: Path, command: Sequence[str]) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"linking for {board.machine}: {done.stderr[-3000:]}")


def _plugin(folder: Path) -> list[str]:
    """The options that count instructions from one mark in main.c to the other."""
    addresses = {}
    for symbol in Elf.read((folder / "net.elf").read_bytes()).symbols:
        addresses[symbol.name] = symbol.value & ~1
    marks = f"from={addresses['measure_begin']},to={addresses['measure_end']}"
    return ["-plugin", f"{built_plugin()},{marks}", "-d", "plugin"]


@cache
def built_plugin() -> Path:
    """The plugin that counts instructions."""
    library = Path(mkdtemp(prefix="netc-plugin-")) / "count.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(HERE / "count.c")], check=True)
    return library

"""Processors that QEMU emulates for processes of Linux: a library, linked with `process.c`, gives its outputs back.

Needs qemu-user and, to link, the `ziglang` package. There is no C library, which ziglang would have to build first.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from netc.commands.targets import VECTORS_OF_RISCV
from netc.compiler.backends import find_target
from netc.compiler.graph.ir import Array
from netc.library import Library
from netc.runtime.host import runs_here
from netc.toolchain import version_of

from .tensors import joined, outputs_of

HERE = Path(__file__).parent
SECONDS = 900
PROCESSES: dict[str, tuple[tuple[str, ...], str, str]] = {
    "x86-64-v2": (("qemu-x86_64", "-cpu", "Nehalem"), "x86_64-linux-none", "x86_64_v2"),
    "x86-64-v3": (("qemu-x86_64", "-cpu", "Haswell"), "x86_64-linux-none", "x86_64_v2"),
    "x86-64-v4": ((sys.executable, str(HERE / "bochs.py")), "x86_64-linux-none", "x86_64_v2"),
    "aarch64-linux": (("qemu-aarch64", "-cpu", "cortex-a53"), "aarch64-linux-none", "generic"),
    "cortex-a53": (("qemu-aarch64", "-cpu", "cortex-a53"), "aarch64-linux-none", "generic"),
    "cortex-a76": (("qemu-aarch64", "-cpu", "cortex-a76"), "aarch64-linux-none", "generic"),
    "armv7": (("qemu-arm", "-cpu", "cortex-a7"), "arm-linux-eabihf", "cortex_a7"),
    "riscv64": (("qemu-riscv64", "-cpu", "rv64"), "riscv64-linux-none", "baseline_rv64"),
    "riscv64-v": (("qemu-riscv64", "-cpu", "rv64,v=true,vlen=128"), "riscv64-linux-none", "baseline_rv64"),
}
"""By target: the emulator, and triple and processor as zig names them. QEMU has no vectors of 512 bits, Bochs has."""


def emulator(target: str) -> tuple[str, ...]:
    """What runs programs for a target; nothing where Bochs would, but this machine can, which is faster."""
    command = PROCESSES[target][0]
    return () if _is_bochs(command) and runs_here(find_target(target)) else command


def missing(target: str) -> str | None:
    """What is needed and not there."""
    command = emulator(target)
    if not command and not runs_here(find_target(target)):
        return f"this machine doesn't run {target}"
    if _is_bochs(command):
        if not _has_bochs():
            return f"this machine and QEMU don't run {target}, and bochscpu-python, which does, can't be imported"
    elif command and shutil.which(command[0]) is None:
        return f"{command[0]} is not installed"
    if target == "riscv64-v" and version_of(command[0]) < VECTORS_OF_RISCV:
        return f"{command[0]} is too old for vectors of RISC-V"
    return None if find_spec("ziglang") else "ziglang is not installed"


def _is_bochs(command: Sequence[str]) -> bool:
    return command[1:2] == (str(HERE / "bochs.py"),)


@cache
def _has_bochs() -> bool:
    """Whether it can be imported: that it is there isn't enough, as it wants a new C library."""
    done = subprocess.run([sys.executable, "-c", "import bochscpu"], capture_output=True, check=False)
    return done.returncode == 0


def run_library(target: str, library: Library, inputs: Sequence[Array], *, runs: int = 1) -> tuple[Array, ...]:
    """The outputs of the last of some runs of a library with the prefix `net`, whose self-test is run, too, if any.

    Raises `RuntimeError` if one of them fails.
    """
    return outputs_of(library.build.interface, execute(target, library, inputs, runs=runs).stdout)


def execute(
    target: str,
    library: Library,
    inputs: Sequence[Array],
    *,
    runs: int = 1,
    options: Sequence[str] = (),
    seconds: int = SECONDS,
) -> subprocess.CompletedProcess[bytes]:
    """The process of `run_library`; `options` are QEMU's, `seconds` the time that it has."""
    folder = library.folder
    (folder / "tensors.h").write_text(_tensors(library, runs))
    program = link(target, library)
    weights = folder / "net.weights"
    data = (weights.read_bytes() if weights.exists() else b"") + joined(inputs)
    done = subprocess.run(
        [*emulator(target), *options, program], input=data, capture_output=True, timeout=seconds, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{target} ended with {done.returncode}: {done.stderr.decode(errors='replace')[-2000:]}")
    return done


def link(target: str, library: Library) -> Path:
    """A program of `process.c` and the library."""
    folder, (_, triple, cpu) = library.folder, PROCESSES[target]
    zig = [sys.executable, "-m", "ziglang"]
    command = [
        *zig,
        "cc",
        "-target",
        triple,
        f"-mcpu={cpu}",
        "-O2",
        "-std=c11",
        "-ffreestanding",
        "-fno-stack-protector",
    ]
    command += ["-fno-sanitize=all", "-fno-pic", "-I", str(folder), "-c", str(HERE / "process.c")]
    program = folder / "program"
    for each in (
        [*command, "-o", str(folder / "process.o")],
        [*zig, "ld.lld", "-static", str(folder / "process.o"), str(folder / "net.o"), "-o", str(program)],
    ):
        done = subprocess.run(each, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"linking for {find_target(target)}: {done.stderr[-3000:]}")
    return program


def _tensors(library: Library, runs: int) -> str:
    interface = library.build.interface
    lines = [f"enum {{ RUNS = {runs} }};", f"#define NET_RUN net_{interface.task.value}"]
    lines.append("static NET_ALIGNED uint8_t workspace[NET_WORKSPACE_BYTES];")
    lines.append("#ifdef NET_SELFTEST_BYTES\nstatic NET_ALIGNED uint8_t buffers[NET_SELFTEST_BYTES];\n#endif")
    lines.append("#ifdef NET_WEIGHTS_ALIGNMENT\nstatic NET_ALIGNED uint8_t weights[NET_WEIGHTS_BYTES];\n#endif")
    for kind, tensors in (("input", interface.inputs), ("output", interface.outputs)):
        lines.append(f"#define {kind.upper()}S {len(tensors)}")
        lines += [f"static NET_ALIGNED uint8_t {kind}{i}[{t.type.bytes}];" for i, t in enumerate(tensors)]
        names = [f"{kind}{i}" for i in range(len(tensors))]
        lines.append(f"static void *const {kind}_data[] = {{{', '.join(names)}}};")
        lines.append(f"static const size_t {kind}_bytes[] = {{{', '.join(str(t.type.bytes) for t in tensors)}}};")
        lines.append(f"static const net_{kind}s {kind}s = {{{', '.join(f'(void *){name}' for name in names)}}};")
    return "\n".join([*lines, ""])

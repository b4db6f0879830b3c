"""How a compiler for C makes a program of a library's example, on the page beside it."""

from __future__ import annotations

from collections.abc import Sequence

from ..targets.target import Environment, Target
from .folder import Member

_ZIG = {"armv7": "arm"}
"""Names of processors in Zig and QEMU where they aren't those of triples."""


def compiling(members: Sequence[Member], target: Target) -> str:
    """The command for networks of a folder, and what it needs; for WebAssembly how it is run without one."""
    if target.environment is Environment.WASM:
        (member,) = members
        return f"`index.html` is opened from disk; pages and Node import `{member.prefix}.mjs`.\n"
    objects = [name for m in members for name in ([f"{m.prefix}_preprocess.c"] * m.preprocess + [f"{m.prefix}.o"])]
    threads = ["-lpthread"] if any(m.threads > 1 for m in members) else []
    files = " ".join(["example.c", *objects, "-lm", *threads, "-o example"])
    compiler, more = _on_a_board(target) if target.environment is Environment.BARE else _in_a_process(target)
    return f"A program of `example.c`:\n\n    {compiler} -std=c99 -O2 {files}\n" + (f"\n{more}\n" if more else "")


def _on_a_board(target: Target) -> tuple[str, str]:
    more = "Start-up code and linker script are the board's; with `--specs=nosys.specs` in their place it links, too."
    if target.triple.startswith("thumb"):
        floats = "hard" if target.triple.endswith("hf") else "soft"
        return f"arm-none-eabi-gcc -mcpu={target.cpu} -mthumb -mfloat-abi={floats}", more
    letters = target.features.replace("+", "").replace(",", "")
    return f"riscv64-unknown-elf-gcc -march=rv{target.pointer_bits}i{letters} -mabi={target.abi}", more


def _in_a_process(target: Target) -> tuple[str, str]:
    processor = target.triple.split("-")[0]
    if processor == "x86_64" or "apple" in target.triple:
        return "cc", ""
    name = _ZIG.get(processor, processor)
    system = "linux-musleabihf" if target.triple.endswith("hf") else "linux-musl"
    more = f"Any other compiler for this processor does as well. Elsewhere `qemu-{name} ./example` runs it."
    return f"python -m ziglang cc -target {name}-{system}", more

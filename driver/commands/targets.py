"""`netc targets`: what libraries can be built for, and what it takes to link and run them here."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from typing import Any

import click

from ..compiler.backends import find_target, target_names
from ..compiler.targets.target import DotProduct, Environment, Target
from ..options import json_option
from ..output import echo, format_table
from ..runtime.host import runs_here
from ..toolchain import has_ziglang, shared_suffix, version_of

_EMULATORS = {
    "x86_64": "qemu-x86_64",
    "aarch64": "qemu-aarch64",
    "armv7": "qemu-arm",
    "riscv64": "qemu-riscv64",
    "riscv32": "qemu-system-riscv32",
    "wasm32": "node",
}
"""What runs code for a processor, by the first word of its triple."""
VECTORS_OF_RISCV = (8, 1)
"""QEMU ends in an assertion at some of their instructions before this version."""
LANES_OF_QEMU = 8
"""QEMU's vectors of x86-64 have up to 256 bits."""


@click.command("targets")
@json_option
def targets_command(as_json: bool) -> None:
    """List what `netc build --target` can build for, what each can do, and what runs it on this machine."""
    rows = [_facts(name, find_target(name)) for name in target_names()]
    if as_json:
        echo(json.dumps(rows, indent=1))
        return
    headers = ("target", "triple", "vectors", "dot products", "threads", "files", "to link", "to run here")
    echo(format_table(headers, [_row(each) for each in rows]), nl=False)
    if not has_ziglang():
        echo("\nziglang is missing: pip install 'netc[build]'; objects and headers need nothing")


def _facts(name: str, target: Target) -> Mapping[str, Any]:
    runner, present = _runner(target)
    is_page = target.environment is Environment.WASM
    return {
        "name": name,
        "triple": target.triple,
        "cpu": target.cpu,
        "vector_bits": 32 * target.vector_lanes if target.vector_lanes > 1 else 0,
        "dot_product": None if target.dot_product is DotProduct.NONE else target.dot_product.value,
        "threads": target.has_threads,
        "shared_library": shared_suffix(target),
        "linker": None if is_page else "ziglang",
        "linker_present": is_page or has_ziglang(),
        "runner": runner,
        "runner_present": present,
    }


def _runner(target: Target) -> tuple[str | None, bool]:
    """What runs code for a target here, and whether that is there; nothing is needed for this machine's own."""
    if runs_here(target):
        return None, True
    processor = target.triple.split("-")[0]
    if "apple" in target.triple:
        return "a Mac", False
    if processor == "x86_64" and target.vector_lanes > LANES_OF_QEMU:
        return "a processor with AVX-512", False
    if processor == "x86_64" and target.dot_product is DotProduct.VNNI:
        return "a processor with AVX-VNNI", False  # QEMU has no such instructions
    name = "qemu-system-arm" if processor.startswith("thumb") else _EMULATORS.get(processor)
    if name == _EMULATORS["riscv64"] and target.vector_lanes > 1:
        return f"{name} from {'.'.join(map(str, VECTORS_OF_RISCV))} on", version_of(name) >= VECTORS_OF_RISCV
    return name, name is not None and shutil.which(name) is not None


def _row(facts: Mapping[str, Any]) -> tuple[str, ...]:
    bits, runner = facts["vector_bits"], facts["runner"]
    if runner is None:
        runs = "this machine" if facts["runner_present"] else "nothing known"
    else:
        runs = runner if facts["runner_present"] else f"{runner}, missing"
    return (
        facts["name"],
        facts["triple"],
        f"{bits} bits" if bits else "none",
        facts["dot_product"] or "none",
        "yes" if facts["threads"] else "no",
        _files(facts),
        _linker(facts),
        runs,
    )


def _files(facts: Mapping[str, Any]) -> str:
    if facts["linker"] is None:
        return ".o .a .wasm"
    return f".o .a {facts['shared_library']}" if facts["shared_library"] else ".o .a"


def _linker(facts: Mapping[str, Any]) -> str:
    if facts["linker"] is None:
        return "nothing"
    return "ziglang" if facts["linker_present"] else "ziglang, missing"

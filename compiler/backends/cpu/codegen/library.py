"""A module of loops as a library: kernels, the sequence of calls, and the C interface of docs/libraries.md.

A library for one thread needs nothing of its surroundings but `memcpy` and `memset`, which LLVM may call. One with
contexts for several threads needs pthread as well, or workers that JavaScript starts. Equal modules, targets and
interfaces give equal text.
"""

from __future__ import annotations

from dataclasses import dataclass

from ....library import weights
from ....library.facts import Extras, facts
from ....library.interface import CODE, HEAD_BYTES, Interface, Status, Storage, Task
from ....modules.module import Module
from ....modules.overlaps import overlapping
from ....targets.target import Target
from . import machine
from .conventions import Convention, Threaded
from .llvm import emit_kernel
from .program import Workers, filled, runtime_text
from .selftest import selftest_text
from .sequence import sequence_text


@dataclass(frozen=True)
class Serial(Convention):
    """The caller's thread makes all calls; what they work on are arguments."""

    interface: Interface
    parameters = "ptr %workspace, ptr %weights, ptr %inputs, ptr %outputs"

    def load(self, module: Module) -> list[str]:
        """Regions of the workspace, and the pointers in the two tables."""
        lines = []
        for region, offset in (("arena", self.interface.arena_offset), ("state", self.interface.head_bytes)):
            lines.append(f"  %{region} = getelementptr inbounds i8, ptr %workspace, i64 {offset}")
        tables = [("inputs", i) for i in range(len(module.inputs))] + [
            ("outputs", i) for i in range(len(module.outputs))
        ]
        for number, (table, i) in enumerate(tables):
            if table == "inputs" and module.input_offsets:
                continue
            lines.append(f"  %buffer{number}.at = getelementptr inbounds ptr, ptr %{table}, i64 {i}")
            lines.append(f"  %buffer{number} = load ptr, ptr %buffer{number}.at")
        return lines


def emit_library(module: Module, target: Target, interface: Interface) -> str:
    """LLVM text of a library, with the word `CODE` for the hash of this text; `complete_library` adds the rest."""
    words = _words(target, interface)
    parts = [filled("library.ll", words), _weights_pointer(interface)]
    if interface.storage is Storage.FILE:
        parts.append(filled("bind.ll", words))
    if interface.state_bytes:
        parts.append(filled("reset.ll", words))
    serial = interface.threads == 1
    if serial:
        parts += [filled("serial.ll", words), _inputs_text(interface, target), sequence_text(module, Serial(interface))]
    else:
        workers = Workers(interface.prefix, interface.workers_offset) if interface.web_workers else None
        parts.append(runtime_text(target, "netc.threads", "internal", workers))
        parts += [filled("contexts.ll", words), sequence_text(module, Threaded())]
    shared = overlapping(module)
    parts += [emit_kernel(kernel, target, serial=serial, overlapping=shared) for kernel in module.kernels]
    return machine.with_helpers(machine.header(target) + "\n".join(parts), target)


def complete_library(
    text: str, target: Target, interface: Interface, code: int, region: bytes, extras: Extras | None = None
) -> str:
    """The text of a library with the hash of its code, with embedded weights, and with extras if it has any."""
    parts = [text]
    if extras is not None:
        parts += _extras(target, interface, code, extras)
    if interface.storage is not Storage.FILE and region:
        section = f', section "{interface.section}"' if interface.section else ""
        data = f"@netc.weights = internal constant {_bytes(region)}{section}, align {interface.alignment}"
        parts.append(data)
    return "\n".join([*parts, ""]).replace(CODE, str(_signed(code)))


def _extras(target: Target, interface: Interface, code: int, extras: Extras) -> list[str]:
    """Self-test, labels and facts."""
    prefix, sections, parts = interface.prefix, _has_sections(target), list[str]()
    if extras.answers:
        parts.append(selftest_text(interface, extras.answers, _words(target, interface), sections))
    parts += [f"@netc.label{i} = internal constant {_string(label)}" for i, label in enumerate(extras.labels)]
    if extras.labels:
        pointers = ", ".join(f"ptr @netc.label{i}" for i in range(len(extras.labels)))
        parts.append(f"@{prefix}_labels = constant [{len(extras.labels)} x ptr] [{pointers}]")
    if interface.task is Task.TRAIN:
        parts += _parameters(interface, f"i{target.pointer_bits}")
    section = f', section ".rodata.{prefix}_facts"' if sections else ""
    parts.append(f"@{prefix}_facts = constant {_string(facts(interface, str(target), code, extras))}{section}")
    return parts


def _parameters(interface: Interface, size: str) -> list[str]:
    """The table of what is trained: names, offsets in the workspace, bytes."""
    names = [f"@netc.parameter{i} = internal constant {_string(n)}" for i, (n, _, _) in enumerate(interface.state)]
    row = f"{{ptr, {size}, {size}}}"
    rows = ", ".join(
        f"{row} {{ptr @netc.parameter{i}, {size} {offset}, {size} {type_.bytes}}}"
        for i, (_, type_, offset) in enumerate(interface.state_places)
    )
    return [*names, f"@{interface.prefix}_parameters = constant [{len(names)} x {row}] [{rows}]"]


def _has_sections(target: Target) -> bool:
    """Whether functions and data can lie in sections of any name, as in ELF files."""
    return not any(system in target.triple for system in ("apple", "windows", "wasm"))


def _string(text: str) -> str:
    return _bytes(text.encode() + b"\0")


def _bytes(data: bytes) -> str:
    """A constant of bytes: its type and its value."""
    return f'[{len(data)} x i8] c"{_escaped(data)}"'


_ESCAPES = tuple(chr(b) if 32 <= b < 127 and chr(b) not in '"\\' else f"\\{b:02X}" for b in range(256))


def _escaped(data: bytes) -> str:
    """Bytes in a string of LLVM text."""
    return data.decode("latin-1").translate(dict(enumerate(_ESCAPES)))


def _signed(number: int) -> int:
    """64 bits as LLVM text writes them in decimal."""
    return number - (1 << 64) if number >= 1 << 63 else number


def _words(target: Target, interface: Interface) -> dict[str, str]:
    size = f"i{target.pointer_bits}"
    is_bound = f"""  %mark = getelementptr i8, ptr %workspace, {size} 8
  %code = load i64, ptr %mark, align 8
  %ours = icmp eq i64 %code, {CODE}
  %status = select i1 %ours, i32 0, i32 {Status.NO_WEIGHTS}
  ret i32 %status"""
    return {
        "prefix": interface.prefix,
        "function": interface.task.value,
        "bring": "  call void @netc.bring(ptr %workspace, ptr %inputs)\n" if interface.input_offsets else "",
        "size": size,
        "mask": str(interface.alignment - 1),
        "inputs": str(len(interface.inputs)),
        "outputs": str(len(interface.outputs)),
        "null": str(int(Status.NULL_POINTER)),
        "misaligned": str(int(Status.MISALIGNED)),
        "wrong_size": str(int(Status.WEIGHTS_SIZE)),
        "other_weights": str(int(Status.OTHER_WEIGHTS)),
        "damaged": str(int(Status.DAMAGED_WEIGHTS)),
        "bound": is_bound if interface.storage is Storage.FILE else "  ret i32 0",
        "ready": "stateful" if interface.state_bytes else "usable",
        "no_state": str(int(Status.NO_STATE)),
        "basis": str(weights.BASIS),
        "prime": str(weights.PRIME),
        "magic": str(int.from_bytes(weights.MAGIC, "little")),
        "head": str(HEAD_BYTES),
        "file": str(interface.stored_bytes),
        "words": str(interface.weights_bytes // 4),
        "state": str(interface.head_bytes),
        "initial": str(interface.state_offset),
        "bytes": str(interface.state_bytes),
        "arena": str(interface.arena_offset),
        "buffers": str(len(interface.inputs) + len(interface.outputs) + 1),
        "inputs_bytes": str(target.pointer_bits // 8 * len(interface.inputs)),
        "outputs_bytes": str(target.pointer_bits // 8 * len(interface.outputs)),
        "context_bytes": str(interface.context_bytes),
        "threads": str(interface.threads),
        "no_threads": str(int(Status.NO_THREADS)),
    }


def _inputs_text(interface: Interface, target: Target) -> str:
    """The function that brings inputs to where a run wants them in the workspace, if it does."""
    head = "define internal void @netc.bring(ptr %workspace, ptr %inputs) noinline nounwind {"
    lines = [head, "entry:"]
    for i, (offset, tensor) in enumerate(zip(interface.input_offsets, interface.inputs, strict=False)):
        lines += [
            f"  %to{i} = getelementptr inbounds i8, ptr %workspace, i64 {offset}",
            f"  %at{i} = getelementptr inbounds ptr, ptr %inputs, i64 {i}",
            f"  %from{i} = load ptr, ptr %at{i}",
            f"  %there{i} = icmp eq ptr %from{i}, %to{i}",
            f"  br i1 %there{i}, label %next{i}, label %copy{i}",
            f"copy{i}:",
            f"  call void @llvm.memcpy.p0.p0.i{target.pointer_bits}(ptr %to{i}, ptr %from{i}, "
            f"i{target.pointer_bits} {tensor.type.bytes}, i1 false)",
            f"  br label %next{i}",
            f"next{i}:",
        ]
    return "\n".join([*lines, "  ret void", "}", ""]) if interface.input_offsets else ""


def _weights_pointer(interface: Interface) -> str:
    """The function that finds the weights of a workspace that is ready."""
    lines = ["define internal ptr @netc.weights.of(ptr %workspace) nounwind {", "entry:"]
    if interface.storage is Storage.FILE:
        lines += ["  %weights = load ptr, ptr %workspace, align 8", "  ret ptr %weights"]
    else:
        lines.append("  ret ptr @netc.weights" if interface.weights_bytes else "  ret ptr null")
    return "\n".join([*lines, "}", ""])

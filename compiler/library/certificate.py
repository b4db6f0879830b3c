"""What a library for a machine without an operating system takes of it at most, found in its object.

Flash is what the object's sections hold. The stack is the deepest path through the calls of `PREFIX_run`, or of
`PREFIX_train_step`, and of what prepares a workspace for it, with the frame of each function on it; there must be no
recursion and no call through a pointer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InternalError
from ..targets.target import Environment, Target
from . import riscv, thumb
from .elf import ARM, RISCV, Elf
from .functions import Function
from .interface import Interface, Storage

_OPTIONAL = ("_selftest", "_facts")
"""How the names of sections end that a linker leaves out where nothing uses them."""
_READERS = {ARM: thumb.functions, RISCV: riscv.functions}


@dataclass(frozen=True, slots=True)
class Certificate:
    """The bytes that a library takes."""

    code: int
    constants: int
    weights: int
    optional: int
    """Self-test and facts, which a program needn't hold."""
    workspace: int
    stack: int
    """Of the functions inside the library."""
    deepest: tuple[tuple[str, int], ...]
    """The path that takes the most, and the frame of each function on it."""
    outside: tuple[str, ...]
    """Functions that are called, but not defined: what they take of the stack comes on top."""
    inputs: int = 0
    """Bytes of the workspace in which the caller puts inputs; 0 if they lie elsewhere."""
    overlapping: int = 0
    """Calls of kernels that write where they have read."""

    @property
    def flash(self) -> int:
        """All that must lie in flash."""
        return self.code + self.constants + self.weights

    @property
    def ram(self) -> int:
        """All that must lie in RAM, the caller's inputs and outputs aside."""
        return self.workspace + self.stack


def is_served(target: Target) -> bool:
    """Whether the code of a target can be read: that of microcontrollers, but for vectors of a length of their own."""
    is_riscv = target.triple.startswith("riscv32") and target.vector_lanes == 1
    return target.environment is Environment.BARE and (is_riscv or target.triple.startswith("thumb"))


def certify(object_: bytes, interface: Interface, overlapping: int = 0) -> Certificate:
    """The certificate of an object; raises `InternalError` where nothing can be promised.

    `overlapping` is the number of calls that write where they have read.
    """
    elf = Elf.read(object_)
    if any(s.is_writable and s.size for s in elf.sections):
        raise InternalError("the code has variables of its own")
    found = _READERS[elf.machine](elf)
    names = (f"{interface.prefix}_{kind}" for kind in (interface.task.value, "bind", "reset"))
    roots = [name for name in names if name in found]
    depth, path = max((_deepest(found, name, ()) for name in roots), key=lambda p: p[0])
    loaded = [s for s in elf.sections if s.is_loaded]
    optional = sum(s.size for s in loaded if s.name.endswith(_OPTIONAL))
    used = [s for s in loaded if not s.name.endswith(_OPTIONAL)]
    code = sum(s.size for s in used if s.is_code)
    weights = 0 if interface.storage is Storage.FILE else interface.weights_bytes
    constants = sum(s.size for s in used) - code - weights
    outside = {name for root in roots for name in _reached(found, root) if name not in found}
    return Certificate(
        code=code,
        constants=constants,
        weights=weights,
        optional=optional,
        workspace=interface.workspace_bytes,
        stack=depth,
        deepest=path,
        outside=tuple(sorted(outside)),
        inputs=sum(t.type.bytes for t in interface.inputs) if interface.input_offsets else 0,
        overlapping=overlapping,
    )


def _deepest(
    found: Mapping[str, Function], name: str, above: tuple[str, ...]
) -> tuple[int, tuple[tuple[str, int], ...]]:
    """Bytes of the stack that a function takes with all that it calls, and the path on which it does."""
    if name in above:
        raise InternalError(f"{name} is called by what it calls")
    if name not in found:
        return 0, ()
    function = found[name]
    below = [_deepest(found, other, (*above, name)) for other in sorted(function.calls)]
    depth, path = max(below, key=lambda p: p[0], default=(0, ()))
    return function.frame + depth, ((name, function.frame), *path)


def _reached(found: Mapping[str, Function], name: str) -> set[str]:
    """All that a function calls, and what that calls."""
    seen, waiting = set[str](), [name]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += found[current].calls if current in found else ()
    return seen


def as_json(certificate: Certificate, name: str, target: str) -> str:
    """The certificate for tools."""
    c = certificate
    data: dict[str, Any] = {
        "net": name,
        "target": target,
        "flash": {"code": c.code, "constants": c.constants, "weights": c.weights, "total": c.flash},
        "optional_flash": c.optional,
        "ram": {"workspace": c.workspace, "stack": c.stack, "total": c.ram},
        "inputs_in_workspace": c.inputs,
        "overlapping_calls": c.overlapping,
        "deepest_calls": [{"function": name, "frame": frame} for name, frame in c.deepest],
        "functions_of_others": list(c.outside),
        "recursion": False,
        "indirect_calls": False,
        "variables": 0,
    }
    return json.dumps(data, indent=2) + "\n"


def as_table(certificate: Certificate) -> str:
    """The certificate for people, as rows of a table in Markdown."""
    c = certificate
    others = f", beside what {', '.join(f'`{name}`' for name in c.outside)} take" if c.outside else ""
    inputs = f" with inputs of {c.inputs:,}" if c.inputs else ""
    calls = "call writes" if c.overlapping == 1 else "calls write"
    reused = f"{c.overlapping} {calls} over what was read before; each kernel's loops show that nothing is lost.\n"
    reused = f"\n{reused}" if c.overlapping else ""
    deepest = ", ".join(f"`{name}` {frame}" for name, frame in c.deepest)
    return f"""## What it takes

| memory | bytes | |
| --- | ---: | --- |
| flash | {c.flash:,} | code {c.code:,}, constants {c.constants:,}, weights {c.weights:,} |
| flash of self-test and facts | {c.optional:,} | unless the linker leaves them out |
| RAM | {c.ram:,} | workspace {c.workspace:,}{inputs}, stack {c.stack:,}{others} |

The stack is that of the deepest calls: {deepest}. Frames and calls are read from the
object: no function calls itself, none is called through a pointer, and there are no variables.
{reused}"""

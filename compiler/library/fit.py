"""Whether a library fits into the RAM that a machine has for it."""

from __future__ import annotations

from ..errors import NetcError
from .interface import Interface


def ram_bytes(interface: Interface, stack: int | None) -> int:
    """All memory that a run needs: workspace, inputs and outputs, and the stack where that is known."""
    outside = () if interface.input_offsets else interface.inputs
    return interface.workspace_bytes + sum(t.type.bytes for t in (*outside, *interface.outputs)) + (stack or 0)


def check_fits(interface: Interface, stack: int | None, ram: int, least: int | None) -> None:
    """Raise `NetcError` if a run needs more than `ram` bytes; `least` is what it needs with inputs in the workspace."""
    needed = ram_bytes(interface, stack)
    if needed <= ram:
        return
    outside = sum(t.type.bytes for t in interface.inputs) if not interface.input_offsets else 0
    parts = [f"workspace {interface.workspace_bytes:,}"]
    parts += [f"inputs {outside:,}"] if outside else []
    parts += [f"outputs {sum(t.type.bytes for t in interface.outputs):,}"]
    parts += [f"stack {stack:,}"] if stack is not None else []
    is_float = any(t.type.dtype.is_float for t in interface.inputs)
    hint = "8-bit integers take a quarter: `netc quantize`" if is_float else "take a smaller input or fewer channels"
    if least is not None and least < needed:
        hint = f"with --inputs-in-workspace it needs {least:,} bytes" + ("" if least <= ram else f", and {hint}")
    raise NetcError(
        f"{interface.name} doesn't fit in {ram:,} bytes of RAM: the least is {needed:,} ({', '.join(parts)})", hint=hint
    )

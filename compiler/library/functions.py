"""What is known of a function of an object."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Function:
    """What readers of instructions find out."""

    name: str
    frame: int = 0
    """Bytes by which it lowers the stack pointer, in all."""
    calls: set[str] = field(default_factory=set[str])
    """Functions that it calls or jumps to."""


def signed(number: int, bits: int) -> int:
    """A field of an instruction in two's complement as a number."""
    return number - (1 << bits) if number >> (bits - 1) else number

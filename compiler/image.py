"""Machine code in memory: what it is once it is linked, and what it offers once it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

SAVED_MAGIC = b"\x93netc\r\n\x1a"
"""How the file of a saved program begins."""
SAVED_SUFFIX = ".netc"
"""How its name ends."""
PAGE = 1 << 16
"""No machine that netc runs on has larger pages of memory."""

PYTHON_CALL = "netc_python_call_1"
"""A function that CPython calls as one of its own, which runs a program: `codegen/python_call.ll`.

The number is that of the layouts that it takes, those of `runtime/direct.py`: saved programs may hold an older one.
"""


class LoadedObject(Protocol):
    """Code in this process, which stays as long as this lives."""

    @property
    def addresses(self) -> Mapping[str, int]:
        """Where its functions start, by name."""
        ...


@dataclass(frozen=True, slots=True)
class Image:
    """Linked code, which runs wherever it lies: it is copied to memory, and addresses go into its slots.

    `code` holds instructions and constants, up to a multiple of `PAGE`; behind them, in memory, lie the slots.
    """

    code: bytes = field(repr=False)
    slots: tuple[str, ...]
    """Functions of the C library: the address of each goes into the slot of 8 bytes with its number."""
    exports: Mapping[str, int]
    """Where its own functions start in `code`, by name."""

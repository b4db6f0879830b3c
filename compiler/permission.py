"""Asking the operating system for tile registers, which a process may not use by itself.

Linux keeps their 8 KB out of a process's state until it asks for them (arch_prctl of Documentation/arch/x86/xstate.rst,
since 5.16). What is granted holds for all threads, and for those that come later. Refused means: no tiles here.
"""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

_SYSCALL_ARCH_PRCTL = 158
_ARCH_REQ_XCOMP_PERM = 0x1023
_XFEATURE_TILE_DATA = 18

TILE_FEATURES = ("amx-tile", "amx-int8", "amx-bf16")
"""LLVM's names of the instruction sets that need the permission."""


@cache
def tiles_are_permitted() -> bool:
    """Ask, once in a process, whether it may use tile registers; from then on it may if the answer is yes."""
    if not sys.platform.startswith("linux") or os.uname().machine != "x86_64" or sys.maxsize < 1 << 32:
        return False
    try:
        call = ctypes.CDLL(None, use_errno=True).syscall
    except (OSError, AttributeError):
        return False
    call.restype = ctypes.c_long
    numbers = (_SYSCALL_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_TILE_DATA)
    return int(call(*map(ctypes.c_long, numbers))) == 0

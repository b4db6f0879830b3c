"""Names of the section in which a linker script finds a library's weights."""

from __future__ import annotations

import re

from ..errors import NetcError
from ..targets.target import Target

_MEANT = """
    text bss tbss tdata symtab strtab shstrtab dynsym dynstr dynamic hash rel rela got plt group note comment debug
    init fini init_array fini_array preinit_array ctors dtors eh_frame gcc_except_table ARM riscv noinit
"""
_TAKEN = re.compile(rf"\.({'|'.join(_MEANT.split())})(\..*|_.*)?")
"""Sections to which assemblers, linkers and loaders give a meaning of their own: code, zeros, tables."""
_MACH_O = re.compile(r"\w{1,16},\w{1,16}")


def check_section(name: str, target: Target) -> None:
    """Raise `NetcError` for a name of a section that can't hold weights in objects for a target."""
    if not name or not name.isascii() or not name.isprintable() or '"' in name or "\\" in name:
        raise NetcError(f"`{name}` is no name of a section", hint="for example --weights-section .flash_weights")
    if "apple" in target.triple:
        if not _MACH_O.fullmatch(name):
            hint = "for example --weights-section __DATA,__weights"
            raise NetcError(f"`{name}` is no name of a segment and a section, as macOS has them", hint=hint)
    elif _TAKEN.fullmatch(name):
        hint = "for example --weights-section .flash_weights"
        raise NetcError(f"`{name}` means something else to linkers", hint=hint)

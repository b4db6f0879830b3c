"""Linked code brought into this process: copied to memory, its slots filled, made executable and unchangeable."""

from __future__ import annotations

import ctypes
import mmap
import os
import struct
from collections.abc import Mapping

from ..compiler.errors import NetcError
from ..compiler.image import Image

_READ, _EXECUTE = 1, 4


class LoadedImage:
    """An image in memory, which stays as long as this lives.

    Raises `NetcError` if the system allows no new code in this process, or if a function of the C library is missing.
    """

    def __init__(self, image: Image) -> None:
        slots = struct.pack(f"<{len(image.slots)}Q", *map(_address, image.slots))
        size = len(image.code)
        self._memory = mmap.mmap(-1, size + len(slots))
        self._memory[:] = image.code + slots
        start = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        _protect(start, size, _READ | _EXECUTE)
        if slots:
            _protect(start + size, len(slots), _READ)
        self.addresses: Mapping[str, int] = {name: start + offset for name, offset in image.exports.items()}


def _address(name: str) -> int:
    """Where a function of the C library starts."""
    try:
        function = getattr(ctypes.CDLL(None), name)
    except AttributeError:
        raise NetcError(f"the C library of this machine has no function {name}") from None
    return ctypes.cast(function, ctypes.c_void_p).value or 0


def _protect(start: int, size: int, what: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(size), what):
        raise NetcError(f"this process may run no new code: {os.strerror(ctypes.get_errno())}")

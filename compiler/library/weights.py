"""The file of a library's weights: a head of 64 bytes, then the weights as the code reads them.

| bytes | |
| --- | --- |
| 0 to 7 | `NETCWTS1` |
| 8 to 15 | the hash of the code that reads them |
| 16 to 23 | bytes behind the head |
| 24 to 27 | checksum of these: FNV-1a over words of 32 bits in place of bytes |
| 28 to 63 | 0 |

Numbers are little-endian.
"""

from __future__ import annotations

import struct

import numpy as np

from .interface import HEAD_BYTES

MAGIC = b"NETCWTS1"
BASIS = 0x811C9DC5
PRIME = 0x01000193
"""Of FNV-1a with 32 bits (Fowler, Noll and Vo; RFC 9923)."""


def checksum(data: bytes) -> int:
    """FNV-1a over little-endian words of 32 bits, of which `data` holds a whole number."""
    total = BASIS
    for word in np.frombuffer(data, "<u4").tolist():
        total = ((total ^ word) * PRIME) & 0xFFFFFFFF
    return total


def weights_file(region: bytes, code: int) -> bytes:
    """The file for weights of a library whose code has this hash."""
    head = struct.pack("<8sQQI", MAGIC, code, len(region), checksum(region))
    return head.ljust(HEAD_BYTES, b"\0") + region

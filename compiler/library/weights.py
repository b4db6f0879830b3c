"""The file of a library's weights: a head of 64 bytes, then the weights as the code reads them.

| bytes | |
| --- | --- |
| 0 to 7 | `NETCWTS1` |
| 8 to 15 | the hash of the code that reads them |
| 16 to 23 | bytes behind the head |
| 24 to 27 | checksum of these: for each word of 32 bits h' = 16777619 h + word modulo 2^32, from h = 2166136261 |
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
"""A polynomial of the words in this number: odd, so that each changed word changes the sum."""
_BLOCK = 1 << 16


def checksum(data: bytes) -> int:
    """The sum over little-endian words of 32 bits, of which `data` holds a whole number."""
    words, total = np.frombuffer(data, "<u4"), BASIS
    powers = np.multiply.accumulate(np.full(_BLOCK, PRIME, np.uint32), dtype=np.uint32)[::-1]  # to the first
    for start in range(0, words.size, _BLOCK):
        block = words[start : start + _BLOCK]
        products = block[:-1] * powers[_BLOCK - block.size + 1 :]
        total = total * pow(PRIME, block.size, 1 << 32) + int(products.sum(dtype=np.uint32)) + int(block[-1])
    return total & 0xFFFFFFFF


def weights_file(region: bytes, code: int) -> bytes:
    """The file for weights of a library whose code has this hash."""
    head = struct.pack("<8sQQI", MAGIC, code, len(region), checksum(region))
    return head.ljust(HEAD_BYTES, b"\0") + region

"""What reading one network may cost, however its text is written: tokens, steps of work, bytes of lists and texts.

All files of a net, all nets of a file that is checked and all builtin functions draw from one `Budget`. A step is about
a microsecond: an expression that is evaluated, or some items of a list that is copied or looked through.
"""

from __future__ import annotations

import sys
from typing import Any

MAX_FILE = 1 << 20
"""Largest file, and largest sum of all files of a net, in bytes."""
MAX_TOKENS = 40_000
"""Names, numbers, texts and signs in all files of a net."""
MAX_STEPS = 1_000_000
"""Statements and expressions that are evaluated at compile time, and work as long as theirs."""
MAX_BYTES = 1 << 26
"""Bytes of all lists, texts and names that are made at compile time."""

EXPRESSION = 5
"""Tokens that an expression in a text is worth, besides its own."""
WALKED = 2
"""Items of a list that are worth a step where each is looked at."""
COPIED = 64
"""Items of a list, or characters of a text, that are worth a step where they are copied."""
ITEM_BYTES = 96
"""Bytes that an item of a list takes at most in the lists that builtin functions make: some hold pairs."""
MAX_OPERATIONS = 25_000
"""Operations of all graphs."""
REPORT = 100
"""Steps that an error is worth."""


class OverspentError(Exception):
    """A budget is used up; the message is for people."""


class Budget:
    """What is left of the limits; each method raises `OverspentError` where nothing is."""

    def __init__(self) -> None:
        self.file_bytes = 0
        self.tokens = 0
        self.steps = 0
        self.bytes = 0
        self.operations = 0

    @property
    def is_spent(self) -> bool:
        """Whether a limit has been passed."""
        limits = (MAX_TOKENS, MAX_STEPS, MAX_BYTES, MAX_OPERATIONS)
        used = (self.tokens, self.steps, self.bytes, self.operations)
        return any(amount > limit for amount, limit in zip(used, limits, strict=True))

    def expression(self) -> None:
        """Begin to read an expression in a text, which takes as long as some tokens by itself."""
        self.tokens += EXPRESSION

    def token(self) -> None:
        """Read one more token."""
        self.tokens += 1
        if self.tokens > MAX_TOKENS:
            raise OverspentError(f"a net may have {MAX_TOKENS:,} names, numbers and signs in all its files")

    def work(self, steps: int) -> None:
        """Work as long as the evaluation of that many expressions."""
        self.steps += steps
        if self.steps > MAX_STEPS:
            raise OverspentError(f"elaboration takes more than {MAX_STEPS} steps")

    def operation(self, operands: int) -> None:
        """Add an operation to a graph."""
        self.operations += 1
        if self.operations > MAX_OPERATIONS:
            raise OverspentError(f"the net has more than {MAX_OPERATIONS} operations")
        self.work(operands)

    def look_through(self, items: int) -> None:
        """Go through the items of a list."""
        self.work(1 + items // WALKED)

    def make(self, value: tuple[Any, ...] | str) -> None:
        """Make a list or a text."""
        self.work(1 + len(value) // COPIED)
        self.keep(sys.getsizeof(value))

    def keep(self, size: int) -> None:
        """Take that many bytes."""
        self.bytes += size
        if self.bytes > MAX_BYTES:
            raise OverspentError(f"the lists, texts and names of this net take more than {MAX_BYTES >> 20} MiB")

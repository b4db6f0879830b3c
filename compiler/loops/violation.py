"""What verifiers of kernels and modules raise."""

from __future__ import annotations


class ViolationError(Exception):
    """What is wrong with a kernel or module, without its text."""


def check(holds: bool, message: str) -> None:
    """Raise `ViolationError` unless something holds."""
    if not holds:
        raise ViolationError(message)

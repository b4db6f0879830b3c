"""What several tests of training need."""

from __future__ import annotations

from pathlib import Path


def damage(path: Path) -> None:
    """Make a picture unreadable."""
    path.write_bytes(path.read_bytes()[:40])

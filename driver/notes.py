"""What was guessed, or isn't plain: one line each on stderr."""

from __future__ import annotations

from .output import echo
from .runtime.calibration import CalibrationPictures, PictureFiles, open_pictures


def show_notes(*notes: str | None) -> None:
    """Show each note once; None is no note."""
    for text in dict.fromkeys(filter(None, notes)):
        echo(f"note: {text}", err=True)


def open_noted(source: str, limit: int, white: float | None = None) -> CalibrationPictures:
    """Pictures to calibrate with; says what is passed over of `limit` of them, and lost of deep ones."""
    pictures = open_pictures(source)
    if isinstance(pictures, PictureFiles):
        show_notes(*pictures.notes(limit, white))
    return pictures

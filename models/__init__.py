"""The shipped networks (`*.net`) and what goes with them."""

from pathlib import Path

FOLDER = Path(__file__).parent
"""Where the files of this package lie."""

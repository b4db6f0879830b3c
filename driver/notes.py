"""What was guessed, or isn't plain: one line each on stderr."""

from __future__ import annotations

import click


def show_notes(*notes: str | None) -> None:
    """Show each note once; None is no note."""
    for text in dict.fromkeys(filter(None, notes)):
        click.echo(f"note: {text}", err=True)

"""What was guessed, or isn't plain: one line each on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .compiler.graph.ir import Graph
    from .runtime.data.calibration import CalibrationSamples


def show_notes(*notes: str | None) -> None:
    """Show each note once; None is no note."""
    from .output import echo  # brings Click along

    for text in dict.fromkeys(filter(None, notes)):
        echo(f"note: {text}", err=True)


def transposes_note(graph: Graph) -> str | None:
    """How many transposes a file's network keeps."""
    from .compiler.passes.axis_orders import transposes_left

    left = transposes_left(graph) if "format" in graph.attributes else None
    if left is None or not left.inside + left.rearranging:
        return None
    shuffles = f", {left.rearranging} of them shuffles of split dimensions" if left.rearranging else ""
    count = left.inside + left.rearranging
    return f"{count} transpose{'s are' if count > 1 else ' is'} left inside{shuffles}"


def open_noted(source: str, limit: int, graph: Graph) -> CalibrationSamples:
    """CalibrationSamples to calibrate `graph` with; says what is passed over of `limit` of them, lost or guessed."""
    from .runtime.data.calibration import notes_on
    from .runtime.data.registry import open_samples

    samples = open_samples(source)
    show_notes(*notes_on(samples, graph, limit))
    return samples

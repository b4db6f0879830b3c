"""What was guessed, or isn't plain: one line each on stderr."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .compiler.graph.ir import Graph
    from .runtime.data.calibration import CalibrationSamples


def show_notes(*notes: str | None) -> None:
    """Show each note once; None is no note."""
    from .output import echo  # brings Click along

    for text in dict.fromkeys(filter(None, notes)):
        echo(f"note: {text}", err=True)


@contextmanager
def warnings_for_people() -> Iterator[list[str]]:
    """Write warnings of quantization to stderr as the command line does, and gather their texts."""
    from .compiler.quantization import QuantizationWarning
    from .output import echo

    texts: list[str] = []

    def show(message: Warning | str, category: type[Warning], *rest: Any) -> None:
        if not isinstance(message, QuantizationWarning):
            return others(message, category, *rest)
        texts.append(str(message))
        echo(f"warning: {message}", err=True)
        return None

    with warnings.catch_warnings():
        warnings.simplefilter("always", QuantizationWarning)
        others = warnings.showwarning
        warnings.showwarning = show  # type: ignore[assignment]
        yield texts


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

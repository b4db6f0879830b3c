"""Running pipelines: passes one after the other, with a look at the graph after each of them.

What happens between passes is made of observers, functions of a `Step`. The verifier is one of them and there by
default; printing is another, and writes to whatever the caller passes in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from ..errors import InternalError, NetcError
from ..graph.ir import Graph
from ..graph.verifier import Sound, verify
from .base import Pass


@dataclass(frozen=True, slots=True)
class Step:
    """One pass that has been run."""

    done: Pass
    before: Graph
    after: Graph
    seconds: float
    """Wall time of the pass alone."""


Observer = Callable[[Step], None]


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a pass took, in seconds, and the number of operations it left."""

    name: str
    seconds: float
    operations: int


@dataclass(frozen=True)
class PassManager:
    """A list of passes, and what is done after each."""

    passes: Sequence[Pass]
    observers: Sequence[Observer] = ()
    verify: bool = True

    def run(self, graph: Graph) -> Graph:
        """Carry out all passes. `InternalError` names the pass that broke the graph and shows the graph before it."""
        sound = Sound()
        if self.verify:
            verify(graph, sound=sound)
        for each in self.passes:
            step = _run_step(each, graph)
            if self.verify:
                _verify_step(step, sound)
            for observe in self.observers:
                observe(step)
            graph = step.after
        return graph


def _run_step(each: Pass, graph: Graph) -> Step:
    start = time.perf_counter()
    try:
        after = each.run(graph)
    except (NetcError, InternalError):
        raise
    except Exception as error:
        message = f"the pass {each} failed with {type(error).__name__}: {error}\nthe graph before it:\n{graph}"
        raise InternalError(message) from error
    return Step(each, graph, after, time.perf_counter() - start)


def _verify_step(step: Step, sound: Sound) -> None:
    if step.after is step.before:
        return
    try:
        verify(step.after, sound=sound)
    except InternalError as error:
        raise InternalError(f"after the pass {step.done}: {error}\nthe graph before it:\n{step.before}") from error


def record_timings(timings: list[Timing]) -> Observer:
    """An observer that adds the time of every pass to a list."""

    def observe(step: Step) -> None:
        timings.append(Timing(str(step.done), step.seconds, len(step.after.operations)))

    return observe


def print_after(write: Callable[[str], object], names: Collection[str] = ("all",)) -> Observer:
    """An observer that writes the graph after the passes called `names`, or after all of them."""

    def observe(step: Step) -> None:
        if "all" in names or step.done.name in names:
            write(f"// ----- after {step.done} -----\n{step.after}")

    return observe


def print_changed(write: Callable[[str], object]) -> Observer:
    """An observer that writes the graph after each pass that changed it."""

    def observe(step: Step) -> None:
        text = None if step.after is step.before else str(step.after)
        if text is None or text == str(step.before):
            write(f"// ----- {step.done}: no change -----\n")
        else:
            write(f"// ----- after {step.done} -----\n{text}")

    return observe

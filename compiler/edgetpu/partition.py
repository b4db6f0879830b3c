"""Which operators run on the Edge TPU: the one region that the compiler makes.

An operator without objections is mapped unless it depends, directly or not, on a *break*: an operator left on the CPU
that itself depends on a mapped one. Operators on the CPU in front of the first mapped one break nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .facts import OperatorFacts, TensorFacts
from .release import Release
from .status import Objection, Status
from .support import objection
from .surroundings import Surroundings


@dataclass(frozen=True, slots=True)
class Placement:
    """Where one operator runs; no objection: on the Edge TPU."""

    operator: OperatorFacts
    objection: Objection | None

    @property
    def mapped(self) -> bool:
        """True if it runs on the Edge TPU."""
        return self.objection is None

    @property
    def status(self) -> Status:
        """The compiler's word for it."""
        return Status.MAPPED if self.objection is None else self.objection.status


@dataclass(frozen=True, slots=True)
class _Past:
    """What lies before a tensor: a mapped operator, and the operator that broke the region."""

    mapped: bool = False
    broken_by: OperatorFacts | None = None


def partition(operators: Sequence[OperatorFacts], release: Release) -> tuple[Placement, ...]:
    """Place the operators of a model, given in execution order."""
    around = Surroundings(operators)
    pasts: dict[TensorFacts, _Past] = {}
    placements: list[Placement] = []
    for op in operators:
        before = [pasts.get(t, _Past()) for t in op.activations]
        broken_by = next((p.broken_by for p in before if p.broken_by), None)
        reason = objection(op, release, around) or (_behind(broken_by) if broken_by else None)
        reached = any(p.mapped for p in before)
        if reason is not None and reached and broken_by is None:
            broken_by = op
        past = _Past(reached or reason is None, broken_by)
        pasts.update(dict.fromkeys(op.outputs, past))
        placements.append(Placement(op, reason))
    return tuple(placements)


def _behind(broken_by: OperatorFacts) -> Objection:
    name = broken_by.written_as or broken_by.kind
    place = f" ({broken_by.location})" if broken_by.location else ""
    return Objection(
        Status.SECOND_SUBGRAPH,
        f"could run on the Edge TPU, but comes behind {name}{place}, which can't",
        f"replace {name}, or move it to the end",
    )

"""Classification: scores of classes [N, classes]."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..classes import Class, best_classes, gives_probabilities
from ..compiler.signature import Network
from ..compiler.text import printable
from .answer import Answer, Choices, Outputs, Task, View

USUAL = 5
"""How many classes are listed unless told otherwise."""


@dataclass(frozen=True)
class BestClasses(Answer):
    """The most probable classes, best first."""

    best: list[Class]

    def text(self) -> str:
        """A line for each class."""
        return "".join(f"{c.probability:8.2%}  {printable(c.name)}\n" for c in self.best)

    def data(self) -> list[dict[str, Any]]:
        """A record for each class."""
        return [asdict(c) for c in self.best]


class Classification(Task):
    """What the picture shows."""

    name = "classification"
    drawn = False

    @staticmethod
    def knows(graph: Network) -> bool:
        """One output, a row of scores for each picture."""
        return len(graph.results) == 1 and graph.results[0].type.rank == 2

    @staticmethod
    def answer(outputs: Outputs, view: View, choices: Choices) -> Answer:
        """The best classes."""
        probable = gives_probabilities(outputs.graph)
        return BestClasses(best_classes(outputs.arrays[0], choices.labels, choices.top or USUAL, probable=probable))


TASKS = (Classification,)

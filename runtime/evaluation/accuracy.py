"""What accuracy is: top-1 and top-5, of one program or of two side by side. `scoring` measures it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...compiler.errors import NetcError
from ...compiler.signature import Array, Network, real
from ..data.layout import as_input


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How often the right class came first, and among the first five."""

    samples: int
    top1_correct: int
    top5_correct: int
    skipped: tuple[str, ...] = ()
    """Why samples could not be used, one message each; they are not among `samples`."""

    @property
    def main(self) -> str:
        """The result that counts most."""
        return "accuracy"

    @property
    def results(self) -> Mapping[str, float]:
        """By their names in metrics."""
        return {"accuracy": self.top1, "top5": self.top5}

    @property
    def score(self) -> float:
        """The larger, the better."""
        return self.top1

    @property
    def top1(self) -> float:
        """Share of samples whose right class came first."""
        return self.top1_correct / self.samples

    @property
    def top5(self) -> float:
        """Share of samples whose right class was among the first five."""
        return self.top5_correct / self.samples


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two programs did on the same samples, and on how many they gave the same answer."""

    first: Evaluation
    second: Evaluation
    agreed: int

    @property
    def agreement(self) -> float:
        """Share of samples on which both put the same class first."""
        return self.agreed / self.first.samples


def on_floats(program: Callable[[Array], Array | tuple[Array, ...]], graph: Network) -> Callable[[Array], Array]:
    """A program compiled from `graph` as one from f32 inputs to the real numbers of its first output."""

    def run(x: Array) -> Array:
        outputs = program(as_input(x, graph.inputs[0].type))
        return real(outputs[0] if isinstance(outputs, tuple) else outputs, graph.results[0])

    return run


def rank_of_label(scores: Array, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many classes stand before the label's in each row of [N, classes]; of equal scores the lower index leads.

    Raises `NetcError` for infinities and NaNs.
    """
    if not np.isfinite(scores).all():
        raise NetcError("the program's output holds infinities or NaNs", hint="are these the net's weights?")
    own = np.take_along_axis(scores, labels[:, np.newaxis], axis=1)
    earlier = np.arange(scores.shape[1]) < labels[:, np.newaxis]
    ranks: NDArray[np.int64] = ((scores > own) | ((scores == own) & earlier)).sum(axis=1)
    return ranks

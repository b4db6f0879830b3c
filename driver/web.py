"""What a page must know of a network: how its pictures are prepared, and what its answers are called."""

from __future__ import annotations

from .compiler.errors import NetcError
from .compiler.graph.ir import Graph
from .compiler.library.web import Meaning, Picture
from .picture import gives_probabilities, usable_labels
from .pipeline import Weights
from .runtime.data.images import Preprocess
from .runtime.data.layout import channels_first


def meaning_of(graph: Graph, model: str, weights: Weights = None) -> Meaning:
    """The meaning of a network that was read from `model`; a batch of several pictures has none."""
    labels = usable_labels(graph, model, weights).names or ()
    return Meaning(_picture(graph), labels, bool(graph.results) and gives_probabilities(graph))


def _picture(graph: Graph) -> Picture | None:
    try:
        p = Preprocess.of(graph)
    except NetcError:  # no picture
        return None
    first = graph.inputs[0].type
    if first.shape[0] != 1 or p.channels not in (1, 3):
        return None
    mean, std = (numbers * p.channels if len(numbers) == 1 else numbers for numbers in (p.mean, p.std))
    return Picture(p.height, p.width, p.channels, p.crop, p.resize, p.divide, mean, std, channels_first(first))

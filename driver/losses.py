"""The loss that a text names: one of the library, or a block of the net's own file."""

from __future__ import annotations

from .compiler.errors import NetcError
from .compiler.graph.ir import Graph
from .compiler.spec import parse_spec
from .compiler.training import GraphLoss, Loss, parse_loss
from .frontend import FORMATS, format_of, load_loss
from .pipeline import Source


def find_loss(text: str, source: Source, graph: Graph | None) -> Loss:
    """Read a loss such as `softmax_cross_entropy(label_smoothing=0.1)`, or `focal(gamma=2)` where focal is a block.

    `source` is what the net `graph` was loaded from: what its file calls so goes before the library. Without a graph
    only the library counts. Raises `NetcError` for unknown names, for options that don't fit and for what is wrong
    with the block.
    """
    if isinstance(source, Graph) or graph is None or len(graph.outputs) != 1:
        return parse_loss(text)
    if format_of(source) is not FORMATS["net"]:  # only those define blocks
        return parse_loss(text)
    spec = parse_spec(text)
    own = load_loss(source, spec.name, graph.outputs[0].type, spec.named)
    if own is None:
        return parse_loss(text)
    if spec.positional:
        raise NetcError(f"`{text}`: options of a loss are given by name")
    return GraphLoss(graph=own)

"""The loss that a text names: one of the library, or a block of the net's own file."""

from __future__ import annotations

from .compiler.errors import NetcError
from .compiler.graph.ir import Graph
from .compiler.spec import parse_spec
from .compiler.training import GraphLoss, Loss, parse_loss
from .frontend import FORMATS, format_of, load_loss
from .loading import Source


def find_loss(text: str, source: Source, graph: Graph | None) -> Loss:
    """Read a loss such as `softmax_cross_entropy(label_smoothing=0.1)`, or `focal(gamma=2)` where focal is a block.

    The net `graph` was loaded from `source`. A block of that file takes precedence over a loss of the library that has
    the same name; without a graph only the library is searched. Raises `NetcError` for an unknown name, for options
    that the loss doesn't have, and for errors in the block.
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

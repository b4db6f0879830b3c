"""What goes into the pipeline: networks, from files of any format, and values for their weights."""

from __future__ import annotations

import operator
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any, SupportsIndex

from .compiler import passes
from .compiler.errors import NetcError, Note
from .compiler.graph.ir import Array, Graph
from .compiler.passes.thaw import thaw
from .compiler.preprocess import overridden
from .frontend import Choices, format_of
from .readings import layout_read, reading_float_weights, reading_layout, reads_float_weights
from .runtime.weights import check_weights, initial_weights, read_weights

Source = str | os.PathLike[str] | Graph
"""A path to a file of a network (`netc.frontend.formats`), the name of a shipped net, or a graph."""
Weights = str | os.PathLike[str] | Mapping[str, Array] | None
"""A safetensors file, arrays by parameter name in the graph's layout, or None: seeded initial values."""


def load(
    source: Source,
    *,
    net: str | None = None,
    batch: int = 1,
    settings: Mapping[str, Any] | None = None,
    preprocess: Mapping[str, Any] | None = None,
    allow_import: Sequence[str | os.PathLike[str]] = (),
    float_weights: bool = False,
    layout: str | None = None,
    with_parameters: bool = False,
) -> Graph:
    """Read a network: a path to a file in one of netc's formats, the name of a shipped net, or a graph, returned as is.

    `settings` are a net's hyperparameters and free sizes by name, or the shapes of inputs that a file leaves free.
    `preprocess` are settings of pictures, such as `divide`, that count before those that the network declares.

    The files that a `.net` file names lie in its folder or below, or below one of the folders `allow_import`. With
    `float_weights` 8-bit weights of a file of dynamic range are read as floats, which can be differentiated and
    quantized again; else floats are quantized while the network runs, as LiteRT does it. With the layout "nhwc",
    inputs and outputs that a file has channels-first are channels-last. `with_parameters` has parameters where a file
    holds weights, for other weights beside it (see `load_to_train`).
    """
    if with_parameters and not isinstance(source, Graph):
        given: dict[str, Any] = {"net": net, "batch": batch, "settings": settings, "preprocess": preprocess}
        with reading_layout(layout or layout_read()):
            return load_to_train(source, **given, allow_import=allow_import)[0]
    if isinstance(source, Graph):
        return _with_preprocess(source, preprocess)
    choices = Choices(net, _checked_batch(batch), settings or {}, allow_import)
    with reading_float_weights(float_weights), reading_layout(layout or layout_read()):
        return _with_preprocess(_read(source, choices), preprocess)


def load_to_train(
    source: Source,
    *,
    net: str | None = None,
    batch: int = 1,
    settings: Mapping[str, Any] | None = None,
    preprocess: Mapping[str, Any] | None = None,
    allow_import: Sequence[str | os.PathLike[str]] = (),
) -> tuple[Graph, Mapping[str, Array] | None]:
    """Read a network to train it: its weights are parameters, whose values are returned with it.

    None for a network that has parameters, such as that of a `.net` file: their values come from elsewhere. What an
    ONNX file has in the form for training is read as what knows of training. The arguments are those of `load`. Raises
    `NetcError` for what can't be read, and for networks without weights of floats.
    """
    if isinstance(source, Graph):
        graph = source
    else:
        choices = Choices(net, _checked_batch(batch), settings or {}, allow_import, to_train=True)
        with reading_float_weights(format_of(source).has_weights):
            graph = _read(source, choices)
    graph = _with_preprocess(graph, preprocess)
    if graph.weights or not (isinstance(source, Graph) or format_of(source).has_weights):
        return graph, None
    trained, values = thaw(graph)
    if not values:
        hint = "a network of integers is trained as the floats it was made from; --compare of eval takes their weights"
        raise NetcError(f"{graph.name} holds no weights of floats, which others could replace", hint=hint)
    return trained, values


def _checked_batch(batch: int) -> int:
    if not isinstance(batch, SupportsIndex) or operator.index(batch) < 1:
        raise NetcError(f"a batch is a positive whole number of samples, not {batch!r}")
    return operator.index(batch)


def _read(source: str | os.PathLike[str], choices: Choices) -> Graph:
    graph = format_of(source).read(source, choices)
    read = passes.float_weights(graph) if reads_float_weights() else graph
    if layout_read() != "nhwc":
        return read
    turned = passes.channels_last_ends(read)
    if turned is read:
        unchanged = "no input or output is transposed to or from channels-last, so each stays as it is in the file"
        warnings.warn(f"--layout nhwc changes nothing in {graph.name}: {unchanged}", Note, stacklevel=4)
    return turned


def _with_preprocess(graph: Graph, given: Mapping[str, Any] | None) -> Graph:
    """The graph with other settings of its pictures."""
    if not given:
        return graph
    settings = overridden(graph.attributes.get("preprocess") or {}, given)
    return replace(graph, attributes=MappingProxyType({**graph.attributes, "preprocess": settings}))


def find_weights(
    weights: Weights, graph: Graph, seed: int = 0, *, skip: str | Sequence[str] = ()
) -> Mapping[str, Array]:
    """The values of a graph's parameters from a file, from a mapping, or drawn by `seed`.

    What matches a pattern in `skip` is left out, of the parameters as of what is given. Raises `NetcError` where the
    others don't fit.
    """
    if weights is None:
        if skip:
            raise NetcError("parameters are skipped in weights that are given, and none are", hint="leave `skip` out")
        return initial_weights(graph, seed)
    if isinstance(weights, Mapping):
        return check_weights(weights, graph, skip)
    return read_weights(weights, graph, skip)

"""Libraries for browsers and Node: what `compiler.library.web` must know of a network."""

from __future__ import annotations

from .classes import gives_probabilities
from .compiler.errors import NetcError
from .compiler.graph.ir import Graph
from .compiler.library.header import Build
from .compiler.library.web import Meaning, Picture, web_files
from .runtime.data.images import Preprocess
from .runtime.data.layout import channels_first


def web_library(build: Build, graph: Graph, code: bytes, weights: bytes | None) -> dict[str, bytes]:
    """The files of a library for WebAssembly, by name: of its object, and the file of its weights if there is one."""
    probable = bool(graph.results) and gives_probabilities(graph)
    meaning = Meaning(_picture(graph), build.extras.labels, probable, bool(build.extras.answers))
    return web_files(build.interface, code, weights, meaning)


def _picture(graph: Graph) -> Picture | None:
    """How the only input is made of a picture; None if it isn't, or of several."""
    try:
        p = Preprocess.of(graph)
    except NetcError:  # no picture
        return None
    first = graph.inputs[0].type
    if first.shape[0] != 1 or p.channels not in (1, 3):
        return None
    mean, std = (numbers * p.channels if len(numbers) == 1 else numbers for numbers in (p.mean, p.std))
    return Picture(p.height, p.width, p.channels, p.crop, p.resize, p.divide, mean, std, channels_first(first))

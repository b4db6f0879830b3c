"""The formats in which networks come: how a file of each is told from others, and who reads it.

What a file is, `format_of` says, and nobody else. A new format is a row in `FORMATS`; its reader is imported when the
first file of the format is read.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..compiler.errors import NetcError
from ..compiler.graph.ir import Graph
from ..compiler.image import SAVED_MAGIC, SAVED_SUFFIX
from ..compiler.reading import first_bytes
from ..compiler.text import with_article
from .lexer import is_network
from .loading import load_network

AnyPath = str | os.PathLike[str]

HEAD = 1 << 16
"""How many bytes of a file are looked at to recognise its format."""


@dataclass(frozen=True, slots=True)
class Choices:
    """What a format may leave open: which network of a file, its sizes and hyperparameters, what else it may read.

    `settings` are hyperparameters (lower case) and free sizes (upper case) by name.
    """

    net: str | None = None
    batch: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    allow_import: Sequence[AnyPath] = ()
    to_train: bool = False
    """Whether the network is to be trained: what a file says about training counts."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format of files that hold a network.

    `name` stands in messages behind an article, `suffixes` begin with a dot, `recognizes` judges the first bytes of a
    file. `read` makes the graph; it raises `NetcError` for choices that the format doesn't leave.
    """

    name: str
    suffixes: tuple[str, ...]
    recognizes: Callable[[bytes], bool]
    read: Callable[[AnyPath, Choices], Graph]
    has_weights: bool = False
    """Whether files hold the network's weights, too."""


def format_of(source: AnyPath) -> Format:
    """The format of a file, by its name and by its first bytes; a `.net` file if neither tells, or of a shipped net.

    Raises `NetcError` if the name says one format and the content another.
    """
    path = os.fspath(source)
    suffix = Path(path).suffix.lower()
    named = next((f for f in FORMATS.values() if suffix in f.suffixes), None)
    head = first_bytes(path, HEAD)
    if head.startswith(SAVED_MAGIC):
        problem = f"{path} is a saved program, which holds code and no network"
        raise NetcError(problem, hint="`netc run`, `netc bench` and `netc eval` take it; in Python, netc.load_program")
    if suffix == SAVED_SUFFIX and os.path.isfile(path):
        raise NetcError(f"{path} is no saved program", hint="`netc compile NET -o FILE.netc` writes one")
    if named is not None and named.recognizes(head):
        return named
    found = next((f for f in FORMATS.values() if f.recognizes(head)), None)
    if named is not None and found is not None:
        better = " or ".join(f"`{Path(path).stem}{suffix}`" for suffix in found.suffixes)
        raise NetcError(
            f"{path} is named like {with_article(named.name)}, but holds {with_article(found.name)}",
            hint=f"call it {better}",
        )
    return named or found or FORMATS["net"]


# ---- the formats ----------------------------------------------------------------------------------------------------


def _text(head: bytes) -> str:
    """The first bytes as text; empty if they are none."""
    try:
        return codecs.getincrementaldecoder("utf-8-sig")().decode(head)
    except UnicodeDecodeError:
        return ""


def _is_graph(text: str) -> bool:
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if line and not line.startswith("//")), "").startswith("graph @")


def _read_net(path: AnyPath, choices: Choices) -> Graph:
    sizes = {name: value for name, value in choices.settings.items() if name[:1].isupper()}
    hyperparameters = {name: value for name, value in choices.settings.items() if name not in sizes}
    return load_network(
        path,
        net=choices.net,
        batch=choices.batch,
        sizes=sizes,
        hyperparameters=hyperparameters,
        allow_import=choices.allow_import,
    )


def _load_graph(path: AnyPath) -> Graph:
    from .graph_text import load_graph

    return load_graph(path)


def _read_tflite(path: AnyPath, choices: Choices) -> Graph:
    from .tflite import Sizes, load_tflite  # brings the readers of all operators along, which most networks don't need

    sizes = Sizes(choices.batch, choices.settings)
    return _with_batch(path, choices, load_tflite(path, choices.net, sizes))


def _is_onnx(head: bytes) -> bool:
    """Whether a file begins like a ModelProto: with the version of its format, behind which stands another field."""
    return len(head) > 2 and head[0] == 0x08 and 1 <= head[1] < 0x40 and head[2] in _ONNX_FIELDS


_ONNX_FIELDS = frozenset(
    number << 3 | kind for number, kind in ((2, 2), (3, 2), (4, 2), (5, 0), (6, 2), (7, 2), (8, 2))
)
"""First bytes of the fields that may follow: producer, domain, version of the model, its text, graph, operator sets."""


def _read_onnx(path: AnyPath, choices: Choices) -> Graph:
    from .onnx import load_onnx  # needs the package onnx, which is an extra

    if choices.net is not None:
        raise NetcError(f"{os.fspath(path)} is an ONNX model: it has no nets to choose")
    graph = load_onnx(path, choices.batch, choices.settings, to_train=choices.to_train)
    return graph if "batch" in graph.attributes else _with_batch(path, choices, graph)


def _has_batch(graph: Graph, batch: int) -> bool:
    return batch == 1 or all(v.type.shape[:1] == (batch,) for v in graph.inputs)


def _with_batch(path: AnyPath, choices: Choices, graph: Graph) -> Graph:
    """The graph for the batch that was asked for: as the file leaves it open, or else for several of its one sample."""
    if _has_batch(graph, choices.batch):
        return graph
    from ..compiler.passes.rebatch import rebatch

    try:
        return rebatch(graph, choices.batch)
    except NetcError as error:
        reason = error.diagnostics[0].message
        hint = "export it with an open batch, if it can be"
        message = f"the batch of {os.fspath(path)} is fixed, it can't be {choices.batch}: {reason}"
        raise NetcError(message, hint=hint) from None


def _complete(
    name: str, suffix: str, recognizes: Callable[[bytes], bool], load: Callable[[AnyPath], Graph], has_weights: bool
) -> Format:
    """A format of complete networks, of which nothing is left to choose."""

    def read(path: AnyPath, choices: Choices) -> Graph:
        if choices.net is not None or choices.settings:
            raise NetcError(
                f"{os.fspath(path)} is {with_article(name)}: it has no nets, sizes or hyperparameters to choose"
            )
        graph = load(path)
        if not _has_batch(graph, choices.batch):
            raise NetcError(f"the batch of {os.fspath(path)} is fixed, it can't be {choices.batch}")
        return graph

    return Format(name, (suffix,), recognizes, read, has_weights)


FORMATS: dict[str, Format] = {
    "net": Format(".net file", (".net",), lambda head: is_network(_text(head)), _read_net),
    "graph": _complete("graph in text form", ".ir", lambda head: _is_graph(_text(head)), _load_graph, False),
    "tflite": Format("TFLite model", (".tflite",), lambda head: head[4:8] == b"TFL3", _read_tflite, True),
    "onnx": Format("ONNX model", (".onnx",), _is_onnx, _read_onnx, True),
}
"""By a short name, in the order in which they are tried."""

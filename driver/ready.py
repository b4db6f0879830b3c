"""A network that is ready to run: from a saved program, from the cache of known networks, or compiled.

Only what has to be compiled brings the compiler along.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .collector import without_collections
from .compiler.errors import NetcError
from .compiler.precision import F32
from .compiler.preprocess import overridden
from .compiler.reading import noting_files
from .compiler.signature import Network
from .known import find, heeding_warnings, key_of, warn_again
from .runtime.data.labels import Labels
from .runtime.host import available_cores
from .runtime.program import Program
from .runtime.saved import SavedFile, SavedProgram, is_saved

if TYPE_CHECKING:
    from .pipeline import Compilation


@dataclass(frozen=True)
class Ready:
    """A program, and what its network says of itself."""

    network: Network
    program: Program
    labels: Labels
    misfit: NetcError | None
    """Why the names of classes that it declares can't be its own, if so."""
    drawn: int | None
    """The seed by which its weights were drawn, if nothing gave any."""
    note: str | None
    """What isn't plain about it."""
    macs: int
    """Multiply-accumulates of a run."""
    batch: int
    cpu: str
    """The processor that it was compiled for."""
    precision: str


def ready(
    model: str,
    *,
    weights: str | None = None,
    net: str | None = None,
    batch: int = 1,
    settings: Mapping[str, Any] | None = None,
    preprocess: Mapping[str, Any] | None = None,
    seed: int = 0,
    threads: int | None = None,
    cpu: str | None = None,
    precision: str = F32,
) -> Ready:
    """The program of a model, however it is come by; raises `NetcError` for whatever the caller can cure."""
    if is_saved(model):
        refuse_choices(model, weights, net, settings, cpu, precision)
        return _of_file(saved_for(model, batch), threads, preprocess)
    asked: dict[str, Any] = {
        "net": net,
        "batch": batch,
        "settings": dict(settings or {}),
        "preprocess": dict(preprocess or {}),
        "seed": seed,
        "threads": threads or available_cores(),
        "cpu": cpu,
        "precision": precision,
    }
    key = key_of(model, weights, asked)
    if key is not None and (saved := find(key)) is not None:
        warn_again(saved)
        return _of_file(saved, asked["threads"])
    return _compiled(key, model, weights, asked)


def saved_for(path: str, batch: int) -> SavedFile:
    """A saved program for a batch; 1 is any. Raises `NetcError` if it was compiled for another."""
    file = SavedFile(path)
    if batch not in (1, file.batch):
        raise NetcError(f"{path} is compiled for a batch of {file.batch}, not of {batch}")
    return file


def refuse_choices(
    path: str,
    weights: str | None,
    net: str | None,
    settings: Mapping[str, Any] | None,
    cpu: str | None = None,
    precision: str = F32,
) -> None:
    """Raise `NetcError` for what can't be chosen of a saved program."""
    given = {"--weights": weights, "--net": net, "--set": settings, "--cpu": cpu, "--precision": precision != F32}
    if wrong := [option for option, value in given.items() if value]:
        hint = "these are choices of `netc compile`"
        raise NetcError(f"{path} is a saved program, which is complete: {', '.join(wrong)} can't be given", hint=hint)


def _of_file(file: SavedFile, threads: int | None, preprocess: Mapping[str, Any] | None = None) -> Ready:
    program = SavedProgram(file, threads)
    signature = program.signature
    if preprocess:
        settings = overridden(signature.attributes.get("preprocess") or {}, preprocess)
        attributes = MappingProxyType({**signature.attributes, "preprocess": settings})
        signature = replace(signature, attributes=attributes)
    labels = Labels(file.labels, file.labels_note)
    rest = (file.drawn, file.note, file.macs, file.batch, file.cpu, file.precision)
    return Ready(signature, program, labels, None, *rest)


def _compiled(key: str | None, model: str, weights: str | None, asked: Mapping[str, Any]) -> Ready:
    from .frontend.index import locate

    locate(model)  # says what is wrong with a misspelled name without the compiler
    with without_collections(lasting=True):
        from .keeping import Keeping
        from .notes import transposes_note
        from .pipeline import Request, build_packed, load_program
        from .summary import total_macs

        with Keeping(key) as keeping:
            with noting_files() as files, heeding_warnings() as heard:
                request = Request(model, weights=weights, **asked)
                c, packed = build_packed(request, keeping.weights_file)
                program = load_program(c, packed=packed)
                labels, misfit = _labels(c, model, weights)
            drawn, note = request.seed if c.is_drawn else None, transposes_note(c.graph)
            rest = (drawn, note, total_macs(c.graph), c.batch, c.target.cpu, request.precision)
            made = Ready(c.graph, program, labels, misfit, *rest)
            if misfit is None:
                keeping.keep(c, program, labels, files, heard)
    return made


def _labels(c: Compilation, model: str, weights: str | None) -> tuple[Labels, NetcError | None]:
    from .classes import class_labels

    try:
        return class_labels(c.graph, model, weights), None
    except NetcError as error:
        return Labels(), error

"""From a compilation to a saved program: what `runtime/saved.py` reads again, collected."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import astuple
from typing import IO, Any

import numpy as np

from .classes import gives_probabilities
from .compiler import VERSION
from .compiler.errors import Location
from .compiler.graph.ir import Array, Graph
from .compiler.graph.state import initial_state
from .compiler.modules.module import Call, Module
from .notes import transposes_note
from .pipeline import Compilation
from .runtime.data.labels import Labels
from .runtime.processor import needed_features
from .runtime.program import ENTRIES, Program
from .runtime.saved import write_saved, write_to
from .runtime.saved_weights import WeightsFile
from .summary import layers, parameter_bytes, total_macs, trainable_parameters


def save_program(
    path: str | os.PathLike[str] | IO[bytes] | WeightsFile,
    c: Compilation,
    program: Program,
    labels: Labels,
    *,
    more: Mapping[str, Any] | None = None,
) -> bool:
    """Write the program of a compilation to a file: an open one, or one that is replaced. `more` are further facts.

    Or to one that has its weights, if there is room for the rest: else it returns False.
    """
    image = c.backend.image(c.object.code, c.target, ENTRIES)
    initial = initial_state(c.graph)
    facts = {
        "netc": VERSION,
        "network": _signature(c.graph),
        "labels": [labels.names, labels.note],
        "note": transposes_note(c.graph),
        "drawn": int(c.request.seed) if c.is_drawn else None,
        **_plan(c.module),
        "initial": [name for name, _, _ in c.module.state if name in initial],
        "batch": c.batch,
        "threads": int(c.threads),
        "precision": c.request.precision,
        "target": {"triple": c.target.triple, "cpu": c.target.cpu, "needs": needed_features(c.target)},
        "slots": image.slots if image is not None else (),
        "exports": dict(image.exports) if image is not None else None,
        "layers": [astuple(layer) for layer in layers(c.graph)],
        "parameters": trainable_parameters(c.graph),
        "parameter_bytes": parameter_bytes(c.graph),
        "macs": total_macs(c.graph),
        **(more or {}),
    }
    written = c.object.code if image is None else image.code
    state = _state(c.module, initial)
    if isinstance(path, WeightsFile):
        return path.finish(facts, written, state)
    if isinstance(path, str | os.PathLike):
        write_saved(path, facts, written, state, program.packed_weights)
    else:
        write_to(path, facts, written, state, program.packed_weights)
    return True


def _signature(graph: Graph) -> dict[str, Any]:
    return {
        "name": graph.name,
        "inputs": [[v.name, str(v.type)] for v in graph.inputs],
        "results": [[v.name, str(v.type)] for v in graph.results],
        "states": [[op.result.name, str(op.result.type)] for op in graph.states],
        "attributes": _plain(graph.attributes),
        "gives_probabilities": bool(graph.results) and gives_probabilities(graph),
    }


def _plain(value: Any) -> Any:
    """What JSON can hold of an attribute; entries of mappings that it can't hold, such as arrays, are left out."""
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items() if _is_plain(item)}
    return list(map(_plain, value)) if isinstance(value, list | tuple) else value


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, Mapping | str | bool | int | float) or value is None


def _plan(module: Module) -> dict[str, Any]:
    return {
        "inputs": [[name, str(type_)] for name, type_ in module.inputs],
        "outputs": [[name, str(type_)] for name, type_ in module.outputs],
        "calls": [[call.label, call.macs, _place(call)] for call in module.calls],
        "arena_bytes": module.arena_bytes,
        "state": [[name, str(type_), offset] for name, type_, offset in module.state],
        "state_bytes": module.state_bytes,
    }


def _place(call: Call) -> list[Any] | None:
    place: Location | None = call.location
    return None if place is None else [place.file, place.line, place.column]


def _state(module: Module, initial: Mapping[str, Array]) -> Array:
    region = np.zeros(module.state_bytes, np.uint8)
    for name, type_, offset in module.state:
        if name in initial:
            held = np.ascontiguousarray(initial[name], type_.dtype.numpy)
            region[offset : offset + type_.bytes] = held.reshape(-1).view(np.uint8)
    return region

"""`netc.build_library`: a network as a library for programs in C, without Python and netc."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from .classes import usable_labels
from .compiler.backends import find_target
from .compiler.errors import NetcError
from .compiler.graph.ir import Array, Graph
from .compiler.graph.state import initial_state
from .compiler.library.certificate import certify, is_served
from .compiler.library.facts import Extras
from .compiler.library.fit import check_fits, ram_bytes
from .compiler.library.header import Build
from .compiler.library.interface import (
    Interface,
    Storage,
    Task,
    check_prefix,
    code_hash,
    interface_of,
    usual_prefix,
    weights_region,
)
from .compiler.library.preprocess import Picture
from .compiler.library.sections import check_section
from .compiler.library.selftest import Answer, answers, sample
from .compiler.modules.module import Module
from .compiler.modules.overlaps import overlapping_calls
from .compiler.signature import output_names
from .compiler.targets.target import Environment
from .library_command import command_of, usual_storage
from .library_files import Contents, write_files
from .loading import Source, Weights, find_weights, load
from .neighbours import neighbours
from .pipeline import PROGRAM, Compilation, Request, build, load_program
from .runtime.cache import compile_object
from .runtime.data.images import Preprocess
from .runtime.data.layout import as_input, channels_first
from .runtime.library import read_facts, read_state
from .runtime.program import all_outputs
from .runtime.weights import write_weights
from .training import TrainingRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What a library is to be like."""

    prefix: str | None = None
    """None: the network's name."""
    embed_weights: bool | None = None
    """None: where there are no files."""
    weights_section: str | None = None
    selftest: bool = True
    ram: int | None = None
    """Bytes of RAM that a run may need: workspace, inputs, outputs and, where it is known, stack."""


@dataclass(frozen=True, slots=True)
class Library:
    """A library that was written."""

    folder: Path
    files: tuple[str, ...]
    build: Build
    code_bytes: int
    """Of the object."""
    notes: tuple[str, ...]


def build_library(
    source: Source,
    folder: str | os.PathLike[str],
    *,
    target: str = "host",
    weights: Weights = None,
    net: str | None = None,
    batch: int = 1,
    settings: Mapping[str, Any] | None = None,
    preprocess: Mapping[str, Any] | None = None,
    seed: int = 0,
    threads: int = 1,
    train: Mapping[str, Any] | None = None,
    inputs_in_workspace: bool = False,
    **choices: Any,
) -> Library:
    """Write a network as a library into a folder: header, object, archive, shared library, weights, texts.

    `target` is one of those of `netc targets`; `source`, `weights`, `net`, `batch`, `settings` and `seed` are as for
    `netc.compile`. `prefix` begins all names of the library (default: the network's name). Weights lie in a file
    beside the library, or inside it with `embed_weights`, as they do where the target has no files, or in a
    `weights_section` of the object. With `threads` above 1 there are contexts for so many threads. `selftest` False
    leaves out the self-test. With `inputs_in_workspace` a run finds its inputs in the workspace and overwrites them.
    With `ram` a library is refused whose run needs more bytes for workspace, inputs, outputs and stack.

    With `train`, arguments of `netc.compile_training` such as `optimizer` and `freeze`, the library makes training
    steps on batches of `batch` samples. Raises `NetcError` for whatever the caller can cure.
    """
    request = Request(
        source,
        net,
        batch,
        settings or {},
        threads,
        target,
        weights=weights,
        seed=seed,
        preprocess=preprocess or {},
        inputs_in_arena=inputs_in_workspace,
    )
    if train is not None:
        request = TrainingRequest(**{f.name: getattr(request, f.name) for f in fields(Request)}, **train)
    return write_library(request, folder, target, Choices(**choices))


def save_trained(
    path: str | os.PathLike[str],
    source: Source,
    library: str | os.PathLike[str],
    workspace: bytes | Array,
    *,
    weights: Weights = None,
    net: str | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> None:
    """Write the weights that a training library has made of a network's into a safetensors file.

    `library` is its object or shared library, for any target, `workspace` the bytes of its workspace, at least of the
    state in it. The others are what the library was built of: what it doesn't train is as it was. Raises `NetcError`
    for a library of another network, and for a workspace that is too small.
    """
    graph = load(source, net=net, settings=settings or {}, with_parameters=weights is not None)
    facts = read_facts(Path(library))
    state = read_state(facts, workspace)
    names = {op.result.name or "": op.result.type.shape for op in graph.weights}
    trained = {name: array for name, array in state.items() if name in names}
    if not trained or any(array.shape != names[name] for name, array in trained.items()):
        raise NetcError(f"{library} doesn't train {graph.name}", hint=f"it was built of net {facts['net']}")
    write_weights(path, graph, {**find_weights(weights, graph, seed), **trained})


def write_library(request: Request, home: str | os.PathLike[str], target: str, choices: Choices) -> Library:
    """`build_library` of a request.

    Raises `NetcError` for what the caller can cure.
    """
    folder = _folder(home)
    is_page = find_target(target).environment is Environment.WASM
    if is_page and isinstance(request, TrainingRequest):
        raise NetcError("libraries for WebAssembly don't train", hint="leave --train out")
    c: Compilation = build(replace(request, tiles=False), "loops")
    prefix = _prefix(choices.prefix, c.graph)
    others = neighbours(folder, prefix, c.target)
    model = "" if isinstance(request.source, Graph) else os.fspath(request.source)
    labels = usable_labels(c.network, model, request.weights)
    picture, note = _picture(c.network)
    contents = _contents(c, _interface(c, prefix, choices), labels.names or (), picture, target, choices)
    command = command_of(contents.build, request, target)
    names, lacking = write_files(folder, contents, c, command, others)
    notes = [n for n in (labels.note, note, _weights_note(c), *lacking) if n]
    return Library(folder, names, contents.build, len(contents.object), tuple(notes))


def _folder(home: str | os.PathLike[str]) -> Path:
    """The folder for the files."""
    folder = Path(home)
    if not os.fspath(home):
        raise NetcError("the name of the folder is empty", hint="`.` is the folder where you are")
    if folder.exists() and not folder.is_dir():
        raise NetcError(f"{folder} is no folder", hint="-o names the folder for the files of the library")
    return folder


def _contents(
    c: Compilation,
    interface: Interface,
    labels: tuple[str, ...],
    picture: Picture | None,
    target: str,
    choices: Choices,
) -> Contents:
    """Code, weights, and what is known of them."""
    params = c.parameters()
    state = _state(c.module, {**params, **initial_state(c.graph)})
    region = weights_region(interface, c.backend.package(c.module, params), state)
    text = c.backend.emit_library(c.module, c.target, interface)
    code = code_hash(text, c.backend.fingerprint(c.target))
    answered = _answers(c, interface, params) if choices.selftest else ()
    extras = Extras(labels, answered, f"{interface.prefix}.weights", picture is not None)
    build_ = Build(interface, extras, target if target != "host" else str(c.target), code)
    object_ = _object(c.backend.complete_library(text, c.target, interface, code, region, extras), c, interface)
    certificate = certify(object_, interface, overlapping_calls(c.module)) if is_served(c.target) else None
    if certificate is not None:
        build_ = replace(build_, stack_bytes=certificate.stack)
    if choices.ram is not None:
        _check_ram(c, interface, build_.stack_bytes, choices.ram)
    return Contents(build_, object_, region, picture, certificate)


def _prefix(given: str | None, graph: Graph) -> str:
    if given is not None:
        return check_prefix(given)
    return usual_prefix(graph.name)


def _interface(c: Compilation, prefix: str, choices: Choices) -> Interface:
    section = choices.weights_section
    if section is not None:
        if choices.embed_weights is False:
            raise NetcError("weights in a section are embedded", hint="leave one of the two options out")
        check_section(section, c.target)
        storage = Storage.SECTION
    else:
        storage = usual_storage(c.target)
        if choices.embed_weights is not None:
            storage = Storage.EMBEDDED if choices.embed_weights else Storage.FILE
    if c.threads > 1 and not c.target.has_threads:
        raise NetcError(f"code for {c.target} runs on one thread", hint="leave --threads out")
    if c.threads > 1 and c.request.inputs_in_arena:
        raise NetcError("only code for one thread has its inputs in the workspace", hint="leave --threads out")
    is_training = isinstance(c.request, TrainingRequest)
    return interface_of(
        c.module,
        prefix,
        storage=storage,
        section=section,
        threads=c.threads,
        web_workers=c.threads > 1 and c.target.environment is Environment.WASM,
        alignment=c.target.alignment,
        outputs=c.graph.attributes["metrics"] if is_training else output_names(c.graph),
        task=Task.TRAIN if is_training else Task.RUN,
    )


def _check_ram(c: Compilation, interface: Interface, stack: int | None, ram: int) -> None:
    """Refuse what takes more RAM than there is; the message says what would take less."""
    least = None
    if ram_bytes(interface, stack) > ram and not interface.input_offsets and c.threads == 1:
        module = c.backend.lower(c.optimized, c.target, verify=False, inputs_in_arena=True)
        moved = replace(interface, arena_bytes=module.arena_bytes, inputs_in_arena=module.input_offsets)
        least = ram_bytes(moved, stack)
    check_fits(interface, stack, ram, least)


def _state(module: Module, first: Mapping[str, Array]) -> Array | None:
    """What the state region begins with."""
    if not module.state:
        return None
    region = np.zeros(module.state_bytes, np.uint8)
    for name, type_, offset in module.state:
        values = np.ascontiguousarray(first[name], type_.dtype.numpy).reshape(-1)
        region[offset : offset + type_.bytes] = values.view(np.uint8)
    return region


def _answers(c: Compilation, interface: Interface, params: Mapping[str, Array]) -> tuple[Answer, ...]:
    """What this machine answers to the samples."""
    weights = {op.result.name or "": params[op.result.name or ""] for op in c.network.weights}
    request = replace(
        c.request,
        source=c.network,
        weights=weights,
        cpu=None,
        threads=1,
        preprocess={},
        observers=(),
        inputs_in_arena=False,
    )
    with load_program(build(request, PROGRAM), params) as program:
        results = program(*(sample(tensor.type) for tensor in interface.inputs))
    return answers([tensor.type for tensor in interface.outputs], all_outputs(results))


def _picture(graph: Graph) -> tuple[Picture | None, str | None]:
    """What the network wants done with pictures, if it takes any; and why there is no function for that."""
    if "preprocess" not in graph.attributes:
        return None, None
    try:
        wanted = Preprocess.of(graph)
    except NetcError as error:
        return None, f"no function for pictures: {error.diagnostics[0].message}"
    type_ = graph.inputs[0].type
    levels = np.arange(256, dtype=np.uint8)[:, np.newaxis]
    values = wanted.normalize(np.broadcast_to(levels, (256, wanted.channels)))
    elements = as_input(values, type_.dense())
    tables = tuple(np.ascontiguousarray(elements[:, c]) for c in range(wanted.channels))
    if all(np.array_equal(table, tables[0]) for table in tables):
        tables = tables[:1]
    size = (wanted.height, wanted.width, wanted.channels)
    is_first = channels_first(type_)
    return Picture(*size, wanted.crop, wanted.resize, type_.dtype, tables, is_first), None


def _weights_note(c: Compilation) -> str | None:
    return f"no --weights given: those of {c.network.name} are drawn by seed {c.request.seed}" if c.is_drawn else None


def _object(text: str, c: Compilation, interface: Interface) -> bytes:
    """The machine code; with weights inside it isn't kept in the cache."""
    if interface.storage is Storage.FILE:
        return compile_object(text, c.target).code
    return c.backend.object_code(text, c.target)

"""`netc.build_library`: a network as a library for programs in C, without Python and netc."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from .classes import usable_labels
from .compiler.backends import find_target
from .compiler.errors import NetcError
from .compiler.files import writing
from .compiler.graph.ir import Array, Graph
from .compiler.graph.state import initial_state
from .compiler.library.certificate import Certificate, as_json, as_table, certify, is_served
from .compiler.library.facts import Extras
from .compiler.library.fit import check_fits, ram_bytes
from .compiler.library.header import Build, header
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
from .compiler.library.preprocess import Picture, preprocess_source
from .compiler.library.sections import check_section
from .compiler.library.selftest import Answer, answers, sample
from .compiler.library.texts import readme
from .compiler.library.weights import weights_file
from .compiler.modules.module import Module
from .compiler.modules.overlaps import overlapping_calls
from .compiler.signature import output_names
from .compiler.targets.target import Environment
from .library_command import command_of, usual_storage
from .loading import Source, Weights, find_weights, load
from .neighbours import SIGNATURES, neighbours, write_shared
from .pipeline import PROGRAM, Compilation, Request, build, load_program
from .runtime.cache import compile_object
from .runtime.data.images import Preprocess
from .runtime.data.layout import as_input, channels_first
from .runtime.library import read_facts, read_state
from .runtime.weights import write_weights
from .toolchain import INSTALL, archive, compile_c, has_ziglang, link_shared, shared_suffix
from .training import TrainingRequest
from .web import web_library


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
    """`build_library` of a request."""
    folder = Path(home)
    if not os.fspath(home):
        raise NetcError("the name of the folder is empty", hint="-o . is the folder where you are")
    if folder.exists() and not folder.is_dir():
        raise NetcError(f"{folder} is no folder", hint="-o names the folder for the files of the library")
    is_page = find_target(target).environment is Environment.WASM
    if is_page and isinstance(request, TrainingRequest):
        raise NetcError("libraries for WebAssembly don't train", hint="leave --train out")
    c: Compilation = build(replace(request, tiles=False), "loops")
    prefix = _prefix(choices.prefix, c.graph)
    others = neighbours(folder, prefix, c.target)
    interface = _interface(c, prefix, choices)
    params = c.parameters()
    state = _state(c.module, {**params, **initial_state(c.graph)})
    region = weights_region(interface, c.backend.package(c.module, params), state)
    text = c.backend.emit_library(c.module, c.target, interface)
    code = code_hash(text, c.backend.fingerprint(c.target))
    picture, note = _picture(c.network)
    labels = usable_labels(
        c.network, "" if isinstance(request.source, Graph) else os.fspath(request.source), request.weights
    )
    extras = Extras(
        labels.names or (),
        _answers(c, interface, params) if choices.selftest else (),
        f"{prefix}.weights",
        picture is not None,
    )
    build_ = Build(interface, extras, target if target != "host" else str(c.target), code)
    full = c.backend.complete_library(text, c.target, interface, code, region, extras)
    object_ = _object(full, c, interface)
    certificate = certify(object_, interface, overlapping_calls(c.module)) if is_served(c.target) else None
    if certificate is not None:
        build_ = replace(build_, stack_bytes=certificate.stack)
    if choices.ram is not None:
        _check_ram(c, interface, build_.stack_bytes, choices.ram)
    notes = [n for n in (labels.note, note, _weights_note(c)) if n]
    with _filling(folder) as part:
        _write(part, build_, object_, region, picture, c)
        if certificate is not None:
            text = as_json(certificate, interface.name, build_.target)
            (part / f"{prefix}.certificate.json").write_text(text, encoding="utf-8")
        notes += _link(part, build_, c)
        files = _described(part, prefix)
        page = _page(build_, files, command_of(build_, request, target), certificate)
        write_shared(folder, part, build_, page, c.target, others)
    return Library(folder, tuple(name for name, _ in files), build_, len(object_), tuple(notes))


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
    outputs = results if isinstance(results, tuple) else (results,)
    return answers([tensor.type for tensor in interface.outputs], outputs)


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


@contextmanager
def _filling(folder: Path) -> Iterator[Path]:
    """A new folder whose files take their places in `folder` when all of them are there."""
    with writing(folder):
        is_new = not folder.exists()
        home = folder.absolute().parent if is_new else folder
        home.mkdir(parents=True, exist_ok=True)
        part = home / f".{folder.name[:40]}.{secrets.token_hex(8)}.part"
        part.mkdir()
        try:
            yield part
            if is_new:
                part.rename(folder)
            else:
                for path in sorted(part.iterdir()):
                    path.replace(folder / path.name)
        finally:
            shutil.rmtree(part, ignore_errors=True)


def _write(folder: Path, build_: Build, object_: bytes, region: bytes, picture: Picture | None, c: Compilation) -> None:
    p = build_.interface.prefix
    (folder / f"{p}.h").write_text(header(build_), encoding="utf-8")
    (folder / f"{p}.o").write_bytes(object_)
    weights = weights_file(region, build_.code) if build_.interface.storage is Storage.FILE else None
    if weights is not None:
        (folder / f"{p}.weights").write_bytes(weights)
    if c.target.environment is Environment.WASM:
        for name, content in web_library(build_, c.graph, object_, weights).items():
            (folder / name).write_bytes(content)
    if picture is not None:
        (folder / f"{p}_preprocess.c").write_text(preprocess_source(picture, p), encoding="utf-8")


def _link(folder: Path, build_: Build, c: Compilation) -> Sequence[str]:
    """Archive and shared library; or what is missing for them."""
    p = build_.interface.prefix
    suffix = shared_suffix(c.target)
    if not has_ziglang():
        made = f".a and {suffix}" if suffix else ".a"
        return (f"no {made} without a linker: {INSTALL}",)
    archive([folder / f"{p}.o"], folder / f"{p}.a", c.target)
    if suffix:
        objects = [folder / f"{p}.o"]
        extra = folder / ".preprocess.o"
        if build_.extras.preprocess:
            compile_c(folder / f"{p}_preprocess.c", extra, c.target)
            objects.append(extra)
        link_shared(objects, folder / f"{p}{suffix}", c.target)
        extra.unlink(missing_ok=True)
    return ()


_MEANINGS = {
    ".h": "the interface",
    ".o": "the code",
    ".a": "the same as a static library",
    ".so": "the same as a shared library",
    ".dylib": "the same as a shared library",
    ".weights": "the weights",
    ".certificate.json": "what it takes of flash, RAM and stack at most",
    "_preprocess.c": "makes an input of a picture; shared libraries have it inside",
    "index.html": "a page to try the network, which is opened from disk",
    ".data.js": "code and weights for the page",
    ".mjs": "an ES module for pages and Node",
    ".threads.wasm": "the code for several threads",
    ".worker.mjs": "a thread of it",
    ".d.mts": "its types",
    ".d.ts": "the same for compilers that look for this name",
    ".wasm": "the code, as the module loads it",
    "example.c": "a program that runs the network",
    "CMakeLists.txt": "builds the example",
    "README.md": "this",
}


def _described(folder: Path, prefix: str) -> Sequence[tuple[str, str]]:
    """The files of a library, and what they are."""
    names = {(f"{prefix}{end}" if end[0] in "._" else end): what for end, what in _MEANINGS.items()}
    return [(name, what) for name, what in names.items() if name in SIGNATURES or (folder / name).exists()]


def _page(build_: Build, files: Sequence[tuple[str, str]], command: str, certificate: Certificate | None) -> str:
    outside = () if certificate is None else certificate.outside
    page = readme(build_, files, command, outside)
    return page if certificate is None else f"{page}\n{as_table(certificate)}"

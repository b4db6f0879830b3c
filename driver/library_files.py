"""The files of a library: written into a folder together, linked, and described in its README.md."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .compiler.files import writing
from .compiler.library.certificate import Certificate, as_json, as_table
from .compiler.library.folder import Member
from .compiler.library.header import Build, header
from .compiler.library.interface import Storage
from .compiler.library.preprocess import Picture, preprocess_source
from .compiler.library.texts import readme
from .compiler.library.weights import weights_file
from .compiler.targets.target import Environment
from .neighbours import SIGNATURES, write_shared
from .pipeline import Compilation
from .toolchain import INSTALL, archive, compile_c, has_ziglang, link_shared, shared_suffix
from .web import web_library


@dataclass(frozen=True)
class Contents:
    """What the files of a library hold."""

    build: Build
    object: bytes
    """The code, as an object file."""
    region: bytes
    """The packed weights, and what a state begins with."""
    picture: Picture | None
    """What is done with pictures, if there is a function for them."""
    certificate: Certificate | None


def write_files(
    folder: Path, contents: Contents, c: Compilation, command: str, others: Sequence[Member]
) -> tuple[tuple[str, ...], Sequence[str]]:
    """Write all files of a library, or none; returns their names, and what is missing for want of a linker.

    `command` is what builds the library again, `others` are those that the folder has already.
    """
    build = contents.build
    with _filling(folder) as part:
        _write(part, contents, c)
        lacking = _link(part, build, c)
        files = _described(part, build.interface.prefix)
        write_shared(folder, part, build, _page(contents, files, command), c.target, others)
    return tuple(name for name, _ in files), lacking


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


def _write(folder: Path, contents: Contents, c: Compilation) -> None:
    build, prefix = contents.build, contents.build.interface.prefix
    (folder / f"{prefix}.h").write_text(header(build), encoding="utf-8")
    (folder / f"{prefix}.o").write_bytes(contents.object)
    weights = weights_file(contents.region, build.code) if build.interface.storage is Storage.FILE else None
    if weights is not None:
        (folder / f"{prefix}.weights").write_bytes(weights)
    if c.target.environment is Environment.WASM:
        for name, content in web_library(build, c.graph, contents.object, weights).items():
            (folder / name).write_bytes(content)
    if contents.picture is not None:
        (folder / f"{prefix}_preprocess.c").write_text(preprocess_source(contents.picture, prefix), encoding="utf-8")
    if contents.certificate is not None:
        text = as_json(contents.certificate, build.interface.name, build.target)
        (folder / f"{prefix}.certificate.json").write_text(text, encoding="utf-8")


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


def _page(contents: Contents, files: Sequence[tuple[str, str]], command: str) -> str:
    """README.md."""
    certificate = contents.certificate
    text = readme(contents.build, files, command, () if certificate is None else certificate.outside)
    return text if certificate is None else f"{text}\n{as_table(certificate)}"

"""Libraries that share a folder: which are there already, and the files that speak of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .compiler.errors import NetcError
from .compiler.files import writing
from .compiler.library.compiling import compiling
from .compiler.library.example import EXAMPLE, example
from .compiler.library.folder import Member, Sheet
from .compiler.library.header import Build
from .compiler.library.texts import CMAKE, cmake, readme_sheet
from .compiler.targets.target import Environment, Target
from .runtime.library import read_facts

SIGNATURES = {"example.c": "Written by netc", "CMakeLists.txt": "Written by netc", "README.md": "compiled by netc"}
"""Files that networks of a folder share, and what is in those that netc wrote."""


def neighbours(folder: Path, prefix: str, target: Target) -> Sequence[Member]:
    """The other libraries of a folder, by prefix.

    Raises `NetcError` if this one can't be beside them: other files would be lost, or the programs of both don't link.
    """
    _check_own(folder, {f"{prefix}.h": "compiled by netc", **SIGNATURES})
    found = []
    for header in sorted(folder.glob("*.h")):
        try:
            facts = read_facts(header.with_suffix(".o"))
        except NetcError:
            continue
        if facts["prefix"] == prefix or facts["prefix"] != header.stem:
            continue
        _check_beside(folder, prefix, target, facts["prefix"], facts["target"])
        found.append(Member(facts["prefix"], facts["preprocess"], facts["threads"]))
    return found


def _check_own(folder: Path, signatures: dict[str, str]) -> None:
    for name, signature in signatures.items():
        path = folder / name
        if path.exists() and signature not in _text(path):
            raise NetcError(f"{path} is not of netc and would be overwritten", hint="-o names another folder")


def _check_beside(folder: Path, prefix: str, target: Target, other: str, its_target: str) -> None:
    hint = "each can have a folder of its own; or remove the files of the other"
    if other.upper() == prefix.upper():
        raise NetcError(f"{folder} has `{other}`, whose constants in C have the names of `{prefix}`'s", hint=hint)
    if not its_target.endswith(f"({target.triple})"):
        raise NetcError(f"{folder} has `{other}` for {its_target}, which doesn't link with {target}", hint=hint)
    if target.environment is Environment.WASM:
        raise NetcError(f"{folder} has the page of `{other}`, and a page shows one network", hint=hint)


def write_shared(folder: Path, part: Path, build: Build, page: str, target: Target, others: Sequence[Member]) -> None:
    """Write the files that speak of all networks of a folder into a folder `part`; `page` is this network's."""
    i = build.interface
    members = sorted([*others, Member(i.prefix, build.extras.preprocess, i.threads)], key=lambda m: m.prefix)
    sheets: dict[str, tuple[Sheet, str]] = {
        "example.c": (EXAMPLE, example(build)),
        "CMakeLists.txt": (CMAKE, cmake(build)),
        "README.md": (readme_sheet(compiling(members, target)), page),
    }
    for name, (sheet, section) in sheets.items():
        text = sheet.merged(_text(folder / name), i.prefix, section, {m.prefix for m in others})
        (part / name).write_text(text, encoding="utf-8")


def _text(path: Path) -> str:
    with writing(path):
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""

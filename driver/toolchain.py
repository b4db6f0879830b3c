"""Tools that netc doesn't hold itself: an archiver, a linker and a C compiler, which ziglang brings by pip.

Where it is missing, objects and texts are written all the same; `has_ziglang` says so.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .compiler.errors import NetcError
from .compiler.targets.target import Target

INSTALL = "pip install 'netc[build]' brings ziglang, which links"
_CPUS = {"x86_64": "x86_64", "aarch64": "aarch64", "armv7": "arm", "riscv64": "riscv64"}
"""Zig's names of the processors for which there are shared libraries, by those of triples."""

_MACOS = "aarch64-macos"
_C_OPTIONS = ("-std=c99", "-O2", "-ffp-contract=off", "-fPIC", "-g0")


def has_ziglang() -> bool:
    """Whether the tools are there."""
    return importlib.util.find_spec("ziglang") is not None


def shared_suffix(target: Target) -> str | None:
    """How the names of libraries end that are loaded while a program for the target runs; None if there are none."""
    if "apple" in target.triple:
        return ".dylib"
    return ".so" if "linux" in target.triple and target.triple.split("-")[0] in _CPUS else None


def archive(objects: Sequence[Path], path: Path, target: Target) -> None:
    """Write a static library."""
    form = "darwin" if "apple" in target.triple else "gnu"
    _zig("ar", f"--format={form}", "rcsD", path, *objects, folder=path.parent)


def compile_c(source: Path, path: Path, target: Target) -> None:
    """Make an object of C for the target, which a shared library can hold."""
    processor, _, rest = target.triple.partition("-")
    if "apple" in target.triple:
        _zig("cc", "-target", _MACOS, *_C_OPTIONS, "-c", source, "-o", path, folder=path.parent)
        return
    system = "linux-musleabihf" if "eabihf" in rest else "linux-musl"
    name = f"{_CPUS[processor]}-{system}"
    _zig("cc", "-target", name, *_C_OPTIONS, "-c", source, "-o", path, folder=path.parent)


def link_shared(objects: Sequence[Path], path: Path, target: Target) -> None:
    """Write a shared library, whose undefined names the program that loads it has."""
    if "apple" in target.triple:
        names = ("-nostdlib", "-Wl,-undefined,dynamic_lookup", f"-Wl,-install_name,@rpath/{path.name}")
        _zig("cc", "-target", _MACOS, "-shared", *names, "-o", path, *objects, folder=path.parent)
        return
    options = ("-shared", "-soname", path.name, "--hash-style=both", "--build-id=none")
    _zig("ld.lld", *options, "-o", path, *objects, folder=path.parent)


def _zig(*arguments: str | Path, folder: Path) -> None:
    """Run a tool in the folder of its result, where names are short.

    Paths may hold what a tool takes for something else: LLVM draws digits for each %, Zig can't read quotes in a list
    of files.
    """
    given = [_from(folder, each) if isinstance(each, Path) else each for each in arguments]
    command = [sys.executable, "-P", "-m", "ziglang", *given]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        reason = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        raise NetcError(f"ziglang's {arguments[0]} failed: {reason[0]}", hint="\n".join(reason[1:6]) or None)


def _from(folder: Path, path: Path) -> str:
    return path.name if path.parent == folder else str(path.absolute())


def version_of(program: str) -> tuple[int, ...]:
    """The version that a program says it has, as far as two numbers; () without the program."""
    path = shutil.which(program)
    if path is None:
        return ()
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\d+)\.(\d+)", said)
    return tuple(map(int, found.groups())) if found else ()

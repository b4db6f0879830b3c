"""What lies beside a library for people: a file for CMake, a page that says what is there."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .folder import Sheet
from .header import Build, comment
from .interface import Storage, Task

_OWN = "all clean depend edit_cache help install package preinstall rebuild_cache test uninstall"
_TARGETS = frozenset(_OWN.split())
"""Targets that CMake makes itself."""


def _cmake_head(prefixes: Collection[str]) -> str:
    return f"""# `cmake -B build && cmake --build build`. Written by netc.
cmake_minimum_required(VERSION 3.13)
project({_project(prefixes)} C)
"""


def _cmake_tail(prefixes: Collection[str]) -> str:
    program = f"{_project(prefixes)}_example"
    return f"""add_executable({program} example.c)
target_link_libraries({program} PRIVATE {" ".join(map(_target, prefixes))})
"""


def _project(prefixes: Collection[str]) -> str:
    return next(iter(prefixes)) if len(prefixes) == 1 else "networks"


def _target(prefix: str) -> str:
    return f"{prefix}_net" if prefix in _TARGETS else prefix


CMAKE = Sheet(("# ", ""), _cmake_head, _cmake_tail)
"""`CMakeLists.txt`: a project with the example and all networks of the folder as libraries."""


def cmake(build: Build) -> str:
    """The library as target `PREFIX`, or `PREFIX_net` where CMake keeps that name."""
    p = build.interface.prefix
    name, files = _target(p), f"${{{p}_object}}"
    pictures = f"{p}_preprocess.c " if build.extras.preprocess else ""
    threads = ""
    if build.interface.has_pthreads:
        threads = f"find_package(Threads REQUIRED)\ntarget_link_libraries({name} PUBLIC Threads::Threads)\n"
    return f"""set({p}_object ${{CMAKE_CURRENT_SOURCE_DIR}}/{p}.o)
set_source_files_properties({files} PROPERTIES EXTERNAL_OBJECT TRUE)
add_library({name} STATIC {pictures}{files})
set_target_properties({name} PROPERTIES C_STANDARD 99 LINKER_LANGUAGE C)
target_include_directories({name} PUBLIC ${{CMAKE_CURRENT_SOURCE_DIR}})
target_link_libraries({name} PUBLIC $<$<BOOL:${{UNIX}}>:m>)
{threads}"""


def readme_sheet(compiling: str) -> Sheet:
    """`README.md`, with how the example is compiled at its end."""
    return Sheet(("<!-- ", " -->"), lambda prefixes: "", lambda prefixes: compiling)


def readme(build: Build, files: Sequence[tuple[str, str]], command: str, outside: Sequence[str] = ()) -> str:
    """The page; `files` are names and what they are, `outside` functions of others that a run calls, if known."""
    i, p = build.interface, build.interface.prefix
    rows = "\n".join(f"| `{name}` | {what} |" for name, what in files)
    tensors = "\n".join(
        f"| {kind} | `{t.identifier}` | `{t.type}` |"
        for kind, given in (("input", i.inputs), ("output", i.outputs))
        for t in given
    )
    stack = f"| stack | {build.stack_bytes:,} bytes |\n" if build.stack_bytes is not None else ""
    what = "a training step of one neural network" if i.task is Task.TRAIN else "one neural network"
    needs = "`pthread`, `memcpy` and `memset`" if i.has_pthreads else "`memcpy` and `memset` at most"
    floats = [name for name in outside if name not in ("memcpy", "memset")]
    if floats:
        needs += f", and `libgcc` or `compiler-rt` for floats (`{floats[0]}` and others)"
    weights = {
        Storage.EMBEDDED: "in the object, read-only",
        Storage.SECTION: f"in section `{i.section}` of the object, read-only",
        Storage.FILE: f"in `{build.extras.weights_name}`, for `{p}_bind`",
    }[i.storage]
    return f"""# {comment(i.name)} for {build.target}

A library for C of {what}, compiled by netc. `{p}.h` says how it is called; it needs {needs}.

    {command}

| file | |
| --- | --- |
{rows}

| | name | type |
| --- | --- | --- |
{tensors}

| memory | |
| --- | --- |
| workspace | {i.workspace_bytes:,} bytes, aligned to {i.alignment} |
{stack}| weights | {i.stored_bytes:,} bytes, {weights} |

The code has the hash `{build.code:016x}`; weights of other code are refused.
"""

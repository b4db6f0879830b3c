"""What lies beside a library for people: an example in C, a file for CMake, a page that says what is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..targets.target import Target
from .compiling import compiling
from .header import C_TYPES, Build, comment, string
from .interface import Interface, Storage, Task, Tensor


def example(build: Build) -> str:
    """A program that runs the network: the self-test if there is one, else zeros."""
    i, p = build.interface, build.interface.prefix
    upper = p.upper()
    lines = [
        f"/* Runs {comment(i.name)}: see {p}.h. Written by netc. */",
        "#include <stdio.h>",
        "#include <stdlib.h>" if i.storage is Storage.FILE else "",
        f'\n#include "{p}.h"\n',
        f"static {upper}_ALIGNED uint8_t workspace[{upper}_WORKSPACE_BYTES];",
        f"static {upper}_ALIGNED uint8_t buffers[{upper}_SELFTEST_BYTES];" if build.extras.answers else "",
        f"static {upper}_ALIGNED uint8_t weights[{upper}_WEIGHTS_BYTES];" if i.storage is Storage.FILE else "",
        *(f"static {C_TYPES[t.type.dtype]} {t.identifier}_in[{_size(t, 'INPUT', upper)}];" for t in i.inputs),
        *(f"static {C_TYPES[t.type.dtype]} {t.identifier}_out[{_size(t, 'OUTPUT', upper)}];" for t in i.outputs),
        "",
        "static int failed(const char *what, int32_t status) {",
        '  if (status != 0) printf("%s: status %d\\n", what, (int)status);',
        "  return status != 0;",
        "}",
        *_loading(build, upper),
        *(_RANDOM if i.task is Task.TRAIN else ()),
        "",
        "int main(void) {",
        *_steps(build, upper),
        "  return 0;",
        "}",
        "",
    ]
    return "\n".join(line for number, line in enumerate(lines) if line or number > 8)


_RANDOM = (
    "",
    "static uint32_t random_bits(void) {",
    "  static uint32_t state = 1;",
    "  state = state * UINT32_C(1664525) + UINT32_C(1013904223);",
    "  return state;",
    "}",
)


def _size(tensor: Tensor, kind: str, upper: str) -> str:
    return f"{upper}_{kind}_{tensor.identifier.upper()}_SIZE"


def _loading(build: Build, upper: str) -> Iterator[str]:
    if build.interface.storage is Storage.FILE:
        yield f"""
static int load(const char *path) {{
  FILE *file = fopen(path, "rb");
  if (file == NULL) return 0;
  const size_t found = fread(weights, 1, {upper}_WEIGHTS_BYTES, file);
  fclose(file);
  return found == {upper}_WEIGHTS_BYTES;
}}"""


def _steps(build: Build, upper: str) -> Iterator[str]:
    i, p = build.interface, build.interface.prefix
    if i.storage is Storage.FILE:
        yield f"""  if (!load({string(build.extras.weights_name)})) {{
    printf("can't read all of %s\\n", {string(build.extras.weights_name)});
    return EXIT_FAILURE;
  }}
  if (failed("{p}_bind", {p}_bind(workspace, weights, {upper}_WEIGHTS_BYTES))) return 1;"""
    if build.extras.answers:
        yield f'  if (failed("{p}_selftest", {p}_selftest(workspace, buffers))) return 1;'
        yield '  printf("the self-test gives the stored answer\\n");'
    if i.state_bytes:
        yield f'  if (failed("{p}_reset", {p}_reset(workspace))) return 1;'
    inputs = ", ".join(f"{t.identifier}_in" for t in i.inputs) or "NULL"
    outputs = ", ".join(f"{t.identifier}_out" for t in i.outputs)
    yield f"""  const {p}_inputs inputs = {{{inputs}}};
  const {p}_outputs outputs = {{{outputs}}};"""
    first = i.outputs[0]
    if i.task is Task.TRAIN:
        yield from _training(i)
        return
    yield f"""  if (failed("{p}_run", {p}_run(workspace, &inputs, &outputs))) return 1;"""
    shown = "(long)" if C_TYPES[first.type.dtype] not in ("float", "double") else "(double)"
    form = "%ld" if shown == "(long)" else "%g"
    count = min(first.type.size, 10)
    yield f"""  for (int i = 0; i < {count}; i++) printf("{form}\\n", {shown}{first.identifier}_out[i]);"""


def _training(i: Interface) -> Iterator[str]:
    """Steps on one batch of random numbers, whose loss falls."""
    p = i.prefix
    for tensor in i.inputs:
        kind, upper = C_TYPES[tensor.type.dtype], p.upper()
        value = "(float)(random_bits() >> 8) / 8388608 - 1" if tensor.type.dtype.is_float else "(random_bits() >> 31)"
        yield f"""  for (size_t i = 0; i < {_size(tensor, "INPUT", upper)}; i++)
    {tensor.identifier}_in[i] = ({kind})({value});"""
    yield f"""  for (int step = 0; step < 20; step++) {{
    if (failed("{p}_train_step", {p}_train_step(workspace, &inputs, &outputs))) return 1;
    printf("loss %g\\n", (double){i.outputs[0].identifier}_out[0]);
  }}"""


_OWN = "all clean depend edit_cache help install package preinstall rebuild_cache test uninstall"
_TARGETS = frozenset(_OWN.split())
"""Targets that CMake makes itself."""


def cmake(build: Build, objects: Sequence[str]) -> str:
    """A project with the library as target `PREFIX`, or `PREFIX_net` where CMake keeps that name, and the example."""
    p = build.interface.prefix
    name = f"{p}_net" if p in _TARGETS else p
    sources = f"add_library({name} STATIC {p}_preprocess.c ${{objects}})" if build.extras.preprocess else None
    library = sources or f"add_library({name} STATIC ${{objects}})"
    threads = (
        f"""
find_package(Threads REQUIRED)
target_link_libraries({name} PUBLIC Threads::Threads)"""
        if build.interface.threads > 1
        else ""
    )
    files = " ".join(f"${{CMAKE_CURRENT_SOURCE_DIR}}/{name}" for name in objects)
    return f"""# {p}, for {build.target}: `cmake -B build && cmake --build build`. Written by netc.
cmake_minimum_required(VERSION 3.13)
project({p} C)

set(objects {files})
set_source_files_properties(${{objects}} PROPERTIES EXTERNAL_OBJECT TRUE)
{library}
set_target_properties({name} PROPERTIES C_STANDARD 99 LINKER_LANGUAGE C)
target_include_directories({name} PUBLIC ${{CMAKE_CURRENT_SOURCE_DIR}})
target_link_libraries({name} PUBLIC $<$<BOOL:${{UNIX}}>:m>){threads}

add_executable({p}_example example.c)
target_link_libraries({p}_example PRIVATE {name})
"""


def readme(
    build: Build, target: Target, files: Sequence[tuple[str, str]], command: str, outside: Sequence[str] = ()
) -> str:
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
    needs = "`pthread`, `memcpy` and `memset`" if i.threads > 1 else "`memcpy` and `memset` at most"
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

{compiling(build, target)}
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

"""A program in C that runs all networks of a folder, one after the other."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from .folder import Sheet
from .header import C_TYPES, Build, string
from .interface import Interface, Storage, Task, Tensor


def _head(prefixes: Collection[str]) -> str:
    headers = "\n".join(f'#include "{p}.h"' for p in prefixes)
    which = f"{next(iter(prefixes))}: see its header" if len(prefixes) == 1 else "these networks: see their headers"
    return f"""/* Runs {which}. Written by netc. */
#include <stdio.h>

{headers}

static int failed(const char *what, int32_t status) {{
  if (status != 0) printf("%s: status %d\\n", what, (int)status);
  return status != 0;
}}
"""


def _tail(prefixes: Collection[str]) -> str:
    title = '  printf("{p}:\\n");\n' if len(prefixes) > 1 else ""
    calls = "".join(f"{title.format(p=p)}  if ({p}_example() != 0) return 1;\n" for p in prefixes)
    return f"int main(void) {{\n{calls}  return 0;\n}}\n"


EXAMPLE = Sheet(("/* ", " */"), _head, _tail)
"""`example.c`."""


def example(build: Build) -> str:
    """The function that runs a network: the self-test if there is one, else zeros."""
    i, p = build.interface, build.interface.prefix
    upper = p.upper()
    lines = [
        f"static int {p}_example(void) {{",
        f"  static {upper}_ALIGNED uint8_t workspace[{upper}_WORKSPACE_BYTES];",
        f"  static {upper}_ALIGNED uint8_t buffers[{upper}_SELFTEST_BYTES];" if build.extras.answers else "",
        f"  static {upper}_ALIGNED uint8_t weights[{upper}_WEIGHTS_BYTES];" if i.storage is Storage.FILE else "",
        *(f"  static {C_TYPES[t.type.dtype]} {t.identifier}_in[{_size(t, 'INPUT', upper)}];" for t in i.inputs),
        *(f"  static {C_TYPES[t.type.dtype]} {t.identifier}_out[{_size(t, 'OUTPUT', upper)}];" for t in i.outputs),
        *_steps(build, upper),
        "  return 0;",
        "}",
    ]
    return "\n".join(line for line in lines if line)


def _size(tensor: Tensor, kind: str, upper: str) -> str:
    return f"{upper}_{kind}_{tensor.identifier.upper()}_SIZE"


def _steps(build: Build, upper: str) -> Iterator[str]:
    i, p = build.interface, build.interface.prefix
    if i.storage is Storage.FILE:
        yield from _loading(build, upper)
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


def _loading(build: Build, upper: str) -> Iterator[str]:
    p, name = build.interface.prefix, string(build.extras.weights_name)
    yield f"""  FILE *file = fopen({name}, "rb");
  const size_t found = file == NULL ? 0 : fread(weights, 1, {upper}_WEIGHTS_BYTES, file);
  if (file != NULL) fclose(file);
  if (found != {upper}_WEIGHTS_BYTES) {{
    printf("can't read all of %s\\n", {name});
    return 1;
  }}
  if (failed("{p}_bind", {p}_bind(workspace, weights, {upper}_WEIGHTS_BYTES))) return 1;"""


def _training(i: Interface) -> Iterator[str]:
    """Steps on one batch of random numbers, whose loss falls."""
    p = i.prefix
    yield "  uint32_t random = 1;"
    for tensor in i.inputs:
        kind, upper = C_TYPES[tensor.type.dtype], p.upper()
        value = "(float)(random >> 8) / 8388608 - 1" if tensor.type.dtype.is_float else "(random >> 31)"
        yield f"""  for (size_t i = 0; i < {_size(tensor, "INPUT", upper)}; i++) {{
    random = random * UINT32_C(1664525) + UINT32_C(1013904223);
    {tensor.identifier}_in[i] = ({kind})({value});
  }}"""
    yield f"""  for (int step = 0; step < 20; step++) {{
    if (failed("{p}_train_step", {p}_train_step(workspace, &inputs, &outputs))) return 1;
    printf("loss %g\\n", (double){i.outputs[0].identifier}_out[0]);
  }}"""

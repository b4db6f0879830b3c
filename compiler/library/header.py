"""The header of a library: C99, without warnings, for C++ and Rust's bindgen as well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..text import printable
from ..types import DType
from .facts import Extras
from .interface import ABI, MEANINGS, Interface, Status, Storage, Task, Tensor

C_TYPES = {
    DType.F64: "double",
    DType.F32: "float",
    DType.F16: "uint16_t",
    DType.I64: "int64_t",
    DType.I32: "int32_t",
    DType.I16: "int16_t",
    DType.I8: "int8_t",
    DType.U8: "uint8_t",
    DType.BOOL: "uint8_t",
}
"""What holds an element in C: the bits of half precision, and 0 or 1 for booleans."""


@dataclass(frozen=True, slots=True)
class Build:
    """A library as the texts beside it describe it."""

    interface: Interface
    extras: Extras
    target: str
    """As people name it."""
    code: int
    """The hash of the code."""
    stack_bytes: int | None = None
    """The most that a run takes of the stack, where that is known."""


def header(build: Build) -> str:
    """The text of a header."""
    upper = build.interface.prefix.upper()
    parts = [_opening(build, upper), *_constants(build, upper), *_tensors(build, upper), *_functions(build, upper)]
    return "\n".join([*parts, "#ifdef __cplusplus", "}", "#endif", "", f"#endif /* {upper}_H */", ""])


def comment(text: str) -> str:
    """Text of strangers for a comment in C."""
    return printable(text).replace("*/", "* /").replace("/*", "/ *").replace("\\", "/").replace("??", "? ?")


def string(text: str) -> str:
    """Text of strangers as a string in C."""
    safe = "".join(c if " " <= c <= "~" and c not in '"\\?' else "_" for c in text)
    return f'"{safe}"'


def _opening(build: Build, upper: str) -> str:
    i, p = build.interface, build.interface.prefix
    bind = f" *   {p}_bind(workspace, weights, {upper}_WEIGHTS_BYTES);   // once\n" if i.storage is Storage.FILE else ""
    reset = f" *   {p}_reset(workspace);   // before the first run, and to begin anew\n" if i.state_bytes else ""
    inputs = ", ".join(t.identifier for t in i.inputs)
    outputs = ", ".join(t.identifier for t in i.outputs)
    placed = f"workspace + {upper}_INPUT_{i.inputs[0].identifier.upper()}_OFFSET" if i.input_offsets else ""
    places = (
        f""" * Inputs lie in the workspace, as at {placed}, and are lost in a run.
 * Others, outside of it, are copied there.
"""
        if i.input_offsets
        else ""
    )
    what = "a step of training of a" if i.task is Task.TRAIN else "a"
    return f"""/* {comment(i.name)}, {what} neural network compiled by netc for {comment(build.target)}.
 *
 *   static {upper}_ALIGNED uint8_t workspace[{upper}_WORKSPACE_BYTES];
{bind}{reset} *   {p}_inputs inputs = {{{inputs}}};
 *   {p}_outputs outputs = {{{outputs}}};
 *   {p}_status status = {p}_{i.task.value}(workspace, &inputs, &outputs);   // {upper}_OK, as often as you like
 *
 * Tensors are dense row-major arrays. A workspace serves one run at a time; several may be used side by side.
{places} */
#ifndef {upper}_H
#define {upper}_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif
"""


def _constants(build: Build, upper: str) -> Iterator[str]:
    i = build.interface
    yield f"#define {upper}_ABI {ABI} /* version of this interface */"
    yield f"#define {upper}_TARGET {string(build.target)}"
    yield f"#define {upper}_CODE_HASH UINT64_C(0x{build.code:016x}) /* weights of other code are refused */"
    yield f"#define {upper}_WORKSPACE_BYTES {i.workspace_bytes} /* memory of a run; it may hold anything at first */"
    yield f"#define {upper}_WORKSPACE_ALIGNMENT {i.alignment}"
    where = {
        Storage.EMBEDDED: "read-only data of the object",
        Storage.SECTION: f"in section {i.section} of the object",
        Storage.FILE: f"the size of the file {build.extras.weights_name}",
    }
    yield f"#define {upper}_WEIGHTS_BYTES {i.stored_bytes} /* {comment(where[i.storage])} */"
    if i.storage is Storage.FILE:
        yield f"#define {upper}_WEIGHTS_ALIGNMENT {i.alignment}"
    if build.stack_bytes is not None:
        yield f"#define {upper}_STACK_BYTES {build.stack_bytes} /* the most that the code takes of the stack */"
    if i.state_bytes:
        yield f"#define {upper}_STATE_BYTES {i.state_bytes} /* part of the workspace, kept from run to run */"
    if i.task is Task.TRAIN:
        yield f"#define {upper}_PARAMETERS {len(i.state)}"
    if i.threads > 1:
        yield f"#define {upper}_MAX_THREADS {i.threads}"
    if build.extras.labels:
        yield f"#define {upper}_LABELS {len(build.extras.labels)}"
    if build.extras.answers:
        yield f"#define {upper}_SELFTEST_BYTES {i.selftest_offsets[-1]}"
    yield f"""
#if defined(__GNUC__)
#define {upper}_ALIGNED __attribute__((aligned({i.alignment})))
#elif defined(_MSC_VER)
#define {upper}_ALIGNED __declspec(align({i.alignment}))
#endif
"""
    yield f"typedef int32_t {i.prefix}_status;\n\nenum {{"
    for status in Status:
        yield f"  {upper}_{status.name} = {int(status)}{',' if status != max(Status) else ''} /* {MEANINGS[status]} */"
    yield "};\n"


def _tensors(build: Build, upper: str) -> Iterator[str]:
    offsets = build.interface.input_offsets
    for kind, tensors in (("input", build.interface.inputs), ("output", build.interface.outputs)):
        for i, tensor in enumerate(tensors):
            name = f"{upper}_{kind.upper()}_{tensor.identifier.upper()}"
            yield from _tensor(name, tensor)
            if kind == "input" and offsets:
                yield f"#define {name}_OFFSET {offsets[i]} /* its place in the workspace; a run overwrites it */\n"
        constant = "const " if kind == "input" else ""
        yield f"typedef struct {build.interface.prefix}_{kind}s {{"
        for tensor in tensors:
            yield f"  {constant}{C_TYPES[tensor.type.dtype]} *{tensor.identifier}; /* {_type(tensor)} */"
        if not tensors:
            yield "  const void *none; /* there are none */"
        yield f"}} {build.interface.prefix}_{kind}s;\n"


def _tensor(name: str, tensor: Tensor) -> Iterator[str]:
    type_ = tensor.type
    yield f"#define {name}_RANK {type_.rank}"
    if type_.shape:
        yield f"#define {name}_SHAPE {{{', '.join(map(str, type_.shape))}}}"
    yield f"#define {name}_SIZE {type_.size} /* elements */"
    yield f"#define {name}_BYTES {type_.bytes}"
    given = type_.quantization
    if given is not None and given.is_per_tensor:
        yield f"#define {name}_SCALE {given.scale!r} /* an element q stands for SCALE * (q - ZERO_POINT) */"
        yield f"#define {name}_ZERO_POINT ({given.zero_point})"
    yield ""


def _type(tensor: Tensor) -> str:
    special = {DType.F16: "half precision, as bits: ", DType.BOOL: "0 or 1: "}.get(tensor.type.dtype, "")
    shape = "".join(f"[{size}]" for size in tensor.type.shape) or "a number"
    same = tensor.name == tensor.identifier
    return f"{special}{shape}" + ("" if same else f", {comment(tensor.name)}")


def _functions(build: Build, upper: str) -> Iterator[str]:
    yield from _begin_functions(build)
    yield from _run_functions(build, upper)
    yield from _more(build, upper)


def _begin_functions(build: Build) -> Iterator[str]:
    """What comes before the first run: weights are bound, the state gets its first values."""
    i, p = build.interface, build.interface.prefix
    if i.storage is Storage.FILE:
        yield f"""/* Checks weights, the whole file {comment(build.extras.weights_name)} in memory,
 * and notes in the workspace where they lie. They must stay there as they are; workspaces may share them. */
{p}_status {p}_bind(void *workspace, const void *weights, size_t bytes);
"""
    if i.state_bytes:
        what = (
            "Gives what is trained, and what the optimizer remembers, their initial values"
            if i.task is Task.TRAIN
            else "Gives the network, which keeps a state in the workspace from run to run, its initial state"
        )
        yield f"""/* {what}. */
{p}_status {p}_reset(void *workspace);
"""


def _run_functions(build: Build, upper: str) -> Iterator[str]:
    """A run on the caller's thread, and on several."""
    i, p = build.interface, build.interface.prefix
    what = (
        "Trains on a batch on the caller's thread: changes the state, and gives the metrics of the batch before"
        if i.task is Task.TRAIN
        else "Computes all outputs from all inputs on the caller's thread"
    )
    yield f"""/* {what}. */
{p}_status {p}_{i.task.value}(void *workspace, const {p}_inputs *inputs, const {p}_outputs *outputs);
"""
    if i.threads > 1:
        needs = f"Workers are {p}.mjs's to start" if i.web_workers else "Needs pthread"
        yield f"""/* Runs on several threads: one run at a time between start and stop. `threads`, from 1 to
 * {upper}_MAX_THREADS, are the caller's own and workers, which wait for runs. {needs}. */
typedef struct {p}_context {{
  uint64_t internal[{i.context_bytes // 8}];
}} {p}_context;

{p}_status {p}_context_start({p}_context *context, void *workspace, int32_t threads);
{p}_status {p}_context_{i.task.value}({p}_context *context, const {p}_inputs *inputs, const {p}_outputs *outputs);
void {p}_context_stop({p}_context *context);
"""


def _more(build: Build, upper: str) -> Iterator[str]:
    """The table of what is trained, pictures, the self-test, labels and facts."""
    p = build.interface.prefix
    if build.interface.task is Task.TRAIN:
        yield f"""/* What is trained, and what the optimizer remembers: where each lies in the workspace, row by row. */
typedef struct {p}_parameter {{
  const char *name;
  size_t offset; /* from the beginning of the workspace */
  size_t bytes;
}} {p}_parameter;

extern const {p}_parameter {p}_parameters[{upper}_PARAMETERS];
"""
    if build.extras.preprocess:
        yield preprocess_declaration(p)
    if build.extras.answers:
        what = _compared([a.type.dtype.is_float for a in build.extras.answers])
        yield f"""/* Runs the network on a stored input and compares {what}.
 * `buffers` are {upper}_SELFTEST_BYTES bytes, aligned like the workspace, for inputs and outputs. */
{p}_status {p}_selftest(void *workspace, void *buffers);
"""
    if build.extras.labels:
        yield f"""/* What the classes of the first output are called. */
extern const char *const {p}_labels[{upper}_LABELS];
"""
    yield f"""/* All of this as JSON. */
extern const char {p}_facts[];
"""


def preprocess_declaration(prefix: str) -> str:
    """The function that makes an input of a picture."""
    return f"""/* Makes an input of a picture: crops, resizes and normalises it. Its code is {prefix}_preprocess.c.
 * `pixels` are `height` rows of `width` pixels of 1 (grey) or 3 (RGB) bytes, rows `stride` bytes apart. `scratch` are
 * {prefix}_preprocess_bytes(height, width) bytes, aligned to 8. */
size_t {prefix}_preprocess_bytes(int32_t height, int32_t width);
{prefix}_status {prefix}_preprocess(const uint8_t *pixels, int32_t height, int32_t width, int32_t channels,
    ptrdiff_t stride, void *scratch, void *input);
"""


def _compared(floats: Sequence[bool]) -> str:
    if all(floats):
        return "the answer with the stored one, floats within a tolerance"
    return "the answer with the stored one" + (", floats within a tolerance" if any(floats) else ", byte by byte")

"""The reference of operators and layers, written from their definitions alone.

    python -m netc.reference > docs/operators.md

What an operator or layer says of itself (operands, attributes, defaults, docstring, gradient) is all that stands there.
"""

from __future__ import annotations

import inspect
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from types import NoneType
from typing import Any, get_args

import numpy as np

from .compiler import quantization  # noqa: F401 (which registers rules, as `tflite` does)
from .compiler.edgetpu.support import SUPPORT
from .compiler.graph.declarations import REQUIRED
from .compiler.graph.ir import AttributeSpec, Graph, Operator, Value
from .compiler.graph.registry import operators
from .compiler.ops.facets import INTEGER, PERMUTED, TFLITE, Facet, readers
from .compiler.ops.layer import Layer, layers
from .compiler.types import Quantization
from .frontend import load_text, tflite  # noqa: F401

COMMAND = "python -m netc.reference > docs/operators.md"

_HEAD = f"""\
# Layers and operators

Written from the definitions in `compiler/ops` by `{COMMAND}`; a test compares the two.

A **layer** is what a `.net` file calls: it creates parameters under the name given by `@` and emits operators. An
**operator** is what stands in the graph; those without parameters of their own can be called in a `.net` file too.
Tensors are channels-last. `x?` may be absent, `*x` stands for any number of tensors.

## Layers
"""

_OPERATORS = """\
## Operators

Attributes stand in braces, with their defaults if they have any. The last column says whether gradients pass: *yes*,
*zero* (the derivative vanishes wherever it exists), or *no*.
"""

_FACETS = """\
## What becomes of each operator

*8 bits*: quantization has an integer form of it. *TFLite*: what it is written as. *Edge TPU*: which of that can run.
*Permutation*: a transpose of its operands can be moved behind it. Behind a dash stands why there is nothing.

| operator | 8 bits | TFLite | Edge TPU | permutation |
| --- | --- | --- | --- | --- |"""

_READ = """\
## TFLite operators that are read

Forms and element types that are supported stand in [tflite.md](tflite.md).
"""

_KINDS: Mapping[object, str] = {
    bool: "true or false",
    np.ndarray: "tensor",
    int: "whole number",
    float: "number",
    str: "text",
    tuple: "list",
    NoneType: "none",
    Graph: "graph",
    Quantization: "quantization",
}
"""What kinds of attributes are called; a class that is not listed goes by its own name."""


_SAMPLES: Mapping[str, int] = {
    "filters": 16,
    "groups": 2,
    "k": 2,
    "kernel": 3,
    "limit": 1,
    "size": 2,
    "units": 16,
    "value": 0,
}
"""Values for the examples of layers, by the name of the argument."""
_PICTURE = "x: f32[2, 8, 8, 4]"
_SEQUENCE = "x: f32[2, 8, 4]"
_SCATTERED = "x: f32[9, 4], indices: i32[2, 4], updates: f32[2, 4]"
_SLICES = "x: f32[9, 4], indices: i32[2, 1], updates: f32[2, 4]"
_BOXES = "boxes: f32[9, 4]"
_ANCHORS = f"{_BOXES}, anchors: f32[9, 4]"
_EXAMPLES: Mapping[str, tuple[str, str]] = {
    **{
        name: (_PICTURE, f"x |> {name}({arguments})")
        for name, arguments in {
            "split": "2",
            "chunk": "3, axis = 1",
            "strided_slice": "[0, 1], [none, -1], [1, 2]",
            "repeat": "2, axis = 1",
            "squeeze": "",
            "unsqueeze": "0",
            "expand_dims": "0",
            "swap_axes": "1, -1",
            "move_axis": "3, 1",
            "flip": "[1, 2]",
            "roll": "3, 1",
            "pad": '[[0, 0], [1, 1], [1, 1], [0, 0]], mode = "reflect"',
            "depth_to_space": "2",
            "pixel_shuffle": "2",
            "pixel_unshuffle": "2",
            "channel_shuffle": "2",
            "full_like": "1.5",
            "spatial_dropout": "0.1",
            "stochastic_depth": "0.1",
        }.items()
    },
    **{name: (_SEQUENCE, f"x |> {name}@name(16)") for name in ("lstm", "gru", "rnn")},
    "stack": (_PICTURE, "stack(x, x, axis = 1)"),
    "max_unpool": (_PICTURE, "max_pool(x, 2) |> max_unpool(x, 2)"),
    "meshgrid": ("x: f32[3], y: f32[4]", "meshgrid(x, y)"),
    "arange": ("x: f32[8]", 'x * arange(8, dtype = "f32")'),
    "linspace": ("x: f32[8]", "x * linspace(0, 1, 8)"),
    "tensor": ("x: f32[2, 2]", "x + tensor([[1, 2], [3, 4]])"),
    "linear": ("x: f32[2, 8], weight: f32[8, 4], bias: f32[4]", "linear(x, weight, bias)"),
    "parametric_relu": ("x: f32[2, 8], slope: f32[8]", "parametric_relu(x, slope)"),
    "batch_normalize": (
        "x: f32[2, 8], gamma: f32[8], beta: f32[8], mean: f32[8], variance: f32[8]",
        "batch_normalize(x, gamma, beta, mean, variance)",
    ),
    "full": ("x: f32[8]", "x + full([3, 1], 1.5)"),
    "zeros": ("x: f32[8]", "x + zeros([3, 1])"),
    "ones": ("x: f32[8]", "x + ones([3, 1])"),
    "einsum": ("x: f32[2, 8, 4], y: f32[2, 6, 4]", 'einsum("nqd,nkd->nqk", x, y)'),
    "multi_head_attention": ("x: f32[2, 8, 16]", "x |> multi_head_attention@name(4)"),
    "embedding": ("ids: i32[2, 8]", "ids |> embedding@name(100, 16)"),
    "logical_xor": ("x: f32[8], y: f32[8]", 'cast(logical_xor(x > 0, y > 0), "f32")'),
    "where": (_PICTURE, "where(x > 0, x, 0.1 * x)"),
    "scatter": (_SCATTERED, "scatter(x, indices, updates, axis = 0)"),
    "scatter_add": (_SCATTERED, "scatter_add(x, indices, updates, axis = 0)"),
    "scatter_nd_update": (_SLICES, "scatter_nd_update(x, indices, updates)"),
    "scatter_nd_add": (_SLICES, "scatter_nd_add(x, indices, updates)"),
    "resize": (_PICTURE, "x |> resize(scale = 2)"),
    "grid_sample": (f"{_PICTURE}, grid: f32[2, 3, 5, 2]", "grid_sample(x, grid)"),
    "affine_grid": ("theta: f32[2, 2, 3]", "theta |> affine_grid([3, 5])"),
    "crop_and_resize": (f"{_PICTURE}, {_BOXES}, of: i32[9]", "crop_and_resize(x, boxes, of, [3, 5])"),
    "roi_align": (f"{_PICTURE}, {_BOXES}, of: i32[9]", "roi_align(x, boxes, of, [3, 5])"),
    "batched_nms": (f"{_BOXES}, scores: f32[9], classes: i32[9]", "batched_nms(boxes, scores, classes, 5)"),
    "box_iou": (f"{_BOXES}, others: f32[5, 4]", "box_iou(boxes, others)"),
    "clip_boxes": (_BOXES, "boxes |> clip_boxes(64, 64)"),
    "decode_boxes": (_ANCHORS, "decode_boxes(boxes, anchors)"),
    "detection_postprocess": (
        "moves: f32[1, 9, 4], scores: f32[1, 9, 3], anchors: f32[9, 4]",
        "detection_postprocess(moves, scores, anchors, 5, 2)",
    ),
    "encode_boxes": (_ANCHORS, "encode_boxes(boxes, anchors)"),
    "anchor_boxes": (_BOXES, "boxes - anchor_boxes([[3, 3]], [[32]], [[1]], [96, 96])"),
    "default_boxes": ("boxes: f32[16, 4]", "boxes - default_boxes([[2, 2]], [[2]], [96, 96])"),
}
"""Examples of other layers: the inputs, and a call."""


def reference() -> str:
    """The whole reference in Markdown."""
    parts = [_HEAD, *map(_layer, layers().values()), _OPERATORS]
    parts += [_group(name, group) for name, group in _groups(operators().values()).items()]
    return "\n".join(
        [
            *parts,
            _FACETS,
            *(_facets(operator) for _, operator in sorted(operators().items())),
            "",
            _READ,
            _wrapped(sorted(readers())),
        ]
    )


def _facets(operator: Operator) -> str:
    """A row of the matrix of operators and consumers."""
    form = TFLITE.of(operator)
    written = ", ".join(form.kinds) or "as it was read" if form is not None else f"- {TFLITE.reason(operator)}"
    cells = [_rule(INTEGER, operator), written, _edge(operator), _rule(PERMUTED, operator)]
    return f"| `{operator.name}` | {' | '.join(cells)} |"


def _rule(facet: Facet[Any], operator: Operator) -> str:
    return "yes" if facet.of(operator) is not None else f"- {facet.reason(operator)}"


def _edge(operator: Operator) -> str:
    """Which of the TFLite operators that it may become can run on the Edge TPU."""
    form = TFLITE.of(operator)
    if form is None:
        return f"- {TFLITE.reason(operator)}"
    mapped = [kind for kind in form.kinds if kind in SUPPORT]
    if not mapped:
        return "- its compiler doesn't know it"
    return "yes" if len(mapped) == len(form.kinds) else ", ".join(mapped)


def _wrapped(words: Iterable[str]) -> str:
    return "\n".join(textwrap.wrap(", ".join(words), 120)) + ".\n"


def _layer(layer: Layer) -> str:
    tensors_and_values = list(layer.signature.parameters.values())[1:]  # the first one is the builder
    signature = ", ".join(map(_parameter, tensors_and_values))
    doc = inspect.getdoc(layer.function) or ""
    return f"### `{layer.name}({signature})`\n\n{doc}\n\n{_example(layer)}\n"


def _example(layer: Layer) -> str:
    """A call with the types and parameters that come of it, as the frontend finds them."""
    inputs, call = _EXAMPLES.get(layer.name) or (_PICTURE, _call(layer))
    graph = load_text(f"net example({inputs}) {{ return {call} }}")
    made = ", ".join(f"`{p.result.name}: {p.result.type}`" for p in graph.parameters)
    taken, given = (", ".join(str(v.type) for v in values) for values in (graph.inputs, graph.outputs))
    return f"For example `{call}`: `{taken} -> {given}`" + (f", with {made}." if made else ".")


def _call(layer: Layer) -> str:
    """A call on a picture."""
    arguments = []
    for parameter in list(layer.signature.parameters.values())[2:]:
        if parameter.default is parameter.empty and parameter.kind is not inspect.Parameter.VAR_POSITIONAL:
            arguments.append(f"{parameter.name} = {_SAMPLES[parameter.name]}")
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in layer.signature.parameters.values()):
        arguments.append("x")
    return f"x |> {layer.name}@name({', '.join(arguments)})"


def _parameter(parameter: inspect.Parameter) -> str:
    star = "*" if parameter.kind is inspect.Parameter.VAR_POSITIONAL else ""
    if parameter.annotation is Value:
        return star + parameter.name
    default = "" if parameter.default is parameter.empty else f" = {_value(parameter.default)}"
    return f"{parameter.name}{default}"


def _groups(found: Iterable[Operator]) -> dict[str, list[Operator]]:
    """Operators by the module that defines them, modules in alphabetical order."""
    groups: dict[str, list[Operator]] = {}
    for operator in found:
        groups.setdefault(type(operator).__module__, []).append(operator)
    return dict(sorted(groups.items()))


def _group(module: str, group: Sequence[Operator]) -> str:
    title = module.partition(".ops.")[2].replace(".", ": ").replace("_", " ").capitalize()
    first_line = (sys.modules[module].__doc__ or "").strip().splitlines()[0]
    rows = [f"| `{_signature(o)}` | {_cell(o.doc)} | {_gradient(o)} |" for o in group]
    lines = [f"### {title}", "", first_line, "", "| operator | meaning | gradient |", "| --- | --- | --- |", *rows]
    attributes = _attributes(group)
    return "\n".join([*lines, *(["", *attributes] if attributes else []), ""])


def _signature(operator: Operator) -> str:
    attributes = ", ".join(
        key if spec.default is REQUIRED else f"{key} = {_value(spec.default)}"
        for key, spec in operator.attributes.items()
    )
    return f"{operator.name}({', '.join(operator.operands)})" + (f" {{{attributes}}}" if attributes else "")


def _attributes(group: Sequence[Operator]) -> list[str]:
    """One line for each attribute of a group; it says whose the attribute is where another has the same name."""
    owners: dict[tuple[str, str], list[str]] = {}
    for operator in group:
        for key, spec in operator.attributes.items():
            owners.setdefault((key, f"({_kind(spec)}): {spec.doc}"), []).append(operator.name)
    keys = [key for key, _ in owners]
    return [
        f"- `{key}` {'of ' + ', '.join(names) + ' ' if keys.count(key) > 1 else ''}{meaning}"
        for (key, meaning), names in owners.items()
    ]


def _kind(spec: AttributeSpec) -> str:
    kinds = spec.kind if isinstance(spec.kind, tuple) else get_args(spec.kind) or (spec.kind,)
    if set(kinds) >= {int, float}:
        kinds = (float, *(kind for kind in kinds if kind not in (int, float)))
    return " or ".join(_KINDS.get(kind, kind.__name__) for kind in kinds)


def _gradient(operator: Operator) -> str:
    if operator.piecewise_constant:
        return "zero"
    return "no" if operator.non_differentiable or type(operator).gradient is Operator.gradient else "yes"


def _value(value: object) -> str:
    """A default as a `.net` file spells it."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(reference())

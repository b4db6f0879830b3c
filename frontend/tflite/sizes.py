"""Which sizes a file leaves to whoever runs it, and what they are bound to before it becomes a graph.

A free size is one of -1 in a tensor's shape or in its `shape_signature`. Where the shape states a number beside the
signature, that is what LiteRT takes by default, and so does netc. All other shapes follow from those of the inputs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ...compiler.errors import NetcError, near_miss
from ...compiler.tflite.reading import Model, Tensor
from ...compiler.tflite.reading.checks import MAX_ELEMENTS


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is chosen: the batch of inputs that leave it open, and whole shapes of inputs by name (`input_names`)."""

    batch: int = 1
    shapes: Mapping[str, Any] = field(default_factory=dict[str, Any])


def input_names(model: Model) -> list[str]:
    """A name for each input, to be used in settings: that of the signature or of the tensor, as an identifier."""
    signature = {} if model.signature is None else {index: name for name, index in model.signature.inputs.items()}
    found: list[str] = []
    for place, index in enumerate(model.inputs):
        name = re.sub(r"\W", "_", signature.get(index) or model.tensors[index].name)
        found.append(name if name.isidentifier() and name not in found else f"input{place}")
    return found


def bound(model: Model, sizes: Sizes) -> tuple[Model, list[str]]:
    """The model with the shapes of its inputs known, on tensors that may be replaced, and notes on what was guessed.

    If an input has another shape than the file states, shapes of what is computed are left out, which followed from it.
    Raises `NetcError` that names the input for sizes that are not known or not free.
    """
    names = input_names(model)
    unknown = next((name for name in sizes.shapes if name not in names), None)
    if unknown is not None:
        hint = near_miss(unknown, names) or f"its inputs are {', '.join(names)}"
        raise NetcError(f"the model has no input `{unknown}` whose shape could be set", hint=hint)
    tensors: list[Tensor] = list(model.tensors)
    notes: list[str] = []
    changed = False
    for name, index in zip(names, model.inputs, strict=True):
        given = tensors[index]
        shape = _shape(given, name, sizes, notes)
        changed |= shape != given.shape
        tensors[index] = given.with_shape(shape)
    if changed:
        computed = {i for operator in model.operators for i in operator.outputs} - set(model.inputs)
        for index in computed:
            tensors[index] = tensors[index].without_shape()
    subgraphs = list(model.subgraphs)
    subgraphs[model.main] = replace(model.subgraph, tensors=tensors)
    return replace(model, subgraphs=tuple(subgraphs)), notes


def _shape(tensor: Tensor, name: str, sizes: Sizes, notes: list[str]) -> tuple[int, ...]:
    """The shape of an input."""
    if name in sizes.shapes:
        return _chosen(tensor, name, sizes.shapes[name])
    shape, free = list(tensor.shape), tensor.is_free
    if free and free[0]:
        if sizes.batch != 1 or shape[0] < 0:
            shape[0] = sizes.batch
        if shape[0] == 1 and sizes.batch == 1:
            notes.append("the batch is free and taken as 1; --batch binds it")
    example = ",".join(str(s) if s > 0 else "SIZE" for s in shape)
    if any(size < 0 for size in shape):
        places = ", ".join(str(d) for d, size in enumerate(shape) if size < 0)
        hint = f"--set {name}=[{example}] binds them, settings={{'{name}': [{example}]}} in Python"
        raise NetcError(f"input `{name}` has free sizes (dimension {places} of {_stated(tensor)})", hint=hint)
    if any(free[1:]):
        notes.append(f"input `{name}` has free sizes, taken as {shape}; --set {name}=[{example}] binds them")
    return tuple(shape)


def _chosen(tensor: Tensor, name: str, value: object) -> tuple[int, ...]:
    """A shape that was asked for, which may differ from the file's where that leaves it open."""
    sizes = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()
    if not sizes or not all(isinstance(s, int) and not isinstance(s, bool) and s >= 1 for s in sizes):
        raise NetcError(f"the shape of input `{name}` is a list of positive numbers, not {value}")
    product = 1
    for size in sizes:
        product *= size
    if product > MAX_ELEMENTS or len(sizes) != len(tensor.shape) or not _fits(tensor, sizes):
        raise NetcError(f"input `{name}` can't have the shape {list(sizes)}: the file says {_stated(tensor)}")
    return sizes


def _fits(tensor: Tensor, sizes: tuple[int, ...]) -> bool:
    return all(free or size == own for size, own, free in zip(sizes, tensor.shape, tensor.is_free, strict=True))


def _stated(tensor: Tensor) -> str:
    """The shape of a tensor with ? for free sizes."""
    sizes = zip(tensor.shape, tensor.is_free, strict=True)
    return f"[{','.join('?' if free else str(size) for size, free in sizes)}]"

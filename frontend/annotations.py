"""Annotations of parameters: kinds of hyperparameters, and tensor types with free sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..compiler.errors import Location, near_miss
from ..compiler.types import DType, TensorType, parse_quantization
from . import ast
from .names import FREE_SIZE
from .state import check_size
from .values import Applying, Callee, Record, Tensor, describe, error, list_of

_KINDS: Mapping[str, Any] = {
    "int": int,
    "float": float,
    "bool": bool,
    "str": str,
    "block": Callee,
    "record": Record,
    "tensor": Tensor,
}
_DTYPES: Mapping[str, DType] = {d.value: d for d in DType}

Evaluate = Callable[[ast.Expr], Any]


def is_tensor_annotation(annotation: ast.Annotation | None) -> bool:
    """Whether a parameter is a tensor of a stated type, such as f32[N, 10]."""
    return annotation is not None and annotation.sizes is not None and annotation.name not in _KINDS


def hyperparameter_kind(annotation: ast.Annotation | None) -> Any:
    """The kind of value that an annotated parameter takes, as a Python annotation."""
    if annotation is None:
        return object
    if is_tensor_annotation(annotation):
        return Tensor
    if annotation.name not in _KINDS:
        hint = near_miss(annotation.name, [*_KINDS, *_DTYPES]) or "there are " + ", ".join(_KINDS)
        if annotation.name in _DTYPES:
            hint = f"a tensor type has sizes: {annotation.name}[N, 10]"
        raise error(f"`{annotation.name}` is no kind of value", annotation.location, hint)
    kind = _KINDS[annotation.name]
    if annotation.sizes is None:
        return kind
    if annotation.sizes:
        raise error(f"a list is written {annotation.name}[]", annotation.location)
    return list_of(kind)


def free_sizes(annotation: ast.Annotation | None, bound: Mapping[str, object]) -> dict[str, Location]:
    """The free sizes of a tensor type, and where they stand."""
    sizes = annotation.sizes if annotation is not None and annotation.sizes else ()
    names = [n for size in sizes for n in ast.walk(size) if isinstance(n, ast.Name)]
    return {n.id: n.location for n in names if n.id not in bound and FREE_SIZE.fullmatch(n.id)}


def tensor_type(annotation: ast.Annotation, evaluate: Evaluate) -> TensorType:
    """The type that an annotation states, all sizes bound."""
    if annotation.name not in _DTYPES:
        hint = near_miss(annotation.name, _DTYPES) or "there are " + ", ".join(_DTYPES)
        raise error(f"there is no element type `{annotation.name}`", annotation.location, hint)
    sizes = tuple(_size(size, evaluate) for size in annotation.sizes or ())
    kind = TensorType(_DTYPES[annotation.name], sizes)
    if annotation.quantization is not None:
        with Applying("a tensor type", annotation.location):
            kind = kind.with_quantization(parse_quantization(annotation.quantization))
        problem = kind.quantization.problem(kind.dtype, kind.shape) if kind.quantization is not None else None
        if problem is not None:
            raise error(problem, annotation.location)
    check_size("a tensor", kind, annotation.location)
    return kind


def _size(node: ast.Expr, evaluate: Evaluate) -> int:
    size = evaluate(node)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise error(f"a size must be a positive whole number, not {describe(size)}", node.location)
    return size


def match_tensor(
    parameter: ast.Parameter, value: Any, variables: dict[str, Any], evaluate: Evaluate, location: Location
) -> None:
    """Check a tensor against its annotation; free sizes take the sizes that the tensor has."""
    annotation = parameter.annotation
    if annotation is None or not isinstance(value, Tensor):
        return
    sizes = annotation.sizes or ()
    if len(sizes) == value.type.rank:
        for size, number in zip(sizes, value.type.shape, strict=True):
            if isinstance(size, ast.Name) and FREE_SIZE.fullmatch(size.id):
                variables.setdefault(size.id, number)
        expected = tensor_type(annotation, evaluate)
        actual = value.type.dense()
        if expected == (actual if annotation.quantization is not None else actual.with_quantization(None)):
            return
        raise error(f"`{parameter.name.id}` must be {expected}, not {value.type}", location)
    raise error(
        f"`{parameter.name.id}` must have {len(sizes)} dimensions, not {value.type.rank}: {value.type}", location
    )

"""Calls that PyTorch's exporter lacks, or for which it gives other numbers than PyTorch, in terms of others.

The others are operators that it gets right. `torch_functions`, `torch_layers`, `torch_missing` and `torch_sequences`
have most of the forms.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import Any

import numpy as np

from ..compiler.errors import NetcError
from . import torch_functions, torch_layers, torch_missing, torch_sequences


def spelt_out(torch: Any, program: Any) -> Any:
    """An `ExportedProgram` that the exporter gets right; the same one if it does anyway."""
    if any(hasattr(node.target, "_schema") and _is_wrong(node) for node in program.graph.nodes):
        return program.run_decompositions(_forms(torch))
    return program


def exact_numbers(torch: Any) -> dict[Any, Callable[..., Any]]:
    """Translations for the exporter, which makes an f32 of each of Python's floats, also where doubles are computed."""
    from onnx import TensorProto, helper, numpy_helper
    from onnxscript import opset18 as op

    def tensor(s: Any, dtype: int = -1, layout: str = "", device: str = "", pin_memory: bool = False) -> Any:
        kind = int(dtype) if int(dtype) > 0 else int(TensorProto.FLOAT)
        if not isinstance(s, bool | int | float):
            return op.Cast(s, to=kind)
        return op.Constant(value=numpy_helper.from_array(np.array(s).astype(helper.tensor_dtype_to_np_dtype(kind))))

    return {torch.ops.aten.scalar_tensor.default: tensor}


def arguments_of(node: Any) -> dict[str, Any]:
    """The arguments of a call of an operator by name, defaults included."""
    schema = node.target._schema.arguments
    positional = {a.name: v for a, v in zip(schema, node.args, strict=False)}
    return {**{a.name: a.default_value for a in schema}, **positional, **node.kwargs}


def _is_wrong(node: Any) -> bool:
    """Whether the exporter passes over one of the arguments of a call, or loses digits."""
    given, name = arguments_of(node), str(node.target)
    return (
        given.get("reduce") == "mean"  # becomes a scatter that keeps the last element
        or given.get("divisor_override") is not None  # is left out
        or _is_scaled_otherwise(name, given)
        or (name == "aten.mean.dim" and (given["dtype"] is not None or _is_of_all(given)))  # whole numbers stay whole
        or (_function(name) == "copy" and _is_spread(given))  # stays as small as it is
        or (_function(name) in _OF_ALL and _is_of_all(given) and given["keepdim"] is True)  # loses dimensions
        or (name == "aten.linalg_vector_norm.default" and _is_of_one(given))  # powers lose digits, or overflow
        or torch_functions.is_misspelt(_function(name), given)
        or torch_layers.is_misspelt(_function(name), given)
        or torch_missing.is_missing(_function(name), given)
        or torch_sequences.is_missing(_function(name), given)
    )


def _function(name: str) -> str:
    """`div` of `aten.div_.Tensor`: that which changes its operand becomes that which doesn't."""
    operator = name.split(".")[1]
    return operator if operator.startswith("__") else operator.removesuffix("_")


_OF_ALL = ("argmax", "argmin", "linalg_vector_norm")


def _is_of_all(given: dict[str, Any]) -> bool:
    """Whether all dimensions are meant, if there are any, by none that are named."""
    return given["dim"] in (None, []) and given["self"].meta["val"].ndim > 0


def _is_of_one(given: dict[str, Any]) -> bool:
    """Whether a norm is one of single elements, of which PyTorch takes the absolute values."""
    x, dims = given["self"].meta["val"], given["dim"]
    return given["ord"] != 0 and given["dtype"] is None and all(x.shape[d] == 1 for d in _reduced(x, dims))


def _reduced(x: Any, dims: Any) -> list[int]:
    """The dimensions that are meant: all of them if none is named."""
    return [d % x.ndim for d in dims or range(x.ndim)] if x.ndim else []


def _is_spread(given: dict[str, Any]) -> bool:
    """Whether a copy fills a tensor of another shape."""
    x, source = (given[key].meta["val"] for key in ("self", "src"))
    return bool(x.shape != source.shape)


_COPYING = tuple(f"aten.upsample_{name}.vec" for name in ("linear1d", "bilinear2d", "trilinear3d", "nearest2d"))
"""Those that copy along dimensions whose size stays, whatever the scale."""
_SMOOTH = ("aten._upsample_bilinear2d_aa.vec", "aten._upsample_bicubic2d_aa.vec")


def _is_scaled_otherwise(name: str, given: dict[str, Any]) -> bool:
    """Whether ONNX takes scales otherwise: `align_corners` of unrounded sizes, and scales where sizes stay."""
    scales = given.get("scale_factors")
    if not scales:
        return False
    sizes = given["input"].meta["val"].shape[2:]
    if name in _SMOOTH and any(int(n * scale) != n * scale for n, scale in zip(sizes, scales, strict=True)):
        hint = "give `size`, or recompute_scale_factor = True"
        raise NetcError("the exporter takes antialiasing by such a scale_factor for another one", hint=hint)
    return bool(given.get("align_corners")) or (
        name in _COPYING and any(scale != 1 and int(n * scale) == n for n, scale in zip(sizes, scales, strict=True))
    )


def _forms(torch: Any) -> dict[Any, Callable[..., Any]]:
    aten = torch.ops.aten
    scatters = {aten.scatter_reduce.two: _scattered_means(torch, aten.scatter_reduce.two)}
    pools = {operator: _divided(torch, operator) for operator in (aten.avg_pool2d.default, aten.avg_pool3d.default)}
    names = ("linear1d", "bilinear2d", "trilinear3d", "bicubic2d", "nearest2d")
    resized = {operator: _resized(operator) for operator in (getattr(aten, f"upsample_{name}").vec for name in names)}
    others = {
        aten.mean.dim: _means(aten.mean.dim),
        aten.copy.default: _filled,
        aten.linalg_vector_norm.default: _norms(aten.linalg_vector_norm.default),
        **{operator: _places(operator) for operator in (aten.argmax.default, aten.argmin.default)},
    }
    spelt = (module.forms(torch) for module in (torch_functions, torch_layers, torch_missing, torch_sequences))
    return reduce(or_, spelt, scatters | pools | resized | others)


def _scattered_means(torch: Any, operator: Any) -> Callable[..., Any]:
    def form(x: Any, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True) -> Any:
        used = torch_missing.part_of(source, index.shape)
        if reduce != "mean":
            same = source.shape == index.shape
            return NotImplemented if same else operator(x, dim, index, used, reduce, include_self=include_self)
        sums = operator(x, dim, index, used, "sum", include_self=include_self)
        ones = torch.ones_like(x), torch.ones_like(used)
        counts = operator(ones[0], dim, index, ones[1], "sum", include_self=include_self)
        return torch.div(sums, counts, rounding_mode=None if x.is_floating_point() else "floor")

    return form


def _divided(torch: Any, operator: Any) -> Callable[..., Any]:
    """Sums of windows, divided by a given number: also those that reach beyond the end are means of a whole window."""

    def form(
        x: Any,
        size: Any,
        stride: Any = (),
        padding: Any = 0,
        ceil: bool = False,
        count: bool = True,
        divisor: Any = None,
    ) -> Any:
        if divisor is None:
            return NotImplemented
        spatial = 2 if operator is torch.ops.aten.avg_pool2d.default else 3
        sizes, steps, sides = (_each(v, spatial) for v in (size, stride or size, padding))
        results = operator(x, size, stride, padding, ceil, count).shape[-spatial:]
        margins: list[int] = []
        for old, new, window, step, side in zip(x.shape[-spatial:], results, sizes, steps, sides, strict=True):
            margins = [side, max(side, (new - 1) * step + window - old - side), *margins]
        padded = torch.nn.functional.pad(x, margins)
        means = operator(padded, sizes, steps)[(..., *(slice(n) for n in results))]
        return means * (math.prod(sizes) / divisor)

    return form


def _each(value: Any, count: int) -> list[int]:
    given = [value] if isinstance(value, int) else list(value)
    return given * count if len(given) == 1 else given


def _means(operator: Any) -> Callable[..., Any]:
    def form(x: Any, dim: Any, keepdim: bool = False, *, dtype: Any = None) -> Any:
        if dtype is None and (dim or not x.ndim):
            return NotImplemented
        return operator(x if dtype is None else x.to(dtype), dim or [*range(x.ndim)], keepdim)

    return form


def _filled(x: Any, source: Any, non_blocking: bool = False) -> Any:
    return NotImplemented if x.shape == source.shape else source.to(x.dtype).expand(x.shape)


def _norms(operator: Any) -> Callable[..., Any]:
    def form(x: Any, order: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Any:
        dims = _reduced(x, dim)
        if order != 0 and dtype is None and all(x.shape[d] == 1 for d in dims):
            return x.abs().reshape([1 if d in dims else n for d, n in enumerate(x.shape) if keepdim or d not in dims])
        if dim or not keepdim or not x.ndim:
            return NotImplemented
        return operator(x, order, [*range(x.ndim)], True, dtype=dtype)

    return form


def _places(operator: Any) -> Callable[..., Any]:
    def form(x: Any, dim: int | None = None, keepdim: bool = False) -> Any:
        return NotImplemented if dim is not None or not keepdim else operator(x).reshape([1] * x.ndim)

    return form


def _resized(operator: Any) -> Callable[..., Any]:
    """By sizes for `align_corners`; else with scales of 1 for dimensions whose sizes stay, which PyTorch copies."""

    def form(x: Any, size: Any, *rest: Any) -> Any:
        *corners, scales = rest
        if not scales:
            return NotImplemented
        new = [int(n * scale) for n, scale in zip(x.shape[2:], scales, strict=True)]
        if any(corners):
            return operator(x, new, True, None)
        if str(operator) not in _COPYING:
            return NotImplemented
        kept = [1.0 if n == m else scale for n, m, scale in zip(x.shape[2:], new, scales, strict=True)]
        return NotImplemented if kept == list(scales) else operator(x, None, *corners, kept)

    return form

"""What PyTorch's exporter gives other numbers than PyTorch, said in operators that it gets right."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any


def spelt_out(torch: Any, program: Any) -> Any:
    """An `ExportedProgram` that the exporter gets right; the same one if it does anyway."""
    if any(hasattr(node.target, "_schema") and _is_wrong(node) for node in program.graph.nodes):
        return program.run_decompositions(_forms(torch))
    return program


def arguments_of(node: Any) -> dict[str, Any]:
    """The arguments of a call of an operator by name, defaults included."""
    schema = node.target._schema.arguments
    positional = {a.name: v for a, v in zip(schema, node.args, strict=False)}
    return {**{a.name: a.default_value for a in schema}, **positional, **node.kwargs}


def _is_wrong(node: Any) -> bool:
    """Whether the exporter passes over one of the arguments of a call."""
    given = arguments_of(node)
    return (
        given.get("reduce") == "mean"  # becomes a scatter that keeps the last element
        or given.get("divisor_override") is not None  # is left out
        # ONNX then has corners of unrounded sizes, PyTorch of whole ones
        or bool(given.get("align_corners") and given.get("scale_factors"))
        or (str(node.target) == "aten.mean.dim" and given["dtype"] is not None)  # whole numbers stay whole
    )


def _forms(torch: Any) -> dict[Any, Callable[..., Any]]:
    aten = torch.ops.aten
    scatters = {aten.scatter_reduce.two: _scattered_means(torch, aten.scatter_reduce.two)}
    pools = {operator: _divided(torch, operator) for operator in (aten.avg_pool2d.default, aten.avg_pool3d.default)}
    names = ("linear1d", "bilinear2d", "trilinear3d", "bicubic2d")
    resized = {operator: _by_size(operator) for operator in (getattr(aten, f"upsample_{name}").vec for name in names)}
    return scatters | pools | resized | {aten.mean.dim: _means(aten.mean.dim)}


def _scattered_means(torch: Any, operator: Any) -> Callable[..., Any]:
    def form(x: Any, dim: int, index: Any, source: Any, reduce: str, *, include_self: bool = True) -> Any:
        if reduce != "mean":
            return NotImplemented
        sums = operator(x, dim, index, source, "sum", include_self=include_self)
        ones = torch.ones_like(x), torch.ones_like(source)
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
        return NotImplemented if dtype is None else operator(x.to(dtype), dim, keepdim)

    return form


def _by_size(operator: Any) -> Callable[..., Any]:
    def form(x: Any, size: Any, align_corners: bool, scales: Any) -> Any:
        if not align_corners or not scales:
            return NotImplemented
        spatial = x.shape[2:]
        return operator(x, [int(n * scale) for n, scale in zip(spatial, scales, strict=True)], True, None)

    return form

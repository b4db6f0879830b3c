"""Functions that PyTorch's exporter doesn't have, or not for all arguments, in terms of operators that it has."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ..compiler.ops.windows.pooling_layers import even_parts
from .torch_functions import is_below

Form = Callable[..., Any]

_NAMES = (
    *("hypot", "copysign", "fmin", "fmax", "cdist", "median", "kthvalue", "searchsorted"),
    *("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d", "adaptive_avg_pool3d"),
)


def is_missing(name: str, given: dict[str, Any]) -> bool:
    """Whether the exporter doesn't have a call of `aten.NAME`, for which there is a form."""
    if name in ("sort", "argsort"):
        return "stable" in given
    if name in ("clamp", "clip"):  # of integers by floats, or by an integer and a float
        bounds = [bound for bound in (given["min"], given["max"]) if isinstance(bound, int | float)]
        is_float = given["self"].meta["val"].dtype.is_floating_point
        return any(isinstance(bound, float) for bound in bounds) and (not is_float or len({*map(type, bounds)}) > 1)
    if name in ("scatter", "scatter_add", "scatter_reduce") and "src" in given:
        return bool(given["src"].meta["val"].shape != given["index"].meta["val"].shape)
    return name in _NAMES


def forms(torch: Any) -> dict[Any, Form]:
    """By operator; a form gives `NotImplemented` for what the exporter has."""
    aten = torch.ops.aten
    pools = {
        getattr(aten, f"adaptive_max_pool{n}d").default: lambda x, size, n=n: _adaptive_max(torch, x, size, n)
        for n in (1, 2, 3)
    }
    return {
        aten.hypot.default: lambda a, b: _hypotenuse(torch, a, b),
        aten.copysign.Tensor: lambda a, b: _with_sign(torch, a, b),
        aten.copysign.Scalar: lambda a, b: _with_sign(
            torch, a, torch.full([], float(b), dtype=torch.get_default_dtype())
        ),
        aten.fmin.default: lambda a, b: _of_numbers(torch, torch.minimum, a, b),
        aten.fmax.default: lambda a, b: _of_numbers(torch, torch.maximum, a, b),
        aten.cdist.default: lambda a, b, p=2.0, mode=None: _distances(torch, a, b, p, mode),
        aten.median.dim: lambda x, dim, keepdim=False: _ranked(torch, x, None, dim, keepdim),
        aten.median.default: lambda x: _ranked(torch, x.reshape(-1), None, 0, False)[0],
        aten.kthvalue.default: lambda x, k, dim=-1, keepdim=False: _ranked(torch, x, k, dim, keepdim),
        aten.sort.stable: lambda x, *, stable, dim=-1, descending=False: torch.sort(x, dim, descending),
        aten.argsort.stable: lambda x, *, stable, dim=-1, descending=False: torch.sort(x, dim, descending)[1],
        **dict.fromkeys(
            (aten.clamp.default, aten.clip.default), lambda x, low=None, high=None: _clamped(torch, x, low, high)
        ),
        aten.searchsorted.Tensor: lambda *given, **named: _searched(torch, *given, **named),
        **{op: _scattered(op) for op in (aten.scatter.src, aten.scatter.reduce, aten.scatter_add.default)},
        aten.adaptive_avg_pool3d.default: lambda x, size: _piecewise(torch, x, size, torch.mean),
        **pools,
    }


def _hypotenuse(torch: Any, a: Any, b: Any) -> Any:
    """By the ratio of the smaller to the larger, as squares leave the range of floats; infinite beside infinity."""
    a, b = a.abs(), b.abs()
    large, small = torch.maximum(a, b), torch.minimum(a, b)
    ratio = torch.where(large == small, torch.ones_like(large), small / large)
    length = large * torch.sqrt(1 + ratio * ratio)
    return torch.where((a == math.inf) | (b == math.inf), math.inf, torch.where(large == 0, large, length))


def _with_sign(torch: Any, a: Any, b: Any) -> Any:
    dtype = torch.result_type(a, b)
    dtype = dtype if dtype.is_floating_point else torch.get_default_dtype()
    size = a.to(dtype).abs()
    return torch.where(is_below(b) if b.is_floating_point() else b < 0, -size, size)


def _of_numbers(torch: Any, choose: Form, a: Any, b: Any) -> Any:
    """The one that is a number, where the other isn't."""
    a, b = (x.to(torch.result_type(a, b)) for x in (a, b))
    if not a.is_floating_point():
        return choose(a, b)
    return torch.where(torch.isnan(a), b, torch.where(torch.isnan(b), a, choose(a, b)))


def _distances(torch: Any, a: Any, b: Any, p: float, mode: int | None) -> Any:
    """Between all rows of two matrices, or stacks of them: mode 1 takes their product, 2 doesn't, else it depends."""
    if p == 2 and (mode == 1 or (mode != 2 and max(a.shape[-2], b.shape[-2]) > 25)):
        squares = (a * a).sum(-1).unsqueeze(-1) + (b * b).sum(-1).unsqueeze(-2)
        return torch.sqrt(torch.clamp(squares - 2 * torch.matmul(a, b.transpose(-1, -2)), min=0))
    apart = (a.unsqueeze(-2) - b.unsqueeze(-3)).abs()
    if p == 0:
        return torch.where(torch.isnan(apart), apart, (apart != 0).to(apart.dtype)).sum(-1)
    if p in (1, 2):
        return apart.sum(-1) if p == 1 else torch.sqrt((apart * apart).sum(-1))
    return apart.amax(-1) if p == math.inf else (apart**p).sum(-1) ** (1 / p)


def _ranked(torch: Any, x: Any, k: int | None, dim: int, keepdim: bool) -> Any:
    """The k-th smallest along a dimension, NaN being the largest, and its place; without k the median, or NaN."""
    if not x.ndim:
        return x, torch.zeros_like(x, dtype=torch.int64)
    size = x.shape[dim]
    rank = (size - 1) // 2 if k is None else k - 1
    keys = torch.where(torch.isnan(x), math.inf, x) if x.is_floating_point() else x
    # Sorted twice, as NaN stands behind infinity: by whether they are numbers, then, in that order, by their size.
    places = torch.sort(keys, dim)[1]
    if x.is_floating_point():
        behind = torch.isnan(x).gather(dim, places).to(torch.int64)
        places = places.gather(dim, torch.sort(behind, dim)[1])
    place = places.narrow(dim, rank, 1)
    if k is None and x.is_floating_point():
        lost = torch.isnan(x)
        first = lost.to(torch.int64).argmax(dim, keepdim=True)
        place = torch.where(lost.any(dim, keepdim=True), first, place)
    value = x.gather(dim, place)
    return (value, place) if keepdim else (value.squeeze(dim), place.squeeze(dim))


def _clamped(torch: Any, x: Any, low: float | None, high: float | None) -> Any:
    """By floats, where the operand or one of the bounds is a whole number."""
    bounds = [bound for bound in (low, high) if bound is not None]
    kinds = {x.is_floating_point(), *(isinstance(bound, float) for bound in bounds)}
    if len(kinds) == 1 or not any(isinstance(bound, float) for bound in bounds):
        return NotImplemented
    x = x if x.is_floating_point() else x.to(torch.get_default_dtype())
    x = x if low is None else torch.maximum(x, torch.scalar_tensor(float(low), dtype=x.dtype))
    return x if high is None else torch.minimum(x, torch.scalar_tensor(float(high), dtype=x.dtype))


def _searched(
    torch: Any,
    sequence: Any,
    x: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Any = None,
) -> Any:
    """How many numbers of a sorted sequence stand before x: all of them before NaN."""
    sequence = sequence if sorter is None else sequence.gather(-1, sorter)
    rows = sequence if sequence.ndim == 1 else sequence.unsqueeze(-2)
    is_before = ~((rows > x.unsqueeze(-1)) if right or side == "right" else (rows >= x.unsqueeze(-1)))
    return is_before.sum(-1, dtype=torch.int32 if out_int32 else torch.int64)


def _scattered(operator: Any) -> Form:
    """What is scattered may be larger than its places, which begin where it begins."""

    def form(x: Any, dim: int, index: Any, source: Any, *rest: Any, **named: Any) -> Any:
        if source.shape == index.shape:
            return NotImplemented
        return operator(x, dim, index, part_of(source, index.shape), *rest, **named)

    return form


def part_of(x: Any, shape: Sequence[int]) -> Any:
    """The part of a tensor that has this shape."""
    return x[tuple(slice(size) for size in shape)]


def _adaptive_max(torch: Any, x: Any, size: Sequence[int], dims: int) -> Any:
    """Largest of windows that may overlap, and their places."""
    old = x.shape[-dims:]
    if any(n % m for n, m in zip(old, size, strict=True)) or dims != 2:
        return _piecewise(torch, x, size, torch.amax), _places(torch, x, size)
    window = [n // m for n, m in zip(old, size, strict=True)]
    return torch.ops.aten.max_pool2d_with_indices(x, window, window)


def _piecewise(torch: Any, x: Any, size: Sequence[int], reduce: Form) -> Any:
    """Adaptive pooling, dimension by dimension."""
    for dim, new in zip(range(-len(size), 0), size, strict=True):
        bounds = even_parts(x.shape[dim], new)
        pieces = [reduce(x.narrow(dim, a, b - a), dim, keepdim=True) for a, b in bounds]
        x = torch.cat(pieces, dim)
    return x


def _places(torch: Any, x: Any, size: Sequence[int]) -> Any:
    """The place of the largest element of each window in its picture."""
    dims = len(size)
    old, lead = x.shape[-dims:], x.shape[:-dims]
    numbers = torch.arange(math.prod(old)).reshape(old)
    found: list[Any] = []
    for cell in range(math.prod(size)):
        window, place, rest = x, numbers, cell
        for dim, (n, m) in reversed([*enumerate(zip(old, size, strict=True))]):
            rest, i = divmod(rest, m)
            a, b = even_parts(n, m)[i]
            window, place = (t.narrow(dim - dims, a, b - a) for t in (window, place))
        found.append(place.reshape(-1)[window.reshape(*lead, -1).argmax(-1)])
    return torch.stack(found, -1).reshape(*lead, *size)

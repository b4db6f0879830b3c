"""What PyTorch computes step by step and its exporter doesn't have, written out.

Running products and extremes, LSTMs with a projected state, inverses of matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..compiler.errors import NetcError
from .elimination import MOST_ROWS, eliminated

Form = Callable[..., Any]

LONGEST = 1024
"""Most steps that are written out."""


def is_missing(name: str, given: dict[str, Any]) -> bool:
    """Whether the exporter doesn't have a call of `aten.NAME`, for which there is a form."""
    if name == "lstm":
        return "params" in given and _is_projected(given["params"])
    return name in ("cumprod", "cummax", "cummin", "inverse", "linalg_inv", "linalg_inv_ex")


def forms(torch: Any) -> dict[Any, Form]:
    """By operator; a form gives `NotImplemented` for what the exporter has."""
    aten = torch.ops.aten
    return {
        aten.cumprod.default: lambda x, dim, *, dtype=None: _products(torch, x, dim, dtype),
        aten.cummax.default: lambda x, dim: _extremes(torch, x, dim, torch.ge),
        aten.cummin.default: lambda x, dim: _extremes(torch, x, dim, torch.le),
        **dict.fromkeys((aten.inverse.default, aten.linalg_inv.default), lambda x: _inverse(torch, x)[0]),
        aten.linalg_inv_ex.default: lambda x, *, check_errors=False: _inverse(torch, x),
        aten.lstm.input: lambda *given: _lstm(torch, *given),
    }


def _steps(x: Any, dim: int) -> Sequence[Any]:
    """The slices of a dimension; none where it is too long."""
    return x.unbind(dim) if x.ndim and 0 < x.shape[dim] <= LONGEST else ()


def _products(torch: Any, x: Any, dim: int, dtype: Any) -> Any:
    """In the order of the elements, so that nothing overflows that doesn't in PyTorch."""
    is_real = x.is_floating_point() or x.is_complex()
    x = x.to(dtype or (x.dtype if is_real else torch.int64))
    if not x.ndim or not x.numel():
        return x.clone()
    first, *others = _steps(x, dim) or (None,)
    if first is None:
        return NotImplemented
    found = [first]
    for step in others:
        found.append(found[-1] * step)
    return torch.stack(found, dim)


def _extremes(torch: Any, x: Any, dim: int, compare: Form) -> Any:
    """The extreme of all elements up to each, NaN above all, and the last place where it stands."""
    if not x.ndim or not x.numel():
        return x.clone(), torch.zeros_like(x, dtype=torch.int64)
    steps = _steps(x, dim)
    if not steps:
        return NotImplemented
    values, places = [steps[0]], [torch.zeros_like(steps[0], dtype=torch.int64)]
    for number, step in enumerate(steps[1:], 1):
        is_new = compare(step, values[-1])
        if x.is_floating_point():
            is_new = torch.isnan(step) | (~torch.isnan(values[-1]) & is_new)
        values.append(torch.where(is_new, step, values[-1]))
        places.append(torch.where(is_new, number, places[-1]))
    return torch.stack(values, dim), torch.stack(places, dim)


def _inverse(torch: Any, x: Any) -> tuple[Any, Any]:
    """The inverse, and the first pivot of 0, counted from 1; 0 says that there is an inverse."""
    size = x.shape[-1]
    if not 0 < size <= MOST_ROWS or x.is_complex():
        raise NetcError(f"inverses of {size} rows are not supported", hint=f"matrices have up to {MOST_ROWS}")
    wide = torch.cat((x, torch.eye(size, dtype=x.dtype).expand(x.shape)), -1).to(torch.float64)
    rows = torch.arange(size, dtype=torch.int32)[:, None]
    work, pivots = eliminated(_emit(torch), lambda number: number, rows, wide, wide.shape)
    wrong = torch.zeros(x.shape[:-2], dtype=torch.int32)
    for number, (_, pivot) in enumerate(pivots, 1):
        wrong = torch.where((wrong == 0) & (pivot[..., 0, 0] == 0), number, wrong)
    return work[..., size:].to(x.dtype), wrong


def _emit(torch: Any) -> Form:
    """Operators of the graph, by name, as functions of PyTorch."""
    operators: dict[str, Form] = {
        "abs": torch.abs,
        "argmax": lambda x, axis: x.argmax(axis),
        "div": torch.div,
        "equal": torch.eq,
        "less": torch.lt,
        "mul": torch.mul,
        "reduce_sum": lambda x, axes, keepdims: x.sum(axes, keepdims),
        "reshape": lambda x, shape: x.reshape(shape),
        "select": torch.where,
        "slice": lambda x, begin, size: x[tuple(slice(b, b + n) for b, n in zip(begin, size, strict=True))],
        "sub": torch.sub,
    }
    return lambda name, *operands, **attributes: operators[name](*operands, **attributes)


# ---- LSTMs with a projected state -----------------------------------------------------------------------------------


def _is_projected(params: Sequence[Any]) -> bool:
    """Whether a third weight projects the state: what the first layer multiplies it by is narrower than its gates."""
    tensors = [getattr(p, "meta", {}).get("val", p) for p in params[:2]]
    recurrent = tensors[1].shape
    return bool(4 * recurrent[1] != recurrent[0])


def _lstm(
    torch: Any,
    x: Any,
    state: Sequence[Any],
    params: Sequence[Any],
    biased: bool,
    layers: int,
    dropout: float,
    train: bool,
    both_ways: bool,
    batch_first: bool,
) -> Any:
    """Layer by layer; the results of both directions stand beside each other."""
    count, ways = (5 if biased else 3), 2 if both_ways else 1
    rows = x.transpose(0, 1) if batch_first else x
    is_known = len(params) == layers * ways * count and 0 < rows.shape[0] <= LONGEST
    if not _is_projected(params) or not is_known or (train and dropout):
        return NotImplemented
    h0, c0 = state
    last: list[tuple[Any, Any]] = []
    for layer in range(layers):
        results = []
        for way in range(ways):
            number = layer * ways + way
            weights = params[number * count : (number + 1) * count]
            found, end = _direction(torch, rows, (h0[number], c0[number]), weights, backward=way == 1)
            results.append(found)
            last.append(end)
        rows = torch.cat(results, -1)
    h, c = (torch.stack(parts) for parts in zip(*last, strict=True))
    return rows.transpose(0, 1) if batch_first else rows, h, c


def _direction(
    torch: Any, rows: Any, state: tuple[Any, Any], weights: Sequence[Any], *, backward: bool
) -> tuple[Any, tuple[Any, Any]]:
    """All states of one direction of a layer, in the order of the rows, and the last one."""
    linear = torch.nn.functional.linear
    of_x, of_h, *biases, projection = weights
    first, second = biases or (None, None)
    inner = linear(rows, of_x, first)
    h, c = state
    order = range(rows.shape[0])
    found = {}
    for step in reversed(order) if backward else order:
        i, f, g, o = (inner[step] + linear(h, of_h, second)).chunk(4, -1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = linear(torch.sigmoid(o) * torch.tanh(c), projection)
        found[step] = h
    return torch.stack([found[step] for step in order]), (h, c)

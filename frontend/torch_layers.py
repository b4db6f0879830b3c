"""Attention, losses and quantization of which PyTorch's exporter loses a part, in operators that it gets right."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

Form = Callable[..., Any]


def is_misspelt(name: str, given: dict[str, Any]) -> bool:
    """Whether the exporter loses something of a call of the operator `name`."""
    if name == "scaled_dot_product_attention":
        return given["attn_mask"] is not None or given["query"].meta["val"].ndim != 4
    if name == "cross_entropy_loss":
        x, target = (given[key].meta["val"] for key in ("self", "target"))
        return bool(given["label_smoothing"]) or target.is_floating_point() or x.ndim == 1
    if name == "quantize_per_tensor":
        limits = np.iinfo(str(given["dtype"]).removeprefix("torch."))
        return (given["quant_min"], given["quant_max"]) != (limits.min, limits.max)
    return False


def forms(torch: Any) -> dict[Any, Form]:
    """By operator."""
    made: dict[Any, Form] = {
        torch.ops.aten.scaled_dot_product_attention.default: lambda *given, **named: _attention(torch, *given, **named),
        torch.ops.aten.cross_entropy_loss.default: lambda *given: _cross_entropy(torch, *given),
    }
    quantize = getattr(torch.ops.quantized_decomposed, "quantize_per_tensor", None)  # once torch.ao has been imported
    if quantize is not None:
        made[quantize.default] = lambda *given: _quantized(torch, quantize.default, *given)
    return made


def _attention(
    torch: Any,
    q: Any,
    k: Any,
    v: Any,
    mask: Any = None,
    dropout: float = 0.0,
    causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """A query that may attend to nothing gets zeros, for which the exporter has a mean, or NaN."""
    if dropout:
        return NotImplemented
    if causal:
        mask = torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).tril()
    if enable_gqa:
        k, v = (x.repeat_interleave(q.shape[-3] // x.shape[-3], -3) for x in (k, v))
    factor = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    scores = torch.matmul(q, k.transpose(-2, -1)) * factor
    if mask is None:
        return torch.matmul(torch.softmax(scores, -1), v)
    if mask.dtype == torch.bool:
        mask = torch.where(mask, 0.0, -math.inf).to(q.dtype)
    attends_to_nothing = mask.amax(-1, keepdim=True) == -math.inf
    return torch.where(attends_to_nothing, 0.0, torch.matmul(torch.softmax(scores + mask, -1), v))


def _cross_entropy(
    torch: Any,
    x: Any,
    target: Any,
    weight: Any = None,
    reduction: int = 1,
    ignored: int = -100,
    smoothing: float = 0.0,
) -> Any:
    """Of scores [N,C,...], or [C], and classes or their probabilities."""
    if x.ndim == 1:
        loss = _cross_entropy(torch, x[None], target[None], weight, reduction, ignored, smoothing)
        return loss.reshape([])
    classes, weighted = x.shape[1], torch.log_softmax(x, 1)
    if weight is not None:
        weighted = weighted * weight.reshape([-1 if d == 1 else 1 for d in range(x.ndim)])
    if target.is_floating_point():
        target = target * (1 - smoothing) + smoothing / classes
        losses = -(weighted * target).sum(1)
        return {0: losses, 1: losses.sum() / (x.numel() / classes), 2: losses.sum()}[reduction]
    counts = target != ignored
    known = torch.where(counts, target, 0)
    losses = -weighted.gather(1, known.unsqueeze(1)).squeeze(1) * (1 - smoothing)
    if smoothing:  # else classes with a score of -inf have no part in it
        losses = losses - weighted.sum(1) * (smoothing / classes)
    losses = torch.where(counts, losses, 0.0)
    if reduction != 1:
        return losses.sum() if reduction else losses
    each = counts.to(x.dtype) if weight is None else torch.where(counts, weight[known], 0.0)
    return losses.sum() / each.sum()


def _quantized(torch: Any, operator: Any, x: Any, scale: float, zero: int, low: int, high: int, dtype: Any) -> Any:
    """Within bounds, for which the exporter has those of the type."""
    limits = torch.iinfo(dtype)
    if (low, high) == (limits.min, limits.max):
        return NotImplemented
    return torch.clamp(operator(x, scale, zero, limits.min, limits.max, dtype), low, high)

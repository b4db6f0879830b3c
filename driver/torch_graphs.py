"""Captured graphs of PyTorch as its exporter takes them: numbers, and layers for which PyTorch has one operator."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any


def numbers_of(module: Any) -> frozenset[int]:
    """The places of the inputs that are tensors for the sake of their one number: all that is read is `item()`.

    With dynamic shapes PyTorch passes Python's floats so, the momentum of batch normalisation among them.
    """
    holders = [node for node in module.graph.nodes if node.op == "placeholder"]
    return frozenset(i for i, node in enumerate(holders) if node.users and all(map(_is_item, node.users)))


def _is_item(node: Any) -> bool:
    return bool(node.op == "call_method" and node.target == "item")


def exportable(torch: Any, module: Any, numbers: Mapping[int, Any]) -> Any:
    """A captured graph for certain numbers (see `numbers_of`), without fused layers that the exporter doesn't have."""
    spelt_out = _spelt_out(torch)
    if not numbers and not any(_is_fused(node, spelt_out) for node in module.graph.nodes):
        return module
    graph = torch.fx.Graph()
    graph.output(graph.graph_copy(module.graph, {}))
    known: dict[Any, Any] = {}
    for place, node in enumerate(n for n in graph.nodes if n.op == "placeholder"):
        if place in numbers:
            known.update(dict.fromkeys(node.users, numbers[place]))
    for node in graph.nodes:
        node.args, node.kwargs = (torch.fx.map_arg(a, lambda n: known.get(n, n)) for a in (node.args, node.kwargs))
        if _is_fused(node, spelt_out):
            node.target = spelt_out[node.target]
    for node in known:
        graph.erase_node(node)
    return torch.fx.GraphModule(module, graph)


def _is_fused(node: Any, spelt_out: Mapping[Any, Any]) -> bool:
    return node.op == "call_function" and node.target in spelt_out


def _spelt_out(torch: Any) -> Mapping[Any, Callable[..., Any]]:
    """Functions that do what PyTorch's fused ones do, in single steps."""

    def encoder_layer(*given: Any, **named: Any) -> Any:  # nodes hold functions, no partial ones
        return _encoder_layer(torch.nn.functional, *given, **named)

    return {torch._transformer_encoder_layer_fwd: encoder_layer}


def _encoder_layer(
    functional: Any,
    x: Any,
    features: int,
    heads: int,
    qkv_weight: Any,
    qkv_bias: Any,
    out_weight: Any,
    out_bias: Any,
    use_gelu: bool,
    norm_first: bool,
    eps: float,
    *weights: Any,
    mask: Any = None,
    mask_type: int | None = None,
) -> Any:
    """A `torch.nn.TransformerEncoderLayer` in inference on x [N,L,D].

    What a mask of booleans, or of minus infinity and 0, marks isn't attended to. By its type it is one of pairs of
    places [L,L] (0), of places of each sample [N,L] (1), or all of it [N,H,L,L] (2).
    """
    first, second, (up, up_bias, down, down_bias) = weights[:2], weights[2:4], weights[4:8]
    mask, mask_type = (*weights[8:], mask, mask_type)[:2] if len(weights) > 8 else (mask, mask_type)
    marked = None
    if mask is not None:
        marked = mask.bool()[:, None, None, :] if mask_type == 1 else mask.bool()

    def norm(y: Any, parameters: Any) -> Any:
        return functional.layer_norm(y, (features,), *parameters, eps)

    def attend(y: Any) -> Any:
        joined = _attention(functional.linear(y, qkv_weight, qkv_bias), heads, features // heads, marked)
        return functional.linear(joined, out_weight, out_bias)

    def feed_forward(y: Any) -> Any:
        activation = functional.gelu if use_gelu else functional.relu
        return functional.linear(activation(functional.linear(y, up, up_bias)), down, down_bias)

    if norm_first:
        x = x + attend(norm(x, first))
        return x + feed_forward(norm(x, second))
    x = norm(x + attend(x), first)
    return norm(x + feed_forward(x), second)


def _attention(qkv: Any, heads: int, size: int, marked: Any) -> Any:
    """Attention of heads apart, [N,L,D], of queries, keys and values in one tensor [N,L,3D]."""
    samples, length, _ = qkv.shape
    q, k, v = (t.reshape(samples, length, heads, size).transpose(1, 2) for t in qkv.chunk(3, -1))
    scores = q @ k.transpose(-2, -1) / math.sqrt(size)
    if marked is not None:
        scores = scores.masked_fill(marked, -math.inf)
    return (scores.softmax(-1) @ v).transpose(1, 2).reshape(samples, length, heads * size)

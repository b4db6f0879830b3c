"""Products of matrices and attention, with the sizes of vision transformers, against PyTorch on this machine.

    python benchmarks/attention.py [--threads 1] [--seconds 1]

Both sides run in turns; the table has the lower quartile of each. Needs PyTorch.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from common import parser, table

import netc
from netc.compiler.graph import GraphBuilder
from netc.compiler.types import DType, TensorType

Shape = tuple[int, ...]
CASES: dict[str, tuple[str, tuple[Shape, ...], dict[str, Any]]] = {
    "ViT-B/16, scores": ("matmul", ((1, 12, 197, 64), (1, 12, 197, 64)), {"transpose_b": True}),
    "ViT-B/16, weighted values": ("matmul", ((1, 12, 197, 197), (1, 12, 197, 64)), {}),
    "Swin, scores": ("matmul", ((64, 3, 49, 32), (64, 3, 49, 32)), {"transpose_b": True}),
    "Swin, weighted values": ("matmul", ((64, 3, 49, 49), (64, 3, 49, 32)), {}),
    "four of 512": ("matmul", ((4, 512, 512), (4, 512, 512)), {}),
    "ViT-B/16, attention": ("attention", ((1, 12, 197, 64),) * 3, {}),
    "Swin, attention with a bias": ("attention", (*((64, 3, 49, 32),) * 3, (3, 49, 49)), {}),
    "1024 keys": ("attention", ((1, 8, 1024, 64),) * 3, {}),
    "1024 keys, causal": ("attention", ((1, 8, 1024, 64),) * 3, {"causal": True}),
}


def main() -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--seconds", type=float, default=1.0, help="for each row")
    given = options.parse_args()
    torch = importlib.import_module("torch")
    torch.set_num_threads(given.threads)
    rows = []
    for name, (operator, shapes, attributes) in CASES.items():
        arrays = [np.random.default_rng(0).standard_normal(shape, np.float32) for shape in shapes]
        other = torch_call(torch, operator, [torch.from_numpy(a) for a in arrays], attributes)
        with compiled(operator, shapes, attributes, given.threads) as program, torch.inference_mode():
            np.testing.assert_allclose(program(*arrays), other().numpy(), atol=1e-3)
            ours, theirs = lower_quartiles([partial(program, *arrays), other], given.seconds)
        rows.append([name, f"{ours * 1e3:.2f}", f"{theirs * 1e3:.2f}", f"{ours / theirs:.2f}"])
    print(table(["case", "netc, ms", "PyTorch, ms", "ratio"], rows))


def compiled(operator: str, shapes: tuple[Shape, ...], attributes: dict[str, Any], threads: int) -> Any:
    """The operator as a program."""
    b = GraphBuilder("net")
    operands = [b.input(f"x{i}", TensorType(DType.F32, shape)) for i, shape in enumerate(shapes)]
    return netc.compile(b.finish([b.emit(operator, *operands, **attributes)]), threads=threads)


def torch_call(torch: Any, operator: str, tensors: list[Any], attributes: dict[str, Any]) -> Callable[[], Any]:
    """The same in PyTorch."""
    if operator == "matmul":
        a, b = tensors
        other = b.transpose(-1, -2) if attributes.get("transpose_b") else b
        return lambda: torch.matmul(a, other)
    q, k, v, *mask = tensors
    bias = mask[0].expand(*q.shape[:-1], k.shape[-2]) if mask else None
    function = torch.nn.functional.scaled_dot_product_attention
    return lambda: function(q, k, v, attn_mask=bias, is_causal=attributes.get("causal", False))


def lower_quartiles(calls: list[Callable[[], Any]], seconds: float) -> list[float]:
    """Seconds that each call takes; they take turns."""
    times: list[list[float]] = [[] for _ in calls]
    for call in calls:
        call()
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for call, taken in zip(calls, times, strict=True):
            start = time.perf_counter()
            call()
            taken.append(time.perf_counter() - start)
    return [float(np.percentile(taken, 25)) for taken in times]


if __name__ == "__main__":
    main()

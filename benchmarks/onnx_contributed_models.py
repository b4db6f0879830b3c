"""Random models of one node of ONNX Runtime's own domain, for `onnx_random_contributed.py`."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import ValueInfoProto, helper, numpy_helper

Array = np.ndarray[Any, Any]
DOMAIN = "com.microsoft"


@dataclass
class Case:
    """A node: its inputs and outputs by place, and which inputs are weights of the file."""

    operator: str
    inputs: Mapping[int, Array]
    attributes: Mapping[str, Any] = field(default_factory=dict[str, Any])
    known: frozenset[int] = frozenset()
    outputs: tuple[int, ...] = (0,)
    domain: str = DOMAIN
    near: float = 1e-4
    """How far floats may be off. Scores of rows without any key are -10,000, where floats are a thousandth apart."""
    steps: int = 1
    """How far bytes may be off, if few of them are; 2: any of them."""

    def __str__(self) -> str:
        inputs = {
            p: f"{a.dtype}{list(a.shape)}" + (f"={a.tolist()}" if a.size < 9 and a.dtype.kind != "f" else "")
            for p, a in self.inputs.items()
        }
        return f"{self.operator} {dict(self.attributes)} {inputs} known {sorted(self.known)} outputs {self.outputs}"


def model_of(case: Case) -> tuple[Any, list[Array]]:
    """The model, and what its inputs are."""
    names = [f"x{p}" if p in case.inputs else "" for p in range(max(case.inputs) + 1)]
    results = [f"y{p}" if p in case.outputs else "" for p in range(max(case.outputs) + 1)]
    node = helper.make_node(case.operator, names, results, domain=case.domain, **case.attributes)
    free = {f"x{p}": a for p, a in case.inputs.items() if p not in case.known}
    infos = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for name, a in free.items()
    ]
    weights = [numpy_helper.from_array(np.asarray(case.inputs[p]), f"x{p}") for p in sorted(case.known)]
    outputs = [ValueInfoProto(name=name) for name in results if name]
    graph = helper.make_graph([node], "random", infos, outputs, weights)
    sets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    return helper.make_model(graph, opset_imports=sets, ir_version=10), [*free.values()]


@dataclass
class Draw:
    """What random models are drawn from."""

    rng: random.Random
    numbers: np.random.Generator

    def floats(self, *shape: int, about: float = 1.0) -> Array:
        """Numbers of a normal distribution."""
        return (about * self.numbers.standard_normal(shape)).astype(np.float32)

    def ids(self, high: int, *shape: int, dtype: type[Any] = np.int32) -> Array:
        """Whole numbers from 0 on."""
        return self.numbers.integers(0, high, shape).astype(dtype)

    def bytes(self, dtype: Any, *shape: int) -> Array:
        """Small bytes, whose products ONNX Runtime adds up without loss on every processor."""
        low, high = (-64, 64) if dtype is np.int8 else (0, 128)
        return self.numbers.integers(low, high, shape).astype(dtype)

    def all_bytes(self, dtype: Any, *shape: int) -> Array:
        """Any bytes."""
        info = np.iinfo(dtype)
        return self.numbers.integers(info.min, info.max + 1, shape).astype(dtype)

    def size(self, high: int, low: int = 1) -> int:
        """A size."""
        return self.rng.randint(low, high)

    def is_so(self, share: float = 0.5) -> bool:
        """True for a share of the draws."""
        return self.rng.random() < share

    def some(self, **attributes: Any) -> dict[str, Any]:
        """Half of these attributes."""
        return {key: value for key, value in attributes.items() if self.is_so()}

    def known(self, *places: int, share: float = 0.7) -> frozenset[int]:
        """Some of these inputs are weights."""
        return frozenset(p for p in places if self.is_so(share))

    def marks(self, place: int, dtype: Any, about: float = 0.05, *, always: bool = False) -> dict[int, Array]:
        """Scale and zero point at `place` and the next one; the latter may be left out."""
        scale = np.array(about * self.rng.uniform(0.6, 1.6), np.float32)
        zero = np.array(self.rng.choice([0, 3, 120] if dtype is np.uint8 else [0, 3, -7]), dtype)
        return {place: scale, place + 1: zero} if always or self.is_so(0.85) else {place: scale}


# ---- products, activations and norms --------------------------------------------------------------------------------

ACTIVATIONS: dict[str, Callable[[random.Random], list[float]]] = {
    "Relu": lambda _: [],
    "Tanh": lambda _: [],
    "Sigmoid": lambda _: [],
    "LeakyRelu": lambda rng: [rng.choice([0.1, 0.3, 1.5])],
    "Clip": lambda rng: [rng.choice([-0.5, 0.0]), rng.choice([0.75, 6.0])],
    "HardSigmoid": lambda rng: [rng.choice([0.2, 0.4]), rng.choice([0.5, 0.3])],
}


def fused_conv(d: Draw) -> Case:
    spatial, groups, each, filters = d.rng.choice([1, 2, 2, 3]), d.size(3), d.size(3), d.size(3)
    kernel = [d.size(3) for _ in range(spatial)]
    strides, dilations = ([d.rng.choice([1, 1, 2]) for _ in range(spatial)] for _ in range(2))
    pads = [d.rng.randint(0, k - 1) for k in kernel * 2]
    old = [d.size(9, 5) for _ in range(spatial)]
    x, w = d.floats(d.size(2), groups * each, *old), d.floats(groups * filters, each, *kernel)
    inputs = {0: x, 1: w} | ({2: d.floats(groups * filters)} if d.is_so(0.6) else {})
    rules = {"group": groups, "strides": strides, "dilations": dilations, "pads": pads, "kernel_shape": kernel}
    if d.is_so(0.4):
        new = [
            (n + pads[i] + pads[i + spatial] - (kernel[i] - 1) * dilations[i] - 1) // strides[i] + 1
            for i, n in enumerate(old)
        ]
        inputs[3] = d.floats(x.shape[0], groups * filters, *new)
    if d.is_so(0.8):
        name = d.rng.choice([*ACTIVATIONS])
        rules["activation"] = name
        rules |= {"activation_params": numbers} if (numbers := ACTIVATIONS[name](d.rng)) else {}
    return Case("FusedConv", inputs, rules, d.known(1, 2) & frozenset(inputs))


def fused_gemm(d: Draw) -> Case:
    m, k, n = d.size(6), d.size(6), d.size(6)
    turned = [d.rng.randint(0, 1) for _ in range(2)]
    rules: dict[str, Any] = {"transA": turned[0], "transB": turned[1]} | d.some(alpha=0.5, beta=2.0)
    name = d.rng.choice(["Relu", "Tanh", "Sigmoid", "LeakyRelu", "Softplus", "Softsign", "HardSigmoid", "Elu"])
    rules["activation"] = name
    numbers = {"LeakyRelu": ["alpha"], "HardSigmoid": ["alpha", "beta"], "Elu": ["alpha"]}.get(name, [])
    if d.is_so(0.7):
        rules |= {f"activation_{key}": d.rng.choice([0.2, 0.4, 0.7]) for key in numbers}
    inputs = {0: d.floats(*((k, m) if turned[0] else (m, k))), 1: d.floats(*((n, k) if turned[1] else (k, n)))}
    if d.is_so(0.7):
        inputs[2] = d.floats(*d.rng.choice([(n,), (m, n), (1, n), (m, 1), ()]))
    return Case("FusedGemm", inputs, rules, d.known(1, 2) & frozenset(inputs))


def fused_matmul(d: Draw) -> Case:
    operator = d.rng.choice(["FusedMatMul", "FusedMatMul", "TransposeMatMul"])
    names = ("transA", "transB", *(("transBatchA", "transBatchB") if operator == "FusedMatMul" else ()))
    turned = {name: d.rng.randint(0, 1) for name in names}
    lead = [d.size(3) for _ in range(d.rng.randint(0, 2))]
    m, k, n = d.size(5), d.size(5), d.size(5)
    shapes = []
    for side, matrix in (("A", [m, k]), ("B", [k, n])):
        matrix = matrix[::-1] if turned[f"trans{side}"] else matrix
        batch = [1 if d.is_so(0.2) else s for s in lead]
        shape = [*batch, *matrix]
        if turned.get(f"transBatch{side}") and len(shape) > 2:
            shape = [*batch[1:], matrix[0], batch[0], matrix[1]]
        shapes.append(shape)
    inputs = {i: d.floats(*shape) for i, shape in enumerate(shapes)}
    return Case(operator, inputs, turned | d.some(alpha=0.25), d.known(1, share=0.4))


def activation(d: Draw) -> Case:
    operator = d.rng.choice(["Gelu", "BiasGelu", "FastGelu", "QuickGelu", "BiasSplitGelu", "BiasAdd"])
    shape = [d.size(5) for _ in range(d.rng.randint(1, 4))]
    inputs = {0: d.floats(*shape, about=3)}
    if operator in ("BiasGelu", "BiasSplitGelu", "BiasAdd") or (operator == "FastGelu" and d.is_so()):
        inputs[1] = d.floats(shape[-1])
    if operator == "BiasAdd":
        inputs[2] = d.floats(*shape)
    return Case(operator, inputs, d.some(alpha=1.3) if operator == "QuickGelu" else {}, d.known(1) & frozenset(inputs))


def norm(d: Draw) -> Case:
    operator = d.rng.choice(["SkipLayerNormalization"] * 2 + ["SkipSimplifiedLayerNormalization", "Simplified"])
    n, rows, features = d.size(3), d.size(5), d.size(9)
    x = d.floats(n, rows, features) if d.is_so(0.8) else d.floats(rows, features)
    rules = d.some(epsilon=1e-3)
    if operator == "Simplified":
        shape = [d.size(4) for _ in range(d.size(4))]
        axis = d.rng.randint(-len(shape), len(shape) - 1)
        inputs = {0: d.floats(*shape), 1: d.floats(*shape[axis:])}
        rules |= {"axis": axis} if axis != -1 or d.is_so() else {}
        return Case("SimplifiedLayerNormalization", inputs, rules, d.known(1), domain="")
    skips = [x.shape] if x.ndim == 2 else [x.shape, x.shape, (1, rows, features), (rows, features)]
    inputs = {0: x, 1: d.floats(*d.rng.choice(skips)), 2: d.floats(features)}
    last = 5 if operator == "SkipLayerNormalization" else 4
    inputs |= {place: d.floats(features) for place in range(3, last) if d.is_so()}
    outputs = (0, 3) if d.is_so() else (0,)
    return Case(operator, inputs, rules, d.known(2, 3, 4) & frozenset(inputs), outputs)


def embedding(d: Draw) -> Case:
    n, rows, words, features = d.size(3), d.size(5), 9, d.size(8)
    inputs: dict[int, Array] = {0: d.ids(words, n, rows)}
    inputs |= {2: d.floats(words, features), 3: d.floats(rows + d.rng.randint(0, 2), features)}
    inputs |= {5: d.floats(features), 6: d.floats(features)}
    if d.is_so():
        inputs |= {1: d.ids(2, n, rows), 4: d.floats(2, features)}
    if d.is_so():
        inputs[7] = d.ids(2, n, rows)
    if d.is_so(0.3):
        inputs[8] = d.ids(inputs[3].shape[0], d.rng.choice([1, n]), rows)
    rules = d.some(epsilon=1e-3) | (d.some(mask_index_type=1) if 7 in inputs else {})
    tables = frozenset(p for p in range(2, 7) if p in inputs)
    outputs = (0, *(p for p in (1, 2) if d.is_so()))
    if d.is_so(0.7) or 8 in inputs:
        return Case("EmbedLayerNormalization", inputs, rules, tables if d.is_so() else frozenset(), outputs)
    rules.pop("mask_index_type", None)
    for place in tables:
        inputs[place] = d.all_bytes(np.uint8, *inputs[place].shape)
        scale, zero = d.marks(0, np.uint8, 0.02, always=True).values()
        inputs |= {place + 6: scale, place + 11: zero}
    known = frozenset(p for p in inputs if p > 1 and p != 7)
    return Case("QEmbedLayerNormalization", inputs, rules, known, (0, 1))


def other(d: Draw) -> Case:
    kind = d.rng.choice(["Inverse", "Trilu", "GridSample"])
    if kind == "Inverse":
        n = d.size(4)
        return Case(
            kind, {0: d.floats(*[d.size(2) for _ in range(d.rng.randint(0, 2))], n, n) + 3 * np.eye(n, dtype="f4")}
        )
    if kind == "Trilu":
        x = d.floats(*[d.size(2) for _ in range(d.rng.randint(0, 2))], d.size(5), d.size(5))
        inputs = {0: x} | ({1: np.array(d.rng.randint(-3, 3))} if d.is_so(0.7) else {})
        return Case(kind, inputs, d.some(upper=0), d.known(1) & frozenset(inputs))
    rules = d.some(
        mode=d.rng.choice(["bilinear", "nearest", "bicubic"]),
        padding_mode=d.rng.choice(["zeros", "border", "reflection"]),
        align_corners=1,
    )
    n = d.size(2)
    inputs = {0: d.floats(n, d.size(3), d.size(6, 2), d.size(6, 2)), 1: d.floats(n, d.size(4), d.size(4), 2, about=0.7)}
    return Case(kind, inputs, rules)


# ---- attention ------------------------------------------------------------------------------------------------------


def mask(d: Draw, n: int, rows: int, past: int, total: int) -> Array | None:
    """Which keys count, in one of the forms of Attention: none, ends, ends and begins, or numbers by key."""
    kind = d.rng.choice(["none", "ends", "both", "packed", "keys", "keys", "rows", "square"])
    if kind == "none":
        return None
    if kind == "ends":
        return d.numbers.integers(1, total + 1, n).astype(np.int32)
    if kind == "both":
        ends = d.numbers.integers(1, total + 1, n)
        return np.concatenate((ends, d.numbers.integers(0, ends))).astype(np.int32)
    if kind == "packed":
        lengths = d.numbers.integers(1, total + 1, n)
        starts = np.concatenate(([0], np.cumsum(lengths)))
        return np.concatenate((lengths, starts, starts)).astype(np.int32)
    if kind == "square":
        return (d.numbers.random((n, 1, past + total + 2, past + total + 2)) < 0.7).astype(np.int32)
    return (d.numbers.random((n, total) if kind == "keys" else (n, rows, total)) < 0.7).astype(np.int32)


def bias_of_scores(d: Draw, n: int, heads: int, rows: int, total: int) -> Array:
    """What is added to scores, for all samples and heads or for each."""
    return d.floats(d.rng.choice([1, n]), d.rng.choice([1, heads]), rows, total)


def attention(d: Draw) -> Case:
    n, rows, width, heads, each = d.size(3), d.size(6), d.size(7), d.size(4), 2 * d.size(4)
    past = d.rng.choice([0, 0, 0, 3])
    values = each if past or d.is_so(0.7) else 2 * d.size(4)
    columns = heads * (2 * each + values)
    rules: dict[str, Any] = {"num_heads": heads} | d.some(unidirectional=1)
    rules |= {"scale": 0.3} if d.is_so(0.2) else {}
    rules |= {"mask_filter_value": d.rng.choice([-100.0, -3e38])} if d.is_so(0.2) else {}
    rules |= {"qkv_hidden_sizes": [heads * each, heads * each, heads * values]} if values != each else {}
    inputs: dict[int, Array] = {0: d.floats(n, rows, width), 1: d.floats(width, columns, about=0.5)}
    inputs |= {2: d.floats(columns)} if d.is_so(0.8) else {}
    given = mask(d, n, rows, past, past + rows)
    inputs |= {3: given} if given is not None else {}
    inputs |= {4: d.floats(2, n, heads, past, each)} if past else {}
    inputs |= {5: bias_of_scores(d, n, heads, rows, past + rows)} if d.is_so(0.3) else {}
    outputs = (0, 1) if past or d.is_so(0.3) else (0,)
    if values == each and d.is_so(0.25):
        return quantized_attention(d, inputs, rules, outputs)
    return Case("Attention", inputs, rules, d.known(1, 2) & frozenset(inputs), outputs, near=2e-3)


def quantized_attention(d: Draw, floats: Mapping[int, Array], rules: dict[str, Any], outputs: tuple[int, ...]) -> Case:
    """Attention of bytes with the sizes of one of floats."""
    kind = d.rng.choice([np.uint8, np.int8])
    inputs = {0: d.all_bytes(np.uint8, *floats[0].shape), 1: d.bytes(kind, *floats[1].shape)}
    by_column = d.is_so(0.3)
    columns = floats[1].shape[1]
    scales = np.abs(d.floats(columns, about=0.01)) if by_column else np.array(0.01, np.float32)
    zeros = d.bytes(kind, columns) if by_column else np.array(d.rng.choice([0, 5]), kind)
    inputs |= {2: d.floats(columns), 3: np.array(0.02, np.float32), 4: scales, 6: np.array(100, np.uint8), 7: zeros}
    inputs |= {5: floats[3]} if 3 in floats else {}
    inputs |= {8: floats[4]} if 4 in floats else {}
    rules = {key: value for key, value in rules.items() if key != "scale"}
    return Case("QAttention", inputs, rules, frozenset({1, 2, 3, 4, 6, 7}), outputs, near=2e-3)


def multi_head_attention(d: Draw) -> Case:
    n, rows, heads, each = d.size(3), d.size(6), d.size(4), 2 * d.size(4)
    form = d.rng.choice(["apart", "apart", "apart", "packed", "packed keys", "heads"])
    past = d.rng.choice([0, 0, 3]) if form == "apart" else 0
    keys = rows if past or form == "packed" or d.is_so(0.6) else d.size(7)
    values = each if past or form != "apart" or d.is_so(0.7) else 2 * d.size(4)
    wide = heads * each
    inputs: dict[int, Array] = {0: d.floats(n, rows, wide)}
    if form == "packed":
        inputs[0] = d.floats(n, rows, heads, 3, each)
    elif form == "packed keys":
        inputs[1] = d.floats(n, keys, heads, 2, each)
    elif form == "heads":
        inputs |= {1: d.floats(n, heads, keys, each), 2: d.floats(n, heads, keys, values)}
    else:
        inputs |= {1: d.floats(n, keys, wide), 2: d.floats(n, keys, heads * values)}
    inputs |= {3: d.floats(2 * wide + heads * values)} if d.is_so(0.3) else {}
    total = past + keys
    given = mask(d, n, rows, past, total)
    inputs |= {4: given} if given is not None and d.is_so(0.7) else {}
    inputs |= {5: bias_of_scores(d, n, heads, rows, total)} if d.is_so(0.3) else {}
    inputs |= {6: d.floats(n, heads, past, each), 7: d.floats(n, heads, past, each)} if past else {}
    rules: dict[str, Any] = {"num_heads": heads} | d.some(unidirectional=1)
    rules |= {"scale": 0.3} if d.is_so(0.2) else {}
    rules |= {"mask_filter_value": d.rng.choice([-100.0, -3e38])} if d.is_so(0.2) else {}
    outputs = (0, 1, 2) if past or d.is_so(0.3) else (0,)
    return Case("MultiHeadAttention", inputs, rules, d.known(3) & frozenset(inputs), outputs, near=2e-3)


def rotary_embedding(d: Draw) -> Case:
    n, rows, heads, half = d.size(3), d.size(6), d.size(4), d.size(5)
    form = d.rng.choice(["rows", "heads", "part"])
    features = 2 * half + (2 * d.size(3) if form == "part" else 0)
    angles = d.floats(rows + 4, half)
    x = d.floats(n, heads, rows, features) if form == "heads" else d.floats(n, rows, heads * features)
    places = np.array([d.rng.randint(0, 4)]) if d.is_so(0.4) else d.ids(rows + 4, n, rows, dtype=np.int64)
    rules: dict[str, Any] = d.some(interleaved=1, scale=1.0)
    if form == "part" or d.is_so(0.2):
        rules |= {"num_heads": heads, "rotary_embedding_dim": 2 * half if form == "part" else 0}
    known = d.known(1, share=0.3) | (frozenset({2, 3}) if d.is_so(0.8) else frozenset())
    return Case("RotaryEmbedding", {0: x, 1: places, 2: np.cos(angles), 3: np.sin(angles)}, rules, known)


def group_query_attention(d: Draw) -> Case:
    n, shared, times, each = d.size(3), d.size(3), d.size(3), 16
    heads = shared * times
    is_first = d.is_so()
    rows = d.size(6) if is_first else d.rng.choice([1, 1, 1, 3])
    n = n if is_first or rows == 1 else 1
    past = 0 if is_first else d.size(6, 3)
    ends = np.full(n, past + rows) if is_first or n == 1 else d.numbers.integers(2, past + rows + 1, n)
    ends[0] = past + rows
    total = int(ends.max())
    kept = past + d.rng.choice([0, 0, 3]) if past else 0
    q, k, v = (d.floats(n, rows, count * each) for count in (heads, shared, shared))
    inputs: dict[int, Array] = {0: q, 1: k, 2: v}
    if d.is_so(0.3):
        inputs = {0: np.concatenate((q, k, v), axis=2)}
    inputs |= {p: d.floats(n, shared, kept, each) for p in (3, 4)} if kept else {}
    inputs |= {5: (ends - 1).astype(np.int32), 6: np.array(total, np.int32)}
    rules: dict[str, Any] = {"num_heads": heads, "kv_num_heads": shared}
    for key, value in {"softcap": 0.7, "local_window_size": d.size(4), "scale": 0.3}.items():
        rules |= {key: value} if d.is_so(0.25) else {}
    if d.is_so(0.4):
        angles = d.floats(total + 3, each // d.rng.choice([2, 2, 4]))
        inputs |= {7: np.cos(angles), 8: np.sin(angles)}
        rules |= {"do_rotary": 1} | d.some(rotary_interleaved=1)
        inputs |= {9: d.ids(total, n, rows, dtype=np.int64)} if d.is_so(0.3) else {}
    if d.is_so(0.2):
        inputs[10] = d.floats(d.rng.choice([1, n]), d.rng.choice([1, heads]), rows, total)
    known = frozenset({6, 7, 8}) & frozenset(inputs)
    return Case("GroupQueryAttention", inputs, rules, known, (0, 1, 2), near=2e-4)


# ---- weights in blocks ----------------------------------------------------------------------------------------------


def blocks(d: Draw) -> Case:
    operator = d.rng.choice(["MatMulNBits"] * 4 + ["MatMulBnb4", "GatherBlockQuantized"])
    size, outputs = d.rng.choice([16, 32, 64, 128]), d.size(9)
    if operator == "MatMulBnb4":
        inputs = size * d.size(3)
        known = {1: d.all_bytes(np.uint8, inputs * outputs // 2), 2: np.abs(d.floats(inputs * outputs // size))}
        rules = {"K": inputs, "N": outputs, "block_size": size, "quant_type": d.rng.randint(0, 1)}
        return Case(operator, {0: d.floats(d.size(5), inputs)} | known, rules, frozenset({1, 2}), near=1e-3)
    bits = d.rng.choice([4, 4, 4, 8, 2])
    if operator == "GatherBlockQuantized":
        return table_in_blocks(d, size, d.rng.choice([4, 8]))
    inputs = d.size(3 * size, 8)
    count = -(-inputs // size)
    given = {1: d.all_bytes(np.uint8, outputs, count, size * bits // 8), 2: np.abs(d.floats(outputs, count)) / 8}
    kind = d.rng.choice(["none", "none", "bytes", "floats"])
    if kind == "bytes":
        given[3] = d.all_bytes(np.uint8, outputs, -(-count * bits // 8))
    elif kind == "floats":
        given[3] = d.floats(outputs, count) + (1 << (bits - 1))
    if d.is_so(0.3):
        given[5] = d.floats(outputs)
    if d.is_so(0.3):
        given = {p: a.reshape(-1) if p in (2, 3) else a for p, a in given.items()}
    rules = {"K": inputs, "N": outputs, "block_size": size, "bits": bits} | d.some(accuracy_level=d.rng.randint(0, 1))
    x = d.floats(*[d.size(3) for _ in range(d.size(2))], inputs)
    return Case(operator, {0: x} | given, rules, frozenset(given), near=1e-3)


def table_in_blocks(d: Draw, size: int, bits: int) -> Case:
    """GatherBlockQuantized of a table of bytes."""
    rows, features = d.size(7), 2 * d.size(2 * size, 4)
    count = -(-features // size)
    given = {0: d.all_bytes(np.uint8, rows, features * bits // 8), 2: np.abs(d.floats(rows, count)) / 8}
    if d.is_so():
        given[3] = d.all_bytes(np.uint8, rows, -(-count * bits // 8))
    rules = {"bits": bits, "block_size": size, "gather_axis": 0, "quantize_axis": d.rng.choice([1, -1])}
    shape = [d.size(3) for _ in range(d.rng.randint(0, 2))]
    return Case("GatherBlockQuantized", given | {1: d.ids(rows, *shape, dtype=np.int64)}, rules, frozenset(given))


# ---- bytes ----------------------------------------------------------------------------------------------------------


def elementwise(d: Draw) -> Case:
    kind = d.rng.choice([np.uint8, np.int8])
    operator = d.rng.choice(["QLinearAdd", "QLinearMul", "QLinearSigmoid", "QLinearLeakyRelu", "QLinearWhere"])
    shape = [d.size(5) for _ in range(d.rng.randint(1, 4))]
    x = d.all_bytes(kind, *shape)
    if operator in ("QLinearSigmoid", "QLinearLeakyRelu"):
        about = 0.05 if operator == "QLinearLeakyRelu" else 1 / 256
        marks = d.marks(1, kind) | d.marks(3, kind, about, always=True)  # without which ONNX Runtime ends
        return Case(operator, {0: x} | marks, d.some(alpha=0.2) if "Leaky" in operator else {}, frozenset(marks))
    second = [1 if d.is_so(0.3) else s for s in shape][d.rng.randint(0, 1) :] or [1]
    first, at = (1, 1) if operator == "QLinearWhere" else (0, 0)
    y = d.all_bytes(kind, *second)
    inputs = {first: x, first + 3: y}
    marks = d.marks(first + 1, kind) | d.marks(first + 4, kind) | d.marks(first + 6, kind, 0.1, always=bool(at))
    if operator == "QLinearWhere":
        marks = {p: a for q in (2, 5, 7) for p, a in d.marks(q, kind, always=True).items()}
        inputs[0] = np.asarray(d.numbers.random(x.shape) < 0.5)
    weights = d.known(first + 3, share=0.3)
    return Case(operator, inputs | marks, {}, frozenset(marks) | weights)


def reduction(d: Draw) -> Case:
    kind = d.rng.choice([np.uint8, np.int8])
    operator = d.rng.choice(["QLinearSoftmax", "QLinearGlobalAveragePool", "QLinearAveragePool", "NhwcMaxPool"])
    shape = [d.size(3), d.size(5), *[d.size(8, 3) for _ in range(2)]]
    if operator == "QLinearSoftmax":
        shape = shape[: d.rng.randint(1, 4)]
        axis = d.rng.randint(-len(shape), len(shape) - 1)
        rules = {"opset": d.rng.choice([11, 13])} | ({"axis": axis} if d.is_so(0.8) else {})
        marks = d.marks(1, kind, 0.1) | d.marks(3, kind, 1 / 256, always=True)
        # ONNX Runtime adds up exponentials that are rounded: it is off by a step and more from the exact shares.
        return Case(operator, {0: d.all_bytes(kind, *shape)} | marks, rules, frozenset(marks), steps=2)
    kernel = [d.size(3) for _ in range(2)]
    windows = {"kernel_shape": kernel, "strides": [d.size(2) for _ in range(2)]}
    windows |= {"pads": [d.rng.randint(0, k - 1) for k in kernel * 2]} | d.some(ceil_mode=1)
    if operator == "NhwcMaxPool":
        windows |= {"dilations": [d.size(2) for _ in range(2)]} if d.is_so(0.3) else {}
        return Case(operator, {0: d.all_bytes(kind, shape[0], *shape[2:], shape[1])}, windows)
    marks = d.marks(1, kind) | d.marks(3, kind)
    rules = {"channels_last": d.rng.randint(0, 1)}
    shape = [shape[0], *shape[2:], shape[1]] if rules["channels_last"] else shape
    if operator == "QLinearAveragePool":
        rules |= windows | d.some(count_include_pad=1)
    return Case(operator, {0: d.all_bytes(kind, *shape)} | marks, rules, frozenset(marks))


def joined(d: Draw) -> Case:
    kind = d.rng.choice([np.uint8, np.int8])
    shape = [d.size(4) for _ in range(d.size(4))]
    axis = d.rng.randint(-len(shape), len(shape) - 1)
    inputs, marks = dict[int, Array](), d.marks(0, kind, 0.1, always=True)
    for place in range(2, 2 + 3 * d.size(3), 3):
        shape[axis] = d.size(4)
        inputs[place] = d.all_bytes(kind, *shape)
        marks |= d.marks(place + 1, kind, always=True)
    weights = frozenset(p for p in inputs if p > 2 and d.is_so(0.2))
    return Case("QLinearConcat", inputs | marks, {"axis": axis}, frozenset(marks) | weights)


def by_column(d: Draw, kind: Any, columns: int, about: float) -> tuple[Array, Array]:
    """Scale and zero point of a weight, or those of its columns."""
    zero = d.rng.choice([0, 5])
    if d.is_so():
        return np.array(about, np.float32), np.array(zero, kind)
    return np.abs(d.floats(columns, about=about)) + np.float32(about), np.full(columns, zero, kind)


def dense(d: Draw) -> Case:
    operator = d.rng.choice(["QGemm", "QGemm", "MatMulIntegerToFloat", "DynamicQuantizeMatMul"])
    left, right = d.rng.choice([np.uint8, np.uint8, np.int8]), d.rng.choice([np.int8, np.uint8])
    right = np.int8 if left is np.int8 else right
    m, k, n = d.size(6), d.size(40), d.size(9)
    scale, zero = by_column(d, right, n, 0.02)
    weight = d.bytes(right, k, n)
    if operator == "QGemm":
        turned = [d.rng.randint(0, 1) for _ in range(2)]
        x = d.all_bytes(left, *((k, m) if turned[0] else (m, k)))
        inputs = {0: x, **d.marks(1, left, always=True), 3: weight.T.copy() if turned[1] else weight, 4: scale, 5: zero}
        inputs |= {6: d.numbers.integers(-3000, 3000, n).astype(np.int32)} if d.is_so() else {}
        rules: dict[str, Any] = {"transA": turned[0], "transB": turned[1]} | d.some(alpha=d.rng.choice([1.0, 0.5]))
        inputs |= d.marks(7, left, 0.3, always=True) if d.is_so(0.7) else {}
        return Case(operator, inputs, rules, frozenset(inputs) - {0})
    lead = [d.size(3) for _ in range(d.rng.randint(0, 2))]
    bias = {6 if operator == "MatMulIntegerToFloat" else 4: d.floats(n)} if d.is_so() else {}
    if operator == "DynamicQuantizeMatMul":
        inputs = {0: d.floats(*lead, m, k), 1: weight, 2: scale} | ({3: zero} if d.is_so(0.8) else {}) | bias
        return Case(operator, inputs, {}, frozenset(inputs) - {0}, near=1e-3)
    inputs = {0: d.all_bytes(left, *lead, m, k), 1: weight, 2: np.array(0.1, np.float32), 3: scale}
    if d.is_so(0.8):
        inputs |= {4: np.array(d.rng.choice([0, 100]), left)} | ({5: zero} if d.is_so(0.8) else {})
    return Case(operator, inputs | bias, {}, frozenset(inputs | bias) - {0}, near=1e-3)


def conversion(d: Draw) -> Case:
    kind = d.rng.choice([np.uint8, np.int8, np.int16])
    shape = [d.size(5) for _ in range(d.size(4))]
    axis = d.rng.randrange(len(shape))
    count = shape[axis]
    is_wide = d.is_so(0.6)
    scale = np.array(0.1, np.float32) if is_wide else np.abs(d.floats(count, about=0.1)) + np.float32(0.05)
    zero = np.array(3, kind) if is_wide else d.bytes(np.uint8, count).astype(kind)
    rules = {} if is_wide else {"axis": axis - len(shape) * d.rng.randint(0, 1)}
    known = frozenset({1, 2}) if d.is_so(0.8) else frozenset()
    if d.is_so():
        return Case("QuantizeLinear", {0: d.floats(*shape, about=5), 1: scale, 2: zero}, rules, known)
    return Case("DequantizeLinear", {0: d.all_bytes(kind, *shape), 1: scale, 2: zero}, rules, known)


def convolution(d: Draw) -> Case:
    kind = np.uint8
    n, channels, groups, filters = d.size(2), d.size(4), d.size(2), d.size(4)
    sizes, kernel = [d.size(8, 4) for _ in range(2)], [d.size(3) for _ in range(2)]
    is_last = d.rng.randint(0, 1)
    x = d.all_bytes(kind, n, groups * channels, *sizes)
    scale, zero = by_column(d, np.int8, groups * filters, 0.02)
    weight = d.bytes(np.int8, groups * filters, channels, *kernel)
    given = {**d.marks(1, kind, always=True), 3: weight, 4: scale, 5: zero * 0, **d.marks(6, kind, 0.3, always=True)}
    given |= {8: d.numbers.integers(-3000, 3000, groups * filters).astype(np.int32)} if d.is_so() else {}
    rules = {"group": groups, "strides": [d.size(2), d.size(2)], "pads": [d.rng.randint(0, k - 1) for k in kernel * 2]}
    inputs = {0: np.moveaxis(x, 1, -1).copy() if is_last else x} | given
    return Case("QLinearConv", inputs, rules | {"channels_last": is_last}, frozenset(given))


FAMILIES: dict[str, tuple[Callable[[Draw], Case], int]] = {
    "fused_conv": (fused_conv, 2),
    "fused_gemm": (fused_gemm, 1),
    "fused_matmul": (fused_matmul, 2),
    "activation": (activation, 1),
    "norm": (norm, 2),
    "embedding": (embedding, 2),
    "other": (other, 1),
    "attention": (attention, 5),
    "multi_head_attention": (multi_head_attention, 5),
    "rotary_embedding": (rotary_embedding, 2),
    "group_query_attention": (group_query_attention, 5),
    "blocks": (blocks, 4),
    "elementwise": (elementwise, 3),
    "reduction": (reduction, 3),
    "joined": (joined, 1),
    "dense": (dense, 3),
    "conversion": (conversion, 1),
    "convolution": (convolution, 2),
}
"""How nodes are drawn, and how often."""


def drawn(seed: int, only: str | None = None) -> Case:
    """A node."""
    rng = random.Random(seed)
    names = [only] if only else [name for name, (_, weight) in FAMILIES.items() for _ in range(weight)]
    return FAMILIES[rng.choice(names)][0](Draw(rng, np.random.default_rng(seed)))

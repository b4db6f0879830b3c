"""Broken ONNX files: each is read, or refused with one error, in little time and memory.

    python benchmarks/onnx_mutations.py [--count 5000] [--seed N] [--seconds 20] [--gigabytes 4]

Sound files are node tests of all families from onnx.backend.test and small networks. A mutation flips, cuts or repeats
bytes of a file, or changes its meaning: sizes, element types, attributes, names, operators, operator sets, nodes. Each
mutant is read from disk. Anything but a graph or a `NetcError` fails, and so does a file that takes longer than
--seconds; the process has an address space of --gigabytes beyond what it needs to begin with. Exit code 1 on failure.
"""

from __future__ import annotations

import argparse
import random
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test import loader

from netc.compiler.errors import NetcError
from netc.frontend.onnx import load_onnx

STEP = 23
"""Every how many node tests one is taken."""


def sound() -> list[Any]:
    """The models that are broken."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = sorted(loader.load_model_tests(kind="node"), key=lambda case: case.name)
    return [*(case.model for case in cases[::STEP] if case.model is not None), *(network() for _ in range(20))]


def network() -> Any:
    """Convolution, branch, shape arithmetic, loop, dense layer."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "d": rng.standard_normal((36, 5)).astype(np.float32),
        "minus": np.array([-1]),
        "zero": np.array(0),
        "turns": np.array(3),
        "yes": np.array(True),
    }
    value = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Add", ["s", "s"], ["s2"])],
        "body",
        [value("i", TensorProto.INT64, []), value("c", TensorProto.BOOL, []), value("s", TensorProto.FLOAT, None)],
        [value("c2", TensorProto.BOOL, []), value("s2", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], kernel_shape=[3, 3], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Shape", ["r"], ["shape"]),
        helper.make_node("Gather", ["shape", "zero"], ["n"]),
        helper.make_node("Unsqueeze", ["n", "axes"], ["n1"]),
        helper.make_node("Concat", ["n1", "minus"], ["to"], axis=0),
        helper.make_node("Reshape", ["r", "to"], ["flat"]),
        helper.make_node("Loop", ["turns", "yes", "flat"], ["l"], body=body),
        helper.make_node("Gemm", ["l", "d"], ["y"], alpha=0.5),
    ]
    weights["axes"] = np.array([0])
    graph = helper.make_graph(
        nodes,
        "network",
        [value("x", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [value("y", TensorProto.FLOAT, ["batch", 5])],
        [numpy_helper.from_array(a, n) for n, a in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def broken_bytes(data: bytes, draw: random.Random) -> bytes:
    """Some bytes flipped, cut out or repeated."""
    found = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 8, 40))):
        if not found:
            break
        at = draw.randrange(len(found))
        kind = draw.randrange(4)
        if kind == 0:
            found[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            found[at] = draw.choice((0, 1, 127, 128, 255))
        elif kind == 2:
            del found[at : at + draw.choice((1, 4, 100))]
        else:
            found[at:at] = found[at : at + draw.choice((1, 8, 64))]
    return bytes(found)


NUMBERS = (0, 1, -1, 2, 7, 255, 65536, 1 << 20, (1 << 31) - 1, 1 << 40, (1 << 62), -(1 << 63))


def broken_meaning(model: Any, draw: random.Random) -> bytes:
    """One to three changes of what a file says."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for _ in range(draw.choice((1, 1, 2, 3))):
        draw.choice(CHANGES)(made, draw)
    return bytes(made.SerializeToString())


def _size(model: Any, draw: random.Random) -> None:
    tensors = [i.type.tensor_type for i in (*model.graph.input, *model.graph.output)]
    dims = [d for t in tensors for d in t.shape.dim]
    if dims:
        draw.choice(dims).dim_value = draw.choice(NUMBERS)


def _weight(model: Any, draw: random.Random) -> None:
    if model.graph.initializer:
        tensor = draw.choice(model.graph.initializer)
        if tensor.dims and draw.random() < 0.6:
            tensor.dims[draw.randrange(len(tensor.dims))] = draw.choice(NUMBERS)
        else:
            tensor.data_type = draw.randrange(0, 30)


def _type(model: Any, draw: random.Random) -> None:
    if model.graph.input:
        draw.choice(model.graph.input).type.tensor_type.elem_type = draw.randrange(0, 30)


def _attribute(model: Any, draw: random.Random) -> None:
    found = [a for n in model.graph.node for a in n.attribute]
    if not found:
        return
    attribute = draw.choice(found)
    if attribute.ints and draw.random() < 0.7:
        attribute.ints[draw.randrange(len(attribute.ints))] = draw.choice(NUMBERS)
    elif draw.random() < 0.5:
        attribute.i = draw.choice(NUMBERS)
        attribute.f = float(draw.choice(NUMBERS))
    elif draw.random() < 0.5:
        attribute.ints.extend([draw.choice(NUMBERS)] * draw.choice((1, 3)))
    else:
        attribute.name = draw.choice(("axis", "axes", "kernel_shape", "body", "to", "value", ""))


def _wiring(model: Any, draw: random.Random) -> None:
    nodes = model.graph.node
    names = [n for node in nodes for n in (*node.input, *node.output)] + ["", "nobody"]
    if nodes:
        node = draw.choice(nodes)
        places = node.input if draw.random() < 0.7 else node.output
        if places:
            places[draw.randrange(len(places))] = draw.choice(names)
        else:
            places.append(draw.choice(names))


def _operator(model: Any, draw: random.Random) -> None:
    if model.graph.node:
        draw.choice(model.graph.node).op_type = draw.choice([s.name for s in onnx.defs.get_all_schemas()])


def _opset(model: Any, draw: random.Random) -> None:
    if model.opset_import:
        draw.choice(model.opset_import).version = draw.choice((0, 1, 5, 6, 7, 9, 10, 11, 13, 17, 21, 26, 99, 1 << 40))


def _drop(model: Any, draw: random.Random) -> None:
    lists = [x for x in (model.graph.node, model.graph.input, model.graph.output, model.graph.initializer) if x]
    if lists:
        chosen = draw.choice(lists)
        if draw.random() < 0.5:
            del chosen[draw.randrange(len(chosen))]
        else:
            chosen.add().CopyFrom(draw.choice(chosen))


def _value(model: Any, draw: random.Random) -> None:
    """Numbers of a small whole tensor: shapes, axes, lengths of loops."""
    small = [t for t in model.graph.initializer if t.data_type == TensorProto.INT64 and t.raw_data]
    if small:
        tensor = draw.choice(small)
        array = numpy_helper.to_array(tensor).copy()
        if array.size:
            array.reshape(-1)[draw.randrange(array.size)] = draw.choice(NUMBERS)
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


CHANGES = (_size, _weight, _type, _attribute, _attribute, _wiring, _operator, _opset, _drop, _value)


class _TooLongError(Exception):
    """A file takes too long."""


def _stop(*_: object) -> None:
    raise _TooLongError


def main() -> int:
    """Break files, and read them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--gigabytes", type=float, default=4)
    options = parser.parse_args()
    models = sound()
    files = [model.SerializeToString() for model in models]
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = used + int(options.gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    signal.signal(signal.SIGALRM, _stop)
    counts: Counter[str] = Counter()
    slowest = (0.0, 0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        for number in range(options.count):
            draw = random.Random(options.seed * 1_000_003 + number)
            place = draw.randrange(len(models))
            data = broken_bytes(files[place], draw) if draw.random() < 0.4 else broken_meaning(models[place], draw)
            path.write_bytes(data)
            start = time.perf_counter()
            outcome = _read(path, options.seconds)
            counts[outcome.partition(":")[0]] += 1
            slowest = max(slowest, (time.perf_counter() - start, number))
            if outcome not in ("read", "refused"):
                print(f"{number}: {outcome}", flush=True)
                Path(f"/tmp/onnx_mutant_{number}.onnx").write_bytes(data)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    told = ", ".join(f"{n} {k}" for k, n in counts.most_common())
    print(f"{options.count} files of {len(models)} models: {told}; slowest {slowest[0]:.1f} s (number {slowest[1]}), ")
    print(f"peak memory {peak:.2f} GiB")
    return int(set(counts) - {"read", "refused"} != set())


def _read(path: Path, seconds: int) -> str:
    signal.alarm(seconds)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load_onnx(path)
    except NetcError as error:
        return "refused" if str(error).strip() else "EMPTY: a message without words"
    except _TooLongError:
        return "SLOW: stopped"
    except MemoryError:
        return "MEMORY: exhausted"
    except Exception as error:
        return f"CRASH: {type(error).__name__}: {str(error)[:200]}"
    finally:
        signal.alarm(0)
    return "read"


if __name__ == "__main__":
    sys.exit(main())

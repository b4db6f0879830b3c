"""Integers of TFLite models: netc's interpreter and its machine code against LiteRT's reference kernels, byte by byte.

    python benchmarks/bit_exact.py [MODEL.tflite ...] [--pictures 20] [--layers]

Each model runs on pictures of the ImageNet samples, resized to its inputs, in LiteRT (`OpResolverType.BUILTIN_REF`, in
a process of its own, because some models make it abort), in the interpreter and compiled. `--layers` compares every
tensor that has a name and prints those that differ, the first one first. Needs ai-edge-litert and the reference data.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import beside_data, parser
from numpy.typing import NDArray
from PIL import Image

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph.interpreter import evaluate, evaluate_operation
from netc.compiler.graph.ir import Graph
from netc.compiler.types import DType, TensorType

Array = NDArray[Any]


def main() -> None:
    """Compare all models and print a table."""
    arguments = options()
    paths = arguments.models or sorted(beside_data("edgetpu", "models").glob("*.tflite"))
    images = list(pictures(arguments.pictures))
    print("| model | operations | pictures | output bytes | interpreter differs in | machine code differs in |")
    print("|---|---:|---:|---:|---:|---:|")
    for path in map(Path, paths):
        print(row(path, images, arguments.layers), flush=True)


def options() -> argparse.Namespace:
    """The options of the command line."""
    p = parser(__doc__)
    p.add_argument("models", nargs="*", help="files; default: all models beside the data")
    p.add_argument("--pictures", type=int, default=20)
    p.add_argument("--layers", action="store_true", help="compare every tensor of the first picture")
    return p.parse_args()


def row(path: Path, images: Sequence[Image.Image], layers: bool) -> str:
    """One model as a row of the table."""
    try:
        graph = netc.load(path)
        program = netc.compile(graph, threads=2)
    except NetcError as error:
        return f"| {path.stem} | | | | {error.diagnostics[0].message} | |"
    samples = [[fitted(image, v.type, i) for i, v in enumerate(graph.inputs)] for image in images]
    counts = np.zeros(3, np.int64)
    answered = 0
    for sample in samples:
        reference = litert(path, sample, layers and not answered)
        if reference is None:
            continue
        answered += 1
        if layers and answered == 1:
            compare_layers(graph, sample, reference)
        expected = reference[""]
        program.reset()  # a state begins anew for each picture, as in LiteRT's process
        compiled = program(*sample)
        interpreted = evaluate(graph, sample)[: len(graph.results)]  # behind them stand the next values of a state
        counts += differences(expected, interpreted, compiled)
    total, wrong, machine = counts
    note = (
        ""
        if answered == len(samples)
        else f" (LiteRT refuses or aborts on {len(samples) - answered} of {len(samples)})"
    )
    return f"| {path.stem} | {len(graph.operations)} | {answered}{note} | {total:,} | {wrong:,} | {machine:,} |"


def differences(expected: Sequence[Array], interpreted: Sequence[Array], compiled: Array | tuple[Array, ...]) -> Array:
    """Bytes of all outputs, and how many of them differ on either way."""
    machine = compiled if isinstance(compiled, tuple) else (compiled,)
    counts = [
        (e.nbytes, np.count_nonzero(as_bytes(e) != as_bytes(i)), np.count_nonzero(as_bytes(e) != as_bytes(m)))
        for e, i, m in zip(expected, interpreted, machine, strict=True)
    ]
    return np.asarray(np.array(counts).sum(axis=0))


def as_bytes(array: Array) -> Array:
    """The memory of an array."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def compare_layers(graph: Graph, sample: Sequence[Array], reference: Mapping[str, Any]) -> None:
    """Print every tensor that differs from LiteRT's."""
    values = dict(zip(graph.inputs, sample, strict=True))
    for op in graph.operations:
        for value, array in zip(op.results, evaluate_operation(op, tuple(values[v] for v in op.operands)), strict=True):
            values[value] = np.asarray(array)
            expected = reference.get(value.name or "")
            if value.name and expected is not None and expected.shape == values[value].shape:
                wrong = np.count_nonzero(expected != values[value])
                if wrong:
                    print(f"<!-- {op.name} {value.name}: {wrong} of {expected.size} elements differ -->")


# ---- LiteRT ----


def litert(path: Path, sample: Sequence[Array], layers: bool) -> dict[str, Any] | None:
    """LiteRT's outputs (under "") and, if asked for, all tensors by name; None if it can't run the model."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=run_litert, args=(str(path), sample, layers, sender))
    process.start()
    sender.close()
    try:
        result: dict[str, Any] | None = receiver.recv()
    except EOFError:
        result = None
    process.join()
    return result


def run_litert(path: str, sample: Sequence[Array], layers: bool, sender: Any) -> None:
    """The body of the process that runs LiteRT."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        path,
        experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
        experimental_preserve_all_tensors=layers,
        num_threads=1,
    )
    interpreter.allocate_tensors()
    for details, array in zip(interpreter.get_input_details(), sample, strict=True):
        interpreter.set_tensor(details["index"], array)
    interpreter.invoke()
    result: dict[str, Any] = {}
    for details in interpreter.get_tensor_details() if layers else ():
        try:
            result[details["name"]] = interpreter.get_tensor(details["index"])
        except ValueError:
            continue  # a tensor without data
    result[""] = [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]
    sender.send(result)


# ---- pictures ----


def pictures(count: int) -> Iterator[Image.Image]:
    """Every so-many-th of the ImageNet samples."""
    with zipfile.ZipFile(beside_data("data", "imagenet_samples", "images.zip")) as archive:
        names = sorted(n for n in archive.namelist() if n.endswith(".jpg"))
        for name in names[:: max(1, len(names) // count)][:count]:
            yield Image.open(io.BytesIO(archive.read(name))).convert("RGB")


def fitted(image: Image.Image, type_: TensorType, number: int) -> Array:
    """A picture as an input: resized, its colours turned by the input's number so that several inputs differ."""
    height, width = type_.shape[1:3]
    channels = type_.shape[3] if type_.rank > 3 else 1
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), np.uint8)
    pixels = np.roll(pixels, number, axis=-1)[..., :channels].reshape(type_.shape)
    if type_.dtype is DType.I8:
        return (pixels.astype(np.int16) - 128).astype(np.int8)
    return pixels if type_.dtype is DType.U8 else (pixels / 255).astype(type_.dtype.numpy)


if __name__ == "__main__":
    main()

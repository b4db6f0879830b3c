"""Exports of torchvision's nets as integer TFLite files: does LiteRT give netc's bytes?

    python benchmarks/onnx_integers.py [NAME ...] [--samples PATH] [--limit N] [--keep DIR]

Each net, with drawn weights, is exported to ONNX and becomes a TFLite file in three ways: `netc compile --target
edgetpu` and `netc quantize`, calibrated on pictures, and from the QDQ file that ONNX Runtime's quantizer writes, whose
scales stay. Each file runs in LiteRT's reference kernels and as a program of netc, on pictures; those of the third way
in ONNX Runtime, too. Writes a row of a table for each net; exit code 1 if LiteRT differs.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from onnx_exports import Subject
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

import netc
from netc.calibration import Calibrated, calibrate
from netc.compiler.graph.ir import Graph
from netc.compiler.tflite import to_tflite
from netc.edgetpu import edgetpu_model
from netc.pipeline import compile_graph

NETS = (
    "resnet18",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "shufflenet_v2_x1_0",
    "squeezenet1_1",
    "mnasnet1_0",
    "googlenet",
    "densenet121",
    "efficientnet_b0",
    "regnet_x_400mf",
)


class Samples(CalibrationDataReader):
    """Inputs for ONNX Runtime's calibration."""

    def __init__(self, name: str, inputs: Sequence[Any]) -> None:
        self.rest: Iterator[dict[str, Any]] = iter([{name: x} for x in inputs])

    def get_next(self) -> Any:
        """What the next sample feeds."""
        return next(self.rest, None)


def differing(graph: Graph, file: bytes, inputs: Sequence[Any]) -> tuple[int, list[Any], list[Any]]:
    """For how many inputs LiteRT and netc's program give different bytes, the program's outputs, and LiteRT's."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    try:
        interpreter = Interpreter(model_content=file, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    except ValueError:  # it has no reference kernel of an operator on floats, such as ROUND
        kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        interpreter = Interpreter(model_content=file, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    (given,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    found: list[Any] = []
    theirs: list[Any] = []
    program = compile_graph(graph)
    for x in inputs:
        whole = _as(x, graph.inputs[0].type)
        interpreter.set_tensor(given["index"], whole)
        interpreter.invoke()
        own = program(whole)
        found.append(own)
        theirs.append(interpreter.get_tensor(result["index"]))
    return sum(not np.array_equal(a, b) for a, b in zip(found, theirs, strict=True)), found, theirs


def _as(x: Any, type_: Any) -> Any:
    """Floats in the element type of an input."""
    if type_.quantization is None:
        return x
    low, high = (-128, 127) if str(type_.dtype) == "i8" else (0, 255)
    q = type_.quantization
    return np.clip(np.rint(x / q.scale) + q.zero_point, low, high).astype(type_.dtype.numpy)


def floats_left(graph: Graph) -> str:
    """Operators that work on floats, but for those at the edges."""
    names = Counter(
        op.name
        for op in graph.operations
        if op.name not in ("constant", "quantize", "dequantize") and any(r.type.dtype.is_float for r in op.results)
    )
    return ", ".join(f"{n} {k}" for k, n in names.items()) or "none"


def qdq(path: Path, inputs: Sequence[Any]) -> Path:
    """The file that ONNX Runtime's quantizer makes: activations of u8, a scale for each filter."""
    ready, target = path.with_suffix(".ready.onnx"), path.with_suffix(".qdq.onnx")
    if not target.exists():
        quant_pre_process(path, ready)
        name = onnxruntime.InferenceSession(ready).get_inputs()[0].name
        options: dict[str, Any] = {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QInt8}
        quantize_static(ready, target, Samples(name, inputs), quant_format=QuantFormat.QDQ, per_channel=True, **options)
    return target


def steps(path: Path, graph: Graph, outputs: Sequence[Any], inputs: Sequence[Any]) -> float:
    """The largest difference from ONNX Runtime in steps of the output's scale."""
    session = onnxruntime.InferenceSession(path)
    name = session.get_inputs()[0].name
    scales = [
        op.attributes["x"].scale for op in graph.operations if op.result is graph.outputs[0] and "x" in op.attributes
    ]
    far = max(np.abs(session.run(None, {name: x})[0] - y).max() for x, y in zip(inputs, outputs, strict=True))
    return float(far / scales[0]) if scales else float("nan")


def row(name: str, folder: Path, samples: str, limit: int) -> tuple[str, int]:
    """The row of a net, and for how many inputs LiteRT differs."""
    path = Subject.of(name, 96).exported("old", folder)
    calibrated: Calibrated = calibrate(path, samples, limit=limit)
    inputs = [np.asarray(x[0]) for x in calibrated.inputs]
    shown = inputs[:4]
    made = edgetpu_model(path, samples, weights=None, limit=limit)
    first, _, _ = differing(made.graph, made.data, shown)
    graph = netc.quantize(path, calibration=calibrated)
    second, _, _ = differing(graph, to_tflite(graph), shown)
    quantized = qdq(path, inputs)
    with warnings.catch_warnings(record=True) as notes:
        warnings.simplefilter("always")
        given = netc.quantize(quantized)
    third, outputs, _ = differing(given, to_tflite(given), shown)
    far = steps(quantized, given, outputs, shown)
    exact = " | ".join(f"{len(shown) - n} of {len(shown)}" for n in (first, second, third))
    told = Counter("stays float" if "stays float" in str(n.message) else "requantized" for n in notes)
    kinds = ", ".join(f"{n} {k}" for k, n in told.items()) or "none"
    return f"| {name} | {exact} | {far:.0f} | {floats_left(given)} | {kinds} |", first + second + third


def main() -> int:
    """Check the nets."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=[*NETS])
    parser.add_argument("--samples", default="/work/shared/data/imagenet_samples/images.zip", metavar="PATH")
    parser.add_argument("--limit", type=int, default=16, metavar="N", help="pictures to calibrate with")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the files there, and take those that are there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    print("| net | edgetpu | quantize | QDQ | steps from ONNX Runtime | floats left | notes |\n" + "| --- " * 7 + "|")
    differ = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in options.names:
            try:
                line, count = row(name, folder, options.samples, options.limit)
            except netc.NetcError as error:
                line, count = f"| {name} | refused: {error} |", 1
            print(line, flush=True)
            differ += count
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main())

"""Models, logs and measurements of the Edge TPU compiler that are public, as facts for the prediction.

The files are ground_truth.json, compiler_logs.json and calibration.json of the folder shared/edgetpu; their own fields
say where each entry comes from.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from netc.compiler.edgetpu import LATEST, ModelFacts, OperatorFacts, Release, TensorFacts, read_tflite

Json = Mapping[str, Any]
EARLY = Release(2, 0)
"""Stands for unknown releases of 2019 and 2020."""


def release_of(entry: Json) -> Release:
    """The release that compiled a model: the known one, or an early one for files of unknown release."""
    version = entry["compiler"]["version"]
    if version:
        return Release.parse(version)
    return LATEST if entry["compiler"]["package_min_runtime_version"] >= 14 else EARLY


def model_files(folder: Path) -> Mapping[str, Path]:
    """TFLite files by their SHA-256."""
    return {hashlib.sha256(p.read_bytes()).hexdigest(): p for p in sorted(folder.glob("*.tflite"))}


def zero_biases(folder: Path) -> Mapping[str, Sequence[int]]:
    """Of each model of the ground truth, the operators whose biases are all zero in the model's file."""
    table: Mapping[str, Sequence[int]] = json.loads((folder / "zero_biases.json").read_text())["zero_bias_operators"]
    return table


def model_facts(entry: Json, files: Mapping[str, Path], zeros: Sequence[int]) -> ModelFacts:
    """Facts of one model of the ground truth: from its file if it is there, else from the entry and `zero_biases`."""
    file = files.get(entry["source"]["sha256"])
    if file is not None:
        return read_tflite(file.read_bytes(), entry["id"])
    zero_biases = {entry["ops"][i]["inputs"][2] for i in zeros}
    tensors = {t["t"]: _tensor(t, t["t"] in zero_biases) for t in entry["tensors"]}
    operators = tuple(_operator(op, tensors) for op in entry["ops"])
    inputs = tuple(tensors[t] for t in entry["graph_inputs"])
    return ModelFacts(entry["id"], operators, inputs, tuple(tensors[t] for t in entry["graph_outputs"]))


def _operator(op: Json, tensors: Mapping[int, TensorFacts]) -> OperatorFacts:
    inputs = tuple(tensors.get(i) for i in op["inputs"])
    outputs = tuple(tensors[i] for i in op["outputs"])
    kind = op["op"].partition(":")[0]
    return OperatorFacts(kind, inputs, outputs, op["version"], op.get("options") or {}, outputs[0].name)


def _tensor(entry: Json, zero: bool) -> TensorFacts:
    scale = (entry.get("quant") or {}).get("scale")
    return TensorFacts(
        tuple(entry["shape"]),
        entry["dtype"],
        entry["name"],
        constant=bool(entry.get("const")),
        per_channel=isinstance(scale, list),
        uniform_scales=isinstance(scale, list) and scale[0] == scale[1],
        zero=zero,
        values=tuple(_flat(entry["value"])) if entry.get("value") is not None else None,
    )


def _flat(value: Any) -> Iterator[int]:
    if isinstance(value, list):
        for each in value:
            yield from _flat(each)
    else:
        yield int(value)


def convolution_sweep(filters: int) -> ModelFacts:
    """A model of the sweep: five 3x3 convolutions on a 64x64x3 image, untrained, without biases."""
    channels = [3] + [filters] * 5
    operators: list[OperatorFacts] = []
    data = TensorFacts((1, 64, 64, 3), "INT8")
    for fan_in, fan_out in pairwise(channels):
        weight = TensorFacts((fan_out, 3, 3, fan_in), "INT8", constant=True, per_channel=True)
        output = TensorFacts((1, 64, 64, fan_out), "INT8")
        operators.append(OperatorFacts("CONV_2D", (data, weight), (output,)))
        data = output
    return ModelFacts(f"convolutions, {filters} filters", tuple(operators), operators[0].activations, (data,))


def dense_sweep(units: int) -> ModelFacts:
    """A model of the sweep: four dense layers and one of ten units on 64 numbers, untrained, without biases."""
    sizes = [64] + [units] * 4 + [10]
    operators: list[OperatorFacts] = []
    data = TensorFacts((1, 64), "INT8")
    for fan_in, fan_out in pairwise(sizes):
        weight = TensorFacts((fan_out, fan_in), "INT8", constant=True)
        output = TensorFacts((1, fan_out), "INT8")
        operators.append(OperatorFacts("FULLY_CONNECTED", (data, weight), (output,)))
        data = output
    return ModelFacts(f"dense layers, {units} units", tuple(operators), operators[0].activations, (data,))

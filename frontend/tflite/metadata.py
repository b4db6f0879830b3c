"""What a model file says about pictures, as a net declares it.

Files of netc tell all of it; of others, normalisation and labels of the embedded metadata are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...compiler.archives import Archive
from ...compiler.errors import NetcError
from ...compiler.tflite import preprocess
from ...compiler.tflite.reading import Model
from ...compiler.tflite.reading.flatbuffer import Record, decode
from ...compiler.tflite.reading.schema import METADATA_IDENTIFIER, MODEL_METADATA
from ...compiler.types import DType

_SILENT = ("TFLITE_METADATA", preprocess.NAME, "min_runtime_version", "CONVERSION_METADATA")
"""Metadata that netc reads, and what TensorFlow's converters write about themselves."""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What metadata say of the graph, as its attributes `preprocess` and `network`, and what can't be read of them."""

    attributes: Mapping[str, Any]
    notes: tuple[str, ...]


def read_metadata(model: Model) -> Metadata:
    """The metadata of a model; what netc can't read of the standard ones, or doesn't know, is noted and ignored."""
    notes = []
    root = None
    data = model.metadata.get("TFLITE_METADATA")
    if data is not None:
        try:
            root = decode(data, MODEL_METADATA, identifier=METADATA_IDENTIFIER, what="TFLite metadata buffer")
        except NetcError as error:
            notes.append(f"the metadata TFLITE_METADATA are ignored: {error.diagnostics[0].message}")
    unknown = ", ".join(name for name in model.metadata if name not in _SILENT)
    if unknown:
        notes.append(f"metadata of other tools are ignored: {unknown[:200]}")
    found = {"preprocess": _preprocess(model, root), "network": root and root["name"]}
    return Metadata({key: value for key, value in found.items() if value}, tuple(notes))


def _preprocess(model: Model, root: Record | None) -> dict[str, Any]:
    """The graph attribute `preprocess`: how a picture becomes the first input, as far as the file tells.

    Settings that netc wrote count before the standard metadata, from which labels come all the same. Without a word
    from the file, quantized inputs take pixels as they are, unless their scale makes numbers of those that none has.
    """
    found = {} if root is None else _declared(root, model.main)
    labels = {key: found[key] for key in found if key == "labels"}
    settings = model.metadata.get(preprocess.NAME)
    if settings is not None:
        return preprocess.from_buffer(settings) | labels
    if "mean" not in found and model.inputs:
        found |= _pixels(model)
    return found if preprocess.fits(found) else labels


LABELS_BYTES = 1 << 20
"""Largest list of labels that is read, in bytes."""


def embedded_labels(data: bytes, name: str, classes: int | None) -> tuple[str, ...] | None:
    """The labels in a file of that name in the archive behind a model: as many as `classes`, where that is given."""
    try:
        with Archive("the model", data) as archive:
            text = archive.read(name, LABELS_BYTES).decode()
    except (NetcError, UnicodeDecodeError):
        return None
    lines = tuple(line.strip() for line in text.splitlines())
    return lines if classes is None or len(lines) == classes else None


def _declared(root: Record, main: int) -> dict[str, Any]:
    subgraphs = root["subgraph_metadata"][main:]
    if not subgraphs:
        return {}
    found: dict[str, Any] = {}
    for tensor in subgraphs[0]["input_tensor_metadata"][:1]:
        for unit in tensor["process_units"]:
            found |= _normalization(unit)
    names = [f["name"] for tensor in subgraphs[0]["output_tensor_metadata"] for f in tensor["associated_files"]]
    name = next(filter(None, names), None)
    return {**found, "labels": name} if name else found


def _normalization(unit: Record) -> dict[str, Any]:
    options = unit["options"]
    if options is None or options["mean"] is None or options["std"] is None:
        return {}
    mean, std = (tuple(float(v) for v in options[key][:4]) for key in ("mean", "std"))
    if not mean or len(mean) != len(std) or not all(0 < s < float("inf") for s in std):
        return {}
    return {"divide": 1.0, "mean": mean[0] if len(mean) == 1 else mean, "std": std[0] if len(std) == 1 else std}


def _pixels(model: Model) -> dict[str, Any]:
    """The normalisation that quantizing undoes, so that pixels go into the model as they are (less 128 for i8)."""
    type_ = model.tensors[model.inputs[0]].type
    if type_ is None or type_.dtype not in (DType.I8, DType.U8):
        return {}
    offset = 128 if type_.dtype is DType.I8 else 0
    if type_.quantization is None:
        return {"divide": 1.0, "mean": float(offset), "std": 1.0}
    given = type_.quantization
    return {"divide": 1.0, "mean": float(given.zero_points[0] + offset), "std": 1.0 / given.scales[0]}

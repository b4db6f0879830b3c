"""What a file tells about pictures and labels, as TensorFlow Lite's metadata schema (version 1) says.

The metadata is a flatbuffer of its own, held in a buffer called TFLITE_METADATA: normalisation of the input, the name
of the file with the labels of the output. The labels follow the model in a ZIP archive, where tools look for them.
Beside it stands netc's own buffer with all that happens to pictures, see `preprocess`.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flatbuffers

from ..graph.ir import Graph
from ..signature import output_names
from ..types import TensorType
from . import preprocess

NAME = "TFLITE_METADATA"
IDENTIFIER = b"M001"
LABELS_FILE = "labels.txt"
IMAGE_PROPERTIES, NORMALIZATION = 2, 1
"""Codes of the unions ContentProperties and ProcessUnitOptions."""
RGB, GRAYSCALE = 1, 2
"""Codes of ColorSpaceType."""
TENSOR_AXIS_LABELS, TENSOR_VALUE_LABELS = 2, 3
"""Codes of AssociatedFileType: names of places along the last dimension, and names of values."""
CLASS_NUMBERS = "classes"
"""The output of a detector whose values are numbers of classes."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of files in the archive: always the same, so that bytes are."""


def metadata_of(graph: Graph, labels: Sequence[str] | None) -> Mapping[str, bytes]:
    """The metadata buffers by name: none if there is nothing to tell.

    Raises `NetcError` if the graph's `preprocess` has wrong settings.
    """
    declared: Mapping[str, Any] = graph.attributes.get("preprocess") or {}
    shape = graph.inputs[0].type.shape if len(graph.inputs) == 1 else ()
    picture = len(shape) == 4 and shape[-1] in (1, 3)
    buffers: dict[str, bytes] = {}
    if labels or (declared and picture):
        buffers[NAME] = _Metadata().run(graph, declared if picture else {}, labels)
    if picture:
        buffers[preprocess.NAME] = preprocess.to_buffer(declared)
    return buffers


def with_labels(model: bytes, labels: Sequence[str] | None) -> bytes:
    """The file followed by an archive with its labels, one on each line."""
    if not labels:
        return model
    file = io.BytesIO(model)
    with zipfile.ZipFile(file, "a", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(LABELS_FILE, EPOCH), "".join(f"{name}\n" for name in labels))
    return file.getvalue()


def normalization(declared: Mapping[str, Any], channels: int) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel in units of pixels from 0 to 255: (pixel - mean) / std is the input."""
    divide = float(declared.get("divide", 255.0))

    def spread(value: Any) -> list[float]:
        values = list(value) if isinstance(value, Sequence) else [value] * channels
        return [float(v) * divide for v in values]

    return spread(declared.get("mean", 0.0)), spread(declared.get("std", 1.0))


class _Metadata:
    """Writes the tables by the numbers of their fields: no generated code exists outside of TensorFlow's packages."""

    def __init__(self) -> None:
        self.b: Any = flatbuffers.Builder(1024)

    def run(self, graph: Graph, declared: Mapping[str, Any], labels: Sequence[str] | None) -> bytes:
        inputs = [self.input(v.name or "input", v.type, declared) for v in graph.inputs]
        names = output_names(graph) or [v.name or "output" for v in graph.results]
        labelled = names.index(CLASS_NUMBERS) if CLASS_NUMBERS in names else 0
        outputs = [self.output(name, labels if i == labelled else None) for i, name in enumerate(names)]
        subgraph = self.table({2: self.tables(inputs), 3: self.tables(outputs)})
        root = self.table({0: self.text(graph.name), 3: self.tables([subgraph])})
        self.b.Finish(root, file_identifier=IDENTIFIER)
        return bytes(self.b.Output())

    def input(self, name: str, type_: TensorType, declared: Mapping[str, Any]) -> int:
        fields: dict[int, int] = {0: self.text(name)}
        if declared:
            channels = type_.shape[-1]
            size = self.table({0: type_.shape[2], 1: type_.shape[1]}, self.uint32)
            image = self.properties(GRAYSCALE if channels == 1 else RGB, size)
            fields[3] = self.union(IMAGE_PROPERTIES, image)
            mean, std = normalization(declared, channels)
            options = self.table({0: self.floats(mean), 1: self.floats(std)})
            fields[4] = self.tables([self.union(NORMALIZATION, options)])
        return self.table(fields)

    def output(self, name: str, labels: Sequence[str] | None) -> int:
        fields = {0: self.text(name)}
        if labels:
            text = self.text(LABELS_FILE)
            self.b.StartObject(5)
            self.b.PrependUOffsetTRelativeSlot(0, text, 0)
            self.b.PrependInt8Slot(2, TENSOR_VALUE_LABELS if name == CLASS_NUMBERS else TENSOR_AXIS_LABELS, 0)
            fields[6] = self.tables([self.b.EndObject()])
        return self.table(fields)

    def properties(self, color_space: int, size: int) -> int:
        """A table ImageProperties."""
        self.b.StartObject(2)
        self.b.PrependInt8Slot(0, color_space, 0)
        self.b.PrependUOffsetTRelativeSlot(1, size, 0)
        end: int = self.b.EndObject()
        return end

    def union(self, code: int, table: int) -> int:
        """A table whose first two fields are a union."""
        self.b.StartObject(2)
        self.b.PrependUint8Slot(0, code, 0)
        self.b.PrependUOffsetTRelativeSlot(1, table, 0)
        end: int = self.b.EndObject()
        return end

    def uint32(self, slot: int, value: int) -> None:
        self.b.PrependUint32Slot(slot, value, 0)

    def table(self, fields: Mapping[int, int], prepend: Callable[[int, int], None] | None = None) -> int:
        """A table of offsets, or of what `prepend` writes, by number of field."""
        self.b.StartObject(max(fields) + 1)
        for slot, value in fields.items():
            if prepend is None:
                self.b.PrependUOffsetTRelativeSlot(slot, value, 0)
            else:
                prepend(slot, value)
        end: int = self.b.EndObject()
        return end

    def text(self, text: str) -> int:
        offset: int = self.b.CreateString(text)
        return offset

    def tables(self, offsets: Sequence[int]) -> int:
        self.b.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.b.PrependUOffsetTRelative(offset)
        end: int = self.b.EndVector()
        return end

    def floats(self, values: Sequence[float]) -> int:
        self.b.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.b.PrependFloat32(value)
        end: int = self.b.EndVector()
        return end

"""Networks that go on with the places of largest elements (MaxPoolingWithArgmax2D), judged with LiteRT's places.

Where two elements of a window differ by less than floats are rounded by, any of the two may be the largest; where the
network puts an element back to its place (MaxUnpooling2D), the results of that window then differ by the element
itself. So the places are compared first: each must be LiteRT's, or that of an element as large as the largest one
within `TIE` of the tensor's range. All the rest is compared with LiteRT's places as an input of netc's program.
"""

from __future__ import annotations

import copy
import struct
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import netc

Array = NDArray[Any]
Calls = list[list[Array]]

TIE = 1e-6
"""Of the range: 8 units in the last place of its largest number."""
CUSTOM = b"MaxPoolingWithArgmax2D"
SHIFT = 0.1
"""The number that MediaPipe's kernels add to a place, before they cut its fraction off."""


@dataclass(frozen=True)
class Choice:
    """An operator that chooses: its tensors, and its windows."""

    operator: int
    x: int
    places: int
    strides: tuple[int, int]
    kernel: tuple[int, int]


def with_places(path: Path, inputs: Calls, run: Callable[[Path, Calls], Calls | str]) -> tuple[Calls, int, int] | None:
    """The outputs of netc's program with LiteRT's places, how many of its own are others, and of how many.

    `run` is LiteRT, or says why it gives nothing. None then, where there is nothing to choose, and where a place
    differs that is not a tie.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    choices = _choices(model)
    if not choices:
        return None
    with tempfile.TemporaryDirectory() as folder:
        shown, fixed = Path(folder) / "shown.tflite", Path(folder) / "fixed.tflite"
        _write(_shown(model, choices), shown)
        _write(_fixed(model, choices), fixed)
        wanted = run(shown, inputs)
        if isinstance(wanted, str):
            return None
        own, program = _program(shown), _program(fixed)
        outputs, flipped, total = [], 0, 0
        for row, tensors in zip(inputs, wanted, strict=True):
            given = []
            for number, choice in enumerate(choices):
                at = len(tensors) - 2 * (len(choices) - number)
                places = _row_by_row(tensors[at + 1], choice)
                mine = own(row)[at + 1].astype(np.int64)
                if not _are_ties(tensors[at], places, mine, choice):
                    return None
                flipped, total = flipped + int(np.count_nonzero(places != mine)), total + places.size
                given.append((places + SHIFT).astype(np.float32))
            outputs.append(program([*row, *given]))
    return outputs, flipped, total


def _choices(model: Any) -> list[Choice]:
    """The choosing operators of the first subgraph."""
    found = []
    for number, operator in enumerate(model.subgraphs[0].operators):
        if model.operatorCodes[operator.opcodeIndex].customCode != CUSTOM:
            continue
        _, stride_w, stride_h, kernel_w, kernel_h = struct.unpack("<5i", bytes(operator.customOptions)[:20])
        strides, kernel = (stride_h, stride_w), (kernel_h, kernel_w)
        found.append(Choice(number, int(operator.inputs[0]), int(operator.outputs[1]), strides, kernel))
    return found


def _shown(model: Any, choices: Sequence[Choice]) -> Any:
    """The model with what is chosen from, and the places, behind its outputs."""
    model = copy.deepcopy(model)
    graph = model.subgraphs[0]
    graph.outputs = [*map(int, graph.outputs), *(t for c in choices for t in (c.x, c.places))]
    return model


def _fixed(model: Any, choices: Sequence[Choice]) -> Any:
    """The model with the places behind its inputs."""
    model = copy.deepcopy(model)
    graph = model.subgraphs[0]
    graph.inputs = [*map(int, graph.inputs), *(c.places for c in choices)]
    for choice in choices:
        graph.tensors.append(copy.deepcopy(graph.tensors[choice.places]))
        graph.tensors[-1].name = f"unused{choice.places}".encode()
        operator = graph.operators[choice.operator]
        operator.outputs = [int(operator.outputs[0]), len(graph.tensors) - 1]
    return model


def _write(model: Any, path: Path) -> None:
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())


def _program(path: Path) -> Callable[[Sequence[Array]], list[Array]]:
    program = netc.compile(netc.load(path), threads=1)

    def run(row: Sequence[Array]) -> list[Array]:
        outputs = program(*row)
        return list(outputs) if isinstance(outputs, tuple) else [outputs]

    return run


def _row_by_row(places: Array, choice: Choice) -> NDArray[np.int64]:
    """Places counted row by row; XNNPACK counts columns first, and keeps integers in tensors of floats."""
    column, row = np.divmod(places.view(np.uint32).astype(np.int64), choice.kernel[0])
    return row * choice.kernel[1] + column


def _are_ties(x: Array, places: NDArray[np.int64], others: NDArray[np.int64], choice: Choice) -> bool:
    """True where the elements at two places of each window [N, H, W, C] are equal, as floats are rounded."""
    n, h, w, c = np.nonzero(places != others)

    def at(numbers: NDArray[np.int64]) -> Array:
        y, column = np.divmod(numbers[n, h, w, c], choice.kernel[1])
        return np.asarray(x[n, h * choice.strides[0] + y, w * choice.strides[1] + column, c])

    return bool(np.all(np.abs(at(places) - at(others)) <= TIE * np.abs(x).max()))

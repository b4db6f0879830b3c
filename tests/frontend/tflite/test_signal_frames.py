"""Signal operators that keep samples between runs, against queues that are filled and emptied as their kernels do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from flatbuffers import flexbuffers
from numpy.typing import NDArray

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.registry import lookup
from netc.compiler.types import DType, TensorType

Array = NDArray[Any]
RNG = np.random.default_rng(5)


def run(name: str, options: Mapping[str, Any], rows: Sequence[Array], results: Sequence[str]) -> list[list[Array]]:
    """What one operator gives, run after run."""
    b = GraphBuilder("signal")
    x = b.input("x", TensorType(DType.of(rows[0].dtype), rows[0].shape))
    data = np.frombuffer(bytes(flexbuffers.Dumps(dict(options))), np.uint8)
    attributes = {"operator": name, "results": tuple(results), "options": data, "number": 0}
    outputs = b.operation(lookup("opaque"), [x], attributes).results
    with netc.compile(b.finish(outputs)) as program:
        found = [program(row) for row in rows]
    return [list(y) if isinstance(y, tuple) else [y] for y in found]


def samples(shape: tuple[int, ...], count: int) -> list[Array]:
    return [RNG.integers(-32768, 32768, shape).astype(np.int16) for _ in range(count)]


@pytest.mark.parametrize("length", [0, 3, 11])
def test_delay(length: int) -> None:
    rows = samples((2, 4), 5)
    found = run("SignalDelay", {"delay_length": length}, rows, ["i16[2,4]"])
    whole = np.concatenate([np.zeros((2, length), np.int16), *rows], axis=1)
    for n, (y,) in enumerate(found):
        assert np.array_equal(y, whole[:, 4 * n : 4 * n + 4])


@pytest.mark.parametrize("prefill", [False, True])
@pytest.mark.parametrize(("size", "step", "width"), [(5, 2, 4), (4, 4, 8), (7, 3, 3)])
def test_frames(size: int, step: int, width: int, prefill: bool) -> None:
    rows, count = samples((width,), 6), width // step
    options = {"frame_size": size, "frame_step": step, "prefill": prefill}
    found = run("SignalFramer", options, rows, [f"i16[{count},{size}]", "i1[]"])
    queue = [0] * (size - step if prefill else 0)
    for row, (frames, is_valid) in zip(rows, found, strict=True):
        valid = True
        for n, part in enumerate(row.reshape(count, step).tolist()):
            queue += part
            if len(queue) >= size:
                assert frames[n].tolist() == queue[:size]
                del queue[:step]
            else:
                valid = False
                assert not frames[n].any()
        assert is_valid == valid


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_overlapping_frames_are_added(dtype: Any) -> None:
    rows = samples((3, 5), 3) if dtype is np.int16 else [RNG.normal(size=(3, 5)).astype(np.float32) for _ in range(3)]
    code, kind = (7, "i16") if dtype is np.int16 else (0, "f32")
    found = run("SignalOverlapAdd", {"T": code, "frame_step": 2}, rows, [f"{kind}[6]"])
    kept = np.zeros(5, np.float64)
    for row, (y,) in zip(rows, found, strict=True):
        for n, frame in enumerate(row):
            kept = kept + frame if dtype is np.float32 else np.clip(kept + frame, -32768, 32767)
            np.testing.assert_allclose(y[2 * n : 2 * n + 2], kept[:2], atol=0 if dtype is np.int16 else 1e-5)
            kept = np.append(kept[2:], [0, 0])


@pytest.mark.parametrize(("left", "right", "step"), [(1, 1, 2), (3, 0, 1), (0, 0, 1), (2, 3, 3)])
def test_stacks(left: int, right: int, step: int) -> None:
    rows, whole = samples((4,), 9), 4 * (left + 1 + right)
    options = {"num_channels": 4, "stacker_left_context": left, "stacker_right_context": right, "stacker_step": step}
    found = run("SignalStacker", options, rows, [f"i16[{whole}]", "i1[]"])
    queue: list[int] = rows[0].tolist() * left
    for row, (y, is_valid) in zip(rows, found, strict=True):
        queue += row.tolist()
        assert is_valid == (len(queue) >= whole)
        assert y.tolist() == (queue[:whole] if is_valid else [0] * whole)
        if is_valid:
            del queue[: 4 * step]


def test_inverse_transform_of_the_microcontroller() -> None:
    # tflite-micro's interpreter gave these numbers
    for (length, code), wanted in INVERSES.items():
        x = (np.arange(length + 2) * 2741 % 60013 - 30000).astype(np.int16 if code == 7 else np.int32)
        kind = {7: "i16", 2: "i32"}[code]
        found = run("SignalIrfft", {"T": code, "fft_length": length}, [x], [f"{kind}[{length}]"])[0][0]
        assert found.tolist() == wanted


@pytest.mark.parametrize("length", [4, 32])
def test_inverse_transform_of_floats(length: int) -> None:
    x = RNG.normal(size=(2, length))
    pairs = np.fft.rfft(x)
    spectrum = np.stack([pairs.real, pairs.imag], axis=-1).reshape(2, length + 2).astype(np.float32)
    found = run("SignalIrfft", {"T": 0, "fft_length": length}, [spectrum], [f"f32[2,{length}]"])[0][0]
    np.testing.assert_allclose(found, x, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("SignalFramer", {"frame_size": 3, "frame_step": 4}, "steps of 4 don't divide"),
        ("SignalOverlapAdd", {"T": 2, "frame_step": 1}, "elements of type 2 are not supported"),
        ("SignalStacker", {"num_channels": 6, "stacker_left_context": 0, "stacker_right_context": 1, "stacker_step": 3},
         "2 frames of 6 numbers in steps of 3 don't fit"),
        ("SignalIrfft", {"T": 7, "fft_length": 8}, "6 numbers are no spectrum of 8"),
    ],
)  # fmt: skip
def test_forms_that_are_refused(name: str, options: Mapping[str, Any], message: str) -> None:
    results = ["i16[6]"] if name in ("SignalIrfft", "SignalOverlapAdd") else ["i16[6]", "i1[]"]
    x = np.zeros(6, np.int32 if options.get("T") == 2 else np.int16)
    with pytest.raises(NetcError, match=f"{name}: {message}"):
        run(name, options, [x], results)


INVERSES: dict[tuple[int, int], list[int]] = {
    (4, 7): [-8133, 8146, 16381, -13628],
    (16, 7): [-8070, -1555, 6615, 3983, 2740, 4043, 1135, 3871, 0, 3607, -1135, 3153, -2742, 1989, -6615, -8255],
    (8, 2): [-19035, 5155, 2741, 885, -1, -2491, -2741, -14513],
}

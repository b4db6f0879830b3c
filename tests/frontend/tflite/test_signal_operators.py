"""Signal operators of TensorFlow Lite for Microcontrollers: its definitions number by number, and its own answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from flatbuffers import flexbuffers
from numpy.typing import NDArray

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph.builder import GraphBuilder
from netc.compiler.graph.ir import Value
from netc.compiler.graph.registry import lookup
from netc.compiler.types import TensorType, parse_type

Array = NDArray[Any]
RNG = np.random.default_rng(11)


def run(
    name: str,
    options: Mapping[str, Any],
    inputs: Sequence[Array],
    results: Sequence[str],
    constants: Sequence[Array] = (),
) -> list[list[Array]]:
    """What one operator gives in two runs. Numbers u32 and u64 are i64, as its rule sees them."""
    types = [TensorType(netc.compiler.types.DType.of(x.dtype), x.shape) for x in inputs]
    b = GraphBuilder("signal")
    operands: list[Value] = [b.input(f"x{i}", type_) for i, type_ in enumerate(types)]
    operands += [b.constant(x) for x in constants]
    attributes = {
        "operator": name,
        "results": tuple(f"u8[{r[4:]}" if r.startswith("i64") else r for r in results),
        "options": np.frombuffer(bytes(flexbuffers.Dumps(dict(options))), np.uint8),
        "elements": ("",) * len(operands) + tuple("UINT64" if r.startswith("i64") else "" for r in results),
        "number": 0,
    }
    found = b.operation(lookup("opaque"), operands, attributes).results
    # bytes stand for what is wide, which only operators of this kind may read
    narrow = [b.operation(lookup("opaque"), [v], _cast(r)).results[0] if r.startswith("i64") else v
              for v, r in zip(found, results, strict=True)]  # fmt: skip
    with netc.compile(b.finish(narrow)) as program:
        runs = [program(*inputs) for _ in range(2)]
    return [list(y) if isinstance(y, tuple) else [y] for y in runs]


def _cast(result: str) -> dict[str, Any]:
    type_ = str(parse_type(result))
    return {"operator": "CAST", "results": (type_,), "elements": ("UINT64", ""), "number": 1}


def test_window() -> None:
    x, weights = RNG.integers(-32768, 32768, (2, 9)).astype(np.int16), RNG.integers(0, 32767, 9).astype(np.int16)
    found = run("SignalWindow", {"shift": 12}, [x], ["i16[2,9]"], [weights])[0][0]
    assert np.array_equal(found, np.clip((x.astype(np.int64) * weights) >> 12, -32768, 32767))
    assert (found == 32767).any()


def largest(values: Sequence[int]) -> int:
    """The kernel's search, in 16 bits."""
    most = 0
    for v in values:
        if v > most:
            most = v
        elif -v > most:
            most = (-v + 32768) % 65536 - 32768
    return most


@pytest.mark.parametrize(
    "values",
    [
        [0, 0], [3, -7, 5], [-1], [16383], [16384], [-32768], [-32768, 3], [9000, -32768, -3, -2],
        [-32768, -3, -2, -2, 1], [-32768, -20000, -5, 3], [5, -32768, 100, -32768, -7, -30],
    ],
)  # fmt: skip
def test_scale(values: list[int]) -> None:
    x = np.array(values, np.int16)
    found = run("SignalFftAutoScale", {}, [x], [f"i16[{x.size}]", "i32[]"])[0]
    most = largest(values) % (1 << 32)
    bits = max(0, 15 - most.bit_length())
    assert found[1] == bits
    assert np.array_equal(found[0], (x.astype(np.int64) << bits).astype(np.int16))


def test_spectrum_is_that_of_the_microcontroller() -> None:
    # tflite-micro's interpreter gave these numbers
    for length, wanted in SPECTRA.items():
        x = (np.arange(length) * 2741 % 60013 - 30000).astype(np.int16)
        found = run("SignalRfft", {"T": 7, "fft_length": length}, [x], [f"i16[{length + 2}]"])[0][0]
        assert found.tolist() == wanted


@pytest.mark.parametrize(("code", "dtype"), [(7, np.int16), (2, np.int32), (0, np.float32)])
@pytest.mark.parametrize("length", [4, 32])
def test_spectrum(code: int, dtype: Any, length: int) -> None:
    samples = RNG.uniform(-1, 1, (2, length - 1))
    scale = 1 if code == 0 else np.iinfo(dtype).max
    x = (samples * scale).astype(dtype)
    type_ = {7: "i16", 2: "i32", 0: "f32"}[code]
    found = run("SignalRfft", {"T": code, "fft_length": length}, [x], [f"{type_}[2,{length + 2}]"])[0][0]
    pairs = found.reshape(2, -1, 2).astype(np.float64) / scale
    wanted = np.fft.rfft(x / scale, length) / (1 if code == 0 else length)
    np.testing.assert_allclose(pairs[..., 0] + 1j * pairs[..., 1], wanted, atol={7: 3e-4, 2: 1e-7, 0: 1e-4}[code])


def test_energy_and_bands() -> None:
    x = RNG.integers(-32768, 32768, 20).astype(np.int16)
    found = run("SignalEnergy", {"start_index": 2, "end_index": 9}, [x], ["i64[10]"])[0][0]
    assert np.array_equal(found[2:9], (x.astype(np.int64).reshape(10, 2) ** 2).sum(axis=1)[2:9])
    assert not found[[0, 1, 9]].any()
    weights, rest = (RNG.integers(0, 4096, 12).astype(np.int16) for _ in range(2))
    starts, places, widths = (np.array(t, np.int16) for t in ([1, 3, 5, 0], [0, 4, 6, 0], [4, 2, 3, 0]))
    energies = RNG.integers(0, 1 << 32, 10)
    tables = [weights, rest, starts, places, widths]
    found = run("SignalFilterBank", {"num_channels": 3}, [energies], ["i64[3]"], tables)[0][0]
    spans = list(zip(starts.tolist(), places.tolist(), widths.tolist(), strict=True))
    shares = [[int(np.dot(t[p : p + w].astype(object), energies[s : s + w])) for s, p, w in spans]
              for t in (weights, rest)]  # fmt: skip
    assert found.tolist() == [shares[0][i + 1] + shares[1][i] for i in range(3)]


def test_square_root() -> None:
    values = [
        0,
        1,
        2,
        3,
        6,
        7,
        65535**2,
        65535**2 + 65535,
        65535**2 + 65536,
        2**32 - 1,
        2**32,
        2**32 + 65537,
        2**61,
        10**18,
    ]
    found = run("SignalFilterBankSquareRoot", {}, [np.array(values), np.array(1, np.int32)], [f"i64[{len(values)}]"])[
        0
    ][0]
    for value, root in zip(values, found, strict=True):
        down = math.isqrt(value)
        is_up = value - down * down > down and down != (0xFFFF if value < 1 << 32 else 0xFFFFFFFF)
        assert root == (down + is_up) >> 1


@pytest.mark.parametrize("clamping", [False, True])
def test_noise_is_kept(clamping: bool) -> None:
    options = {
        "smoothing": 409, "one_minus_smoothing": 15975, "alternate_smoothing": 983,
        "alternate_one_minus_smoothing": 15401, "smoothing_bits": 10,
        "spectral_subtraction_bits": 14, "min_signal_remaining": 819, "num_channels": 5,
        "clamping": clamping,
    }  # fmt: skip
    x = np.array([0, 1, 70000, 5_000_000, 2**32 - 1])
    noise = [0] * 5
    for found in run("SignalFilterBankSpectralSubtraction", options, [x], ["i64[5]", "i64[5]"]):
        for i, signal in enumerate(x.tolist()):
            raised = (signal << 10) % 2**32
            new, old = ((409, 15975), (983, 15401))[i % 2]
            noise[i] = (raised * new + noise[i] * old >> 14) % 2**32
            bounded = min(noise[i], raised)
            noise[i] = bounded if clamping else noise[i]
            assert found[0][i] == max(raised - bounded >> 10, signal * 819 >> 14)
        assert found[1].tolist() == noise


def test_gain() -> None:
    table = RNG.integers(0, 3000, 125).astype(np.int16)
    noise = np.array([0, 1, 2, 3, 500, 1023, 1024, 2047, 2048, 99999, 2**31, 2**32 - 1])
    x = RNG.integers(0, 1 << 20, noise.size)
    found = run("SignalPCAN", {"snr_shift": 6}, [x, noise], [f"i64[{noise.size}]"], [table])[0][0]
    lut = table.tolist()
    for signal, n, y in zip(x.tolist(), noise.tolist(), found, strict=True):
        gain = lut[n] if n <= 2 else _curve(lut, n)
        ratio = (signal * (gain % 2**32) >> 6) % 2**32
        assert y == (ratio * ratio >> 20 if ratio < 8192 else (ratio >> 6) - 64)


def _curve(lut: list[int], n: int) -> int:
    width = n.bit_length()
    part = lut[4 * width - 6 :]
    fraction = (n << 11 - width if width < 11 else n >> width - 11) & 0x3FF
    return ((((part[2] * fraction >> 5) + (part[1] << 5)) * fraction + (1 << 14)) >> 15) + part[0]


def test_logarithm() -> None:
    x = np.array([0, 1, 2, 3, 100, 65535, 65536, 65537, 2**28, 2**29 - 1, 2**29, 2**32 - 1])
    options = {"input_correction_bits": 3, "output_scale": 64}
    found = run("SignalFilterBankLog", options, [x], [f"i16[{x.size}]"])[0][0]
    scaled = (x << 3) % 2**32
    wanted = np.where(scaled > 1, np.log(np.maximum(scaled, 1)) * 64, 0)
    np.testing.assert_allclose(found, wanted, atol=0.6)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("SignalRfft", {"T": 7, "fft_length": 48}, "48 elements of type 7 are not supported"),
        ("SignalRfft", {"T": 7, "fft_length": 4}, "6 samples are more than a window of 4"),
        ("SignalEnergy", {"start_index": 0, "end_index": 4}, "its option `end_index` can't be 4"),
        ("SignalFilterBankLog", {}, "its form for i16"),
    ],
)
def test_forms_that_are_refused(name: str, options: Mapping[str, Any], message: str) -> None:
    with pytest.raises(NetcError, match=f"{name}: {message}"):
        run(name, options, [np.zeros(6, np.int16)], ["i16[6]"])


SPECTRA: dict[int, list[int]] = {
    4: [-25886, 0, -1370, 1370, -1370, 0],
    8: [-20402, 0, -1371, 3308, -1370, 1370, -1371, 567, -1370, 0],
    16: [-9440, 0, -1370, 6887, -1370, 3307, -1371, 2051, -1370, 1370, -1371, 915, -1370, 567, -1369, 272, -1370, 0],
    32: [
        -6268,
        0,
        -8867,
        -115,
        3561,
        -495,
        -116,
        4640,
        -2696,
        106,
        1104,
        -452,
        -103,
        2302,
        -1848,
        98,
        505,
        -505,
        -81,
        1516,
        -1538,
        69,
        242,
        -590,
        -44,
        1116,
        -1408,
        35,
        98,
        -709,
        11,
        873,
        -1370,
        0,
    ],
}

"""AudioSpectrogram and Mfcc, TFLite's custom operators in front of older keyword spotters.

Source: TensorFlow Lite's kernels/internal/spectrogram.cc, mfcc.cc, mfcc_mel_filterbank.cc and mfcc_dct.cc, which
compute in double precision, and so do these.
"""

from __future__ import annotations

import numpy as np

from ...errors import NetcError
from ...graph.ir import Array, Value
from ...types import DType
from ..custom import CustomCall, custom_operator
from ..expressions import Formula

LARGEST_WINDOW = 1 << 13
LARGEST = 1 << 24
"""Most samples of all windows together, and most weights of bands."""
FLOOR = 1e-12
"""The least sum of a band of which Mfcc takes the logarithm."""


@custom_operator("AudioSpectrogram")
def spectrogram(call: CustomCall) -> Value:
    """Squared magnitudes, or magnitudes, of windows: samples [N, channels] to [channels, windows, frequencies].

    Windows are tapered as Hann has it, and filled with zeros up to a power of two.
    """
    call.check(2)
    width, step = int(call.number("window_size")), int(call.number("stride"))
    count = call.operands[0].type.shape[0]
    if not 2 <= width <= LARGEST_WINDOW or step < 1:
        raise NetcError(f"windows of {width} samples, {step} apart, are not supported")
    if count < width:
        raise NetcError(f"{count} samples are fewer than a window of {width}")
    if (1 + (count - width) // step) * width > LARGEST:
        raise NetcError(f"windows of {count} samples, {step} apart, are too many")
    b = call.builder
    places = np.arange(0, count - width + 1, step)[:, np.newaxis] + np.arange(width)
    x = call.formula(0).emit("transpose", permutation=(1, 0))
    windows = Formula(b, b.emit("gather", x.value, b.constant(places.astype(np.int32)), axis=1)).cast("f64")
    waves = _waves(width)
    parts = [windows.emit("matmul", Formula(b, b.constant(wave))) for wave in waves]
    power = parts[0] * parts[0] + parts[1] * parts[1]
    result = power.cast("f32")
    return result.value if call.options.get("magnitude_squared", False) else result.emit("sqrt").value


def _waves(width: int) -> tuple[Array, Array]:
    """Tapered cosines and sines [width, frequencies] of the Fourier transform."""
    length = 1 << (width - 1).bit_length()
    taper = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(width) / width)
    turns = np.outer(np.arange(width), np.arange(length // 2 + 1)) % length * (2 * np.pi / length)
    return taper[:, np.newaxis] * np.cos(turns), taper[:, np.newaxis] * np.sin(turns)


@custom_operator("Mfcc")
def mfcc(call: CustomCall) -> Value:
    """Cepstrum of mel bands: squared magnitudes [channels, windows, frequencies], and the sample rate i32 [1]."""
    types = [v.type for v in call.operands]
    if [t.dtype for t in types] != [DType.F32, DType.I32] or types[0].rank != 3 or types[1].size != 1:
        raise NetcError(f"its form for {', '.join(map(str, types))} is not supported")
    low, high = (float(int(call.number(f"{end}_frequency_limit"))) for end in ("lower", "upper"))
    bands, kept = int(call.number("filterbank_channel_count")), int(call.number("dct_coefficient_count"))
    bins = types[0].shape[2]
    if not 0 <= low < high or not 1 <= kept <= bands or bins < 2 or max(bins, bands) * bands > LARGEST:
        raise NetcError(f"{kept} of {bands} bands from {low:g} to {high:g} Hz of {bins} frequencies are not supported")
    b = call.builder
    rate = call.formula(1).cast("f64").reshape()
    weights, is_known = _filters(rate, bins, bands, low, high)
    magnitudes = call.formula(0).cast("f64").emit("sqrt")
    logs = Formula(b, b.emit("matmul", magnitudes.value, weights.value)).maximum(FLOOR).emit("log")
    cosines = np.cos(np.outer(np.arange(bands) + 0.5, np.arange(kept)) * (np.pi / bands)) * np.sqrt(2 / bands)
    result = logs.emit("matmul", Formula(b, b.constant(cosines)))
    return result.where(is_known, result.constant(0.0)).cast("f32").value


def _mel(hertz: Formula) -> Formula:
    return (hertz / 700.0).emit("log1p") * 1127.0


def _filters(rate: Formula, bins: int, bands: int, low: float, high: float) -> tuple[Formula, Value]:
    """Weights [bins, bands] of triangles on the mel scale, and whether the highest frequency lies below half the rate.

    A frequency counts for the bands whose centers stand on its two sides, each the more the nearer it is.
    """
    ends = [1127.0 * np.log1p(f / 700.0) for f in (low, high)]
    spacing = (ends[1] - ends[0]) / (bands + 1)
    centers = ends[0] + spacing * np.arange(1, bands + 2)
    step = rate * 0.5 / float(bins - 1)
    numbers = rate.constant(np.arange(bins))
    place = _mel(numbers * step).reshape(bins, 1)
    first, last = (step.constant(low) / step + 1.5).floor(), (step.constant(high) / step).floor()
    passed = rate.constant(centers[np.newaxis, :bands]).emit("less", place)
    band = passed.cast("f64").emit("reduce_sum", axes=(1,), keepdims=True)  # 0: below all
    edges = np.concatenate([ends[:1], centers])
    index = band.cast("i32").reshape(bins)
    below, above = (
        rate.constant(side).emit("gather", index, axis=0).reshape(bins, 1) for side in (edges[:-1], edges[1:])
    )
    share = (above - place) / (above - below)
    each = rate.constant(np.arange(bands)[np.newaxis])
    none = share.constant(0.0)
    own = share.broadcast(bins, bands).where((each + 1.0).emit("equal", band).value, none)
    next_ = (1.0 - share).broadcast(bins, bands).where(each.emit("equal", band).value, none)
    wide = numbers.reshape(bins, 1)
    is_used = wide.emit("greater_equal", first).emit("logical_and", wide.emit("less_equal", last)).value
    return (own + next_).where(is_used, none), last.emit("less", last.constant(float(bins))).value

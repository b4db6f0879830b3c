"""Damaged and lying files: one error that names table and field, in bounded time, whatever the bytes."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import numpy as np
import pytest

from netc.compiler.errors import NetcError
from netc.compiler.graph import verify
from netc.compiler.tflite.reading import read_model
from netc.frontend.tflite import graph_of
from tests.damage import copy_parts, flip_bits, truncate

from .small_models import Model, classifier, mixture, unusual

MUTATIONS = 2000
SECONDS = 2.0
"""Longest time for one file."""

Mutation = Callable[[bytearray, random.Random], None]


def change_words(data: bytearray, rng: random.Random) -> None:
    words = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, rng.randrange(1 << 32), rng.randrange(len(data)))
    for _ in range(rng.choice((1, 2, 8))):
        place = rng.randrange(len(data) - 4) // 4 * 4
        data[place : place + 4] = rng.choice(words).to_bytes(4, "little")


MUTATORS: tuple[Mutation, ...] = (truncate, flip_bits, change_words, copy_parts)


def read(data: bytes) -> None:
    graph = graph_of(read_model(data), "hostile")
    verify(graph)


def test_base_models_are_sound() -> None:
    read(classifier())
    read(mixture())
    read(unusual())


@pytest.mark.parametrize("base", [classifier, mixture, unusual], ids=["classifier", "mixture", "unusual"])
def test_mutated_files(base: Callable[[], bytes]) -> None:
    original = base()
    rng = random.Random(20)
    refused = 0
    for _ in range(MUTATIONS // 2):
        data = bytearray(original)
        rng.choice(MUTATORS)(data, rng)
        start = time.process_time()
        try:
            read(bytes(data))
        except NetcError:
            refused += 1
        assert time.process_time() - start < SECONDS
    assert refused > MUTATIONS // 8


def test_overlapping_tables_are_bounded() -> None:
    # The subgraphs are one empty table a hundred thousand times over.
    data = bytearray(classifier())
    root = int.from_bytes(data[:4], "little")
    vtable = root - int.from_bytes(data[root : root + 4], "little", signed=True)
    slot = root + int.from_bytes(data[vtable + 8 : vtable + 10], "little")
    count, vector = 100_000, len(data)
    table = vector + 4 + 4 * count + 4
    data[slot : slot + 4] = (vector - slot).to_bytes(4, "little")
    data += count.to_bytes(4, "little")
    data += b"".join((table - (vector + 4 + 4 * i)).to_bytes(4, "little") for i in range(count))
    data += b"\x04\x00\x04\x00" + b"\x04\x00\x00\x00"
    start = time.process_time()
    with pytest.raises(NetcError, match=r"Model\.subgraphs\[\d+\] .*the tables overlap"):
        read(bytes(data))
    assert time.process_time() - start < SECONDS


WRONG = [
    (b"", "this is not a TFLite model"),
    (b"\x00" * 16, "this is not a TFLite model"),
    (b"\xff\xff\xff\x7fTFL3", "root"),
    (b"\x10\x00\x00\x00TFL3" + b"\x00" * 24, "Model"),
]


@pytest.mark.parametrize(("data", "message"), WRONG)
def test_hopeless_files(data: bytes, message: str) -> None:
    with pytest.raises(NetcError, match=message):
        read(data)


def one_operator() -> Model:
    m = Model()
    x = m.tensor("x", (1, 2), scale=0.5)
    w = m.constant("w", np.ones((3, 2), np.int8), scale=0.5)
    y = m.tensor("y", (1, 3), scale=0.5)
    m.operator("FULLY_CONNECTED", (x, w, -1), (y,), ("FullyConnectedOptions", {}))
    return m


LIES: list[tuple[Callable[[Model], None], str]] = [
    (lambda m: m.tensors[0].update(shape=[1 << 20, 1 << 20]), r"tensors\[0\]\.shape \(Tensor\).*more than"),
    (lambda m: m.tensors[0].update(shape=[1, -2]), r"tensors\[0\]\.shape \(Tensor\): .*below 0"),
    (lambda m: m.tensors[0].update(shape=[1] * 9), r"tensors\[0\]\.shape \(Tensor\): 9 dimensions"),
    (lambda m: m.tensors[1].update(shape=[3, 3]), r"tensors\[1\]\.buffer \(Tensor\): .* takes 9 bytes.* has 6"),
    (lambda m: m.tensors[2].update(shape=[1, 4]), r"operators\[0\] \(FULLY_CONNECTED\): .*declared as"),
    (lambda m: m.tensors[1].update(scales=[0.5, 0.5]), r"quantization\.\w+ \(QuantizationParameters\)"),
    (lambda m: m.tensors[0].update(scales=[float("nan")]), r"quantization\.scale .*positive"),
    (lambda m: m.tensors[0].update(zero=-129), r"quantization\.zero_point .*-129 lies outside i8"),
    (lambda m: m.tensors[1].update(zero=1 << 31), r"quantization\.\w+ .*zero point"),
    (lambda m: m.operators[0].update(inputs=(0, 7, -1)), r"operators\[0\]\.inputs \(Operator\): there is no tensor 7"),
    (lambda m: m.operators[0].update(inputs=(0, -1, -1)), r"FULLY_CONNECTED\): input 1 is missing"),
    (lambda m: m.operators[0].update(inputs=(2, 1, -1)), r"is used before anything gives it a value"),
    (lambda m: m.operators[0].update(outputs=(0,)), r"tensor `x`, has a value already"),
    (lambda m: m.operators[0].update(options=("SoftmaxOptions", {})), r"its options are SoftmaxOptions"),
    (
        lambda m: m.operators[0].update(options=("FullyConnectedOptions", {"FusedActivationFunction": 77})),
        r"fused_activation_function can't be 77",
    ),
]


@pytest.mark.parametrize(("change", "message"), LIES, ids=[m for _, m in LIES])
def test_lies_are_named(change: Callable[[Model], None], message: str) -> None:
    model = one_operator()
    read(model.data((0,), (2,)))
    change(model)
    with pytest.raises(NetcError, match=message) as caught:
        read(model.data((0,), (2,)))
    assert len(caught.value.diagnostics) == 1

"""Batches: the same ones whoever makes them, from any position on, and without the damaged pictures."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from netc.compiler.errors import NetcError
from netc.compiler.graph.ir import Array
from netc.runtime.data.images import Preprocess
from netc.runtime.data.registry import open_source
from netc.runtime.data.source import ArraySource, FileSource
from netc.runtime.evaluation.scoring import score
from netc.runtime.training.augment import parse_augmentation
from netc.runtime.training.batches import ArrayMaker, Batch, BatchStream, FileMaker, Maker
from netc.runtime.training.random import permutation
from netc.runtime.training.samples import Preparation
from netc.runtime.training.workers import WorkerMaker

from .conftest import damage
from .fake import SHAPE, pictures, stream_of

SIZE = (9, 8, 3)
AUGMENTATION = "random_resized_crop, crop(1), flip, color_jitter(0.3, 0.3, 0.3)"


def files(folder: Path) -> FileSource:
    source = open_source(f"imagefolder:{folder}", "train")
    assert isinstance(source, FileSource)
    return source


def preparation(augmentation: str = AUGMENTATION, seed: int = 5) -> Preparation:
    return Preparation(SIZE, Preprocess(*SIZE, mean=(0.5,), std=(0.2,)), parse_augmentation(augmentation), seed)


def copies(batches: Iterator[Batch]) -> list[tuple[int, int, bytes, list[int], tuple[str, ...]]]:
    return [(b.epoch, b.step, b.images.tobytes(), b.labels.tolist(), b.skipped) for b in batches]


# ---- order and position ---------------------------------------------------------------------------------------------


def test_an_epoch_has_every_sample_at_most_once() -> None:
    source = pictures(30)
    stream = stream_of(source, batch=4, augmentation="")
    assert stream.steps_per_epoch == 7
    made = list(stream.batches(0, 0, 1))
    assert [b.step for b in made] == list(range(7))
    order = permutation(30, 0, 0)[:28]
    np.testing.assert_array_equal(np.concatenate([b.labels for b in made]), source.labels[order])
    expected = source.values[order].astype(np.float32) / np.float32(255)
    np.testing.assert_array_equal(np.concatenate([b.images for b in made]), expected)


def test_any_position_can_be_the_first() -> None:
    everything = copies(stream_of(pictures()).batches(0, 0, 3))
    for start in range(0, 21, 4):
        assert copies(stream_of(pictures()).batches(*divmod(start, 7), 3)) == everything[start:]
    assert copies(stream_of(pictures()).batches(0, 7, 2)) == everything[7:14]


def test_epochs_and_seeds_differ() -> None:
    first, second = (copies(stream_of(pictures()).batches(e, 0, e + 1)) for e in (0, 1))
    other = copies(stream_of(pictures(), seed=1).batches(0, 0, 1))
    assert [b[2] for b in first] != [b[2] for b in second]
    assert first != other


def test_a_batch_must_fit() -> None:
    with pytest.raises(NetcError, match="has 3 samples, fewer than a batch of 4"):
        stream_of(pictures(3), batch=4)


def test_normalisation_is_that_of_the_net() -> None:
    source = ArraySource("x", 3, np.zeros(8, np.int32), np.random.default_rng(0).integers(0, 256, (8, *SIZE), np.uint8))
    preprocess = Preprocess(*SIZE, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.1))
    maker = ArrayMaker(source, Preparation(SIZE, preprocess))
    (batch,) = BatchStream(8, 8, maker).batches(0, 0, 1)
    expected = preprocess.normalize(source.values[permutation(8, 0, 0)])
    np.testing.assert_allclose(batch.images, expected, atol=2e-6)


def test_arrays_are_brought_to_size() -> None:
    source = ArraySource("x", 3, np.zeros(4, np.int32), np.full((4, 20, 30, 1), 50, np.uint8))
    for augmentation in ("", "random_resized_crop"):
        maker = ArrayMaker(source, Preparation(SIZE, Preprocess(*SIZE), parse_augmentation(augmentation)))
        (batch,) = BatchStream(4, 4, maker).batches(0, 0, 1)
        np.testing.assert_allclose(batch.images, np.full((4, *SIZE), 50 / 255), atol=1e-6)


# ---- workers --------------------------------------------------------------------------------------------------------


@pytest.fixture
def workers() -> Iterator[Callable[[FileSource, int], WorkerMaker]]:
    makers: list[WorkerMaker] = []

    def make(source: FileSource, count: int) -> WorkerMaker:
        makers.append(WorkerMaker(source, preparation(), 4, count))
        return makers[-1]

    yield make
    for maker in makers:
        maker.close()


MakeWorkers = Callable[[FileSource, int], WorkerMaker]


def test_workers_make_the_same_batches(image_folder: Path, workers: MakeWorkers) -> None:
    source = files(image_folder)
    damage(Path(source.keys[5]))
    alone = copies(BatchStream(12, 4, FileMaker(source, preparation()), 5).batches(0, 1, 4))
    assert any(b[4] for b in alone)
    for count in (1, 3):
        maker = workers(source, count)
        assert copies(BatchStream(12, 4, maker, 5).batches(0, 1, 4)) == alone
        assert copies(BatchStream(12, 4, maker, 5).batches(0, 1, 4)) == alone, "a maker can be used again"


def test_a_stream_that_is_left_early_leaves_nothing_behind(image_folder: Path, workers: MakeWorkers) -> None:
    maker = workers(files(image_folder), 2)
    with BatchStream(12, 4, maker, 5) as stream:
        batches = stream.batches(0, 0, 100)
        first = next(batches).images.tobytes()
        batches.close()  # type: ignore[attr-defined]
        assert next(stream.batches(0, 0, 1)).images.tobytes() == first
        processes = maker.processes
        assert len(processes) == 2
    assert not any(map(is_alive, processes))
    assert maker.processes == ()


def test_a_dead_worker_is_reported(image_folder: Path, workers: MakeWorkers) -> None:
    maker = workers(files(image_folder), 2)
    batches = BatchStream(12, 4, maker, 5).batches(0, 0, 1000)
    next(batches)
    victim = maker.processes[1]
    os.kill(victim, signal.SIGKILL)
    with pytest.raises(NetcError, match=rf"data worker {victim} died \(killed by SIGKILL\)"):
        for _ in batches:
            pass


def test_workers_leave_interrupts_to_their_parent(image_folder: Path, workers: MakeWorkers) -> None:
    maker = workers(files(image_folder), 1)
    batches = BatchStream(12, 4, maker, 5).batches(0, 0, 5)
    next(batches)
    assert os.getpgid(maker.processes[0]) != os.getpgrp()  # `timeout` and others end the whole group of their child
    os.kill(maker.processes[0], signal.SIGINT)
    assert len(list(batches)) == 14


def test_workers_work_ahead(image_folder: Path, workers: MakeWorkers) -> None:
    batches = BatchStream(12, 4, workers(files(image_folder), 1), 5).batches(0, 0, 2)
    next(batches)
    time.sleep(0.3)
    start = time.perf_counter()
    next(batches)
    assert time.perf_counter() - start < 0.1


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


# ---- damaged pictures -----------------------------------------------------------------------------------------------


def test_a_damaged_picture_is_replaced_and_named(image_folder: Path) -> None:
    source = files(image_folder)
    damage(Path(source.keys[5]))
    made = list(BatchStream(12, 4, FileMaker(source, preparation()), 5).batches(0, 0, 1))
    (message,) = [m for b in made for m in b.skipped]
    assert source.keys[5] in message
    assert all(np.isfinite(b.images).all() and (b.labels >= 0).all() for b in made)
    order = permutation(12, 5, 0)
    place = int(np.flatnonzero(order == 5)[0])
    expected = source.labels[order]
    expected[place] = source.labels[order[(place + 4) % 12]]
    np.testing.assert_array_equal(np.concatenate([b.labels for b in made]), expected)


def test_too_many_damaged_pictures_stop(image_folder: Path) -> None:
    source = files(image_folder)
    for key in source.keys:
        damage(Path(key))
    with pytest.raises(NetcError, match="too many pictures") as caught:
        list(BatchStream(12, 4, FileMaker(source, preparation()), 5).batches(0, 0, 1))
    assert ".png" in str(caught.value)


# ---- scoring --------------------------------------------------------------------------------------------------------


def brightest(x: Array) -> NDArray[np.float32]:
    """A "net" that looks at three pixels."""
    return x.reshape(len(x), -1)[:, :3]


@pytest.mark.parametrize("batch", [1, 4, 7, 50])
def test_scores_do_not_depend_on_the_batch(batch: int) -> None:
    source = pictures(30)
    prepared = Preparation(SHAPE, Preprocess(*SHAPE))
    expected = int((source.values.reshape(30, -1)[:, :3].argmax(axis=1) == source.labels).sum())
    seen: list[int] = []
    result = score(brightest, source, ArrayMaker(source, prepared), batch, seen.append)
    assert (result.samples, result.top1_correct, result.top5_correct) == (30, expected, 30)
    assert seen[-1] == 30


def test_one_column_decides_between_two_classes() -> None:
    values = np.array([[2.0, 0], [-1, 0], [3, 0]], np.float32)
    source = ArraySource("two", 2, np.array([1, 0, 0], np.int32), values)
    result = score(lambda x: x[:, :1], source, ArrayMaker(source, Preparation((2,))), 2)
    assert result.top1_correct == 2


def test_damaged_pictures_do_not_count(image_folder: Path) -> None:
    source = files(image_folder)
    damage(Path(source.keys[0]))
    maker: Maker = FileMaker(source, preparation(""))
    result = score(lambda x: np.tile(np.float32([1, 0, 0]), (len(x), 1)), source, maker, 5)
    assert (result.samples, result.top1_correct) == (11, 3)
    (reason,) = result.skipped
    assert source.keys[0] in reason


def test_workers_stay_for_the_next_evaluation(image_folder: Path, workers: MakeWorkers) -> None:
    source = files(image_folder)
    maker = workers(source, 2)
    first = score(brightest, source, maker, 4)
    started = maker.processes
    assert score(brightest, source, maker, 4) == first
    assert maker.processes == started

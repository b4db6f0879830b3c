"""Masks go where their pictures go."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netc.runtime.data.images import Preprocess
from netc.runtime.data.registry import open_source
from netc.runtime.data.source import ArraySource, FileSource
from netc.runtime.data.targets import Targets
from netc.runtime.training.augment import parse_augmentation
from netc.runtime.training.batches import ArrayMaker, Batch, BatchStream, FileMaker, evaluation_plans
from netc.runtime.training.samples import Preparation
from netc.runtime.training.workers import WorkerMaker

SIZE = (12, 10)
TARGETS = Targets("classes", SIZE, classes=200, grid=True, ignored=255)


def preparation(augmentation: str, targets: Targets = TARGETS) -> Preparation:
    return Preparation((*SIZE, 1), Preprocess(*SIZE, 1, divide=1), parse_augmentation(augmentation), 3, targets=targets)


def arrays(height: int = 12, width: int = 10) -> ArraySource:
    """Pictures that show the numbers of their masks."""
    masks = np.random.default_rng(0).integers(1, 150, (6, height, width)).astype(np.int32)
    return ArraySource("x", None, masks, masks[..., np.newaxis].astype(np.uint8))


@pytest.mark.parametrize("augmentation", ["", "flip", "crop(3)", "crop(2, mode=reflect)", "crop(3, until=1), flip"])
def test_pictures_in_memory(augmentation: str) -> None:
    source = arrays()
    for batch in BatchStream(6, 3, ArrayMaker(source, preparation(augmentation)), 5).batches(0, 0, 3):
        outside = batch.labels == 255
        np.testing.assert_array_equal(np.where(outside, 0, batch.labels), batch.images[..., 0])
        assert batch.labels.dtype == np.int32
        assert outside.any() == (augmentation.startswith("crop(3") and not (batch.epoch and "until" in augmentation))


@pytest.mark.parametrize("augmentation", ["", "random_resized_crop(scale = [0.3, 1])"])
def test_masks_are_resized_without_new_numbers(augmentation: str) -> None:
    """Halves of two classes: the border of picture and mask lies at the same place, within rounding."""
    masks = np.ones((6, 40, 40), np.int32)
    masks[:, :, 20:] = 101
    masks[:, 20:] += 20
    source = ArraySource("x", None, masks, masks[..., np.newaxis].astype(np.uint8))
    for batch in BatchStream(6, 3, ArrayMaker(source, preparation(augmentation)), 5).batches(0, 0, 3):
        assert set(np.unique(batch.labels)) <= {1, 21, 101, 121}
        assert (np.abs(batch.labels - batch.images[..., 0]) < 50).mean() > 0.95


def test_colours_do_not_move() -> None:
    source = arrays()
    (batch,) = BatchStream(6, 6, ArrayMaker(source, preparation("color_jitter(0.5)")), 5).batches(0, 0, 1)
    assert sorted(batch.labels.ravel().tolist()) == sorted(source.labels.ravel().tolist())
    assert (batch.labels != batch.images[..., 0]).any()


def test_a_net_may_give_fewer_pixels() -> None:
    small = Targets("classes", (6, 5), classes=200, grid=True, ignored=255)
    source = arrays()
    (batch,) = BatchStream(6, 6, ArrayMaker(source, preparation("", small)), 5).batches(0, 0, 1)
    np.testing.assert_array_equal(batch.labels, batch.images[:, 1::2, 1::2, 0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for i in range(12):
        for part in ("images", "masks"):
            (tmp_path / "train" / part).mkdir(parents=True, exist_ok=True)
        numbers = Image.fromarray(random.integers(0, 150, (20, 16)).astype(np.uint8))
        for part in ("images", "masks"):
            numbers.save(tmp_path / "train" / part / f"{i:02d}.png")
    (tmp_path / "train/images/03.png").write_bytes(b"no picture")
    (tmp_path / "train/masks/05.png").write_bytes(b"no mask")
    Image.new("L", (16, 19)).save(tmp_path / "train/masks/07.png")
    Image.new("L", (16, 20), 222).save(tmp_path / "train/masks/08.png")
    return tmp_path


def opened(folder: Path) -> FileSource:
    source = open_source(f"maskfolder:{folder}", "train")
    assert isinstance(source, FileSource)
    return source


def copies(batches: Iterator[Batch]) -> list[tuple[bytes, bytes, tuple[str, ...]]]:
    return [(b.images.tobytes(), b.labels.tobytes(), b.skipped) for b in batches]


def test_workers_make_what_one_process_makes(folder: Path) -> None:
    source, prepared = opened(folder), preparation("random_resized_crop, crop(1), flip")
    alone = copies(BatchStream(12, 4, FileMaker(source, prepared), 5).batches(0, 0, 2))
    maker = WorkerMaker(source, prepared, 4, 2)
    with BatchStream(12, 4, maker, 5) as stream:
        assert copies(stream.batches(0, 0, 2)) == alone
    reasons = sorted({reason for _, _, skipped in alone for reason in skipped})
    assert len(reasons) == 4
    assert "masks/07.png has 16 x 19 pixels, but its picture 16 x 20" in "".join(reasons)
    assert "masks/08.png has class 222, but the net has 200 classes" in "".join(reasons)


def test_what_cannot_be_read_does_not_count_in_the_test(folder: Path) -> None:
    made = list(FileMaker(opened(folder), preparation("")).make(evaluation_plans(12, 5)))
    usable = np.concatenate([batch.usable for batch in made])
    assert np.flatnonzero(~usable).tolist() == [3, 5, 7, 8]
    assert [len(batch.skipped) for batch in made] == [1, 3, 0]

"""Augmentation: what each transform may do to a picture, and that it depends on seed, epoch and sample alone."""

from itertools import pairwise

import numpy as np
import pytest

from netc.compiler.errors import NetcError
from netc.runtime.data.images import Pixels
from netc.runtime.training.augment import parse_augmentation
from netc.runtime.training.random import SampleRandom, permutation


def random_pictures(count: int = 64, size: int = 8, channels: int = 3) -> Pixels:
    return np.random.default_rng(1).integers(0, 256, (count, size, size, channels), np.uint8)


def apply(text: str, pixels: Pixels, seed: int = 0, epoch: int = 0, first: int = 0) -> Pixels:
    values = pixels.copy()
    random = SampleRandom(seed, epoch, np.arange(first, first + len(pixels)))
    for transform in parse_augmentation(text).transforms:
        values = transform(values, random)
    return values


ALL = "crop(2), flip, flip(alternate=true), color_jitter(0.4, 0.4, 0.4)"


def test_a_batch_is_the_same_row_by_row() -> None:
    pixels = random_pictures()
    whole = apply(ALL, pixels)
    rows = [apply(ALL, pixels[i : i + 1], first=i)[0] for i in range(len(pixels))]
    np.testing.assert_array_equal(whole, rows)


@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}, {"first": 64}])
def test_seed_epoch_and_sample_matter(change: dict[str, int]) -> None:
    assert (apply("crop(2)", random_pictures(), **change) != apply("crop(2)", random_pictures())).any()


def test_crop_moves_the_picture_and_fills_with_black() -> None:
    pixels = random_pictures(200)
    seen = set()
    for before, after in zip(pixels, apply("crop(2)", pixels), strict=True):
        padded = np.pad(before, ((2, 2), (2, 2), (0, 0)))
        places = [(y, x) for y in range(5) for x in range(5) if (padded[y : y + 8, x : x + 8] == after).all()]
        assert places, "the result is no window of the padded picture"
        seen.update(places)
    assert len(seen) == 25


def test_crop_can_reflect() -> None:
    pixels = random_pictures(50)
    padded = np.pad(pixels, ((0, 0), (2, 2), (2, 2), (0, 0)), "reflect")
    for before, after in zip(padded, apply("crop(2, reflect)", pixels), strict=True):
        assert any((before[y : y + 8, x : x + 8] == after).all() for y in range(5) for x in range(5))


def test_flip_mirrors_about_half() -> None:
    pixels = random_pictures(400)
    after = apply("flip", pixels)
    same = (after == pixels).all(axis=(1, 2, 3))
    mirrored = (after == pixels[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (same | mirrored).all()
    assert 150 < same.sum() < 250
    np.testing.assert_array_equal(apply("flip(1)", pixels), pixels[:, :, ::-1])
    np.testing.assert_array_equal(apply("flip(0)", pixels), pixels)


def test_alternating_flip_shows_both_sides_in_any_two_epochs() -> None:
    pixels = random_pictures(400)
    epochs = [apply("flip(alternate=true)", pixels, epoch=epoch) for epoch in range(4)]
    np.testing.assert_array_equal(epochs[0], apply("flip", pixels))
    for before, after in pairwise(epochs):
        np.testing.assert_array_equal(after, before[:, :, ::-1])
    assert (epochs[0] != apply("flip(alternate=true)", pixels, seed=1)).any()


def test_a_transform_can_end() -> None:
    pixels = random_pictures()
    for epoch in (0, 2):
        np.testing.assert_array_equal(
            apply("crop(2, until=3), flip", pixels, epoch=epoch), apply("crop(2), flip", pixels, epoch=epoch)
        )
    np.testing.assert_array_equal(
        apply("crop(2, until=3), flip", pixels, epoch=3), apply("flip", pixels, epoch=3), strict=True
    )


def test_color_jitter_of_nothing_changes_nothing() -> None:
    np.testing.assert_array_equal(apply("color_jitter(0, 0, 0)", random_pictures()), random_pictures())


def test_brightness_scales() -> None:
    grey = np.full((100, 4, 4, 3), 100, np.uint8)
    after = apply("color_jitter(brightness=0.5)", grey)
    assert (after == after[:, :1, :1, :1]).all()
    assert after.min() >= 50
    assert after.max() <= 150
    assert after[:, 0, 0, 0].std() > 20


def test_contrast_keeps_the_mean_and_saturation_keeps_grey() -> None:
    pixels = random_pictures(20, channels=1) // 2 + 64
    after = apply("color_jitter(contrast=0.3)", pixels)
    np.testing.assert_allclose(after.mean(axis=(1, 2, 3)), pixels.mean(axis=(1, 2, 3)), atol=1)
    grey = np.repeat(pixels, 3, axis=3)
    np.testing.assert_array_equal(apply("color_jitter(saturation=0.9)", grey), grey)


def test_random_resized_crop_stays_inside() -> None:
    part = parse_augmentation("random_resized_crop(scale=[0.2, 0.6])").part
    assert part is not None
    shares = []
    for sample in range(200):
        top, left, rows, columns = part._box(60, 80, SampleRandom(0, 0, np.array([sample])))
        assert 0 <= top <= 60 - rows
        assert 0 <= left <= 80 - columns
        assert 0.7 < columns / rows < 1.4
        shares.append(rows * columns / 4800)
    assert 0.19 < min(shares) < 0.25
    assert 0.55 < max(shares) < 0.62


@pytest.mark.parametrize("shape", [(1, 200), (200, 1), (1, 1), (50, 40)])
def test_random_resized_crop_takes_any_shape(shape: tuple[int, int]) -> None:
    part = parse_augmentation("random_resized_crop").part
    assert part is not None
    picture = np.full((*shape, 3), 7, np.uint8)
    for sample in range(5):
        cut = part.cut(picture, 8, 6, SampleRandom(0, 0, np.array([sample])))
        assert cut.shape == (8, 6, 3)
        assert (cut == 7).all()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flop", "did you mean flip"),
        ("normalize", "preprocess"),
        ("crop(0)", "not less than 1"),
        ("crop(1.5)", "whole number"),
        ("crop(1, mirror)", "zero or reflect"),
        ("flip(2)", "from 0 to 1"),
        ("flip(alternate=1)", "true or false"),
        ("flip(0.3, alternate=true)", "no probability"),
        ("color_jitter(-1)", "not less than 0"),
        ("flip(until=0)", "not less than 1"),
        ("random_resized_crop(until=3)", "can't end"),
        ("flip, random_resized_crop", "first"),
        ("random_resized_crop, random_resized_crop", "once"),
        ("random_resized_crop(scale=[1, 2, 3])", "two shares"),
    ],
)
def test_refuses(text: str, message: str) -> None:
    with pytest.raises(NetcError, match=message):
        parse_augmentation(text)


def test_uniform_numbers_are_uniform() -> None:
    random = SampleRandom(3, 1, np.arange(100_000))
    numbers = random.uniform("test")
    counts, _ = np.histogram(numbers, bins=20, range=(0, 1))
    assert ((counts > 4700) & (counts < 5300)).all()
    assert abs(np.corrcoef(numbers, random.uniform("other"))[0, 1]) < 0.01
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.01
    assert set(np.unique(random.below("test", 5))) == set(range(5))


def test_permutations_are_complete_and_differ() -> None:
    orders = [permutation(1000, seed, epoch) for seed in range(3) for epoch in range(3)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    assert len({order.tobytes() for order in orders}) == 9


def test_the_order_never_changes() -> None:
    """A run that was begun with an older version must find the same order."""
    assert permutation(10, 0, 0).tolist() == [9, 7, 8, 5, 6, 0, 2, 1, 3, 4]
    assert permutation(10, 1, 2).tolist() == [1, 6, 4, 2, 0, 7, 3, 8, 9, 5]

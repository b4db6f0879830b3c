"""roi_align, non_max_suppression, boxes and anchors against their definitions, written out plainly."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc
from netc.compiler.errors import NetcError
from netc.compiler.graph.interpreter import evaluate

RNG = np.random.default_rng(8)


def load(tmp_path: Path, text: str) -> Any:
    file = tmp_path / "detected.net"
    file.write_text(f"net detected{text}\n")
    return netc.load(file)


def random_boxes(count: int, size: float) -> Any:
    corners = RNG.uniform(0, size, (count, 2, 2)).astype(np.float32)
    return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)


# ---- roi_align ------------------------------------------------------------------------------------------------------


def bilinear(image: Any, y: float, x: float) -> Any:
    """torchvision's bilinear_interpolate."""
    height, width, channels = image.shape
    if y < -1 or y > height or x < -1 or x > width:
        return np.zeros(channels)
    y, x = max(y, 0.0), max(x, 0.0)
    top, left = int(y), int(x)
    if top >= height - 1:
        top = bottom = height - 1
        y = float(top)
    else:
        bottom = top + 1
    if left >= width - 1:
        left = right = width - 1
        x = float(left)
    else:
        right = left + 1
    u, v = y - top, x - left
    upper = image[top, left] * (1 - v) + image[top, right] * v
    return upper * (1 - u) + (image[bottom, left] * (1 - v) + image[bottom, right] * v) * u


def aligned_cells(
    x: Any, boxes: Any, batch: Any, size: tuple[int, int], scale: float, ratio: int, aligned: bool
) -> Any:
    """torchvision's roi_align, sample by sample."""
    y = np.zeros((len(boxes), *size, x.shape[-1]))
    for k, box in enumerate(boxes):
        x1, y1, x2, y2 = (float(c) * scale - (0.5 if aligned else 0) for c in box)
        height, width = y2 - y1, x2 - x1
        if not aligned:
            height, width = max(height, 1), max(width, 1)
        bin_h, bin_w = height / size[0], width / size[1]
        gh, gw = (ratio, ratio) if ratio > 0 else (math.ceil(bin_h), math.ceil(bin_w))
        for i, j in np.ndindex(*size):
            for a, b in np.ndindex(gh, gw):
                place = y1 + i * bin_h + (a + 0.5) * bin_h / gh, x1 + j * bin_w + (b + 0.5) * bin_w / gw
                y[k, i, j] += bilinear(x[batch[k]], *place) / max(gh * gw, 1)
    return y


@pytest.mark.parametrize("ratio", [2, -1])
@pytest.mark.parametrize("aligned", [False, True])
def test_roi_align(ratio: int, aligned: bool, tmp_path: Path) -> None:
    x = RNG.standard_normal((2, 9, 11, 5), np.float32)
    boxes = random_boxes(6, 24) - 2
    boxes[0] = [3, 3, 3.1, 3.1]
    batch = np.array([0, 1, 1, 0, 1, 0], np.int32)
    rules = f"spatial_scale = 0.5, sampling_ratio = {ratio}, aligned = {str(aligned).lower()}"
    call = f"roi_align(x, boxes, at, [3, 2], {rules})"
    graph = load(tmp_path, f"(x: f32[2, 9, 11, 5], boxes: f32[6, 4], at: i32[6]) {{ return {call} }}")
    expected = aligned_cells(x, boxes, batch, (3, 2), 0.5, ratio, aligned)
    np.testing.assert_allclose(evaluate(graph, [x, boxes, batch])[0], expected, atol=2e-5)
    np.testing.assert_allclose(netc.compile(graph)(x, boxes, batch), expected, atol=2e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_no_box_takes_forever(bad: float, tmp_path: Path) -> None:
    text = "(x: f32[1, 4, 4, 1], boxes: f32[1, 4], at: i32[1]) { return roi_align(x, boxes, at, 2) }"
    arrays = [np.ones((1, 4, 4, 1), np.float32), np.array([[0, 0, bad, 4]], np.float32), np.zeros(1, np.int32)]
    graph = load(tmp_path, text)
    with np.errstate(all="ignore"):
        expected = evaluate(graph, arrays)[0]
    np.testing.assert_allclose(netc.compile(graph)(*arrays), expected, atol=1e-6)


# ---- suppression ----------------------------------------------------------------------------------------------------


def iou(a: Any, b: Any) -> Any:
    width = max(min(a[2], b[2]) - max(a[0], b[0]), np.float32(0))
    height = max(min(a[3], b[3]) - max(a[1], b[1]), np.float32(0))
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def suppressed(boxes: Any, scores: Any, threshold: float, count: int) -> list[int]:
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if all(not iou(boxes[j], boxes[i]) > threshold for j in kept):
            kept.append(i)
    return (kept + [-1] * count)[:count]


def test_non_max_suppression(tmp_path: Path) -> None:
    boxes, scores = random_boxes(200, 30), RNG.integers(0, 60, 200).astype(np.float32)
    call = "non_max_suppression(boxes, scores, count = 120, iou_threshold = 0.3)"
    graph = load(tmp_path, f"(boxes: f32[200, 4], scores: f32[200]) {{ return {call} }}")
    expected = suppressed(boxes, scores, np.float32(0.3), 120)
    assert -1 in expected
    assert evaluate(graph, [boxes, scores])[0].tolist() == expected
    assert netc.compile(graph)(boxes, scores).tolist() == expected


def test_classes_are_kept_apart(tmp_path: Path) -> None:
    boxes, scores = random_boxes(60, 20), RNG.permutation(60).astype(np.float32)
    classes = RNG.integers(0, 3, 60).astype(np.int32)
    call = "batched_nms(boxes, scores, classes, 60, iou_threshold = 0.4)"
    graph = load(tmp_path, f"(boxes: f32[60, 4], scores: f32[60], classes: i32[60]) {{ return {call} }}")
    kept = []
    for c in range(3):
        (members,) = np.nonzero(classes == c)
        found = suppressed(boxes[members], scores[members], np.float32(0.4), len(members))
        kept += [int(members[i]) for i in found if i >= 0]
    expected = sorted(kept, key=lambda i: -scores[i])
    assert [i for i in netc.compile(graph)(boxes, scores, classes).tolist() if i >= 0] == expected


def test_special_scores_and_boxes(tmp_path: Path) -> None:
    boxes = np.array([[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, np.inf, 1], [0, 0, 1, np.nan]], np.float32)
    scores = np.array([np.nan, np.inf, -np.inf, 1, 2], np.float32)
    graph = load(tmp_path, "(b: f32[5, 4], s: f32[5]) { return non_max_suppression(b, s, count = 5) }")
    with np.errstate(all="ignore"):
        expected = evaluate(graph, [boxes, scores])[0].tolist()
    assert expected == [1, 4, 3, -1, -1]
    assert netc.compile(graph)(boxes, scores).tolist() == expected


# ---- boxes ----------------------------------------------------------------------------------------------------------


def test_formulas_of_boxes(tmp_path: Path) -> None:
    boxes, others = random_boxes(5, 9), random_boxes(3, 9)
    graph = load(tmp_path, "(a: f32[5, 4], b: f32[3, 4]) { return box_iou(a, b), clip_boxes(a - 2, 5, 3) }")
    overlap, clipped = evaluate(graph, [boxes, others])
    np.testing.assert_allclose(overlap, [[iou(a, b) for b in others] for a in boxes], atol=1e-6)
    np.testing.assert_array_equal(clipped, np.clip(boxes - 2, 0, [3, 5, 3, 5]))


def test_boxes_are_decoded_as_they_are_encoded(tmp_path: Path) -> None:
    anchors, boxes = (random_boxes(7, 9) + np.array([0, 0, 1, 1]) for _ in range(2))
    given = "(d: f32[2, 7, 4], b: f32[7, 4], a: f32[7, 4])"
    text = f"{given} {{ return decode_boxes(d, a), decode_boxes(encode_boxes(b, a), a) }}"
    deltas = RNG.standard_normal((2, 7, 4), np.float32) * 3
    deltas[0, 0, 2] = 1000
    decoded, same = evaluate(load(tmp_path, text), [deltas, *(x.astype(np.float32) for x in (boxes, anchors))])
    np.testing.assert_allclose(same, boxes, atol=1e-5)
    dx, dy, dw, dh = np.moveaxis(deltas / [10, 10, 5, 5], -1, 0)
    w, h = anchors[:, 2] - anchors[:, 0], anchors[:, 3] - anchors[:, 1]
    x, y = dx * w + anchors[:, 0] + w / 2, dy * h + anchors[:, 1] + h / 2
    w, h = (np.exp(np.minimum(d, math.log(1000 / 16))) * s / 2 for d, s in ((dw, w), (dh, h)))
    np.testing.assert_allclose(decoded, np.stack([x - w, y - h, x + w, y + h], axis=-1), rtol=1e-5, atol=1e-5)


def test_anchors_of_ssd300(tmp_path: Path) -> None:
    call = (
        "default_boxes(maps = [[38, 38], [19, 19], [10, 10], [5, 5], [3, 3], [1, 1]], "
        "ratios = [[2], [2, 3], [2, 3], [2, 3], [2], [2]], image = [300, 300], "
        "scales = [0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05], steps = [8, 16, 32, 64, 100, 300])"
    )
    (found,) = evaluate(load(tmp_path, f"(x: f32[1]) {{ return {call} + 0 * x }}"), [np.zeros(1, np.float32)])
    assert found.shape == (8732, 4)
    np.testing.assert_allclose(found[0], [4 - 10.5, 4 - 10.5, 4 + 10.5, 4 + 10.5], atol=1e-4)
    side = 300 * math.sqrt(0.07 * 0.15) / 2
    np.testing.assert_allclose(found[1], [4 - side, 4 - side, 4 + side, 4 + side], atol=1e-4)
    half = 10.5 * math.sqrt(2), 10.5 / math.sqrt(2)
    np.testing.assert_allclose(found[2], [4 - half[0], 4 - half[1], 4 + half[0], 4 + half[1]], atol=1e-4)
    np.testing.assert_allclose(found[3], [4 - half[1], 4 - half[0], 4 + half[1], 4 + half[0]], atol=1e-4)
    np.testing.assert_allclose(found[4][:2], [12 - 10.5, 4 - 10.5], atol=1e-4)
    np.testing.assert_allclose(found[-2][[0, 2]], [0, 300], atol=1e-4)  # sizes are cut off at 1


def test_anchors_of_a_pyramid(tmp_path: Path) -> None:
    rules = "sizes = [[32], [64, 100]], ratios = [[0.5, 1, 2], [1]], image = [16, 24]"
    call = f"anchor_boxes(maps = [[2, 3], [1, 1]], {rules})"
    (found,) = evaluate(load(tmp_path, f"(x: f32[1]) {{ return {call} + 0 * x }}"), [np.zeros(1, np.float32)])
    assert found.shape == (2 * 3 * 3 + 2, 4)
    assert found[:4].tolist() == [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23], [-15, -11, 31, 11]]
    assert found[-2:].tolist() == [[-32, -32, 32, 32], [-50, -50, 50, 50]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(b: f32[3, 5], s: f32[3]) { return non_max_suppression(b, s, count = 2) }", "takes boxes"),
        ("(b: f32[200000, 4]) { return non_max_suppression(b, b |> reduce_sum(axes = [1]), 2) }", "at most 100000"),
        ("(b: f32[3, 4]) { return decode_boxes(b, b, weights = [1, 1]) }", "four weights"),
        ("(x: f32[1]) { return anchor_boxes([[1, 1]], [[8], [9]], [[1]], [8, 8]) }", "the same levels"),
        ("(x: f32[1]) { return default_boxes([[1, 1]], [[2]], [8, 8], scales = [1]) }", "one scale more"),
        ("(x: f32[2, 4, 4, 1], b: f32[3, 4], i: i32[2]) { return roi_align(x, b, i, 7) }", "takes pictures"),
    ],
)
def test_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(NetcError, match=message):
        load(tmp_path, text)

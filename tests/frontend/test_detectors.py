"""What detectors make of their heads' results, against the definitions in torchvision, written out in NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import netc

RNG = np.random.default_rng(11)
SETTINGS = "{candidates: 30, least: 0.02, overlap: 0.4, count: 25}"


def program(tmp_path: Path, family: str, text: str) -> Any:
    path = tmp_path / "detected.net"
    path.write_text(f'import "{family}.net"\n{text}\n')
    return netc.compile(path, net="detected", threads=1)


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def decode(deltas: Any, anchors: Any, weights: tuple[float, ...]) -> Any:
    size, middle = anchors[..., 2:] - anchors[..., :2], (anchors[..., 2:] + anchors[..., :2]) / 2
    centre = deltas[..., :2] / np.array(weights[:2]) * size + middle
    half = np.exp(np.minimum(deltas[..., 2:] / np.array(weights[2:]), np.log(1000 / 16))) * size / 2
    return np.concatenate([centre - half, centre + half], axis=-1)


def clip(boxes: Any, height: float, width: float) -> Any:
    return np.clip(boxes, 0, [width, height, width, height])


def overlap(a: Any, b: Any) -> float:
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    shared = max(sides[0], 0) * max(sides[1], 0)
    return float(shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared))


def chosen(boxes: Any, scores: Any, classes: Any, count: int, limit: float, least: float) -> Any:
    """Greedy suppression within each class, and the best of what is left."""
    kept: list[int] = []
    for k in np.argsort(-scores, kind="stable"):
        if scores[k] > least and all(classes[j] != classes[k] or overlap(boxes[j], boxes[k]) <= limit for j in kept):
            kept.append(int(k))
    kept = kept[:count]
    return boxes[kept], scores[kept], classes[kept]


def joined(candidates: list[tuple[Any, Any, Any]]) -> tuple[Any, Any, Any]:
    """Boxes, scores and classes, each as one array."""
    boxes, scores, classes = (np.concatenate(parts) for parts in zip(*candidates, strict=True))
    return boxes, scores, classes


def compare(found: Any, boxes: Any, scores: Any, classes: Any) -> None:
    count = len(scores)
    assert 3 < count < len(np.asarray(found["scores"]))  # some places stay empty
    np.testing.assert_array_equal(found["classes"][:count], classes)
    assert set(found["classes"][count:]) == {-1}
    np.testing.assert_allclose(found["scores"][:count], scores, rtol=1e-5)
    np.testing.assert_allclose(found["boxes"][:count], boxes, atol=1e-3)
    assert not np.any(found["scores"][count:])
    assert not np.any(found["boxes"][count:])


def random_anchors(count: int, size: float) -> Any:
    corner = RNG.uniform(0, size * 0.7, (count, 2))
    return np.concatenate([corner, corner + RNG.uniform(size * 0.1, size * 0.5, (count, 2))], axis=1).astype(np.float32)


def test_ssd(tmp_path: Path) -> None:
    text = f"""net detected(deltas: f32[60, 4], logits: f32[60, 5], anchors: f32[60, 4]) {{
      return detections(deltas, logits, anchors, 100, {SETTINGS.replace("count: 25", "count: 120")})
    }}"""
    deltas, anchors = RNG.standard_normal((60, 4), np.float32), random_anchors(60, 100)
    logits = 2 * RNG.standard_normal((60, 5), np.float32)
    boxes, scores = clip(decode(deltas, anchors, (10, 10, 5, 5)), 100, 100), softmax(logits)
    candidates = []
    for c in range(1, 5):
        best = np.argsort(-scores[:, c], kind="stable")[:30]
        candidates.append((boxes[best], scores[best, c], np.full(30, c)))
    expected = chosen(*joined(candidates), 120, 0.4, 0.02)
    compare(program(tmp_path, "ssd", text)(deltas, logits, anchors), *expected)


def test_retinanet(tmp_path: Path) -> None:
    text = f"""net detected(d: f32[300, 4], l: f32[300, 3], e: f32[9, 4], m: f32[9, 3], anchors: f32[309, 4]) {{
      return detections([d, e], [l, m], anchors, [80, 100], {SETTINGS.replace("count: 25", "count: 50")})
    }}"""
    sizes = (300, 9)
    deltas = [RNG.standard_normal((n, 4), np.float32) * np.float32(0.2) for n in sizes]
    logits = [2 * RNG.standard_normal((n, 3), np.float32) - 2 for n in sizes]
    anchors = random_anchors(309, 80)
    candidates, start = [], 0
    for d, x in zip(deltas, logits, strict=True):
        scores = (1 / (1 + np.exp(-x))).reshape(-1)
        best = np.argsort(-scores, kind="stable")[:30]
        boxes = clip(decode(d[best // 3], anchors[start + best // 3], (1, 1, 1, 1)), 80, 100)
        candidates.append((boxes, scores[best], best % 3))
        start += len(d)
    expected = chosen(*joined(candidates), 50, 0.4, 0.02)
    found = program(tmp_path, "retinanet", text)(deltas[0], logits[0], deltas[1], logits[1], anchors)
    compare(found, *expected)


def test_mask_rcnn(tmp_path: Path) -> None:
    text = f"""net detected(deltas: f32[30, 20], logits: f32[30, 5], proposed: f32[30, 4]) {{
      return detections(logits, deltas, proposed, [90, 100], {SETTINGS.replace("count: 25", "count: 100")})
    }}"""
    deltas, proposed = RNG.standard_normal((30, 20), np.float32), random_anchors(30, 90)
    proposed[7] = 0  # an empty place among the proposals
    logits = 2 * RNG.standard_normal((30, 5), np.float32)
    boxes = clip(decode(deltas.reshape(30, 5, 4), proposed[:, np.newaxis], (10, 10, 5, 5)), 90, 100)[:, 1:]
    scores, classes = softmax(logits)[:, 1:], np.broadcast_to(np.arange(1, 5), (30, 4))
    large = np.all(boxes[..., 2:] - boxes[..., :2] >= 0.01, axis=-1)
    assert not large[7].any()
    expected = chosen(boxes[large], scores[large], classes[large], 100, 0.4, 0.02)
    compare(program(tmp_path, "mask_rcnn", text)(deltas, logits, proposed), *expected)


def test_proposals(tmp_path: Path) -> None:
    text = """net detected(l: f32[40, 1], d: f32[40, 4], m: f32[6, 1], e: f32[6, 4], anchors: f32[46, 4]) {
      return proposals([l, m], [d, e], anchors, [90, 100], 20)
    }"""
    logits = [RNG.standard_normal((n, 1), np.float32) for n in (40, 6)]
    deltas = [RNG.standard_normal((n, 4), np.float32) * np.float32(0.3) for n in (40, 6)]
    anchors = random_anchors(46, 90)
    candidates, start = [], 0
    for level, (x, d) in enumerate(zip(logits, deltas, strict=True)):
        best = np.argsort(-x[:, 0], kind="stable")[:20]
        boxes = clip(decode(d[best], anchors[start + best], (1, 1, 1, 1)), 90, 100)
        candidates.append((boxes, x[best, 0], np.full(len(best), level)))
        start += len(d)
    boxes, _, _ = chosen(*joined(candidates), 20, 0.7, -np.inf)
    found = program(tmp_path, "mask_rcnn", text)(logits[0], deltas[0], logits[1], deltas[1], anchors)
    np.testing.assert_allclose(found[: len(boxes)], boxes, atol=1e-3)
    assert not np.any(found[len(boxes) :])


@pytest.mark.parametrize("side", [20, 100, 300, 600])
def test_boxes_take_the_level_of_their_size(side: float, tmp_path: Path) -> None:
    """Level k holds the number k everywhere."""
    text = """net detected(boxes: f32[1, 4], x: f32[1, 2, 2, 1]) {
      levels = []
      for k in range(4) { levels += [zeros([1, 256 // 2 ** k, 256 // 2 ** k, 1]) + k + 0 * reduce_sum(x)] }
      return pooled(levels, boxes, zeros([1], dtype = "i32"), 2)
    }"""
    found = program(tmp_path, "mask_rcnn", text)(
        np.array([[5, 5, 5 + side, 5 + side]], np.float32), np.zeros((1, 2, 2, 1), np.float32)
    )
    level = np.clip(np.floor(4 + np.log2(side / 224)), 2, 5) - 2
    np.testing.assert_allclose(found, np.full((1, 2, 2, 1), level), rtol=1e-6)

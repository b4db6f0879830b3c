"""`netc eval` of detectors on a small folder in the layout of COCO, with nets whose answers are known."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from netc.compiler.errors import NetcError
from netc.runtime.data.registry import open_samples, open_source

from .conftest import Call, Result

DETECTOR = """\
// A box for a cat and one for a dog, in an input of 40 x 40 pixels, and a place without one.
net boxed(image: f32[N, 40, 40, 3]) {
  nothing = 0 * reduce_mean(image, axes = [1, 2, 3])
  scores = reshape(nothing, shape = [N, 1]) + concat(full([1], 0.9), full([1], 0.6), zeros([1]), axis = 0)
  boxes = reshape(nothing, shape = [N, 1, 1]) + concat(CAT, box(20, 20, 40, 40), box(0, 0, 0, 0), axis = 0)
  classes = concat(full([1], 1, dtype = "i32"), full([1], 7, dtype = "i32"), full([1], -1, dtype = "i32"), axis = 0)
  return {boxes: boxes, scores: scores, classes: tile(reshape(classes, shape = [1, 3]), multiples = [N, 1])MASKS}
}
block box(a, b, c, d) { return stack(full([1], a), full([1], b), full([1], c), full([1], d), axis = 1) }
preprocess boxed { labels = LABELS }
"""
NAMES = '["none", "cat", "a", "a", "a", "a", "a", "dog"]'
CAT = "box(4, 4, 16, 12)"
MASKS = ", masks: reshape(nothing, shape = [N, 1, 1, 1]) + full([1, 3, 4, 4], 1.0)"


def detector(folder: Path, cat: str = CAT, masks: str = "", labels: str = NAMES) -> Path:
    path = folder / "boxed.net"
    path.write_text(DETECTOR.replace("CAT", cat).replace("MASKS", masks).replace("LABELS", labels))
    return path


def annotated(pictures: int = 3) -> dict[str, Any]:
    """Pictures of 80 x 40 pixels, twice as wide as the net's input; a cat and a dog in each."""
    boxes = {3: [8, 4, 24, 8], 7: [40, 20, 40, 20]}
    return {
        "images": [{"id": 10 * i, "file_name": f"{i}.png", "height": 40, "width": 80} for i in range(pictures)],
        "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
        "annotations": [
            {
                "id": 2 * i + k,
                "image_id": 10 * i,
                "category_id": category,
                "bbox": box,
                "area": box[2] * box[3],
                "iscrowd": 0,
                "segmentation": [corners(*box)],
            }
            for i in range(pictures)
            for k, (category, box) in enumerate(boxes.items())
        ],
    }


def corners(x: int, y: int, width: int, height: int) -> list[int]:
    return [x, y, x + width, y, x + width, y + height, x, y + height]


def folder_of(home: Path, content: Any = None) -> Path:
    (home / "annotations").mkdir(parents=True)
    (home / "val2017").mkdir()
    (home / "annotations" / "instances_val2017.json").write_text(json.dumps(content or annotated()))
    for i in range(3):
        Image.new("RGB", (80, 40), (i, 20, 30)).save(home / "val2017" / f"{i}.png")
    return home


def evaluate(netc: Call, net: Path, home: Path, *more: object) -> Result:
    empty = net.with_suffix(".safetensors")
    if not empty.exists():
        from safetensors.numpy import save_file

        save_file({}, empty)
    return netc("eval", net, "--weights", empty, "--data", f"coco:{home}", "--threads", 1, *more)


def results(result: Result) -> dict[str, Any]:
    assert result.code == 0, result.err
    found: dict[str, Any] = json.loads(result.out)
    return found


@pytest.mark.parametrize("batch", [1, 2])
def test_perfect_boxes(netc: Call, tmp_path: Path, batch: int) -> None:
    pytest.importorskip("pycocotools")
    home = folder_of(tmp_path / "data")
    found = results(evaluate(netc, detector(tmp_path), home, "--json", "--batch", batch))
    assert found["samples"] == 3
    assert "masks" not in found
    boxes = found["boxes"]
    for name in ("average_precision", "average_precision_50", "average_precision_75", "average_precision_small"):
        np.testing.assert_allclose(boxes[name], 1)
    assert boxes["average_precision_large"] is None


def test_shifted_boxes(netc: Call, tmp_path: Path) -> None:
    """The cat's box is moved by a sixth of its width: IoU 5/7, which five of ten thresholds are above."""
    pytest.importorskip("pycocotools")
    net = detector(tmp_path, "box(6, 4, 18, 12)")
    boxes = results(evaluate(netc, net, folder_of(tmp_path / "data"), "--json"))["boxes"]
    np.testing.assert_allclose(boxes["average_precision"], (0.5 + 1) / 2)
    np.testing.assert_allclose([boxes["average_precision_50"], boxes["average_precision_75"]], [1, 0.5])


def test_nothing_there_and_nothing_found(netc: Call, tmp_path: Path) -> None:
    """Without objects there is no precision; without boxes it is 0. A crowd is neither right nor wrong."""
    pytest.importorskip("pycocotools")
    net = detector(tmp_path)
    empty = results(evaluate(netc, net, folder_of(tmp_path / "empty", annotated() | {"annotations": []}), "--json"))
    assert set(empty["boxes"].values()) == {None}
    crowded = annotated(1)
    runs = {"size": [40, 80], "counts": [100, 50, 3050]}
    crowded["annotations"][1] |= {"iscrowd": 1, "segmentation": runs}
    found = results(evaluate(netc, detector(tmp_path, masks=MASKS), folder_of(tmp_path / "crowd", crowded), "--json"))
    assert found["boxes"]["average_precision"] == pytest.approx(1)
    assert "average_precision" in found["masks"]
    net.write_text(net.read_text().replace('full([1], 1, dtype = "i32")', 'full([1], -1, dtype = "i32")'))
    net.write_text(net.read_text().replace('full([1], 7, dtype = "i32")', 'full([1], -1, dtype = "i32")'))
    nothing = results(evaluate(netc, net, folder_of(tmp_path / "data"), "--json"))
    assert nothing["boxes"]["average_precision"] == 0


def test_masks_and_the_table(netc: Call, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    net, home = detector(tmp_path, masks=MASKS), folder_of(tmp_path / "data")
    found = results(evaluate(netc, net, home, "--json"))
    assert found["boxes"]["average_precision"] == pytest.approx(1)
    assert found["masks"]["average_precision_50"] == pytest.approx(1)
    printed = evaluate(netc, net, home)
    assert f"coco:{home}: 3 pictures" in printed.out
    assert "average precision (AP), IoU 0.50 to 0.95" in printed.out
    assert "100.00%" in printed.out
    assert "index created" not in printed.out  # what the tools print


def test_damaged_pictures_are_named_and_skipped(netc: Call, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    home = folder_of(tmp_path / "data", annotated(4))  # picture 3 is not there
    (home / "val2017" / "0.png").write_bytes(b"no picture")
    Image.new("RGB", (8, 8)).save(home / "val2017" / "1.png")
    result = evaluate(netc, detector(tmp_path), home, "--json")
    found = results(result)
    assert found["samples"] == 1
    np.testing.assert_allclose(found["boxes"]["average_precision"], 1)
    assert "0.png: not a picture" in result.err
    assert "1.png has 8 x 8 pixels, but its annotations are for 80 x 40" in result.err
    assert "3.png is not there" in result.err


def test_a_limit_and_a_file_of_annotations(netc: Call, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    home = folder_of(tmp_path / "data")
    file = home / "annotations" / "instances_val2017.json"
    assert results(evaluate(netc, detector(tmp_path), file, "--json", "--limit", 2))["samples"] == 2
    file.with_name("instances_val2014.json").write_text(file.read_text())
    refused = evaluate(netc, detector(tmp_path), home)
    assert refused.code == 2
    assert "several files for the test split" in refused.err


def test_classes_without_names_are_ids(netc: Call, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    net = detector(tmp_path)
    net.write_text(net.read_text().replace(f"labels = {NAMES}", "divide = 255"))
    result = evaluate(netc, net, folder_of(tmp_path / "data"), "--json")
    assert results(result)["boxes"]["average_precision"] == pytest.approx(0.5)  # class 7 is the dog, class 1 is nothing
    assert "numbers are taken for the ids" in result.err


def test_categories_that_the_net_does_not_know(netc: Call, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    home = folder_of(tmp_path / "data")
    result = evaluate(netc, detector(tmp_path, labels='["none", "Cat"]'), home, "--json")
    assert results(result)["boxes"]["average_precision"] == pytest.approx(0.5)
    assert "doesn't know dog" in result.err
    refused = evaluate(netc, detector(tmp_path, labels='["none", "bird"]'), home)
    assert (refused.code, refused.out) == (2, "")
    assert "knows none of the categories" in refused.err


def test_without_coco_tools(netc: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    result = evaluate(netc, detector(tmp_path), folder_of(tmp_path / "data"))
    assert (result.code, result.out) == (2, "")
    assert "evaluating a detector needs pycocotools, which is not installed" in result.err
    assert "pip install 'netc[coco]'" in result.err


def test_what_objects_are_not_for(netc: Call, tmp_path: Path, tiny: Path, tiny_weights: Path) -> None:
    pytest.importorskip("pycocotools")
    data = f"coco:{folder_of(tmp_path / 'data')}"
    classifier = netc("eval", tiny, "--weights", tiny_weights, "--data", data)
    assert classifier.code == 2
    assert "has boxes of objects, but net tiny is for classification" in classifier.err
    trained = netc("train", tiny, "--data", data.replace("data", "data/annotations/instances_val2017.json"))
    assert trained.code == 2
    assert "boxes of objects, which netc neither trains" in trained.err
    loss = evaluate(netc, detector(tmp_path), tmp_path / "data", "--loss", "mean_squared_error")
    assert loss.code == 2
    assert "--loss is for classes and values" in loss.err
    assert len(list(open_samples(data).keys)) == 3
    calibrated = ("quantize", tiny, "--weights", tiny_weights, "--calibrate", data, "--samples", 2)
    quantized = netc(*calibrated, "-o", tmp_path / "tiny.tflite", "--report", tmp_path / "report.html")
    assert quantized.code == 0, quantized.err
    refused = netc(*calibrated, "-o", tmp_path / "no.tflite", "--eval", data)
    assert refused.code == 2
    assert "boxes of objects, which netc neither trains" in refused.err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("images"), "it has no 'images'"),
        (lambda c: c["annotations"][1].update(bbox=[1, 2, 3]), r"annotations\[1\]: bbox must be"),
        (lambda c: c["annotations"][1].update(bbox=[1, 2, 3, float("nan")]), "nan is not a number"),
        (lambda c: c["annotations"][0].update(image_id=5), r"annotations\[0\]: its image_id"),
        (lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3]]), "three points"),
        (lambda c: c["annotations"][0].update(segmentation=[[0, 0, 1e9, 0, 1, 1]]), "far outside"),
        (lambda c: c["annotations"][0].update(segmentation={"size": [40, 80], "counts": [7]}), "don't fill"),
        (lambda c: c["images"].append(c["images"][0]), "two of its images have the same id"),
        (lambda c: c["images"][0].update(file_name="../secret.png"), "lies outside of"),
        (lambda c: c["images"][0].update(width="wide"), r"images\[0\]: 'wide' is not a whole number"),
        (lambda c: c["categories"][0].update(id=[1]), r"categories\[0\]: \[1\] is not a whole number"),
        (lambda c: c["annotations"][0].update(image_id=[]), r"annotations\[0\]: \[\] is not a whole"),
    ],
)
def test_damaged_annotations(tmp_path: Path, change: Any, message: str) -> None:
    content = annotated()
    change(content)
    with pytest.raises(NetcError, match=message):
        open_source(f"coco:{folder_of(tmp_path / 'data', content)}", "test")


def test_folders_without_the_layout(tmp_path: Path) -> None:
    with pytest.raises(NetcError, match="there is no test split"):
        open_source(f"coco:{tmp_path}", "test")
    home = folder_of(tmp_path / "data")
    with pytest.raises(NetcError, match="there is no train split"):
        open_source(f"coco:{home}", "train")
    (home / "val2017").rename(home / "elsewhere")
    with pytest.raises(NetcError, match="there are no pictures for"):
        open_source(f"coco:{home}", "test")

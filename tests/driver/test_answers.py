"""What `netc run` says by task: boxes, instances, areas; several pictures; drawings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netc.answers.answer import task_of
from netc.answers.boxes import encoded
from netc.loading import load

from .conftest import Call, Result

DETECTOR = """\
// Three places: a sure box, an unsure one, an empty one. Boxes are those of an input of 20 x 40 pixels.
net boxed(image: f32[N, 20, 40, 3]) {
  nothing = 0 * reduce_mean(image, axes = [1, 2, 3])
  scores = reshape(nothing, shape = [N, 1]) + [0.9, 0.6, 0.0] |> row
  boxes = reshape(nothing, shape = [N, 1, 1]) + concat(box(4, 5, 24, 15), box(0, 0, 40, 20), box(0, 0, 0, 0), axis = 0)
  classes = concat(full([1], 1, dtype = "i32"), full([1], 7, dtype = "i32"), full([1], -1, dtype = "i32"), axis = 0)
  return {boxes: boxes, scores: scores, classes: tile(reshape(classes, shape = [1, 3]), multiples = [N, 1])MASKS}
}
block box(a, b, c, d) { return stack(full([1], a), full([1], b), full([1], c), full([1], d), axis = 1) }
preprocess boxed { labels = "names.txt" }
"""
MAP = """\
net mapped(image: f32[N, 8, 8, 3]) {
  red, green = image[:, :, :, 0:1], image[:, :, :, 1:2]
  return OUTPUTS
}
preprocess mapped { resize = box, labels = ["none", "red", "green"] }
"""


def detector(tmp_path: Path, masks: str = "") -> Path:
    text = DETECTOR.replace("MASKS", masks and f", masks: {masks}")
    text = text.replace("[0.9, 0.6, 0.0] |> row", "concat(full([1], 0.9), full([1], 0.6), zeros([1]), axis = 0)")
    path = tmp_path / "boxed.net"
    path.write_text(text)
    (tmp_path / "names.txt").write_text("background\ncat\n")
    return path


def half_red(path: Path) -> Path:
    """Left red, right green, 80 x 40."""
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, :40, 0] = pixels[:, 40:, 1] = 255
    Image.fromarray(pixels).save(path)
    return path


def run(netc: Call, *arguments: object) -> Result:
    return netc("run", *arguments, "--threads", "1")


def test_boxes_lie_in_the_picture(netc: Call, tmp_path: Path) -> None:
    picture = half_red(tmp_path / "p.png")
    result = run(netc, detector(tmp_path), "--image", picture)
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "  90.00%  cat  (8.0, 10.0) to (48.0, 30.0)",
        "  60.00%  class 7  (0.0, 0.0) to (80.0, 40.0)",
    ]
    (record,) = json.loads(run(netc, tmp_path / "boxed.net", "--image", picture, "--min-score", "0.7", "--json").out)
    assert record["score"] == pytest.approx(0.9)
    assert (record["index"], record["name"], record["box"]) == (1, "cat", [8, 10, 48, 30])
    assert len(run(netc, tmp_path / "boxed.net", "--image", picture, "--top", "1").out.splitlines()) == 1
    nothing = run(netc, tmp_path / "boxed.net", "--image", picture, "--min-score", "0.95").out
    assert nothing == "no box has a score of 95% or more (the best has 90.00%)\n"


def test_boxes_of_a_cropped_picture(netc: Call, tmp_path: Path) -> None:
    """The net sees the central square of 40 x 40: the box 4 of 40 wide starts there."""
    path = detector(tmp_path)
    path.write_text(path.read_text().replace("labels =", "crop = 1, labels ="))
    out = run(netc, path, "--image", half_red(tmp_path / "p.png"), "--top", "1").out
    assert out == "  90.00%  cat  (24.0, 10.0) to (44.0, 30.0)\n"


def test_drawing_of_boxes(netc: Call, tmp_path: Path) -> None:
    picture = half_red(tmp_path / "p.png")
    assert run(netc, detector(tmp_path), "--image", picture, "--top", "1", "-o", tmp_path / "drawn.png").code == 0
    before, after = (np.asarray(Image.open(p).convert("RGB")) for p in (picture, tmp_path / "drawn.png"))
    changed = (before != after).any(axis=-1)
    assert changed[29, 9:47].all()  # the lower side of the frame
    assert not changed[:10].any()
    assert not changed[:, 60:].any()


def test_instances(netc: Call, tmp_path: Path) -> None:
    """The mask covers the upper half of its box."""
    masks = "concat(zeros([N, 3, 2, 4]) + 1, zeros([N, 3, 2, 4]), axis = 2)"
    picture = half_red(tmp_path / "p.png")
    (first, _) = json.loads(run(netc, detector(tmp_path, masks), "--image", picture, "--json").out)
    mask = np.zeros((40, 80), bool)
    mask[10:20, 8:48] = True
    assert first["pixels"] == pytest.approx(400, abs=80)
    assert first["mask"]["size"] == [40, 80]
    drawing = tmp_path / "drawn.png"
    assert run(netc, tmp_path / "boxed.net", "--image", picture, "--top", "1", "-o", drawing).code == 0
    changed = (np.asarray(Image.open(drawing)) != np.asarray(Image.open(picture))).any(axis=-1)
    assert changed[12:18, 12:44].mean() > 0.9  # but for the letters of the name
    assert not changed[25:28, 12:44].any()


def test_masks_are_spelled_as_by_cocos_tools() -> None:
    coco = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)
    for shape in ((5, 7), (90, 70), (1, 1)):
        for share in (0, 0.02, 0.5, 1):
            mask = rng.random(shape) < share
            assert encoded(mask) == coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    mask = np.zeros((300, 400), bool)
    mask[100:250, 7:333] = True
    assert encoded(mask) == coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


def mapped(tmp_path: Path, outputs: str) -> Path:
    path = tmp_path / "mapped.net"
    path.write_text(MAP.replace("OUTPUTS", outputs))
    return path


SCORES = "concat(zeros([N, 8, 8, 1]) + 0.1, red, green)"


def test_areas_of_files_with_channels_first(netc: Call, tmp_path: Path) -> None:
    """Classes of a map [N, classes, H, W] are counted, not its columns."""
    onnx = pytest.importorskip("onnx")
    helper, float_ = onnx.helper, onnx.TensorProto.FLOAT
    x, y = (helper.make_tensor_value_info(n, float_, [1, c, 20, 40]) for n, c in (("x", 3), ("y", 4)))
    spread = onnx.numpy_helper.from_array(
        np.pad(np.eye(4, 3, dtype=np.float32)[..., None, None], ((0, 0), (0, 0), (1, 1), (1, 1))), "w"
    )
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])], "g", [x], [y], [spread])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    (tmp_path / "map.onnx").write_bytes(made.SerializeToString())
    result = run(netc, tmp_path / "map.onnx", "--image", half_red(tmp_path / "p.png"))
    assert result.code == 0, result.err
    assert result.out == "  50.00%  class 0\n  50.00%  class 1\n"
    masks = tmp_path / "m.npz"
    np.savez(masks, x_test=np.zeros((2, 20, 40, 3), np.uint8), y_test=np.zeros((2, 20, 40), np.uint8))
    result = netc("eval", tmp_path / "map.onnx", "--data", masks, "--threads", "1")
    assert (result.code, result.out) == (2, "")
    assert "--layout nhwc" in result.err
    assert netc("eval", tmp_path / "map.onnx", "--data", masks, "--threads", "1", "--layout", "nhwc").code == 0


def test_areas(netc: Call, tmp_path: Path) -> None:
    picture = half_red(tmp_path / "p.png")
    net = mapped(tmp_path, f"{{out: {SCORES}, aux: red}}")
    result = run(netc, net, "--image", picture, "-o", tmp_path / "drawn.png")
    assert (result.code, result.err) == (0, "")
    assert result.out == "  50.00%  red\n  50.00%  green\n"
    assert json.loads(run(netc, net, "--image", picture, "--json", "--top", "1").out) == [
        {"index": 1, "name": "red", "share": 0.5}
    ]
    drawn = np.asarray(Image.open(tmp_path / "drawn.png"))
    assert len({tuple(p) for p in drawn.reshape(-1, 3)}) == 2
    assert (drawn[:, :40] == drawn[0, 0]).all()


def test_what_is_guessed_of_a_map_is_said(netc: Call, tmp_path: Path) -> None:
    picture = half_red(tmp_path / "p.png")
    result = run(netc, mapped(tmp_path, SCORES), "--image", picture)
    assert "is taken for scores of classes at each pixel" in result.err
    result = run(netc, mapped(tmp_path, f"{{out: ({SCORES})[:, 1:-1, 1:-1]}}"), "--image", picture)
    assert "a map of 6 x 6 pixels is taken for the middle of the 8 x 8" in result.err
    assert result.out == "  50.00%  red\n  50.00%  green\n"


def test_several_pictures(netc: Call, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "below").mkdir(parents=True)
    half_red(folder / "a.png")
    half_red(folder / "below" / "a.jpg")
    (folder / "bad.png").write_bytes(b"no picture")
    net = detector(tmp_path)
    result = run(netc, net, "--image", folder)
    assert result.code == 2
    assert f"can't read picture {folder / 'bad.png'}" in result.err
    assert "1 of 3 pictures have no answer" in result.err
    assert result.out.count("90.00%  cat") == 2
    assert result.out.startswith(f"{folder / 'a.png'}\n  90.00%")
    records = json.loads(run(netc, net, "--image", folder, "--json").out)
    assert [Path(r["picture"]).name for r in records] == ["a.png", "bad.png", "a.jpg"]
    assert ["answer" in r for r in records] == [True, False, True]
    assert "not a picture" in records[1]["error"]
    (tmp_path / "out").mkdir()
    result = run(netc, net, "--image", folder / "a.png", "--image", folder / "below", "-o", tmp_path / "out")
    assert result.code == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a.png", "a_2.png"]


def test_failures_of_several_pictures_name_them(netc: Call, tmp_path: Path) -> None:
    net = tmp_path / "worse.net"
    net.write_text("net worse(image: f32[N, 8, 8, 3]) { return log(-abs(image) - 1) |> global_avg_pool }")
    pictures = [tmp_path / "a.png", tmp_path / "b.png"]
    for picture in pictures:
        half_red(picture)
    result = run(netc, net, "--image", pictures[0], "--image", pictures[1])
    assert result.code == 2
    for picture in pictures:
        assert f"error: {picture}: net worse gives infinities or NaNs" in result.err


def test_wrong_ways_to_draw(netc: Call, tmp_path: Path, tiny: Path, picture: Path) -> None:
    photo, net = half_red(tmp_path / "p.png"), detector(tmp_path)
    (tmp_path / "empty").mkdir()
    cases = [
        ((tiny, "--image", picture, "-o", tmp_path / "x.png"), "there is nothing to draw"),
        ((net, "--image", photo, "-o", photo), "would replace the picture"),
        ((net, "--image", photo, "-o", tmp_path / "x.jpg"), "a drawing is a .png file"),
        ((net, "--image", photo, "--image", photo, "-o", tmp_path / "none"), "-o names no folder"),
        ((net, "--image", tmp_path / "empty"), "there are no pictures in the folder"),
        ((mapped(tmp_path, "red |> reduce_mean(axes = [3])"), "--image", photo), "not scores of classes"),
    ]
    for arguments, message in cases:
        result = run(netc, *arguments)
        assert (result.code, result.out) == (2, ""), message
        assert message in result.err
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("net", "task"),
    [
        ("cnn_mnist", "classification"),
        ("lraspp_mobilenet_v3_large", "semantic segmentation"),
        ("unet", "semantic segmentation"),
        ("ssdlite320_mobilenet_v3_large", "detection"),
        ("maskrcnn_resnet50_fpn", "instance segmentation"),
    ],
)
def test_tasks_of_shipped_nets(net: str, task: str) -> None:
    assert task_of(load(net)).name == task

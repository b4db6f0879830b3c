"""The commands of docs/transfer-learning.md, in order, on small pictures and with a small network of the same form."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from netc.loading import load
from netc.runtime.weights import initial_weights, write_weights

from .conftest import Call

PAGE = Path(__file__).resolve().parents[2] / "docs" / "transfer-learning.md"
STAND_IN = """\
net mobilenet_v2_tf(image: f32[N, 24, 24, 3], classes = 1001) {
  x = image |> max_pool(2)
  for i in [0, 9, 10] { x = x |> conv@"features.{i}.0"(8, 3, bias = false) |> batch_norm@"features.{i}.1" |> relu6 }
  return x |> global_avg_pool |> dropout(0.2) |> dense@"classifier.1"(classes)
}
"""
"""In the place of the shipped file, since it lies beside the one that imports it."""
CLASSES = ("bird", "dog", "vehicle")


def make_photos(home: Path) -> None:
    """Pictures of three colours."""
    random = np.random.default_rng(0)
    for split, count in (("train", 6), ("val", 3)):
        for number, name in enumerate(CLASSES):
            (home / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 120, (30, 34, 3))
                pixels[..., number] += 130
                Image.fromarray(pixels.astype(np.uint8)).save(home / split / name / f"{i}.jpg", quality=95)


def test_the_commands_of_the_page(netc: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = PAGE.read_text(encoding="utf-8")
    (source,) = re.findall(r"^```net\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    commands = [shlex.split(line) for line in re.findall(r"^\$ netc (.*)$", text, re.MULTILINE)]
    assert [command[0] for command in commands] == ["train", "run", "train", "eval", "quantize", "check", "run"]
    monkeypatch.chdir(tmp_path)
    make_photos(tmp_path / "photos")
    Path("mobilenet_v2.net").write_text(STAND_IN)
    Path("photos.net").write_text(source)
    public = load("mobilenet_v2.net", net="mobilenet_v2_tf")
    write_weights("mobilenet_v2_tf.safetensors", public, initial_weights(public, seed=3))

    without = [word for word in commands[0] if word not in ("--skip", "classifier.*")]
    refused = netc(*without)
    assert refused.code == 2
    assert "--skip 'classifier.1.*'" in refused.err
    assert not Path("head").exists()

    printed = []
    for command in commands:
        quick = ["--workers", "0"] if command[0] == "train" else []  # workers take a second to start
        result = netc(*command, *quick)
        assert result.code == 0, f"{command}: {result.err}"
        printed.append(result.out)
    start, head, tuned = (
        load_file(path) for path in ("mobilenet_v2_tf.safetensors", "head/best.safetensors", "tuned/best.safetensors")
    )
    assert all(np.array_equal(head[name], start[name]) for name in start if name.startswith("features"))
    kept = {name for name in head if np.array_equal(head[name], tuned[name])}
    assert kept == {name for name in head if "running" in name or (name.startswith("features") and "10" not in name)}
    assert json.loads(Path("tuned/run.json").read_text())["recipe"]["lr"] == ["features.*=0.0001"]
    for answer in (printed[1], printed[6]):
        assert sorted(line.split()[1] for line in answer.splitlines()) == sorted(CLASSES)
    assert "imagefolder:photos, 9 samples: top-1" in printed[4]
    assert "Number of operations that will run on CPU: 0" in printed[5]

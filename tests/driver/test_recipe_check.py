"""`netc check` finds what is wrong with recipes, all of it at once; `netc train` says the same before anything else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .conftest import Call

NETS = """\
net two(image: f32[N, 64, 64, 3]) { return image |> flatten |> dense@fc(2) }
net one(x: f32[N, 4]) { return x |> dense@fc(1) }
net open(x: f32[N, K], width) { return x |> dense@fc(width) }
block own(scores: f32[N, C], labels: i32[N], gamma = 2) { return reduce_sum(scores * gamma, axes = [1]) }
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "nets.net"


@pytest.mark.parametrize("net", ["two", "open"])
def test_all_mistakes_of_a_recipe_are_found_at_once(netc: Call, file: Path, net: str) -> None:
    recipe = (
        "batchh = 3; epochs = 0; optimizer = sgdd(lr = 1); schedule = cosine(epoch = 3)\n augment = flop; data = nmist"
    )
    file.write_text(NETS + f"train {net} {{ {recipe} }}\n")
    result = netc("check", file, "--json")
    assert result.code == 2
    found = json.loads(result.out)
    assert [(d["line"], d["message"].partition(":")[0]) for d in found] == [
        (5, "a recipe has no setting `batchh`"),
        (5, "`epochs` must be a whole number from 1 on, not 0"),
        (5, "there is no optimizer `sgdd`"),
        (5, "the schedule cosine has no option `epoch`"),
        (6, "there is no augmentation `flop`"),
        (6, "there is no data set `nmist`"),
    ]
    trained = netc("train", file, "--net", net, "--data", "mnist")
    assert trained.code == 2
    assert trained.err.count("error:") == 5  # flags stand for what they replace
    assert all(d["message"] in trained.err for d in found[:5])
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("net", "setting", "message"),
    [
        ("two", "loss = foo", "there is no loss `foo`"),
        ("one", "loss = softmax_cross_entropy", "of a single score"),
        ("two", 'freeze = ["fc.*", "conv.*"]', r"no parameter matches `conv.*`"),
        ("two", "freeze = 3", "pattern of names"),
        ("two", 'lr = ["0.1", "conv.*=1"]', r"no trained parameter matches `conv.*`"),
        ("two", 'lr = "fc.*=fast"', "`fc.*=fast` is no learning rate"),
        ("two", "lr = true", "pattern of names with a rate"),
        ("two", "augment = random_resized_crop(32)", "doesn't fit net two, which takes 64 x 64 pixels"),
    ],
)
def test_what_depends_on_the_net(netc: Call, file: Path, net: str, setting: str, message: str) -> None:
    file.write_text(NETS + f"train {net} {{\n  data = mnist\n  {setting}\n}}\n")
    result = netc("check", file)
    assert (result.code, result.err.count("error:")) == (2, 1)
    assert f"{file}:7:" in result.err
    assert message in result.err


def test_a_sound_recipe(netc: Call, file: Path) -> None:
    recipe = 'data = "none.npz", loss = own(gamma = 1), freeze = "fc.b*", augment = [crop(4), flip], ema = 0.9'
    file.write_text(NETS + f"train two {{ {recipe} }}\ntrain open {{ data = mnist, loss = own }}\n")
    assert netc("check", file).code == 0

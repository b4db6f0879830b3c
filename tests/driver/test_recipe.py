"""Recipes: what a file says, what flags change, and what a resumed run insists on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from netc import load
from netc.compiler.errors import NetcError
from netc.compiler.training import parse_loss, parse_optimizer, parse_schedule
from netc.frontend import load_recipe
from netc.recipe import TrainingRecipe, check_same, resolve_recipe
from netc.runtime.training.augment import parse_augmentation

NET = "net tiny(image: f32[N, 4, 4, 1]) { return image |> flatten |> dense@fc(3) }\n"
TRAIN = """
train tiny {
  data = mnist(classes = [0, 1])
  optimizer = sgd(lr = 0.1, nesterov = true, weight_decay = 5e-4)
  schedule = cosine(epochs = 8, warmup = 1)
  augment = [crop(4), flip]
  batch = 32
  ema = none
}
"""


def resolve(tmp_path: Path, block: str = TRAIN, **flags: Any) -> TrainingRecipe:
    path = tmp_path / "tiny.net"
    path.write_text(NET + block)
    return resolve_recipe(load_recipe(path), flags)


def test_a_recipe_from_a_file(tmp_path: Path) -> None:
    recipe = resolve(tmp_path, TRAIN.replace("  ema = none\n", ""))
    assert recipe == TrainingRecipe(
        data="mnist(classes=[0, 1])",
        epochs=8,
        optimizer="sgd(lr=0.1, nesterov=true, weight_decay=0.0005)",
        schedule="cosine(epochs=8, warmup=1)",
        augment="crop(4), flip",
        batch=32,
    )
    assert TrainingRecipe.from_json(recipe.as_json() | {"model": "tiny"}) == recipe


def test_rates_are_meant_for_updates_by_base_batch_samples(tmp_path: Path) -> None:
    block = TRAIN.replace("ema = none", "accumulate = 4\n  base_batch = 256")
    assert resolve(tmp_path, block).rate_factor == 32 * 4 / 256
    assert resolve(tmp_path, block, base_batch=64).rate_factor == 2
    assert resolve(tmp_path, TRAIN.replace("  ema = none\n", "")).rate_factor == 1


def test_accumulated_batches_are_shards_of_one_where_an_epoch_has_some(tmp_path: Path) -> None:
    recipe = resolve(tmp_path, TRAIN.replace("ema = none", "accumulate = 4\n  shards = 2\n  base_batch = 256"))
    whole = recipe.in_one_step(512)
    assert (whole.batch, whole.shards, whole.accumulate) == (128, 8, 1)
    assert whole.rate_factor == recipe.rate_factor
    assert recipe.in_one_step(511) == recipe, "fewer than 4 updates"
    assert replace(recipe, qat="moving").in_one_step(512).accumulate == 4
    plain = replace(recipe, accumulate=1)
    assert plain.in_one_step(512) == plain


@pytest.mark.parametrize(
    ("batch", "plain", "normalised"),
    [(128, 8, 4), (16, 2, 1), (8, 1, 1), (64, 8, 2), (100, 4, 2), (101, 1, 1), (1024, 8, 8), (4096, 32, 32), (1, 1, 1)],
)
def test_the_batch_alone_decides_how_many_shards_it_has(
    tmp_path: Path, batch: int, plain: int, normalised: int
) -> None:
    path, given = tmp_path / "tiny.net", {"data": "mnist", "batch": batch}
    path.write_text(NET)
    assert resolve_recipe(None, given, load(path)).shards == plain
    path.write_text(NET.replace("dense@fc(3)", "dense@fc(3) |> batch_norm@bn"))
    assert resolve_recipe(None, given, load(path)).shards == normalised


def test_texts_and_negative_numbers(tmp_path: Path) -> None:
    data = f"imagefolder:{tmp_path}/a b"
    block = f'train tiny {{ data = "{data}", augment = "flip", optimizer = sgd(lr = -0.5, at = [1, 2]) }}'
    recipe = resolve(tmp_path, block)
    assert (recipe.data, recipe.augment) == (data, "flip")
    assert recipe.optimizer == "sgd(lr=-0.5, at=[1, 2])"


def test_fine_tuning_for_integers(tmp_path: Path) -> None:
    block = TRAIN.replace("  ema = none\n", "")
    recipe = resolve(tmp_path, block, qat="moving")
    assert (recipe.epochs, recipe.schedule, recipe.optimizer) == (2, "cosine(epochs=2)", "adam(lr=0.0001)")
    assert (recipe.batch, recipe.augment, recipe.qat) == (32, "crop(4), flip", "moving")
    assert TrainingRecipe.from_json(recipe.as_json()) == recipe
    longer = resolve(tmp_path, block, qat="learned", epochs=4, optimizer="adam(lr=1e-4)")
    assert (longer.epochs, longer.schedule, longer.optimizer) == (4, "cosine(epochs=4)", "adam(lr=1e-4)")


def test_flags_override(tmp_path: Path) -> None:
    block = TRAIN.replace("  ema = none\n", "")
    recipe = resolve(tmp_path, block, batch=7, augment="none", optimizer="adam(lr=1e-3)", seed=None)
    assert (recipe.batch, recipe.augment, recipe.optimizer, recipe.seed) == (7, "none", "adam(lr=1e-3)", 0)


@pytest.mark.parametrize("epochs", ["1e999", "-1e999", "nan"])
def test_schedules_without_an_end_are_left_to_their_check(tmp_path: Path, epochs: str) -> None:
    assert resolve(tmp_path, "", data="mnist", schedule=f"cosine(epochs={epochs})").epochs > 0


def test_epochs_stretch_the_schedule_of_the_file(tmp_path: Path) -> None:
    block = TRAIN.replace("  ema = none\n", "")
    assert resolve(tmp_path, block, epochs=16).schedule == "cosine(epochs=16, warmup=2)"
    assert resolve(tmp_path, block, epochs=2).schedule == "cosine(epochs=2, warmup=0.25)"
    assert resolve(tmp_path, block, epochs=2).epochs == 2
    steps = "train tiny { data = mnist, epochs = 10, schedule = step(at = [5, 8], gamma = 0.1) }"
    assert resolve(tmp_path, steps, epochs=20).schedule == "step(at=[10, 16], gamma=0.1)"


def test_a_schedule_that_is_given_is_as_it_is(tmp_path: Path) -> None:
    block = TRAIN.replace("  ema = none\n", "")
    recipe = resolve(tmp_path, block, schedule="cosine(epochs=3)")
    assert (recipe.epochs, recipe.schedule) == (3, "cosine(epochs=3)")
    recipe = resolve(tmp_path, block, schedule="cosine(epochs=3)", epochs=2)
    assert (recipe.epochs, recipe.schedule) == (2, "cosine(epochs=3)")


def test_a_net_without_a_recipe(tmp_path: Path) -> None:
    assert resolve(tmp_path, "", data="mnist").epochs == 10
    with pytest.raises(NetcError, match="no recipe: nothing says what to train on"):
        resolve(tmp_path, "")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("batches = 3", "no setting `batches`"),
        ("batch = 0", "whole number from 1 on"),
        ("batch = 1.5", "whole number from 1 on"),
        ("seed = true", "whole number from 0 on"),
        ("ema = 1", "up to, but not including, 1"),
        ("weight_decay = -1", "from 0 on"),
        ("loss = 1 + 1", "can't stand in a recipe"),
        ("optimizer = sgd(lr = 1 / 2)", "can't stand in a recipe"),
        ("augment = 4", "can't stand in a recipe"),
    ],
)
def test_unsuitable_settings_are_located(tmp_path: Path, setting: str, message: str) -> None:
    with pytest.raises(NetcError, match=message) as caught:
        resolve(tmp_path, f"train tiny {{\n  data = mnist\n  {setting}\n}}")
    location = caught.value.diagnostics[0].location
    assert location is not None
    assert location.line == 4


def test_a_resumed_run_keeps_its_recipe() -> None:
    kept = TrainingRecipe(data="mnist", epochs=3, augment="crop(4), flip", schedule="cosine(epochs=3)")
    assert check_same(kept, {"data": "mnist", "augment": "crop(4),flip", "batch": None, "epochs": 3}) == kept
    with pytest.raises(NetcError, match="batch = 128, it can't go on with 64"):
        check_same(kept, {"batch": 64})
    with pytest.raises(NetcError, match="epochs = 3"):
        check_same(kept, {"epochs": 4})
    endless = TrainingRecipe(data="mnist", epochs=3)
    assert check_same(endless, {"epochs": 4}).epochs == 4


def test_a_recipe_of_another_version() -> None:
    with pytest.raises(NetcError, match="another version"):
        TrainingRecipe.from_json({"batch": 3})


@pytest.mark.parametrize("model", ["perceptron", "mlp_mnist", "cnn_mnist", "cnn_cifar", "resnet20", "resnet50"])
def test_shipped_recipes_hold(model: str) -> None:
    """Everything that a recipe names is there; the nets of ImageNet leave the data to --data."""
    written = load_recipe(model)
    assert written is not None
    recipe = resolve_recipe(written, {} if "data" in written.settings else {"data": "imagefolder:imagenet"})
    assert ("data" in written.settings) == (model != "resnet50")
    parse_loss(recipe.loss)
    parse_optimizer(recipe.optimizer)
    parse_schedule(recipe.schedule)
    parse_augmentation(recipe.augment)

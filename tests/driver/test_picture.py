"""From options to a net's input and back to named classes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from netc.classes import best_classes
from netc.compiler.graph.ir import Graph, Value
from netc.compiler.types import DType, TensorType
from netc.frontend import models_folder
from netc.models.draw_samples import panda, seven
from netc.picture import as_batch, choose_pictures, load_picture
from netc.runtime.data.images import decode
from netc.runtime.data.labels import Labels


def net(*shape: int) -> Graph:
    return Graph("net", (Value(TensorType(DType.F32, shape), "image"),), (), ())


def test_best_classes_are_softmax_probabilities_in_order() -> None:
    best = best_classes(np.log([0.2, 0.5, 0.3]), Labels(("a", "b", "c")), 2)
    assert [(c.index, c.name) for c in best] == [(1, "b"), (2, "c")]
    assert [c.probability for c in best] == pytest.approx([0.5, 0.3])


def test_large_scores_do_not_overflow_and_ties_keep_order() -> None:
    best = best_classes(np.array([1e38, 1e38, -1e38], np.float32), Labels(), 5)
    assert [c.probability for c in best] == [0.5, 0.5, 0]
    assert [c.name for c in best] == ["class 0", "class 1", "class 2"]


def test_samples_that_ship_fit_their_kind_of_net() -> None:
    colour = net(2, 32, 32, 3)
    chosen = choose_pictures(colour, ())
    picture = load_picture(colour, chosen.paths[0]).tensor
    assert as_batch(colour, [picture]).shape == (2, 32, 32, 3)
    assert "sample.png" in chosen.notes[0]
    grey = net(1, 28, 28, 1)
    chosen = choose_pictures(grey, ())
    assert "digit.png" in chosen.notes[0]
    digit = load_picture(grey, chosen.paths[0]).tensor
    assert (digit[0].max(), digit.max()) == (0, 1)  # black background, white ink
    np.testing.assert_array_equal(digit, decode(models_folder() / "digit.png") / np.float32(255))


def test_a_given_picture_needs_no_note(tmp_path: Path) -> None:
    Image.new("RGB", (5, 4), (255, 0, 0)).save(tmp_path / "red.png")
    loaded = load_picture(net(1, 4, 5, 3), str(tmp_path / "red.png"))
    assert loaded.note is None
    assert loaded.tensor[0, 0].tolist() == [1, 0, 0]


def test_sample_pictures_are_small_and_drawn_by_the_script() -> None:
    assert (models_folder() / "sample.png").stat().st_size < 20_000
    for name, drawn in (("sample.png", panda().convert("RGB")), ("digit.png", seven())):
        shipped = decode(models_folder() / name)
        difference = np.asarray(drawn, np.float32).reshape(shipped.shape) - shipped
        assert np.abs(difference).mean() < 1  # versions of Pillow may round pixels differently

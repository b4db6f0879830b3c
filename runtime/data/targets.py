"""What the targets of data are to a loss: class numbers, decisions or values, for a sample or for each of its pixels.

`fit_targets` compares what the data give with what the loss of a net takes, before anything is compiled, and says how
one becomes the other; `assumed_loss` says what a net's targets must be where no loss is known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...compiler.errors import NetcError
from ...compiler.signature import Network
from ...compiler.training import GraphLoss, Loss, parse_loss
from ...compiler.training.losses import SoftmaxCrossEntropy
from ...compiler.types import DType, TensorType
from .images import Mask, Picture
from .layout import map_channels_first, sample_shape
from .objects import ObjectSource
from .source import IGNORED, FileSource, Source

Array = NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """What targets [n, ...] are: `binary`, all are 0 or 1; `one_hot`, rows [n, K > 1] of zeros with a single 1."""

    name: str
    dtype: np.dtype[Any]
    shape: Shape
    low: float
    high: float
    binary: bool = False
    one_hot: bool = False
    highest: float = 0
    """The highest number but `IGNORED`."""
    listed: bool = False
    """Whether they number the classes of a list that the data have."""
    masks: bool = False
    """Whether they lie in files of their own, a class number for each pixel, in pictures of any size."""

    @staticmethod
    def of(source: Source) -> TargetFacts:
        """Look at all targets of a source; those in files stay there. Raises `NetcError` for objects."""
        if isinstance(source, ObjectSource):
            message = f"{source.name} has boxes of objects, which netc neither trains nor compares networks by"
            raise NetcError(message, hint="`netc eval` of a detector, without --compare, takes them")
        if isinstance(source, FileSource) and source.masks:
            return TargetFacts(source.name, np.dtype(np.uint8), (len(source), 0, 0), 0, 0, masks=True)
        labels = source.labels
        low, high = (float(f(labels)) if labels.size else 0.0 for f in (np.min, np.max))
        binary = low >= 0 and high <= 1 and bool(((labels == 0) | (labels == 1)).all())
        rows = binary and labels.ndim == 2 and labels.shape[1] > 1
        one_hot = rows and bool((labels.sum(axis=1) == 1).all())
        highest = high if high != IGNORED else float(labels[labels != IGNORED].max(initial=0))
        listed = source.classes is not None
        return TargetFacts(source.name, labels.dtype, labels.shape, low, high, binary, one_hot, highest, listed)

    @property
    def are_whole(self) -> bool:
        """Whether these are whole numbers by their type."""
        return self.dtype.kind in "iub"

    def __str__(self) -> str:
        if self.masks:
            return "a class number for each pixel"
        if self.are_whole and len(self.shape) == 1:
            return "class numbers [N]"
        return f"targets {self.dtype}[{','.join(map(str, ('N', *self.shape[1:])))}]"


@dataclass(frozen=True, slots=True)
class Targets:
    """How targets of the data become those that a loss takes; `CLASS_NUMBERS` are one for each sample."""

    task: str = "classes"
    shape: Shape = ()
    """Of one sample's, as the loss takes them."""
    dtype: str = "int32"
    classes: int | None = None
    """How many there are; for decisions by the sign of one score, two."""
    one_hot: bool = False
    """Whether rows of the data say by a single 1 which class is meant."""
    grid: bool = False
    """Whether there is one for each pixel of a picture, with which they move."""
    ignored: int | None = None
    """The class number that doesn't count."""
    threshold: float = 0.5
    """Above which a decision is yes."""
    notes: tuple[str, ...] = ()

    def __call__(self, given: Array) -> Array:
        """Targets [n, ...] of the data as [n, *shape] for the loss."""
        values = given.argmax(axis=-1) if self.one_hot else given
        return values.reshape(len(values), *self.shape).astype(self.dtype)

    @property
    def for_samples(self) -> bool:
        """Whether each sample has one class."""
        return self.task != "values" and self.shape in ((), (1,))


CLASS_NUMBERS = Targets()


def fit_targets(graph: Network, loss: Loss, facts: TargetFacts, pictures: Shape | None = None) -> Targets:
    """How the targets of data become those of `loss` for the output of `graph`; `NetcError` if they can't.

    `pictures` is the size of pictures that are brought to that of the net: a target for each pixel comes along.
    """
    prediction = real_type(graph)
    if map_channels_first(graph) and (facts.masks or facts.shape[1:] == prediction.shape[2:]):
        given = f"net {graph.name} gives scores of pixels with channels first, {graph.results[0].type}"
        raise NetcError(f"{given}, but losses take channels last", hint="read the file with --layout nhwc")
    wanted = loss.labels(prediction)
    task = loss.task(prediction)
    shape = wanted.shape[1:]
    classes, ignored = _classes(task, prediction), loss.ignored
    if isinstance(loss, GraphLoss) and task == "classes" and len(shape) > 1 and (classes or 0) <= IGNORED:
        ignored = IGNORED
    base = Targets(task, shape, str(wanted.dtype.numpy), classes, ignored=ignored, threshold=0.5 * bool(loss.bounds))
    if facts.masks:
        return _masks(graph, loss, facts, base)
    if not wanted.dtype.is_float and not facts.are_whole:
        if facts.one_hot and shape == () and facts.shape[1] == prediction.shape[-1]:
            return replace(base, one_hot=True, notes=(_one_hot_note(facts),))
        cure = f'labels that are whole numbers in floats: y.astype("{wanted.dtype.numpy}")'
        raise _misfit(graph, loss, facts, wanted, cure if _same(facts.shape[1:], shape) else None)
    if not _same(facts.shape[1:], shape):
        if task != "values" and len(shape) == 2 and facts.shape[1:] == pictures:
            _check_range(loss, facts, base)
            return replace(base, grid=True, notes=_resizing(graph, shape))
        if facts.one_hot and task == "classes" and shape == () and facts.shape[1] == prediction.shape[-1]:
            return replace(base, one_hot=True, notes=(_one_hot_note(facts),))
        raise _misfit(graph, loss, facts, wanted, _cure(facts, task, prediction))
    _check_range(loss, facts, base)
    notes = () if facts.shape[1:] == shape else _reshaping(facts, task, shape)
    if ignored == IGNORED == facts.high and len(shape) > 1:
        notes = (*notes, f"{facts.name} has labels {IGNORED}: these don't count")
    grid = task != "values" and len(shape) >= 2 and shape == prediction.shape[1:3]
    return replace(base, grid=grid, notes=notes)


def real_type(graph: Network) -> TensorType:
    """The type of the first output as real numbers, which those of an integer network stand for."""
    type_ = graph.outputs[0].type.dense()
    return type_ if type_.dtype.is_float else TensorType(DType.F32, type_.shape)


def assumed_loss(prediction: TensorType, facts: TargetFacts) -> Loss:
    """A loss that takes such targets, where none is known: they tell what a net was trained for."""
    shape = prediction.shape[1:]
    single = shape[-1:] in ((1,), ())
    whole = facts.masks or facts.are_whole
    if single and (facts.masks or (whole and (len(shape) == 1 or facts.binary) and _same(facts.shape[1:], shape))):
        return parse_loss("sigmoid_cross_entropy")
    if not single and (facts.masks or facts.one_hot or (whole and _same(facts.shape[1:], shape[:-1]))):
        return parse_loss("softmax_cross_entropy")
    return parse_loss("sigmoid_cross_entropy" if facts.binary else "mean_squared_error")


def ignoring(loss: Loss, prediction: TensorType, facts: TargetFacts) -> Loss:
    """The loss, which leaves pixels out whose class number is 255 where that can be no class."""
    if not isinstance(loss, SoftmaxCrossEntropy) or loss.ignored is not None or prediction.shape[-1] > IGNORED:
        return loss
    per_pixel = prediction.rank > 2 and (facts.masks or (facts.are_whole and facts.high == IGNORED))
    return replace(loss, ignore=IGNORED) if per_pixel else loss


def _classes(task: str, prediction: TensorType) -> int | None:
    if task == "values":
        return None
    return prediction.shape[-1] if task == "classes" and prediction.shape[-1] > 1 else 2


def _same(given: Shape, wanted: Shape) -> bool:
    """Whether two shapes are alike but for dimensions of 1."""
    one, other = ([d for d in shape if d != 1] for shape in (given, wanted))
    return one == other


def _masks(graph: Network, loss: Loss, facts: TargetFacts, base: Targets) -> Targets:
    """A class number for each pixel; a net may give fewer pixels than it takes."""
    taken = sample_shape(graph)[:2]
    if base.task == "values" or len(base.shape) != 2 or len(taken) != 2:
        hint = "softmax_cross_entropy takes masks where the net gives scores [N, height, width, classes]"
        raise _misfit(graph, loss, facts, loss.labels(real_type(graph)), hint)
    return replace(base, grid=True, notes=_resizing(graph, base.shape))


def _resizing(graph: Network, shape: Shape) -> tuple[str, ...]:
    if shape == sample_shape(graph)[:2]:
        return ()
    size = " x ".join(map(str, shape))
    return (f"net {graph.name} gives {size} pixels: masks are brought to this size",)


def _check_range(loss: Loss, facts: TargetFacts, base: Targets) -> None:
    low, high = facts.low, facts.highest if base.ignored == IGNORED else facts.high
    if base.task == "classes":
        if low < 0 and low != base.ignored:
            hint = f"{loss.name}(ignore={low:g}) leaves these out" if isinstance(loss, SoftmaxCrossEntropy) else None
            raise NetcError(f"{facts.name} holds the label {low:g}: classes are numbered from 0 on", hint=hint)
        if high > np.iinfo(np.int32).max:
            raise NetcError(f"{facts.name} holds class numbers as large as {high:.0f}")
        if base.shape and base.classes and high >= base.classes and high != base.ignored:
            hint = f"--set classes={high + 1:.0f}, if the net has this hyperparameter"
            raise NetcError(f"{facts.name} has the label {high:g}, but the net gives {base.classes} classes", hint=hint)
    elif loss.bounds and not loss.bounds[0] <= low <= high <= loss.bounds[1]:
        if low >= 0 and facts.are_whole and base.for_samples:
            return  # numbers of classes, which are matched with the net's
        ends = " to ".join(f"{end:g}" for end in loss.bounds)
        raise NetcError(f"{loss.name} takes targets from {ends}; those of {facts.name} go from {low:g} to {high:g}")


def check_mask(mask: Mask, name: str, picture: Picture) -> None:
    """Raise `NetcError` where a mask has another size than its picture."""
    if mask.shape != picture.shape[:2]:
        sizes = [f"{shape[1]} x {shape[0]}" for shape in (mask.shape, picture.shape)]
        raise NetcError(f"mask {name} has {sizes[0]} pixels, but its picture {sizes[1]}")


def check_classes(mask: Mask, name: str, targets: Targets) -> None:
    """Raise `NetcError` where a mask has numbers that the net has no class for."""
    numbers = mask if targets.ignored is None else mask[mask != targets.ignored]
    high = int(numbers.max(initial=0))
    if targets.classes is None or high < targets.classes:
        return
    cure = f"--set classes={high + 1}, if the net has this hyperparameter"
    if high == IGNORED:
        cure = "255 marks pixels that don't count, with --loss softmax_cross_entropy; an object has the number 1"
    raise NetcError(f"mask {name} has class {high}, but the net has {targets.classes} classes", hint=cure)


def _one_hot_note(facts: TargetFacts) -> str:
    return f"targets of {facts.name} are one-hot rows [N,{facts.shape[1]}]: taken as class numbers"


def _reshaping(facts: TargetFacts, task: str, shape: Shape) -> tuple[str, ...]:
    if task != "values" and math.prod(shape) == 1:
        return ()  # a column of class numbers
    given, wanted = (f"[{','.join(map(str, ('N', *s)))}]" for s in (facts.shape[1:], shape))
    return (f"targets of {facts.name} {given} are reshaped to {wanted}",)


def _misfit(graph: Network, loss: Loss, facts: TargetFacts, wanted: TensorType, hint: str | None) -> NetcError:
    output = graph.outputs[0].type
    name = loss.graph.name if isinstance(loss, GraphLoss) else loss.name
    message = f"{facts.name} gives {facts}, but {name} of net {graph.name}, which gives {output}, takes {wanted}"
    return NetcError(message, hint=hint)


def _cure(facts: TargetFacts, task: str, prediction: TensorType) -> str | None:
    columns = prediction.shape[-1]
    if task != "classes" and facts.are_whole and _same(facts.shape[1:], prediction.shape[1:-1]):
        rows = "" if facts.listed else f"; one-hot rows are np.eye({columns}, dtype='f4')[y]"
        return f"class numbers are for --loss softmax_cross_entropy{rows}"
    if task == "classes" and facts.shape[1:] == prediction.shape[1:]:
        return "several yes or no for each sample are for --loss sigmoid_cross_entropy, values for mean_squared_error"
    return None

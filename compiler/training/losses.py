"""Losses: one number for how far a prediction is from its labels, and how many predictions are right.

A loss says what labels it takes, emits its value (a mean over the batch) and, where that makes sense, the number of
correct predictions. Everything is emitted as ordinary operations, so that gradients come from differentiation.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Literal

from ..errors import ShapeError
from ..graph.ir import Graph
from ..types import DType, TensorType
from .formula import Formula
from .setting import Setting, parse_setting

Task = Literal["classes", "decisions", "values"]
"""What labels are: numbers of classes; yes or no (1 or 0), told by the sign of a score; numbers to come close to."""


@dataclass(frozen=True, kw_only=True)
class Loss(Setting):
    """Base of the losses."""

    kind: ClassVar[str] = "loss"
    bounds: ClassVar[tuple[float, float] | None] = None
    """Between which numbers labels lie; None: any."""

    @abstractmethod
    def labels(self, prediction: TensorType) -> TensorType:
        """Type of the labels that belong to a prediction; `ShapeError` if the prediction doesn't fit the loss."""

    @abstractmethod
    def value(self, prediction: Formula, labels: Formula) -> Formula:
        """The loss, a scalar of the prediction's element type."""

    def task(self, prediction: TensorType) -> Task:
        """What the labels of a prediction are."""
        return "values"

    def correct(self, prediction: Formula, labels: Formula) -> Formula | None:
        """The number of correct predictions, a scalar of the prediction's element type; None if there is no such."""
        return None

    def counted(self, prediction: Formula, labels: Formula) -> Formula | None:
        """How many labels `correct` is a part of, a scalar of the prediction's element type; None: all of them."""
        return None

    def classes(self, prediction: TensorType) -> int | None:
        """How many classes labels number, from 0 on; None where they are something else."""
        return None

    @property
    def ignored(self) -> int | None:
        """The label that doesn't count, if there is one."""
        return None


@dataclass(frozen=True, kw_only=True)
class SoftmaxCrossEntropy(Loss):
    """Classes against scores: -sum(target * log(softmax(scores))), the mean over all labels.

    Prediction f32[N, ..., classes], labels i32[N, ...]. The target is 1 at the label, or with label smoothing
    1 - label_smoothing there and label_smoothing / classes added everywhere (Szegedy et al., 2016), as in PyTorch.
    Labels that are `ignore` don't count, neither in the sum nor in the mean; where none counts, the loss is 0.
    """

    name: ClassVar[str] = "softmax_cross_entropy"
    label_smoothing: float = 0.0
    ignore: int | None = None

    def __post_init__(self) -> None:
        self.require(0 <= self.label_smoothing < 1, "label_smoothing must lie in 0 <= label_smoothing < 1")
        fits = self.ignore is None or -(2**31) <= self.ignore < 2**31
        self.require(fits, "ignore is a label, a whole number of 32 bits")

    def labels(self, prediction: TensorType) -> TensorType:
        """See `Loss`."""
        if prediction.rank < 2:
            raise ShapeError(f"{self.name} takes scores [N, classes], not {prediction}")
        if prediction.shape[-1] < 2:
            hint = "one output for two classes takes sigmoid_cross_entropy or hinge"
            raise ShapeError(f"{self.name} of a single score, {prediction}, is always 0", hint=hint)
        return TensorType(DType.I32, prediction.shape[:-1])

    def task(self, prediction: TensorType) -> Task:
        """See `Loss`."""
        return "classes"

    def classes(self, prediction: TensorType) -> int:
        """See `Loss`."""
        return prediction.shape[-1]

    @property
    def ignored(self) -> int | None:
        """See `Loss`."""
        return self.ignore

    def value(self, prediction: Formula, labels: Formula) -> Formula:
        """See `Loss`."""
        *_, classes = prediction.type.shape
        target = labels.apply("one_hot", depth=classes, dtype=str(prediction.type.dtype))
        if self.label_smoothing:
            target = target * (1 - self.label_smoothing) + self.label_smoothing / classes
        gain = prediction.apply("log_softmax") * target
        counts = self._counts(prediction, labels)
        if counts is None:
            return gain.sum() * (-1 / labels.type.size)
        each = gain.apply("reduce_sum", axes=(len(prediction.type.shape) - 1,))
        return -((each * counts).sum() / counts.sum().maximum(1))

    def correct(self, prediction: Formula, labels: Formula) -> Formula:
        """See `Loss`."""
        right, counts = _right_classes(prediction, labels), self._counts(prediction, labels)
        return (right if counts is None else right * counts).sum()

    def counted(self, prediction: Formula, labels: Formula) -> Formula | None:
        """See `Loss`."""
        counts = self._counts(prediction, labels)
        return None if counts is None else counts.sum()

    def _counts(self, prediction: Formula, labels: Formula) -> Formula | None:
        """1 for labels that count, 0 for others."""
        if self.ignore is None:
            return None
        return labels.apply("not_equal", self.ignore).cast(prediction.type.dtype)


def _right_classes(prediction: Formula, labels: Formula) -> Formula:
    """1 where a label, a class number [N, ...], names the largest of the scores [N, ..., classes], else 0."""
    return prediction.apply("argmax", axis=-1).apply("equal", labels).cast(prediction.type.dtype)


class _Binary(Loss):
    """Base of the losses that tell two classes apart by the sign of a score; [N, 1] counts as [N]."""

    def labels(self, prediction: TensorType) -> TensorType:
        """See `Loss`."""
        shape = prediction.shape
        return TensorType(prediction.dtype, shape[:-1] if len(shape) > 1 and shape[-1] == 1 else shape)

    def task(self, prediction: TensorType) -> Task:
        """See `Loss`."""
        return "decisions"

    def _scores(self, prediction: Formula, labels: Formula) -> Formula:
        return prediction.apply("reshape", shape=labels.type.shape)


@dataclass(frozen=True, kw_only=True)
class SigmoidCrossEntropy(_Binary):
    """Yes or no against scores: the cross-entropy of sigmoid(score) with labels from 0 to 1, the mean over all scores.

    Prediction and labels f32[N, ...]; the labels of f32[N, 1] are f32[N].
    """

    name: ClassVar[str] = "sigmoid_cross_entropy"
    bounds: ClassVar[tuple[float, float] | None] = (0.0, 1.0)

    def value(self, prediction: Formula, labels: Formula) -> Formula:
        """See `Loss`. -t log(p) - (1 - t) log(1 - p) with p = sigmoid(x) is softplus(x) - t x."""
        scores = self._scores(prediction, labels)
        return (scores.apply("softplus") - scores * labels).mean()

    def correct(self, prediction: Formula, labels: Formula) -> Formula:
        """See `Loss`."""
        right = (self._scores(prediction, labels) * (labels - 0.5)).greater(0)
        return right.cast(prediction.type.dtype).sum()


@dataclass(frozen=True, kw_only=True)
class Hinge(_Binary):
    """Signs against scores: max(0, margin - sign * score), the mean over all scores.

    Prediction and labels f32[N, ...]; the labels of f32[N, 1] are f32[N]. The sign is 1 for labels above 0 and -1 for
    all others, so that labels may be 0 and 1 as well as -1 and 1. margin = 0 is the perceptron's own rule
    (Rosenblatt, 1958); margin = 1 that of support vector machines.
    """

    name: ClassVar[str] = "hinge"
    margin: float = 1.0

    def __post_init__(self) -> None:
        self.require(self.margin >= 0, "margin must not be negative")

    def value(self, prediction: Formula, labels: Formula) -> Formula:
        """See `Loss`."""
        return (self.margin - self._signed(prediction, labels)).apply("relu").mean()

    def correct(self, prediction: Formula, labels: Formula) -> Formula:
        """See `Loss`."""
        return self._signed(prediction, labels).greater(0).cast(prediction.type.dtype).sum()

    def _signed(self, prediction: Formula, labels: Formula) -> Formula:
        """The scores, with the sign turned where the label isn't above 0: positive where they are right."""
        scores = self._scores(prediction, labels)
        return labels.greater(0).where(scores, -scores)


@dataclass(frozen=True, kw_only=True)
class MeanSquaredError(Loss):
    """Targets against values of the same shape: the mean of the squared differences over all elements."""

    name: ClassVar[str] = "mean_squared_error"

    def labels(self, prediction: TensorType) -> TensorType:
        """See `Loss`."""
        return prediction.dense()

    def value(self, prediction: Formula, labels: Formula) -> Formula:
        """See `Loss`."""
        error = prediction - labels
        return (error * error).mean()


@dataclass(frozen=True, kw_only=True)
class GraphLoss(Loss):
    """A loss of the user's own: a graph from prediction and labels to the loss, of which the mean counts."""

    name: ClassVar[str] = "graph_loss"
    graph: Graph

    def __post_init__(self) -> None:
        fits = len(self.graph.inputs) == 2 and len(self.graph.outputs) == 1 and not self.graph.parameters
        self.require(fits, f"@{self.graph.name} must map prediction and labels to one result, without parameters")

    def labels(self, prediction: TensorType) -> TensorType:
        """See `Loss`."""
        expected, labels = (v.type.dense() for v in self.graph.inputs)
        if expected != prediction.dense():
            raise ShapeError(f"the loss @{self.graph.name} takes {expected}, but the prediction is {prediction}")
        return labels

    def value(self, prediction: Formula, labels: Formula) -> Formula:
        """See `Loss`."""
        (result,) = prediction.builder.inline(self.graph, (prediction.value, labels.value))
        return prediction.with_value(result).mean() if result.type.rank else prediction.with_value(result)

    def task(self, prediction: TensorType) -> Task:
        """See `Loss`. Whole numbers, one for each vector of scores, are class numbers."""
        labels, shape = self.labels(prediction), prediction.shape
        are_classes = labels.dtype is DType.I32 and labels.shape in (shape[:-1], (*shape[:-1], 1))
        return "classes" if are_classes and len(shape) > 1 else "values"

    def correct(self, prediction: Formula, labels: Formula) -> Formula | None:
        """See `Loss`."""
        return _right_classes(prediction, labels).sum() if self._are_classes(prediction, labels) else None

    def counted(self, prediction: Formula, labels: Formula) -> Formula | None:
        """See `Loss`. Of labels for each pixel, those that are no class don't count."""
        if labels.type.rank < 2 or not self._are_classes(prediction, labels):
            return None
        classes = prediction.type.shape[-1]
        return labels.apply("one_hot", depth=classes, dtype=str(prediction.type.dtype)).sum()

    def _are_classes(self, prediction: Formula, labels: Formula) -> bool:
        """Whether labels i32[N, ...] number the scores [N, ..., classes]."""
        shape = prediction.type.shape
        return len(shape) > 1 and shape[-1] > 1 and labels.type == TensorType(DType.I32, shape[:-1])


LOSSES: Mapping[str, type[Loss]] = MappingProxyType(
    {loss.name: loss for loss in (SoftmaxCrossEntropy, SigmoidCrossEntropy, MeanSquaredError, Hinge)}
)
"""All losses by name."""


def parse_loss(text: str) -> Loss:
    """Read a loss such as `softmax_cross_entropy(label_smoothing=0.1)`; raises `NetcError`."""
    return parse_setting(text, Loss.kind, LOSSES)

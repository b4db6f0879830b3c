"""How well a detector finds the objects of a source: its answers about pictures beside what is in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .answers import Choices, Outputs, Task, View, task_of
from .answers.boxes import Box, Detection, Found, Instances, encoded
from .compiler.errors import NetcError
from .compiler.signature import Array, Network
from .runtime.data.classes import listed, plain_name
from .runtime.data.images import Preprocess, eight_bits
from .runtime.data.labels import Labels
from .runtime.data.layout import as_input
from .runtime.data.objects import ObjectSource
from .runtime.evaluation.objects import Detected, Results, box_precision, mask_precision
from .runtime.parallel.turns import hand_in, in_turn
from .runtime.parallel.world import ALONE, World

Run = Callable[[Array], Array | tuple[Array, ...]]

_ALL = Choices(least=-np.inf)


@dataclass(frozen=True, slots=True)
class Detections:
    """How well boxes, and masks where there are some, fit the objects of so many pictures."""

    samples: int
    boxes: Results
    masks: Results | None = None
    skipped: tuple[str, ...] = ()
    """Why pictures could not be used, one message each; they are not among `samples`."""


@dataclass(frozen=True, slots=True)
class CategoryMap:
    """The place of a category in the source's list for the numbers in a net's output `classes`."""

    places: Mapping[int, int]
    notes: tuple[str, ...] = ()


def detector_task(graph: Network, source: ObjectSource) -> type[Task]:
    """The task of a net that finds boxes; raises `NetcError` for other nets."""
    task = task_of(graph)
    if task not in (Detection, Instances):
        message = f"{source.name} has boxes of objects, but net {graph.name} is for {task.name}"
        raise NetcError(message, hint="a detector has outputs named boxes [N, K, 4], scores [N, K] and classes [N, K]")
    return task


def match_categories(graph: Network, source: ObjectSource, labels: Labels) -> CategoryMap:
    """Which category each class of the net is: by name, or by number where the net has no names.

    Raises `NetcError` if the net knows none of the categories by its names.
    """
    if labels.names is None:
        note = f"net {graph.name} has no names of classes: their numbers are taken for the ids of {source.name}"
        return CategoryMap({c.number: i for i, c in enumerate(source.categories)}, (note,))
    own = list(map(plain_name, labels.names))
    names = [plain_name(category.name) for category in source.categories]
    if twice := next((c.name for c, name in zip(source.categories, names, strict=True) if names.count(name) > 1), None):
        raise NetcError(f"{source.name} has two categories with the name {twice}")
    known = {own.index(name): i for i, name in enumerate(names) if own.count(name) == 1}
    if not known:
        message = f"net {graph.name} knows none of the categories of {source.name}"
        raise NetcError(message, hint=f"these are {listed([category.name for category in source.categories])}")
    unknown = [c.name for i, c in enumerate(source.categories) if i not in known.values()]
    note = f"net {graph.name} doesn't know {listed(unknown)} of {source.name}"
    return CategoryMap(known, (note,) if unknown else ())


_Seen = tuple[list[tuple[int, list[Detected]]], list[str]]
"""What was found in a batch of pictures, by their numbers, and why others could not be used."""


def evaluate_detector(
    run: Run,
    graph: Network,
    source: ObjectSource,
    categories: CategoryMap,
    progress: Callable[[int], None],
    world: World = ALONE,
) -> Detections:
    """Run a net over all pictures; `progress` is told how many are done. Pictures that can't be used are skipped.

    The ranks of a world take batches in turn: the others call `assist_detector`. Raises `NetcError` if none can be
    used.
    """
    size = graph.inputs[0].type.shape[0]
    found, skipped = dict[int, list[Detected]](), list[str]()
    own = _own_batches(run, graph, source, categories, world)
    starts = range(0, len(source), size)
    for start, (things, reasons) in zip(starts, in_turn(own, len(starts), world), strict=True):
        found.update(things)
        skipped += reasons
        progress(min(start + size, len(source)))
    if not found:
        hint = f"the first that can't be used: {skipped[0]}" if skipped else None
        raise NetcError(f"there are no pictures of {source.name} to evaluate on", hint=hint)
    instances = detector_task(graph, source) is Instances
    masks = mask_precision(source, found) if instances and source.outlined else None
    return Detections(len(found), box_precision(source, found), masks, tuple(skipped))


def assist_detector(run: Run, graph: Network, source: ObjectSource, categories: CategoryMap, world: World) -> None:
    """What a rank but the first does for `evaluate_detector`."""
    hand_in(_own_batches(run, graph, source, categories, world), world)


def _own_batches(
    run: Run, graph: Network, source: ObjectSource, categories: CategoryMap, world: World
) -> Iterator[_Seen]:
    """What this rank finds in its batches."""
    task, preprocess, size = detector_task(graph, source), Preprocess.of(graph), graph.inputs[0].type.shape[0]
    for start in range(world.rank * size, len(source), world.size * size):
        views, skipped = dict[int, View](), list[str]()
        for i in range(start, min(start + size, len(source))):
            try:
                views[i] = View(_picture(source, i, preprocess), preprocess)
            except NetcError as error:
                skipped.append(error.diagnostics[0].message)
        found = list[tuple[int, list[Detected]]]()
        if views:
            tensors = [as_input(view.preprocess(view.picture), graph.inputs[0].type) for view in views.values()]
            given = run(np.stack([tensors[i % len(tensors)] for i in range(size)]))
            for row, (i, view) in enumerate(views.items()):
                answer = task.answer(Outputs.of(graph, given, row), view, _ALL)
                assert isinstance(answer, Found), "detectors find things"
                found.append((i, _detected(answer.boxes, categories)))
        yield found, skipped


def _picture(source: ObjectSource, number: int, preprocess: Preprocess) -> Array:
    """One picture; raises `NetcError` if it is damaged, or not the one that its objects belong to."""
    picture = eight_bits(source.reader(source.keys[number]), preprocess.white)
    (height, width), (rows, columns) = source.sizes[number], picture.shape[:2]
    if (height, width) != (rows, columns):
        message = f"{source.keys[number]} has {columns} x {rows} pixels, but its annotations are for {width} x {height}"
        raise NetcError(message)
    return picture


def _detected(boxes: Sequence[Box], categories: CategoryMap) -> list[Detected]:
    """What was found, without what is none of the categories."""
    return [_object(box, categories.places[box.index]) for box in boxes if box.index in categories.places]


def _object(box: Box, category: int) -> Detected:
    left, top, right, bottom = map(float, box.sides)
    sides = left, top, right - left, bottom - top
    if box.mask is None:
        return Detected(category, sides, box.score)
    runs = {"size": list(box.mask.shape), "counts": encoded(box.mask)}
    return Detected(category, sides, box.score, runs, int(box.mask.sum()))

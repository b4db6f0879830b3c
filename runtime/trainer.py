"""A compiled training step with its state: weights, running statistics, what the optimiser remembers.

The step is one program (see `netc.compiler.training`); its state lies in the program's state region and never leaves
it between steps.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from ..compiler.errors import NetcError, near_miss
from ..compiler.graph.interpreter import evaluate_operation
from ..compiler.graph.ir import Graph, Operation, Value
from ..compiler.quantization import FakeQuantized, Ranges
from .closing import Closing
from .data.layout import as_input
from .finite import not_finite
from .program import Program, all_outputs
from .weights import write_weights

Array = NDArray[Any]

RANGES = "ranges"
"""Under this name the metadata of saved weights holds the ranges of activations."""


class Trainer(Closing):
    """Trains a network: `step(x, labels)` makes one update and returns the loss before it.

    `net` is the network, `step_graph` the graph of one step as `training_step` makes it, `program` what it was
    compiled to, `params` what its parameters have begun with. Not thread-safe: steps depend on each other.
    """

    def __init__(
        self,
        net: Graph,
        step_graph: Graph,
        program: Program,
        params: Mapping[str, Array],
        seed: int = 0,
    ) -> None:
        self.net = net
        self.step_graph = step_graph
        self.program = program
        self.batch = net.inputs[0].type.shape[0]
        self.threads = program.threads
        self.seed = seed
        self._params = params
        self._names: tuple[str, ...] = tuple(step_graph.attributes["metrics"])
        self._labels = program.module.inputs[-1][1].dtype.numpy
        self._classes: int | None = step_graph.attributes.get("classes")
        self._ignored: int | None = step_graph.attributes.get("ignored")
        self.metrics: Mapping[str, float] = {}
        self.metadata: Mapping[str, str] = {}
        """Texts by name that `save` writes beside the weights."""

    def __reduce__(self) -> NoReturn:
        cure = "pass the arguments of netc.compile_training, and what state() returns to load_state()"
        raise TypeError(f"a trainer can't be copied or pickled: {cure}")

    @property
    def peak_bytes(self) -> int:
        """Bytes that a step works on: weights and other state, intermediate results, inputs."""
        module = self.program.module
        inputs = sum(type_.bytes for _, type_ in module.inputs)
        return module.arena_bytes + module.weights_bytes + module.state_bytes + inputs

    @property
    def evaluated(self) -> Graph:
        """The network that shows how well the training does, compiled for inference."""
        return self.net

    def evaluated_weights(self, *, averaged: bool = False) -> dict[str, Array]:
        """Values for the parameters of `evaluated`; raises `NetcError` where they aren't finite."""
        return self._finite_weights(averaged)

    def step(self, *batch: Array) -> float:
        """Train on a batch: the inputs, x float32 [batch, ...], then labels: int32 [batch] or what the loss takes.

        Returns the mean loss before the update; `metrics` then holds all scalars of the step. Raises `NetcError` where
        shapes don't fit, and for labels that are no class numbers where the loss takes such.
        """
        *x, labels = batch
        x = [as_input(array, value.type) for array, value in zip(x, self.net.inputs, strict=False)]
        results = self.program(*x, self._checked(labels))
        self.metrics = {name: float(value) for name, value in zip(self._names, all_outputs(results), strict=True)}
        return self.metrics["loss"]

    def _checked(self, labels: Array) -> Array:
        """Labels as the loss takes them; class numbers are those that the net has outputs for."""
        given = np.asarray(labels)
        if self._labels.kind in "iu" and given.dtype.kind not in "iub":
            raise NetcError(f"labels are whole numbers of {self._labels}, not {given.dtype}")
        counted = given if self._ignored is None else given[given != self._ignored]
        if self._classes is not None and counted.size and not 0 <= counted.min() <= counted.max() < self._classes:
            range_ = f"0 to {self._classes - 1}"
            raise NetcError(f"labels go from {counted.min()} to {counted.max()}, but net {self.net.name} has {range_}")
        return given.astype(self._labels, copy=False)

    def state(self) -> dict[str, Array]:
        """A copy of everything that decides later steps, by name."""
        return {name: view.copy() for name, view in self.program.state.items()}

    def load_state(self, state: Mapping[str, Array]) -> None:
        """Go back to a state that `state` returned; `NetcError` if it is that of another network or optimiser."""
        views = self.program.state
        for name in (*views, *state):
            if name not in state or name not in views:
                where = "lacks" if name in views else "has"
                candidates = state if name in views else views
                raise NetcError(f"the saved state {where} `{name}`", hint=near_miss(name, candidates))
            if state[name].shape != views[name].shape or state[name].dtype != views[name].dtype:
                found, wanted = (f"{a.dtype}{list(a.shape)}" for a in (state[name], views[name]))
                raise NetcError(f"the saved state has `{name}` as {found}, but it must be {wanted}")
        for name, view in views.items():
            view[...] = state[name]

    def weights(self, *, averaged: bool = False) -> dict[str, Array]:
        """The network's parameters by name, in the graph's layout; `averaged`: moving averages where there are some."""
        state = self.program.state
        names = [op.result.name or "" for op in self.net.parameters]
        found = {name: state[name] if name in state else self._params[name] for name in names}
        if averaged:
            found |= {name: state[f"ema.{name}"] for name in names if f"ema.{name}" in state}
        return {name: array.copy() for name, array in found.items()}

    def save(self, path: str | os.PathLike[str], *, averaged: bool = False) -> None:
        """Write the network's weights as safetensors, in the order of dimensions of published ones.

        Raises `NetcError` where they aren't finite: nothing can go on from such.
        """
        write_weights(path, self.net, self._finite_weights(averaged), self.metadata)

    def _finite_weights(self, averaged: bool) -> dict[str, Array]:
        weights = self.weights(averaged=averaged)
        if (name := not_finite(weights)) is not None:
            raise NetcError(f"the parameter {name} holds infinities or NaNs: these weights are not saved")
        return weights

    def diagnose(self, x: Array, labels: Array) -> str | None:
        """Where a batch first gives something that isn't finite: an operation of the network, or a parameter."""
        params = self.weights()
        if (name := not_finite(params)) is not None:
            return f"the parameter {name}"
        values: dict[Value, Array] = {self.net.inputs[0]: x}
        for op in self.net.operations:
            operands = tuple(values[v] for v in op.operands)
            values.update(zip(op.results, evaluate_operation(op, operands, params), strict=True))
            if not all(np.isfinite(values[r]).all() for r in op.results):
                return _place(op)
        return None

    def close(self) -> None:
        """End the worker threads; no step can follow."""
        self.program.close()


class QatTrainer(Trainer):
    """Trains a network with fake quantization (`fake`); `samples` is how many its ranges were calibrated on."""

    def __init__(self, fake: FakeQuantized, samples: int, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.fake = fake
        self._samples = samples

    @property
    def evaluated(self) -> Graph:
        """The network with fake quantization."""
        return self.fake.graph

    def evaluated_weights(self, *, averaged: bool = False) -> dict[str, Array]:
        """Values for the parameters of `evaluated`, ranges among them."""
        ranges = self.ranges(averaged=averaged)
        return {**super().evaluated_weights(averaged=averaged), **self.fake.values(ranges)}

    def ranges(self, *, averaged: bool = False) -> Ranges:
        """The ranges of activations as they stand; `averaged`: their moving averages where there are some."""
        state = self.program.state
        values = dict(state)
        if averaged:
            values |= {name: state[f"ema.{name}"] for name in state if f"ema.{name}" in state}
        return self.fake.ranges(values, "quantization-aware training", self._samples)

    def save(self, path: str | os.PathLike[str], *, averaged: bool = False) -> None:
        """Write the network's weights as `Trainer.save` does, with the ranges (JSON) in the metadata."""
        metadata = {**self.metadata, RANGES: self.ranges(averaged=averaged).to_json()}
        write_weights(path, self.net, self._finite_weights(averaged), metadata)


def _place(op: Operation) -> str:
    """An operation in words: its operator, the layer that it belongs to, and where it is written."""
    layer = next((v.name.rpartition(".")[0] for v in op.operands if v.name and "." in v.name), "")
    return op.name + (f" of layer {layer}" if layer else "") + (f" ({op.location})" if op.location else "")

"""The prediction for a whole model: where operators run and why, what is cached and streamed, how long it takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import NetcError
from .facts import ModelFacts, OperatorFacts, TensorFacts
from .failures import COMPILED, Failure, doubts, failures
from .latency import Latency, estimate
from .memory import MemoryPlan, Stored, plan
from .parameters import LANES, parameters_of
from .partition import Placement, partition
from .release import LATEST, Release
from .status import Status


@dataclass(frozen=True, slots=True)
class Row:
    """One operator of the report; `stored` is None on the CPU."""

    index: int
    placement: Placement
    stored: Stored | None

    @property
    def operator(self) -> OperatorFacts:
        """The operator."""
        return self.placement.operator


@dataclass(frozen=True, slots=True)
class Report:
    """Prediction of what `edgetpu_compiler` of `release` does with `model`, without options.

    Where there are `failures`, it does nothing: the rest then tells what it would do without them.
    """

    model: ModelFacts
    release: Release
    rows: tuple[Row, ...]
    memory: MemoryPlan
    latency: Latency
    failures: tuple[Failure, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def mapped(self) -> tuple[Row, ...]:
        """Operators on the Edge TPU."""
        return tuple(row for row in self.rows if row.placement.mapped)

    @property
    def on_cpu(self) -> tuple[Row, ...]:
        """Operators on the CPU."""
        return tuple(row for row in self.rows if not row.placement.mapped)

    @property
    def causes(self) -> tuple[Row, ...]:
        """Operators on the CPU by their own fault, not for what comes before them."""
        return tuple(row for row in self.on_cpu if row.placement.status is not Status.SECOND_SUBGRAPH)

    def status_table(self) -> tuple[tuple[str, int, Status], ...]:
        """Rows of the compiler's operator log: operator, count, status; mapped ones first."""
        counts = Counter((row.operator.kind, row.placement.status) for row in self.rows)
        order = list(Status)
        return tuple(
            (kind, count, status)
            for (kind, status), count in sorted(counts.items(), key=lambda i: (order.index(i[0][1]), i[0][0]))
        )


def predict(model: ModelFacts, release: Release = LATEST) -> Report:
    """Predict what the compiler does with a model. Raises `NetcError` for one that it has already compiled."""
    if any(op.written_as == COMPILED for op in model.operators):
        hint = "predict the file that it was compiled from"
        raise NetcError(f"{model.name} is compiled for the Edge TPU already", hint=hint)
    placements = partition(model.operators, release)
    mapped = [p.operator for p in placements if p.mapped]
    from_host, pieces = _from_host(model, mapped), _pieces(model)
    sizes = [
        parameters_of(
            op,
            release,
            from_host=bool(op.activations) and op.activations[0] in from_host,
            piece=pieces.get(op.output),
        )
        for op in mapped
    ]
    memory = plan(mapped, sizes, release)
    latency = estimate(mapped, _border_bytes(model, mapped), memory.streamed)
    stored = iter(memory.operators)
    rows = tuple(Row(i, p, next(stored) if p.mapped else None) for i, p in enumerate(placements))
    return Report(model, release, rows, memory, latency, failures(model, release), doubts(mapped))


def _from_host(model: ModelFacts, mapped: Sequence[OperatorFacts]) -> set[TensorFacts]:
    """Tensors that enter from the host, also those that are only requantized."""
    made = {t for op in mapped for t in op.outputs}
    entering = {t for op in mapped for t in op.activations if t not in made}
    for op in mapped:
        if op.kind == "QUANTIZE" and op.input(0) in entering:
            entering.update(op.outputs)
    return entering


def _pieces(model: ModelFacts) -> dict[TensorFacts, int]:
    """Tensors whose channels are cut into pieces, which four doesn't divide, by the RESHAPE that alone reads them."""
    readers: dict[TensorFacts, list[OperatorFacts]] = {}
    for op in model.operators:
        for tensor in op.activations:
            readers.setdefault(tensor, []).append(op)
    found: dict[TensorFacts, int] = {}
    for tensor, ops in readers.items():
        piece = ops[0].output.channels
        cuts = len(ops) == 1 and ops[0].kind == "RESHAPE" and tensor not in model.outputs
        if cuts and piece < tensor.channels and tensor.channels % piece == 0 and piece % LANES:
            found[tensor] = piece
    return found


def _border_bytes(model: ModelFacts, mapped: Sequence[OperatorFacts]) -> int:
    """Bytes of activations that cross between host and Edge TPU."""
    made = {t for op in mapped for t in op.outputs}
    inside = set(mapped)
    read_outside = {t for op in model.operators if op not in inside for t in op.activations}
    entering = {t for op in mapped for t in op.activations if t not in made}
    leaving = made & (read_outside | set(model.outputs))
    return sum(t.size for t in entering | leaving)

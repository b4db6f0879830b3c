"""What is tried: a random network of some kind, and what must hold of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from netc.compiler.passes import pipelines
from netc.compiler.types import DType

from . import draw_network
from .checks import Machine, WrongError, check_network, draw_machine
from .gradients import DIFFERENTIABLE, EXACT, check_gradients, gradient_network
from .maker import INTEGERS, Network, Settings
from .quantized import QUANTIZABLE, check_litert, integer_network
from .references import check_references
from .source import Source, choice


@dataclass(frozen=True)
class Trial:
    """A network, and what must hold of it: `check` raises what is wrong."""

    kind: str
    network: Network
    check: Callable[[], object]
    machines: tuple[Machine, ...] = ()

    def __str__(self) -> str:
        return f"{self.kind}, {', '.join(map(str, self.machines))}{self.network!r}"


def compiled(source: Source) -> Trial:
    """A network means the same after passes, in loops, and as machine code."""
    return _compiled("compiled", source, draw_network(source))


def _compiled(kind: str, source: Source, network: Network, pipeline: str = "") -> Trial:
    machine = draw_machine(source, network)
    if pipeline:
        machine = Machine(machine.cpu, machine.threads, pipeline, machine.group)
    machines = [machine]
    if source.number(0, 3) == 3:
        machines.append(replace(machine, threads=choice(source, (1, 2, 3, 4))))
    return Trial(kind, network, lambda: check_network(network, machines), tuple(machines))


def gradients(source: Source) -> Trial:
    """First and second gradients agree with differences."""
    network = draw_network(source, Settings((DType.F64, *INTEGERS, DType.BOOL), smooth=True, zeros=False), EXACT)
    return Trial("gradients", network, lambda: check_gradients(network))


def compiled_gradients(source: Source) -> Trial:
    """The network of a loss and its gradients means the same as machine code."""
    network = draw_network(source, Settings((DType.F32, *INTEGERS, DType.BOOL), zeros=False), DIFFERENTIABLE)
    return _compiled("compiled gradients", source, gradient_network(network) or network, pipelines.TRAINING)


def quantized(source: Source) -> Trial:
    """A network of integers means the same as machine code, and in LiteRT."""
    network = draw_network(source, Settings((DType.F32,), zeros=False), QUANTIZABLE)
    integers = integer_network(network)
    if integers is None:
        return _compiled("not quantizable", source, network)
    trial = _compiled("quantized", source, integers)

    def check() -> None:
        trial.check()
        check_litert(integers)

    return Trial(trial.kind, integers, check, trial.machines)


def references(source: Source) -> Trial:
    """Operators mean what other libraries say."""
    network = draw_network(source)
    return Trial("references", network, lambda: check_references(network))


KINDS: tuple[Callable[[Source], Trial], ...] = (
    compiled,
    compiled,
    compiled,
    gradients,
    compiled_gradients,
    quantized,
    references,
)


def draw_trial(source: Source) -> Trial:
    """A trial of any kind."""
    return choice(source, KINDS)(source)


__all__ = ["KINDS", "Trial", "WrongError", "draw_trial"]

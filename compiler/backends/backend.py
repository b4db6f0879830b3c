"""What a backend is: all that depends on the kind of machine, from layouts to the bytes that are loaded or written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from .. import passes
from ..errors import NetcError
from ..graph.ir import Array, Graph
from ..graph.regions import map_regions
from ..image import Image, LoadedObject
from ..lowering import Schedules, lower
from ..lowering.choices import NetworkChoices
from ..lowering.packing import pack_weights, weights_in_order
from ..modules.module import Module
from ..passes import Observer, Pass, SplitBatch, UnrollScans
from ..precision import F32
from ..targets.target import Target

if TYPE_CHECKING:
    from ..library.facts import Extras
    from ..library.interface import Interface

SHARED_MACS = 1 << 18
"""Multiplications of a step of a scan from which on several threads share it out: each then works as long as they take
to meet a few times."""
MOST_STEPS = 512
"""More steps aren't written out: code and time to compile grow with them."""


class Backend(ABC):
    """A kind of machine. A target names its backend; a backend has no state.

    The road of a graph: `optimize`, which ends with the backend's `layouts`; `lower`, by its `schedules`; `emit`, to
    the backend's text; `object_code`, which is written, or brought into this process by `load`. `package` makes the
    weights for it, `pieces` one after the other.
    """

    name: ClassVar[str]
    """What targets call it."""
    schedules: ClassVar[Schedules]
    passes: ClassVar[tuple[type[Pass], ...]] = ()
    """Passes of its own, which people can name beside those of `compiler.passes`."""

    @property
    @abstractmethod
    def target_names(self) -> Collection[str]:
        """The machines that people can name."""

    @abstractmethod
    def find_target(self, name: str) -> Target | None:
        """The machine of this name; None if it isn't one of this backend's."""

    def layouts(self, target: Target, precision: str = F32, choices: NetworkChoices | None = None) -> tuple[Pass, ...]:
        """The passes that decide, for a machine, by which algorithms operations are computed and how values lie.

        What they decide is written on the graph; schedules obey. As a rule all values are dense. With a precision other
        than `F32`, numbers may be stored in fewer bits where that serves speed. `choices` hold decisions that were
        taken otherwise.
        """
        return ()

    def pipeline(
        self, first: str | Sequence[Pass], target: Target, precision: str = F32, choices: NetworkChoices | None = None
    ) -> tuple[Pass, ...]:
        """A pipeline, given as text or as passes, with the backend's decisions for a machine behind it."""
        given = passes.parse_pipeline(first) if isinstance(first, str) else first
        asked: dict[str, Any] = {} if precision == F32 else {"precision": precision}
        if choices is not None:
            asked["choices"] = choices
        return (*given, *self.layouts(target, **asked))

    def optimize(
        self,
        graph: Graph,
        pipeline: str | Sequence[Pass],
        target: Target,
        *,
        precision: str = F32,
        observers: Sequence[Observer] = (),
        verify: bool = True,
        choices: NetworkChoices | None = None,
    ) -> Graph:
        """Carry out a pipeline, then the backend's decisions for a machine; on the graphs inside operations first."""

        def inside(inner: Graph) -> Graph:
            return self.optimize(inner, pipeline, target, precision=precision, verify=verify)

        graph = map_regions(graph, inside)
        pipeline = self.pipeline(pipeline, target, precision, choices)
        return passes.run(graph, pipeline, observers=observers, verify=verify)

    def lower(
        self,
        graph: Graph,
        target: Target,
        threads: int = 1,
        *,
        verify: bool = True,
        choices: NetworkChoices | None = None,
        inputs_in_arena: bool = False,
    ) -> Module:
        """The loops of a graph, for `threads` threads of a machine; see `lowering.lower`.

        Steps that several threads can share out are written out (a scan is a kernel of one thread). Batches are cut
        first, into what the caches hold (see `passes.split_batch`).
        """
        split = SplitBatch(
            cache=target.l2_bytes,
            lanes=target.vector_lanes,
            threads=threads if target.has_threads else 1,
            group=int(target.is_scarce),
        )
        unrolled = (UnrollScans(macs=SHARED_MACS, steps=MOST_STEPS),) if threads > 1 and target.has_threads else ()
        graph = passes.run(graph, (*unrolled, split), verify=verify)
        return lower(
            graph,
            target,
            threads,
            self.schedules,
            verify=verify,
            choices=choices,
            inputs_in_arena=inputs_in_arena,
        )

    @abstractmethod
    def emit(self, module: Module, target: Target) -> str:
        """The backend's text of a module."""

    def assembly(self, text: str, target: Target) -> str:
        """The text as assembly, for people."""
        raise NetcError(f"there is no assembly for {target}")

    def object_code(self, text: str, target: Target) -> bytes:
        """What is loaded or written for a text that `emit` gave: as a rule the text itself."""
        return text.encode()

    def loadable_code(self, text: str, target: Target) -> bytes:
        """What is only loaded, which may be made faster than what is written; as a rule the same."""
        return self.object_code(text, target)

    def load(self, code: bytes, target: Target, symbols: Sequence[str]) -> LoadedObject:
        """Bring code into this process and find its functions, those of netc.h for a whole program.

        Raises `NetcError` where code is only written, as it is unless a backend says otherwise.
        """
        raise NetcError(f"code for {target} is written, not run here")

    def image(self, code: bytes, target: Target, symbols: Sequence[str]) -> Image | None:
        """Code linked once and for all, which offers these functions; None where only `load` can link it."""
        return None

    def fingerprint(self, target: Target) -> str:
        """What besides the text decides the bytes of `object_code`."""
        return f"{self.name}, {target!r}"

    def emit_library(self, module: Module, target: Target, interface: Interface) -> str:
        """The backend's text of a library, without embedded weights; `CODE` of the interface for the hash of this text.

        Raises `NetcError` where there are none, as it is unless a backend says otherwise.
        """
        raise NetcError(f"there are no libraries for {target}")

    def complete_library(
        self, text: str, target: Target, interface: Interface, code: int, region: bytes, extras: Extras | None = None
    ) -> str:
        """The text of `emit_library` with the hash of the code, with weights where these are embedded, and extras.

        Without extras it has no data of its own but embedded weights.
        """
        raise NotImplementedError

    def package(self, module: Module, params: Mapping[str, Array], region: Array | None = None) -> Array:
        """The weights as the module's code reads them: bytes. `region` is memory of this size to fill again."""
        return pack_weights(module, params, region)

    def pieces(self, module: Module, params: Mapping[str, Array]) -> Iterator[tuple[int, Array]]:
        """The same weights as arrays, each with its offset, in the order of offsets; between them are zeros."""
        return weights_in_order(module, params)

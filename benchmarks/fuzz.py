"""Feed netc's readers with broken inputs by the thousand and count what must not happen.

An input may be taken, or refused by a `NetcError`. Counted are other exceptions (a command would end with exit code 1),
crashes, inputs that take more than 5 seconds of processor time, and workers that grow beyond a gigabyte. Mutated TFLite
files that are read and small are compiled and run, too (one of `--run-every`).

    python benchmarks/fuzz.py                             # all kinds, as for results/robustness.md: an hour or two
    python benchmarks/fuzz.py networks texts --count 500 --seed 7
    python benchmarks/fuzz.py pictures --only 1234        # one input again, with its traceback

Inputs that failed are kept in `--keep DIR`.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from common import parser, setting, table
from fuzz_inputs import arrays, broken_picture, flatbuffer, mutated_bytes, mutated_network, program, small_text
from fuzz_readers import FILES, TEXTS, graphs, loops

import netc
from netc.compiler.errors import NetcError
from netc.compiler.tflite.reading import read_model
from netc.frontend import check_text, load_text
from netc.frontend.tflite import graph_of
from netc.runtime.data.images import decode

SECONDS = 5.0
MEMORY = 1 << 30
CHUNK = 250
"""Inputs of one worker process."""
RUN_ELEMENTS = 1 << 16
"""Largest graph, in elements of its values, that is compiled and run."""


class TooSlowError(BaseException):
    """An input takes too long."""


Outcome = str
Read = Callable[[Any, Path, bool], Outcome | None]


@dataclass(frozen=True)
class Kind:
    """A kind of input: how many, how one is drawn, how it is read."""

    count: int
    draw: Callable[[random.Random], Any]
    read: Read


def _network(text: str, folder: Path, runs: bool) -> Outcome | None:
    if check_text(text, "t.net"):
        return "refused"
    load_text(text, "t.net")
    return None


def _flatbuffer(data: bytes, folder: Path, runs: bool) -> Outcome | None:
    graph = graph_of(read_model(data), "mutant")
    if not runs or sum(v.type.size for op in graph.operations for v in op.results) > RUN_ELEMENTS:
        return None
    with netc.compile(graph, threads=1) as compiled:
        compiled(*(np.zeros(v.type.shape, v.type.dtype.numpy) for v in graph.inputs))
    return "run"


def _archive(rng: random.Random) -> tuple[str, bytes]:
    return ("arrays", arrays(rng)) if rng.random() < 0.4 else _draw_file(*ARCHIVES)(rng)


def _draw_file(*names: str) -> Callable[[random.Random], tuple[str, bytes]]:
    def draw(rng: random.Random) -> tuple[str, bytes]:
        name = rng.choice(names)
        return name, mutated_bytes(FILES[name].sound(), rng)

    return draw


def _file(given: tuple[str, bytes], folder: Path, runs: bool) -> None:
    name, data = given
    reader = FILES[name]
    for other, content in (reader.beside or {}).items():
        (folder / other).parent.mkdir(exist_ok=True)
        (folder / other).write_bytes(content())
    path = folder / reader.name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    reader.read(path)


def _picture(data: bytes, folder: Path, runs: bool) -> None:
    decode(data, "picture")


def _text(given: tuple[str, str], folder: Path, runs: bool) -> None:
    name, text = given
    reader = loops() if name == "loops" else graphs() if name == "graphs" else TEXTS[name]
    reader.read(text)


ARCHIVES = (
    *("arrays", "archive of pictures", "pictures of mnist", "labels of mnist", "cifar10", "table of labels"),
    *("description of a run", "metrics", "ranges", "labels"),
)
KINDS: Mapping[str, Kind] = {
    "networks": Kind(5_000, mutated_network, _network),
    "grammar": Kind(2_000, program, _network),
    "flatbuffers": Kind(10_000, flatbuffer, _flatbuffer),
    "pictures": Kind(25_000, broken_picture, _picture),
    "weights": Kind(6_000, _draw_file("weights", "metadata", "checkpoint"), _file),
    "archives": Kind(2_000, _archive, _file),
    "texts": Kind(3_000, small_text, _text),
}


# ---- one worker -----------------------------------------------------------------------------------------------------


def _stop(*_: object) -> None:
    raise TooSlowError


def _input(kind: str, seed: int, number: int) -> Any:
    return KINDS[kind].draw(random.Random(f"{kind} {seed} {number}"))


def _outcome(kind: str, given: Any, folder: Path, runs: bool) -> Outcome:
    """taken, run, refused, slow, or the name of an exception that should have been a `NetcError`."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        return KINDS[kind].read(given, folder, runs) or "taken"
    except NetcError:
        return "refused"
    except TooSlowError:
        return "slow"
    except BaseException as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} ({Path(place.filename).name}:{place.lineno}): {str(error)[:200]}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _work(kind: str, seed: int, numbers: range, run_every: int, pipe: Connection) -> None:
    signal.signal(signal.SIGPROF, _stop)
    warnings.simplefilter("ignore")
    os.environ["NETC_CACHE_BYTES"] = "0"
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for number in numbers:
            given = _input(kind, seed, number)
            pipe.send((number, None, 0.0, 0))
            start = time.process_time()
            outcome = _outcome(kind, given, Path(folder), number % run_every == 0)
            seconds = time.process_time() - start
            pipe.send((number, outcome, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10))


# ---- all of them ----------------------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What came of the inputs of a kind."""

    outcomes: Counter[str] = field(default_factory=Counter[str])
    faults: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    slowest: float = 0.0
    memory: int = 0

    def add(self, number: int, outcome: str, seconds: float, memory: int) -> None:
        """Count one input."""
        fine = outcome in ("taken", "run", "refused")
        word = outcome if fine or outcome in ("slow", "crash") else "traceback"
        if fine and memory > MEMORY >= self.memory:
            fine, word, outcome = False, "memory", f"{memory >> 20} MiB"
        self.outcomes[word] += 1
        self.slowest, self.memory = max(self.slowest, seconds), max(self.memory, memory)
        if not fine:
            self.faults.append((number, outcome))
            print(f"  input {number}: {outcome}", file=sys.stderr, flush=True)


def _chunks(count: int) -> Iterator[range]:
    return (range(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK))


def _run_chunk(kind: str, seed: int, numbers: range, run_every: int, tally: Tally) -> None:
    """Run inputs in a process; one that kills the process is counted, and another process goes on behind it."""
    context = multiprocessing.get_context("spawn")
    while numbers:
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(kind, seed, numbers, run_every, there))
        process.start()
        there.close()
        current: int | None = None
        try:
            while True:
                number, outcome, seconds, memory = here.recv()
                current = number if outcome is None else None
                if outcome is not None:
                    tally.add(number, outcome, seconds, memory)
        except EOFError:
            process.join()
        if current is None:
            return
        tally.add(current, "crash", 0.0, 0)
        numbers = range(current + 1, numbers.stop)


def _keep(folder: str | None, kind: str, seed: int, tally: Tally) -> None:
    for number, _ in tally.faults if folder else ():
        given = _input(kind, seed, number)
        data = given[1] if isinstance(given, tuple) else given
        path = Path(folder or "") / f"{kind}-{seed}-{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)


def _again(kind: str, seed: int, number: int) -> None:
    given = _input(kind, seed, number)
    print(repr(given)[:2000])
    with tempfile.TemporaryDirectory() as folder:
        print(KINDS[kind].read(given, Path(folder), True) or "taken")


def main() -> None:
    options = parser(__doc__)
    options.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS) + "; default: all")
    options.add_argument("--count", type=int, help="inputs of each kind; default: as many as in results/robustness.md")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--run-every", type=int, default=20, metavar="N", help="compile and run one of N flatbuffers")
    options.add_argument("--keep", metavar="DIR", help="write inputs that failed there")
    options.add_argument("--only", type=int, metavar="NUMBER", help="run this input alone, with its traceback")
    given = options.parse_args()
    kinds = given.kinds or list(KINDS)
    if unknown := set(kinds) - set(KINDS):
        raise SystemExit(f"there is no kind {', '.join(sorted(unknown))}; there are {', '.join(KINDS)}")
    if given.only is not None:
        _again(kinds[0], given.seed, given.only)
        return
    rows, faults = [], 0
    for kind in kinds:
        tally = Tally()
        for numbers in _chunks(given.count or KINDS[kind].count):
            _run_chunk(kind, given.seed, numbers, given.run_every, tally)
        _keep(given.keep, kind, given.seed, tally)
        faults += len(tally.faults)
        rows.append([kind, *_row(tally)])
    heads = ("kind", "inputs", "taken", "of these run", "refused", "tracebacks", "crashes", "over 5 s", "over 1 GiB")
    print(f"{setting('pillow', 'safetensors')}, seed {given.seed}\n")
    print(table((*heads, "slowest", "memory"), rows))
    sys.exit(1 if faults else 0)


def _row(tally: Tally) -> list[str]:
    o = tally.outcomes
    counts = (
        o.total(),
        o["taken"] + o["run"],
        o["run"],
        o["refused"],
        o["traceback"],
        o["crash"],
        o["slow"],
        o["memory"],
    )
    return [*(f"{count:,}" for count in counts), f"{tally.slowest:.2f} s", f"{tally.memory >> 20} MiB"]


if __name__ == "__main__":
    main()

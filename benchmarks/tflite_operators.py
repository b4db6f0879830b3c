"""All TFLite operators in all element types: netc against LiteRT's reference kernels on random files of one operator.

    python benchmarks/tflite_operators.py [--count 2000] [--seed 0] [--processes 2] [--operators ADD,MUL] [--types i16]
        [--no-compile] [--write docs/tflite-operators.md] [--refresh docs/tflite-operators.md]

`tests/frontend/tflite/sweep/` draws the files: shapes (ranks 0 to 5, sizes of 1, broadcasting), attributes, fused
activations, scales from 1e-6 to 1e3 with zero points at both ends. Each runs in LiteRT (`OpResolverType.BUILTIN_REF`,
in a process that may abort), in netc's interpreter and machine code, and in LiteRT again as netc writes it. It comes
out as *exact* (every byte), *close* (floats within 1e-4 of the range of the results, or three times what LiteRT's own
other kernels differ), *refused* with netc's reason, or *differs*, which makes the exit code 1. A form of an operator
that LiteRT refuses in each of the first draws is not drawn further. `--write` writes the table of all operators, which
needs a sweep without `--operators` and `--types`; `--refresh` writes anew which operators netc reads, without a sweep.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import count
from multiprocessing import get_context
from pathlib import Path

from common import parser, setting, table

sys.path.append(str(Path(__file__).resolve().parents[1]))

from tests.frontend.tflite.agreement import described
from tests.frontend.tflite.litert import LiteRT
from tests.frontend.tflite.sweep import TYPES, drawn, generators, operator_of
from tests.frontend.tflite.sweep.document import document, refreshed
from tests.frontend.tflite.sweep.verdict import OUTCOMES, Verdict, judge

PROBES = 4
"""Files after which a form that LiteRT refused in all of them is given up."""
Form = tuple[str, str]
"""A generator and an element type."""
Found = Mapping[Form, list[Verdict]]


class Runner:
    """What a process of the sweep keeps: LiteRT."""

    litert: LiteRT

    @classmethod
    def start(cls) -> None:
        """Begin a process."""
        cls.litert = LiteRT().__enter__()

    @classmethod
    def run(cls, job: tuple[str, str, int, int, bool]) -> tuple[Form, int, Verdict, str]:
        """Judge file `number` of a form."""
        name, column, seed, number, compiles = job
        d, data = drawn(name, column, seed, number)
        verdict = judge(cls.litert, d, data, number, compiles=compiles)
        return (name, column), number, verdict, described(data) if verdict.outcome == "differs" else ""


def main() -> None:
    """Draw, compare, print, and exit with 1 on differences."""
    arguments = options()
    if arguments.refresh:
        page = Path(arguments.refresh)
        page.write_text(refreshed(page.read_text(encoding="utf-8")), encoding="utf-8")
        return
    chosen = arguments.operators.split(",") if arguments.operators else None
    columns = arguments.types.split(",") if arguments.types else list(TYPES)
    names = [n for n in sorted(generators()) if chosen is None or operator_of(n) in chosen]
    forms = [(name, column) for name in names for column in columns]
    found: dict[Form, list[Verdict]] = defaultdict(list)
    context = get_context("spawn")
    with ProcessPoolExecutor(arguments.processes, context, Runner.start) as pool:
        total = 0
        for rounds in count():
            live = [f for f in forms if rounds < PROBES or any(v.outcome != "LiteRT refuses" for v in found[f])]
            if not live or total >= arguments.count:
                break
            jobs = [(*form, arguments.seed, rounds, not arguments.no_compile) for form in live]
            for form, number, verdict, what in pool.map(Runner.run, jobs, chunksize=4):
                found[form].append(verdict)
                total += verdict.outcome != "LiteRT refuses"
                if verdict.outcome == "differs":
                    print(f"<!-- {' '.join(form)}, number {number}: {verdict.detail}\n     {what} -->", flush=True)
    report(found, arguments.seed)
    if arguments.write:
        Path(arguments.write).write_text(document(found, arguments.seed), encoding="utf-8")
    raise SystemExit(any(v.outcome == "differs" for verdicts in found.values() for v in verdicts))


def options() -> argparse.Namespace:
    """The options of the command line."""
    p = parser(__doc__)
    p.add_argument("--count", type=int, default=2000, help="files that LiteRT runs, at least")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--processes", type=int, default=1)
    p.add_argument("--operators", help="names of TFLite, with commas between them; default: all")
    p.add_argument("--types", help=f"of {', '.join(TYPES)}; default: all")
    p.add_argument("--no-compile", action="store_true", help="leave machine code out, which takes most of the time")
    p.add_argument("--write", metavar="FILE", help="write the table of all operators")
    p.add_argument("--refresh", metavar="FILE", help="only write anew which operators are read, into such a table")
    return p.parse_args()


def report(found: Found, seed: int) -> None:
    """Print what came out, form by form, and the reasons for what is refused."""
    counts = {form: Counter(v.outcome for v in verdicts) for form, verdicts in found.items()}
    run = {form: c for form, c in sorted(counts.items()) if sum(c.values()) > c["LiteRT refuses"]}
    rows = [[*form, *(str(c[o] or "") for o in OUTCOMES)] for form, c in run.items()]
    total = sum(run.values(), Counter[str]())
    rows.append(["all", "", *(str(total[o]) for o in OUTCOMES)])
    print(f"{setting('ai-edge-litert')}; seed {seed}\n\n{table(['operator', 'type', *OUTCOMES], rows)}\n")
    for title, reasons in (("refused", _reasons(found)), ("not written again", _unwritten(found))):
        for reason, times in reasons.most_common():
            print(f"- {title}: {times} x {reason}")


def _reasons(found: Found) -> Counter[str]:
    return Counter(f"{form[0]} {form[1]}: {v.detail}" for form, v in _each(found) if v.outcome == "refused")


def _unwritten(found: Found) -> Counter[str]:
    return Counter(f"{form[0]} {form[1]}: {v.unwritten}" for form, v in _each(found) if v.unwritten)


def _each(found: Found) -> Iterator[tuple[Form, Verdict]]:
    items: Iterable[tuple[Form, list[Verdict]]] = found.items()
    return ((form, v) for form, verdicts in items for v in verdicts)


if __name__ == "__main__":
    main()

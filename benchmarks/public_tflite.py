"""A scoreboard of other people's TFLite files: netc's machine code against LiteRT's kernels, one line for each file.

    python benchmarks/public_tflite.py FOLDER [--results R.jsonl] [--seconds 120] [--memory 6] [--only TEXT]
                                              [--round-trip] [--edgetpu] [--show] [--first]
                                              [--again VERDICT ...]
    python benchmarks/public_tflite.py FOLDER --present [--missing]

Each file below FOLDER runs in a process of its own, with limits of time and memory. It gets two random inputs, and
the first of them again without a reset between the calls, so that state counts. Verdicts:

- `exact`: all outputs are the bytes of LiteRT's reference kernels (BUILTIN_REF; where these lack an operator, of its
  default ones);
- `close`: floats differ by at most 1e-4 of their range (the largest number, or the largest less the smallest), or by
  three times as much as LiteRT's reference kernels and its faster ones (without a delegate) differ from each other, but
  no more than 1e-2; or by at most 1e-4 from the faster ones. Integers that are made of floats may differ only where
  these two differ, too, and by no more. Where only the default resolver runs a file, whose delegate approximates, 3e-4
  of the range count. Weights that are scaled block by block are zeros to the reference kernels; there the faster ones
  count, and how they differ with and without the delegate. Files of dynamic range, in which the rounding of one sum
  moves all that follows, are also close where no output is farther away than the default resolver's, and each operator
  by itself gives LiteRT's numbers, within 1e-4, for LiteRT's operands. Where a network goes on with the places of
  largest elements, all else is compared with LiteRT's places, if netc's own are others in ties alone
  (`public_tflite_places.py`);
- `differs`, `refused` (with the reasons), `slow` (over the limit), `crashed`;
- `unjudged`: LiteRT itself does not run the file.

`--round-trip` writes each file again and compares what LiteRT makes of it, byte by byte. `--edgetpu` runs `netc check
--target edgetpu` on each, `--show` `netc show`. `--first` names the first tensor that differs. Results are lines of
JSON: a file that has one is not run again, unless its verdict is named with `--again`. Files with equal bytes run once.

`benchmarks/public_tflite.json` names public files by source, version, path and checksum; `--present` tells how many of
them are in FOLDER, and says where the others come from with `--missing`. Needs ai-edge-litert.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from public_files import Record, exit_code, files_of, folder_parser, present, run_all, summary
from public_tflite_file import steps

LIST = Path(__file__).with_suffix(".json")
NEEDED = (
    *("ai_edge_litert.interpreter", "ai_edge_litert.schema_py_generated"),
    *("netc.cli", "netc.commands.check", "netc.frontend.tflite", "netc.compiler.tflite", "netc.edgetpu"),
)


def main() -> int:
    """Run all files that have no result yet; print what all of them gave."""
    p = folder_parser(__doc__)
    p.add_argument("--round-trip", action="store_true")
    p.add_argument("--edgetpu", action="store_true")
    p.add_argument("--show", action="store_true")
    options = p.parse_args()
    files = files_of(options.folder, (".tflite", ".lite"), options.only)
    if options.present:
        return present(LIST, files, options.missing)
    rows = run_all(files, options, steps, NEEDED)
    summary(rows, "ai-edge-litert")
    _print_checks(rows)
    return exit_code(rows)


def _print_checks(rows: Sequence[Record]) -> None:
    """What the other checks gave, and how often."""
    for key in ("round_trip", "edgetpu", "show"):
        found = Counter(r[key] for r in rows if key in r)
        if found:
            print(f"\n{key}: " + ", ".join(f"{n} {what}" for what, n in found.most_common(30)))


if __name__ == "__main__":
    sys.exit(main())

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

import argparse
import hashlib
import importlib
import json
import os
import re
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from common import parser, setting, table
from public_tflite_file import run

LIST = Path(__file__).with_suffix(".json")
VERDICTS = ("exact", "close", "differs", "refused", "slow", "crashed", "unjudged")
RIGHT = ("exact", "close")
NEEDED = (
    *(
        "ai_edge_litert.interpreter",
        "ai_edge_litert.schema_py_generated",
        "netc.cli",
        "netc.commands.check",
        "netc.pipeline",
    ),
    *("netc.programs", "netc.runtime.program", "netc.frontend.tflite", "netc.compiler.tflite", "netc.edgetpu"),
)
"""What files need and is else imported when it is first used."""
Record = dict[str, Any]


def main() -> int:
    """Run all files that have no result yet; print what all of them gave."""
    options = _options()
    files = _files(options.folder, options.only)
    if options.present:
        return _present(files, options.missing)
    results = options.results or options.folder / "results.jsonl"
    known = {} if not results.is_file() else {r["sha256"]: r for r in map(json.loads, results.open())}
    rows: list[Record] = []
    _import_all()
    with results.open("a") as log:
        for sum_, path in files.items():
            record = known.get(sum_)
            if record is None or record["verdict"] in options.again:
                record = {"file": str(path.relative_to(options.folder)), "sha256": sum_, **_in_process(path, options)}
                log.write(json.dumps(record) + "\n")
                log.flush()
                print(_line(record), flush=True)
            rows.append(record)
    _summary(rows)
    return int(any(r["verdict"] in ("differs", "crashed") for r in rows))


def _options() -> argparse.Namespace:
    p = parser(__doc__)
    p.add_argument("folder", type=Path)
    p.add_argument("--results", type=Path, help="lines of JSON, to which new ones are added [FOLDER/results.jsonl]")
    p.add_argument("--seconds", type=float, default=120, help="time for each file")
    p.add_argument("--memory", type=float, default=6, help="GiB for each file")
    p.add_argument("--only", default="", metavar="REGEX", help="files whose path it is found in")
    p.add_argument("--again", nargs="*", default=[], choices=VERDICTS, help="run files with these verdicts again")
    p.add_argument("--round-trip", action="store_true")
    p.add_argument("--edgetpu", action="store_true")
    p.add_argument("--show", action="store_true")
    p.add_argument("--first", action="store_true", help="name the first tensor that differs")
    p.add_argument("--present", action="store_true", help="tell which files of the list are in the folder")
    p.add_argument("--missing", action="store_true", help="with --present: name the others")
    return p.parse_args()


def _files(folder: Path, only: str) -> dict[str, Path]:
    """All files by checksum, the small ones first."""
    found: dict[str, Path] = {}
    paths = [p for p in folder.rglob("*") if p.suffix in (".tflite", ".lite") and p.is_file()]
    for path in sorted(paths, key=lambda p: (p.stat().st_size, p)):
        if re.search(only, str(path)):
            found.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), path)
    return found


def _present(files: Mapping[str, Path], name_missing: bool) -> int:
    """Print how many files of the list are there."""
    listed = json.loads(LIST.read_text())
    missing = [row for row in listed if row["sha256"] not in files]
    print(f"{len(listed) - len(missing)} of the {len(listed)} listed files are here, {len(files)} files in all")
    for row in missing if name_missing else ():
        print(f"{row['source']}@{row['version']} {row['path']} sha256 {row['sha256']}, {row['bytes']:,} bytes")
    return int(bool(missing))


# ---- one file, in a process of its own ------------------------------------------------------------------------------


def _in_process(path: Path, options: argparse.Namespace) -> Record:
    """What a file gives; the process says how far it has come, so that a time limit has a place.

    It is a copy of this one, which has imported what all files need.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        child = os.fork()
        if not child:
            _in_copy(path, options, out.fileno(), errors.fileno())
        code = _ended(child, options.seconds)
        for file in (out, errors):
            file.seek(0)
        last = errors.read().strip().splitlines()[-1:]
        lines = [line for line in out.read().splitlines() if line.startswith("{")]
    record: Record = json.loads(lines[-1]) if lines else {"stage": "start"}
    if code is None:
        return {**record, "verdict": record.get("verdict", "slow"), "slow": record.get("stage")}
    if code or "verdict" not in record:
        return {**record, "verdict": record.get("verdict", "crashed"), "problem": f"exit code {code}: {' '.join(last)}"}
    return record


def _import_all() -> None:
    """Import what files need, so that their processes have it from the start."""
    for name in NEEDED:
        importlib.import_module(name)


def _in_copy(path: Path, options: argparse.Namespace, out: int, errors: int) -> NoReturn:
    """The body of a file's process, which ends here."""
    os.setsid()
    os.dup2(out, 1)
    os.dup2(errors, 2)
    path = path.resolve()
    os.chdir(path.parent)
    os.environ["NETC_CACHE_BYTES"] = "0"
    code = 1
    try:
        run(path, options)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _ended(child: int, seconds: float) -> int | None:
    """The exit code of a process; None if it had to be ended after so many seconds."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


# ---- printing -------------------------------------------------------------------------------------------------------


def _line(r: Record) -> str:
    """One file."""
    extra = [f"{r['compile_s']:.1f} s"] if "compile_s" in r else []
    extra += [f"share {r['share']:.2g}"] if r.get("share") else []
    extra += [str(r[key]) for key in ("slow", "problem", "unjudged", "first") if r.get(key)]
    extra += [*r.get("outputs", [])[:1], *r.get("reasons", [])[:4]]
    extra += [
        f"{key}: {r[key]}" for key in ("round_trip", "edgetpu", "show") if r.get(key, "same") not in ("same", "0", "1")
    ]
    return f"{r['verdict']:9} {r.get('kind', '?'):13} {r['file']}  {'; '.join(extra)}"


def _summary(rows: Sequence[Record]) -> None:
    """Counts by kind, then what is refused and differs, by operator."""
    print("\n" + setting("ai-edge-litert"), end="\n\n")
    of_kind: dict[str, list[Record]] = defaultdict(list)
    for r in rows:
        of_kind[r.get("kind", "?")].append(r)
    body = [_counts(kind, found) for kind, found in (*sorted(of_kind.items()), ("all", rows))]
    print(table(["kind", *VERDICTS, "right, %"], body))
    for verdict in ("differs", "crashed", "slow"):
        for r in (r for r in rows if r["verdict"] == verdict):
            print(_line(r))
    reasons: dict[str, set[str]] = defaultdict(set)
    for r in rows:
        for reason in r.get("reasons", []) if r["verdict"] == "refused" else ():
            reasons[re.sub(r" x\d+$", "", reason)].add(r["file"])
    print("\nRefused, by reason: files, reason, an example")
    for reason, names in sorted(reasons.items(), key=lambda item: (-len(item[1]), item[0])):
        print(f"{len(names):4} {reason}  [{min(names)}]")
    for key in ("round_trip", "edgetpu", "show"):
        found = Counter(r[key] for r in rows if key in r)
        if found:
            print(f"\n{key}: " + ", ".join(f"{n} {what}" for what, n in found.most_common(30)))
    seconds = sorted(r["compile_s"] for r in rows if "compile_s" in r)
    if seconds:
        print(
            f"\nseconds of processor time to compile: median {seconds[len(seconds) // 2]:.1f}, most {seconds[-1]:.1f}"
        )


def _counts(kind: str, rows: Sequence[Record]) -> list[str]:
    """A row of the table."""
    verdicts = Counter(r["verdict"] for r in rows)
    return [kind, *(str(verdicts[v]) for v in VERDICTS), _percent(rows)]


def _percent(rows: Sequence[Record]) -> str:
    """The share of files that are right, of those that LiteRT runs."""
    judged = [r for r in rows if r["verdict"] != "unjudged"]
    return f"{100 * sum(r['verdict'] in RIGHT for r in judged) / len(judged):.1f}" if judged else ""


if __name__ == "__main__":
    sys.exit(main())

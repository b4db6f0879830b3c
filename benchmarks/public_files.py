"""What the scoreboards of other people's files share: files of a folder, a process for each, results and tables.

Each file runs in a process of its own, with limits of time and memory, which prints what is known of the file as a
line of JSON after each step: a time limit then has a place. Results are lines of JSON; a file that has one isn't run
again, and files with equal bytes run once. A list names public files by source, version, path and checksum.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import pickle
import re
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from common import parser, setting, table

from netc.compiler.errors import NetcError

VERDICTS = ("exact", "close", "differs", "refused", "slow", "crashed", "unjudged")
RIGHT = ("exact", "close")
NEEDED = ("netc.pipeline", "netc.programs", "netc.runtime.program")
"""What all files need and is else imported when it is first used."""
Record = dict[str, Any]
Steps = Callable[[Path, argparse.Namespace], Iterable[Record]]
"""Parts of the record of a file, one after the other."""


# ---- options --------------------------------------------------------------------------------------------------------


def folder_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser of the options that scoreboards of folders share."""
    p = parser(description)
    p.add_argument("folder", type=Path)
    p.add_argument("--results", type=Path, help="lines of JSON, to which new ones are added [FOLDER/results.jsonl]")
    p.add_argument("--seconds", type=float, default=120, help="time for each file")
    p.add_argument("--memory", type=float, default=6, help="GiB for each file")
    p.add_argument("--only", default="", metavar="REGEX", help="files whose path it is found in")
    p.add_argument("--again", nargs="*", default=[], choices=VERDICTS, help="run files with these verdicts again")
    p.add_argument("--first", action="store_true", help="name the first tensor that differs")
    p.add_argument("--present", action="store_true", help="tell which files of the list are in the folder")
    p.add_argument("--missing", action="store_true", help="with --present: name the others")
    return p


def file_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser of the options of one file."""
    p = parser(description)
    p.add_argument("file", type=Path)
    p.add_argument("--memory", type=float, default=6, help="GiB")
    p.add_argument("--first", action="store_true", help="name the first tensor that differs")
    return p


# ---- files ----------------------------------------------------------------------------------------------------------


def files_of(folder: Path, suffixes: Sequence[str], only: str) -> dict[str, Path]:
    """All files by checksum, the small ones first."""
    found: dict[str, Path] = {}
    paths = [p for p in folder.rglob("*") if p.suffix in suffixes and p.is_file()]
    for path in sorted(paths, key=lambda p: (p.stat().st_size, p)):
        if re.search(only, str(path)):
            found.setdefault(hashlib.sha256(path.read_bytes()).hexdigest(), path)
    return found


def present(listed: Path, files: Mapping[str, Path], name_missing: bool) -> int:
    """Print how many files of a list are there, and where the others come from."""
    rows = json.loads(listed.read_text())
    missing = [row for row in rows if row["sha256"] not in files]
    print(f"{len(rows) - len(missing)} of the {len(rows)} listed files are here, {len(files)} files in all")
    for row in missing if name_missing else ():
        print(f"{row['source']}@{row['version']} {row['path']} sha256 {row['sha256']}, {row['bytes']:,} bytes")
    return int(bool(missing))


# ---- one file, in a process of its own ------------------------------------------------------------------------------


def run_all(
    files: Mapping[str, Path], options: argparse.Namespace, steps: Steps, needed: Sequence[str]
) -> list[Record]:
    """The records of all files; those that have no result yet are run, and their results added.

    `needed` are modules that the processes of files have from the start, beside those of `NEEDED`.
    """
    results = options.results or options.folder / "results.jsonl"
    known = {} if not results.is_file() else {r["sha256"]: r for r in map(json.loads, results.open())}
    rows: list[Record] = []
    for name in (*NEEDED, *needed):
        importlib.import_module(name)
    with results.open("a") as log:
        for sum_, path in files.items():
            record = known.get(sum_)
            if record is None or record["verdict"] in options.again:
                found = _in_process(path, options, steps)
                record = {"file": str(path.relative_to(options.folder)), "sha256": sum_, **found}
                log.write(json.dumps(record) + "\n")
                log.flush()
                print(line(record), flush=True)
            rows.append(record)
    return rows


def run_steps(path: Path, options: argparse.Namespace, steps: Steps) -> None:
    """Print the record of a file after each step."""
    limit = int(options.memory * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    record: Record = {}
    for update in steps(path, options):
        record.update(update)
        print(json.dumps(record), flush=True)


def _in_process(path: Path, options: argparse.Namespace, steps: Steps) -> Record:
    """What a file gives. Its process is a copy of this one, which has imported what all files need."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        child = os.fork()
        if not child:
            _in_child(path, options, steps, out.fileno(), errors.fileno())
        code = _ended(child, options.seconds)
        for file in (out, errors):
            file.seek(0)
        last = errors.read().strip().splitlines()[-1:]
        lines = [text for text in out.read().splitlines() if text.startswith("{")]
    record: Record = json.loads(lines[-1]) if lines else {"stage": "start"}
    if code is None:
        return {**record, "verdict": record.get("verdict", "slow"), "slow": record.get("stage")}
    if code or "verdict" not in record:
        return {**record, "verdict": record.get("verdict", "crashed"), "problem": f"exit code {code}: {' '.join(last)}"}
    return record


def _in_child(path: Path, options: argparse.Namespace, steps: Steps, out: int, errors: int) -> NoReturn:
    """The body of a file's process, which ends here."""
    os.setsid()
    os.dup2(out, 1)
    os.dup2(errors, 2)
    path = path.resolve()
    os.chdir(path.parent)
    os.environ["NETC_CACHE_BYTES"] = "0"
    code = 1
    try:
        run_steps(path, options, steps)
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


def in_copy(function: Callable[[], Any], whose: str) -> Any:
    """What a function gives in a copy of this process, because others' libraries abort on some files.

    Its error is given as text; `whose` library aborted is said.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.dup2(2, 1)
        try:
            answer = function()
        except (RuntimeError, ValueError, MemoryError, NetcError) as error:
            answer = (" ".join(str(error).split()) or type(error).__name__)[-300:]
        with open(writer, "wb") as file:
            pickle.dump(answer, file)
        os._exit(0)
    os.close(writer)
    with open(reader, "rb") as file:
        data = file.read()
    _, status = os.waitpid(child, 0)
    return pickle.loads(data) if data else f"{whose} aborts (status {status})"


# ---- printing -------------------------------------------------------------------------------------------------------


def line(r: Record) -> str:
    """One file."""
    extra = [f"{r['compile_s']:.1f} s"] if "compile_s" in r else []
    extra += [f"share {r['share']:.2g}"] if r.get("share") else []
    extra += [str(r[key]) for key in ("slow", "problem", "unjudged", "first") if r.get(key)]
    extra += [*r.get("outputs", [])[:1], *r.get("reasons", [])[:4]]
    extra += [
        f"{key}: {r[key]}" for key in ("round_trip", "edgetpu", "show") if r.get(key, "same") not in ("same", "0", "1")
    ]
    return f"{r['verdict']:9} {r.get('kind', '?'):13} {r['file']}  {'; '.join(extra)}"


def summary(rows: Sequence[Record], package: str) -> None:
    """Counts by kind, then what is refused and differs, by operator; `package` is the other runtime's."""
    print("\n" + setting(package), end="\n\n")
    of_kind: dict[str, list[Record]] = defaultdict(list)
    for r in rows:
        of_kind[r.get("kind", "?")].append(r)
    body = [_counts(kind, found) for kind, found in (*sorted(of_kind.items()), ("all", rows))]
    print(table(["kind", *VERDICTS, "right, %"], body))
    for verdict in ("differs", "crashed", "slow"):
        for r in (r for r in rows if r["verdict"] == verdict):
            print(line(r))
    reasons: dict[str, set[str]] = defaultdict(set)
    for r in rows:
        for reason in r.get("reasons", []) if r["verdict"] == "refused" else ():
            reasons[re.sub(r" x\d+$", "", reason)].add(r["file"])
    print("\nRefused, by reason: files, reason, an example")
    for reason, names in sorted(reasons.items(), key=lambda item: (-len(item[1]), item[0])):
        print(f"{len(names):4} {reason}  [{min(names)}]")
    seconds = sorted(r["compile_s"] for r in rows if "compile_s" in r)
    if seconds:
        print(
            f"\nseconds of processor time to compile: median {seconds[len(seconds) // 2]:.1f}, most {seconds[-1]:.1f}"
        )


def exit_code(rows: Sequence[Record]) -> int:
    """1 where netc is wrong."""
    return int(any(r["verdict"] in ("differs", "crashed") for r in rows))


def _counts(kind: str, rows: Sequence[Record]) -> list[str]:
    """A row of the table."""
    verdicts = Counter(r["verdict"] for r in rows)
    return [kind, *(str(verdicts[v]) for v in VERDICTS), _percent(rows)]


def _percent(rows: Sequence[Record]) -> str:
    """The share of files that are right, of those that the other runtime runs."""
    judged = [r for r in rows if r["verdict"] != "unjudged"]
    return f"{100 * sum(r['verdict'] in RIGHT for r in judged) / len(judged):.1f}" if judged else ""

"""What commands do on several ranks: agree on what they work on and on what is wrong, end together."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import click

from .compiler import VERSION
from .compiler.errors import EXIT_CODE, NetcError
from .frontend.diagnostics import render
from .output import echo
from .pipeline import target_of
from .runtime.parallel.world import World

T = TypeVar("T")
_PROCESSOR = "processor"


def together(world: World, work: Callable[[], T]) -> T:
    """What `work` gives on this rank; if it fails on any, all ranks end with exit code 2 and rank 0 says why, once.

    All ranks call this at the same time.
    """
    if world.size == 1:
        return work()
    result, error = list[T](), None
    try:
        result.append(work())
    except (NetcError, OSError) as found:
        error = found
    errors = world.broadcast(world.gather(error))
    wrong = [rank for rank, other in enumerate(errors) if other is not None]
    if not wrong:
        return result[0]
    world.over = True
    if world.rank:
        raise click.exceptions.Exit(EXIT_CODE)
    if error is not None:
        raise error
    first = errors[wrong[0]]
    others = f" (and {len(wrong) - 1} others)" if len(wrong) > 1 else ""
    if isinstance(first, NetcError):
        text = render(first)
    else:
        text = f"error: {first.filename}: {first.strerror}" if first.filename else f"error: {first}"
    echo(f"rank {wrong[0]}{others}: {text}", err=True)
    raise click.exceptions.Exit(EXIT_CODE)


def facts_of(cpu: str | None, files: Mapping[str, str | None]) -> dict[str, object]:
    """What must be the same on all ranks, whatever they share: version, processor, what lies in files, by their role.

    Code for another processor adds in another order: ranks of two kinds would give the bits of neither.
    """
    target = target_of(cpu)
    contents = {
        f"{role} of hash": f"{zlib.crc32(Path(path).read_bytes()):08x}"
        for role, path in files.items()
        if path and Path(path).is_file()
    }
    kind = f"{target}, of hash {zlib.crc32(repr(target).encode()):08x}"
    return {"netc": VERSION, _PROCESSOR: kind, **contents}


def agree(world: World, facts: Mapping[str, object]) -> None:
    """End all ranks, as `together` does, if what decides their work isn't the same on all of them."""
    first: Mapping[str, object] = world.broadcast(facts)

    def check() -> None:
        for name in {**first, **facts}:
            value, expected = facts.get(name), first.get(name)
            if value != expected:
                message = f"this rank was started with {name} = {value}, but rank 0 with {expected}"
                hint = "give all ranks the same command and the same data"
                if name == _PROCESSOR:
                    hint = "`--cpu` names one whose code runs on all, for example --cpu x86-64-v3"
                raise NetcError(message, hint=hint)

    together(world, check)

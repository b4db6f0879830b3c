"""What a forked child has to forget of its parent."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Renewable(Protocol):
    """What holds threads of this process, or waits for some."""

    def renew(self) -> None:
        """Forget, in a forked child, the threads of the parent."""
        ...


_RENEWABLE: weakref.WeakSet[Renewable] = weakref.WeakSet()


def renew_after_fork(thing: Renewable) -> None:
    """Have `renew` called in each forked child, as long as there is the thing."""
    _RENEWABLE.add(thing)


def _renew_all() -> None:
    for thing in list(_RENEWABLE):
        thing.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)

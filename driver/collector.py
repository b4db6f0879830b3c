"""Python's cyclic garbage collector: it looks at growing graphs, and at modules, again and again, for nothing."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_collections(*, lasting: bool = False) -> Iterator[None]:
    """Let it rest. What was made meanwhile is looked at right afterwards, all of it; if it is `lasting`, much later."""
    rests = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if rests:
            if lasting and not gc.get_freeze_count():
                gc.freeze()  # with `unfreeze` this moves all to the oldest generation, without looking at it
                gc.unfreeze()
            gc.enable()

"""Ends a rank that waits for others which never come.

`meeting.py SECONDS RANK PROCESS` is started by a rank that is about to meet the others, as MPI lets no other thread of
that process run meanwhile. It ends when its stdin does: the rank has met them, or has ended. Only the standard library
is used, so that it starts at once.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from contextlib import suppress


def main(seconds: float, rank: int, process: int) -> None:
    """Wait, and end the process unless it has met the others by then."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # these are for the rank
    if select.select([0], [], [], seconds)[0]:
        return
    hint = "does the command start on all machines, and has nothing stopped it?"
    os.write(2, f"error: rank {rank} has waited for other ranks to start for {seconds:g} s\n  hint: {hint}\n".encode())
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

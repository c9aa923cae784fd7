"""Run a module as a process that ends when its parent does: ``python -m streams.demo.tied MODULE ARGUMENTS...``

The parent holds the other end of standard input and never writes to it. When the parent is gone, however it went, the kernel
closes that end; this process then gets the signal it would get from an orderly stop, and is ended if it does not obey. That
works wherever there are pipes, unlike a parent-death signal.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

__all__ = ["tie_to_parent"]

GRACE_S = 10.0


def tie_to_parent() -> None:
    """End this process once standard input ends."""
    threading.Thread(target=_watch, name="parent", daemon=True).start()


def _watch() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    tie_to_parent()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)

"""Workers: kernels release the interpreter lock, so ordinary threads run them side by side.

A pool of Python threads starts a kernel in some tens of microseconds. It is used instead of Numba's own
threading layers because those bring an OpenMP runtime that gets in the way of PyTorch's, or abort when two
threads enter them at once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

from attnc_ir.errors import ArgumentError

MAX_THREADS = 1024

_lock = threading.Lock()
_pool: ThreadPoolExecutor | None = None
_pool_size = 0
_pool_owner = 0


def resolve_threads(threads: int | None) -> int:
    """The number of threads to use: as given, or one for each processor this process may run on."""
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    if isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= MAX_THREADS:
        raise ArgumentError(
            f"threads is {threads!r:.60}; give an integer from 1 to {MAX_THREADS}, or None for all processors"
        )
    return threads


def _shared_pool(size: int) -> ThreadPoolExecutor:
    """A pool with at least `size` threads; a forked child makes its own, for threads do not survive a
    fork.
    """
    global _pool, _pool_size, _pool_owner  # one pool per process
    with _lock:
        if _pool is None or _pool_size < size or _pool_owner != os.getpid():
            _pool, _pool_size, _pool_owner = ThreadPoolExecutor(size, "attnc"), size, os.getpid()
        return _pool


def run_workers(kernel: Callable[[int, int], int], workers: int) -> list[int]:
    """`kernel(worker, workers)` for each worker, the first in this thread; their statuses in order."""
    if workers == 1:
        return [kernel(0, 1)]
    pool = _shared_pool(workers - 1)
    others = [pool.submit(kernel, worker, workers) for worker in range(1, workers)]
    try:
        first = kernel(0, workers)
    finally:
        # Ctrl-C included: what the kernels write to must not be freed under them.
        wait(others)
    return [first, *(other.result() for other in others)]

"""Pools of processes that end when something goes wrong, instead of working on unseen."""

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import active_children

from fewbeats.errors import DataError


@contextmanager
def all_or_none(pool: ProcessPoolExecutor) -> Iterator[None]:
    """Use a new pool; if anything fails or is interrupted, end its processes at once.

    Raises:
        DataError: a process died.
    """
    before = set(active_children())
    try:
        yield
        pool.shutdown()
    except BaseException as error:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(active_children()) - before:
            process.terminate()
        if isinstance(error, BrokenProcessPool):
            raise DataError(
                "A worker process died, perhaps for want of memory: use fewer --workers. What "
                "was finished is kept; the same command goes on from there."
            ) from error
        raise

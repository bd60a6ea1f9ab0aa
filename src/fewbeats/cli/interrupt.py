"""Ctrl-C and SIGTERM end long work in order: sensors are stopped, reports are printed."""

import asyncio
import signal
from collections.abc import Coroutine
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run_until_stopped(work: Coroutine[Any, Any, None]) -> bool:
    """Run ``work`` to its end, or cancel it when the process is asked to stop.

    Returns:
        Whether it came to its own end.
    """
    return asyncio.run(_guarded(work))


async def _guarded(work: Coroutine[Any, Any, None]) -> bool:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)
    for number in _SIGNALS:
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return False
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
    return True

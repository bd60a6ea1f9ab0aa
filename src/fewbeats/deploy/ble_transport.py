"""smpclient's Bluetooth transport, such that an answer that does not come leaves it usable."""

import asyncio
from contextlib import suppress
from typing import Final

from smpclient.transport.ble import SMPBLETransport

CLOSE_S: Final = 2.0
"""How long what still waits for an answer may take to see that the link is closed."""


class BleTransport(SMPBLETransport):
    """Waits for answers in a task that a timeout does not reach.

    Cancelled while it waits, ``receive`` of smpclient 7.3 lets go of a lock that it does not
    hold: that raises RuntimeError, and whoever asks next waits for ever. So one waiter goes on,
    and the next to ask takes it over; an answer that is late is known by its sequence number.
    """

    _waiter: asyncio.Task[bytes] | None = None

    async def receive(self) -> bytes:
        """The next message, however long ago it was asked for.

        Raises:
            SMPTransportDisconnected: the link is lost.
        """
        waiter = self._waiter or asyncio.create_task(super().receive())
        self._waiter = waiter
        try:
            return await asyncio.shield(waiter)
        finally:
            if waiter.done():
                self._waiter = None

    async def disconnect(self) -> None:
        """Close the link, and end the wait for what will not come."""
        waiter, self._waiter = self._waiter, None
        try:
            await super().disconnect()
        finally:
            if waiter is not None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(
                        asyncio.gather(waiter, return_exceptions=True), timeout=CLOSE_S
                    )

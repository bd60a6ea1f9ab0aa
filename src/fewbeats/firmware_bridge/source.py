"""One address, one async iterator of chunks, whatever stands behind it."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Final, Protocol, Self
from urllib.parse import parse_qsl

from fewbeats.errors import AddressError
from fewbeats.firmware_bridge.samples import EcgChunk, SensorInfo
from fewbeats.firmware_bridge.stats import StreamStats


class Source(Protocol):
    """A sensor or a recording that streams.

    ``async with`` opens and closes it; ``async for`` gives its chunks. The iteration ends when
    the sensor says that it stops, or the recording is over; it raises SourceLostError when the
    sensor goes away without a word.
    """

    @property
    def info(self) -> SensorInfo:
        """What is known of the sensor; complete once opened."""
        ...

    @property
    def stats(self) -> StreamStats:
        """What the stream has cost so far."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def __aiter__(self) -> AsyncIterator[EcgChunk]: ...


ADDRESSES: Final = (
    "serial:///dev/ttyUSB0?codec=fewbeats&baud=115200 for a sensor on a serial port, "
    "file:PATH?lead=II&speed=1 for a WFDB record"
)


def open_source(address: str, *, speed: float | None = None) -> Source:
    """The source that an address names; ``async with`` opens it.

        serial:///dev/ttyUSB0?codec=fewbeats&baud=115200    a sensor on a serial port
        file:records/cu01?lead=0&speed=1                    a WFDB record, replayed

    Args:
        address: scheme, path, and options after a question mark. The lead of a record is a name
            or a number.
        speed: how many times faster than real time a record is replayed, 0 for as fast as the
            consumer takes it. Stands above the address's own ``speed``.

    Raises:
        AddressError: an address that names no source, with what exists instead, or a speed that
            the source cannot have.
    """
    scheme, path, query = _split(address)
    if scheme == "serial":
        return _open_serial(address, path, _options(address, query, ("codec", "baud")), speed)
    return _open_file(address, path, _options(address, query, ("lead", "speed")), speed)


def record_of(address: str) -> Path | None:
    """The record behind an address, whose annotations tell the truth; None for a live sensor.

    Raises:
        AddressError: an address that names no source.
    """
    scheme, path, _ = _split(address)
    return Path(path) if scheme == "file" else None


def _split(address: str) -> tuple[str, str, str]:
    """Scheme, path and query of an address, the first two known to be there."""
    scheme, colon, rest = address.partition(":")
    path, _, query = rest.partition("?")
    if not colon or scheme not in ("serial", "file"):
        raise AddressError(f"{address!r} is no address of a source. There is: {ADDRESSES}.")
    if path.startswith("//"):
        path = path.removeprefix("//")
        if not path.startswith("/"):
            raise AddressError(
                f"{address!r} names a host, {path.split('/')[0]!r}; a path on this machine begins "
                f"with a third slash: {scheme}:///{path}."
            )
    if not path:
        raise AddressError(f"{address!r} names no path. There is: {ADDRESSES}.")
    return scheme, path, query


def _open_serial(address: str, path: str, options: dict[str, str], speed: float | None) -> Source:
    from fewbeats.firmware_bridge.transports.serial import SerialSource

    if speed is not None:
        raise AddressError(
            f"{address!r} is a live sensor; its speed is its own. Leave speed={speed:g} out, or "
            f"give it to the simulated sensor instead."
        )
    baud = options.get("baud", "115200")
    if not (baud.isascii() and baud.isdigit() and len(baud) < 9 and int(baud) > 0):
        raise AddressError(f"baud={baud!r} in {address!r} is no rate; use one such as 115200.")
    return SerialSource(path, codec=options.get("codec", "fewbeats"), baud=int(baud))


def _open_file(address: str, path: str, options: dict[str, str], speed: float | None) -> Source:
    from fewbeats.firmware_bridge.transports.replay import ReplaySource

    if speed is None:
        speed = _number(address, options.get("speed", "1"))
    lead = options.get("lead")
    is_number = lead is not None and lead.isascii() and lead.isdigit() and len(lead) < 9
    return ReplaySource(Path(path), speed=speed, lead=int(lead) if lead and is_number else lead)


def _number(address: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise AddressError(f"speed={text!r} in {address!r} is no number.") from None


def _options(address: str, query: str, known: tuple[str, ...]) -> dict[str, str]:
    """The options after the question mark, each at most once and each a known one."""
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known or name in options or not value:
            raise AddressError(
                f"Option {name}={value} in {address!r} is unknown, empty or given twice. "
                f"There is: {', '.join(known)}."
            )
        options[name] = value
    return options

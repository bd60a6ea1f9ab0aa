"""The wire formats that an address can name with ``codec=``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol

from fewbeats.errors import AddressError
from fewbeats.firmware_bridge.codecs.fewbeats import FewbeatsDecoder
from fewbeats.firmware_bridge.codecs.fewbeats_packets import (
    Command,
    Info,
    StopReason,
    encode_command,
)
from fewbeats.firmware_bridge.samples import EcgChunk
from fewbeats.firmware_bridge.stats import StreamStats


class Decoder(Protocol):
    """From the bytes of a sensor to chunks on its own clock; pure, and the same for any split."""

    stats: StreamStats
    info: Info | None
    stopped: StopReason | None
    heard: bool
    unsupported_version: int | None

    def feed(self, data: bytes) -> list[EcgChunk]:
        """Chunks of all packets that ``data`` completes."""
        ...

    def finish(self) -> None:
        """Count what never became a packet; no more bytes can come."""
        ...


@dataclass(frozen=True, slots=True)
class Codec:
    """A wire format as a transport sees it.

    Attributes:
        name: what an address calls it.
        decoder: makes a decoder for one stream.
        opening: bytes that ask a sensor to identify itself and to stream; harmless if repeated.
        closing: bytes that ask it to stop.
    """

    name: str
    decoder: Callable[[], Decoder]
    opening: bytes
    closing: bytes


CODECS: Final[Mapping[str, Codec]] = MappingProxyType(
    {
        codec.name: codec
        for codec in (
            Codec(
                name="fewbeats",
                decoder=FewbeatsDecoder,
                opening=encode_command(Command.GET_INFO) + encode_command(Command.START),
                closing=encode_command(Command.STOP),
            ),
        )
    }
)


def find_codec(name: str) -> Codec:
    """The wire format of that name.

    Raises:
        AddressError: there is none; the message lists those that exist.
    """
    try:
        return CODECS[name]
    except KeyError:
        raise AddressError(
            f"There is no codec {name!r}; there is: {', '.join(sorted(CODECS))}."
        ) from None

"""A sensor's management port (SMP over serial or BLE): where it is, and asking it one thing.

SMP, the Simple Management Protocol of MCUboot and Zephyr:
https://docs.zephyrproject.org/latest/services/device_mgmt/smp_protocol.html
"""

import os
import struct
import termios
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeAlias, TypeVar
from urllib.parse import parse_qsl, unquote

from bleak.exc import BleakError, BleakGATTProtocolError, BleakGATTProtocolErrorCode
from cbor2 import CBORDecodeError
from serial.tools import list_ports
from smp.error import MGMT_ERR, ErrorV1, ErrorV2
from smp.exceptions import SMPDecodeError, SMPException
from smp.header import GroupId
from smp.image_management import ImageState
from smp.message import ReadResponse, WriteResponse
from smpclient import SMPClient
from smpclient.exceptions import SMPBadSequence, SMPClientException, SMPUploadError
from smpclient.generics import SMPRequest, error_v1, success
from smpclient.requests.image_management import ImageStatesRead, ImageStatesWrite
from smpclient.requests.os_management import ResetWrite
from smpclient.transport import SMPTransport, SMPTransportDisconnected
from smpclient.transport.ble import SMPBLETransportDeviceNotFound, SMPBLETransportNotSMPServer
from smpclient.transport.serial import Auto, BufferSize, SMPSerialTransport

from fewbeats.deploy.ble_transport import BleTransport
from fewbeats.errors import FirmwareError, TargetError, TargetLostError

ADDRESSES: Final = (
    "serial:///dev/ttyACM0?baud=115200 for a sensor on a cable, ble://AA:BB:CC:DD:EE:FF or "
    "ble://NAME for one on Bluetooth"
)
ANSWER_S: Final = 5.0
"""How long a sensor may take to answer; writing a block of flash is well below a second."""
ERASE_S: Final = 60.0
"""The first block of an upload may wait until the whole slot is erased."""
SERIAL_OPEN_S: Final = 2.0
BLE_OPEN_S: Final = 20.0
"""Scanning, connecting and finding the service."""
MOST_STANDSTILLS: Final = 8
"""Blocks in a row that an upload may fail to get further by, before it is given up."""
MOST_SILENCES: Final = 3
"""Blocks in a row whose answer may fail to come."""
LEAST_BLOCK_BYTES: Final = 116
"""The first carries a SHA-256, the 32 bytes of an image's header, and the fields around them."""

NOT_OPEN: Final = "A link is opened with `async with` before it is asked."

_DROPPED: Final = (TimeoutError, SMPDecodeError, SMPBadSequence)
"""What comes of a frame that noise has hit: the sensor drops it without a word."""
_LOST: Final = (SMPTransportDisconnected, SMPBLETransportDeviceNotFound, OSError, BleakError)
_UNPAIRED: Final = (
    BleakGATTProtocolErrorCode.INSUFFICIENT_AUTHENTICATION,
    BleakGATTProtocolErrorCode.INSUFFICIENT_AUTHORIZATION,
    BleakGATTProtocolErrorCode.INSUFFICIENT_ENCRYPTION,
)
_NOT_SMP: Final = (
    *(SMPException, SMPClientException, CBORDecodeError, ValueError, TypeError, KeyError),
    *(EOFError, AssertionError, struct.error, termios.error),
)
"""What smpclient and its codecs raise on bytes that are no answer to what was asked."""


@dataclass(frozen=True, slots=True)
class SerialPort:
    """A sensor on a cable."""

    path: str
    baud: int = 115200
    buffer_bytes: int | None = None
    """Largest frame to send, for a sensor that says nothing of its buffer or loses long ones."""


@dataclass(frozen=True, slots=True)
class BleDevice:
    """A sensor on Bluetooth, by its address or by the name that it advertises."""

    name: str


Address: TypeAlias = SerialPort | BleDevice
_Answer = TypeVar("_Answer", bound=ReadResponse | WriteResponse)
_RefusalV1 = TypeVar("_RefusalV1", bound=ErrorV1)
_RefusalV2 = TypeVar("_RefusalV2", bound=ErrorV2)  # type: ignore[type-arg]


def find_address(text: str) -> Address:
    """What an address names.

        serial:///dev/ttyACM0?baud=115200&buffer=256
        ble://AA:BB:CC:DD:EE:FF
        ble://HeartPatch

    Raises:
        TargetError: it names no sensor.
    """
    scheme, separator, rest = text.partition("://")
    path, _, query = rest.partition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    if not separator or scheme not in ("serial", "ble") or not path.strip("/"):
        raise TargetError(f"{text!r} is no sensor's address: give {ADDRESSES}.")
    known = ("baud", "buffer") if scheme == "serial" else ()
    if unknown := sorted(options.keys() - set(known)):
        raise TargetError(f"{text!r} has an option {unknown[0]!r} that there is not: {ADDRESSES}.")
    if scheme == "ble":
        return BleDevice(unquote(path))
    return SerialPort(
        path,
        _whole(text, options.get("baud", "115200"), 300, 12_000_000),
        _whole(text, options["buffer"], 128, 65_535) if "buffer" in options else None,
    )


def _whole(text: str, value: str, least: int, most: int) -> int:
    if not (value.isascii() and value.isdigit() and least <= int(value) <= most):
        raise TargetError(f"{text!r}: {value!r} is no whole number from {least} to {most}.")
    return int(value)


class SensorLink:
    """An open connection to a sensor's SMP server; ``async with`` opens and closes it.

    Every failure is one of three: TargetLostError, the connection broke; FirmwareError, the
    sensor refuses; TargetError, there is no such sensor, or what answers is none.
    """

    def __init__(self, address: Address, transport: SMPTransport | None = None) -> None:
        """Name the sensor.

        Args:
            address: where it is.
            transport: another way there than the address's own.
        """
        self._address = address
        self._name = address.path if isinstance(address, SerialPort) else address.name
        self._transport = transport
        self._client: SMPClient | None = None
        self._open_s = SERIAL_OPEN_S if isinstance(address, SerialPort) else BLE_OPEN_S

    async def __aenter__(self) -> Self:
        """Open it.

        Raises:
            TargetError: it is not there, is taken, or speaks no SMP.
        """
        self._transport = self._transport or self._own_transport()
        self._client = SMPClient(self._transport, self._name, ANSWER_S)
        try:
            with self._plainly():
                await self._client.connect(self._open_s)
        except TargetLostError as error:
            await self._close()
            raise TargetError(self._not_there(error)) from error
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close()

    @property
    def largest_block_bytes(self) -> int:
        """No single block of an upload holds more."""
        if self._transport is None:
            raise RuntimeError(NOT_OPEN)
        return self._transport.max_unencoded_size

    async def images(self) -> tuple[ImageState, ...]:
        """What lies in the sensor's slots for its first (mostly only) processor."""
        answer = await self._ask(ImageStatesRead(), "tell its firmware")
        if answer is None:
            raise TargetError(f"The sensor at {self._name} does not tell what firmware it has.")
        return tuple(state for state in answer.images if state.image in (None, 0))

    async def upload(self, data: bytes) -> AsyncGenerator[int, None]:
        """Send an image to the slot that does not run; yields how many bytes the sensor has.

        The first is where the sensor goes on: it recognises an image that it has a part of. That
        bears the loss of single blocks too, which then are sent again.

        Raises:
            FirmwareError: it refuses, gets no further, or the bytes that it has are not ours.
            TargetLostError: the connection broke.
            TargetError: it takes messages that are too short for an image.
        """
        if self.largest_block_bytes < LEAST_BLOCK_BYTES:
            raise TargetError(
                f"The sensor at {self._name} takes {self.largest_block_bytes} bytes at once, and "
                f"an image needs {LEAST_BLOCK_BYTES}: its firmware must tell a larger buffer "
                f"(Zephyr: CONFIG_MCUMGR_GRP_OS_MCUMGR_PARAMS) or, over Bluetooth, allow a "
                f"larger MTU. The firmware that it runs is untouched."
            )
        reached, standstills, silences = -1, 0, 0
        with self._plainly():
            while reached < len(data):
                uploaded = self._opened.upload(
                    data, first_timeout_s=ERASE_S if reached < 0 else ANSWER_S
                )
                try:
                    async with aclosing(uploaded) as offsets:  # type: ignore[type-var]
                        async for offset in offsets:
                            if offset > reached:
                                standstills = silences = 0
                            else:
                                standstills += 1
                            if not 0 <= offset <= len(data) or standstills > MOST_STANDSTILLS:
                                raise FirmwareError(
                                    f"The sensor at {self._name} gets no further than byte "
                                    f"{max(reached, 0)} of {len(data)}: it asks for byte {offset}."
                                )
                            reached = max(reached, offset)
                            yield offset
                except _DROPPED:
                    silences += 1
                    if silences > MOST_SILENCES:
                        raise

    async def mark_for_test(self, image_hash: bytes) -> None:
        """Have the bootloader start an image once, and swap back unless it is confirmed."""
        await self._ask(ImageStatesWrite(hash=image_hash), "mark the new firmware for a test")

    async def confirm(self, image_hash: bytes) -> None:
        """Keep an image for good."""
        await self._ask(ImageStatesWrite(hash=image_hash, confirm=True), "keep the new firmware")

    async def reset(self) -> None:
        """Start the sensor anew."""
        await self._ask(ResetWrite(), "start anew")

    @property
    def _opened(self) -> SMPClient:
        if self._client is None:
            raise RuntimeError(NOT_OPEN)
        return self._client

    async def _ask(
        self, request: SMPRequest[_Answer, _RefusalV1, _RefusalV2], what: str
    ) -> _Answer | None:
        """The answer; None from an old server, whose only word for "done" is error 0."""
        with self._plainly():
            try:
                answer = await self._opened.request(request)
            except _DROPPED:
                if isinstance(request, ResetWrite):
                    raise
                answer = await self._opened.request(request)  # asked twice is as asked once
        if success(answer):
            return answer
        if error_v1(answer) and answer.rc == MGMT_ERR.EOK:
            return None
        raise FirmwareError(f"The sensor at {self._name} refuses to {what}: {_code(answer)}.")

    @contextmanager
    def _plainly(self) -> Iterator[None]:
        """Every failure of three libraries as one of the project's own."""
        try:
            yield
        except TimeoutError as error:
            raise TargetLostError(f"The sensor at {self._name} does not answer.") from error
        except _LOST as error:
            if isinstance(error, BleakGATTProtocolError) and error.code in _UNPAIRED:
                raise TargetError(
                    f"{self._name} gives its management port to paired computers alone: pair it "
                    f"once (on Linux, `bluetoothctl pair` and its address), then run the same "
                    f"command again."
                ) from error
            raise TargetLostError(
                f"The connection to the sensor at {self._name} broke: {error}."
            ) from error
        except SMPBLETransportNotSMPServer as error:
            raise TargetError(
                f"{self._name} offers no SMP service over Bluetooth: its firmware cannot be "
                f"updated this way."
            ) from error
        except SMPUploadError as error:
            answer = error.args[0] if error.args else error
            why = _code(answer) if isinstance(answer, ErrorV1 | ErrorV2) else "it is not what came"
            raise FirmwareError(f"The sensor at {self._name} refuses the image: {why}.") from error
        except _NOT_SMP as error:
            raise TargetError(
                f"What answers at {self._name} does not speak SMP as it should "
                f"({type(error).__name__}): is this the sensor's management port, and its baud "
                f"rate?"
            ) from error

    def _own_transport(self) -> SMPTransport:
        if isinstance(self._address, BleDevice):
            return BleTransport()
        _check_port(self._address.path)
        size = self._address.buffer_bytes
        try:
            return SMPSerialTransport(
                Auto() if size is None else BufferSize(size),
                baudrate=self._address.baud,
                exclusive=True,  # two programs on one line would each get half of the bytes
            )
        except ValueError as error:
            raise TargetError(f"{self._name} cannot run so: {error}.") from error

    def _not_there(self, error: TargetLostError) -> str:
        if isinstance(self._address, SerialPort):
            return (
                f"{self._name} does not open: another program may have it "
                f"(`fuser {self._name}` names it), or it is no serial port."
            )
        if isinstance(error.__cause__, SMPBLETransportDeviceNotFound | TimeoutError):
            return (
                f"No sensor {self._name} is in reach over Bluetooth: is it on, near, and not "
                f"connected to something else?"
            )
        return (
            f"Bluetooth does not reach {self._name} ({error.__cause__}): has this machine an "
            f"adapter, and is it on? On Linux, `systemctl status bluetooth` tells."
        )

    async def _close(self) -> None:
        client, self._client = self._client, None
        # AttributeError: smpclient's BLE transport has no client before it has found the device.
        with suppress(*_LOST, AttributeError):
            if client is not None:
                await client.disconnect()


def _check_port(path: str) -> None:
    """What smpclient would only wait for: a port that is missing, or not for this user.

    Raises:
        TargetError: it is one of these.
    """
    if os.name == "posix" and not Path(path).exists():
        ports = ", ".join(sorted(port.device for port in list_ports.comports()))
        raise TargetError(
            f"There is no port {path}. This machine has "
            f"{ports or 'no serial port now'}; is the sensor plugged in?"
        )
    if os.name == "posix" and not os.access(path, os.R_OK | os.W_OK):
        raise TargetError(
            f"This user may not open {path}. Join its group, `sudo usermod -aG dialout $USER` on "
            f"Debian and Raspberry Pi OS, and log in again."
        )


def _code(answer: ErrorV1 | ErrorV2) -> str:  # type: ignore[type-arg]
    """An SMP refusal by name, number and group."""
    if isinstance(answer, ErrorV1):
        group, code, reason = answer.header.group_id, answer.rc, answer.rsn
    else:
        group, code, reason = answer.err.group, answer.err.rc, None
    name = group.name if isinstance(group, GroupId) else "of its maker"
    said = f", {reason!r}" if reason else ""
    return f"{code.name} (SMP error {int(code)} of group {int(group)}, {name}{said})"

"""Bluetooth without a radio: a sensor and a computer's adapter, real GATT between them.

Google's ``bumble`` is controller, host and GATT of both sides, in this process. bleak takes a
backend of ours with its public parameter ``backend=``, so that all above it is what people run.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import bleak
import pytest
from bleak.backends.characteristic import BleakGATTCharacteristic
from bleak.backends.client import BaseBleakClient
from bleak.backends.descriptor import BleakGATTDescriptor
from bleak.backends.device import BLEDevice
from bleak.backends.scanner import AdvertisementData, BaseBleakScanner
from bleak.backends.service import BleakGATTService, BleakGATTServiceCollection
from bleak.exc import BleakError, BleakGATTProtocolError
from bumble import att, gatt, hci
from bumble.controller import Controller
from bumble.core import UUID, AdvertisingData
from bumble.device import Advertisement, Connection, Device, Peer
from bumble.host import Host
from bumble.link import LocalLink
from bumble.transport.common import AsyncPipeSink
from smp.header import Header
from smpclient.transport import SMP_CHARACTERISTIC_UUID, SMP_SERVICE_UUID
from smpclient.transport import ble as smpclient_ble

from .smp_sensor import BOOT_S, Sensor, Then

COMPUTER = "F0:5C:81:00:00:01"
ADVERTISED_EVERY_MS = 20
LARGEST_MTU = 517
"""What computers ask for; the sensor's own limit is what comes of it."""
HEADER_BYTES = 3
"""Of an ATT write or notification: what it carries is shorter than the MTU by these."""


@asynccontextmanager
async def powered(name: str, address: str, link: LocalLink) -> AsyncIterator[Device]:
    """A radio and the stack above it; gone from the air at the end."""
    controller = Controller(name, link=link)
    host = Host(controller, AsyncPipeSink(controller))
    device = Device(name, address=hci.Address(address), host=host)
    await device.power_on()
    try:
        yield device
    finally:
        await device.stop_advertising()
        for connection in list(device.connections.values()):
            # As the other side sees a radio that has gone: nothing more is heard.
            await connection.disconnect(hci.HCI_CONNECTION_TIMEOUT_ERROR)
        await device.power_off()
        link.remove_controller(controller)


@dataclass
class BleSensor:
    """A sensor in the air: advertises, is connected to, starts anew."""

    link: LocalLink
    sensor: Sensor
    name: str = "HeartPatch"
    address: str = "C0:FF:EE:00:11:22"
    mtu: int = 247
    service: str = str(SMP_SERVICE_UUID)
    wants_pairing: bool = False
    starts: int = 0
    """How often it began to advertise anew, after a reset or a lost connection."""
    largest_write_bytes: int = 0
    largest_notification_bytes: int = 0
    _unread: bytes = b""
    _messages: asyncio.Queue[tuple[Connection, bytes]] = field(default_factory=asyncio.Queue)

    async def run(self) -> None:
        while True:
            then = await self._until_gone()
            if then is Then.RESETS:
                if "stays_away" in self.sensor.faults:
                    return
                self.sensor.boot()
            await asyncio.sleep(BOOT_S)

    async def _until_gone(self) -> Then:
        """One life, with a GATT server that knows nothing of the one before."""
        async with powered(self.name, self.address, self.link) as device:
            device.gatt_server.max_mtu = self.mtu
            characteristic = self._characteristic(device)
            device.add_service(gatt.Service(self.service, [characteristic]))
            await device.start_advertising(
                advertising_data=self._advertisement(),
                advertising_interval_min=ADVERTISED_EVERY_MS,
                advertising_interval_max=ADVERTISED_EVERY_MS,
                auto_restart=True,
            )
            self.starts += 1
            self._unread = b""
            while True:
                connection, message = await self._messages.get()
                answer, then = self.sensor.serve(message)
                if answer is not None:
                    await self._notify(device, connection, characteristic, answer)
                if then is not Then.STAYS:
                    return then

    def _characteristic(self, device: Device) -> gatt.Characteristic[bytes]:
        properties = gatt.Characteristic.Properties
        writeable = gatt.Characteristic.WRITEABLE
        characteristic = gatt.Characteristic(
            str(SMP_CHARACTERISTIC_UUID),
            properties.WRITE_WITHOUT_RESPONSE | properties.NOTIFY,
            writeable,
            gatt.CharacteristicValue(write=self._written),
        )
        if self.wants_pairing:
            configuration = gatt.Descriptor(
                gatt.GATT_CLIENT_CHARACTERISTIC_CONFIGURATION_DESCRIPTOR,
                writeable | gatt.Characteristic.WRITE_REQUIRES_AUTHENTICATION,
                device.gatt_server.make_descriptor_value(characteristic),
            )
            characteristic.descriptors = [configuration]
        return characteristic

    def _advertisement(self) -> bytes:
        return bytes(
            AdvertisingData(
                [
                    (AdvertisingData.COMPLETE_LOCAL_NAME, self.name.encode()),
                    (
                        AdvertisingData.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS,
                        bytes(UUID(self.service)),
                    ),
                ]
            )
        )

    def _written(self, connection: Connection, value: bytes) -> None:
        """A piece of a message; the header tells how long it is to be."""
        self.largest_write_bytes = max(self.largest_write_bytes, len(value))
        self._unread += value
        while len(self._unread) >= Header.SIZE:
            size = Header.SIZE + Header.loads(self._unread[: Header.SIZE]).length
            if len(self._unread) < size:
                return
            self._messages.put_nowait((connection, self._unread[:size]))
            self._unread = self._unread[size:]

    async def _notify(
        self,
        device: Device,
        connection: Connection,
        characteristic: gatt.Characteristic[bytes],
        answer: bytes,
    ) -> None:
        size = connection.att_mtu - HEADER_BYTES
        for start in range(0, len(answer), size):
            piece = answer[start : start + size]
            self.largest_notification_bytes = max(self.largest_notification_bytes, len(piece))
            await device.notify_subscriber(connection, characteristic, piece)
        await connection.drain()


class Scanner(BaseBleakScanner):
    """What the adapter hears."""

    adapter: ClassVar[Device]

    def __init__(self, callback: object, services: list[str] | None, *_: object, **__: object):
        super().__init__(callback, services)

    async def start(self) -> None:
        self.seen_devices = {}
        self.adapter.on(Device.EVENT_ADVERTISEMENT, self._heard)
        await self.adapter.start_scanning()

    async def stop(self) -> None:
        await self.adapter.stop_scanning()
        self.adapter.remove_listener(Device.EVENT_ADVERTISEMENT, self._heard)

    def _heard(self, advertisement: Advertisement) -> None:
        found = advertisement.data
        name = found.get(AdvertisingData.COMPLETE_LOCAL_NAME)
        services = found.get(AdvertisingData.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS) or []
        told = AdvertisementData(
            local_name=name,
            manufacturer_data={},
            service_data={},
            service_uuids=[service.to_hex_str("-").lower() for service in services],
            tx_power=None,
            rssi=advertisement.rssi,
            platform_data=(),
        )
        if self.is_allowed_uuid(told.service_uuids):
            address = advertisement.address.to_string(with_type_qualifier=False)
            device = self.create_or_update_device(address, address, name, advertisement, told)
            self.call_detection_callbacks(device, told)


class Client(BaseBleakClient):
    """A connection of the adapter's."""

    adapter: ClassVar[Device]

    def __init__(self, device: BLEDevice, services: set[str], **options: object) -> None:
        super().__init__(device, **options)
        self._wanted = [UUID(service) for service in services]
        self._advertisement: Advertisement = device.details
        self._connection: Connection | None = None

    @property
    def name(self) -> str:
        return self.address

    @property
    def mtu_size(self) -> int:
        return self._connection.att_mtu if self._connection else att.ATT_DEFAULT_MTU

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    async def connect(self, pair: bool, **_: object) -> None:
        address = self._advertisement.address
        connection = await self.adapter.connect(address, timeout=self._timeout)
        self._connection = connection
        connection.on(Connection.EVENT_DISCONNECTION, self._disconnected)
        peer = Peer(connection)
        await peer.request_mtu(LARGEST_MTU)
        self.services = BleakGATTServiceCollection()
        for service in await peer.discover_services(self._wanted):
            ours = BleakGATTService(service, service.handle, service.uuid.to_hex_str("-").lower())
            self.services.add_service(ours)
            for found in await service.discover_characteristics():
                uuid = found.uuid.to_hex_str("-").lower()
                room = partial(lambda of: of.mtu_size - HEADER_BYTES, self)
                self.services.add_characteristic(
                    BleakGATTCharacteristic(found, found.handle, uuid, [], room, ours)
                )

    async def disconnect(self) -> None:
        if self._connection is not None:
            await self._connection.disconnect()

    def _disconnected(self, _reason: int) -> None:
        self._connection = None
        if self._disconnected_callback is not None:
            self._disconnected_callback()

    async def write_gatt_char(
        self, characteristic: BleakGATTCharacteristic, data: bytes, response: bool
    ) -> None:
        if self._connection is None:
            raise BleakError("Not connected")
        await characteristic.obj.write_value(bytes(data), with_response=response)

    async def start_notify(
        self,
        characteristic: BleakGATTCharacteristic,
        callback: Callable[[bytearray], None],
        **_: object,
    ) -> None:
        try:
            await characteristic.obj.subscribe(lambda value: callback(bytearray(value)))
        except att.ATT_Error as error:
            raise BleakGATTProtocolError(error.error_code) from error

    async def stop_notify(self, characteristic: BleakGATTCharacteristic) -> None:
        await characteristic.obj.unsubscribe()

    async def read_gatt_char(self, characteristic: BleakGATTCharacteristic, **_: object):
        return bytearray(await characteristic.obj.read_value())

    async def read_gatt_descriptor(self, descriptor: BleakGATTDescriptor, **_: object):
        return bytearray(await descriptor.obj.read_value())

    async def write_gatt_descriptor(self, descriptor: BleakGATTDescriptor, data: bytes) -> None:
        await descriptor.obj.write_value(bytes(data), with_response=True)

    async def pair(self, *_: object, **__: object) -> None:
        raise BleakError("The adapter of these tests does not pair.")

    async def unpair(self) -> None:
        raise BleakError("The adapter of these tests does not pair.")


@asynccontextmanager
async def in_the_air(
    monkeypatch: pytest.MonkeyPatch, *sensors: Callable[[LocalLink], BleSensor]
) -> AsyncIterator[tuple[BleSensor, ...]]:
    """Sensors within reach of an adapter, which is the one that bleak has."""
    link = LocalLink()
    async with powered("computer", COMPUTER, link) as adapter:
        scanner = type("BumbleScanner", (Scanner,), {"adapter": adapter})
        client = type("BumbleClient", (Client,), {"adapter": adapter})

        class OverBumble(bleak.BleakScanner):
            def __init__(self, **options: object) -> None:
                super().__init__(backend=scanner, **options)

        over_bumble = partial(bleak.BleakClient, backend=client)
        monkeypatch.setattr(smpclient_ble, "BleakScanner", OverBumble)
        monkeypatch.setattr(smpclient_ble, "BleakClient", over_bumble)
        made = tuple(sensor(link) for sensor in sensors)
        lives = [asyncio.create_task(sensor.run()) for sensor in made]
        try:
            yield made
        finally:
            for life in lives:
                life.cancel()
            ended = await asyncio.gather(*lives, return_exceptions=True)
            for end in ended:
                if isinstance(end, Exception):
                    raise end

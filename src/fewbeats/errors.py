"""Every error that fewbeats raises on purpose.

    FewbeatsError
    ├── MissingExtraError        a part needs a package that is not installed
    ├── SourceError              a sensor or a recording does not deliver
    │   ├── AddressError         the address itself is wrong
    │   ├── PortNotFoundError    no such port
    │   ├── PortBusyError        the port is taken, or not ours to open
    │   ├── SourceLostError      the cable was pulled, the sensor went away
    │   └── RecordError          a recording is missing, truncated or unreadable
    ├── SignalError              samples that cannot be used as they are
    │   └── RateError            a sampling rate that the bundle cannot take
    ├── BundleError              a bundle that must not become active
    │   ├── BundleAlteredError   its bytes are not the ones that were packed
    │   ├── SignatureError       signed by nobody who is trusted here
    │   ├── DowngradeError       older than what the gateway has
    │   └── SlotError            the gateway's slots cannot take it, or hold nothing sound
    ├── KeyFileError             a key that cannot be read, written or used
    ├── HeadError                a head that must not be used
    │   └── HeadMismatchError    it belongs to another backbone
    ├── CalibrationError         the support set does not suffice
    ├── DataError                training or evaluation data that cannot be used
    ├── ExportError              a network that cannot be exported
    │   └── ParityError          the exported form does not do what the network does
    └── TargetError              a gateway or sensor that cannot be flashed or provisioned
        ├── TargetLostError      the connection to it broke
        └── FirmwareError        a sensor's firmware image, or its device's answer, is bad

Each message says what happened, with which value, and what to do about it.
"""

from typing import ClassVar


class FewbeatsError(Exception):
    """Root of the tree. ``exit_code`` is what the command line ends with."""

    exit_code: ClassVar[int] = 1


class MissingExtraError(FewbeatsError):
    """A part needs a package that is not installed."""

    exit_code = 3

    def __init__(self, extra: str, purpose: str) -> None:
        self.extra = extra
        self.purpose = purpose
        super().__init__(f"{purpose} needs an extra: pip install 'fewbeats[{extra}]'")

    def __reduce__(self) -> tuple[type["MissingExtraError"], tuple[str, str]]:
        """What to make it from again in another process: not the message alone."""
        return type(self), (self.extra, self.purpose)


class SourceError(FewbeatsError):
    """A sensor or a recording does not deliver."""

    exit_code = 4


class AddressError(SourceError):
    """The address of a source is wrong."""


class PortNotFoundError(SourceError):
    """There is no such port."""


class PortBusyError(SourceError):
    """The port is taken by another program, or may not be opened by this user."""


class SourceLostError(SourceError):
    """The sensor went away while it was streaming."""


class RecordError(SourceError):
    """A recording is missing, truncated or unreadable."""


class SignalError(FewbeatsError):
    """Samples that cannot be used as they are."""

    exit_code = 5


class RateError(SignalError):
    """A sampling rate that cannot be taken."""


class BundleError(FewbeatsError):
    """A bundle that must not become active."""

    exit_code = 6


class BundleAlteredError(BundleError):
    """The bundle's bytes are not the ones that were packed."""


class SignatureError(BundleError):
    """The bundle is signed by nobody who is trusted here."""


class DowngradeError(BundleError):
    """The bundle is older than what the gateway has, and nobody asked for that."""


class SlotError(BundleError):
    """The gateway's slots cannot take a bundle now, or hold none that is sound."""


class KeyFileError(FewbeatsError):
    """A key that cannot be read, written or used."""

    exit_code = 6


class HeadError(FewbeatsError):
    """A head that must not be used."""

    exit_code = 6


class HeadMismatchError(HeadError):
    """The head belongs to another backbone."""


class CalibrationError(FewbeatsError):
    """The support set does not suffice to calibrate from."""

    exit_code = 7


class DataError(FewbeatsError):
    """Training or evaluation data that cannot be used."""

    exit_code = 8


class ExportError(FewbeatsError):
    """A network that cannot be exported."""

    exit_code = 9


class ParityError(ExportError):
    """The exported form does not do what the trained network does."""


class TargetError(FewbeatsError):
    """A gateway or a sensor that cannot be flashed or provisioned."""

    exit_code = 10


class TargetLostError(TargetError):
    """The connection to it broke."""


class FirmwareError(TargetError):
    """A firmware image that is none, or a device that refuses it."""

"""What can be done to a gateway from elsewhere, whichever way leads to it."""

from typing import Any, Protocol
from urllib.parse import urlsplit

from fewbeats.deploy.card import card_root
from fewbeats.deploy.card_target import CardTarget
from fewbeats.deploy.openssh import Progress, SshAddress
from fewbeats.deploy.ssh_target import SshTarget
from fewbeats.device.keys import PublicKey
from fewbeats.errors import TargetError

FORMS = "dir:/media/pi/rootfs for a mounted card, ssh://pi@host for a gateway that runs"


class Target(Protocol):
    """A provisioned gateway. Tables are those that the gateway's own verbs print as JSON."""

    @property
    def running(self) -> bool:
        """Whether the gateway is at work now, or a card that will be started later."""

    def install(
        self, bundle: bytes, allow_downgrade: bool, progress: Progress | None = None
    ) -> dict[str, Any]:
        """Put a bundle on trial; what ran before stays until it is confirmed."""

    def status(self) -> dict[str, Any]:
        """What it runs, what it would fall back to, and whose heads fit."""

    def confirm(self) -> dict[str, Any]:
        """Keep the bundle that is on trial."""

    def fall_back(self) -> dict[str, Any]:
        """Go back to the bundle before."""

    def keys(self) -> dict[str, Any]:
        """The keys whose bundles it takes."""

    def trust(self, key: PublicKey) -> dict[str, Any]:
        """Take bundles of one more key."""

    def revoke(self, name: str, force: bool = False) -> dict[str, Any]:
        """Take no bundle of a key any more."""


def open_target(address: str) -> Target:
    """The gateway at an address.

    Raises:
        TargetError: the address is none, or a card's folder is no gateway's root.
    """
    scheme = urlsplit(address).scheme
    if scheme == "dir":
        return CardTarget(card_root(address))
    if scheme == "ssh":
        return SshTarget(SshAddress.parse(address))
    raise TargetError(f"{address!r} is no target; give {FORMS}.")

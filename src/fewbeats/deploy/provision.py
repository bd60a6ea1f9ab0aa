"""Make a machine a gateway, or end that: everything is judged here before anything is touched."""

import hashlib
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import fewbeats
from fewbeats.deploy.card import SCHEME, card_root
from fewbeats.deploy.card_place import CardPlace
from fewbeats.deploy.machine import Machine
from fewbeats.deploy.openssh import Progress, SshAddress
from fewbeats.deploy.payload import CONFIG, Payload, SensorUsb
from fewbeats.deploy.place import Found, OnStep, Place
from fewbeats.deploy.ssh_place import SshPlace
from fewbeats.deploy.step import Step, Told, script_of, template
from fewbeats.deploy.steps import (
    EARLIER,
    FIRST_START,
    GOING_BACK,
    ROOM_FACTOR,
    Wanted,
    steps_for,
)
from fewbeats.deploy.wheelhouse import (
    Wheelhouse,
    kept_wheelhouse,
    prepared_wheelhouse,
    wheelhouse_for,
)
from fewbeats.device.bundle import Bundle
from fewbeats.device.container import read_bundle
from fewbeats.device.gateway_config import DEVELOPMENT, PRODUCTION, GatewayConfig
from fewbeats.device.keys import Keyring, PublicKey
from fewbeats.device.settings import settings_of
from fewbeats.device.shipped import SHIPPED
from fewbeats.errors import HeadError, KeyFileError, SignatureError, TargetError

_UNKNOWN_ROOM_BYTES = 60_000_000
"""What the wheels take, about, where they have not been brought yet."""


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody asks for.

    Attributes:
        trust: public keys that the gateway is to trust.
        development: trust the development key; not for patients.
        bundle: the first bundle; None: the one that comes with fewbeats.
        config: gateway.toml to write in place of any other; None: as it is, or the default.
        sensor: which USB device is the sensor; None: as it is, or any serial port.
        wheels: folder of wheels; None: bring them, or use those that were brought before.
    """

    trust: tuple[PublicKey, ...] = ()
    development: bool = False
    bundle: Path | None = None
    config: Path | None = None
    sensor: SensorUsb | None = None
    wheels: Path | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done, found sound, with nothing touched yet.

    Attributes:
        place: where.
        found: what is there.
        mode: of the gateway that it will be.
        steps: all of them, in order.
        states: of each step before anything is done.
        wheelhouse: None: not brought yet, as in a dry run.
        payload: what is brought, but for wheels and script.
    """

    place: Place
    found: Found
    mode: str
    steps: tuple[Step, ...]
    states: tuple[Told, ...]
    wheelhouse: Wheelhouse | None
    payload: Payload

    @property
    def done(self) -> bool:
        """Whether there is nothing to do."""
        return all(told.state == "already" for told in self.states)


def open_place(address: str, now: bool = False) -> Place:
    """The machine or card at an address.

    Raises:
        TargetError: it is none that can be provisioned.
    """
    if address.startswith(SCHEME):
        return CardPlace(card_root(address), now)
    if now:
        raise TargetError("--now is for a mounted card; over ssh everything is done at once.")
    if address.startswith("ssh:"):
        return SshPlace(SshAddress.parse(address))
    raise TargetError(
        f"{address!r} is no target; give ssh://pi@host, or dir:/media/pi/rootfs for a card."
    )


def plan(place: Place, request: Request, dry: bool = False) -> Plan:
    """Judge a request, and look at how much of it is done.

    Args:
        place: where.
        request: what is asked for.
        dry: bring no wheels; steps that depend on them count as not done.

    Raises:
        TargetError: it cannot be done there, or not so.
        BundleError: the first bundle is one that this gateway would refuse.
        SignatureError: no bundle that is there would start afterwards.
        KeyFileError: a key on the gateway cannot be read, or one that is to be trusted has
            expired or has the name of another.
    """
    found = place.find()
    config, mode = _config_of(request, found)
    keys = _keys_of(request, found, mode)
    keyring = Keyring(keys, _strict(mode))
    if found.has_bundle:
        bundle = None
        _check_held(request, found, keyring)
    else:
        bundle = _first_bundle(request, keyring)
    payload = Payload.of(config, request.trust, bundle, request.sensor)
    wheelhouse = _wheelhouse(request, found.machine, dry)
    wanted = Wanted(
        payload,
        wheelhouse.release if wheelhouse else f"{fewbeats.__version__}-to-be-gathered",
        fewbeats.__version__,
        wheelhouse.installer if wheelhouse else "pip",
        ROOM_FACTOR * (wheelhouse.size_bytes if wheelhouse else _UNKNOWN_ROOM_BYTES),
        request.config is not None,
        request.sensor is not None,
    )
    card = isinstance(place, CardPlace)
    steps = (*steps_for(wanted), FIRST_START) if card else steps_for(wanted)
    states = place.look(script_of(steps))
    if [told.name for told in states] != [step.name for step in steps]:
        raise TargetError(
            f"The machine went through only {len(states)} of {len(steps)} steps when it was looked "
            f"at; it needs a POSIX shell as /bin/sh, as Debian has."
        )
    if card and any(told.state == "todo" for told in states):
        states[-1] = Told(FIRST_START.name, "todo")  # what is brought is to be removed again
    return Plan(place, found, mode, steps, tuple(states), wheelhouse, payload)


def carry_out(plan: Plan, on_step: OnStep, progress: Progress | None = None) -> None:
    """Do what is planned.

    Raises:
        TargetError: it cannot be done, or a step failed; what was at work before still is.
        TargetLostError: the connection broke; run it again.
    """
    if plan.wheelhouse is None:
        raise TargetError("A plan without wheels is for looking at; plan again to carry it out.")
    lacking = next((t for t in plan.states if t.name == "room" and t.state == "todo"), None)
    if lacking:
        raise TargetError(
            f"The machine has too little free space in /opt, or lacks python3, runuser or useradd: "
            f"it needs {ROOM_FACTOR * plan.wheelhouse.size_bytes / 1e6:.0f} MB. Nothing was "
            f"touched."
        )
    payload = plan.payload.with_script(script_of(plan.steps), plan.wheelhouse.wheels)
    plan.place.bring(payload, on_step, progress)


def look_back(place: Place) -> list[Told]:
    """Which steps of going back are done; nothing is touched.

    Raises:
        TargetError: there is no program to go back to.
    """
    states = place.look(script_of(GOING_BACK))
    if Told(EARLIER.name, "already") not in states:
        raise TargetError("There is no whole program before the present one to go back to.")
    return states


def go_back(place: Place, on_step: OnStep) -> None:
    """Make the program before the present one the one in use again.

    Raises:
        TargetError: there is none.
    """
    look_back(place)
    place.carry_out(script_of(GOING_BACK), on_step)


def _strict(mode: str) -> bool:
    return mode == PRODUCTION


def _config_of(request: Request, found: Found) -> tuple[bytes, str]:
    """The settings to bring, and the mode that the gateway will be in."""
    if request.config is not None:
        try:
            text = request.config.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise TargetError(f"Cannot read the settings {request.config} ({error}).") from error
        origin = str(request.config)
    elif found.config is not None:
        text, origin = found.config, f"the gateway's own {CONFIG}"
    else:
        mode = DEVELOPMENT if request.development else PRODUCTION
        text, origin = template(CONFIG).replace("@MODE@", mode), "the default"
    try:
        mode = settings_of(GatewayConfig, tomllib.loads(text)).mode
    except (ValueError, RecursionError, HeadError) as error:
        raise TargetError(f"{origin} makes no sense ({error}); put it right.") from error
    if request.development and mode != DEVELOPMENT:
        raise TargetError(
            f"--development does not change {origin}, which says mode = {mode!r}: give a --config "
            f"that says 'development', or leave --development away."
        )
    return text.encode(), mode


def _keys_of(request: Request, found: Found, mode: str) -> tuple[PublicKey, ...]:
    """All keys that the gateway will trust."""
    for key in request.trust:
        if key.development and _strict(mode):
            raise TargetError(
                "The development key is known to everybody: a gateway in production cannot trust "
                "it. Make a key of yours with 'fewbeats keys new'."
            )
    _check_new(request.trust, found.keys)
    named = {key.name: key for key in (*found.keys, *request.trust)}
    if _strict(mode) and not named:
        raise TargetError(
            "A gateway in production trusts only bundles that are signed with your keys: give "
            "--trust KEY.pub (make one with 'fewbeats keys new'), or --development for the bench. "
            "Nothing was touched."
        )
    return tuple(named.values())


def _check_new(new: Sequence[PublicKey], known: Sequence[PublicKey]) -> None:
    """See to it that keys take nobody's place, and that they still count.

    Raises:
        KeyFileError: one has expired, or another key has its name.
    """
    today = datetime.now(UTC).date()
    named = {key.name: key for key in known}
    for key in new:
        if key.expires is not None and today > key.expires:
            raise KeyFileError(
                f"The key {key.name} expired on {key.expires}, and today is {today}. Nothing was "
                f"touched."
            )
        other = named.setdefault(key.name, key)
        if other.raw != key.raw:
            raise KeyFileError(
                f"Two keys have the name {key.name}: {other.fingerprint} and {key.fingerprint}. "
                f"Give the new one another name, or take the old one from the gateway first "
                f"(fewbeats remote revoke). Nothing was touched."
            )


def _check_held(request: Request, found: Found, keyring: Keyring) -> None:
    """See to it that the gateway's own bundles go on, and that no other one is expected.

    Raises:
        SignatureError: none of them would start with the new mode and keys.
        TargetError: another one is asked for.
    """
    refused: SignatureError | None = None
    for held in found.held:
        try:
            keyring.check(held.signer)
        except SignatureError as error:
            refused = refused or error
        else:
            refused = None
            break
    if refused:
        raise SignatureError(
            f"No bundle of the gateway would start any more: {refused}. Flash one that starts "
            f"with these settings and keys first (fewbeats remote trust, fewbeats flash). Nothing "
            f"was touched."
        ) from refused
    if request.bundle is not None:
        sha256 = hashlib.sha256(read_bundle(request.bundle)).hexdigest()
        if sha256 not in {held.sha256 for held in found.held}:
            raise TargetError(
                f"The gateway has a bundle already, and --bundle is for the first one: leave it "
                f"away, then bring {request.bundle} with fewbeats flash. Nothing was touched."
            )


def _first_bundle(request: Request, keyring: Keyring) -> tuple[Bundle, bytes]:
    """The bundle that the gateway starts with, judged as the gateway will judge it."""
    path = request.bundle or SHIPPED
    data = read_bundle(path)
    try:
        bundle = Bundle.unpack(data, path.name, keyring, datetime.now(UTC).date())
    except SignatureError as error:
        if request.bundle is None:
            raise SignatureError(
                "The bundle that comes with fewbeats is signed with the development key, which "
                "production refuses. Sign it with a key of yours (fewbeats bundle sign "
                f"--from-development {SHIPPED} --key KEY --out first.fewbeats) and give "
                "--bundle first.fewbeats. Nothing was touched."
            ) from error
        raise
    _ = bundle.backbone
    return bundle, data


def _wheelhouse(request: Request, machine: Machine, dry: bool) -> Wheelhouse | None:
    if request.wheels is not None:
        return prepared_wheelhouse(machine, request.wheels)
    return kept_wheelhouse(machine) if dry else wheelhouse_for(machine)

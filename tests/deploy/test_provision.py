"""What is judged before a machine is touched, and how a card is prepared and given back."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from fewbeats.deploy.payload import SUMS
from fewbeats.deploy.place import Place
from fewbeats.deploy.provision import Request, carry_out, go_back, look_back, open_place, plan
from fewbeats.deploy.step import Told, script_of
from fewbeats.deploy.steps import FIRST_START, undoing_steps
from fewbeats.device.keys import DEVELOPMENT_KEY, SigningKey
from fewbeats.device.slots import open_slots
from fewbeats.errors import BundleError, KeyFileError, SignatureError, TargetError
from gateways.made_gateway import make_gateway
from gateways.made_wheels import MACHINE, card_of, wheels_for

Pack = Callable[..., bytes]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    for name, data in wheels_for(MACHINE).items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def card(tmp_path: Path) -> Path:
    return card_of(tmp_path / "rootfs")


@pytest.fixture
def place(card: Path) -> Place:
    return open_place(f"dir:{card}")


@pytest.fixture
def first(tmp_path: Path, pack: Pack) -> Path:
    path = tmp_path / "first.fewbeats"
    path.write_bytes(pack("1.0.0"))
    return path


@pytest.fixture
def request_(owner_key: SigningKey, wheels: Path, first: Path) -> Request:
    return Request(trust=(owner_key.public,), bundle=first, wheels=wheels)


def content(root: Path) -> dict[str, bytes | str]:
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else ""
        for path in sorted(root.rglob("*"))
        if not path.is_symlink()
    }


def test_a_plan_lists_every_step_and_touches_nothing(
    card: Path, place: Place, request_: Request
) -> None:
    before = content(card)
    planned = plan(place, request_, dry=True)
    assert content(card) == before
    assert planned.mode == "production"
    assert not planned.done
    assert [t.name for t in planned.states] == [s.name for s in planned.steps]
    assert planned.found.machine.tag == MACHINE.tag


def test_a_dry_run_brings_no_wheels(
    place: Place,
    first: Path,
    owner_key: SigningKey,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    planned = plan(place, Request((owner_key.public,), bundle=first), dry=True)
    assert planned.wheelhouse is None
    assert not (tmp_path / "cache").exists()
    assert Told("program", "todo") in planned.states
    with pytest.raises(TargetError, match="without wheels"):
        carry_out(planned, lambda _: None)


def test_production_needs_a_key_and_a_bundle_that_it_signed(
    card: Path, place: Place, wheels: Path, first: Path, owner_key: SigningKey
) -> None:
    before = content(card)
    for request, error, words in (
        (Request(wheels=wheels), TargetError, "--trust KEY.pub"),
        (Request((owner_key.public,), wheels=wheels), SignatureError, "fewbeats bundle sign"),
        (
            Request((SigningKey.generate("other").public,), bundle=first, wheels=wheels),
            SignatureError,
            "not trusted here",
        ),
        (Request((DEVELOPMENT_KEY.public,), wheels=wheels), TargetError, "known to everybody"),
    ):
        with pytest.raises(error, match=words):
            plan(place, request)
    assert content(card) == before


def test_development_takes_the_bundle_that_comes_along(place: Place, wheels: Path) -> None:
    planned = plan(place, Request(development=True, wheels=wheels))
    assert planned.mode == "development"
    assert b'mode = "development"' in planned.payload.files["gateway.toml"]


def test_a_damaged_first_bundle_is_refused(place: Place, request_: Request, first: Path) -> None:
    data = bytearray(first.read_bytes())
    data[1000] ^= 4
    first.write_bytes(data)
    with pytest.raises(BundleError, match="damaged"):
        plan(place, request_)


def test_settings_are_judged_and_a_technicians_own_stay(
    card: Path, place: Place, request_: Request, tmp_path: Path, wheels: Path
) -> None:
    own = card / "etc/fewbeats/gateway.toml"
    own.parent.mkdir()
    own.write_text('mode = "development"\npatient = "P7"\n', encoding="utf-8")
    planned = plan(place, request_)
    assert planned.mode == "development"
    assert planned.payload.files["gateway.toml"] == own.read_bytes()
    given = tmp_path / "gateway.toml"
    for text in ("mode = 3\n", "not toml", 'mode = "loud"\n', "unknown = 1\n"):
        given.write_text(text, encoding="utf-8")
        with pytest.raises(TargetError, match="makes no sense"):
            plan(
                place, Request(request_.trust, config=given, bundle=request_.bundle, wheels=wheels)
            )
    own.write_text('mode = "production"\n', encoding="utf-8")
    with pytest.raises(TargetError, match="--development does not change"):
        plan(place, Request(development=True, wheels=wheels))


def test_a_card_is_prepared_whole_for_its_first_start(
    card: Path, place: Place, request_: Request
) -> None:
    assert place.later
    sent: list[tuple[int, int]] = []
    carry_out(plan(place, request_), lambda _: None, lambda done, total: sent.append((done, total)))
    assert sent[-1][0] == sent[-1][1]
    setup = card / "opt/fewbeats/setup"
    subprocess.run(["sha256sum", "--quiet", "--strict", "-c", SUMS], cwd=setup, check=True)
    assert (setup / "gateway.toml").stat().st_mode & 0o777 == 0o600
    enabled = card / "etc/systemd/system/multi-user.target.wants/fewbeats-setup.service"
    assert enabled.resolve() == card / "etc/systemd/system/fewbeats-setup.service"
    assert not (card / "etc/fewbeats").exists()  # all else is done where it will run
    subprocess.run(["sh", "-n", setup / "steps.sh"], check=True)
    found = place.find()
    assert found.prepared
    # Again, with something else: what was prepared before is gone.
    (setup / "left-over").touch()
    carry_out(plan(place, request_), lambda _: None)
    assert not (setup / "left-over").exists()


def test_a_card_that_cannot_be_written_to_is_told(
    card: Path, place: Place, request_: Request
) -> None:
    planned = plan(place, request_)
    (card / "opt/fewbeats").write_text("in the way", encoding="ascii")
    with pytest.raises(TargetError, match="Cannot prepare the card"):
        carry_out(planned, lambda _: None)
    assert not place.find().prepared


def test_a_link_that_appears_meanwhile_is_not_followed(
    card: Path, place: Place, request_: Request, tmp_path: Path
) -> None:
    planned = plan(place, request_)
    outside = tmp_path / "outside"
    outside.mkdir()
    (card / "opt/fewbeats").symlink_to(outside)
    with pytest.raises(TargetError, match="leads out"):
        carry_out(planned, lambda _: None)
    assert list(outside.iterdir()) == []


def test_too_little_room_is_told_before_anything_is_sent(
    place: Place, request_: Request, card: Path
) -> None:
    planned = plan(place, request_)
    states = tuple(Told(t.name, "todo") if t.name == "room" else t for t in planned.states)
    with pytest.raises(TargetError, match="Nothing was touched"):
        carry_out(replace(planned, states=states), lambda _: None)
    assert not (card / "opt/fewbeats").exists()


def test_a_key_on_the_card_that_is_none_counts_for_nothing(
    card: Path, place: Place, request_: Request
) -> None:
    (card / "etc/fewbeats/keys").mkdir(parents=True)
    (card / "etc/fewbeats/keys/odd.pub").write_text("?", encoding="ascii")
    assert plan(place, request_).found.keys == ()


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("ssh://host/srv/root", "whole machine"),
        ("host", "is no target"),
        ("dir:/nowhere", "folder"),
    ],
)
def test_places_that_are_none_are_told(address: str, words: str) -> None:
    with pytest.raises(TargetError, match=words):
        open_place(address)


def test_now_needs_a_card_whose_programs_run_here(card: Path, request_: Request) -> None:
    with pytest.raises(TargetError, match="mounted card"):
        open_place("ssh://host", now=True)
    with pytest.raises(TargetError, match="root" if os.geteuid() else "cannot run the card's"):
        plan(open_place(f"dir:{card}", now=True), request_)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize("purge", [False, True])
def test_a_card_is_given_back(gateway: Path, purge: bool, tmp_path: Path) -> None:
    card_of(gateway)
    for name, line in {
        "passwd": "fewbeats:x:997:996::/:/x\n",
        "group": "fewbeats:x:996:\n",
    }.items():
        with (gateway / "etc" / name).open("a", encoding="ascii") as file:
            file.write(line)
    outside = tmp_path / "outside"
    outside.mkdir()
    (gateway / "opt/fewbeats/link").symlink_to(outside)
    place, script = open_place(f"dir:{gateway}"), script_of(undoing_steps(purge))
    before = content(gateway)
    assert [t.state for t in place.look(script)].count("todo") == 3
    assert content(gateway) == before
    place.carry_out(script, lambda _: None)
    assert all(told.state == "already" for told in place.look(script))
    assert outside.is_dir()
    assert not (gateway / "opt/fewbeats").exists()
    assert "fewbeats" not in (gateway / "etc/passwd").read_text(encoding="ascii")
    home = gateway / "var/lib/fewbeats"
    if purge:
        assert not home.exists()
        assert not (gateway / "etc/fewbeats").exists()
    else:
        assert (home.stat().st_uid, home.stat().st_mode & 0o777) == (0, 0o700)
        assert open_slots(gateway).status()["current"]["version"] == "1.0.0"


def test_a_key_never_takes_the_place_of_another(
    gateway: Path, owner_key: SigningKey, wheels: Path
) -> None:
    place = open_place(f"dir:{card_of(gateway)}")
    for keys in (
        [SigningKey.generate("clinic").public],
        [SigningKey.generate("new").public, SigningKey.generate("new").public],
    ):
        with pytest.raises(KeyFileError, match="Two keys have the name"):
            plan(place, Request(tuple(keys), wheels=wheels), dry=True)
    late = SigningKey.generate("late", date(2020, 1, 1)).public
    with pytest.raises(KeyFileError, match="expired on 2020-01-01"):
        plan(place, Request((late,), wheels=wheels), dry=True)
    plan(place, Request((owner_key.public,), wheels=wheels), dry=True)


def test_settings_under_which_no_bundle_would_start_are_refused(
    tmp_path: Path, owner_key: SigningKey, wheels: Path, pack: Pack
) -> None:
    bench = make_gateway(tmp_path / "bench", DEVELOPMENT_KEY, "development")
    (bench.root / "etc/fewbeats/keys/clinic.pub").unlink()
    config = tmp_path / "gateway.toml"
    config.write_text('mode = "production"\n', encoding="ascii")
    place = open_place(f"dir:{card_of(bench.root)}")
    request = Request((owner_key.public,), config=config, wheels=wheels)
    with pytest.raises(SignatureError, match=r"would start any more.*fewbeats flash"):
        plan(place, request, dry=True)
    # One of the two is enough: the gateway would fall back to it.
    owner_key.public.save(bench.root / "etc/fewbeats/keys/clinic.pub")
    open_slots(bench.root).install(pack("1.1.0"))
    assert plan(place, request, dry=True).mode == "production"


def test_a_bundle_for_a_gateway_that_has_one_is_refused_unless_it_is_that(
    gateway: Path, wheels: Path, tmp_path: Path, pack: Pack
) -> None:
    place = open_place(f"dir:{card_of(gateway)}")
    held = gateway / "var/lib/fewbeats/current/bundle.fewbeats"
    plan(place, Request(bundle=held, wheels=wheels), dry=True)
    other = tmp_path / "other.fewbeats"
    other.write_bytes(pack("2.0.0"))
    with pytest.raises(TargetError, match="fewbeats flash"):
        plan(place, Request(bundle=other, wheels=wheels), dry=True)


def test_a_card_is_prepared_alike_under_any_umask(
    card: Path, place: Place, request_: Request
) -> None:
    (card / "opt/fewbeats").mkdir(mode=0o700)  # of an earlier try
    before = os.umask(0o077)
    try:
        carry_out(plan(place, request_), lambda _: None)
    finally:
        os.umask(before)
    setup = card / "opt/fewbeats/setup"
    for name, mode in {
        "": 0o755,
        "..": 0o755,
        "wheels": 0o755,
        "bundle.fewbeats": 0o644,
        "gateway.toml": 0o600,
    }.items():
        assert (setup / name).stat().st_mode & 0o777 == mode, name
    unit = card / "etc/systemd/system/fewbeats-setup.service"
    assert unit.stat().st_mode & 0o777 == 0o644


def test_the_first_start_is_a_step_of_the_plan(place: Place, request_: Request) -> None:
    planned = plan(place, request_, dry=True)
    assert planned.steps[-1] == FIRST_START
    assert planned.states[-1] == Told("first-start", "todo")


def test_going_back_without_a_program_before_is_told(gateway: Path) -> None:
    place = open_place(f"dir:{card_of(gateway)}")
    for act in (look_back, lambda place: go_back(place, lambda _: None)):
        with pytest.raises(TargetError, match="no whole program"):
            act(place)


def test_what_is_no_text_in_a_programs_output_is_no_trouble(card: Path, place: Place) -> None:
    with pytest.raises(TargetError, match="\N{REPLACEMENT CHARACTER}"):
        place.carry_out("printf '\\377\\n'; exit 3", lambda _: None)

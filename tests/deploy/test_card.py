"""A mounted card: which folders are taken for one, and flashing it without its gateway."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fewbeats.deploy.card import card_root, check_links, file_system_of
from fewbeats.deploy.target import open_target
from fewbeats.device.keys import SigningKey
from fewbeats.device.slots import open_slots
from fewbeats.errors import BundleError, TargetError


def test_a_card_is_flashed_for_its_next_start(gateway: Path, pack: Callable[..., bytes]) -> None:
    target = open_target(f"dir:{gateway}")
    assert not target.running
    installed = target.install(pack("1.1.0"), False)
    assert installed["current"]["state"] == "trial"
    assert installed["current"]["starts_left"] == 3  # the trial begins where the card starts
    started = open_slots(gateway).start()
    assert (started.bundle.version, started.starts_left) == ("1.1.0", 2)
    assert target.fall_back()["current"]["version"] == "1.0.0"
    target.install(pack("1.2.0"), False)
    assert target.confirm()["current"]["state"] == "confirmed"
    assert target.status()["previous"]["version"] == "1.0.0"


def test_the_cards_own_trust_decides(gateway: Path, pack: Callable[..., bytes]) -> None:
    stranger = SigningKey.generate("stranger")
    target = open_target(f"dir:{gateway}")
    with pytest.raises(BundleError, match="not trusted"):
        target.install(pack("1.1.0", stranger), False)
    assert {key["name"] for key in target.trust(stranger.public)["keys"]} == {"clinic", "stranger"}
    target.install(pack("1.1.0", stranger), False)
    assert {key["name"] for key in target.revoke("stranger", force=True)["keys"]} == {"clinic"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_what_is_written_belongs_to_the_cards_service(
    gateway: Path, pack: Callable[..., bytes]
) -> None:
    home = gateway / "var/lib/fewbeats"
    os.chown(home, 997, 996)
    open_target(f"dir:{gateway}").install(pack("1.1.0"), False)
    for path in home.rglob("*"):
        state = path.lstat()
        assert (state.st_uid, state.st_gid) == (997, 996), path


def test_a_link_out_of_the_card_is_refused_before_anything_is_read(
    gateway: Path, tmp_path: Path, pack: Callable[..., bytes]
) -> None:
    outside = tmp_path / "this-machine"
    (gateway / "var/lib").rename(outside)
    (gateway / "var/lib").symlink_to(outside)
    with pytest.raises(TargetError, match="leads out"):
        open_target(f"dir:{gateway}")
    (gateway / "var/lib").unlink()
    outside.rename(gateway / "var/lib")
    (gateway / "var/lib/fewbeats/patients").symlink_to("/etc")
    with pytest.raises(TargetError, match="patients"):
        open_target(f"dir:{gateway}")


def test_a_link_within_the_card_is_followed(gateway: Path) -> None:
    (gateway / "data").mkdir()
    (gateway / "var/lib").rename(gateway / "data/lib")
    (gateway / "var/lib").symlink_to("../data/lib")
    assert open_target(f"dir:{gateway}").status()["current"]["version"] == "1.0.0"


def test_folders_that_are_no_card_are_refused_with_what_to_do(tmp_path: Path) -> None:
    image, boot, plain = tmp_path / "pi.img", tmp_path / "bootfs", tmp_path / "plain"
    image.write_bytes(b"\0" * 512)
    boot.mkdir()
    (boot / "cmdline.txt").write_text("console=serial0", encoding="ascii")
    plain.mkdir()
    for place, words in {
        str(image): "losetup",
        str(boot): "second partition",
        str(plain): "no Linux root",
        str(tmp_path / "missing"): "no folder",
        "/": "this machine itself",
        "": "names no folder",
    }.items():
        with pytest.raises(TargetError, match=words):
            card_root(f"dir:{place}")


def test_a_card_that_is_no_gateway_or_not_yet_is_told(gateway: Path) -> None:
    wants = gateway / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / "fewbeats-setup.service").symlink_to("../fewbeats-setup.service")
    with pytest.raises(TargetError, match="awaits its first start"):
        open_target(f"dir:{gateway}")
    (wants / "fewbeats-setup.service").unlink()
    (gateway / "etc/fewbeats/gateway.toml").unlink()
    with pytest.raises(TargetError, match="fewbeats provision"):
        open_target(f"dir:{gateway}")


def test_the_file_system_is_that_of_the_deepest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(
        "/dev/sda / ext4 rw 0 0\n/dev/sdb1 /media/pi/boot\\040fs vfat rw 0 0\n"
        "/dev/sdb2 /media/pi/rootfs ext4 rw 0 0\n",
        encoding="ascii",
    )
    assert file_system_of(Path("/media/pi/boot fs"), mounts) == "vfat"
    assert file_system_of(Path("/media/pi/rootfs/etc"), mounts) == "ext4"
    assert file_system_of(Path("/home"), mounts) == "ext4"
    assert file_system_of(Path("/home"), tmp_path / "none") == ""


@pytest.mark.parametrize("address", ["", "pi@host", "http://host", "/media/pi/rootfs", "serial:x"])
def test_what_is_no_target_is_told(address: str) -> None:
    with pytest.raises(TargetError, match="is no target"):
        open_target(address)


def test_a_link_is_found_among_however_many_files_and_behind_another_link(
    gateway: Path, tmp_path: Path
) -> None:
    patients = gateway / "var/lib/fewbeats/patients"
    patients.mkdir(exist_ok=True)
    for number in range(10_001):
        (gateway / "etc/fewbeats" / str(number)).touch()
    (patients / "P1").symlink_to(tmp_path)
    with pytest.raises(TargetError, match="P1"):
        check_links(gateway)
    (patients / "P1").unlink()
    (gateway / "srv/more").mkdir(parents=True)
    (patients / "P2").symlink_to("../../../../srv/more")
    check_links(gateway)
    (gateway / "srv/more/deep").symlink_to(tmp_path)
    with pytest.raises(TargetError, match="deep"):
        check_links(gateway)


@pytest.mark.parametrize("name", ["etc/passwd", "etc/group", "etc/shadow", "etc/gshadow"])
def test_accounts_of_this_machine_are_not_reached_through_a_card(gateway: Path, name: str) -> None:
    (gateway / name).unlink(missing_ok=True)
    (gateway / name).symlink_to(f"/{name}")
    with pytest.raises(TargetError, match=name):
        check_links(gateway)


def test_links_in_a_circle_are_told(gateway: Path) -> None:
    (gateway / "etc/fewbeats/round").symlink_to("round")
    with pytest.raises(TargetError, match="circle"):
        check_links(gateway)


def test_a_key_can_be_read_by_the_service_whatever_the_umask(gateway: Path) -> None:
    before = os.umask(0o077)
    try:
        open_target(f"dir:{gateway}").trust(SigningKey.generate("second").public)
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)
    assert (gateway / "etc/fewbeats/keys/second.pub").stat().st_mode & 0o777 == 0o644

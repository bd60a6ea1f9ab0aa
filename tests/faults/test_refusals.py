"""What a gateway must refuse; and what the matrix has no row for: real disks and processes."""

import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faults.bundles import KEY, forged, manifest_of, packed
from faults.circumstances import expired_key, lost_connection, two_at_once
from faults.disk import write_tree
from faults.operations import OTHER, gateway, room, tree_before
from faults.outcome import goes_on, outcome_of
from faults.refusals import WATCHED, Refusal, good, mutated, refusals, refuse, without_lock
from fewbeats.device.bundle import Bundle
from fewbeats.device.container import FORMAT
from fewbeats.device.keys import Keyring
from fewbeats.device.layout import Layout
from fewbeats.device.slot_files import digest
from fewbeats.device.slots import open_slots
from fewbeats.errors import BundleError, FewbeatsError, SlotError

SAMPLED = {"a bit flipped, every byte": 3, "truncated, every length": 7}
"""The rest is for the command that prints the matrix."""


@pytest.mark.parametrize("refusal", refusals(1, 100), ids=lambda refusal: refusal.name)
def test_it_is_refused_and_the_old_bundle_starts(refusal: Refusal) -> None:
    row = refuse(refusal, SAMPLED.get(refusal.name, 1))
    assert not row.violations
    assert row.counts["refused"] > 0 and (refusal.harmless or not row.counts["new"])


@pytest.mark.parametrize("circumstance", [expired_key, two_at_once, lambda: lost_connection(20)])
def test_a_refusal_for_which_the_bundle_is_not_to_blame(circumstance) -> None:
    row = circumstance()
    assert not row.violations and row.counts["refused"] > 0


def test_the_bundle_of_all_refusals_is_taken_when_nothing_is_done_to_it() -> None:
    with room() as folder:
        root = gateway(tree_before(WATCHED), folder, "gateway")
        assert open_slots(root).install(good()).changed
        assert outcome_of(root).bundle == digest(good())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
FIELDS = st.sampled_from(sorted(manifest_of(packed(*OTHER))))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(FIELDS, JSON, min_size=1, max_size=3), st.integers(0, 2**32))
def test_whatever_is_signed_is_read_or_refused(changes: dict[str, object], seed: int) -> None:
    """A trusted signer may write anything: it is a bundle or a ``BundleError``, nothing else."""
    manifest = mutated(random.Random(seed), manifest_of(good())) | changes
    data = forged(good(), manifest)
    try:
        bundle = Bundle.unpack(data, "the bundle", Keyring((KEY.public,)))
        _ = bundle.backbone
    except BundleError as error:
        assert str(error)


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A file system of its own with few inodes, which ``mount`` permits only to root."""
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    with tempfile.TemporaryDirectory() as folder:
        options = "size=8m,nr_inodes=60,mode=755"
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "fewbeats", folder],
            capture_output=True,
            text=True,
        )
        if done.returncode:
            pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def fill_inodes(folder: Path) -> list[Path]:
    made = []
    try:
        while True:
            path = folder / f"filler{len(made)}"
            path.touch()
            made.append(path)
    except OSError:
        return made


def test_a_real_disk_without_room(small_disk: Path) -> None:
    root = write_tree(tree_before(WATCHED), small_disk / "gateway")
    old = outcome_of(root)
    fill_inodes(small_disk)
    before = without_lock(root)
    for _ in range(2):
        with pytest.raises(FewbeatsError, match="No space left"):
            open_slots(root).install(good())
        assert without_lock(root) == before
        assert outcome_of(root) == old, "the old bundle does not start on the full disk"
    for path in small_disk.glob("filler*"):
        path.unlink()
    (small_disk / "filler").write_bytes(bytes(7_000_000))
    with pytest.raises(SlotError, match="MB free"):
        open_slots(root).install(good())
    assert outcome_of(root) == old
    (small_disk / "filler").unlink()
    goes_on(root)


def test_a_real_disk_that_fills_up_on_the_way(small_disk: Path) -> None:
    """Each time there is one inode more: the install comes one step further."""
    root = write_tree(tree_before(WATCHED), small_disk / "gateway")
    old, refused = outcome_of(root), 0
    fillers = fill_inodes(small_disk)
    while True:
        try:
            open_slots(root).install(good())
            break
        except FewbeatsError as error:
            assert "No space left" in str(error)
            refused += 1
            assert outcome_of(root) == old
            fillers.pop().unlink()
    assert refused >= 2
    for path in fillers:
        path.unlink()
    assert outcome_of(root).bundle == digest(good())
    goes_on(root)


def install_command(root: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "fewbeats", "gateway", "install", *more, "--root", str(root)]


def test_two_real_installs_at_once() -> None:
    """Two processes, the same moment: each does all of it or is refused in one sentence."""
    with room() as folder:
        root = gateway(tree_before(WATCHED), folder, "gateway")
        paths = []
        for number, version in enumerate(("1.9", "1.9.0")):
            path = Path(folder) / f"{number}.fewbeats"
            path.write_bytes(packed(version, 10 + number))
            paths.append(path)
        processes = [
            subprocess.Popen(
                install_command(root, str(path)),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for path in paths
        ]
        ends = [(process.communicate(timeout=60), process.returncode) for process in processes]
        installed = [index for index, (_, code) in enumerate(ends) if code == 0]
        assert installed, ends
        for (_, err), code in ends:
            assert code == 0 or (code == 6 and "Another program" in err and err.count("\n") == 1)
        found = outcome_of(root)
        assert found.bundle in [digest(paths[index].read_bytes()) for index in installed]
        goes_on(root)


@pytest.mark.parametrize("how", ["closed", "killed"])
def test_a_real_connection_that_is_lost(how: str) -> None:
    """Half of the bundle comes through a pipe; then its other end closes, or the receiver dies."""
    with room() as folder:
        root = gateway(tree_before(WATCHED), folder, "gateway")
        old, data = outcome_of(root), good()
        process = subprocess.Popen(
            install_command(root, "-", "--bytes", str(len(data)), "--sha256", digest(data)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin
        process.stdin.write(data[: len(data) // 2])
        process.stdin.flush()
        if how == "killed":
            process.kill()
        _, err = process.communicate(timeout=60)
        if how == "closed":
            assert process.returncode == 10
            assert f"{len(data) // 2} of {len(data)} bytes" in err.decode()
        else:
            assert process.returncode == -signal.SIGKILL
        assert outcome_of(root) == old
        assert not list(Layout(root).home.rglob("*.partial"))
        goes_on(root)


def test_a_newer_format_says_what_to_do() -> None:
    with room() as folder:
        root = gateway(tree_before(WATCHED), folder, "gateway")
        with pytest.raises(BundleError, match=f"format {FORMAT + 1}.*update"):
            open_slots(root).install(forged(good(), version=FORMAT + 1))

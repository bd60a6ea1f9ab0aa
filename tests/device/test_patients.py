"""Patients' heads: kept, found again, fitted again, and never on a foreign backbone."""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fewbeats.device import head
from fewbeats.device.head import PatientHead
from fewbeats.device.patients import MOST_CALIBRATIONS, Patients, check_code
from fewbeats.device.preprocess import WindowSpec
from fewbeats.device.refit import keep, stand
from fewbeats.errors import CalibrationError, HeadError, HeadMismatchError
from made_bundles import calibrated, made_bundle, waves


@pytest.fixture
def patients(tmp_path: Path) -> Patients:
    return Patients(tmp_path / "patients")


def test_codes_that_are_names_of_folders() -> None:
    for good in ("P7", "a", "anna-2.b_c", "0" * 64):
        assert check_code(good) == good
    for bad in ("", ".", "..", "../x", "a/b", ".x", "-x", "a b", "a\n", "ä", "0" * 65, "a\0"):
        with pytest.raises(HeadError, match="code"):
            check_code(bad)


def test_heads_are_numbered_and_nobody_elses_business(patients: Patients) -> None:
    assert patients.codes() == [] and patients.newest("p") == 0
    first = patients.add("p", calibrated(made_bundle(1), 1))
    second = patients.add("p", calibrated(made_bundle(1), 2))
    assert (first.name[:7], second.name[:7]) == ("000001-", "000002-")
    assert patients.codes() == ["p"] and patients.newest("p") == 2
    assert first.parent.stat().st_mode & 0o077 == 0
    assert [number for number, _ in patients.calibrations("p")] == [2, 1]
    (first.parent / "notes.txt").write_text("not ours")
    (first.parent / "000009-zz.head").write_text("not ours")
    assert patients.newest("p") == 2


def test_a_folder_without_heads_is_no_patient(patients: Patients, tmp_path: Path) -> None:
    (tmp_path / "patients" / "cut-off").mkdir(parents=True)
    (tmp_path / "patients" / "lost+found").mkdir()
    assert patients.codes() == []


def test_the_newest_calibration_counts(patients: Patients) -> None:
    bundle = made_bundle(1)
    for seed in (1, 2):
        patients.add("p", calibrated(bundle, seed))
    standing = stand(patients, "p", bundle)
    assert standing.head is not None and standing.number == 2 and not standing.fresh
    assert standing.reason is None and standing.as_dict()["calibrated"]


def test_another_backbone_gets_a_head_of_its_own(patients: Patients) -> None:
    old, new = made_bundle(1), made_bundle(2)
    patients.add("p", calibrated(old, 1))
    standing = stand(patients, "p", new)
    assert standing.fresh and standing.head is not None
    assert standing.head.head.backbone_sha256 == new.start.backbone_sha256
    # It is the head that a calibration with the new bundle would have given, to the last bit.
    direct = calibrated(new, 1)
    np.testing.assert_array_equal(standing.head.head.weights, direct.head.weights)
    assert standing.head.head.threshold == direct.head.threshold
    story = standing.head.calibration
    assert story["refitted"] and story["bundle"] == "made-2 1.0" and story["source"] == "made"
    assert story["made"] <= direct.calibration["made"]
    assert keep(patients, [standing]) == ["p"] and keep(patients, []) == []
    again = stand(patients, "p", new)
    assert not again.fresh and again.number == 1
    assert [file.number for file in patients.files("p")] == [1, 1]  # beside the old one
    back = stand(patients, "p", old)
    assert not back.fresh and back.head is not None


def test_a_head_under_the_wrong_name_is_not_believed(patients: Patients) -> None:
    """The name of a file says which backbone; what counts is what the file holds."""
    path = patients.add("p", calibrated(made_bundle(1)))
    new = made_bundle(2)
    path.rename(path.with_name(f"000001-{new.start.backbone_sha256[:16]}.head"))
    standing = stand(patients, "p", new)
    assert standing.fresh and standing.head is not None
    assert standing.head.head.backbone_sha256 == new.start.backbone_sha256


def test_who_is_to_be_calibrated_and_why(patients: Patients) -> None:
    bundle = made_bundle(1)
    assert "never calibrated" in str(stand(patients, "p", bundle).reason)
    other = made_bundle(2, window=WindowSpec(rate_hz=250))
    patients.add("kind", calibrated(other))
    assert "another kind" in str(stand(patients, "kind", bundle).reason)
    patients.add("damaged", calibrated(bundle)).write_bytes(b"{}")
    assert "no head file" in str(stand(patients, "damaged", bundle).reason)
    assert "up to 64 letters" in str(stand(patients, "..", bundle).reason)
    for code in ("p", "kind", "damaged"):
        standing = stand(patients, code, bundle)
        assert standing.head is None and standing.as_dict()["calibrated"] is False


def test_a_refit_goes_through_the_checks_of_a_calibration(patients: Patients) -> None:
    """What one backbone took for normal another may take for VA: people must look at it."""
    bundle = made_bundle(1)
    kept = calibrated(bundle)
    assert kept.support is not None
    fast = replace(kept.support, windows=waves(True, 5, seed=3))
    patients.add("p", PatientHead(kept.head, kept.calibration, fast))
    standing = stand(patients, "p", made_bundle(2))
    assert standing.head is None and "look like ventricular" in str(standing.reason)
    # Unless somebody who can tell has confirmed them, which is remembered too.
    sure = replace(fast, confirmed=True, windows=waves(False, 5, seed=3))
    patients.add("p", PatientHead(kept.head, kept.calibration, sure))
    standing = stand(patients, "p", made_bundle(2))
    assert standing.head is not None and standing.head.calibration["confirmed"]


def test_an_older_calibration_serves_until_a_new_one_is_made(patients: Patients) -> None:
    bundle = made_bundle(1)
    patients.add("p", calibrated(bundle, 1))
    patients.add("p", calibrated(bundle, 2)).write_bytes(b"ruined")
    standing = stand(patients, "p", bundle)
    assert standing.number == 1 and standing.head is not None
    assert "older calibration is in use" in str(standing.reason)


def test_a_file_of_format_1_serves_its_own_backbone_alone(patients: Patients) -> None:
    bundle = made_bundle(1)
    made = calibrated(bundle)
    path = patients.add("p", made)
    content = json.loads(path.read_text()) | {"format": 1}
    del content["sha256"], content["support"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    path.write_text(json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), **content}))
    assert stand(patients, "p", bundle).head is not None
    standing = stand(patients, "p", made_bundle(2))
    assert standing.head is None and "kept no windows" in str(standing.reason)


def test_old_heads_go_and_never_the_last(patients: Patients) -> None:
    old, new = made_bundle(1), made_bundle(2)
    hashes = [b.start.backbone_sha256 for b in (old, new)]
    for seed in range(MOST_CALIBRATIONS + 3):
        patients.add("p", calibrated(old, seed))
        keep(patients, [stand(patients, "p", new), stand(patients, "p", made_bundle(3))])
    patients.prune("p", hashes)
    numbers = [number for number, _ in patients.calibrations("p")]
    assert numbers == [7, 6, 5, 4]
    assert all(len(files) == 2 for _, files in patients.calibrations("p"))
    patients.prune("p", [])
    assert all(len(files) == 1 for _, files in patients.calibrations("p"))
    patients.prune("p", [])
    assert len(patients.files("p")) == 4


def test_a_damaged_head_does_not_cost_an_older_one(patients: Patients) -> None:
    bundle = made_bundle(1)
    sha256 = bundle.start.backbone_sha256
    for seed in range(MOST_CALIBRATIONS):
        patients.add("p", calibrated(bundle, seed))
    for seed in range(MOST_CALIBRATIONS):
        patients.add("p", calibrated(bundle, seed)).write_bytes(b"ruined")
    patients.prune("p", [sha256])
    assert stand(patients, "p", bundle).number == MOST_CALIBRATIONS


def test_a_head_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "patients").write_text("a file where a folder should be")
    with pytest.raises(HeadError, match="Cannot"):
        Patients(tmp_path / "patients").add("p", calibrated(made_bundle(1)))
    with pytest.raises(HeadError, match="Cannot read"):
        Patients(tmp_path / "patients").codes()


def test_no_calibration_is_made_of_nothing() -> None:
    with pytest.raises((CalibrationError, HeadError)):
        calibrated(made_bundle(1), windows=waves(False, 0))


def made_file(path: Path, **changes: object) -> None:
    """A head's file with other values, and the digest that fits them."""
    content = json.loads(path.read_text()) | changes
    del content["sha256"]
    path.write_text(json.dumps({"sha256": head._digest(content), **content}))


@pytest.mark.parametrize(
    "changes",
    [
        {"bias": 10**400},
        {"threshold": 10**400},
        {"weights": [10**400] * 4},
        {"calibration": [["a", 1]]},
        {"support": {"window": {"rate_hz": 10**400}, "va": [], "samples": "", "confirmed": True}},
        {"support": {"window": {}, "va": [[False]], "samples": 1000 * "A", "confirmed": True}},
        {"support": 5},
    ],
)
def test_a_head_with_values_that_make_no_sense(
    patients: Patients, changes: dict[str, object]
) -> None:
    path = patients.add("p", calibrated(made_bundle(1)))
    made_file(path, **changes)
    with pytest.raises(HeadError):
        PatientHead.load(path)
    assert stand(patients, "p", made_bundle(1)).head is None


def test_what_is_confirmed_is_true_or_false(patients: Patients) -> None:
    path = patients.add("p", calibrated(made_bundle(1)))
    support = json.loads(path.read_text())["support"] | {"confirmed": "no"}
    made_file(path, support=support)
    with pytest.raises(HeadError, match="confirmed"):
        PatientHead.load(path)


def test_a_head_of_other_windows_for_the_same_backbone(patients: Patients) -> None:
    """Two bundles may share a network and differ in the band of their windows."""
    bundle = made_bundle(1)
    other = replace(bundle, window=replace(bundle.window, low_hz=1.0))
    assert other.start.backbone_sha256 == bundle.start.backbone_sha256
    made = calibrated(bundle)
    patients.add("p", made)
    standing = stand(patients, "p", other)
    assert standing.head is None and "another kind" in str(standing.reason)
    sha256 = bundle.start.backbone_sha256
    made.check_fits(sha256, bundle.window)
    made.check_fits(sha256, replace(bundle.window, hop_s=2.0))
    with pytest.raises(HeadMismatchError, match="from 1 to 40 Hz"):
        made.check_fits(sha256, other.window)
    with pytest.raises(HeadMismatchError, match="backbone"):
        made.check_fits("0" * 64, bundle.window)
    replace(made, support=None).check_fits(sha256, other.window)  # of format 1


def test_a_head_is_its_owners_alone(patients: Patients) -> None:
    before = os.umask(0)
    try:
        assert patients.add("p", calibrated(made_bundle(1))).stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)

"""Finding and loading subjects: made folders and real records."""

import shutil

import numpy as np
import pytest

from fewbeats.device.preprocess import WindowSpec, windows_of
from fewbeats.errors import DataError
from fewbeats.firmware_bridge.records import open_record
from fewbeats.training.datasets import (
    STRETCH_S,
    find_subjects,
    load_dataset,
    load_subject,
    sha256_of,
)

SPEC = WindowSpec()


def take(data_dir, folder, *records):
    folder.mkdir(parents=True, exist_ok=True)
    for record in records:
        for extension in ("hea", "dat", "atr"):
            shutil.copy(data_dir / f"{record}.{extension}", folder)


def test_subjects_are_named_by_folder_and_record(tmp_path):
    for name in ("a/1.hea", "a/2.hea", "b/1.hea", "3.hea", "a/deep/4.hea", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert list(find_subjects(tmp_path)) == ["a/1", "a/2", "b/1", f"{tmp_path.name}/3"]


def test_mitdb_201_and_202_are_one_person(tmp_path):
    for name in ("mitdb/201.hea", "mitdb/202.hea", "other/202.hea"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = find_subjects(tmp_path)
    assert {name: len(headers) for name, headers in found.items()} == {
        "mitdb/201": 2,
        "other/202": 1,
    }


def test_the_second_record_of_a_person_alone_keeps_the_persons_name(tmp_path):
    (tmp_path / "mitdb").mkdir()
    (tmp_path / "mitdb" / "202.hea").write_text("")
    assert list(find_subjects(tmp_path)) == ["mitdb/201"]


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(DataError, match="No records"):
        find_subjects(tmp_path)
    with pytest.raises(DataError, match="no folder"):
        find_subjects(tmp_path / "none")


def test_what_is_damaged_is_left_out_with_the_reason(data_dir, tmp_path):
    take(data_dir, tmp_path / "cudb", "cudb/cu01", "cudb/cu03", "cudb/cu05")
    (tmp_path / "cudb/cu03.dat").write_bytes(b"short")
    (tmp_path / "cudb/cu05.atr").unlink()
    seen = []
    dataset = load_dataset(tmp_path, SPEC, progress=lambda *now: seen.append(now))
    assert list(dataset.subjects) == ["cudb/cu01"]
    assert "cut" in dataset.excluded["cudb/cu03"]
    assert "annotations" in dataset.excluded["cudb/cu05"]
    assert seen == [(0, 3, "cudb/cu01"), (1, 3, "cudb/cu03"), (2, 3, "cudb/cu05"), (3, 3, "")]
    assert dataset.only(["cudb/cu01", "x"]) == dataset.subjects


def test_nothing_usable_is_an_error(data_dir, tmp_path):
    take(data_dir, tmp_path, "cudb/cu01")
    (tmp_path / "cu01.atr").unlink()
    with pytest.raises(DataError, match="None of the 1 subjects"):
        load_dataset(tmp_path, SPEC)


def test_windows_are_the_devices_own(data_dir):
    subject = load_subject("cudb/cu01", [data_dir / "cudb/cu01.hea"], SPEC)
    record = open_record(data_dir / "cudb/cu01")
    device = windows_of(record.read(), record.rate_hz, WindowSpec(hop_s=2.0))
    where = np.searchsorted(device.start_ns / 1e9, subject.start_s)
    assert np.array_equal(device.samples[where], subject.windows)
    assert (np.diff(subject.start_s) >= 2 - 1e-9).all()
    counts = subject.counts
    assert (counts.va, counts.non_va) == (subject.va.sum(), (~subject.va).sum())
    assert counts.va + counts.non_va + counts.set_aside == len(device)
    assert subject.stretches is None


def test_stretches_come_of_every_lead(data_dir):
    subject = load_subject("vfdb/418", [data_dir / "vfdb/418.hea"], SPEC, stretches=True)
    assert subject.stretches is not None
    assert subject.stretches.samples.shape[1] == STRETCH_S * 125
    assert subject.stretches.va.sum() > 2 * subject.va.sum()
    assert np.isfinite(subject.stretches.samples).all()


def test_two_records_of_one_person_stay_apart_in_time(data_dir):
    headers = [data_dir / "cudb/cu01.hea", data_dir / "cudb/cu03.hea"]
    subject = load_subject("cudb/cu01", headers, SPEC)
    assert set(subject.record) == {0, 1}
    alone = load_subject("cudb/cu03", headers[1:], SPEC)
    assert np.array_equal(subject.windows[subject.record == 1], alone.windows)


def test_the_hash_tells_data_apart(make_subject):
    one, two = make_subject("a/1", 5, 5), make_subject("a/2", 5, 5)
    assert sha256_of([one, two]) == sha256_of([two, one])
    assert sha256_of([one]) != sha256_of([two])

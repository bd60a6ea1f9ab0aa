"""``fewbeats export``: from a run to a bundle that can be watched with."""

import json
import re
import shutil
from datetime import date
from pathlib import Path

import pytest

from fewbeats.device.bundle import Bundle
from fewbeats.device.keys import DEVELOPMENT_KEY, Keyring, SigningKey
from fewbeats.errors import SignatureError

HAS_COMPILER = any(map(shutil.which, ("cc", "gcc", "clang")))


@pytest.fixture(scope="module")
def exported(fewbeats_here, made_up_run, tmp_path_factory):
    """A bundle with all that can come with it, and what the command said."""
    pytest.importorskip("litert_torch", reason="litert-torch is not installed")
    out = tmp_path_factory.mktemp("bundle") / "new" / "b.fewbeats"
    options = ["--out", out, "--model-version", "1.2.0", "--fp32", out.parent / "fp32.onnx"]
    if HAS_COMPILER:
        options += ["--c", out.parent / "c"]
    return out, fewbeats_here("export", made_up_run[0], *options)


def test_from_made_up_people_to_a_bundle(exported) -> None:
    out, done = exported
    assert done.returncode == 0, done.stderr
    assert f"{out.stat().st_size} bytes" in done.stdout
    bundle = Bundle.load(out)
    assert bundle.version == "1.2.0" and "fewbeats-tiny 1.2.0" in done.stdout
    for form in bundle.forms:
        assert f"{form.runtime} {len(form.model)}" in done.stdout
    for name in ("onnx-int8", "litert-int8", "onnx-fp32"):
        assert f"parity of {name} on" in done.stdout


def test_all_forms_are_written_and_their_sizes_told(exported) -> None:
    out, done = exported
    folder = out.parent
    assert {p.suffix for p in folder.iterdir() if p.is_file()} == {".fewbeats", ".json", ".onnx"}
    assert f"{(folder / 'fp32.onnx').stat().st_size} bytes" in done.stdout
    report = (folder / "b.parity" / "parity.md").read_text()
    assert "no medical device" in report and "Every form may be exported" in report
    assert str(folder / "b.parity" / "parity.md") in done.stdout
    if HAS_COMPILER:
        names = {path.name for path in (folder / "c").iterdir()}
        assert names == {"fewbeats_backbone.c", "fewbeats_backbone.h"}
        assert re.search(r"flash \d+ bytes .*; RAM \d+ bytes", done.stdout)


def test_the_development_key_is_loudly_named(exported) -> None:
    out, done = exported
    assert "SIGNED WITH THE DEVELOPMENT KEY" in done.stderr and "production" in done.stderr
    assert Bundle.load(out, Keyring()).signer == DEVELOPMENT_KEY.public
    with pytest.raises(SignatureError):
        Bundle.load(out, Keyring(production=True))


def test_a_bundle_is_signed_with_a_key_of_ones_own(
    fewbeats_here, made_up_run, tmp_path, monkeypatch
) -> None:
    key = SigningKey.generate("ward")
    key.save(tmp_path / "ward.key", "a passphrase")
    out = tmp_path / "b.fewbeats"
    options = ("--out", out, "--key", tmp_path / "ward.key", "--no-litert")
    monkeypatch.setenv("FEWBEATS_KEY_PASSPHRASE", "another one")
    done = fewbeats_here("export", made_up_run[0], *options)
    assert done.returncode == 6 and "passphrase is wrong" in done.stderr and not out.exists()
    monkeypatch.setenv("FEWBEATS_KEY_PASSPHRASE", "a passphrase")
    done = fewbeats_here("export", made_up_run[0], *options, "--parity", tmp_path / "shown")
    assert done.returncode == 0, done.stderr
    assert "DEVELOPMENT" not in done.stderr
    bundle = Bundle.load(out, Keyring((key.public,), production=True))
    assert bundle.signer == key.public and [f.runtime for f in bundle.forms] == ["onnx"]
    assert (tmp_path / "shown" / "parity.md").is_file()


def test_a_key_whose_time_is_over_signs_nothing(fewbeats_here, made_up_run, tmp_path) -> None:
    SigningKey.generate("old", date(2020, 1, 1)).save(tmp_path / "old.key")
    options = ("--out", tmp_path / "b.fewbeats", "--key", tmp_path / "old.key")
    done = fewbeats_here("export", made_up_run[0], *options)
    assert done.returncode == 6 and "expired on 2020-01-01" in done.stderr


def test_a_version_that_is_none(fewbeats_here, made_up_run, tmp_path) -> None:
    options = ("--out", tmp_path / "b.fewbeats", "--model-version", "one.two")
    done = fewbeats_here("export", made_up_run[0], *options)
    assert done.returncode == 6 and "one.two" in done.stderr


def test_a_form_that_strays_is_shown_and_not_exported(
    fewbeats_here, made_up_run, tmp_path, monkeypatch
) -> None:
    from fewbeats.export import pack

    good = pack.quantize
    monkeypatch.setattr(pack, "quantize", lambda model, windows: good(model, windows * 0.01))
    out = tmp_path / "b.fewbeats"
    done = fewbeats_here("export", made_up_run[0], "--out", out, "--no-litert")
    assert done.returncode == 9 and "onnx-int8" in done.stderr and "< 0.999" in done.stderr
    assert "docs/export.md" in done.stderr
    assert "Nothing is exported" in (tmp_path / "b.parity" / "parity.md").read_text()
    assert not out.exists() and not out.with_suffix(".card.json").exists()


def test_the_model_says_that_it_is_synthetic(exported) -> None:
    card = Bundle.load(exported[0]).card
    assert json.loads(exported[0].with_suffix(".card.json").read_text()) == card
    assert card["data"]["synthetic"] is True and set(card["data"]["databases"]) == {"synthetic"}
    assert "fit for nobody" in card["limits"][0]
    assert "--data" not in card["made_by"]["command"]
    assert len(card["subjects"]["training"]) == 24 and card["subjects"]["held_back"] == []


def test_the_bundle_watches_a_record(exported, fewbeats, record: Path) -> None:
    options = ("--bundle", exported[0], "--speed", 0, "--json")
    done = fewbeats("run", "--source", f"file:{record}", *options)
    assert done.returncode == 0, done.stderr
    content = json.loads(done.stdout)
    assert content["judged_s"] > 100 and content["error"] is None


def test_made_up_people_do_not_go_with_records(fewbeats_here, made_up_run, ward, tmp_path):
    options = ("--data", ward, "--out", tmp_path / "b.fewbeats")
    done = fewbeats_here("export", made_up_run[0], *options)
    assert done.returncode == 9 and "without --data" in done.stderr
    assert not (tmp_path / "b.fewbeats").exists()


def test_export_without_a_training(fewbeats_here, tmp_path: Path) -> None:
    done = fewbeats_here("export", tmp_path / "nothing", "--out", tmp_path / "b.fewbeats")
    assert done.returncode == 8 and "no finished training" in done.stderr
    assert not (tmp_path / "b.fewbeats").exists()


def test_a_report_that_is_none(fewbeats_here, made_up_run, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text("{}")
    options = ("--out", tmp_path / "b.fewbeats", "--report", tmp_path)
    done = fewbeats_here("export", made_up_run[0], *options)
    assert done.returncode == 8 and "cannot be drawn" in done.stderr
    assert not (tmp_path / "b.fewbeats").exists()

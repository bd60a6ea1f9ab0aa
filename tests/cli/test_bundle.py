"""``fewbeats bundle``: looking at bundles, checking them as a gateway does, signing them."""

import hashlib
import json
import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from fewbeats.device.bundle import NOTICE, Bundle
from fewbeats.device.keys import DEVELOPMENT_KEY, DEVELOPMENT_NOTICE, Keyring, PublicKey, SigningKey
from fewbeats.device.shipped import SHIPPED

MINE = SigningKey.generate("mine")
FOREIGN = SigningKey.generate("foreign")
OLD = SigningKey.generate("old", date(2020, 1, 1))


@pytest.fixture(autouse=True)
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "keys"
    folder.mkdir()
    monkeypatch.setenv("FEWBEATS_KEYS", str(folder))
    monkeypatch.setenv("COLUMNS", "200")
    MINE.save(folder / "mine.key")
    OLD.public.save(folder / "old.pub")
    return folder


@pytest.fixture
def saved(tmp_path: Path):
    """``saved(key, **changes)``: the bundle that comes with fewbeats, changed and signed anew."""
    shipped = Bundle.load(SHIPPED)

    def save(key: SigningKey = MINE, **changes: object) -> Path:
        path = (
            tmp_path / f"{key.public.name}-{hashlib.sha256(repr(changes).encode()).hexdigest()[:6]}"
        )
        replace(shipped, **changes).save(path, key)
        return path

    return save


def words(text: str) -> str:
    """Text of a screen without its frames and line breaks."""
    return re.sub(r"[\s│┃]+", " ", text)


def test_inspect_shows_what_people_need_to_know(fewbeats_here) -> None:
    done = fewbeats_here("bundle", "inspect", SHIPPED)
    assert done.returncode == 0, done.stderr
    screen, bundle = words(done.stdout), Bundle.load(SHIPPED)
    for form in bundle.forms:
        assert form.sha256 in screen and str(len(form.model)) in screen
    assert DEVELOPMENT_NOTICE in screen
    assert "ecg-single-lead-gateway" in screen and "2 s at 125 Hz" in screen
    assert "confirm 4, among 5" in screen and "rounds 3" in screen
    assert "intended use" in screen and "not validated" in screen and "ODC-By 1.0" in screen
    assert "sensitivity" in screen and re.search(r"0\.9\d\d \[0\.9\d\d, 0\.9\d\d\]", screen)
    assert NOTICE in screen


def test_inspect_as_json(fewbeats_here, saved) -> None:
    path = saved()
    content = json.loads(fewbeats_here("bundle", "inspect", path, "--json").stdout)
    assert content["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert content["signer"]["name"] == "mine" and content["signer"]["trusted"]
    assert content["forms"][0]["sha256"] == Bundle.load(path).forms[0].sha256
    assert content["card"] == Bundle.load(path).card and content["notice"] == NOTICE


def test_inspect_of_a_foreign_signer_says_so(fewbeats_here, saved) -> None:
    done = fewbeats_here("bundle", "inspect", saved(FOREIGN))
    assert done.returncode == 0
    assert "NOT TRUSTED HERE" in done.stdout and FOREIGN.public.fingerprint in done.stdout
    done = fewbeats_here("bundle", "inspect", saved(OLD))
    assert "NOT TRUSTED HERE" in done.stdout and "expired on 2020-01-01" in done.stdout


def test_a_damaged_file_is_never_inspected(fewbeats_here, saved, tmp_path: Path) -> None:
    good = saved().read_bytes()
    bad = tmp_path / "bad"
    for data in (b"", b"x" * 50, good[:-1], good[:500] + b"\0" + good[501:], good + b"\0"):
        bad.write_bytes(data)
        for verb in (["inspect"], ["inspect", "--json"], ["diff", saved()], ["verify"]):
            done = fewbeats_here("bundle", *verb, bad)
            assert done.returncode == 6, verb
            assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ")
            assert "intended" not in done.stdout
    done = fewbeats_here("bundle", "inspect", tmp_path / "nothing")
    assert done.returncode == 6 and "No such file" in done.stderr


@pytest.mark.parametrize(
    "card",
    [
        {},
        {"data": 7, "limits": "none", "subjects": [], "metrics_cross_validated": 3},
        {"metrics_held_back_int8": {"none": None, "first": {"mean": {"auc": "high"}}}},
        {"metrics_cross_validated": {"windows": {"n": {"mean": {"auc": 10**400}}}}},
        {"data": {"databases": {"x": None}, "citations": "one", "sha256": 3}, "made_by": {}},
        {"intended_use": "a" * 5000, "limits": [{"nested": [1, 2]}]},
    ],
)
def test_a_card_may_say_anything(fewbeats_here, saved, card: dict[str, object]) -> None:
    done = fewbeats_here("bundle", "inspect", saved(card=card))
    assert done.returncode == 0, done.stderr
    assert NOTICE in done.stdout


def test_a_card_of_any_depth_is_shown_and_compared(fewbeats_here, saved) -> None:
    card: dict[str, object] = {"leaf": 1}
    for _ in range(500):
        card = {"more": card}
    path = saved(card=card)
    for verb in (["inspect", path], ["diff", path, SHIPPED], ["verify", path]):
        for more in ([], ["--json"]):
            done = fewbeats_here("bundle", *verb, *more)
            assert done.returncode == 0, done.stderr


def test_a_card_cannot_steer_the_terminal(fewbeats_here, saved) -> None:
    path = saved(card={"limits": ["\x1b]0;owned\x07", "[bold]not bold"]})
    for verb in (["inspect", path], ["verify", path], ["diff", path, SHIPPED]):
        done = fewbeats_here("bundle", *verb)
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout + done.stderr and "\x07" not in done.stdout
    assert "[bold]not bold" in fewbeats_here("bundle", "inspect", path).stdout


def outcomes(fewbeats_here, *arguments: object) -> tuple[int, dict[str, bool | None]]:
    done = fewbeats_here("bundle", "verify", "--json", *arguments)
    content = json.loads(done.stdout)
    assert content["accepted"] == (done.returncode == 0)
    return done.returncode, {check["check"]: check["ok"] for check in content["checks"]}


def test_verify_makes_every_check(fewbeats_here, saved) -> None:
    code, found = outcomes(fewbeats_here, saved())
    assert code == 0
    assert found["signature"] and found["signer"] and found["contents"]
    assert found["golden windows, onnx"]
    done = fewbeats_here("bundle", "verify", saved())
    assert done.stdout.count("ok  ") == len(found) and NOTICE in done.stdout


def test_verify_refuses_as_a_gateway_does(fewbeats_here, saved, tmp_path: Path) -> None:
    assert outcomes(fewbeats_here, SHIPPED)[0] == 0
    code, found = outcomes(fewbeats_here, SHIPPED, "--production")
    assert code == 6 and found["signer"] is False and found["contents"]
    assert found["golden windows, onnx"] is found["golden windows, litert"] is None
    assert outcomes(fewbeats_here, saved(FOREIGN))[1]["signer"] is False
    assert outcomes(fewbeats_here, saved(OLD))[1]["signer"] is False
    public = tmp_path / "foreign.pub"
    FOREIGN.public.save(public)
    assert outcomes(fewbeats_here, saved(FOREIGN), "--key", public, "--production")[0] == 0
    assert outcomes(fewbeats_here, saved(), "--key", public)[1]["signer"] is False
    bundle = Bundle.load(SHIPPED)
    form = bundle.form
    wrong = replace(form, golden_embeddings=form.golden_embeddings + 1)
    code, found = outcomes(fewbeats_here, saved(forms=(wrong,)))
    assert code == 6 and found["contents"] and found["golden windows, onnx"] is False


def test_verify_runs_no_network_of_a_signer_who_is_not_trusted(
    fewbeats_here, saved, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*_: object) -> None:
        raise AssertionError("the network was run")

    monkeypatch.setattr("fewbeats.device.bundle.open_backbone", run)
    for path, more in ((saved(FOREIGN), ()), (saved(OLD), ()), (SHIPPED, ["--production"])):
        done = fewbeats_here("bundle", "verify", path, *more)
        assert done.returncode == 6 and done.stdout.count("not tried") == 2


def test_verify_says_what_is_wrong_in_one_sentence(fewbeats_here, saved) -> None:
    done = fewbeats_here("bundle", "verify", saved(FOREIGN))
    assert done.returncode == 6
    assert "refused   signer" in done.stdout
    assert len(done.stderr.splitlines()) == 1 and "not trusted here" in done.stderr


def test_diff_says_what_changes_for_the_patients(fewbeats_here, saved) -> None:
    bundle = Bundle.load(SHIPPED)
    done = fewbeats_here("bundle", "diff", SHIPPED, saved())
    assert done.returncode == 0, done.stderr
    assert "the contents are the same" in done.stdout and "heads go on" in done.stdout
    form = replace(
        bundle.form,
        model=bundle.model + b"\x72\x01x",
        golden_embeddings=bundle.golden_embeddings + 0.5,
    )
    start = replace(bundle.start, backbone_sha256=form.sha256)
    newer = saved(version="0.2.0", forms=(form,), start=start, runtime=form.runtime)
    done = fewbeats_here("bundle", "diff", SHIPPED, newer)
    screen = words(done.stdout)
    assert "version 0.1.0 0.2.0" in screen and "must be re-fitted (another backbone)" in screen
    assert "golden embeddings differ by up to 0.5" in screen
    content = json.loads(fewbeats_here("bundle", "diff", SHIPPED, newer, "--json").stdout)
    gone = "the new bundle has no form for this runtime"
    assert content["refit"] == {"onnx": "another backbone", "litert": gone}
    assert not content["same"] and f"litert: patients' heads must be re-fitted ({gone})" in screen
    assert {"what": "version", "before": "0.1.0", "after": "0.2.0"} in content["differences"]


def test_sign_puts_another_signature_under_the_same_bytes(
    fewbeats_here, keys: Path, tmp_path: Path
) -> None:
    out = tmp_path / "signed.fewbeats"
    sign = ["bundle", "sign", SHIPPED, "--key", keys / "mine.key", "--out", out]
    done = fewbeats_here(*sign, "--from-development")
    assert done.returncode == 0, done.stderr
    assert f"signed by development ({DEVELOPMENT_KEY.public.fingerprint})" in done.stdout
    assert out.read_bytes()[:-96] == SHIPPED.read_bytes()[:-96]
    bundle = Bundle.load(out, Keyring((MINE.public,), production=True))
    assert bundle.signer == MINE.public
    assert hashlib.sha256(out.read_bytes()).hexdigest() in done.stdout
    assert outcomes(fewbeats_here, out, "--production")[0] == 0


def test_sign_asks_for_a_signature_that_is_trusted_and_a_key_that_is_valid(
    fewbeats_here, saved, keys: Path, tmp_path: Path
) -> None:
    out = tmp_path / "signed.fewbeats"
    sign = ["bundle", "sign", "--out", out]
    done = fewbeats_here(*sign, saved(FOREIGN), "--key", keys / "mine.key")
    assert done.returncode == 6 and "not trusted here" in done.stderr
    (keys / "old.pub").unlink()
    OLD.save(keys / "old.key")
    done = fewbeats_here(*sign, saved(), "--key", keys / "old.key")
    assert done.returncode == 6 and "expired" in done.stderr
    done = fewbeats_here(*sign, saved(), "--key", tmp_path / "none.key")
    assert done.returncode == 6 and "none.key" in done.stderr
    nowhere = tmp_path / "no" / "folder"
    done = fewbeats_here("bundle", "sign", saved(), "--key", keys / "mine.key", "--out", nowhere)
    assert done.returncode == 6 and "Cannot write" in done.stderr
    assert not out.exists()


def test_sign_does_not_launder_what_anybody_may_have_made(
    fewbeats_here, saved, keys: Path, tmp_path: Path
) -> None:
    out = tmp_path / "signed.fewbeats"
    sign = ["bundle", "sign", "--key", keys / "mine.key", "--out", out]
    done = fewbeats_here(*sign, saved(DEVELOPMENT_KEY, version="9.9"))
    assert done.returncode == 6 and "--from-development" in done.stderr
    assert "signed by development" in done.stdout and not out.exists()
    done = fewbeats_here(*sign, saved())
    assert done.returncode == 0 and f"signed by mine ({MINE.public.fingerprint}) so" in done.stdout


@pytest.mark.parametrize("runtime", ["onnx", "litert"])
def test_sign_proves_the_golden_windows_in_every_runtime(
    fewbeats_here, saved, keys: Path, tmp_path: Path, runtime: str
) -> None:
    if runtime == "litert":
        pytest.importorskip("ai_edge_litert", reason="LiteRT's runtime is not installed")
    forms = tuple(
        replace(form, golden_embeddings=form.golden_embeddings + (form.runtime == runtime))
        for form in Bundle.load(SHIPPED).forms
    )
    out = tmp_path / "signed.fewbeats"
    sign = ["bundle", "sign", saved(forms=forms), "--key", keys / "mine.key", "--out", out]
    done = fewbeats_here(*sign)
    assert done.returncode == 6 and f"golden windows, {runtime}" in done.stderr
    assert not out.exists()


def test_signing_what_a_rotated_key_signed(fewbeats_here, saved, keys, tmp_path: Path) -> None:
    """A bundle whose signer's time is over can be signed again: that is how keys are rotated."""
    out = tmp_path / "signed.fewbeats"
    done = fewbeats_here("bundle", "sign", saved(OLD), "--key", keys / "mine.key", "--out", out)
    assert done.returncode == 0, done.stderr
    assert Bundle.load(out).signer == PublicKey("mine", MINE.public.raw)
    assert DEVELOPMENT_KEY.public.raw not in out.read_bytes()


def test_the_verbs_run_in_a_process_of_their_own(fewbeats) -> None:
    done = fewbeats("bundle", "verify", SHIPPED)
    assert done.returncode == 0, done.stderr
    assert "bundle" in fewbeats("--help").stdout

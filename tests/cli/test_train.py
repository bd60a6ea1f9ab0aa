"""``fewbeats train``: with records or without, in one process or two, interrupted or not."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fewbeats.training.trained import load_trained

RUN_FILES = {
    *("recipe.toml", "weights.npz", "trained.json", "history.json", "tensorboard"),
    "learning.png",
}


def wait_for_checkpoint(folder: Path, process: subprocess.Popen[str]) -> None:
    """Until the process, which should write one, has written one."""
    path, started_ns = folder / "checkpoint.bin", time.time_ns()
    while process.poll() is None:
        if path.exists() and path.stat().st_mtime_ns > started_ns:
            return
        time.sleep(0.01)
    pytest.fail(f"the training ended before it could be interrupted: {process.communicate()[1]}")


def test_without_data_it_trains_on_made_up_people_and_says_so(made_up_run) -> None:
    folder, done = made_up_run
    assert done.returncode == 0, done.stderr
    assert "24 subjects trained on, 0 held back" in done.stdout
    assert "fit for nobody" in done.stdout and "made-up people" in done.stderr
    assert json.loads((folder / "trained.json").read_text())["synthetic"] is True


def test_the_run_has_its_figure_beside_it(made_up_run) -> None:
    folder, _ = made_up_run
    assert {path.name for path in folder.iterdir()} == RUN_FILES
    assert (folder / "learning.png").stat().st_size > 5000


@pytest.fixture(scope="module")
def ward_run(fewbeats_here, ward, tiny, tmp_path_factory):
    """A training on records, with two people held back: its folder, command and outcome."""
    folder = tmp_path_factory.mktemp("ward-run")
    command = ("train", "--data", ward, "--config", tiny, "--hold-back", "ward/p3, ward/p11,")
    return folder, command, fewbeats_here(*command, "--out", folder)


def test_people_held_back_are_scored(ward_run) -> None:
    folder, _, done = ward_run
    assert done.returncode == 0, done.stderr
    trained = load_trained(folder)
    assert trained.held_back == ("ward/p11", "ward/p3") and not trained.synthetic
    assert "13 subjects trained on, 2 held back" in done.stdout
    assert "subjects never seen" in done.stdout and "ward/p3" in done.stdout
    assert "fit for nobody" not in done.stdout


def test_a_finished_run_is_not_trained_again(ward_run, fewbeats_here) -> None:
    folder, command, _ = ward_run
    before = (folder / "trained.json").stat().st_mtime_ns
    done = fewbeats_here(*command, "--out", folder)
    assert done.returncode == 0 and (folder / "trained.json").stat().st_mtime_ns == before
    other = fewbeats_here(*command, "--out", folder, "--seed", 1)
    assert other.returncode == 8 and "another seed" in other.stderr


def test_interrupted_and_killed_it_goes_on(ward, tiny, fewbeats_here, start, tmp_path) -> None:
    """It ends as one that nobody interrupted, bit for bit."""
    config, whole, run = tmp_path / "long.toml", tmp_path / "whole", tmp_path / "run"
    # Long enough that it cannot be over before it is interrupted, on a busy machine too.
    config.write_text(re.sub(r"(?s)(\[finish\]\nsteps = )\d+", r"\g<1>200", tiny.read_text()))
    assert "steps = 200" in config.read_text()
    command = ("train", "--data", ward, "--config", config, "--hold-back", "ward/p3")
    for number, code in ((signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
        process = start(*command, "--out", run)
        wait_for_checkpoint(run, process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == code, errors
        assert "Traceback" not in errors
        assert not (run / "trained.json").exists()
    for folder in (run, whole):
        assert fewbeats_here(*command, "--out", folder).returncode == 0
    for name in ("weights.npz", "trained.json", "history.json"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()


def test_two_processes_write_one_run_and_speak_once(ward, tiny, tmp_path) -> None:
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONWARNINGS": "ignore",
    }
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nnodes", "1", "--nproc-per-node", "2"),
        *("--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"),
        *("-m", "fewbeats", "train", "--data", ward, "--out", tmp_path / "run", "--config", tiny),
    ]
    done = subprocess.run(
        list(map(str, command)), env=environment, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("written to") == 1 and done.stdout.count("subjects trained on") == 1
    assert {path.name for path in (tmp_path / "run").iterdir()} == RUN_FILES
    logs = (tmp_path / "run" / "tensorboard").iterdir()
    assert all(len(list(folder.iterdir())) == 1 for folder in logs)
    assert len(load_trained(tmp_path / "run").training) == 15


@pytest.mark.parametrize(
    ("options", "code", "sentence"),
    [
        ((), 2, "--out"),
        (("--out", "{tmp}/run", "--seed", "-1"), 2, "--seed"),
        (("--out", "{tmp}/run", "--workers", "0"), 2, "--workers"),
        (("--out", "{tmp}/run", "--folds", "--hold-back", "ward/p1"), 2, "--hold-back"),
        (("--out", "{tmp}/run", "--workers", "2"), 2, "--workers"),
        (("--out", "{tmp}/run", "--data", "{tmp}/nowhere"), 8, "There is no folder"),
        (("--out", "{tmp}/run", "--data", "{tmp}"), 8, "No records in"),
        (("--out", "{tmp}/run", "--config", "{tmp}/no.toml"), 8, "cannot be read"),
        (("--out", "{tmp}/run", "--config", "{bad}"), 8, "unknown part 'nets'"),
        (("--out", "{tmp}/run", "--data", "{ward}", "--hold-back", "ward/x"), 8, "ward/x"),
        (("--out", "{bad}", "--data", "{ward}", "--config", "{tiny}"), 8, "Cannot write"),
        (("--out", "{tmp}/run", "--device", "tpu"), 8, "no device 'tpu'"),
    ],
)
def test_wrong_usage_is_one_sentence(
    fewbeats_here, ward, tiny, tmp_path, options, code, sentence
) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("[nets]\n")
    places = {"tmp": tmp_path, "ward": ward, "bad": bad, "tiny": tiny}
    done = fewbeats_here("train", *(option.format(**places) for option in options))
    assert done.returncode == code, done.stderr
    assert sentence in " ".join(done.stderr.split()) and "Traceback" not in done.stderr
    assert not (tmp_path / "run").exists()

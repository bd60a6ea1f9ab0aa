"""The command line itself."""

import typing

import pytest

from fewbeats.cli import training_app
from fewbeats.errors import FewbeatsError
from fewbeats.training.evaluate import Support


def test_help_names_every_verb_and_says_what_this_is_not(fewbeats) -> None:
    done = fewbeats("--help")
    assert done.returncode == 0
    verbs = ("demo", "run", "calibrate", "simulate", "train", "export", "evaluate", "ablate")
    for verb in (*verbs, "search", "report", "data"):
        assert f" {verb} " in done.stdout
    assert "no medical device" in " ".join(done.stdout.split())


def test_version(fewbeats) -> None:
    assert "fewbeats 0." in fewbeats("--version").stdout


def test_wrong_usage_is_exit_code_2(fewbeats) -> None:
    assert fewbeats("run").returncode == 2
    assert fewbeats("evaluate", "--data", ".", "--support", "wishful").returncode == 2


def test_supports_are_those_of_the_evaluation() -> None:
    assert set(typing.get_args(training_app.Support)) == {str(support) for support in Support}


def test_every_error_has_an_exit_code_of_its_own_kind() -> None:
    def family(cls: type[FewbeatsError]) -> list[type[FewbeatsError]]:
        return [cls, *(c for sub in cls.__subclasses__() for c in family(sub))]

    assert {cls.exit_code for cls in family(FewbeatsError)} == {1, 3, 4, 5, 6, 7, 8, 9, 10}


@pytest.mark.parametrize("kind", [FewbeatsError, OSError])
def test_an_error_cannot_steer_the_terminal(fewbeats_here, monkeypatch, kind) -> None:
    """A gateway, a record or a card may write anything into what an error quotes."""

    def fail() -> None:
        raise kind("größer\x1b[2J\x07\r\nerror: all is well \u202e\ud800")

    monkeypatch.setattr("fewbeats.cli.app.app", fail)
    monkeypatch.setattr("os.dup2", lambda *_: None)
    done = fewbeats_here()
    (line,) = done.stderr.splitlines()
    assert line.isprintable() and line.startswith("error: größer")
    assert done.stderr.encode() and done.stderr.endswith("\n")

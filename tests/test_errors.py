"""Errors that come from another process."""

import pickle

from fewbeats.errors import MissingExtraError


def test_a_missing_extra_survives_the_way_between_processes() -> None:
    error = MissingExtraError("wfdb", "The signal format of cu01.hea")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  what a process pool does with it
    assert type(again) is MissingExtraError
    assert (again.extra, again.purpose, str(again)) == (error.extra, error.purpose, str(error))

"""A missing package becomes the sentence that names its extra."""

from collections.abc import Iterator
from contextlib import contextmanager

from fewbeats.errors import MissingExtraError


@contextmanager
def needing(extra: str, purpose: str) -> Iterator[None]:
    """Turn a failed import of somebody else's package into MissingExtraError.

    Raises:
        MissingExtraError: a package of the extra is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("fewbeats"):
            raise
        raise MissingExtraError(extra, purpose) from error

"""The bundle that comes with fewbeats."""

from pathlib import Path

from fewbeats.device.bundle import Bundle

SHIPPED = Path(__file__).parent / "bundles" / "default.fewbeats"


def load_bundle(path: Path | None = None) -> Bundle:
    """The bundle in a file, or the one that comes with fewbeats.

    Raises:
        BundleError: it cannot be read, or must not be used.
    """
    return Bundle.load(path or SHIPPED)

"""The bundle that comes with fewbeats, or another, judged by a runtime that this machine has."""

from pathlib import Path

from fewbeats.device.backbone import LITERT, installed_runtimes
from fewbeats.device.bundle import Bundle
from fewbeats.errors import BundleError, MissingExtraError

SHIPPED = Path(__file__).parent / "bundles" / "default.fewbeats"


def load_bundle(path: Path | None = None, runtime: str | None = None) -> Bundle:
    """The bundle in a file, or the one that comes with fewbeats, ready for this machine.

    Args:
        path: the file; None for the bundle that comes with fewbeats.
        runtime: whose form to judge by; None for the first form whose runtime is installed.

    Raises:
        BundleError: it cannot be read, must not be used, or has no form for the runtime.
        MissingExtraError: it has forms, but this machine has the runtime of none.
    """
    path = path or SHIPPED
    bundle = Bundle.load(path)
    if runtime is not None:
        return bundle.on(runtime)
    installed = installed_runtimes()
    try:
        return bundle.on_any(installed, str(path))
    except BundleError as error:
        if LITERT in [form.runtime for form in bundle.forms]:
            raise MissingExtraError(LITERT, f"Running {path.name} on this machine") from error
        raise

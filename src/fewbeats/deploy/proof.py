"""Prove on a gateway that a new program judges its bundle as it should, before it is put to use.

    python -m fewbeats.deploy.proof BUNDLE...

The first bundle that the gateway's mode and keys let start counts, as the service will have it:
its golden windows, in every runtime that is installed.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from fewbeats.device.backbone import installed_runtimes
from fewbeats.device.bundle import Bundle
from fewbeats.device.gateway_config import GatewayConfig
from fewbeats.device.keys import Keyring
from fewbeats.device.layout import Layout
from fewbeats.errors import BundleError, FewbeatsError, SignatureError


def prove(paths: Sequence[Path], layout: Layout) -> tuple[str, ...]:
    """Load a bundle and judge its golden windows.

    Args:
        paths: bundles, the one that is current first.
        layout: of the gateway whose mode and keys count.

    Returns:
        The runtimes that did.

    Raises:
        BundleError: a runtime answers other than it should, or there is none for the bundle.
        SignatureError: none of the bundles would start here.
        TargetError: the gateway's settings make no sense.
    """
    bundle = _first_trusted(paths, layout)
    installed = installed_runtimes()
    runtimes = tuple(form.runtime for form in bundle.forms if form.runtime in installed)
    for runtime in runtimes:
        _ = bundle.on(runtime).backbone
    if not runtimes:
        raise BundleError(
            f"{bundle.name} has no backbone for a runtime of this machine ({', '.join(installed)})."
        )
    return runtimes


def _first_trusted(paths: Sequence[Path], layout: Layout) -> Bundle:
    keyring = Keyring.of_gateway(layout.keys, GatewayConfig.load(layout).production)
    refused: SignatureError | None = None
    for path in paths:
        if refused and not path.is_file():
            continue  # a slot that is empty
        try:
            return Bundle.load(path, keyring)
        except SignatureError as error:
            refused = refused or error
    raise refused or SignatureError("No bundle was named to prove the program on.")


if __name__ == "__main__":
    try:
        proven = prove([Path(word) for word in sys.argv[1:]], Layout())
    except FewbeatsError as failure:
        sys.exit(f"error: {failure}")
    sys.stdout.write(f"proven: {', '.join(proven)}\n")

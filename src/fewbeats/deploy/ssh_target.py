"""A gateway that is at work, reached over ssh: its own verbs do everything."""

import hashlib
import json
from typing import Any

from fewbeats.deploy.openssh import Answer, OpenSsh, Progress, SshAddress
from fewbeats.device.keys import PublicKey
from fewbeats.errors import (
    BundleError,
    CalibrationError,
    FewbeatsError,
    SignalError,
    SourceError,
    TargetError,
    TargetLostError,
)

# $1: whose work it is, $2: the gateway's root, then the verb. Bundles belong to the service's own
# user; the folder of trusted keys belongs to root, so that the service cannot change its trust.
_VERB = """
who=$1 root=${2%/}
shift 2
cd /
program=$root/opt/fewbeats/current/bin/fewbeats
[ -x "$program" ] || exit 78
set -- "$program" gateway "$@"
me=$(id -un)
if id fewbeats >/dev/null 2>&1; then
  if [ "$who" = root ]; then
    umask 022 # the service must be able to read what root writes
    [ "$me" = root ] || set -- sudo -n -- "$@"
  elif [ "$me" = root ]; then
    set -- runuser -u fewbeats -- "$@"
  elif [ "$me" != fewbeats ]; then
    set -- sudo -n -u fewbeats -- "$@"
  fi
fi
exec "$@"
"""
_NOT_PROVISIONED = 78
_CANNOT_RUN = (126, 127)
_ERRORS: dict[int, type[FewbeatsError]] = {
    4: SourceError,
    5: SignalError,
    6: BundleError,
    7: CalibrationError,
}
"""What an exit code of the gateway's verbs stands for; any other is a TargetError."""


class SshTarget:
    """A provisioned gateway over ssh; every method raises what ``_verb`` raises."""

    running = True

    def __init__(self, address: SshAddress) -> None:
        self._address = address
        self._ssh = OpenSsh(address)

    def install(
        self, bundle: bytes, allow_downgrade: bool, progress: Progress | None = None
    ) -> dict[str, Any]:
        """Send a bundle, which the gateway checks, proves and puts on trial.

        Raises:
            BundleError: the gateway refuses it, in its own words.
            TargetLostError: the connection broke; the gateway runs what it ran, or the new bundle.
        """
        verb = ["install", "-", "--bytes", str(len(bundle))]
        verb += ["--sha256", hashlib.sha256(bundle).hexdigest()]
        verb += ["--allow-downgrade"] if allow_downgrade else []
        try:
            return self._verb(*verb, send=bundle, progress=progress)
        except TargetLostError as error:
            raise TargetLostError(
                f"{error} A bundle that has not come whole changes nothing: the gateway still "
                f"runs its old one. Run this again; 'fewbeats remote status {self._address}' "
                f"tells what it runs."
            ) from error

    def status(self) -> dict[str, Any]:
        """What it runs, what it would fall back to, and whose heads fit."""
        return self._verb("status")

    def confirm(self) -> dict[str, Any]:
        """Keep the bundle that is on trial."""
        return self._verb("confirm")

    def fall_back(self) -> dict[str, Any]:
        """Go back to the bundle before."""
        return self._verb("fall-back")

    def keys(self) -> dict[str, Any]:
        """The keys whose bundles it takes."""
        return self._verb("keys")

    def trust(self, key: PublicKey) -> dict[str, Any]:
        """Take bundles of one more key."""
        return self._verb("trust", "-", send=json.dumps(key.as_dict()).encode(), who="root")

    def revoke(self, name: str, force: bool = False) -> dict[str, Any]:
        """Take no bundle of a key any more."""
        return self._verb("revoke", *(["--force"] if force else []), "--", name, who="root")

    def _verb(
        self,
        *verb: str,
        send: bytes = b"",
        progress: Progress | None = None,
        who: str = "fewbeats",
    ) -> dict[str, Any]:
        """Run a verb of the gateway and read its JSON.

        Raises:
            FewbeatsError: the class that the gateway's exit code stands for, with its sentence.
            TargetError: it cannot be reached, or is no gateway.
            TargetLostError: the connection broke.
        """
        name, *rest = verb
        arguments = [who, self._address.root, name, "--json", "--root", self._address.root, *rest]
        answer = self._ssh.run(_VERB, arguments, send, progress)
        if answer.code:
            raise self._error_of(answer)
        try:
            content = json.loads(answer.out)
        except ValueError as error:
            raise TargetError(
                f"{self._address} answers {answer.out[:80]!r} instead of JSON: its fewbeats is "
                f"of another version. Provision it anew."
            ) from error
        if not isinstance(content, dict):
            raise TargetError(f"{self._address} answers {answer.out[:80]!r} instead of a table.")
        return content

    def _error_of(self, answer: Answer) -> FewbeatsError:
        """The gateway's own sentence as the error that it was there."""
        words = answer.last_words
        if answer.code == _NOT_PROVISIONED:
            return TargetError(
                f"{self._address} is no gateway yet: it has no "
                f"{self._address.root.rstrip('/')}/opt/fewbeats/current. Run: fewbeats provision "
                f"{self._address}"
            )
        if words.startswith("sudo:"):
            return TargetError(
                f"On {self._address} the login user may not become 'fewbeats' or root without a "
                f"password ({words}). Log in as root, or allow it in /etc/sudoers.d."
            )
        if answer.code in _CANNOT_RUN:
            return TargetError(
                f"{self._address} cannot run its fewbeats ({words}). Provision it anew: fewbeats "
                f"provision {self._address}"
            )
        sentence = words.removeprefix("error: ") or f"the gateway's verb ended with {answer.code}"
        return _ERRORS.get(answer.code, TargetError)(sentence)

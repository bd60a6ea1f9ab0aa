"""Patients' heads after an update: fitted again to the new backbone from their own windows.

A head fits only the backbone that it was fitted to. Where a calibration cannot be made again, the
patient is to be calibrated anew, and until then watched with the bundle's own head.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from fewbeats.device.bundle import Bundle
from fewbeats.device.calibrate import SupportSet
from fewbeats.device.head import PatientHead
from fewbeats.device.patients import HeadFile, Patients
from fewbeats.errors import CalibrationError, HeadError


@dataclass(frozen=True, slots=True, eq=False)
class Standing:
    """How a patient stands with a bundle.

    Attributes:
        patient: the code.
        head: to watch with; None: to be calibrated.
        reason: why there is none, or why it is not that of the newest calibration.
        number: of the calibration that the head is from.
        fresh: it was just fitted, and is in no file yet.
    """

    patient: str
    head: PatientHead | None
    reason: str | None
    number: int = 0
    fresh: bool = False

    def as_dict(self) -> dict[str, str | bool | None]:
        """For a status."""
        calibrated = self.head is not None
        return {"patient": self.patient, "calibrated": calibrated, "reason": self.reason}


def stand(patients: Patients, code: str, bundle: Bundle) -> Standing:
    """A patient's head for a bundle: the kept one, or one fitted now; nothing is written.

    The newest calibration counts. Where it cannot be used an older one serves, with the reason.

    Raises:
        BundleError: the bundle's backbone does not run, or not on the patient's windows.
    """
    why: str | None = None
    try:
        for number, files in patients.calibrations(code):
            try:
                head, fresh = _head(files, bundle)
            except (HeadError, CalibrationError) as error:
                why = why or str(error)
                continue
            if why is not None:
                why = f"an older calibration is in use, the newest cannot be: {why}"
            return Standing(code, head, why, number, fresh)
    except HeadError as error:
        why = str(error)
    return Standing(code, None, why or "never calibrated on this gateway")


def _head(files: list[HeadFile], bundle: Bundle) -> tuple[PatientHead, bool]:
    """The head that one calibration gives on a bundle, and whether it was fitted just now."""
    sha256 = bundle.start.backbone_sha256
    failure: HeadError | CalibrationError | None = None
    for file in sorted(files, key=lambda file: not file.of(sha256)):
        try:
            kept = PatientHead.load(file.path)
            of_this_kind = kept.support is None or kept.support.fits(bundle.window)
            if kept.head.backbone_sha256 != sha256 or not of_this_kind:
                return refitted(kept, bundle), True
            if kept.head.weights.shape != bundle.start.weights.shape:
                raise HeadError(f"{file.path} has {len(kept.head.weights)} weights.")
        except (HeadError, CalibrationError) as error:
            failure = error
            continue
        return kept, False
    raise failure or HeadError("it has no file")


def refitted(kept: PatientHead, bundle: Bundle) -> PatientHead:
    """A calibration made again on another backbone, through the same checks.

    Raises:
        CalibrationError: it kept no windows, they are of another kind, or a check refuses them.
        BundleError: the bundle's backbone does not run.
    """
    if kept.support is None:
        raise CalibrationError("The calibration is of an old fewbeats, which kept no windows.")
    made = SupportSet.of(bundle, kept.support).fit()
    story = kept.calibration | made.calibration
    story |= {
        name: kept.calibration[name] for name in ("made", "refused") if name in kept.calibration
    }
    story["refitted"] = datetime.now(UTC).isoformat(timespec="seconds")
    return PatientHead(made.head, story, made.support)


def keep(patients: Patients, standings: Iterable[Standing]) -> list[str]:
    """Write the heads that were just fitted; gives the patients whose they are.

    Raises:
        HeadError: a head cannot be written.
    """
    written = []
    for standing in standings:
        if standing.fresh and standing.head is not None:
            patients.add(standing.patient, standing.head, standing.number)
            written.append(standing.patient)
    return written

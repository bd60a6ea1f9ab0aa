"""The proof that an exported backbone decides as the trained network does: a gate."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewbeats.device.head import Head, log_odds
from fewbeats.errors import ParityError
from fewbeats.training.metrics import roc_auc

MIN_WINDOWS = 20
"""Of each class. Fewer prove nothing; one of so many may always fall."""
ONNX_INT8, LITERT_INT8, ONNX_FP32, C99 = "onnx-int8", "litert-int8", "onnx-fp32", "c99"


@dataclass(frozen=True, slots=True)
class Limits:
    """How far a form may stray from the network in full precision.

    Attributes:
        auc: by which the area under the ROC curve may differ.
        correlation: that the embedding values must have.
        agreement: share of windows that must fall on the same side of the threshold.
        loss: share of the VA windows, and of the others, that the form may judge wrongly beyond
            those that the network does; one window always may.
        steps: of the int8 grid that a value may be away from the ONNX int8 form; None: it is
            not compared with that.
    """

    auc: float
    correlation: float
    agreement: float
    loss: float
    steps: float | None = None


_INT8 = Limits(auc=0.002, correlation=0.999, agreement=0.99, loss=0.01)
LIMITS = {
    ONNX_INT8: _INT8,
    LITERT_INT8: _INT8,
    # The same numbers in another order of adding up.
    ONNX_FP32: Limits(auc=1e-5, correlation=0.999999, agreement=0.9999, loss=1e-4),
    C99: Limits(_INT8.auc, _INT8.correlation, _INT8.agreement, _INT8.loss, steps=1.0),
}


@dataclass(frozen=True, slots=True)
class Parity:
    """How far one form strays from the network on windows that its ranges were not fitted to.

    Attributes:
        windows: how many were compared.
        correlation: of all embedding values, the form's against the network's.
        agreement: share of windows that fall on the same side of the threshold.
        auc_fp32: area under the ROC curve of the network.
        auc_form: of the form.
        worst_window: index of the window whose log-odds differ most.
        worst_difference: by how much they differ there.
        form: which one.
        va: windows of VA among them.
        sensitivity_loss: share of VA windows called by the network, less that by the form.
        specificity_loss: share of other windows not called by the network, less that by the form.
        steps: largest distance of a value from the ONNX int8 form's, in steps of its int8 grid;
            None where it is not compared with that.
    """

    windows: int
    correlation: float
    agreement: float
    auc_fp32: float
    auc_form: float
    worst_window: int
    worst_difference: float
    form: str = ONNX_INT8
    va: int = 0
    # What nobody measured does not pass.
    sensitivity_loss: float = 1.0
    specificity_loss: float = 1.0
    steps: float | None = None

    @property
    def limits(self) -> Limits:
        """Those that its form must keep."""
        return LIMITS[self.form]

    def as_dict(self) -> dict[str, Any]:
        """The plain values, for a manifest or a report."""
        values = asdict(self)
        if self.form == ONNX_INT8:
            values["auc_int8"] = self.auc_form  # by this name cross-validation reports know it
        return values

    def faults(self) -> list[str]:
        """Every limit that is exceeded, with its value; none: the form may be exported."""
        limits, faults = self.limits, []
        # Each so that a value that is no number fails.
        if not self.correlation >= limits.correlation:
            faults.append(f"embedding correlation {self.correlation:.7g} < {limits.correlation}")
        if not self.agreement >= limits.agreement:
            faults.append(f"agreement of decisions {self.agreement:.6g} < {limits.agreement}")
        if not abs(self.auc_fp32 - self.auc_form) <= limits.auc:
            faults.append(
                f"AUC goes from {self.auc_fp32:.6f} to {self.auc_form:.6f}, more than {limits.auc}"
            )
        for name, loss, count in (
            ("sensitivity", self.sensitivity_loss, self.va),
            ("specificity", self.specificity_loss, self.windows - self.va),
        ):
            one = 1.001 / count if count else 0.0
            if not loss <= max(limits.loss, one):
                faults.append(f"{name} falls by {loss:.4g}, more than {limits.loss}")
        if limits.steps is not None and not (self.steps is not None and self.steps <= limits.steps):
            faults.append(f"values are {self.steps} int8 steps from {ONNX_INT8}'s > {limits.steps}")
        return faults

    def gate(self) -> None:
        """Refuse a form that strays too far.

        Raises:
            ParityError: with every limit that is exceeded.
        """
        if faults := self.faults():
            raise ParityError(
                f"The form {self.form} does not do what the network does: {'; '.join(faults)} "
                f"(worst window: {self.worst_window}). Nothing is exported; look at the parity "
                f"report, and see docs/export.md for what to try."
            )


def compare(
    network: NDArray[np.float32],
    exported: NDArray[np.float32],
    va: NDArray[np.bool_],
    head: Head,
    form: str = ONNX_INT8,
    steps: float | None = None,
) -> Parity:
    """Compare embeddings of the same windows.

    Args:
        network: (windows, features), in full precision.
        exported: (windows, features), by the exported form.
        va: (windows,), the truth.
        head: with which they are judged.
        form: which form it is; its limits hang on that.
        steps: see ``Parity``.

    Raises:
        ParityError: there is nothing to compare, or the form gives no numbers.
    """
    if min(va.sum(), (~va).sum()) < MIN_WINDOWS:
        raise ParityError(
            f"Parity is proven on at least {MIN_WINDOWS} windows of each class, got {va.sum()} of "
            f"VA and {(~va).sum()} others: hold back more subjects, or export with more records."
        )
    if exported.shape != network.shape or not np.isfinite(exported).all():
        raise ParityError(
            f"The form {form} gives {exported.shape} values for {network.shape} of the network's, "
            f"or some that are no numbers. Nothing is exported."
        )
    logits, theirs = head.logits(network), head.logits(exported)
    difference = np.abs(logits - theirs)
    edge = log_odds(head.threshold)
    called, called_there = logits >= edge, theirs >= edge
    return Parity(
        windows=len(va),
        correlation=_correlation(network, exported),
        agreement=float((called == called_there).mean()),
        auc_fp32=roc_auc(logits, va),
        auc_form=roc_auc(theirs, va),
        worst_window=int(difference.argmax()),
        worst_difference=float(difference.max()),
        form=form,
        va=int(va.sum()),
        sensitivity_loss=float(called[va].mean() - called_there[va].mean()),
        specificity_loss=float(called_there[~va].mean() - called[~va].mean()),
        steps=steps,
    )


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Of all values; 0 where one side does not vary, so that it proves nothing."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])

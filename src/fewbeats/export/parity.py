"""The proof that an exported backbone decides as the trained network does: a gate."""

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from fewbeats.device.head import Head, log_odds
from fewbeats.errors import ParityError
from fewbeats.training.metrics import roc_auc

MAX_AUC_LOSS = 0.002
MIN_CORRELATION = 0.999
MIN_AGREEMENT = 0.99


@dataclass(frozen=True, slots=True)
class Parity:
    """How far the exported form strays from the network on windows it was not fitted to.

    Attributes:
        windows: how many were compared.
        correlation: of all embedding values, int8 against fp32.
        agreement: share of windows that fall on the same side of the threshold.
        auc_fp32: area under the ROC curve of the network.
        auc_int8: of the exported form.
        worst_window: index of the window whose log-odds differ most.
        worst_difference: by how much they differ there.
    """

    windows: int
    correlation: float
    agreement: float
    auc_fp32: float
    auc_int8: float
    worst_window: int
    worst_difference: float

    def as_dict(self) -> dict[str, float]:
        """The plain numbers, for a manifest or a report."""
        return asdict(self)

    def gate(self) -> None:
        """Refuse a form that strays too far.

        Raises:
            ParityError: with every limit that is exceeded.
        """
        faults = []
        if self.correlation < MIN_CORRELATION:
            faults.append(f"embedding correlation {self.correlation:.5f} < {MIN_CORRELATION}")
        if self.agreement < MIN_AGREEMENT:
            faults.append(f"agreement of decisions {self.agreement:.4f} < {MIN_AGREEMENT}")
        if self.auc_fp32 - self.auc_int8 > MAX_AUC_LOSS:
            faults.append(
                f"AUC falls from {self.auc_fp32:.4f} to {self.auc_int8:.4f}, more than "
                f"{MAX_AUC_LOSS}"
            )
        if faults:
            raise ParityError(
                f"The int8 backbone does not do what the network does: {'; '.join(faults)} "
                f"(worst window: {self.worst_window}). It is not exported."
            )


def compare(
    fp32: NDArray[np.float32],
    int8: NDArray[np.float32],
    va: NDArray[np.bool_],
    head: Head,
) -> Parity:
    """Compare embeddings of the same held-back windows.

    Args:
        fp32: (windows, features), by the network.
        int8: (windows, features), by the exported form.
        va: (windows,), the truth.
        head: with which they are judged.

    Raises:
        ParityError: there is nothing to compare.
    """
    if len(fp32) == 0 or va.all() or not va.any():
        raise ParityError(
            f"Parity needs held-back windows of both classes, got {len(va)} with {va.sum()} VA."
        )
    logits, exported = head.logits(fp32), head.logits(int8)
    difference = np.abs(logits - exported)
    edge = log_odds(head.threshold)
    return Parity(
        windows=len(va),
        correlation=float(np.corrcoef(fp32.ravel(), int8.ravel())[0, 1]),
        agreement=float(((logits >= edge) == (exported >= edge)).mean()),
        auc_fp32=roc_auc(logits, va),
        auc_int8=roc_auc(exported, va),
        worst_window=int(difference.argmax()),
        worst_difference=float(difference.max()),
    )

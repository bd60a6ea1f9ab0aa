"""What training cuts its windows from: stretches of signal, longer than a window."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import ceil

import numpy as np
from numpy.typing import NDArray

from fewbeats.device.preprocess import WindowSpec, windows_of
from fewbeats.device.quality import Quality
from fewbeats.firmware_bridge.rhythms import RhythmLabels
from fewbeats.training.labels import WindowLabel, label_windows

STRETCH = 1.4
"""Length of the stretches that training cuts its windows from, in windows."""
_VA_HOP_S = 0.4
_OTHER_HOPS = 4  # so many VA hops from one non-VA stretch to the next
_MOST_OTHER = 2000  # non-VA stretches of one lead; hours of sinus rhythm are much alike


@dataclass(frozen=True, slots=True, eq=False)
class Stretches:
    """What training cuts its windows from: longer than a window, baseline still in.

    Attributes:
        samples: float16 (stretches, samples), zero mean and unit variance.
        va: bool (stretches,).
        partner: int64 (stretches,), index of the stretch of the same moment in another lead;
            the stretch itself where there is none. A mixture of two leads looks like a third
            electrode position.
    """

    samples: NDArray[np.float16]
    va: NDArray[np.bool_]
    partner: NDArray[np.int64]


def stretch_spec(spec: WindowSpec) -> WindowSpec:
    """What a stretch is, for windows of ``spec``: longer, denser, its baseline still in.

    The room beyond a window is what training needs to move it and to scale it in time.

    Raises:
        SignalError: the stretch would be longer than any window may be.
    """
    length_s = _whole_s(STRETCH * spec.samples, spec.rate_hz)
    hop_s = min(_whole_s(_VA_HOP_S * spec.rate_hz, spec.rate_hz), length_s)
    return replace(spec, window_s=length_s, hop_s=hop_s, low_hz=0.0)


def _whole_s(samples: float, rate_hz: int) -> float:
    """Seconds of about so many samples: a float that makes a whole number of them again."""
    whole = max(1, round(samples))
    while whole / rate_hz * rate_hz != whole:
        whole += 1
    return whole / rate_hz


def cut_stretches(
    leads_uv: Iterable[NDArray[np.float32]], labels: RhythmLabels, spec: WindowSpec
) -> Stretches:
    """Stretches of a record's leads: VA densely, the rest sparsely.

    Args:
        leads_uv: each lead's samples, float32 (samples,), microvolts.
        labels: the truth about them.
        spec: what a window is.
    """
    wide = stretch_spec(spec)
    hop_ns = wide.hop_s * 1e9
    # By the record's length, so that all leads offer the same moments.
    step = max(_OTHER_HOPS, ceil(len(labels) / labels.rate_hz / wide.hop_s / _MOST_OTHER))
    samples, va, start_ns = [], [], []
    for samples_uv in leads_uv:
        windows = windows_of(samples_uv, labels.rate_hz, wide)
        names = label_windows(labels, windows.start_ns / 1e9, wide.window_s)
        is_va = names == WindowLabel.VA
        sparse = np.rint(windows.start_ns / hop_ns) % step == 0
        chosen = (windows.quality == Quality.GOOD) & (
            is_va | ((names == WindowLabel.NON_VA) & sparse)
        )
        samples.append(windows.samples[chosen, 0].astype(np.float16))
        va.append(is_va[chosen])
        start_ns.append(windows.start_ns[chosen])
    partner = _partners(np.concatenate(start_ns))
    return Stretches(np.concatenate(samples), np.concatenate(va), partner)


def _partners(start_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each stretch the next one that starts at the same time, in a ring; else itself."""
    order = np.argsort(start_ns, kind="stable")
    edges = np.flatnonzero(np.diff(start_ns[order], prepend=-1, append=-1))
    following = np.roll(order, -1)
    following[edges[1:] - 1] = order[edges[:-1]]  # the last of each moment: on to its first
    partner = np.empty(len(order), dtype=np.int64)
    partner[order] = following
    return partner


def joined(cuts: list[Stretches]) -> Stretches:
    """The stretches of several recordings of one subject."""
    offsets = np.cumsum([0, *(len(cut.va) for cut in cuts[:-1])])
    return Stretches(
        np.concatenate([cut.samples for cut in cuts]),
        np.concatenate([cut.va for cut in cuts]),
        np.concatenate([cut.partner + at for cut, at in zip(cuts, offsets, strict=True)]),
    )

"""What distinguishes two bundles, and whether patients' heads survive the way between them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fewbeats.device.bundle import Bundle, Form
from fewbeats.device.support import window_kind

_MISSING = "missing"
_DEEPEST = 20
"""Tables in a card that lie deeper are compared as a whole."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not the same.

    Attributes:
        what: its name, with dots between the tables it lies in.
        before: its value in the first bundle.
        after: its value in the second.
    """

    what: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class FormDiff:
    """One runtime's backbone in both bundles.

    Attributes:
        runtime: whose.
        before: SHA-256 of the first bundle's network; None: it has none for this runtime.
        after: of the second's.
        before_bytes: size of the first.
        after_bytes: size of the second.
        golden_difference: largest difference between the embeddings that both bundles expect of
            the golden windows; None where they have other windows, or other features.
    """

    runtime: str
    before: str | None
    after: str | None
    before_bytes: int
    after_bytes: int
    golden_difference: float | None

    @property
    def same(self) -> bool:
        """Whether both are the same network."""
        return self.before == self.after


@dataclass(frozen=True, slots=True)
class BundleDiff:
    """All that distinguishes two bundles.

    Attributes:
        differences: names, versions, settings, card and arrays that are not the same.
        forms: the backbones, runtime by runtime.
        refit: why heads that were fitted with the first bundle must be fitted again, by the
            runtime that they were fitted with; empty where they go on.
    """

    differences: tuple[Difference, ...]
    forms: tuple[FormDiff, ...]
    refit: dict[str, str]

    @property
    def same(self) -> bool:
        """Whether the two hold the same, whoever signed them."""
        return not self.differences and all(form.same for form in self.forms)


def diff_bundles(before: Bundle, after: Bundle) -> BundleDiff:
    """Compare two bundles, whoever signed them.

    Args:
        before: the one to compare with, such as the one that a gateway has.
        after: the one to judge.
    """
    plain = tuple(_differences("", _plain(before), _plain(after)))
    forms = tuple(_forms(before, after))
    refit = {form.runtime: why for form in forms if (why := _refit(form, before, after))}
    return BundleDiff((*plain, *_array_differences(before, after)), forms, refit)


def _refit(form: FormDiff, before: Bundle, after: Bundle) -> str | None:
    """Why heads that were fitted with the first bundle's form do not go on with the second."""
    chosen = [bundle.forms[0].runtime for bundle in (before, after)]
    if form.before is None:
        return None
    if form.after is None:
        return "the new bundle has no form for this runtime"
    if not form.same:
        return "another backbone"
    if window_kind(before.window) != window_kind(after.window):
        return "the same backbone on windows of another kind"
    if form.runtime == chosen[0] != chosen[1]:
        return f"a gateway that has both runtimes chooses {chosen[1]} from now on"
    return None


def _plain(bundle: Bundle) -> dict[str, Any]:
    return {
        "name": bundle.name,
        "version": bundle.version,
        "window": bundle.window.as_dict(),
        "adapt": bundle.adapt.as_dict(),
        "detector": bundle.detector.as_dict(),
        "card": bundle.card,
    }


def _differences(
    prefix: str, before: object, after: object, depth: int = 0
) -> Iterator[Difference]:
    if isinstance(before, Mapping) and isinstance(after, Mapping) and depth < _DEEPEST:
        for name in sorted({*before, *after}):
            what = f"{prefix}.{name}" if prefix else str(name)
            values = before.get(name, _MISSING), after.get(name, _MISSING)
            yield from _differences(what, *values, depth + 1)
    elif before != after:
        yield Difference(prefix, before, after)


def _array_differences(before: Bundle, after: Bundle) -> Iterator[Difference]:
    """Arrays that differ, each by its shape, or by the largest difference of its numbers."""
    pairs = {
        "start.weights": (before.start.weights, after.start.weights),
        "start.bias": (np.array([before.start.bias]), np.array([after.start.bias])),
        "start.threshold": (np.array([before.start.threshold]), np.array([after.start.threshold])),
        "golden_windows": (before.golden_windows, after.golden_windows),
    }
    known = {form.runtime: form for form in before.forms}
    for form in after.forms:
        if old := known.get(form.runtime):
            pairs[f"{form.runtime}.prototypes"] = (old.prototypes, form.prototypes)
            pairs[f"{form.runtime}.golden_embeddings"] = (
                old.golden_embeddings,
                form.golden_embeddings,
            )
            pairs[f"{form.runtime}.tolerance"] = (
                np.array([old.tolerance]),
                np.array([form.tolerance]),
            )
    for name, (old_array, new_array) in pairs.items():
        if np.array_equal(old_array, new_array):
            continue
        if old_array.size == new_array.size == 1:
            yield Difference(name, old_array.item(), new_array.item())
        elif old_array.shape == new_array.shape:
            largest = float(np.abs(old_array.astype(np.float64) - new_array).max())
            yield Difference(name, "", f"other numbers, off by up to {largest:.3g}")
        else:
            yield Difference(name, f"shape {old_array.shape}", f"shape {new_array.shape}")


def _forms(before: Bundle, after: Bundle) -> Iterator[FormDiff]:
    old = {form.runtime: form for form in before.forms}
    new = {form.runtime: form for form in after.forms}
    same_windows = np.array_equal(before.golden_windows, after.golden_windows)
    for runtime in dict.fromkeys((*old, *new)):
        a, b = old.get(runtime), new.get(runtime)
        yield FormDiff(
            runtime,
            a.sha256 if a else None,
            b.sha256 if b else None,
            len(a.model) if a else 0,
            len(b.model) if b else 0,
            _golden_difference(a, b) if same_windows and a and b else None,
        )


def _golden_difference(before: Form, after: Form) -> float | None:
    old, new = before.golden_embeddings, after.golden_embeddings
    return float(np.abs(old - new).max()) if old.shape == new.shape else None

"""What distinguishes two bundles."""

from dataclasses import replace

import numpy as np
import pytest

from fewbeats.device.bundle import Bundle
from fewbeats.device.bundle_diff import diff_bundles
from fewbeats.device.detector import DetectorConfig
from fewbeats.device.preprocess import WindowSpec


def names(before: Bundle, after: Bundle) -> set[str]:
    return {difference.what for difference in diff_bundles(before, after).differences}


def with_form(bundle: Bundle, **changes: object) -> Bundle:
    form = replace(bundle.form, **changes)
    return replace(bundle, forms=(form,), start=replace(bundle.start, backbone_sha256=form.sha256))


def test_a_bundle_does_not_differ_from_itself(tiny_bundle: Bundle) -> None:
    diff = diff_bundles(tiny_bundle, Bundle.unpack(tiny_bundle.pack()))
    assert diff.same and not diff.refit
    assert [form.golden_difference for form in diff.forms] == [0.0]


def test_settings_and_cards_are_told_apart_by_name(tiny_bundle: Bundle) -> None:
    after = replace(
        tiny_bundle,
        version="1.1",
        detector=DetectorConfig(confirm=2),
        card={"data": "none", "metrics": {"auc": 0.9, "f1": 0.8}},
    )
    diff = diff_bundles(tiny_bundle, after)
    found = {d.what: (d.before, d.after) for d in diff.differences}
    assert found["version"] == ("1", "1.1")
    assert found["detector.confirm"] == (DetectorConfig().confirm, 2)
    assert found["card.metrics"] == ("missing", {"auc": 0.9, "f1": 0.8})
    assert set(found) == {"version", "detector.confirm", "card.metrics"}
    assert not diff.same and not diff.refit


def test_nested_figures_are_told_apart_one_by_one(tiny_bundle: Bundle) -> None:
    before = replace(tiny_bundle, card={"metrics": {"auc": {"mean": 0.9, "count": 3}}})
    after = replace(tiny_bundle, card={"metrics": {"auc": {"mean": 0.8, "count": 3}}})
    assert names(before, after) == {"card.metrics.auc.mean"}


def test_arrays_that_differ_say_by_how_much(tiny_bundle: Bundle) -> None:
    moved = with_form(tiny_bundle, prototypes=tiny_bundle.prototypes + np.float32(0.5))
    moved = replace(moved, start=replace(moved.start, weights=moved.start.weights - 2, bias=0.3))
    found = {d.what: (d.before, d.after) for d in diff_bundles(tiny_bundle, moved).differences}
    assert "0.5" in found["onnx.prototypes"][1] and "2" in found["start.weights"][1]
    assert found["start.bias"] == (0.2, 0.3)
    fewer = with_form(tiny_bundle, prototypes=tiny_bundle.prototypes[:1])
    (difference,) = diff_bundles(tiny_bundle, fewer).differences
    assert (difference.before, difference.after) == ("shape (3, 4)", "shape (1, 4)")


def test_another_backbone_means_heads_anew(tiny_bundle: Bundle) -> None:
    after = with_form(
        tiny_bundle,
        model=tiny_bundle.model + b"\x72\x01x",
        golden_embeddings=tiny_bundle.golden_embeddings + np.float32(0.25),
    )
    diff = diff_bundles(tiny_bundle, after)
    (form,) = diff.forms
    assert not form.same and form.after_bytes == form.before_bytes + 3
    assert form.golden_difference == pytest.approx(0.25)
    assert diff.refit == {"onnx": "another backbone"}


def test_other_windows_for_the_same_backbone_mean_heads_anew_too(tiny_bundle: Bundle) -> None:
    after = replace(tiny_bundle, window=WindowSpec(low_hz=1.0))
    diff = diff_bundles(tiny_bundle, after)
    assert diff.refit == {"onnx": "the same backbone on windows of another kind"}
    often = replace(tiny_bundle, window=WindowSpec(hop_s=0.4))
    assert not diff_bundles(tiny_bundle, often).refit


def test_other_golden_windows_cannot_be_compared(tiny_bundle: Bundle) -> None:
    after = replace(tiny_bundle, golden_windows=-tiny_bundle.golden_windows)
    diff = diff_bundles(tiny_bundle, after)
    assert diff.forms[0].golden_difference is None
    assert names(tiny_bundle, after) == {"golden_windows"}


def test_a_runtime_more_is_no_reason_to_fit_heads_anew(tiny_bundle: Bundle) -> None:
    second = replace(tiny_bundle.form, runtime="litert", model=b"another")
    after = replace(tiny_bundle, forms=(tiny_bundle.form, second))
    diff = diff_bundles(tiny_bundle, after)
    assert not diff.refit and not diff.same
    assert [(f.runtime, f.before is None) for f in diff.forms] == [
        ("onnx", False),
        ("litert", True),
    ]


def with_runtimes(bundle: Bundle, *runtimes: str) -> Bundle:
    """The bundle with a form for each of these runtimes, the first preferred."""
    forms = {"onnx": bundle.form, "litert": replace(bundle.form, runtime="litert", model=b"lite")}
    chosen = tuple(forms[runtime] for runtime in runtimes)
    start = replace(bundle.start, backbone_sha256=chosen[0].sha256)
    return replace(bundle, forms=chosen, start=start, runtime=runtimes[0])


def test_a_form_that_is_gone_means_heads_anew(tiny_bundle: Bundle) -> None:
    both = with_runtimes(tiny_bundle, "onnx", "litert")
    gone = "the new bundle has no form for this runtime"
    assert diff_bundles(both, with_runtimes(tiny_bundle, "litert")).refit == {"onnx": gone}
    assert diff_bundles(both, with_runtimes(tiny_bundle, "onnx")).refit == {"litert": gone}
    other = diff_bundles(with_runtimes(tiny_bundle, "onnx"), with_runtimes(tiny_bundle, "litert"))
    assert other.refit == {"onnx": gone}


def test_another_preferred_form_means_heads_anew(tiny_bundle: Bundle) -> None:
    both = with_runtimes(tiny_bundle, "onnx", "litert")
    turned = with_runtimes(tiny_bundle, "litert", "onnx")
    why = "a gateway that has both runtimes chooses {} from now on"
    assert diff_bundles(both, turned).refit == {"onnx": why.format("litert")}
    assert diff_bundles(turned, both).refit == {"litert": why.format("onnx")}
    more = diff_bundles(with_runtimes(tiny_bundle, "litert"), both)
    assert more.refit == {"litert": why.format("onnx")}
    assert not diff_bundles(turned, turned).refit


def test_a_card_of_any_depth_is_compared(tiny_bundle: Bundle) -> None:
    def deep(leaf: object) -> dict[str, object]:
        card: dict[str, object] = {"leaf": leaf}
        for _ in range(200):
            card = {"more": card}
        return card

    before, after = (replace(tiny_bundle, card=deep(leaf)) for leaf in (1, 2))
    (name,) = names(before, after)
    assert name == "card" + 19 * ".more"

"""A finished training to a bundle: its forms, the proof of each, the card."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fewbeats
from fewbeats.device.backbone import LITERT, ONNX, LitertBackbone, OnnxBackbone
from fewbeats.device.bundle import Bundle, Form, version_of
from fewbeats.errors import ExportError
from fewbeats.export.card import model_card
from fewbeats.export.litert import export_litert, litert_step
from fewbeats.export.onnx import export_onnx
from fewbeats.export.parity import C99, LITERT_INT8, ONNX_FP32, ONNX_INT8, Parity, compare
from fewbeats.export.parity_report import write_parity_report
from fewbeats.export.portable import check_portable, settled
from fewbeats.export.quantize import onnx_step, quantize
from fewbeats.export.windows import golden_windows, proof_windows, range_windows
from fewbeats.training.datasets import Dataset, sha256_of
from fewbeats.training.evaluate import Model, evaluate_supports
from fewbeats.training.trained import Trained

__all__ = ["Packed", "Release", "golden_windows", "int8_model", "pack", "range_windows"]

MAX_BUNDLE_BYTES = 200_000
ONNX_TOLERANCE = 1e-5
"""Int8 embeddings agree bit for bit between x86-64 and aarch64; this only forgives a cast."""
LITERT_TOLERANCE_STEPS = 2.5
"""LiteRT's kernels for other processors may round a value one or two steps away."""


@dataclass(frozen=True, slots=True)
class Release:
    """What is asked of a bundle that leaves this machine.

    Attributes:
        version: of the model, dotted numbers.
        litert: whether it has the LiteRT form too.
        c99: whether the C form is to be proven as well; it is no part of the bundle.
        report: folder for the parity report, written whether or not the proof succeeds.
    """

    version: str = fewbeats.__version__
    litert: bool = True
    c99: bool = False
    report: Path | None = None


@dataclass(frozen=True, slots=True)
class Packed:
    """A bundle and the proof that it may be used.

    Attributes:
        bundle: the bundle.
        parities: of each form, by its name.
        fp32: the network in full precision, an ONNX file to compare with.
    """

    bundle: Bundle
    parities: dict[str, Parity]
    fp32: bytes

    @property
    def parity(self) -> Parity:
        """Of the preferred form, ONNX in int8."""
        return self.parities[ONNX_INT8]


def pack(
    trained: Trained,
    dataset: Dataset,
    command: str,
    measured: Mapping[str, Any] | None = None,
    release: Release | None = None,
) -> Packed:
    """Make a bundle of a training.

    Parity is proven on windows that the int8 ranges were not fitted to: those of the subjects
    that were held back, or, where nobody was, what is left of the training subjects'.

    Args:
        trained: what ``train`` made.
        dataset: the data it was trained on, with the subjects that it held back.
        command: what people type to make it again, for the card.
        measured: figures of the recipe by cross-validation, for the card of a network that was
            trained on everybody.
        release: what is asked of a bundle for gateways; None for one that is only scored here:
            its ONNX form alone, whatever operators that has.

    Raises:
        ExportError: the data are not those of the training, a form cannot be made, or the bundle
            grows too large.
        ParityError: a form does not do what the network does.
        MissingExtraError: the LiteRT form is asked for, and its converter is not installed.
    """
    version = release.version if release else fewbeats.__version__
    version_of(version)
    _check_data(trained, dataset)
    subjects, spec = dataset.subjects, trained.recipe.window
    fitted, proof = range_windows(trained, subjects), proof_windows(trained, subjects)
    golden = golden_windows(spec)

    fp32 = export_onnx(trained.network, spec.samples)
    model = settled(quantize(fp32, fitted))
    if release:
        check_portable(model)
    int8 = OnnxBackbone(model)
    start = replace(trained.start, backbone_sha256=int8.sha256)
    forms = [_form(ONNX, model, int8.embed, trained, golden, ONNX_TOLERANCE)]
    embedded = {ONNX_INT8: int8.embed(proof.windows)}
    steps: dict[str, float] = {}
    if release:
        embedded[ONNX_FP32] = OnnxBackbone(fp32).embed(proof.windows)
    if release and release.litert:
        lite = export_litert(trained.network, fitted)
        embed, tolerance = LitertBackbone(lite).embed, LITERT_TOLERANCE_STEPS * litert_step(lite)
        forms.append(_form(LITERT, lite, embed, trained, golden, tolerance))
        embedded[LITERT_INT8] = embed(proof.windows)
    if release and release.c99:
        from fewbeats.export.c_array import CompiledBackbone, c_sources

        in_c = CompiledBackbone(c_sources(model, window=spec)).embed(proof.windows)
        embedded[C99] = in_c
        steps[C99] = float(np.abs(in_c - embedded[ONNX_INT8]).max() / onnx_step(model))

    network = trained.embed(proof.windows)
    parities = {
        name: compare(network, values, proof.va, start, name, steps.get(name))
        for name, values in embedded.items()
    }
    if release and release.report:
        log_odds = {name: start.logits(values) for name, values in embedded.items()}
        write_parity_report(release.report, proof, start, start.logits(network), log_odds, parities)
    for parity in parities.values():
        parity.gate()

    card = model_card(trained, dataset, parities, proof.told, command)
    if trained.held_back:
        scored = Model(int8.embed, start, trained.adapt, forms[0].prototypes)
        held_back = {name: subjects[name] for name in trained.held_back}
        card["metrics_held_back_int8"] = evaluate_supports(held_back, scored)
    if measured is not None:
        card["metrics_cross_validated"] = dict(measured)
    bundle = Bundle(
        name=f"fewbeats-{trained.recipe.name}",
        version=version,
        forms=tuple(forms),
        start=start,
        golden_windows=golden,
        window=spec,
        adapt=trained.adapt,
        detector=trained.recipe.detector,
        card=card,
    )
    size = len(bundle.pack())
    if size > MAX_BUNDLE_BYTES:
        raise ExportError(
            f"The bundle has {size} bytes, more than {MAX_BUNDLE_BYTES}: choose a smaller network."
        )
    return Packed(bundle, parities, fp32)


def int8_model(trained: Trained, windows: NDArray[np.float32]) -> bytes:
    """The int8 form of a trained backbone as an ONNX file, its ranges fitted to ``windows``.

    Raises:
        ExportError: the network cannot be exported, or the windows are too few.
    """
    return settled(quantize(export_onnx(trained.network, trained.recipe.window.samples), windows))


def _check_data(trained: Trained, dataset: Dataset) -> None:
    missing = sorted({*trained.seen, *trained.held_back} - set(dataset.subjects))
    if missing:
        raise ExportError(
            f"The data lack subjects of the training: {', '.join(missing[:5])}"
            f"{' ...' if len(missing) > 5 else ''}. Export with the folder that was trained on."
        )
    found = sha256_of(dataset.only(trained.seen).values())
    if found != trained.data_sha256:
        raise ExportError(
            f"The windows or labels of the training subjects are other ones than at the training "
            f"(SHA-256 {found[:12]}..., not {trained.data_sha256[:12]}...). Export with the "
            f"records that were trained on."
        )


def _form(
    runtime: str,
    model: bytes,
    embed: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    trained: Trained,
    golden: NDArray[np.float32],
    tolerance: float,
) -> Form:
    return Form(runtime, model, embed(trained.prototype_windows), embed(golden), tolerance)

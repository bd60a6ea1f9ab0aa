"""A finished training to a bundle: quantise, prove, write the card."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fewbeats
from fewbeats.device.backbone import OnnxBackbone
from fewbeats.device.bundle import NOTICE, Bundle
from fewbeats.device.preprocess import WindowSpec, windows_of
from fewbeats.errors import ExportError
from fewbeats.export.onnx import export_onnx
from fewbeats.export.parity import Parity, compare
from fewbeats.export.quantize import quantize
from fewbeats.firmware_bridge.simulate.scenario import Scenario
from fewbeats.firmware_bridge.simulate.synthetic import synthetic_ecg
from fewbeats.training.datasets import Dataset, Subject, sha256_of, subject_mark
from fewbeats.training.evaluate import Model, evaluate_supports
from fewbeats.training.trained import Trained

MAX_BUNDLE_BYTES = 200_000
RANGE_WINDOWS = 2048
GOLDEN_SCENARIO = Scenario.parse("sinus:6,pvc:6,vt:6,vfl:6,vf:6,svt:6")
GOLDEN_WINDOWS = 8


@dataclass(frozen=True, slots=True)
class Packed:
    """A bundle and the proof that it may be used."""

    bundle: Bundle
    parity: Parity


def pack(
    trained: Trained,
    dataset: Dataset,
    command: str,
    measured: Mapping[str, Any] | None = None,
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

    Raises:
        ExportError: the data are not those of the training, or the bundle grows too large.
        ParityError: the int8 backbone does not do what the network does.
    """
    subjects = dataset.subjects
    missing = sorted({*trained.seen, *trained.held_back} - set(subjects))
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
    spec = trained.recipe.window
    fitted, unseen, va = _windows_apart(trained, subjects)
    model = int8_model(trained, fitted)
    backbone = OnnxBackbone(model)
    start = replace(trained.start, backbone_sha256=backbone.sha256)
    parity = compare(trained.embed(unseen), backbone.embed(unseen), va, start)
    parity.gate()
    prototypes = backbone.embed(trained.prototype_windows)
    golden = golden_windows(spec)
    held_back = {name: subjects[name] for name in trained.held_back}
    scored = Model(backbone.embed, start, trained.adapt, prototypes)
    card = _card(trained, dataset, parity, command)
    if held_back:
        card["metrics_held_back_int8"] = evaluate_supports(held_back, scored)
    if measured is not None:
        card["metrics_cross_validated"] = dict(measured)
    bundle = Bundle(
        name=f"fewbeats-{trained.recipe.name}",
        version=fewbeats.__version__,
        model=model,
        start=start,
        prototypes=prototypes,
        golden_windows=golden,
        golden_embeddings=backbone.embed(golden),
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
    return Packed(bundle, parity)


def int8_model(trained: Trained, windows: NDArray[np.float32]) -> bytes:
    """The int8 form of a trained backbone as an ONNX file, its ranges fitted to ``windows``.

    Raises:
        ExportError: the network cannot be exported, or the windows are too few.
    """
    fp32 = export_onnx(trained.network, trained.recipe.window.samples)
    return quantize(fp32, windows)


def range_windows(trained: Trained, subjects: Mapping[str, Subject]) -> NDArray[np.float32]:
    """Windows of training subjects to fit the int8 ranges to: as many VA as others."""
    return _windows_apart(trained, subjects)[0]


def golden_windows(spec: WindowSpec) -> NDArray[np.float32]:
    """Synthetic windows of many rhythms, on which every runtime must answer alike."""
    ecg = synthetic_ecg(GOLDEN_SCENARIO, seed=0)
    windows = windows_of(ecg.samples_uv, ecg.rate_hz, spec)
    chosen = np.linspace(0, len(windows) - 1, GOLDEN_WINDOWS).round().astype(np.int64)
    return windows.samples[chosen]


def _windows_apart(
    trained: Trained, subjects: Mapping[str, Subject]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Windows to fit ranges to, and other windows to prove parity on, with their classes."""
    training = [subjects[name] for name in trained.training]
    windows = np.concatenate([s.windows for s in training])
    va = np.concatenate([s.va for s in training])
    rng = np.random.default_rng(trained.seed)
    chosen = np.zeros(len(va), dtype=np.bool_)
    for of_class in (False, True):
        candidates = np.flatnonzero(va == of_class)
        # At least a quarter of a class stays apart, to prove parity on.
        count = min(RANGE_WINDOWS // 2, 3 * len(candidates) // 4)
        chosen[rng.choice(candidates, count, replace=False)] = True
    fitted = windows[chosen]
    if not trained.held_back:
        return fitted, windows[~chosen], va[~chosen]
    apart = [subjects[name] for name in trained.held_back]
    return (
        fitted,
        np.concatenate([s.windows for s in apart]),
        np.concatenate([s.va for s in apart]),
    )


def _card(trained: Trained, dataset: Dataset, parity: Parity, command: str) -> dict[str, Any]:
    databases = sorted({name.partition("/")[0] for name in trained.seen})
    return {
        "intended_use": "Research on few-beat personalisation of VA detectors. " + NOTICE,
        "limits": [
            "Trained on made-up people alone: a test of the way, fit for nobody."
            if trained.synthetic
            else "Trained on public Holter and monitor records alone; not validated on portable "
            "devices, on children, or on people who wear one.",
            "Runs of VA that are shorter than the detector's evidence are not reported.",
            "Calibrated on a patient's normal rhythm it knows nothing of his own VA.",
        ],
        "made_by": {"command": command, "seed": trained.seed, "versions": trained.versions},
        "recipe": trained.recipe.as_dict(),
        "kept_step": trained.kept_step,
        "data": {
            "synthetic": trained.synthetic,
            "databases": {
                name: dataset.licences.get(name, "unknown licence") for name in databases
            },
            "citations": sorted({v for k, v in dataset.citations.items() if k in databases}),
            "sha256": trained.data_sha256,
        },
        "subjects": {
            "training": list(trained.seen),
            "held_back": list(trained.held_back),
            # So that a person is known under any other name.
            "marks": [subject_mark(dataset.subjects[name]) for name in trained.seen],
        },
        "parity_int8": parity.as_dict()
        | {"on": "subjects held back" if trained.held_back else "other windows of the training"},
    }

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
from fewbeats.training.datasets import Subject
from fewbeats.training.evaluate import Model, evaluate_supports
from fewbeats.training.pretrain import Trained

MAX_BUNDLE_BYTES = 200_000
CALIBRATION_WINDOWS = 2048
GOLDEN_SCENARIO = Scenario.parse("sinus:6,pvc:6,vt:6,vfl:6,vf:6,svt:6")
GOLDEN_WINDOWS = 8

LICENCES = {
    "mitdb": "MIT-BIH Arrhythmia Database, ODC-By 1.0",
    "vfdb": "MIT-BIH Malignant Ventricular Ectopy Database, ODC-By 1.0",
    "cudb": "Creighton University Ventricular Tachyarrhythmia Database, ODC-By 1.0",
    "nsrdb": "MIT-BIH Normal Sinus Rhythm Database, ODC-By 1.0",
}
CITATION = "PhysioNet: Goldberger et al., Circulation 101(23): e215-e220, 2000"


@dataclass(frozen=True, slots=True)
class Packed:
    """A bundle and the proof that it may be used."""

    bundle: Bundle
    parity: Parity


def pack(trained: Trained, subjects: Mapping[str, Subject], command: str) -> Packed:
    """Make a bundle of a training.

    Args:
        trained: what ``train`` made.
        subjects: the data it was trained on, with the subjects that it held back: int8 ranges
            are fitted to the former, and parity is proven on the latter.
        command: what people type to make it again, for the card.

    Raises:
        ExportError: the data are not those of the training, or the bundle grows too large.
        ParityError: the int8 backbone does not do what the network does.
    """
    missing = sorted({*trained.training, *trained.validation} - set(subjects))
    if missing:
        raise ExportError(
            f"The data lack subjects of the training: {', '.join(missing[:5])}"
            f"{' ...' if len(missing) > 5 else ''}. Export with the folder that was trained on."
        )
    if not trained.validation:
        raise ExportError(
            "Parity is proven on held-back subjects, and this training held none back; train "
            "with some."
        )
    spec = trained.recipe.window
    fp32 = export_onnx(trained.network, spec.samples)
    model = quantize(fp32, _calibration_windows(trained, subjects))
    backbone = OnnxBackbone(model)
    start = replace(trained.start, backbone_sha256=backbone.sha256)
    held_back = {name: subjects[name] for name in trained.validation}
    windows = np.concatenate([s.windows for s in held_back.values()])
    va = np.concatenate([s.va for s in held_back.values()])
    parity = compare(trained.embed(windows), backbone.embed(windows), va, start)
    parity.gate()
    prototypes = backbone.embed(trained.prototype_windows)
    scored = Model(backbone.embed, start, trained.recipe.adapt, prototypes)
    golden = golden_windows(spec)
    bundle = Bundle(
        name=f"fewbeats-{trained.recipe.name}",
        version=fewbeats.__version__,
        model=model,
        start=start,
        prototypes=prototypes,
        golden_windows=golden,
        golden_embeddings=backbone.embed(golden),
        window=spec,
        adapt=trained.recipe.adapt,
        detector=trained.recipe.detector,
        card=_card(trained, held_back, scored, parity, command),
    )
    size = len(bundle.pack())
    if size > MAX_BUNDLE_BYTES:
        raise ExportError(
            f"The bundle has {size} bytes, more than {MAX_BUNDLE_BYTES}: choose a smaller network."
        )
    return Packed(bundle, parity)


def golden_windows(spec: WindowSpec) -> NDArray[np.float32]:
    """Synthetic windows of many rhythms, on which every runtime must answer alike."""
    ecg = synthetic_ecg(GOLDEN_SCENARIO, seed=0)
    windows = windows_of(ecg.samples_uv, ecg.rate_hz, spec)
    chosen = np.linspace(0, len(windows) - 1, GOLDEN_WINDOWS).round().astype(np.int64)
    return windows.samples[chosen]


def _calibration_windows(trained: Trained, subjects: Mapping[str, Subject]) -> NDArray[np.float32]:
    """As many VA as other windows, of training subjects only."""
    training = [subjects[name] for name in trained.training]
    rng = np.random.default_rng(trained.seed)
    chosen = []
    for of_class in (False, True):
        windows = np.concatenate([s.windows[s.va == of_class] for s in training])
        count = min(CALIBRATION_WINDOWS // 2, len(windows))
        chosen.append(windows[np.sort(rng.choice(len(windows), count, replace=False))])
    return np.concatenate(chosen)


def _card(
    trained: Trained,
    held_back: Mapping[str, Subject],
    model: Model,
    parity: Parity,
    command: str,
) -> dict[str, Any]:
    databases = sorted({name.partition("/")[0] for name in trained.training})
    return {
        "intended_use": "Research on few-beat personalisation of VA detectors. " + NOTICE,
        "limits": "Trained on public Holter records alone; not validated on portable devices, on "
        "children, or on people who wear one.",
        "made_by": {"command": command, "seed": trained.seed, "versions": trained.versions},
        "recipe": trained.recipe.as_dict(),
        "data": {
            "databases": {name: LICENCES.get(name, "unknown licence") for name in databases},
            "citation": CITATION,
            "sha256": trained.data_sha256,
        },
        "subjects": {"training": list(trained.training), "held_back": list(trained.validation)},
        "metrics_held_back_int8": {
            support: {key: figures[key] for key in ("mean", "worst", "count", "subjects")}
            for support, figures in evaluate_supports(held_back, model).items()
        },
        "parity_int8": parity.as_dict(),
    }

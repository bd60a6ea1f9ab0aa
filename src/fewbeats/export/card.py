"""The model card: what a bundle is for, what it was made of, and how far it may be trusted."""

from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fewbeats.device.bundle import NOTICE
from fewbeats.export.parity import Parity
from fewbeats.training.datasets import Dataset, subject_mark
from fewbeats.training.trained import Trained


def model_card(
    trained: Trained, dataset: Dataset, parities: dict[str, Parity], proven_on: str, command: str
) -> dict[str, Any]:
    """The card of a training, as JSON has it.

    Args:
        trained: what ``train`` made.
        dataset: what it was trained on.
        parities: how each exported form compares with the network.
        proven_on: whose windows that was shown on.
        command: what people type to make the bundle again.
    """
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
        "made_by": {
            "command": command,
            "seed": trained.seed,
            "versions": trained.versions,
            "exported_with": _converters(),
        },
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
        "parity": {"on": proven_on, "forms": [parity.as_dict() for parity in parities.values()]},
    }


def _converters() -> dict[str, str]:
    """Versions of the packages that made the forms, of those that are installed."""
    found = {}
    for name in ("torch", "onnx", "onnxscript", "onnxruntime", "litert-torch", "ai-edge-quantizer"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found

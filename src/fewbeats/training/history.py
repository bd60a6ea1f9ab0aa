"""The story of a training: kept as JSON, and as TensorBoard logs for those who watch."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from fewbeats.device.files import write_atomically
from fewbeats.errors import DataError, MissingExtraError
from fewbeats.training.curriculum import Curriculum

HISTORY_FILE = "history.json"
LOG_FOLDER = "tensorboard"


def _series() -> dict[str, list[Any]]:
    return {"steps": [], "subjects": []}


@dataclass(slots=True)
class History:
    """What happened, step by step; ``report.run_figures`` draws it.

    Attributes:
        loss: (step, loss) of every step.
        learning_rate: (step, rate), now and then.
        threshold: (step, share of the subjects that the curriculum may draw).
        validation: one entry a validation: step, auc, and the AUC by support.
        difficulty: by time of measurement, each subject's; and the draws so far.
        kept_step: the step whose weights were kept; None while that is open.
    """

    loss: list[tuple[int, float]] = field(default_factory=list)
    learning_rate: list[tuple[int, float]] = field(default_factory=list)
    threshold: list[tuple[int, float]] = field(default_factory=list)
    validation: list[dict[str, float]] = field(default_factory=list)
    difficulty: dict[str, list[Any]] = field(default_factory=_series)
    draws: dict[str, list[Any]] = field(default_factory=_series)
    kept_step: int | None = None

    def note_step(self, step: int, loss: float, learning_rate: float, open_share: float) -> None:
        """Keep one step's figures."""
        self.loss.append((step, round(loss, 6)))
        if step % 10 == 1:
            self.learning_rate.append((step, learning_rate))
            self.threshold.append((step, round(open_share, 4)))

    def note_curriculum(self, step: int, curriculum: Curriculum) -> None:
        """Keep the difficulties as they were measured before a step, and the draws so far."""
        subjects = sorted({*curriculum.with_va, *curriculum.without_va})
        for series, values, key in (
            (self.difficulty, curriculum.difficulty, "values"),
            (self.draws, curriculum.draws, "counts"),
        ):
            series["subjects"] = subjects
            series["steps"].append(step)
            series.setdefault(key, []).append([values.get(name, 0) for name in subjects])
        self.difficulty["with_va"] = list(curriculum.with_va)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as JSON holds them."""
        return asdict(self)

    @classmethod
    def of(cls, content: dict[str, Any]) -> Self:
        """The history that ``as_dict`` made the values of."""
        history = cls(**content)
        for name in ("loss", "learning_rate", "threshold"):
            setattr(history, name, [(int(s), float(v)) for s, v in getattr(history, name)])
        return history

    def save(self, folder: Path) -> None:
        """Write it beside the run.

        Raises:
            DataError: it cannot be written.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            text = json.dumps(self.as_dict()) + "\n"
            write_atomically(folder / HISTORY_FILE, text.encode())
        except OSError as error:
            raise DataError(f"Cannot write to {folder}: {error.strerror}.") from error


def load_history(folder: Path) -> dict[str, Any]:
    """The plain values of a finished run's history.

    Raises:
        DataError: it cannot be read.
    """
    path = folder / HISTORY_FILE
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no run's history: {error}.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is no run's history.")
    return content


class TensorBoardLog:
    """Scalars for ``tensorboard --logdir``; without a folder it does nothing."""

    def __init__(self, folder: Path | None, name: str, from_step: int = 0) -> None:
        """Open the log of one part of a training.

        Args:
            folder: of the run; None for no log.
            name: of the part.
            from_step: what an interrupted training logged after it is superseded.

        Raises:
            MissingExtraError: tensorboard is not installed.
            DataError: the log cannot be written.
        """
        self._writer: Any = None
        if folder is None:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise MissingExtraError("training", "TensorBoard logging") from error
        place = str(folder / LOG_FOLDER / name)
        try:
            self._writer = SummaryWriter(place, purge_step=from_step + 1)
        except OSError as error:
            raise DataError(f"Cannot write the log {place}: {error.strerror}.") from error

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Log named values of a step."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

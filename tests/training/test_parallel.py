"""Two real processes: what a step computes does not depend on how many there are.

Run as a script under torchrun, this file is one of those processes.
"""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
import torch

from fewbeats.errors import DataError
from fewbeats.training.config import (
    CurriculumConfig,
    FinishConfig,
    MetaConfig,
    NetworkConfig,
    Recipe,
    ValidationConfig,
)
from fewbeats.training.parallel import Place, PooledBatchNorm, gathered, joined, moments, summed
from fewbeats.training.pretrain import pretrain
from fewbeats.training.tasks import TaskSampler
from fewbeats.training.trainer import MetaTrainer

STEPS = 5
METHODS = ("anil", "maml", "supervised")
RECIPE = Recipe(
    network=NetworkConfig(channels=(4, 8), kernels=(9, 5), strides=(4, 3), features=6),
    meta=MetaConfig(steps=STEPS, tasks=4, va_tasks=2, shots=3, query=4, prototypes=2,
                    inner_steps=2),
    curriculum=CurriculumConfig(enabled=True, every=2, start=0.4),
    validation=ValidationConfig(share=0.34, every=2),
    finish=FinishConfig(steps=2),
)  # fmt: skip


def people():
    made_subject = run_path(str(Path(__file__).parents[1] / "conftest.py"))["made_subject"]
    # Nine subjects, so that difficulties of four at a time cannot be shared out evenly.
    names = [(f"made/{i}", 12) for i in range(6)] + [(f"calm/{i}", 0) for i in range(3)]
    return {name: made_subject(name, va, 12) for name, va in names}


def trained(place: Place, method: str) -> dict[str, torch.Tensor]:
    """Losses, difficulties and final weights of a few steps."""
    recipe = replace(RECIPE, meta=replace(RECIPE.meta, method=method))
    sampler = TaskSampler(people(), recipe.window, recipe.meta, recipe.augment, 0, place)
    trainer = MetaTrainer(recipe, sampler, 0, place)
    losses = [trainer.step() for _ in range(STEPS)]
    state = trainer.state()
    found = {name: value.clone() for name, value in state["weights"].items()}
    found |= {f"mean/{name}": value.clone() for name, value in state["mean"].items()}
    found["losses"] = torch.tensor(losses)
    found["difficulty"] = torch.tensor(list(trainer.curriculum.difficulty.values()))
    return found


def whole(place: Place, folder: Path | None) -> dict[str, torch.Tensor]:
    """The weights of a whole training, finished."""
    run = pretrain(RECIPE, people(), place=place, folder=folder)
    found = {f"whole/{k}": v for k, v in run.network.state_dict().items()}
    return found | {"whole/head": torch.from_numpy(np.append(run.weights, run.bias))}


def statistics(place: Place) -> dict[str, torch.Tensor]:
    """Pooled moments, and gradients of gradients through them, of values shared out by rows."""
    rng = torch.Generator().manual_seed(4)
    everything = torch.randn(6, 3, 5, generator=rng, dtype=torch.float64)
    weigh = torch.randn(6, 3, 5, generator=rng, dtype=torch.float64)
    own = everything[place.rank :: place.world].clone().requires_grad_()
    mine = weigh[place.rank :: place.world]
    norm = PooledBatchNorm(3).double().train()
    normalised = norm.normalised(own, norm.weight, norm.bias, track=True)
    loss = (normalised.tanh() * mine).sum()
    (first,) = torch.autograd.grad(loss, own, create_graph=True)
    (second,) = torch.autograd.grad((first**2).sum(), own)
    rows = {"normalised": normalised.detach(), "first": first.detach(), "second": second}
    found = {name: gathered(value, 6) for name, value in rows.items()}
    mean, variance, count = moments(everything[place.rank :: place.world], (0, 2))
    return found | {
        "mean": mean,
        "variance": variance,
        "count": torch.tensor(count),
        "running": norm.running_var,
        "sum": summed(torch.tensor([1.0 + place.rank])),
    }


def everything(place: Place, folder: Path | None) -> dict[str, dict[str, torch.Tensor]]:
    found = {method: trained(place, method) for method in METHODS}
    return found | {"whole": whole(place, folder), "statistics": statistics(place)}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What each of two processes found, and the folder that they trained into."""
    folder = tmp_path_factory.mktemp("two")
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "PYTHONWARNINGS": "ignore",
    }
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--nnodes", "1", "--nproc-per-node", "2"),
        *("--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"),
        *(__file__, str(folder)),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)], folder


@pytest.fixture(scope="module")
def one():
    return everything(Place(), None)


@pytest.mark.parametrize("part", [*METHODS, "whole"])
def test_both_processes_end_with_the_same_bits(two, part):
    first, second = (found[part] for found in two[0])
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("part", METHODS)
def test_two_processes_train_as_one_does(two, one, part):
    """To rounding: sums over windows in another order, 1e-7 each, five steps of Adam on top.

    Adam divides by the gradient's own size, so where a gradient is next to nothing its rounding
    is not: weights agree to a small part of what five steps move them, 5 x 0.004.
    """
    found, alone = two[0][0][part], one[part]
    assert found.keys() == alone.keys()
    torch.testing.assert_close(found["losses"], alone["losses"], rtol=2e-5, atol=1e-6)
    torch.testing.assert_close(found["difficulty"], alone["difficulty"], rtol=1e-4, atol=1e-5)
    assert len(found["difficulty"]) == 9
    for name, value in alone.items():
        if value.is_floating_point():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=5e-5)


def test_a_whole_training_agrees_too_and_is_written_once(two, one):
    (found, _), folder = two
    for name, value in one["whole"].items():
        torch.testing.assert_close(found["whole"][name], value, rtol=1e-4, atol=1e-4)
    run = folder / "run"
    assert {path.name for path in run.iterdir()} == {
        "recipe.toml", "weights.npz", "trained.json", "history.json", "tensorboard"
    }  # fmt: skip
    logs = sorted(path.name for path in (run / "tensorboard").iterdir())
    assert logs == ["refit", "validated"]
    assert all(len(list((run / "tensorboard" / name).iterdir())) == 1 for name in logs)


def test_pooled_statistics_and_both_their_gradients_are_those_of_all_rows(two, one):
    found, alone = two[0][1]["statistics"], one["statistics"]
    order = [0, 2, 4, 1, 3, 5]  # a process's rows are every second one; gathered, they are in order
    assert float(found["sum"]) == 3.0 and int(found["count"]) == int(alone["count"]) == 30
    for name in ("normalised", "first", "second", "mean", "variance", "running"):
        torch.testing.assert_close(found[name], alone[name], rtol=1e-9, atol=1e-12)
    assert not torch.allclose(found["second"][order], alone["second"])


def test_alone_everything_does_nothing():
    values = torch.arange(6.0).reshape(3, 2)
    assert summed(values) is values
    assert gathered(values, 3) is values
    with joined("cpu") as place:
        assert (place, place.first) == (Place(0, 1, "cpu"), True)


def test_devices_that_are_not_there_are_refused():
    with pytest.raises(DataError, match="no device 'tpu'"), joined("tpu"):
        pass
    if not torch.cuda.is_available():
        with pytest.raises(DataError, match="no GPU"), joined("cuda"):
            pass


if __name__ == "__main__":
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    with joined("cpu") as here:
        torch.save(everything(here, out / "run"), out / f"{here.rank}.pt")

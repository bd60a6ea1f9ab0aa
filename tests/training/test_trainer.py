"""The outer loop: what its seed decides, what it keeps, and what it can go on from."""

import io
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
import torch

from fewbeats.device.adapt import AdaptConfig
from fewbeats.training.config import CurriculumConfig, MetaConfig, Recipe
from fewbeats.training.maml import STEP_NAMES, task_difficulties
from fewbeats.training.trainer import MetaTrainer


def method(small: Recipe, name: str, **meta) -> Recipe:
    return replace(small, meta=replace(small.meta, method=name, **meta))


def weights(trainer: MetaTrainer) -> dict[str, torch.Tensor]:
    """All of its weights, and the running means."""
    state = deepcopy(trainer.state())
    return state["weights"] | {f"mean/{name}": value for name, value in state["mean"].items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.mark.parametrize("name", ["anil", "maml", "supervised"])
def test_the_same_seed_trains_the_same(small, make_sampler, name):
    recipe = method(small, name)

    def trained(seed: int) -> tuple[list[float], dict[str, torch.Tensor]]:
        torch.manual_seed(int(torch.randint(1000, (1,))))  # what was drawn before is no matter
        trainer = MetaTrainer(recipe, make_sampler(recipe, seed), seed)
        return [trainer.step() for _ in range(7)], weights(trainer)

    losses, one = trained(1)
    again, same = trained(1)
    others, other = trained(2)
    assert losses == again and equal(one, same)
    assert losses != others and not equal(one, other)
    assert np.isfinite(losses).all()


@pytest.mark.parametrize("name", ["anil", "maml", "supervised"])
def test_it_goes_on_from_a_state_as_if_it_had_not_stopped(small, make_sampler, name):
    recipe = method(small, name)
    one = MetaTrainer(recipe, make_sampler(recipe), 0)
    for _ in range(7):  # past a measurement of difficulties
        one.step()
    kept = io.BytesIO()
    torch.save(one.state(), kept)
    later = [one.step() for _ in range(5)]
    kept.seek(0)
    other = MetaTrainer(recipe, make_sampler(recipe), 0)
    other.restore(torch.load(kept, weights_only=True))
    assert other.steps_done == 7
    assert [other.step() for _ in range(5)] == later
    assert equal(weights(one), weights(other))
    assert one.curriculum.state() == other.curriculum.state()


@pytest.mark.parametrize("name", ["anil", "maml", "supervised"])
def test_the_loss_goes_down(small, make_sampler, name):
    recipe = method(small, name, steps=25)
    trainer = MetaTrainer(recipe, make_sampler(recipe), 0)
    losses = [trainer.step() for _ in range(25)]
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


def test_what_it_gives_away_does_not_move_with_it(small, make_sampler):
    trainer = MetaTrainer(small, make_sampler(small), 0)
    trainer.step()
    network, head, adapt = trainer.result()
    kept = deepcopy(network.state_dict()), head.clone(), adapt
    for _ in range(3):
        trainer.step()
    assert equal(network.state_dict(), kept[0])
    assert torch.equal(head, kept[1])
    assert not torch.equal(head, trainer.result()[1])
    assert not network.training


def test_it_keeps_running_means(small, make_sampler):
    """mean <- k mean + (1 - k) value, with k = min(average, n / (n + 9)) at step n."""
    trainer = MetaTrainer(small, make_sampler(small), 0)
    expected = {k: v.clone().double() for k, v in trainer.state()["weights"].items()}
    for step in range(1, 13):
        trainer.step()
        keep = min(small.meta.average, step / (step + 9))
        for name, value in trainer.state()["weights"].items():
            expected[name] = (
                keep * expected[name] + (1 - keep) * value if value.is_floating_point() else value
            )
    for name, value in trainer.state()["mean"].items():
        torch.testing.assert_close(value.double(), expected[name].double(), rtol=1e-4, atol=1e-6)
    network, head, _ = trainer.result()
    assert torch.equal(head, trainer.state()["mean"]["head"])
    name = "project.weight"
    assert torch.equal(network.state_dict()[name], trainer.state()["mean"][name])


def test_step_sizes_are_learned_or_left(small, make_sampler):
    def adapted(recipe: Recipe) -> AdaptConfig:
        trainer = MetaTrainer(recipe, make_sampler(recipe), 0)
        for _ in range(6):
            trainer.step()
        return trainer.result()[2]

    learned = adapted(small)
    assert all(getattr(learned, n) != getattr(small.adapt, n) for n in STEP_NAMES)
    counts = ("rounds", "steps", "follow")
    assert all(getattr(learned, n) == getattr(small.adapt, n) for n in counts)
    assert adapted(method(small, "anil", learn_steps=False)) == small.adapt
    for name in ("maml", "supervised"):
        assert adapted(method(small, name)) == small.adapt, "those are of another inner loop"


def test_full_maml_learns_its_own_step_sizes(small, make_sampler):
    for learn in (True, False):
        recipe = method(small, "maml", learn_steps=learn)
        trainer = MetaTrainer(recipe, make_sampler(recipe), 0)
        for _ in range(4):
            trainer.step()
        sizes = {k: v for k, v in trainer.state()["weights"].items() if k.startswith("size/")}
        assert len(sizes) == 12 + 1, "one a tensor of weights, and the head's"
        moved = {name for name, v in sizes.items() if abs(v.exp().item() - 0.05) > 1e-6}
        assert moved == (set(sizes) if learn else set())


def test_step_sizes_stay_within_what_a_head_is_adapted_with(small, make_sampler):
    """A bundle takes step sizes up to 10; learning may not lead beyond that."""
    recipe = replace(
        method(small, "anil", learning_rate=0.5),
        adapt=AdaptConfig(inner_step=10.0, step=9.9, rounds=1, steps=2),
    )
    trainer = MetaTrainer(recipe, make_sampler(recipe), 0)
    for _ in range(12):
        trainer.step()
        config = trainer.result()[2]
        assert all(0 <= getattr(config, name) <= 10 for name in STEP_NAMES)
        for name, value in trainer.state()["weights"].items():
            assert not name.startswith("size/") or value.exp().item() < 10.0001


def test_first_order_trains_other_weights(small, make_sampler):
    found = []
    for order in (1, 2):
        recipe = method(small, "maml", order=order)
        trainer = MetaTrainer(recipe, make_sampler(recipe), 0)
        losses = [trainer.step(), trainer.step()]
        found.append((losses, weights(trainer)))
    assert found[0][0][0] == pytest.approx(found[1][0][0], rel=1e-6), "the first loss is the same"
    assert not equal(found[0][1], found[1][1])


@pytest.mark.parametrize("steps", range(1, 13))
def test_the_learning_rate_rises_and_falls_for_any_number_of_steps(small, make_sampler, steps):
    recipe = method(small, "supervised", steps=steps)
    trainer = MetaTrainer(recipe, make_sampler(recipe), 0)
    rates = []
    for _ in range(steps):
        rates.append(trainer.learning_rate)
        trainer.step()
    assert max(rates) <= small.meta.learning_rate * 1.0001
    assert rates[0] < small.meta.learning_rate
    assert trainer.learning_rate < small.meta.learning_rate or steps == 1
    if steps > 2:
        assert max(rates) > 0.5 * small.meta.learning_rate


def test_difficulties_are_measured_as_often_as_is_due(small, make_sampler):
    recipe = replace(small, curriculum=CurriculumConfig(enabled=True, every=4))
    trainer = MetaTrainer(recipe, make_sampler(recipe), 0)
    found = []
    for _ in range(12):
        trainer.step()
        found.append(dict(trainer.curriculum.difficulty))
    assert found[:4] == [{}] * 4
    assert set(found[4]) == {f"made/{i}" for i in range(6)} | {f"calm/{i}" for i in range(3)}
    assert found[4] == found[7] != found[8] == found[11]
    assert all(np.isfinite(v) and v > 0 for v in found[4].values())
    off = replace(small, curriculum=CurriculumConfig(enabled=False))
    trainer = MetaTrainer(off, make_sampler(off), 0)
    for _ in range(12):
        trainer.step()
    assert trainer.curriculum.difficulty == {}


def test_a_difficulty_is_the_query_loss_after_an_adaptation_of_the_mean_weights(
    small, make_sampler
):
    sampler = make_sampler(small)
    trainer = MetaTrainer(small, sampler, 0)
    for _ in range(5):
        trainer.step()
    network, head, learned = trainer.result()
    found = trainer._difficulties(6)
    sizes = {name: getattr(learned, name) for name in STEP_NAMES}
    names = [*sampler.with_va, *sampler.without_va]
    for low in (0, 4, 8):
        batch = sampler.draw((1 << 40) + 6000 + low, names[low : low + 4])
        losses = task_difficulties(network, head, batch, 4, small.adapt, sizes)
        for name, loss in zip(names[low : low + 4], losses.tolist(), strict=True):
            assert found[name] == pytest.approx(loss, rel=1e-5)


def test_difficulties_tell_hard_subjects_from_easy_ones(small, made_subjects, make_sampler):
    """Of those with both classes, the one whose classes were swapped is the hardest."""
    subject = made_subjects["made/3"]
    swapped = replace(subject.stretches, va=~subject.stretches.va)
    people = made_subjects | {"made/3": replace(subject, stretches=swapped)}
    recipe = replace(
        method(small, "anil", steps=40), curriculum=CurriculumConfig(enabled=True, every=39, ramp=0)
    )
    trainer = MetaTrainer(recipe, make_sampler(recipe, subjects=people), 0)
    for _ in range(40):
        trainer.step()
    difficulty = trainer.curriculum.difficulty
    assert max(trainer.curriculum.with_va, key=difficulty.__getitem__) == "made/3"


def test_dropout_draws_by_the_step_too(small, make_sampler):
    recipe = replace(small, network=replace(small.network, dropout=0.5))
    one, other = (MetaTrainer(recipe, make_sampler(recipe), 0) for _ in range(2))
    for _ in range(3):
        torch.manual_seed(1)
        first = one.step()
        torch.rand(17)
        assert other.step() == first
    plain = MetaTrainer(small, make_sampler(small), 0)
    assert plain.step() != first


def test_it_notices_weights_that_are_no_numbers(small, make_sampler):
    trainer = MetaTrainer(small, make_sampler(small), 0)
    trainer.step()
    assert trainer.finite
    state = deepcopy(trainer.state())
    state["weights"]["project.weight"][0, 0] = float("nan")
    trainer.restore(state)
    assert not trainer.finite


def test_defaults_are_meant_for_meta_learning():
    assert (MetaConfig().method, MetaConfig().order) == ("anil", 2)

"""What a step draws: by its number alone, and shared out to processes without a remainder."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fewbeats.errors import DataError
from fewbeats.training.config import AugmentConfig
from fewbeats.training.parallel import Place
from fewbeats.training.stretches import Stretches

NAMES = ["made/1", "made/4", "calm/0", "calm/2"]
PARTS = ("normals", "va", "prototypes")


def same(one, other) -> bool:
    return all(torch.equal(getattr(one, part), getattr(other, part)) for part in PARTS)


def test_a_step_has_its_own_windows_whatever_was_drawn_before(small, make_sampler):
    fresh, used = make_sampler(small), make_sampler(small)
    for step in range(1, 6):
        used.draw(step, NAMES[::-1])
    assert same(fresh.draw(7, NAMES), used.draw(7, NAMES))
    assert not same(fresh.draw(7, NAMES), fresh.draw(8, NAMES))
    assert not same(fresh.draw(7, NAMES), make_sampler(small, seed=1).draw(7, NAMES))


def test_every_slot_of_a_step_has_windows_of_its_own(small, make_sampler):
    batch = make_sampler(small).draw(1, ["made/1", "made/1", "calm/0", "calm/0"])
    assert not torch.equal(batch.prototypes[0], batch.prototypes[1])
    assert not torch.equal(batch.normals[0], batch.normals[1])
    assert not torch.equal(batch.va[0], batch.va[1])
    assert not torch.equal(batch.va[2], batch.va[3])


def test_shapes_and_counts(small, make_sampler):
    batch = make_sampler(small).draw(1, NAMES)
    assert batch.normals.shape == batch.va.shape == (4, 9, 250)
    assert batch.prototypes.shape == (2, 250)
    assert (batch.own_va, batch.own_va_in_all) == (2, 2)
    assert (batch.tasks_in_all, batch.prototypes_in_all) == (4, 2)


def test_windows_are_standardised_as_on_the_device(small, make_sampler):
    batch = make_sampler(small).draw(1, NAMES)
    for part in PARTS:
        windows = getattr(batch, part).reshape(-1, 250)
        assert windows.mean(dim=1).abs().max() < 1e-4
        assert (windows.square().mean(dim=1) - 1).abs().max() < 1e-3


def test_processes_hold_the_slots_of_the_whole(small, make_sampler):
    whole = make_sampler(small).draw(3, NAMES)
    for rank in range(2):
        part = make_sampler(small, place=Place(rank, 2)).draw(3, NAMES)
        for name in PARTS:
            assert torch.equal(getattr(part, name), getattr(whole, name)[rank::2])
        assert part.own_va == 1
        assert (part.own_va_in_all, part.tasks_in_all, part.prototypes_in_all) == (2, 4, 2)


def test_windows_are_of_the_subject_and_class_that_they_stand_for(small, make_subject):
    """Each subject's stretches are waves of a rate of its own, faster for VA."""
    time = np.arange(350) / 125
    subjects, rate = {}, {}
    for number in range(5):
        name = f"{'made' if number < 3 else 'calm'}/{number}"
        subject = make_subject(name, 10 if number < 3 else 0, 10)
        va = subject.stretches.va
        hertz = np.where(va, 15.0, 5.0)[:, None] + number
        wave = np.sqrt(2) * np.sin(2 * np.pi * hertz * time)
        cuts = Stretches(wave.astype(np.float16), va, np.arange(len(va)))
        subjects[name], rate[name] = replace(subject, stretches=cuts), number
    recipe = replace(
        small, augment=AugmentConfig(stretch=0, leads=0, gain=0, noise=0, wander=0, motion=0,
                                     mains=0, clip=0)
    )  # fmt: skip
    from fewbeats.training.tasks import TaskSampler

    sampler = TaskSampler(subjects, recipe.window, recipe.meta, recipe.augment, 0)
    names = ["made/2", "made/0", "calm/4", "calm/3"]
    batch = sampler.draw(1, names)

    def rates(windows: torch.Tensor) -> torch.Tensor:
        return torch.fft.rfft(windows).abs().argmax(dim=-1) / 2

    expected = torch.tensor([5.0 + rate[name] for name in names])
    assert torch.equal(rates(batch.normals), expected[:, None].expand(4, 9))
    assert torch.equal(rates(batch.va[:2]), expected[:2, None].expand(2, 9) + 10)
    others = {float(r) for r in torch.cat([rates(batch.va[2:]).flatten(), rates(batch.prototypes)])}
    assert others == {15.0, 16.0, 17.0}, "VA of anybody who has it"


def test_a_partner_lead_is_the_one_of_the_same_moment(small, make_subject, make_sampler):
    subject = make_subject("made/0", 10, 10)
    samples = subject.stretches.samples
    twice = Stretches(
        np.concatenate([samples, -samples[:, ::-1]]),
        np.tile(subject.stretches.va, 2),
        np.concatenate([np.arange(20) + 20, np.arange(20)]),
    )
    subjects = {f"made/{i}": replace(subject, name=f"made/{i}", stretches=twice) for i in range(2)}
    recipe = replace(small, meta=replace(small.meta, tasks=2))
    sampler = make_sampler(recipe, subjects=subjects)
    for pools in (sampler._normals, sampler._va):
        for pool in pools.values():
            assert torch.equal(pool.partners, -pool.stretches.flip(dims=[1]))
    still = replace(recipe, augment=replace(recipe.augment, leads=0.0))
    mixed = sampler.draw(1, ["made/0", "made/1"])
    assert not same(mixed, make_sampler(still, subjects=subjects).draw(1, ["made/0", "made/1"]))


def test_who_has_too_little_of_a_class_is_not_drawn_for_it(small, make_subject):
    from fewbeats.training.tasks import TaskSampler

    people = [make_subject(f"made/{i}", 20, 20) for i in range(2)]
    people += [make_subject("made/few", 3, 20), make_subject("made/only", 20, 3)]
    people += [make_subject("calm/1", 0, 20)]
    recipe = replace(small, meta=replace(small.meta, tasks=3))
    subjects = {subject.name: subject for subject in people}
    sampler = TaskSampler(subjects, recipe.window, recipe.meta, recipe.augment, 0)
    assert sampler.with_va == ("made/0", "made/1")
    assert sampler.without_va == ("calm/1", "made/few")


def test_too_few_subjects_are_refused(small, made_subjects, make_sampler):
    few = {name: s for name, s in made_subjects.items() if name in ("made/0", "calm/0")}
    with pytest.raises(DataError, match="both VA and other"):
        make_sampler(small, subjects=few)
    ill = {name: s for name, s in made_subjects.items() if name.startswith("made")}
    with pytest.raises(DataError, match=r"lower meta\.tasks"):
        make_sampler(small, subjects=ill)
    bare = {"x/1": replace(next(iter(made_subjects.values())), stretches=None)}
    with pytest.raises(DataError, match="without stretches"):
        make_sampler(small, subjects=bare)


@pytest.mark.parametrize("change", [{"va_tasks": 3}, {"tasks": 5}, {"prototypes": 3}])
def test_tasks_that_cannot_be_shared_out_are_refused(small, make_sampler, change):
    recipe = replace(small, meta=replace(small.meta, **change))
    make_sampler(recipe)
    with pytest.raises(DataError, match="cannot be shared out to 2 processes"):
        make_sampler(recipe, place=Place(1, 2))

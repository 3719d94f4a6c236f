"""Order and micro-batches of training clips (`Schedule`)."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synvid.errors import ConfigurationError
from synvid_train.data.schedule import Schedule
from synvid_train.training_recipe import load_recipe


@given(st.integers(1, 60), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(0, 5))
@settings(deadline=None, max_examples=60)
def test_schedule_independent_of_ranks(num_clips, repeats, world, device_batch_size, seed):
    """An epoch takes each sample at most once; the samples of a step do not depend on the number of ranks."""
    batch_size = 4 * world
    if num_clips < batch_size:
        return
    args = (num_clips, repeats, batch_size, device_batch_size, 2, seed)
    ranks = [list(Schedule(*args, rank=r, world_size=world).micro_batches()) for r in range(world)]
    single = Schedule(*args)
    per_step = Schedule(*args, world_size=world).accumulation_steps
    steps = [
        [key for r in range(world) for k in range(per_step) for key in ranks[r][s * per_step + k]] for s in range(single.steps)
    ]
    batches = list(single.micro_batches())
    size = single.accumulation_steps
    assert steps == [[key for batch in batches[s * size : (s + 1) * size] for key in batch] for s in range(single.steps)]
    first_epoch = [key for step in steps[: single.steps_per_epoch] for key in step]
    assert len(set(first_epoch)) == len(first_epoch) == single.steps_per_epoch * batch_size * repeats
    assert all(len(batch) <= device_batch_size for batch in ranks[0])


def test_schedule_resumes_at_step():
    """Started at step 3, it continues the same sequence."""
    schedule = Schedule(20, 1, 4, 2, 3, 7)
    assert list(schedule.micro_batches(3)) == list(schedule.micro_batches())[3 * schedule.accumulation_steps :]


def test_schedule_fresh_never_repeats_a_clip():
    """With fresh clips, no index occurs twice in a run."""
    keys = [key[1] for batch in Schedule(10, 1, 5, 5, 4, 0, resample_each_epoch=True).micro_batches() for key in batch]
    assert sorted(keys) == list(range(40))


def test_schedule_invalid_batch_size_raises():
    """A batch larger than an epoch, or not a multiple of the processes, raises an error."""
    with pytest.raises(ConfigurationError, match="only 10 clips"):
        Schedule(10, 1, 16, 8, 1, 0)
    with pytest.raises(ConfigurationError, match="multiple of the 3"):
        Schedule(100, 1, 16, 8, 1, 0, world_size=3)


def test_schedule_kinetics_recipe():
    """An epoch of Kinetics-400's 240,436 videos has 469 steps, each of 1,024 samples of 512 videos."""
    recipe = load_recipe("finetune_k400")
    repeats, batch_size = recipe.data.samples_per_clip, recipe.optim.batch_size
    schedule = Schedule(240_436, repeats, batch_size, recipe.run.device_batch_size, recipe.optim.epochs, 0, world_size=64)
    assert (schedule.steps_per_epoch, schedule.accumulation_steps) == (469, 1)
    (batch,) = itertools.islice(schedule.micro_batches(), 1)
    assert len(batch) == 16
    assert len({index for _, index, _ in batch}) == 8
    assert [repeat for *_, repeat in batch] == [0, 1] * 8

"""What a log hears of long work."""

import pytest
from running import ended

from synvid.cli.console import ProgressBar
from synvid.runtime.progress import LogProgress


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def work():
    clock, said = Clock(), []
    return LogProgress("moving_shapes", said.append, clock), clock, said


def test_a_line_at_each_tenth(work):
    """Ten lines however many clips there are, each with count, total, share, rate and time left."""
    lines, clock, said = work
    lines.start(200, 0, "clip")
    for done in range(1, 201):
        clock.now += 2
        lines.update(done)
    assert len(said) == 10
    assert said[0] == "moving_shapes: 20 of 200 clips (10 %), 0.5 clips/s, 6 min 0 s left"
    assert said[-1] == "moving_shapes: 200 of 200 clips (100 %), 0.5 clips/s, in 6 min 40 s"


def test_a_line_every_ten_minutes(work):
    """Where a tenth takes hours there is a line every ten minutes, also while nothing is done."""
    lines, clock, said = work
    lines.start(1000, 0, "clip")
    for seconds in range(1, 3601):
        clock.now = 100.0 + seconds
        lines.update(seconds // 1800)
    assert [line.partition(",")[0] for line in said] == [f"moving_shapes: {done} of 1" for done in (0, 0, 1, 1, 1, 2)]
    assert said[0] == "moving_shapes: 0 of 1,000 clips (0 %), 0 clips/s"


def test_a_run_that_goes_on_counts_what_it_does_itself(work):
    """Clips that were there before count for the share, not for the rate; words of the work stand at the end."""
    lines, clock, said = work
    lines.start(100, 55, "step")
    lines.note("loss 0.5")
    clock.now += 10
    lines.update(55)
    lines.update(60)
    assert said == ["moving_shapes: 60 of 100 steps (60 %), 0.5 steps/s, 1 min 20 s left, loss 0.5"]


def test_nothing_to_do_is_no_trouble(work):
    """Work of no units says nothing."""
    lines, _, said = work
    lines.start(0, 0, "clip")
    lines.update(0)
    lines.finish()
    assert said == []


@pytest.mark.parametrize("quiet", [False, True])
def test_commands_say_lines_in_a_log(quiet, tmp_path):
    """`render` and `verify` say lines where stderr is no terminal, and none with --quiet."""
    from synvid.cli.main import main

    small = ["--set", "video.width=32", "--set", "video.height=32", "--set", "video.num_frames_range=[4, 4]"]
    line = ["--preset", "moving_circles", "--n", "10", "--shard-size", "1", "--workers", "1", *small]
    said = []
    for command in (["render", *line, "--out", tmp_path / "set"], ["verify", tmp_path / "set", "--workers", "1"]):
        code, talk, _ = ended(main, *command, *["--quiet"] * quiet)
        assert code == 0
        said.append([text for text in talk.splitlines() if " of 10 clips (" in text])
    assert [len(some) for some in said] == ([0, 0] if quiet else [10, 10])
    assert quiet or said[0][0].startswith("moving_circles: 1 of 10 clips (10 %), ")


def test_a_bar_that_was_never_begun_can_be_ended():
    """Ending what has not begun is no trouble."""
    ProgressBar("clips", quiet=True).finish()

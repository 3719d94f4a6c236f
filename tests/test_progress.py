"""Progress of long-running work in logs."""

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
    clock, messages = Clock(), []
    return LogProgress("moving_shapes", messages.append, clock), clock, messages


def test_log_has_a_line_per_tenth(work):
    """There are ten lines for any number of clips, each with count, total, percentage, rate and time left."""
    lines, clock, messages = work
    lines.start(200, 0, "clip")
    for done in range(1, 201):
        clock.now += 2
        lines.update(done)
    assert len(messages) == 10
    assert messages[0] == "moving_shapes: 20 of 200 clips (10 %), 0.5 clips/s, 6 min 0 s left"
    assert messages[-1] == "moving_shapes: 200 of 200 clips (100 %), 0.5 clips/s, in 6 min 40 s"


def test_log_has_a_line_every_ten_minutes(work):
    """If a tenth takes hours, there is a line every ten minutes, even if nothing is finished."""
    lines, clock, messages = work
    lines.start(1000, 0, "clip")
    for seconds in range(1, 3601):
        clock.now = 100.0 + seconds
        lines.update(seconds // 1800)
    assert [line.partition(",")[0] for line in messages] == [f"moving_shapes: {done} of 1" for done in (0, 0, 1, 1, 1, 2)]
    assert messages[0] == "moving_shapes: 0 of 1,000 clips (0 %), 0 clips/s"


def test_continued_run_excludes_earlier_units_from_the_rate(work):
    """Units of earlier runs count for the percentage, not for the rate; a note is added to the line."""
    lines, clock, messages = work
    lines.start(100, 55, "step")
    lines.note("loss 0.5")
    clock.now += 10
    lines.update(55)
    lines.update(60)
    assert messages == ["moving_shapes: 60 of 100 steps (60 %), 0.5 steps/s, 1 min 20 s left, loss 0.5"]


def test_log_of_zero_units_is_empty(work):
    """Work of zero units logs nothing."""
    lines, _, messages = work
    lines.start(0, 0, "clip")
    lines.update(0)
    lines.finish()
    assert messages == []


@pytest.mark.parametrize("quiet", [False, True])
def test_commands_log_lines_without_a_terminal(quiet, tmp_path):
    """`render` and `verify` log lines if stderr is no terminal, and none with --quiet."""
    from synvid.cli.main import main

    small = ["--set", "video.width=32", "--set", "video.height=32", "--set", "video.num_frames_range=[4, 4]"]
    line = ["--preset", "moving_circles", "--n", "10", "--shard-size", "1", "--workers", "1", *small]
    messages = []
    for command in (["render", *line, "--out", tmp_path / "set"], ["verify", tmp_path / "set", "--workers", "1"]):
        code, stderr, _ = ended(main, *command, *["--quiet"] * quiet)
        assert code == 0
        messages.append([text for text in stderr.splitlines() if " of 10 clips (" in text])
    assert [len(some) for some in messages] == ([0, 0] if quiet else [10, 10])
    assert quiet or messages[0][0].startswith("moving_circles: 1 of 10 clips (10 %), ")


def test_progress_bar_can_finish_without_start():
    """Finishing a progress bar that was not started does nothing."""
    ProgressBar("clips", quiet=True).finish()

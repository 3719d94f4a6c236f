"""What the tests of textures and mixtures share."""

from functools import partial
from pathlib import Path

from running import ended

from synvid.cli.main import main
from synvid.runtime.progress import Progress
from synvid.textures.bank import build_bank
from synvid.textures.bank_cache import make_bank_header

SHARED = Path(__file__).parents[2] / "shared" / "data"
TINY = ("--set", "video.width=32", "--set", "video.height=32", "--set", "video.num_frames_range=[3, 5]")


command = partial(ended, main)


def assert_error(args, code, *words):
    """Assert that a command ends with an exit code and a last line that contains the words, without a traceback."""
    actual, messages, _ = command(*args)
    assert actual == code, messages
    assert "Traceback" not in messages
    for word in words:
        assert str(word) in messages.strip().splitlines()[-1]


def build_small_bank(folder):
    """Build a bank of 70 small textures, which are two chunks, and return its path."""
    path = folder / "high.bank"
    build_bank(path, make_bank_header("stylegan-high-freq", 70, 32, 3), None, 2, Progress())
    return path

"""Loader processes of training under a limit on open files."""

import pytest

from synvid.errors import DatasetError
from synvid_train.data import loader


@pytest.mark.parametrize(("files", "workers"), [(64 + 10, 4), (40 + 10, 1), (30 + 10, 0), (1034, 8)])
def test_number_of_loaders_respects_the_limit_on_open_files(files, workers, monkeypatch):
    """If few files may be open, fewer loader processes are used, which is reported; half of the files stay free."""
    monkeypatch.setattr(loader, "raise_file_limit", lambda: files)
    monkeypatch.setattr(loader, "_count_open_files", lambda: 10)
    messages = []
    assert loader._prefetch([0], [0], 8, messages.append)[0] == workers
    assert len(messages) == (workers < 8)
    assert all(text in sentence for sentence in messages for text in (f"{files} files", "--workers 8", f"{workers} are used"))


@pytest.mark.parametrize(
    "words", ["unable to open shared memory object </x>: Too many open files (24)", "received 0 items of ancdata"]
)
def test_too_many_open_files_in_loaders_raises(words):
    """What torch reports for too many open files becomes an error message that names the limit."""
    with pytest.raises(DatasetError, match="ulimit -n"), loader.catch_worker_death():
        raise RuntimeError(words)

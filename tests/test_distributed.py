"""Environment variables of launchers of distributed training."""

import socket
from datetime import timedelta

import pytest
from running import ended

from synvid.errors import ConfigurationError
from synvid_train import distributed
from synvid_train.cli.main import main as train_main
from synvid_train.distributed import DistributedContext

LAUNCHER = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_RUN_ID")
ADDRESS = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517"}


@pytest.fixture
def set_launcher(monkeypatch):
    """Sets a launcher's variables, and no others of them."""

    def launch(**variables):
        for name in LAUNCHER:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)

    return launch


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"WORLD_SIZE": "4"}, ["WORLD_SIZE is 4, but RANK, MASTER_ADDR, MASTER_PORT are not set", "torchrun"]),
        ({"WORLD_SIZE": "4", "RANK": "1"}, ["MASTER_ADDR, MASTER_PORT are not set"]),
        ({"WORLD_SIZE": "4", **ADDRESS}, ["RANK is not set"]),
        ({"WORLD_SIZE": "four"}, ["WORLD_SIZE is 'four'", "whole number"]),
        ({"WORLD_SIZE": "0"}, ["WORLD_SIZE is 0", "1 or more"]),
        ({"WORLD_SIZE": "2", "RANK": "2", **ADDRESS}, ["RANK is 2, but WORLD_SIZE is 2"]),
        ({"RANK": "3"}, ["RANK is 3, but WORLD_SIZE is not set"]),
        ({"LOCAL_RANK": "1"}, ["LOCAL_RANK is 1, but WORLD_SIZE is not set"]),
        ({"LOCAL_WORLD_SIZE": "all"}, ["LOCAL_WORLD_SIZE is 'all'"]),
        ({"WORLD_SIZE": "2", "RANK": "0", **ADDRESS, "MASTER_PORT": "http"}, ["MASTER_PORT is 'http'"]),
        ({"WORLD_SIZE": "2", "RANK": "0", **ADDRESS, "MASTER_PORT": "70000"}, ["MASTER_PORT is 70000", "65535"]),
    ],
    ids=lambda value: " ".join(map("=".join, value.items())) if isinstance(value, dict) else "",
)
def test_inconsistent_launcher_variables_raise(variables, named, set_launcher, tmp_path):
    """Variables of a launcher that contradict one another or are incomplete: exit code 2, one error message."""
    set_launcher(**variables)
    code, stderr, _ = ended(train_main, "pretrain", "--preset", "moving_circles", "--out", tmp_path / "run", "--device", "cpu")
    assert code == 2
    assert len(stderr.splitlines()) == 1, stderr
    assert all(text in stderr for text in named), stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "variables", [{}, {"WORLD_SIZE": "1"}, {"RANK": "0"}, {"WORLD_SIZE": "", "RANK": "", "LOCAL_RANK": ""}]
)
def test_single_process_needs_no_launcher(variables, set_launcher):
    """A single process needs no address, whether the variables are unset, empty, or those of rank 0 of 1."""
    set_launcher(**variables)
    context = DistributedContext.join("cpu")
    assert (context.rank, context.world_size, context.is_main) == (0, 1, True)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_missing_processes_raise_after_a_timeout(rank, set_launcher, monkeypatch):
    """A process whose peers were never started reports that it waits, then raises instead of hanging."""
    with socket.socket() as free:  # a port of its own: the other rank may be tested at the same time
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    set_launcher(WORLD_SIZE="2", RANK=rank, MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    monkeypatch.setattr(distributed, "_RENDEZVOUS_TIMEOUT", timedelta(seconds=1))
    messages = []
    with pytest.raises(ConfigurationError, match=rf"2 processes of WORLD_SIZE could not connect through .*{port}.*torchrun"):
        DistributedContext.join("cpu", messages.append)
    assert len(messages) == 1
    assert f"Rank {rank} of 2 waits for the other processes" in messages[0]

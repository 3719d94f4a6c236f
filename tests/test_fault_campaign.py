"""The fault campaign of the benchmarks: two short sequences, and the failures it detects."""

import random
import sys
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("the campaign forks and kills", allow_module_level=True)
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import faults
import faults_render


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A folder for a campaign, with an environment that is no job array."""
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    faults_render.prepare(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_two_sequences_find_no_failures(root):
    """Two sequences of disturbed renders find no failures and are described."""
    messages = []
    scenarios = faults.campaign(0, [0, 9], 5, root, report=messages.append)
    assert [scenario.failures for scenario in scenarios.values()] == [[], []], messages
    assert all(scenario.faults and scenario.done for scenario in scenarios.values())
    assert max(map(len, "\n".join([*messages, faults.summarize(scenarios)]).splitlines())) <= 80
    assert "2 sequences" in faults.summarize(scenarios)


def test_campaign_finds_missing_and_changed_files(root, monkeypatch):
    """A missing file, a changed one and an unexpected one are each found."""
    folder = root / "folder"
    folder.mkdir()
    scenario = faults_render.RenderScenario(root, folder, random.Random(3))
    scenario.out.mkdir()
    scenario.finish(scenario.start(scenario.command(1, scenario.out)))
    original = faults_render.contents

    def contents(path):
        files = original(path)
        if path == scenario.out:
            files[".synvid/shard-000000.json"] += b" "
            files["more"] = files.pop("lists/videomae.csv")
        return files

    monkeypatch.setattr(faults_render, "contents", contents)
    scenario.user_files["mine.txt"] = b"mine"
    scenario.check()
    assert [failure.split(":")[0] for failure in scenario.failures] == [
        "unexpected files", "files are missing", "differs from the undisturbed dataset",
        "a file of the user is missing or changed",
    ]  # fmt: skip

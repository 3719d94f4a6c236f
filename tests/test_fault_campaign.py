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


def test_two_sequences_find_no_failures(root):
    """Two sequences of disturbed renders find no failures and are described."""
    messages = []
    sites = faults.campaign(0, [0, 9], 5, root, say=messages.append)
    assert [site.failures for site in sites.values()] == [[], []], messages
    assert all(site.faults and site.done for site in sites.values())
    assert max(map(len, "\n".join([*messages, faults.summary(sites)]).splitlines())) <= 80
    assert "2 sequences" in faults.summary(sites)


def test_campaign_finds_missing_and_changed_files(root, monkeypatch):
    """A missing file, a changed one and an unexpected one are each found."""
    folder = root / "folder"
    folder.mkdir()
    site = faults_render.RenderSite(root, folder, random.Random(3))
    site.out.mkdir()
    site.finish(site.start(site.line(1, site.out)))
    plain = faults_render.contents

    def contents(place):
        files = plain(place)
        if place == site.out:
            files[".synvid/shard-000000.json"] += b" "
            files["more"] = files.pop("lists/videomae.csv")
        return files

    monkeypatch.setattr(faults_render, "contents", contents)
    site.strangers["mine.txt"] = b"mine"
    site.check()
    assert [failure.split(":")[0] for failure in site.failures] == [
        "files too many", "files are missing", "differs from the undisturbed dataset", "a stranger's file is gone or changed",
    ]  # fmt: skip

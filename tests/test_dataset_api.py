"""Datasets in Python: render, inspect, verify and merge without the command line."""

import dataclasses

import pytest

import synvid
from synvid.runtime.progress import Progress, Reporter

N, SHARD_SIZE = 5, 2


class RecordingReporter(Reporter):
    """Keeps messages, and the last number of finished units of each progress callback."""

    def __init__(self):
        self.messages, self.counts = [], {}

    def message(self, text):
        self.messages.append(text)

    def progress(self, label):
        reporter = self

        class Recording(Progress):
            def start(self, _total, done, _unit):
                reporter.counts[label] = done

            def update(self, done):
                reporter.counts[label] = done

        return Recording()


@pytest.fixture
def preset(tiny):
    return synvid.load_preset("moving_circles", tiny)


def render(preset, out, **options):
    return synvid.render_dataset(preset, N, out, **{"shard_size": SHARD_SIZE, "workers": 1, **options})


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_render_dataset_writes_a_finished_dataset(preset, tmp_path):
    """The result counts clips and bytes, and `open_dataset` reads what was written."""
    result = render(preset, tmp_path / "set")
    assert (result.clips, result.already_done, result.finished, result.failed) == (N, 0, True, {})
    assert result.bytes == sum(path.stat().st_size for path in (tmp_path / "set").rglob("*.tar"))
    assert len(synvid.open_dataset(tmp_path / "set")) == N
    again = render(preset, str(tmp_path / "set"))
    assert (again.clips, again.already_done, again.finished) == (0, N, True)


def test_render_dataset_accepts_a_name_with_overrides(preset, tiny, tmp_path):
    """A preset's name with overrides gives the same files as the loaded preset."""
    render(preset, tmp_path / "loaded")
    render("moving_circles", tmp_path / "named", overrides=tiny)
    assert contents(tmp_path / "named") == contents(tmp_path / "loaded")


def test_render_dataset_equals_the_command(preset, tmp_path):
    """The function and `synvid render` write the same bytes."""
    from running import ended

    from synvid.cli.main import main

    (tmp_path / "small.yaml").write_text(dataclasses.replace(preset, name="small").to_yaml())
    line = ["render", "--preset", tmp_path / "small.yaml", "--n", N, "--shard-size", SHARD_SIZE, "--workers", 1, "--seed", 3]
    assert ended(main, *line, "--format", "files", "--out", tmp_path / "command")[0] == 0
    render(tmp_path / "small.yaml", tmp_path / "function", seed=3, format="files")
    assert contents(tmp_path / "function") == contents(tmp_path / "command")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "zip"}, "format is 'zip'"),
        ({"seed": -1}, "seed is -1"),
        ({"textures": {"statistical": "a.bank"}}, "has no bank 'statistical'"),
        ({"real": "nowhere"}, "nowhere: no such folder"),
        ({"overwrite": True, "part": (0, 2)}, "--overwrite with part 0/2"),
        ({"part": (2, 2)}, r"part is \(2, 2\)"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_render_dataset_wrong_argument_raises(options, message, preset, tmp_path):
    """A wrong argument is a ConfigurationError that names it, and nothing is written."""
    with pytest.raises(synvid.ConfigurationError, match=message):
        render(preset, tmp_path / "set", **options)
    assert not (tmp_path / "set").exists()


def test_render_dataset_other_seed_needs_overwrite(preset, tmp_path):
    """Another dataset in the folder is kept, unless it is to be overwritten."""
    render(preset, tmp_path)
    with pytest.raises(synvid.ConfigurationError, match="seed: 1, 0"):
        render(preset, tmp_path, seed=1)
    assert render(preset, tmp_path, seed=1, overwrite=True).finished
    assert synvid.open_dataset(tmp_path).recipe.seed == 1


def test_library_prints_nothing_and_reports_to_the_reporter(preset, tmp_path, capfd):
    """Without a reporter nothing is printed; with one it receives the progress of each function."""
    render(preset, tmp_path / "silent")
    synvid.verify_dataset(tmp_path / "silent", workers=1)
    reporter = RecordingReporter()
    render(preset, tmp_path / "set", reporter=reporter)
    synvid.verify_dataset(tmp_path / "set", workers=1, reporter=reporter)
    assert reporter.counts == {preset.name: N, "verify": N}
    assert capfd.readouterr() == ("", "")


def test_folder_name_with_a_pattern_is_reported(preset, tmp_path):
    """A folder that other loaders would take for a pattern is reported as a message."""
    reporter = RecordingReporter()
    render(preset, tmp_path / "[v1]", reporter=reporter)
    assert "[v1]" in reporter.messages[0]


def test_dataset_status_lists_shards(preset, tmp_path):
    """Done, missing and damaged shards are listed, and nothing is changed."""
    render(preset, tmp_path, part=(0, 2))
    (tmp_path / "train" / "shard-000002.tar").unlink()
    before = contents(tmp_path)
    status = synvid.dataset_status(str(tmp_path))
    assert dataclasses.asdict(status) == {
        "n": N, "shards": 3, "finished": False, "done": [0], "missing": [1], "damaged": [2],
    }  # fmt: skip
    assert contents(tmp_path) == before
    render(preset, tmp_path)
    assert synvid.dataset_status(tmp_path).finished
    with pytest.raises(dataclasses.FrozenInstanceError):
        status.n = 1


def test_dataset_status_without_dataset_raises(tmp_path):
    """A folder without a dataset is a DatasetError."""
    with pytest.raises(synvid.DatasetError, match="no dataset here"):
        synvid.dataset_status(tmp_path)


@pytest.mark.parametrize("rerender", [False, True])
def test_verify_dataset_intact_has_no_problems(rerender, preset, tmp_path):
    """An intact dataset has no problems, also when its clips are rendered again."""
    render(preset, tmp_path)
    result = synvid.verify_dataset(tmp_path, rerender=rerender, workers=1)
    assert (result.ok, result.problems, result.shards) == (True, {}, 3)


def test_verify_dataset_lists_damaged_files(preset, tmp_path):
    """Problems are listed by shard or index file; a damaged shard is rendered again by the next run."""
    render(preset, tmp_path)
    (tmp_path / "lists" / "videomae.csv").write_text("")
    result = synvid.verify_dataset(tmp_path, workers=1)
    assert list(result.stale_files) == ["lists/videomae.csv"]
    shard = tmp_path / "train" / "shard-000001.tar"
    shard.write_bytes(shard.read_bytes()[:-512])
    result = synvid.verify_dataset(str(tmp_path), workers=1)
    assert not result.ok
    assert list(result.problems) == list(result.bad_shards) == ["train/shard-000001.tar"]
    assert render(preset, tmp_path).clips == SHARD_SIZE
    assert synvid.verify_dataset(tmp_path, workers=1).ok


def test_merge_datasets_joins_parts(preset, tmp_path):
    """Parts rendered into folders of their own become one dataset."""
    for i in range(2):
        render(preset, tmp_path / f"part{i}", part=(i, 2))
    missing = synvid.merge_datasets(tmp_path / "set", [tmp_path / "part0"])
    assert (missing.copied, missing.missing) == (2, [1])
    result = synvid.merge_datasets(str(tmp_path / "set"), [str(tmp_path / "part1")])
    assert (result.copied, result.missing) == (1, [])
    render(preset, tmp_path / "whole")
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")


def test_records_are_read_once_per_run(preset, tmp_path, monkeypatch):
    """A run with nothing to render parses each record once, and each recipe file at most three times."""
    from synvid.dataset.recipe import DatasetRecipe
    from synvid.dataset.record import ShardRecord

    render(preset, tmp_path)
    records, recipes = [], []
    read_record, read_recipe = ShardRecord.read.__func__, DatasetRecipe.read.__func__
    monkeypatch.setattr(
        ShardRecord, "read", classmethod(lambda cls, *args: records.append(args[-1]) or read_record(cls, *args))
    )
    monkeypatch.setattr(DatasetRecipe, "read", classmethod(lambda cls, path: recipes.append(path) or read_recipe(cls, path)))
    assert render(preset, tmp_path).finished
    assert records == [0, 1, 2]
    assert len(recipes) <= 3


def test_nothing_to_render_locates_no_inputs(preset, tmp_path, monkeypatch):
    """A finished dataset is recognized without its texture banks and real videos."""
    render(preset, tmp_path)
    monkeypatch.setattr("synvid.dataset.plan.locate_inputs", None)
    monkeypatch.setattr("synvid.dataset.build.warm_up_kernels", None)
    assert render(preset, tmp_path).already_done == N

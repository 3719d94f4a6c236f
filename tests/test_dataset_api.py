"""Datasets in Python: render, inspect, verify and merge without the command line."""

import dataclasses

import numpy as np
import pytest
import torch

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
        ({"overwrite": True, "part": (0, 2)}, "overwrite with part 0/2"),
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


# ---- Wrong arguments -----------------------------------------------------------------------------------------------
NOT_PATHS = [None, 5, b"set", ["set"]]


def error_message(call):
    """The one-line message of the ConfigurationError that a call raises."""
    with pytest.raises(synvid.ConfigurationError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("part", [(0, 1, 2), (0,), 1, "0/2", "01", (0.0, 2), (0, True), None, {0, 1}], ids=repr)
def test_render_dataset_part_that_is_no_pair_raises(part, preset, tmp_path):
    """A part must be a pair of whole numbers."""
    message = error_message(lambda: render(preset, tmp_path / "set", part=part))
    assert f"part is {part!r} ({type(part).__name__}); give a pair (i, n) of whole numbers" in message
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 1.5}, "workers is 1.5 (float); it must be a whole number from 1, or None"),
        ({"workers": "all"}, "workers is 'all' (str)"),
        ({"workers": True}, "workers is True (bool)"),
        ({"textures": "x.bank"}, "textures is 'x.bank' (str); give a mapping"),
        ({"textures": ["x.bank"]}, "textures is ['x.bank'] (list); give a mapping"),
        ({"textures": {5: "x.bank"}}, "a name in textures is 5 (int)"),
        ({"textures": {"images": 5}}, "textures['images'] is 5 (int); give the path of a file"),
        ({"images": 5}, "images is 5 (int); give the path of a folder, or None"),
        ({"images": b"x"}, "images is b'x' (bytes)"),
        ({"real": 5}, "real is 5 (int); give the path of a folder, or None"),
        ({"real": "a\0b"}, "a path has no null characters"),
        ({"overwrite": "no"}, "overwrite is 'no' (str); give True or False"),
        ({"overwrite": 1}, "overwrite is 1 (int)"),
        ({"reporter": "x"}, "reporter is 'x' (str); give a synvid.Reporter"),
        ({"reporter": Reporter}, "(type); give a synvid.Reporter"),
        ({"format": 5}, "format is 5 (int)"),
        ({"encoding": None}, "encoding is None (NoneType)"),
        ({"encoder": ["pyav"]}, "encoder is ['pyav'] (list)"),
        ({"codec": 5}, "codec is 5 (int)"),
        ({"codec": "h264_nvenc"}, "codec is 'h264_nvenc'; only the encoder ffmpeg"),
        ({"shard_size": 2.0}, "shard_size is 2.0"),
        ({"seed": "3"}, "seed is '3'"),
        ({"overrides": ["a"]}, "overrides is ['a'] (list)"),
        ({"overrides": []}, "overrides is [] (list)"),
    ],
)
def test_render_dataset_wrong_type_is_named(options, message, preset, tmp_path):
    """An argument of the wrong type is named, with its value and type, and nothing is written."""
    assert message in error_message(lambda: render(preset, tmp_path / "set", **options))
    assert not (tmp_path / "set").exists()


def test_render_dataset_wrong_preset_is_named(preset, tmp_path):
    """What is no preset is named with its type."""
    for value in (None, 5, synvid.sample_scene(preset)):
        message = error_message(lambda value=value: render(value, tmp_path / "set"))
        assert message.startswith("preset is ")
        assert f"({type(value).__name__}); give a Preset, the name of one, or the path of a file" in message


@pytest.mark.parametrize("value", NOT_PATHS, ids=repr)
def test_wrong_folder_is_named(value, preset):
    """A folder that is no path is named by every function of datasets."""
    expected = f"{value!r} ({type(value).__name__}); give the path of a folder"
    assert f"out is {expected}" in error_message(lambda: render(preset, value))
    for function in (synvid.dataset_status, synvid.verify_dataset, synvid.merge_datasets):
        assert f"folder is {expected}" in error_message(lambda function=function: function(value))
    assert f"path is {expected}" in error_message(lambda: synvid.open_dataset(value))
    assert f"sources[0] is {expected}" in error_message(lambda: synvid.merge_datasets("set", [value]))


@pytest.mark.parametrize("sources", ["part0", None, 5, b"part0"], ids=repr)
def test_merge_datasets_sources_that_are_no_sequence_raise(sources, preset, tmp_path):
    """One folder in place of a sequence of folders is refused, whether text or a Path."""
    render(preset, tmp_path, part=(0, 2))
    for value in (sources, tmp_path):
        message = error_message(lambda value=value: synvid.merge_datasets(tmp_path, value))
        assert f"({type(value).__name__}); give a sequence of folders" in message


def test_merge_datasets_accepts_any_sequence(preset, tmp_path):
    """The sources may be a tuple or a generator."""
    render(preset, tmp_path / "part0", part=(0, 2))
    for sources in ((tmp_path / "part0",), (path for path in [tmp_path / "part0"])):
        assert synvid.merge_datasets(tmp_path / "set", sources).missing == [1]


def test_render_dataset_accepts_integers_of_numpy_and_torch(preset, tmp_path):
    """Numbers of NumPy and torch give the same files as those of Python."""
    render(preset, tmp_path / "plain", seed=3)
    synvid.render_dataset(
        preset, np.int64(N), tmp_path / "numpy", seed=np.uint64(3), shard_size=np.int32(SHARD_SIZE), workers=np.int8(1),
        part=[np.int64(0), np.int64(1)],
    )  # fmt: skip
    synvid.render_dataset(
        preset, torch.tensor(N), tmp_path / "torch", seed=torch.tensor(3), shard_size=SHARD_SIZE, workers=torch.tensor(1)
    )
    assert contents(tmp_path / "numpy") == contents(tmp_path / "torch") == contents(tmp_path / "plain")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": "pictures"}, "images is pictures; it can only be given with rerender=True (--rerender)."),
        ({"real": "videos"}, "real is videos; it can only be given with rerender=True (--rerender)."),
        ({"textures": {"a": "a.bank"}}, "textures is a=a.bank; it can only be given with rerender=True (--rerender)."),
        ({"rerender": "no"}, "rerender is 'no' (str); give True or False."),
        ({"reporter": "x"}, "reporter is 'x' (str); give a synvid.Reporter"),
        ({"workers": 0.5}, "workers is 0.5 (float)"),
        ({"rerender": True, "images": 5}, "images is 5 (int)"),
    ],
)
def test_verify_dataset_wrong_argument_raises(options, message, preset, tmp_path):
    """Inputs that only rendering needs are refused without it, as are arguments of the wrong type."""
    render(preset, tmp_path)
    assert message in error_message(lambda: synvid.verify_dataset(tmp_path, **options))


def test_verify_command_refuses_inputs_without_rerender(preset, tmp_path):
    """`synvid verify --images DIR` without `--rerender` ends with exit code 2."""
    from running import ended

    from synvid.cli.main import main

    render(preset, tmp_path)
    for option in (["--images", "pictures"], ["--real", "videos"], ["--textures", "a=a.bank"]):
        code, message, _ = ended(main, "verify", tmp_path, *option)
        assert code == 2
        assert "--rerender" in message


def test_open_dataset_wrong_textures_are_named(preset, tmp_path):
    """Textures must be a mapping, and images a path."""
    render(preset, tmp_path)
    assert "textures is ['a'] (list)" in error_message(lambda: synvid.open_dataset(tmp_path, textures=["a"]))
    assert "images is 5 (int)" in error_message(lambda: synvid.open_dataset(tmp_path, images=5))


def test_render_dataset_without_images_logs_a_warning(tiny, tmp_path, monkeypatch, caplog):
    """Without a folder of images and without a reporter, the logger `synvid` warns; a reporter gets the message instead."""
    monkeypatch.setenv("SYNVID_TEXTURES", "4")
    overrides = {**tiny, "fill.textures": ["images"]}
    render("moving_shapes", tmp_path / "logged", overrides=overrides)
    logged = [record.getMessage() for record in caplog.records if record.name == "synvid"]
    assert sum("no folder of images is given" in message for message in logged) == 1
    caplog.clear()
    reporter = RecordingReporter()
    render("moving_shapes", tmp_path / "reported", overrides=overrides, reporter=reporter)
    assert sum("no folder of images is given" in message for message in reporter.messages) == 1
    assert not caplog.records

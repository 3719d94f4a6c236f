"""Records of shards and rows of the manifest are checked when read; overwriting; the dataset card."""

import json
import shutil

import pytest
from running import ended

import synvid
from synvid.cli.main import main
from synvid.dataset.layout import record_path
from synvid.dataset.recipe import DatasetRecipe
from synvid.dataset.record import ShardRecord, read_rows, write_record

SMALL = ("video.width=32", "video.height=32", "objects.count=5", "video.num_frames_range=[4, 6]")
LAYOUTS = ("tar", "files")


def render(out, *more, seed=1, n=8, layout="tar", code=0):
    settings = [part for setting in SMALL for part in ("--set", setting)]
    what = ("--preset", "moving_circles", "--n", n, "--shard-size", 2, "--format", layout, "--seed", seed, *settings)
    found, stderr, data = ended(main, "render", *what, "--out", out, "--workers", 1, *more)
    assert (found, "Traceback" in stderr) == (code, False), stderr
    return stderr, data


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Datasets of two seeds in each layout; tests must not change them."""
    root = tmp_path_factory.mktemp("records")
    for layout in LAYOUTS:
        for seed in (1, 2):
            render(root / f"{layout}{seed}", seed=seed, layout=layout)
    return root


@pytest.fixture
def dataset(finished, tmp_path):
    """Copy one of them."""

    def copy(layout="tar", seed=1):
        return shutil.copytree(finished / f"{layout}{seed}", tmp_path / f"{layout}{seed}")

    return copy


def replace_shard(folder, other, layout):
    name = "train/shard-000001.tar" if layout == "tar" else "videos/000001"
    if layout == "tar":
        shutil.copy(other / name, folder / name)
    else:
        shutil.copytree(other / name, folder / name, dirs_exist_ok=True)
    shutil.copy(record_path(other, 1), record_path(folder, 1))


# ---- Recipe and records----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("layout", LAYOUTS)
def test_shard_of_another_seed_is_damaged_and_rendered_again(layout, dataset, finished):
    """A shard and record of another seed: `status` and `verify` report them, `render` renders the shard again."""
    folder = dataset(layout)
    replace_shard(folder, finished / f"{layout}2", layout)
    _, _, data = ended(main, "status", folder, "--json")
    assert json.loads(data)["damaged"] == [1]
    code, stderr, _ = ended(main, "verify", folder, "--workers", 1)
    assert code == 1
    assert "its record is damaged, or of another recipe" in stderr
    assert "2 clips rendered, 6 already rendered" in render(folder, layout=layout)[0]
    assert contents(folder) == contents(finished / f"{layout}1")


def test_merge_skips_a_shard_of_another_seed(dataset, finished):
    """`merge` skips such a shard in a source and reports it as missing."""
    folder, source = dataset(), finished / "tar1"
    replace_shard(folder, finished / "tar2", "tar")
    source = shutil.copytree(folder, folder.with_name("source"))
    target = folder.with_name("target")
    code, stderr, _ = ended(main, "merge", target, source)
    assert code == 1
    assert "1 shard still missing" in stderr


def test_records_rows_and_members_hold_the_recipe_digest(finished):
    """Record, manifest and the JSON member beside a video hold the digest of the recipe."""
    import tarfile

    recipe = DatasetRecipe.load(finished / "tar1")
    assert recipe.digest != DatasetRecipe.load(finished / "tar2").digest
    assert json.loads(record_path(finished / "tar1", 0).read_text().splitlines()[0])["recipe"] == recipe.digest
    assert {row["recipe"] for row in synvid.open_dataset(finished / "tar1")} == {recipe.digest}
    with tarfile.open(finished / "tar1/train/shard-000000.tar") as tar:
        assert json.load(tar.extractfile("000000000.json"))["recipe"] == recipe.digest


def test_shard_is_not_committed_after_the_recipe_changed(dataset, finished, monkeypatch):
    """If another recipe has been put into the folder during a run, the run discards its shard and reports why."""
    import synvid.dataset.shard as shard_module

    folder = dataset()
    record_path(folder, 3).unlink()
    original = shard_module.commit_shard

    def commit_shard(*args):
        shutil.copy(finished / "tar2" / "synvid.yaml", folder / "synvid.yaml")
        original(*args)

    monkeypatch.setattr(shard_module, "commit_shard", commit_shard)
    stderr, _ = render(folder, code=1)
    assert "synvid.yaml: has changed since this run began" in stderr
    assert not record_path(folder, 3).exists()
    assert DatasetRecipe.load(folder).seed == 2


def test_create_exclusive_without_hard_links(tmp_path, monkeypatch):
    """On a file system without hard links, only one of two files created at the same time succeeds."""
    from synvid.storage.atomic_io import create_exclusive
    from synvid.storage.workspace import workspace

    monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "Operation not permitted")))
    with workspace(tmp_path) as tmp_dir:
        assert create_exclusive(tmp_path / "synvid.yaml", "one", tmp_dir)
        monkeypatch.setattr("pathlib.Path.exists", lambda _: False)  # as just before the other process wrote it
        assert not create_exclusive(tmp_path / "synvid.yaml", "two", tmp_dir)
    assert (tmp_path / "synvid.yaml").read_text() == "one"


# ---- Checks of rows and records-------------------------------------------------------------------------------------
def change_row(row, key, value):
    return {other: old for other, old in row.items() if other != key} if value is None else {**row, key: value}


CHANGES = [
    ("offset", None),
    ("offset", "512"),
    ("shard", None),
    ("size", 0),
    ("shard", "/etc/passwd"),
    ("shard", "../../secret.tar"),
    ("index", 2),
    ("seed", 2),
    ("recipe", "0" * 32),
    ("frames", True),
    ("fps", 30.0),
    ("sha256", "none"),
    ("preset", "other"),
    ("surprise", 1),
]


@pytest.mark.parametrize(("key", "value"), CHANGES)
def test_wrong_manifest_row_raises_when_read(key, value, dataset):
    """Whatever is wrong with a row: the error message names file, line and key."""
    folder = dataset()
    path = folder / "manifest.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[1] = change_row(rows[1], key, value)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    opened = synvid.open_dataset(folder)
    assert opened[0] == rows[0]
    for read in (lambda: opened[1], lambda: opened.video(1), lambda: list(opened)):
        with pytest.raises(synvid.DatasetError, match=rf"manifest.jsonl, line 2: is damaged.*{key}"):
            read()


@pytest.mark.parametrize(("key", "value"), CHANGES[3:])  # without the others no list of videos can be written
def test_record_with_a_wrong_row_is_found(key, value, dataset, finished):
    """`verify` names the shard of a record with a wrong row, and the next `render` renders it again."""
    folder = dataset()
    recipe = DatasetRecipe.load(folder)
    record, rows = ShardRecord.read(recipe, folder, 1), read_rows(recipe, folder, 1)
    rows[1] = change_row(rows[1], key, value)
    write_record(recipe, folder, 1, record.files, rows, folder)
    code, stderr, _ = ended(main, "verify", folder, "--workers", 1)
    assert (code, "Traceback" in stderr) == (1, False), stderr
    assert "train/shard-000001.tar" in stderr
    render(folder)
    assert contents(folder) == contents(finished / "tar1")


def test_swapped_manifest_lines_raise_when_opened(dataset):
    """Swapped lines, a missing final newline and an empty line are found when the dataset is opened."""
    folder = dataset()
    path = folder / "manifest.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    for wrong, number in (
        ([*lines[:2], lines[3], lines[2], *lines[4:]], 3),
        ([*lines[:-1], lines[-1].rstrip()], 8),
        ([lines[0], "\n", *lines[1:]], 2),
    ):
        path.write_text("".join(wrong))
        with pytest.raises(synvid.DatasetError, match=f"line {number}: is damaged"):
            synvid.open_dataset(folder)


def test_manifest_does_not_depend_on_the_scan_size(finished, monkeypatch):
    """Rows are found for any chunk size of the scan."""
    import synvid.dataset.manifest as module

    whole = list(synvid.open_dataset(finished / "files1"))
    for size in (50, 333, 1 << 20):
        monkeypatch.setattr(module, "_SCAN_BYTES", size)
        assert list(synvid.open_dataset(finished / "files1")) == whole


# ---- Overwriting -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("layout", LAYOUTS)
def test_overwrite_with_the_same_recipe_continues(layout, dataset, finished):
    """--overwrite of the same dataset renders what is missing and touches nothing else."""
    folder = dataset(layout)
    record_path(folder, 2).unlink()
    ages = {path: path.stat().st_mtime_ns for path in folder.glob("*/shard-000001*")}
    stderr, _ = render(folder, "--overwrite", layout=layout)
    assert "2 clips rendered, 6 already rendered" in stderr
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/shard-000001*")} == ages
    assert contents(folder) == contents(finished / f"{layout}1")


def test_overwrite_with_parts_raises(dataset, finished, monkeypatch):
    """--overwrite with --part, or in a job array, is rejected before anything is changed."""
    folder = dataset()
    stderr, _ = render(folder, "--overwrite", "--part", "0/2", seed=2, code=2)
    assert "overwrite with part 0/2" in stderr
    for name, value in {"ID": 1, "MIN": 0, "MAX": 1, "STEP": 1, "COUNT": 2}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    render(folder, "--overwrite", seed=2, code=2)
    assert contents(folder) == contents(finished / "tar1")


@pytest.mark.parametrize("mistake", [("--encoder", "ffmpeg", "--codec", "nonsense"), ("--set", "objects.count=-1")])
def test_overwrite_with_wrong_settings_removes_nothing(mistake, dataset, finished):
    """Wrong settings of a new dataset are found before the old one is changed."""
    folder = dataset()
    render(folder, "--overwrite", *mistake, seed=2, code=2)
    assert contents(folder) == contents(finished / "tar1")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_overwrite_with_fewer_clips_keeps_full_shards(layout, dataset):
    """--overwrite with fewer clips keeps full shards and removes the others."""
    folder = dataset(layout)
    stderr, _ = render(folder, "--overwrite", n=5, layout=layout)
    assert "1 clip rendered, 4 already rendered" in stderr
    fresh = folder.with_name("fresh")
    render(fresh, n=5, layout=layout)
    assert contents(folder) == contents(fresh)


def test_overwrite_of_a_folder_in_use_raises(dataset, finished):
    """While another run works in a folder, its dataset is not replaced."""
    from synvid.storage.workspace import workspace

    folder = dataset()
    with workspace(folder):
        stderr, _ = render(folder, "--overwrite", seed=2, code=2)
    assert "another run is working here" in stderr
    assert contents(folder) == contents(finished / "tar1")


# ---- The card --------------------------------------------------------------------------------------------------------
def test_edited_card_is_kept(dataset, finished):
    """`render`, `merge` and `verify` keep an edited card; when the dataset is overwritten, the card is renamed."""
    folder = dataset()
    card = folder / "README.md"
    edited = card.read_text().replace("pretty_name", "license: mit\npretty_name")
    card.write_text(edited)
    record_path(folder, 0).unlink()
    render(folder)
    assert ended(main, "merge", folder)[0] == 0
    assert ended(main, "verify", folder, "--workers", 1)[0] == 0
    assert card.read_text() == edited
    render(folder, "--overwrite", seed=2)
    assert (folder / "README.old.md").read_text() == edited
    assert card.read_bytes() == (finished / "tar2" / "README.md").read_bytes()


def test_unedited_card_is_updated(dataset):
    """A card that nobody has edited is written again when the dataset changes."""
    folder = dataset()
    render(folder, "--overwrite", n=5)
    assert "# moving_circles: 5 synthetic clips" in (folder / "README.md").read_text()
    assert not (folder / "README.old.md").exists()


# ---- Other ------------------------------------------------------------------------------------------------------------
def test_files_of_operating_systems_do_not_make_a_folder_foreign(tmp_path):
    """.DS_Store and lost+found are ignored; a broken link is an error that names it."""
    (tmp_path / "set" / "lost+found").mkdir(parents=True)
    (tmp_path / "set" / ".DS_Store").write_text("")
    render(tmp_path / "set", n=2)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "link: is a broken link" in render(tmp_path / "link", n=2, code=2)[0]


def test_finished_part_reads_only_its_own_records(dataset, monkeypatch):
    """A finished part of an unfinished dataset reads the records of its own shards, and no rows."""
    folder, read = dataset(), []
    record_path(folder, 3).unlink()
    original = ShardRecord.read.__func__
    monkeypatch.setattr(ShardRecord, "read", classmethod(lambda cls, *args: read.append(args[-1]) or original(cls, *args)))
    monkeypatch.setattr(ShardRecord, "read_lines", None)
    render(folder, "--part", "0/4")
    assert set(read) == {0}

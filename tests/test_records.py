"""A shard's record is bound to its recipe, what is read is checked, and nothing is removed before all is known to be right."""

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
    found, talk, data = ended(main, "render", *what, "--out", out, "--workers", 1, *more)
    assert (found, "Traceback" in talk) == (code, False), talk
    return talk, data


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Datasets of two seeds in each layout, which no test may change."""
    root = tmp_path_factory.mktemp("records")
    for layout in LAYOUTS:
        for seed in (1, 2):
            render(root / f"{layout}{seed}", seed=seed, layout=layout)
    return root


@pytest.fixture
def dataset(finished, tmp_path):
    """A copy of one of them."""

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


# ---- Bound to a recipe -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_shard_of_another_seed_is_found_and_rendered_anew(layout, dataset, finished):
    """A shard and its record of another seed under the right name: `status` and `verify` say so, `render` mends it."""
    folder = dataset(layout)
    replace_shard(folder, finished / f"{layout}2", layout)
    _, _, data = ended(main, "status", folder, "--json")
    assert json.loads(data)["damaged"] == [1]
    code, talk, _ = ended(main, "verify", folder, "--workers", 1)
    assert code == 1
    assert "its record is damaged, or of another recipe" in talk
    assert "2 clips rendered, 6 already rendered" in render(folder, layout=layout)[0]
    assert contents(folder) == contents(finished / f"{layout}1")


def test_merge_takes_no_shard_of_another_seed(dataset, finished):
    """`merge` passes over a foreign shard in a source, and says what is missing."""
    folder, source = dataset(), finished / "tar1"
    replace_shard(folder, finished / "tar2", "tar")
    source = shutil.copytree(folder, folder.with_name("source"))
    target = folder.with_name("target")
    code, talk, _ = ended(main, "merge", target, source)
    assert code == 1
    assert "1 shards are still missing" in talk


def test_the_digest_of_the_recipe_stands_in_records_rows_and_members(finished):
    """Record, manifest and the JSON member beside a video name the recipe's digest."""
    import tarfile

    recipe = DatasetRecipe.load(finished / "tar1")
    assert recipe.digest != DatasetRecipe.load(finished / "tar2").digest
    assert json.loads(record_path(finished / "tar1", 0).read_text().splitlines()[0])["recipe"] == recipe.digest
    assert {row["recipe"] for row in synvid.open_dataset(finished / "tar1")} == {recipe.digest}
    with tarfile.open(finished / "tar1/train/shard-000000.tar") as tar:
        assert json.load(tar.extractfile("000000000.json"))["recipe"] == recipe.digest


def test_a_run_whose_recipe_has_been_replaced_installs_nothing(dataset, finished, monkeypatch):
    """A run beside which another recipe has taken the folder throws its shard away and says why."""
    import synvid.dataset.shard as shard_module

    folder = dataset()
    record_path(folder, 3).unlink()
    original = shard_module.install

    def install(*args):
        shutil.copy(finished / "tar2" / "synvid.yaml", folder / "synvid.yaml")
        original(*args)

    monkeypatch.setattr(shard_module, "install", install)
    talk, _ = render(folder, code=1)
    assert "synvid.yaml: is another one than when this run began" in talk
    assert not record_path(folder, 3).exists()
    assert DatasetRecipe.load(folder).seed == 2


def test_without_hard_links_only_one_recipe_is_first(tmp_path, monkeypatch):
    """Where hard links are refused, of two recipes written at once one is first and the other is told so."""
    from synvid.storage import atomic_io

    monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(PermissionError(1, "Operation not permitted")))
    with atomic_io.workspace(tmp_path) as room:
        assert atomic_io.create_exclusive(tmp_path / "synvid.yaml", "one", room)
        monkeypatch.setattr("pathlib.Path.exists", lambda _: False)  # as just before the other wrote it
        assert not atomic_io.create_exclusive(tmp_path / "synvid.yaml", "two", room)
    assert (tmp_path / "synvid.yaml").read_text() == "one"


# ---- Checked where it is read ----------------------------------------------------------------------------------------
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
def test_a_wrong_row_of_the_manifest_is_one_sentence(key, value, dataset):
    """Whatever is wrong with a row is found when it is read: the sentence names file, line and key."""
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
def test_a_record_with_a_wrong_row_is_found(key, value, dataset, finished):
    """A record that was written with a wrong row: `verify` names the shard, and the next `render` makes it anew."""
    folder = dataset()
    recipe = DatasetRecipe.load(folder)
    record, rows = ShardRecord.read(recipe, folder, 1), read_rows(recipe, folder, 1)
    rows[1] = change_row(rows[1], key, value)
    write_record(recipe, folder, 1, record.files, rows, folder)
    code, talk, _ = ended(main, "verify", folder, "--workers", 1)
    assert (code, "Traceback" in talk) == (1, False), talk
    assert "train/shard-000001.tar" in talk
    render(folder)
    assert contents(folder) == contents(finished / "tar1")


def test_lines_of_the_manifest_that_are_swapped_are_found_at_once(dataset):
    """Two lines in each other's place are found when the dataset is opened, as are a missing end and an empty line."""
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


def test_the_manifest_is_scanned_in_pieces(finished, monkeypatch):
    """Rows are found whatever the size of the pieces in which the manifest is scanned."""
    import synvid.dataset.manifest as module

    whole = list(synvid.open_dataset(finished / "files1"))
    for size in (50, 333, 1 << 20):
        monkeypatch.setattr(module, "_SCAN_BYTES", size)
        assert list(synvid.open_dataset(finished / "files1")) == whole


# ---- Overwriting -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("layout", LAYOUTS)
def test_overwriting_with_the_same_recipe_goes_on(layout, dataset, finished):
    """--overwrite of the very dataset that is there renders what is missing, and touches nothing else."""
    folder = dataset(layout)
    record_path(folder, 2).unlink()
    ages = {path: path.stat().st_mtime_ns for path in folder.glob("*/shard-000001*")}
    talk, _ = render(folder, "--overwrite", layout=layout)
    assert "2 clips rendered, 6 already rendered" in talk
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/shard-000001*")} == ages
    assert contents(folder) == contents(finished / f"{layout}1")


def test_overwriting_by_parts_is_refused(dataset, finished, monkeypatch):
    """--overwrite with --part, or in a job array, is refused before anything is done."""
    folder = dataset()
    talk, _ = render(folder, "--overwrite", "--part", "0/2", seed=2, code=2)
    assert "--overwrite with part 0/2" in talk
    for name, value in {"ID": 1, "MIN": 0, "MAX": 1, "STEP": 1, "COUNT": 2}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_TASK_{name}", str(value))
    render(folder, "--overwrite", seed=2, code=2)
    assert contents(folder) == contents(finished / "tar1")


@pytest.mark.parametrize("mistake", [("--encoder", "ffmpeg", "--codec", "nonsense"), ("--set", "objects.count=-1")])
def test_a_mistake_beside_overwrite_removes_nothing(mistake, dataset, finished):
    """What is wrong with a new dataset is found before the old one is touched."""
    folder = dataset()
    render(folder, "--overwrite", *mistake, seed=2, code=2)
    assert contents(folder) == contents(finished / "tar1")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_smaller_set_takes_over_the_shards_that_fit(layout, dataset):
    """--overwrite with fewer clips keeps whole shards that are the same, and removes the others."""
    folder = dataset(layout)
    talk, _ = render(folder, "--overwrite", n=5, layout=layout)
    assert "1 clips rendered, 4 already rendered" in talk
    fresh = folder.with_name("fresh")
    render(fresh, n=5, layout=layout)
    assert contents(folder) == contents(fresh)


def test_a_folder_in_use_is_not_overwritten(dataset, finished):
    """While another run works in a folder, its dataset is not replaced."""
    from synvid.storage.workspace import workspace

    folder = dataset()
    with workspace(folder):
        talk, _ = render(folder, "--overwrite", seed=2, code=2)
    assert "another run is working here" in talk
    assert contents(folder) == contents(finished / "tar1")


# ---- The card --------------------------------------------------------------------------------------------------------
def test_an_edited_card_is_kept(dataset, finished):
    """`render`, `merge` and `verify` leave an edited card as it is; an overwritten set's card stays under another name."""
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


def test_a_card_that_nobody_edited_follows_the_set(dataset):
    """A card that is as synvid wrote it is written anew when the set has become another."""
    folder = dataset()
    render(folder, "--overwrite", n=5)
    assert "# moving_circles: 5 synthetic clips" in (folder / "README.md").read_text()
    assert not (folder / "README.old.md").exists()


# ---- Small things ----------------------------------------------------------------------------------------------------
def test_what_systems_leave_in_folders_is_no_obstacle(tmp_path):
    """.DS_Store and lost+found do not make a folder somebody else's; a link to nothing is named."""
    (tmp_path / "set" / "lost+found").mkdir(parents=True)
    (tmp_path / "set" / ".DS_Store").write_text("")
    render(tmp_path / "set", n=2)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert "link: is a link to nothing" in render(tmp_path / "link", n=2, code=2)[0]


def test_a_part_reads_only_what_it_needs(dataset, monkeypatch):
    """A part that is done, in a set that is not, reads the records of its own shards and no rows."""
    folder, read = dataset(), []
    record_path(folder, 3).unlink()
    original = ShardRecord.read.__func__
    monkeypatch.setattr(ShardRecord, "read", classmethod(lambda cls, *args: read.append(args[-1]) or original(cls, *args)))
    monkeypatch.setattr(ShardRecord, "read_lines", None)
    render(folder, "--part", "0/4")
    assert set(read) == {0}

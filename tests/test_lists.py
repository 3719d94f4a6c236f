"""Lists of labelled videos as the datasets publish them: small copies of each layout, made here."""

import csv
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from running import ended, noise_clip, write_video

from synvid.errors import ConfigurationError
from synvid_train.cli.main import main
from synvid_train.data.annotations import read_list


def _touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def _shown(videos):
    """Name of each video below the folder of the list, and its label."""
    folder = videos.source if videos.source.is_dir() else videos.source.parent
    return {
        path.relative_to(folder).as_posix(): videos.classes[label]
        for path, label in zip(videos.paths, videos.labels, strict=True)
    }


def _write(path, text):
    path.write_text(text if isinstance(text, str) else json.dumps(text), encoding="utf-8")
    return path


# ---- CSV and text -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "label"),
    [
        ('a.mp4,"Putting a, b and c on the table"\nb.mp4,x\n', "Putting a, b and c on the table"),
        ('path,label\na.mp4,"Putting ""this"", that"\nb.mp4,x\n', 'Putting "this", that'),
        ("a.mp4\tPutting this, that\nb.mp4\tx\n", "Putting this, that"),
        ("a;Putting this, that\nb;x\n", "Putting this, that"),
        ("a.mp4 air drumming\nb.mp4 x\n", "air drumming"),
        ("a.mp4 3 point shot\nb.mp4 x\n", "3 point shot"),
        ("a.mp4 120 air drumming\nb.mp4 9 x\n", "air drumming"),
        ("a.mp4, air drumming\nb.mp4, x\n", "air drumming"),
        ("clip_name,clip_path,label\na,/train/../a.mp4,run\nb,/b.mp4,x\n", "run"),
        (",video_name,tag\n0,a.mp4,run\n1,b.mp4,x\n", "run"),
        ("id,video,class_id,class\n0,a.mp4,3,run\n1,b.mp4,4,x\n", "run"),
    ],
)  # fmt: skip
def test_text_and_csv(text, label, tmp_path):
    """Quotes, separators and blanks in labels, headers of others, no extensions: label and path come out whole."""
    _touch(tmp_path, "a.mp4", "b.mp4", "train/c.mp4")
    videos = read_list(_write(tmp_path / "l.csv", text))
    assert [path.resolve().name for path in videos.paths] == ["a.mp4", "b.mp4"]
    assert [videos.classes[i] for i in videos.labels] == [label, "x"]


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="/\\"), min_size=1, max_size=8)


ROWS = st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=4).map(" ".join)), min_size=1, max_size=6)


@given(ROWS, st.booleans())
@settings(deadline=None, max_examples=100)
def test_what_a_csv_writer_writes_is_read(rows, header):
    """Any names and labels come back from a CSV as they went in, row by row, with a header or without."""
    assume(header or not any(label.replace(" ", "").isdigit() and " " in label for _, label in rows))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        listed = folder / "l.csv"
        with listed.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerows([("path", "label")] * header)
            writer.writerows((f"{i} {word}.mp4", label) for i, (word, label) in enumerate(rows))
        for i, (word, _) in enumerate(rows):
            (folder / f"{i} {word}.mp4").touch()
        videos = read_list(listed)
    assert [path.name for path in videos.paths] == [f"{i} {word}.mp4" for i, (word, _) in enumerate(rows)]
    assert [videos.classes[label] for label in videos.labels] == [label for _, label in rows]


def test_names_without_extensions_are_all_read(tmp_path):
    """The first row of a list without extensions is a video like the others."""
    _touch(tmp_path, "video.webm", "clip2.webm", "clip3.webm")
    assert _shown(read_list(_write(tmp_path / "l.csv", "video,run\nclip2,run\nclip3,sit\n"))) == {
        "video.webm": "run",
        "clip2.webm": "run",
        "clip3.webm": "sit",
    }


def test_paths_that_look_absolute_are_below_the_root(tmp_path):
    """`/train/x.avi` that is not there is looked for below --root; a path that is absolute and there is taken as it is."""
    _touch(tmp_path, "root/train/x.avi", "elsewhere/y.avi")
    listed = _write(tmp_path / "l.csv", f"/train/x.avi,run\n{tmp_path}/elsewhere/y.avi,sit\n")
    videos = read_list(listed, tmp_path / "root")
    assert videos.paths == (tmp_path / "root/train/x.avi", tmp_path / "elsewhere/y.avi")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a.mp4,run\nb.mp4\n", r"line 2: 'b\.mp4' is no path and label"),
        ("a.mp4,run\nb.mp4,Putting this, that\n", r"line 2: .* what contains ',' goes in quotes"),
        ('a.mp4,run\n"b.mp4,sit\nc.mp4,sit\n', r"line 2: .* has wrong quotes"),
        ("path,label\na.mp4,run\nb.mp4,Putting this, that\n", r"line 3: .* has 3 fields where the header has 2"),
        ("a.mp4 1 3 5\nb.mp4 2\n", r"line 1: '1 3 5' is several labels"),
        ("path,label\n", "lists no videos"),
        ("a.mp4,1,run\nb.mp4,sit\n", r"line 2: it and the first one differ"),
        ("what,where\na.mp4,run\nb.mp4,sit\n", r"line 1: 'what' with 'where' is neither a video that is there nor a header"),
        ("path,label,split\na.mp4,run,train\nb.mp4,,train\n", r"line 3: the row of 'b\.mp4' has no label"),
    ],
)
def test_what_is_not_understood_is_named(text, words, tmp_path):
    """A row that is not understood is refused by its line; none is left out."""
    _touch(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    with pytest.raises(ConfigurationError, match=words):
        read_list(_write(tmp_path / "l.csv", text))


@pytest.mark.parametrize("text", ["v1 120 0\nv2 90 1\n", "v1,120,0\nv2,90,1\n", "v1 0\nv2 1\n"])
def test_folders_of_frames_are_refused(text, tmp_path):
    """Rows that name folders of frames are refused with what makes videos of them."""
    _touch(tmp_path, "v1/img_00001.jpg", "v2/img_00001.jpg")
    with pytest.raises(ConfigurationError, match=r"line 1: .*v1 is a folder; folders of frames are not read\. `ffmpeg "):
        read_list(_write(tmp_path / "l.txt", text))


def test_folders_of_frames_that_are_not_there(tmp_path):
    """Such rows are told apart where nothing is there, too."""
    with pytest.raises(ConfigurationError, match="its rows look like `folder frames label`"):
        read_list(_write(tmp_path / "l.txt", "v1 120 0\nv2 90 1\n"))


# ---- Parts --------------------------------------------------------------------------------------------------------
def test_parts_of_a_column(tmp_path):
    """Rows are taken by what a column says, as datasets write it; val and test stand in for each other; the rest is said."""
    _touch(tmp_path, *(f"{i}.mp4" for i in range(6)))
    text = "path,label,split\n" + "".join(
        f"{i}.mp4,x,{part}\n" for i, part in enumerate(["train", "Training", "validate", "val", "train", "extra"])
    )
    listed = _write(tmp_path / "l.csv", text)
    train = read_list(listed, column="split")
    assert list(_shown(train)) == ["0.mp4", "1.mp4", "4.mp4"]
    assert "1 row of no part that is known, marked 'extra', left out" in train.remarks[0]
    assert list(_shown(read_list(listed, split="val", column="split"))) == ["2.mp4", "3.mp4"]
    test = read_list(listed, split="test", column="split")
    assert list(_shown(test)) == ["2.mp4", "3.mp4"]
    assert "no rows are marked test; those marked val are taken" in test.remarks[0]
    everything = read_list(listed)
    assert len(everything) == 6
    assert "`--split split` takes those of one part" in everything.remarks[0]
    with pytest.raises(ConfigurationError, match="lists no videos for train in its column label; its rows are marked x"):
        read_list(listed, column="label")


# ---- Folders ------------------------------------------------------------------------------------------------------
def test_folders_by_class(tmp_path):
    """CLASS/VIDEO: the folder is the label."""
    _touch(tmp_path, "run/a.mp4", "run/._a.mp4", "sit down/b.avi", "sit down/notes.txt")
    videos = read_list(tmp_path)
    assert _shown(videos) == {"run/a.mp4": "run", "sit down/b.avi": "sit down"}
    assert videos.classes == ("run", "sit down")


def test_folders_by_split_and_class(tmp_path):
    """SPLIT/CLASS/VIDEO, as Hugging Face's guide has it: each part has its own videos, and --root changes nothing."""
    _touch(tmp_path, "train/run/a.mp4", "train/sit/b.mp4", "val/run/c.mp4", "test/sit/d.mp4", "test/sit/e.mp4")
    train = read_list(tmp_path, tmp_path / "elsewhere")
    assert _shown(train) == {"train/run/a.mp4": "run", "train/sit/b.mp4": "sit"}
    assert list(_shown(read_list(tmp_path, None, train.classes, "val"))) == ["val/run/c.mp4"]
    assert list(_shown(read_list(tmp_path, None, train.classes, "test"))) == ["test/sit/d.mp4", "test/sit/e.mp4"]
    assert list(_shown(read_list(tmp_path / "val", None, train.classes, "val"))) == ["run/c.mp4"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["run/a.mp4", "b.mp4"], r"b\.mp4 is not where a folder by class has its videos"),
        (["run/a.mp4", "sit/deep/b.mp4"], r"sit/deep/b\.mp4 is not where"),
        (["train/run/a.mp4", "val/b.mp4"], r"val/b\.mp4 is not where .*: SPLIT/CLASS/VIDEO"),
        (["notes.txt"], "lists no videos; it should hold CLASS/VIDEO or SPLIT/CLASS/VIDEO"),
    ],
)
def test_other_folders_are_refused(names, words, tmp_path):
    """A video at another depth is named, rather than given a wrong label or left out."""
    _touch(tmp_path, *names)
    with pytest.raises(ConfigurationError, match=words):
        read_list(tmp_path)


# ---- UCF101 and HMDB51 --------------------------------------------------------------------------------------------
def test_ucf101(tmp_path):
    """Labels are the folders, in the order of classInd.txt where it is there; a broken line is named."""
    names = ["HammerThrow/v_HammerThrow_g08_c01.avi", "Hammering/v_Hammering_g08_c02.avi"]
    _touch(tmp_path, *names)
    train = _write(tmp_path / "trainlist01.txt", f"{names[0]} 36\n{names[1]} 35\n")
    assert read_list(train).classes == ("HammerThrow", "Hammering")
    _write(tmp_path / "classInd.txt", "35 Hammering\n36 HammerThrow\n")
    assert (read_list(train).classes, read_list(train).labels) == (("Hammering", "HammerThrow"), (1, 0))
    test = read_list(_write(tmp_path / "testlist01.txt", "\r\n".join(names)), None, ("0", "1"), "test")
    assert test.labels == (1, 0)
    assert "by position, in the order of their dataset, 'HammerThrow' for 1" in test.remarks[0]
    with pytest.raises(ConfigurationError, match=r"line 2: 'nothing 3' is no line of UCF101's lists"):
        read_list(_write(train, f"{names[0]} 36\nnothing 3\n"))


def test_hmdb51(tmp_path):
    """1 is training, 2 test, 0 neither; a folder or one of its files, each split; a broken line is named."""
    _touch(tmp_path, "videos/wave/a b.avi", "videos/wave/c.avi", "videos/sit/d.avi")
    _write(tmp_path / "wave_test_split3.txt", "a b.avi 1 \nc.avi 2 \nx.avi 0 \n")
    _write(tmp_path / "sit_test_split3.txt", "d.avi 1 \n")
    videos = tmp_path / "videos"
    assert [path.name for path in read_list(tmp_path, videos, column="3").paths] == ["d.avi", "a b.avi"]
    assert [path.name for path in read_list(tmp_path, videos, (), "val", "3").paths] == ["c.avi"]
    assert [path.name for path in read_list(tmp_path / "wave_test_split3.txt", videos).paths] == ["a b.avi"]
    with pytest.raises(ConfigurationError, match="--split all: HMDB51 has the splits 1, 2 and 3"):
        read_list(tmp_path, videos, column="all")
    _write(tmp_path / "sit_test_split3.txt", "d.avi 1\nd.avi\n")
    with pytest.raises(ConfigurationError, match=r"sit_test_split3\.txt, line 2: 'd\.avi' is no video and 0, 1 or 2"):
        read_list(tmp_path, videos, column="3")


def test_official_lists_of_converted_videos(tmp_path):
    """UCF101's and HMDB51's videos are found with another extension, and without the folder of their class."""
    _touch(tmp_path, "Archery/v_Archery_g01_c01.mp4", "v_Archery_g01_c02.avi", "wave/a.b.webm")
    ucf101 = "Archery/v_Archery_g01_c01.avi 3\nArchery/v_Archery_g01_c02.avi 3\n"
    assert _shown(read_list(_write(tmp_path / "trainlist01.txt", ucf101))) == {
        "Archery/v_Archery_g01_c01.mp4": "Archery",
        "v_Archery_g01_c02.avi": "Archery",
    }
    assert _shown(read_list(_write(tmp_path / "wave_test_split1.txt", "a.b.avi 1\n"))) == {"wave/a.b.webm": "wave"}


# ---- Kinetics -----------------------------------------------------------------------------------------------------
KINETICS = (
    "label,youtube_id,time_start,time_end,split\n"
    "air drumming,-0aB,1,11,train\n"
    '"sailing, fast",b_c,61,71,train\n'
    "air drumming,ddd,0,10,validate\n"
    "air drumming,eee,0,10,test\n"
)


@pytest.mark.parametrize(
    "files",
    [
        ["-0aB_000001_000011.mp4", "b_c_000061_000071.mp4", "ddd_000000_000010.mp4", "eee_000000_000010.mp4"],
        ["-0aB.mp4", "b_c.mkv", "ddd.webm", "eee.mp4"],
        ["air_drumming/-0aB_000001_000011.mp4", "sailing, fast/b_c.mp4", "air drumming/ddd.mp4", "air drumming/eee.mp4"],
        ["train/-0aB_000001_000011.mp4", "train/b_c_000061_000071.mp4", "val/ddd.mp4", "test/eee.mp4"],
        ["train/air drumming/-0aB.mp4", "train/sailing, fast/b_c.mp4", "validate/air_drumming/ddd.mp4", "test/eee.mp4"],
    ],
)
def test_kinetics(files, tmp_path):
    """Kinetics' own CSV: clips are found by id and times, or id, at the top, by label or by split; parts are its own."""
    _touch(tmp_path, *files)
    listed = _write(tmp_path / "kinetics.csv", KINETICS)
    train = read_list(listed)
    assert _shown(train) == {files[0]: "air drumming", files[1]: "sailing, fast"}
    assert list(_shown(read_list(listed, None, train.classes, "val"))) == [files[2]]
    assert list(_shown(read_list(listed, None, train.classes, "test"))) == [files[3]]


def test_kinetics_without_labels_and_as_json(tmp_path):
    """A test without labels is refused; the JSON that DeepMind publishes is read; a time that is none is named."""
    _touch(tmp_path, "abc_000001_000011.mp4")
    with pytest.raises(ConfigurationError, match="line 2: has no label, as the lists of a test do"):
        read_list(_write(tmp_path / "test.csv", "youtube_id,time_start,time_end,split\nabc,1,11,test\n"), split="test")
    entry = {"annotations": {"label": "run", "segment": [1.0, 11.0]}, "duration": 10.0, "subset": "validate", "url": "x"}
    videos = read_list(_write(tmp_path / "val.json", {"abc": entry}), split="val")
    assert _shown(videos) == {"abc_000001_000011.mp4": "run"}
    with pytest.raises(ConfigurationError, match=r"abc: .* has no 'annotations'"):
        read_list(_write(tmp_path / "val.json", {"abc": {}}))
    with pytest.raises(ConfigurationError, match="line 2: time_start 'soon' and time_end '11' should be seconds"):
        read_list(_write(tmp_path / "x.csv", "label,youtube_id,time_start,time_end,split\nrun,abc,soon,11,train\n"))


# ---- Something-Something v2 and Diving48 --------------------------------------------------------------------------
@pytest.mark.parametrize("prefix", ["", "something-something-v2-"])
def test_something_something(prefix, tmp_path):
    """Templates without brackets are the labels, in the order of labels.json; a test has none, and is refused."""
    _touch(tmp_path, "1.webm", "22.mp4", "3.webm")
    _write(tmp_path / f"{prefix}labels.json", {"Putting something on something": "1", "Showing something": "0"})
    listed = _write(
        tmp_path / f"{prefix}train.json",
        [
            {"id": "1", "label": "showing a cup", "template": "Showing [something]", "placeholders": ["a cup"]},
            {"id": "22", "label": "putting a on b", "template": "Putting [something] on [something]", "placeholders": ["a"]},
        ],
    )
    videos = read_list(listed)
    assert _shown(videos) == {"1.webm": "Showing something", "22.mp4": "Putting something on something"}
    assert (videos.classes, videos.labels) == (("Showing something", "Putting something on something"), (0, 1))
    assert read_list(listed, classes=("0", "1")).labels == (0, 1)
    for name in ("test.json", "train.json"):
        with pytest.raises(ConfigurationError, match="id 3: has no label, as the lists of a test do"):
            read_list(_write(tmp_path / name, [{"id": "3"}]), split="test")
    with pytest.raises(ConfigurationError, match=r"id 3: 'Other' is not in its labels\.json"):
        read_list(_write(listed, [{"id": "3", "label": "x", "template": "Other"}]))
    with pytest.raises(ConfigurationError, match=r"labels\.json: is no list of videos"):
        read_list(tmp_path / f"{prefix}labels.json")


def test_diving48(tmp_path):
    """Numbers are the labels; an entry without one is named."""
    _touch(tmp_path, "x_00205.mp4", "y_00206.mp4")
    entries = [
        {"vid_name": name, "label": i, "start_frame": 0, "end_frame": 9} for name, i in (("x_00205", 26), ("y_00206", 7))
    ]
    listed = _write(tmp_path / "Diving48_V2_train.json", entries)
    videos = read_list(listed)
    assert (_shown(videos), videos.classes) == ({"x_00205.mp4": "26", "y_00206.mp4": "7"}, ("7", "26"))
    with pytest.raises(ConfigurationError, match=r"entry 2: .* has no 'label'"):
        read_list(_write(listed, [entries[0], {"vid_name": "y"}]))


@pytest.mark.parametrize(
    ("text", "words"),
    [("{", "is no JSON"), ("[1]", "is no list of videos"), ('{"a": 1}', "is no list of videos"), ("[]", "lists no videos")],
)
def test_other_json_is_refused(text, words, tmp_path):
    """JSON that no dataset writes has a sentence."""
    with pytest.raises(ConfigurationError, match=words):
        read_list(_write(tmp_path / "l.json", text))


# ---- What is missing ----------------------------------------------------------------------------------------------
def test_missing_videos_are_counted(tmp_path):
    """Up to a tenth they are said, and a class of which none is there by name; beyond that the list is refused."""
    _touch(tmp_path, *(f"{i}.mp4" for i in range(20)))
    (tmp_path / "3.mp4").unlink()
    listed = _write(tmp_path / "l.csv", "".join(f"{i}.mp4,{'rare' if i == 3 else 'common'}\n" for i in range(20)))
    (remark,) = read_list(listed).remarks
    assert "1 of 20 videos are missing" in remark
    assert "3.mp4 for one; none of rare is there" in remark
    for i in range(10, 19):
        (tmp_path / f"{i}.mp4").unlink()
    with pytest.raises(ConfigurationError, match=r"10 of 20 videos are missing, .*3\.mp4 for one; take them out"):
        read_list(listed)


def test_a_video_with_two_labels_is_said(tmp_path):
    """A video that is listed twice is as good as two; one with two labels is said."""
    _touch(tmp_path, "a.mp4", "b.mp4")
    assert read_list(_write(tmp_path / "l.csv", "a.mp4,run\na.mp4,run\nb.mp4,sit\n")).remarks == ()
    (remark,) = read_list(_write(tmp_path / "l.csv", "a.mp4,run\na.mp4,sit\nb.mp4,sit\n")).remarks
    assert remark == f"{tmp_path}/l.csv: 1 video with more than one label, {tmp_path}/a.mp4 for one."


# ---- check-list ---------------------------------------------------------------------------------------------------
def test_check_list(tmp_path):
    """It says format, classes, what is missing, listed twice and in two parts, and ends with 1 if something is missing."""
    _touch(tmp_path, "a.mp4", "b.mp4", "c.mp4", "d.mp4")
    rows = ["a.mp4,run,train", "b.mp4,run,train", "b.mp4,run,train", "c.mp4,sit,train", "c.mp4,sit,test", "e.mp4,run,test"]
    listed = _write(tmp_path / "l.csv", "path,label,split\n" + "\n".join(rows) + "\n")
    code, said, told = ended(main, "check-list", listed, "--split", "split", "--json")
    assert (code, said) == (1, f"synvid-train: {listed}: of 6 videos 1 missing.\n")
    report = json.loads(told)
    assert (report["format"], report["folder"], report["is_whole"]) == ("CSV with a header", str(tmp_path), False)
    assert report["shared"] == [f"{tmp_path}/c.mp4"]
    train, test = report["parts"]
    assert (train["part"], train["videos"], train["classes"]) == ("train", 4, {"run": 3, "sit": 1})
    assert (train["missing"], train["repeated"], train["undecodable"]) == ([], [f"{tmp_path}/b.mp4"], None)
    assert (test["part"], test["videos"], test["missing"]) == ("test", 2, [f"{tmp_path}/e.mp4"])
    (tmp_path / "e.mp4").touch()
    code, said, told = ended(main, "check-list", listed, "--split", "split")
    assert (code, said) == (0, "")
    assert told == (
        f"{listed}: CSV with a header; videos below {tmp_path}\n"
        "train: 4 videos of 2 classes, 1 (sit) to 3 (run) each\n"
        f"  listed twice: 1 of 4, {tmp_path}/b.mp4\n"
        "test: 2 videos of 2 classes, 1 (run) to 1 (sit) each\n"
        f"in more than one part: 1, {tmp_path}/c.mp4\n"
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_check_list_decodes(workers, tmp_path):
    """--decode finds files that are no videos and videos that break off; those that are well are passed over."""
    for name in ("good.mp4", "cut.mp4"):
        write_video(tmp_path / name, noise_clip(0, frames=20))
    data = (tmp_path / "cut.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    (tmp_path / "no.mp4").write_bytes(b"no video")
    listed = _write(tmp_path / "l.csv", "good.mp4,a\ncut.mp4,b\nno.mp4,b\n")
    code, said, told = ended(main, "check-list", listed, "--decode", "--workers", workers, "--json")
    assert (code, said.splitlines()[-1]) == (1, f"synvid-train: {listed}: of 3 videos 2 undecodable.")
    ((cut, no),) = [part["undecodable"] for part in json.loads(told)["parts"]]
    assert cut.startswith(f"{tmp_path}/cut.mp4: ")
    assert no.startswith(f"{tmp_path}/no.mp4: ")
    code, _, told = ended(main, "check-list", _write(listed, "good.mp4,a\n"), "--decode")
    assert (code, told.splitlines()[-1]) == (0, "  undecodable: none of those that are there")


def test_check_list_of_a_test_and_of_what_is_no_list(tmp_path):
    """A list without labels is reported as such; one that is not understood ends with 2."""
    _touch(tmp_path, "3.webm")
    code, _, told = ended(main, "check-list", _write(tmp_path / "test.json", [{"id": "3"}]))
    assert code == 0
    assert "all: 1 video of 0 classes\n  without a label: 1\n" in told
    code, said, told = ended(main, "check-list", _write(tmp_path / "l.csv", "nonsense\n"))
    assert (code, told) == (2, "")
    assert said == f"synvid-train: {tmp_path}/l.csv, line 1: 'nonsense' is no path and label.\n"


# ---- What the commands say ----------------------------------------------------------------------------------------
def _classifier(folder, classes):
    pytest.importorskip("torch")
    from synvid_train.model.checkpoint import Checkpoint, save_weights
    from synvid_train.model.videomae import Architecture, VideoClassifier

    architecture = Architecture("tiny", 4, 16, 8, 2, 1)
    weights = VideoClassifier(architecture, len(classes)).state_dict()
    save_weights(folder / "model.safetensors", Checkpoint(architecture, "classifier", weights, classes))
    return folder / "model.safetensors"


def test_commands_say_what_was_taken_for_what(tmp_path):
    """Matches of numbers and names and missing videos are on stderr before a training or a test begins."""
    model = _classifier(tmp_path, ("run", "sit"))
    for i in range(10):
        write_video(tmp_path / f"{i}.mp4", noise_clip(i))
    listed = _write(tmp_path / "l.csv", "".join(f"{i}.mp4,{i % 2}\n" for i in range(11)))
    code, said, told = ended(main, "check-list", listed, "--classes-from", model)
    assert (code, said) == (1, f"synvid-train: {listed}: of 11 videos 1 missing.\n")
    position = "its labels are numbers, and the model has names: they are taken by position, 0 for 'run'"
    assert position in told
    missing = f"{listed}: 1 of 11 videos are missing, {tmp_path}/10.mp4 for one; of each class some are there.\n"
    code, said, _ = ended(main, "finetune", "--train", listed, "--checkpoint", tmp_path / "nowhere.pt")
    assert code == 2
    assert missing in said
    code, said, told = ended(main, "evaluate", "--checkpoint", model, "--data", listed, "--workers", 0, "--json")
    assert code == 0
    assert missing in said
    assert position in said
    assert json.loads(told)["clean"]["videos"] == 10


def test_a_label_that_the_model_does_not_know(tmp_path):
    """check-list --classes-from ends with 2 and names the line and the label."""
    _touch(tmp_path, "a.mp4", "b.mp4")
    listed = _write(tmp_path / "l.csv", "a.mp4,run\nb.mp4,jump\n")
    code, said, _ = ended(main, "check-list", listed, "--classes-from", _classifier(tmp_path, ("run", "sit")))
    assert (code, "line 2: the label 'jump' is not one of the 2 that the model knows, run, sit, ..." in said) == (2, True)


def _videos(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


# ---- What would be wrong without a word ---------------------------------------------------------------------------
def test_segments_of_videos_are_refused(tmp_path):
    """Columns of start and end are not passed over: whole videos would be trained on."""
    _videos(tmp_path, "a.mp4")
    listed = _write(tmp_path / "l.csv", "path,start_time,end_time,label\na.mp4,0,1,run\n")
    with pytest.raises(ConfigurationError, match=r"parts of videos \(start_time, end_time\) are not read"):
        read_list(listed)


def test_numbers_with_a_point_are_numbers(tmp_path):
    """Labels 0.0 to 10.0 are the classes 0 to 10 in this order; a negative one is none."""
    names = [f"{i}.mp4" for i in range(11)]
    _videos(tmp_path, *names)
    listed = _write(tmp_path / "l.csv", "path,label\n" + "".join(f"{name},{i}.0\n" for i, name in enumerate(names)))
    videos = read_list(listed)
    assert videos.classes == tuple(str(i) for i in range(11))
    assert videos.labels == tuple(range(11))
    _write(listed, "0.mp4 -1\n1.mp4 0\n")
    with pytest.raises(ConfigurationError, match=r"line 1: the label -1 is no class"):
        read_list(listed)


def test_hidden_folders_are_no_class(tmp_path):
    """A folder of thumbnails is not a class that moves all others by one."""
    _videos(tmp_path, "x/1.mp4", "y/2.mp4", ".thumbnails/1.mp4")
    assert read_list(tmp_path).classes == ("x", "y")

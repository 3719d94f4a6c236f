"""Lists of videos as CSV, text and folders by class: rows, splits and errors (`read_list`)."""

import csv
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from list_files import labels_by_path, touch, write_list

from synvid.errors import ConfigurationError
from synvid_train.data.video_list import read_list


# ---- CSV and text --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text",
    [
        "a b/one.mp4 run\nc/two.mp4 sit\n",
        "a b/one.mp4,run\nc/two.mp4,sit\n",
        '"a b/one.mp4" run\n"c/two.mp4" sit\n',
        "path,label\na b/one.mp4,run\nc/two.mp4,sit\n",
        "label,path,fps\nrun,a b/one.mp4,3\nsit,c/two.mp4,4\n",
        "a b/one.mp4\trun\r\nc/two.mp4\tsit\r\n\r\n",
        "\ufeffpath label\na b/one.mp4 run\nc/two.mp4 sit",
    ],
)
def test_read_list_delimiters_and_headers(text, tmp_path):
    """Commas, tabs or blanks, with or without header, quotes, a byte order mark and blanks in paths give the same list."""
    touch(tmp_path, "a b/one.mp4", "c/two.mp4")
    (tmp_path / "list.csv").write_text(text, encoding="utf-8", newline="")
    videos = read_list(tmp_path / "list.csv")
    assert videos.paths == (tmp_path / "a b/one.mp4", tmp_path / "c/two.mp4")
    assert (videos.labels, videos.classes) == ((0, 1), ("run", "sit"))


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
def test_read_list_labels_with_delimiters(text, label, tmp_path):
    """Labels and paths are read completely: quotes, delimiters and blanks in labels, other headers, no extensions."""
    touch(tmp_path, "a.mp4", "b.mp4", "train/c.mp4")
    videos = read_list(write_list(tmp_path / "l.csv", text))
    assert [path.resolve().name for path in videos.paths] == ["a.mp4", "b.mp4"]
    assert [videos.classes[i] for i in videos.labels] == [label, "x"]


WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"), exclude_characters="/\\"), min_size=1, max_size=8)


ROWS = st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=4).map(" ".join)), min_size=1, max_size=6)


@given(ROWS, st.booleans())
@settings(deadline=None, max_examples=100)
def test_read_list_csv_writer_roundtrip(rows, header):
    """Any names and labels written by csv.writer are read back in order, with a header or without."""
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


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a.mp4 120 7\nb.mp4 90 8\n", ["a.mp4", "b.mp4"]),
        ("a.mp4,120,7\nb.mp4,90,8\n", ["a.mp4", "b.mp4"]),
        ("c 1 7\nc 2 8\n", ["c 1", "c 2"]),  # paths that end in a number
        ("x,y/a.mp4 7\nx,y/b.mp4 8\n", ["x,y/a.mp4", "x,y/b.mp4"]),
    ],
)
def test_read_list_skips_frame_counts(text, names, tmp_path):
    """Numbers of frames between path and label are ignored, and a comma in every path is not a delimiter."""
    for name in ("a.mp4", "b.mp4", "c 1", "c 2", "x,y/a.mp4", "x,y/b.mp4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "l.txt").write_text(text)
    videos = read_list(tmp_path / "l.txt")
    assert videos.paths == tuple(tmp_path / name for name in names)
    assert videos.classes == ("7", "8")


def test_read_list_without_extensions(tmp_path):
    """In a list without extensions the first row is a video like the others."""
    touch(tmp_path, "video.webm", "clip2.webm", "clip3.webm")
    assert labels_by_path(read_list(write_list(tmp_path / "l.csv", "video,run\nclip2,run\nclip3,sit\n"))) == {
        "video.webm": "run",
        "clip2.webm": "run",
        "clip3.webm": "sit",
    }


def test_read_list_first_line_is_video(tmp_path):
    """A first line without an extension is a header only if it consists of known column names."""
    touch(tmp_path, "a.mp4", "c")
    assert len(read_list(write_list(tmp_path / "l.csv", "c,run\na.mp4,sit\n"))) == 2
    assert len(read_list(write_list(tmp_path / "l.csv", "Path,Label\na.mp4,sit\n"))) == 1


def test_read_list_absolute_paths(tmp_path):
    """An absolute path that does not exist is looked up below --root; one that exists is used as it is."""
    touch(tmp_path, "root/train/x.avi", "elsewhere/y.avi")
    listed = write_list(tmp_path / "l.csv", f"/train/x.avi,run\n{tmp_path}/elsewhere/y.avi,sit\n")
    videos = read_list(listed, tmp_path / "root")
    assert videos.paths == (tmp_path / "root/train/x.avi", tmp_path / "elsewhere/y.avi")


# ---- Errors --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no videos"),
        ("\n\n", "lists no videos"),
        ("one.mp4\x00 a", "none of its 1 videos"),
        ("nolabel\n", "line 1: 'nolabel' is not a path and a label"),
        ("gone.mp4 run\n", "none of its 1 videos exist"),
    ],
)
def test_read_list_invalid_list_raises(text, message, tmp_path):
    """Empty lists, malformed lines and missing videos raise an error with its own message."""
    (tmp_path / "list.txt").write_text(text)
    with pytest.raises(ConfigurationError, match=message):
        read_list(tmp_path / "list.txt")


def test_read_list_row_without_label_raises(tmp_path):
    """A row with an empty label is named."""
    touch(tmp_path, "a.mp4", "b.mp4")
    (tmp_path / "l.csv").write_text("path,split,label\na.mp4,train,x\nb.mp4,train,\n")
    with pytest.raises(ConfigurationError, match=r"'b\.mp4' has no label"):
        read_list(tmp_path / "l.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.mp4,run\nb.mp4\n", r"line 2: 'b\.mp4' is not a path and a label"),
        ("a.mp4,run\nb.mp4,Putting this, that\n", r"line 2: .* quote fields that contain ','"),
        ('a.mp4,run\n"b.mp4,sit\nc.mp4,sit\n', r"line 2: .* has malformed quotes"),
        ("path,label\na.mp4,run\nb.mp4,Putting this, that\n", r"line 3: .* has 3 fields, but the header has 2"),
        ("a.mp4 1 3 5\nb.mp4 2\n", r"line 1: '1 3 5' are several labels"),
        ("path,label\n", "lists no videos"),
        ("a.mp4,1,run\nb.mp4,sit\n", r"line 2: this line and the first differ"),
        ("what,where\na.mp4,run\nb.mp4,sit\n", r"line 1: 'what' with 'where' is neither an existing video nor a known header"),
        ("path,label,split\na.mp4,run,train\nb.mp4,,train\n", r"line 3: the row of 'b\.mp4' has no label"),
    ],
)
def test_read_list_malformed_row_raises(text, message, tmp_path):
    """A malformed row raises an error that names its line; no row is skipped."""
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4")
    with pytest.raises(ConfigurationError, match=message):
        read_list(write_list(tmp_path / "l.csv", text))


@pytest.mark.parametrize("text", ["v1 120 0\nv2 90 1\n", "v1,120,0\nv2,90,1\n", "v1 0\nv2 1\n"])
def test_read_list_frame_folders_raise(text, tmp_path):
    """Rows that name folders of frames are refused with a command that converts them."""
    touch(tmp_path, "v1/img_00001.jpg", "v2/img_00001.jpg")
    with pytest.raises(ConfigurationError, match=r"line 1: .*v1 is a folder; folders of frames cannot be read\. .*`ffmpeg "):
        read_list(write_list(tmp_path / "l.txt", text))


def test_read_list_missing_frame_folders_raise(tmp_path):
    """Such rows are recognized even if the folders do not exist."""
    with pytest.raises(ConfigurationError, match="its rows look like `folder frames label`"):
        read_list(write_list(tmp_path / "l.txt", "v1 120 0\nv2 90 1\n"))


def test_read_list_segment_columns_raise(tmp_path):
    """Columns with start and end are refused, since whole videos would be used."""
    touch(tmp_path, "a.mp4")
    listed = write_list(tmp_path / "l.csv", "path,start_time,end_time,label\na.mp4,0,1,run\n")
    with pytest.raises(ConfigurationError, match=r"the columns start_time, end_time select segments of videos"):
        read_list(listed)


def test_read_list_long_line_is_not_repeated(tmp_path):
    """The error message for a JSON file of one line does not repeat the line."""
    (tmp_path / "l.json").write_text(json.dumps([{"vid_name": f"v{i}", "label": i} for i in range(1000)]))
    with pytest.raises(ConfigurationError, match="none of its 1,000 videos exist") as error:
        read_list(tmp_path / "l.json")
    assert len(str(error.value)) < 500


# ---- Splits --------------------------------------------------------------------------------------------------------
def test_read_list_split_column(tmp_path):
    """Rows are selected by the split column; val and test stand in for each other; a remark names what was left out."""
    touch(tmp_path, *(f"{i}.mp4" for i in range(6)))
    text = "path,label,split\n" + "".join(
        f"{i}.mp4,x,{split}\n" for i, split in enumerate(["train", "Training", "validate", "val", "train", "extra"])
    )
    listed = write_list(tmp_path / "l.csv", text)
    train = read_list(listed, split_option="split")
    assert list(labels_by_path(train)) == ["0.mp4", "1.mp4", "4.mp4"]
    assert "1 row left out, whose split 'extra' is unknown" in train.remarks[0]
    assert list(labels_by_path(read_list(listed, split="val", split_option="split"))) == ["2.mp4", "3.mp4"]
    test = read_list(listed, split="test", split_option="split")
    assert list(labels_by_path(test)) == ["2.mp4", "3.mp4"]
    assert "no rows are marked test; those marked val are used" in test.remarks[0]
    everything = read_list(listed)
    assert len(everything) == 6
    assert "`--split split` selects those of one split" in everything.remarks[0]
    with pytest.raises(ConfigurationError, match="lists no videos for train in its column label; its rows are marked x"):
        read_list(listed, split_option="label")


# ---- Folders by class ----------------------------------------------------------------------------------------------
def test_read_list_class_folders(tmp_path):
    """In CLASS/VIDEO the folder is the label; hidden files and other files are ignored."""
    touch(tmp_path, "run/a.mp4", "run/._a.mp4", "sit down/b.avi", "sit down/notes.txt")
    videos = read_list(tmp_path)
    assert labels_by_path(videos) == {"run/a.mp4": "run", "sit down/b.avi": "sit down"}
    assert videos.classes == ("run", "sit down")


def test_read_list_split_and_class_folders(tmp_path):
    """SPLIT/CLASS/VIDEO gives each split its own videos, and --root has no effect."""
    touch(tmp_path, "train/run/a.mp4", "train/sit/b.mp4", "val/run/c.mp4", "test/sit/d.mp4", "test/sit/e.mp4")
    train = read_list(tmp_path, tmp_path / "elsewhere")
    assert labels_by_path(train) == {"train/run/a.mp4": "run", "train/sit/b.mp4": "sit"}
    assert list(labels_by_path(read_list(tmp_path, None, train.classes, "val"))) == ["val/run/c.mp4"]
    assert list(labels_by_path(read_list(tmp_path, None, train.classes, "test"))) == ["test/sit/d.mp4", "test/sit/e.mp4"]
    assert list(labels_by_path(read_list(tmp_path / "val", None, train.classes, "val"))) == ["run/c.mp4"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["run/a.mp4", "b.mp4"], r"b\.mp4 is misplaced"),
        (["run/a.mp4", "sit/deep/b.mp4"], r"sit/deep/b\.mp4 is misplaced"),
        (["train/run/a.mp4", "val/b.mp4"], r"val/b\.mp4 is misplaced; videos must be SPLIT/CLASS/VIDEO"),
        (["notes.txt"], "lists no videos; they should be CLASS/VIDEO or SPLIT/CLASS/VIDEO"),
    ],
)
def test_read_list_misplaced_video_raises(names, message, tmp_path):
    """A video at another depth is named, rather than mislabelled or skipped."""
    touch(tmp_path, *names)
    with pytest.raises(ConfigurationError, match=message):
        read_list(tmp_path)


def test_read_list_ignores_hidden_folders(tmp_path):
    """A hidden folder of thumbnails is not a class, which would shift the numbers of the others."""
    touch(tmp_path, "x/1.mp4", "y/2.mp4", ".thumbnails/1.mp4")
    assert read_list(tmp_path).classes == ("x", "y")

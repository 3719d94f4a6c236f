"""Class numbers of labels, missing videos and repeated videos in lists (`read_list`)."""

import pytest
from list_files import touch, write_list

from synvid.errors import ConfigurationError
from synvid_train.data.video_list import read_list


# ---- Class numbers -------------------------------------------------------------------------------------------------
def test_labels_come_from_list(tmp_path):
    """Labels come from the list, whatever its name and folders are."""
    touch(tmp_path, *(f"videos/{i}.mp4" for i in range(3)))
    (tmp_path / "train_list.csv").write_text("video_path,class\n" + "".join(f"videos/{i}.mp4,{i}\n" for i in range(3)))
    videos = read_list(tmp_path / "train_list.csv")
    assert (videos.classes, videos.labels) == (("0", "1", "2"), (0, 1, 2))


def test_numeric_labels_sorted_by_value(tmp_path):
    """Numeric labels are ordered by value, and a gap between them leaves the names of the classes as they are."""
    touch(tmp_path, *(f"{i}.mp4" for i in range(12)))
    (tmp_path / "l.csv").write_text("".join(f"{i}.mp4 {i}\n" for i in range(12)))
    assert read_list(tmp_path / "l.csv").labels == tuple(range(12))
    (tmp_path / "l.csv").write_text("0.mp4 0\n1.mp4 1\n2.mp4 3\n")
    assert read_list(tmp_path / "l.csv").classes == ("0", "1", "3")


def test_numeric_labels_keep_their_value(tmp_path):
    """Fewer numbers than the model has classes keep their meaning; a subset of numbers gives classes with gaps."""
    path = _write_list(tmp_path, "a.mp4,1\nb.mp4,1\n")
    assert read_list(path, classes=("0", "1")).labels == (1, 1)
    path = _write_list(tmp_path, "a.mp4,7\nb.mp4,30\n")
    assert (read_list(path).classes, read_list(path).labels) == (("7", "30"), (0, 1))


def test_numeric_labels_with_decimal_point(tmp_path):
    """Labels 0.0 to 10.0 are the classes 0 to 10 in this order; a negative label raises an error."""
    names = [f"{i}.mp4" for i in range(11)]
    touch(tmp_path, *names)
    listed = write_list(tmp_path / "l.csv", "path,label\n" + "".join(f"{name},{i}.0\n" for i, name in enumerate(names)))
    videos = read_list(listed)
    assert videos.classes == tuple(str(i) for i in range(11))
    assert videos.labels == tuple(range(11))
    write_list(listed, "0.mp4 -1\n1.mp4 0\n")
    with pytest.raises(ConfigurationError, match=r"line 1: the label -1 is not a class number"):
        read_list(listed)


def test_numbers_and_names_matched_by_position(tmp_path):
    """Numbers are matched to the model's names by position, and sorted names to its numbers, with a remark."""
    videos = read_list(_write_list(tmp_path, "a.mp4,1\nb.mp4,0\n"), classes=("sit", "run"))
    assert (videos.classes, videos.labels) == (("sit", "run"), (1, 0))
    assert (
        "labels are numbers, but the model's classes are names; they are matched by position, 1 with 'run'"
        in videos.remarks[0]
    )
    videos = read_list(_write_list(tmp_path, "a.mp4,sit\nb.mp4,run\n"), classes=("0", "1"))
    assert (videos.classes, videos.labels) == (("0", "1"), (1, 0))
    assert "by position, sorted, 'sit' with 1" in videos.remarks[0]
    assert read_list(_write_list(tmp_path, "a.mp4,1\n"), classes=("0", "1")).remarks == ()


def _write_list(folder, text):
    for name in ("a.mp4", "b.mp4", "c"):
        (folder / name).touch()
    (folder / "l.csv").write_text(text)
    return folder / "l.csv"


@pytest.mark.parametrize(
    ("text", "classes", "message"),
    [
        ("a.mp4,1\nb.mp4,2\n", ("0", "1"), r"line 2: the label '2' is not one of the model's 2"),
        ("a.mp4,1\nb.mp4,2\n", ("run", "sit"), r"line 2: the label 2 is not one of 0 to 1"),
        ("a.mp4,run\nb.mp4,sit\n", ("0", "1", "2"), "2 names, but the model's classes are 3 numbers"),
        ("a.mp4,run\nb.mp4,1\n", ("run", "sit"), r"line 2: the label '1' is not one of the model's 2"),
    ],
)
def test_unmatched_labels_raise(text, classes, message, tmp_path):
    """Numbers beyond the model's classes, and names that do not match its numbers, raise an error."""
    with pytest.raises(ConfigurationError, match=message):
        read_list(_write_list(tmp_path, text), classes=classes)


def test_unknown_label_raises(tmp_path):
    """A label that the model does not have is named."""
    touch(tmp_path, "a.mp4")
    (tmp_path / "list.csv").write_text("a.mp4,jump\n")
    with pytest.raises(ConfigurationError, match="'jump'"):
        read_list(tmp_path / "list.csv", classes=("run",))
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_list(tmp_path / "nothing.csv")


# ---- Missing and repeated videos -----------------------------------------------------------------------------------
def test_missing_videos(tmp_path):
    """Up to a tenth of missing videos give a remark, which names a class that lost all; more raise an error."""
    touch(tmp_path, *(f"{i}.mp4" for i in range(20)))
    (tmp_path / "3.mp4").unlink()
    listed = write_list(tmp_path / "l.csv", "".join(f"{i}.mp4,{'rare' if i == 3 else 'common'}\n" for i in range(20)))
    (remark,) = read_list(listed).remarks
    assert "1 of 20 videos are missing" in remark
    assert "3.mp4; all videos of class rare are missing" in remark
    for i in range(10, 19):
        (tmp_path / f"{i}.mp4").unlink()
    with pytest.raises(ConfigurationError, match=r"10 of 20 videos are missing, e\.g\. .*3\.mp4; remove them"):
        read_list(listed)


def test_video_with_two_labels(tmp_path):
    """A video listed twice with one label gives no remark; one with two labels does."""
    touch(tmp_path, "a.mp4", "b.mp4")
    assert read_list(write_list(tmp_path / "l.csv", "a.mp4,run\na.mp4,run\nb.mp4,sit\n")).remarks == ()
    (remark,) = read_list(write_list(tmp_path / "l.csv", "a.mp4,run\na.mp4,sit\nb.mp4,sit\n")).remarks
    assert remark == f"{tmp_path}/l.csv: 1 video with more than one label, e.g. {tmp_path}/a.mp4."

"""Lists of videos in the formats of UCF101, HMDB51, Kinetics, Something-Something v2 and Diving48, in small copies."""

import pytest
from list_files import labels_by_path, touch, write_list

from synvid.errors import ConfigurationError
from synvid_train.data.video_list import read_list


# ---- UCF101 and HMDB51 ---------------------------------------------------------------------------------------------
def test_ucf101_class_order_and_malformed_line(tmp_path):
    """Labels are the folders, in the order of classInd.txt if it exists; a malformed line is named."""
    names = ["HammerThrow/v_HammerThrow_g08_c01.avi", "Hammering/v_Hammering_g08_c02.avi"]
    touch(tmp_path, *names)
    train = write_list(tmp_path / "trainlist01.txt", f"{names[0]} 36\n{names[1]} 35\n")
    assert read_list(train).classes == ("HammerThrow", "Hammering")
    write_list(tmp_path / "classInd.txt", "35 Hammering\n36 HammerThrow\n")
    assert (read_list(train).classes, read_list(train).labels) == (("Hammering", "HammerThrow"), (1, 0))
    test = read_list(write_list(tmp_path / "testlist01.txt", "\r\n".join(names)), None, ("0", "1"), "test")
    assert test.labels == (1, 0)
    assert "by position, in the order of the dataset, 'HammerThrow' with 1" in test.remarks[0]
    with pytest.raises(ConfigurationError, match=r"line 2: 'nothing 3' is not a line of a UCF101 list"):
        read_list(write_list(train, f"{names[0]} 36\nnothing 3\n"))


def test_ucf101_train_and_test_lists_have_same_classes(tmp_path):
    """The official train list with numbers and the test list without give the same classes."""
    names = ["ApplyLipstick/v_ApplyLipstick_g08_c01.avi", "Archery/v_Archery_g08_c02.avi"]
    touch(tmp_path, *names)
    (tmp_path / "trainlist01.txt").write_text("".join(f"{name} {i}\n" for i, name in enumerate(names, 1)))
    (tmp_path / "testlist01.txt").write_text("".join(f"{name}\n" for name in names))
    train = read_list(tmp_path / "trainlist01.txt")
    test = read_list(tmp_path / "testlist01.txt", classes=train.classes)
    assert train.classes == ("ApplyLipstick", "Archery")
    assert train.labels == test.labels == (0, 1)


def test_hmdb51_split_numbers_and_malformed_line(tmp_path):
    """A folder or one file of each split can be read; a malformed line and an unknown split are named."""
    touch(tmp_path, "videos/wave/a b.avi", "videos/wave/c.avi", "videos/sit/d.avi")
    write_list(tmp_path / "wave_test_split3.txt", "a b.avi 1 \nc.avi 2 \nx.avi 0 \n")
    write_list(tmp_path / "sit_test_split3.txt", "d.avi 1 \n")
    videos = tmp_path / "videos"
    assert [path.name for path in read_list(tmp_path, videos, split_option="3").paths] == ["d.avi", "a b.avi"]
    assert [path.name for path in read_list(tmp_path, videos, (), "val", "3").paths] == ["c.avi"]
    assert [path.name for path in read_list(tmp_path / "wave_test_split3.txt", videos).paths] == ["a b.avi"]
    with pytest.raises(ConfigurationError, match="--split all: HMDB51 has the splits 1, 2 and 3"):
        read_list(tmp_path, videos, split_option="all")
    write_list(tmp_path / "sit_test_split3.txt", "d.avi 1\nd.avi\n")
    with pytest.raises(
        ConfigurationError,
        match=r"sit_test_split3\.txt, line 2: 'd\.avi' is not a line of an HMDB51 list, VIDEO and 0, 1 or 2",
    ):
        read_list(tmp_path, videos, split_option="3")


def test_hmdb51_train_and_test_videos(tmp_path):
    """In the official files, one per class, 1 is training, 2 is test and 0 is neither."""
    touch(tmp_path, "videos/wave/a b.avi", "videos/wave/c.avi", "videos/sit/d.avi", "videos/sit/e.avi")
    (tmp_path / "wave_test_split1.txt").write_text("a b.avi 1 \nc.avi 2 \nx.avi 0 \n")
    (tmp_path / "sit_test_split1.txt").write_text("d.avi 1 \ne.avi 2 \n")
    train = read_list(tmp_path, tmp_path / "videos", split="train")
    test = read_list(tmp_path, tmp_path / "videos", train.classes, split="test")
    assert [path.name for path in train.paths] == ["d.avi", "a b.avi"]
    assert [path.name for path in test.paths] == ["e.avi", "c.avi"]
    assert (train.classes, test.labels) == (("sit", "wave"), (0, 1))
    with pytest.raises(ConfigurationError, match="lists no videos"):
        read_list(tmp_path, tmp_path / "videos", split_option="2")


def test_official_lists_find_converted_videos(tmp_path):
    """Videos of UCF101 and HMDB51 are found with another extension, and without the folder of their class."""
    touch(tmp_path, "Archery/v_Archery_g01_c01.mp4", "v_Archery_g01_c02.avi", "wave/a.b.webm")
    ucf101 = "Archery/v_Archery_g01_c01.avi 3\nArchery/v_Archery_g01_c02.avi 3\n"
    assert labels_by_path(read_list(write_list(tmp_path / "trainlist01.txt", ucf101))) == {
        "Archery/v_Archery_g01_c01.mp4": "Archery",
        "v_Archery_g01_c02.avi": "Archery",
    }
    assert labels_by_path(read_list(write_list(tmp_path / "wave_test_split1.txt", "a.b.avi 1\n"))) == {"wave/a.b.webm": "wave"}


# ---- Kinetics ------------------------------------------------------------------------------------------------------
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
def test_kinetics_csv_finds_clips(files, tmp_path):
    """Clips of Kinetics' CSV are found by id with or without times, at the top, by label or by split; splits are its own."""
    touch(tmp_path, *files)
    listed = write_list(tmp_path / "kinetics.csv", KINETICS)
    train = read_list(listed)
    assert labels_by_path(train) == {files[0]: "air drumming", files[1]: "sailing, fast"}
    assert list(labels_by_path(read_list(listed, None, train.classes, "val"))) == [files[2]]
    assert list(labels_by_path(read_list(listed, None, train.classes, "test"))) == [files[3]]


def test_kinetics_json_and_errors(tmp_path):
    """The published JSON is read; a test list without labels and an invalid time raise an error."""
    touch(tmp_path, "abc_000001_000011.mp4")
    with pytest.raises(ConfigurationError, match="line 2: has no label; a test list that withholds labels"):
        read_list(write_list(tmp_path / "test.csv", "youtube_id,time_start,time_end,split\nabc,1,11,test\n"), split="test")
    entry = {"annotations": {"label": "run", "segment": [1.0, 11.0]}, "duration": 10.0, "subset": "validate", "url": "x"}
    videos = read_list(write_list(tmp_path / "val.json", {"abc": entry}), split="val")
    assert labels_by_path(videos) == {"abc_000001_000011.mp4": "run"}
    with pytest.raises(ConfigurationError, match=r"abc: .* has no 'annotations'"):
        read_list(write_list(tmp_path / "val.json", {"abc": {}}))
    with pytest.raises(ConfigurationError, match="line 2: time_start 'soon' and time_end '11' should be seconds"):
        read_list(write_list(tmp_path / "x.csv", "label,youtube_id,time_start,time_end,split\nrun,abc,soon,11,train\n"))


# ---- Something-Something v2 and Diving48 ---------------------------------------------------------------------------
@pytest.mark.parametrize("prefix", ["", "something-something-v2-"])
def test_something_something_json(prefix, tmp_path):
    """Templates without brackets are the labels, in the order of labels.json; a test list is refused."""
    touch(tmp_path, "1.webm", "22.mp4", "3.webm")
    write_list(tmp_path / f"{prefix}labels.json", {"Putting something on something": "1", "Showing something": "0"})
    listed = write_list(
        tmp_path / f"{prefix}train.json",
        [
            {"id": "1", "label": "showing a cup", "template": "Showing [something]", "placeholders": ["a cup"]},
            {"id": "22", "label": "putting a on b", "template": "Putting [something] on [something]", "placeholders": ["a"]},
        ],
    )
    videos = read_list(listed)
    assert labels_by_path(videos) == {"1.webm": "Showing something", "22.mp4": "Putting something on something"}
    assert (videos.classes, videos.labels) == (("Showing something", "Putting something on something"), (0, 1))
    assert read_list(listed, classes=("0", "1")).labels == (0, 1)
    for name in ("test.json", "train.json"):
        with pytest.raises(ConfigurationError, match="id 3: has no label; a test list that withholds labels"):
            read_list(write_list(tmp_path / name, [{"id": "3"}]), split="test")
    with pytest.raises(ConfigurationError, match=r"id 3: the label 'Other' is not in labels\.json"):
        read_list(write_list(listed, [{"id": "3", "label": "x", "template": "Other"}]))
    with pytest.raises(ConfigurationError, match=r"labels\.json is not a list of videos"):
        read_list(tmp_path / f"{prefix}labels.json")


def test_diving48_json(tmp_path):
    """Labels are numbers; an entry without one is named."""
    touch(tmp_path, "x_00205.mp4", "y_00206.mp4")
    entries = [
        {"vid_name": name, "label": i, "start_frame": 0, "end_frame": 9} for name, i in (("x_00205", 26), ("y_00206", 7))
    ]
    listed = write_list(tmp_path / "Diving48_V2_train.json", entries)
    videos = read_list(listed)
    assert (labels_by_path(videos), videos.classes) == ({"x_00205.mp4": "26", "y_00206.mp4": "7"}, ("7", "26"))
    with pytest.raises(ConfigurationError, match=r"entry 2: .* has no 'label'"):
        read_list(write_list(listed, [entries[0], {"vid_name": "y"}]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not valid JSON"),
        ("[1]", "is not a list of videos"),
        ('{"a": 1}', "is not a list of videos"),
        ("[]", "lists no videos"),
    ],
)
def test_other_json_raises(text, message, tmp_path):
    """JSON in no known format raises an error."""
    with pytest.raises(ConfigurationError, match=message):
        read_list(write_list(tmp_path / "l.json", text))

"""`synvid-train check-list`, and what `finetune` and `evaluate` report about a list."""

import json

import pytest
from list_files import touch, write_list
from running import ended, noise_clip, write_video

from synvid_train.cli.main import main


# ---- check-list ----------------------------------------------------------------------------------------------------
def test_check_list_report(tmp_path):
    """The report has format, classes, missing, repeated and shared files; the exit code is 1 if a file is missing."""
    touch(tmp_path, "a.mp4", "b.mp4", "c.mp4", "d.mp4")
    rows = ["a.mp4,run,train", "b.mp4,run,train", "b.mp4,run,train", "c.mp4,sit,train", "c.mp4,sit,test", "e.mp4,run,test"]
    listed = write_list(tmp_path / "l.csv", "path,label,split\n" + "\n".join(rows) + "\n")
    code, stderr, stdout = ended(main, "check-list", listed, "--split", "split", "--json")
    assert (code, stderr) == (1, f"synvid-train: {listed}: of 6 videos, 1 missing.\n")
    report = json.loads(stdout)
    assert (report["format"], report["folder"], report["is_complete"]) == ("CSV with a header", str(tmp_path), False)
    assert report["shared"] == [f"{tmp_path}/c.mp4"]
    train, test = report["splits"]
    assert (train["split"], train["videos"], train["classes"]) == ("train", 4, {"run": 3, "sit": 1})
    assert (train["missing"], train["repeated"], train["undecodable"]) == ([], [f"{tmp_path}/b.mp4"], None)
    assert (test["split"], test["videos"], test["missing"]) == ("test", 2, [f"{tmp_path}/e.mp4"])
    (tmp_path / "e.mp4").touch()
    code, stderr, stdout = ended(main, "check-list", listed, "--split", "split")
    assert (code, stderr) == (0, "")
    assert stdout == (
        f"{listed}: CSV with a header; paths relative to {tmp_path}\n"
        "train: 4 videos in 2 classes, 1 (sit) to 3 (run) each\n"
        f"  listed more than once: 1 of 4, {tmp_path}/b.mp4\n"
        "test: 2 videos in 2 classes, 1 (run) to 1 (sit) each\n"
        f"in more than one split: 1, {tmp_path}/c.mp4\n"
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_check_list_decode(workers, tmp_path):
    """--decode finds files that are not videos and truncated videos, and reports nothing for the others."""
    for name in ("good.mp4", "cut.mp4"):
        write_video(tmp_path / name, noise_clip(0, frames=20))
    data = (tmp_path / "cut.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) // 2])
    (tmp_path / "no.mp4").write_bytes(b"no video")
    listed = write_list(tmp_path / "l.csv", "good.mp4,a\ncut.mp4,b\nno.mp4,b\n")
    code, stderr, stdout = ended(main, "check-list", listed, "--decode", "--workers", workers, "--json")
    assert (code, stderr.splitlines()[-1]) == (1, f"synvid-train: {listed}: of 3 videos, 2 undecodable.")
    ((truncated, not_video),) = [split["undecodable"] for split in json.loads(stdout)["splits"]]
    assert truncated.startswith(f"{tmp_path}/cut.mp4: ")
    assert not_video.startswith(f"{tmp_path}/no.mp4: ")
    code, _, stdout = ended(main, "check-list", write_list(listed, "good.mp4,a\n"), "--decode")
    assert (code, stdout.splitlines()[-1]) == (0, "  undecodable: none of the existing files")


def test_check_list_without_labels_and_malformed(tmp_path):
    """A list without labels is reported; a malformed one ends with exit code 2."""
    touch(tmp_path, "3.webm")
    code, _, stdout = ended(main, "check-list", write_list(tmp_path / "test.json", [{"id": "3"}]))
    assert code == 0
    assert "all: 1 video in 0 classes\n  without a label: 1\n" in stdout
    code, stderr, stdout = ended(main, "check-list", write_list(tmp_path / "l.csv", "nonsense\n"))
    assert (code, stdout) == (2, "")
    assert stderr == f"synvid-train: {tmp_path}/l.csv, line 1: 'nonsense' is not a path and a label.\n"


def _save_classifier(folder, classes):
    pytest.importorskip("torch")
    from synvid_train.model.checkpoint import Checkpoint, save_weights
    from synvid_train.model.videomae import Architecture, VideoClassifier

    architecture = Architecture("tiny", 4, 16, 8, 2, 1)
    weights = VideoClassifier(architecture, len(classes)).state_dict()
    save_weights(folder / "model.safetensors", Checkpoint(architecture, "classifier", weights, classes))
    return folder / "model.safetensors"


def test_check_list_unknown_label(tmp_path):
    """--classes-from ends with exit code 2 and names the line and the label."""
    touch(tmp_path, "a.mp4", "b.mp4")
    listed = write_list(tmp_path / "l.csv", "a.mp4,run\nb.mp4,jump\n")
    code, stderr, _ = ended(main, "check-list", listed, "--classes-from", _save_classifier(tmp_path, ("run", "sit")))
    assert (code, "line 2: the label 'jump' is not one of the model's 2 classes, run, sit, ..." in stderr) == (2, True)


# ---- Other commands ------------------------------------------------------------------------------------------------
def test_commands_print_remarks(tmp_path):
    """Labels matched by position and missing videos are printed to stderr before training or evaluation."""
    model = _save_classifier(tmp_path, ("run", "sit"))
    for i in range(10):
        write_video(tmp_path / f"{i}.mp4", noise_clip(i))
    listed = write_list(tmp_path / "l.csv", "".join(f"{i}.mp4,{i % 2}\n" for i in range(11)))
    code, stderr, stdout = ended(main, "check-list", listed, "--classes-from", model)
    assert (code, stderr) == (1, f"synvid-train: {listed}: of 11 videos, 1 missing.\n")
    position = "its labels are numbers, but the model's classes are names; they are matched by position, 0 with 'run'"
    assert position in stdout
    missing = f"{listed}: 1 of 11 videos are missing, e.g. {tmp_path}/10.mp4; every class still has videos.\n"
    code, stderr, _ = ended(main, "finetune", "--train", listed, "--checkpoint", tmp_path / "nowhere.pt")
    assert code == 2
    assert missing in stderr
    code, stderr, stdout = ended(main, "evaluate", "--checkpoint", model, "--data", listed, "--workers", 0, "--json")
    assert code == 0
    assert missing in stderr
    assert position in stderr
    assert json.loads(stdout)["clean"]["videos"] == 10

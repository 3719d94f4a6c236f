"""Wrong presets, options and arguments: one sentence that names what is wrong, a fitting exit code, and nothing written."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

import synvid
from synvid.cli.main import main

GOOD = """\
extends: moving_shapes
video: {width: 32, height: 32, num_frames_range: [4, 8]}
objects: {count: 20}
"""

LAUGHS = "a: &a [lol, lol]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)

#: What a preset file holds → words that the sentence must have.
PRESETS = {
    # Unknown keys, and what they were meant to be.
    "unknown key": ("flavour: mint", ["'flavour'"]),
    "unknown section": ("vidio: {}", ["'vidio'", "did you mean 'video'"]),
    "unknown setting": ("objects: {cuont: 5}", ["'objects.cuont'", "did you mean 'objects.count'"]),
    "setting at the top": ("count: 5", ["'count'"]),
    "setting in another section": ("video: {count: 5}", ["'video.count'"]),
    "setting with another case": ("objects: {Count: 5}", ["'objects.Count'", "did you mean 'objects.count'"]),
    "setting with a dash": ("motion: {speed-range: [1, 2]}", ["'motion.speed-range'", "did you mean 'motion.speed_range'"]),
    "number as key": ("objects: {1: 5}", ["'objects.1'"]),
    "null as key": ("null: 5", ["'None'"]),
    "flag as key": ("yes: 5", ["'True'"]),
    "list as key": ("objects: {? [count] : 5}", ["line 1", "key must be text"]),
    # Wrong kinds of values.
    "text for a number": ("objects: {count: many}", ["objects.count", "'many'", "from 0 to 100000"]),
    "digits in quotes": ('objects: {count: "20"}', ["objects.count", "'20'"]),
    "list for a number": ("objects: {count: [20]}", ["objects.count", "[20]"]),
    "mapping for a number": ("objects: {count: {of: 20}}", ["objects.count", "{'of': 20}"]),
    "real for a whole number": ("objects: {count: 20.0}", ["objects.count", "20.0", "whole"]),
    "exponent for a whole number": ("objects: {count: 2e1}", ["objects.count", "20.0", "whole"]),
    "flag for a whole number": ("objects: {count: true}", ["objects.count", "True"]),
    "yes for a number": ("objects: {radius_scale: yes}", ["objects.radius_scale", "True"]),
    "number for a flag": ("video: {antialias: 1}", ["video.antialias", "true or false"]),
    "text for a flag": ("video: {antialias: 'true'}", ["video.antialias", "true or false"]),
    "number for text": ("name: 5", ["name", "5", "text"]),
    "list for text": ("description: [a]", ["description", "['a']", "text"]),
    "two lines for a name": ('name: "a\\nb"', ["name", "one line"]),
    "half a character in a name": ('name: "\\ud800"', ["name", "one line"]),
    "number for a choice": ("objects: {radius_distribution: 3}", ["objects.radius_distribution", "exponential, power"]),
    "unknown choice": ("transform: {composition: compounded}", ["transform.composition", "'compounded'", "compound, linear"]),
    "unknown shape": ("objects: {shapes: [circle, sqare]}", ["objects.shapes", "sqare", "square"]),
    "text for a list": ("objects: {shapes: circle}", ["objects.shapes", "'circle'"]),
    "a list too deep": ("objects: {shapes: [[circle]]}", ["objects.shapes", "[['circle']]"]),
    "the same shape twice": ("objects: {shapes: [circle, circle]}", ["objects.shapes", "without duplicates"]),
    "no shapes": ("objects: {shapes: []}", ["objects.shapes", "one or more"]),
    "a web colour": ("video: {background: '#ffffff'}", ["video.background", "a list of 3"]),
    "a colour of two": ("video: {background: [0, 0]}", ["video.background", "a list of 3"]),
    "a colour too bright": ("video: {background: [0, 0, 256]}", ["video.background", "256"]),
    "null for a number": ("objects: {count: }", ["objects.count", "None"]),
    "null for a section": ("objects:", ["objects", "None", "mapping"]),
    "list for a section": ("objects: [count, 20]", ["objects", "mapping"]),
    "text for a section": ("motion: fast", ["motion", "'fast'", "mapping"]),
    "null for a name": ("name:", ["name", "None"]),
    # Numbers out of bounds.
    "zero": ("video: {width: 0}", ["video.width is 0", "from 16 to 2048"]),
    "negative": ("video: {height: -32}", ["video.height is -32"]),
    "too small": ("video: {width: 15}", ["video.width is 15"]),
    "huge": ("video: {width: 1000000}", ["video.width is 1000000"]),
    "a number of 400 digits": (f"objects: {{count: {'9' * 400}}}", ["objects.count", "999..."]),
    "a number of 5000 digits": (f"objects: {{count: {'9' * 5000}}}", ["digits"]),
    "no frames": ("video: {num_frames_range: [0, 0]}", ["video.num_frames_range is [0, 0]"]),
    "no speed of play": ("video: {fps: 0}", ["video.fps is 0"]),
    "not a number": ("video: {fps: .nan}", ["video.fps is nan"]),
    "infinite": ("objects: {radius_scale: .inf}", ["objects.radius_scale is inf"]),
    "minus infinity": ("motion: {speed_range: [-.inf, 0]}", ["motion.speed_range is [-inf, 0]"]),
    "not a number in a range": ("motion: {speed_range: [0, .nan]}", ["motion.speed_range is [0, nan]"]),
    # Ranges.
    "range reversed": ("motion: {speed_range: [3, 1]}", ["motion.speed_range is [3, 1]", "low not above high"]),
    "range of one": ("video: {num_frames_range: [8]}", ["video.num_frames_range is [8]", "a pair"]),
    "range of three": ("video: {num_frames_range: [4, 6, 8]}", ["video.num_frames_range is [4, 6, 8]", "a pair"]),
    "range of none": ("video: {num_frames_range: []}", ["video.num_frames_range is []", "a pair"]),
    "number for a range": ("video: {num_frames_range: 8}", ["video.num_frames_range is 8", "a pair"]),
    "range of ranges": ("video: {num_frames_range: [[4, 8], [4, 8]]}", ["video.num_frames_range is [[4, 8], [4, 8]]"]),
    "range of reals": ("video: {num_frames_range: [4.0, 8.0]}", ["video.num_frames_range is [4.0, 8.0]", "whole"]),
    # What YAML is feared for.
    "a key twice": ("objects: {count: 5, count: 6}", ["line 1", "duplicate key 'count'"]),
    "a section twice": ("objects: {count: 5}\nvideo: {}\nobjects: {count: 6}", ["line 3", "duplicate key 'objects'"]),
    "anchor and alias": ("objects: &o {count: 5}\nvideo: *o", ["line 2", "aliases"]),
    "merge": ("objects: {<<: {count: 5, count: 6}}", ["line 1", "extends"]),
    "a billion laughs": (LAUGHS, ["line 2", "aliases"]),
    "a Python object": ("name: !!python/object/apply:os.system ['touch pwned']", ["line 1", "python/object"]),
    "a Python name": ("name: !!python/name:os.system", ["line 1", "python/name"]),
    "a tag of one's own": ("name: !secret x", ["line 1", "!secret"]),
    "a time that is none": ("name: !!timestamp never", ["preset.yaml"]),
    "a whole number that is none": ('objects: {count: !!int ""}', ["preset.yaml"]),
    "a flag that is none": ("name: !!bool perhaps", ["preset.yaml"]),
    "pairs that are none": ("name: !!omap [x]", ["preset.yaml"]),
    "a date for a number": ("objects: {count: 2024-01-01}", ["objects.count", "date(2024, 1, 1)"]),
    "a day that is none": ("objects: {count: 2024-13-45}", ["preset.yaml", "month"]),
    "sixties": ("objects: {count: 1:30}", ["objects.count", "'1:30'"]),
    "sixties of a real": ("video: {fps: 1:30.5}", ["video.fps", "'1:30.5'"]),
    "an octal number": ("objects: {count: 010}", ["objects.count", "'010'"]),
    "two documents": ("name: a\n---\nname: b", ["line 2", "another document"]),
    "a list at the top": ("- name: a", ["preset.yaml", "mapping"]),
    "a word at the top": ("moving_shapes", ["preset.yaml", "'moving_shapes'", "mapping"]),
    "an empty file": ("", ["preset.yaml", "None", "mapping"]),
    "comments alone": ("# to do\n", ["preset.yaml", "None", "mapping"]),
    "a tab": ("objects:\n\tcount: 5", ["line 2", "'\\t'"]),
    "an open bracket": ("objects: {shapes: [circle}", ["line 1"]),
    "an open quote": ('name: "a', ["line 1"]),
    "a closing bracket too many": ("objects: {count: 5}}", ["line 1"]),
    "indented at random": ("objects:\n   count: 5\n  shapes: [circle]", ["line 3"]),
    "nested 3000 deep": ("[" * 3000, ["preset.yaml"]),
    "a NUL byte": (b"name: \x00", ["preset.yaml", "#x0000"]),
    "binary": (bytes(range(256)), ["preset.yaml", "UTF-8"]),
    "UTF-16": (GOOD.encode("utf-16"), ["preset.yaml", "UTF-8"]),
    "Latin-1": ("name: Düne".encode("latin-1"), ["preset.yaml", "UTF-8"]),
    "two megabytes": (GOOD + "# " + "x" * 2_000_000, ["preset.yaml", "1 MB"]),
    # Extending.
    "extends itself": ("extends: preset.yaml", ["preset.yaml", "extends"]),
    "extends in a circle": ("extends: circle.yaml", ["circle.yaml", "extends"]),
    "extends a missing file": ("extends: nowhere.yaml", ["nowhere.yaml", "no such preset file"]),
    "extends an unknown preset": ("extends: moving_shape", ["'moving_shape'", "did you mean 'moving_shapes'"]),
    "extends two": ("extends: [moving_shapes, moving_circles]", ["extends", "one preset"]),
    "extends a number": ("extends: 5", ["extends is 5"]),
    "extends what is wrong": ("extends: wrong.yaml", ["wrong.yaml", "objects.count is -1"]),
}

#: What follows `--set` → words that the sentence must have.
OVERRIDES = {
    "objects.count": ["'objects.count'", "KEY=VALUE"],
    "=5": ["'=5'", "KEY=VALUE"],
    "": ["''", "KEY=VALUE"],
    "objects.count=": ["objects.count", "None"],
    "objects.count=many": ["objects.count", "'many'"],
    "objects.count=1:30": ["objects.count", "'1:30'"],
    "objects.count=-1": ["objects.count is -1"],
    "objects.count=-5": ["objects.count is -5"],
    "objects.count=[5": ["'objects.count=[5'"],
    "objects.count=5=6": ["objects.count", "'5=6'"],
    "objects.cuont=5": ["'objects.cuont'", "did you mean 'objects.count'"],
    "count=5": ["'count'", "did you mean 'objects.count'"],
    "objects=5": ["'objects'"],
    "objects.count.more=5": ["'objects.count.more'", "did you mean 'objects.count'"],
    "name=mine": ["'name'"],
    "video.width=nan": ["video.width", "'nan'"],
    "video.fps=.inf": ["video.fps is inf"],
    "motion.speed_range=[2, 1]": ["motion.speed_range is [2, 1]"],
    "motion.speed_range=1,2": ["motion.speed_range", "'1,2'"],
    "objects.shapes=[]": ["objects.shapes is []"],
    "objects.shapes=[hexagon]": ["hexagon"],
    "video.antialias=maybe": ["video.antialias", "'maybe'"],
    "video.width=33": ["33x32", "even"],
    "video.height=33": ["32x33", "even"],
}

RENDER = ["render", "--quiet", "--preset", "preset.yaml", "--n", "4", "--out", "out"]

#: Options that replace or join those of RENDER → words that the sentence must have.
OPTIONS = {
    "no clips": (["--n", "0"], ["n is 0"]),
    "less than no clips": (["--n", "-1"], ["n is -1"]),
    "a billion clips too many": (["--n", str(10**12)], [f"n is {10**12}"]),
    "clips in words": (["--n", "four"], ["'--n'", "'four'"]),
    "half a clip": (["--n", "1.5"], ["'--n'", "'1.5'"]),
    "empty shards": (["--shard-size", "0"], ["shard_size is 0"]),
    "a negative seed": (["--seed", "-1"], ["seed is -1"]),
    "a seed too large": (["--seed", str(2**64)], [f"seed is {2**64}"]),
    "a seed in words": (["--seed", "lucky"], ["'--seed'", "'lucky'"]),
    "a part too far": (["--part", "2/2"], ["--part 2/2", "I/N"]),
    "a part of none": (["--part", "0/0"], ["--part 0/0", "I/N"]),
    "a part in words": (["--part", "x/y"], ["--part x/y", "I/N"]),
    "half a part": (["--part", "3"], ["--part 3", "I/N"]),
    "a part of a part": (["--part", "0/1/2"], ["--part 0/1/2", "I/N"]),
    "a negative part": (["--part", "-1/2"], ["--part -1/2", "I/N"]),
    "no workers": (["--workers", "0"], ["'--workers'", "0"]),
    "workers in words": (["--workers", "all"], ["'--workers'", "'all'"]),
    "unknown format": (["--format", "zip"], ["'zip'", "tar, files"]),
    "unknown encoding": (["--encoding", "best"], ["'best'", "fast, small, yuv444, lossless"]),
    "unknown encoder": (["--encoder", "gstreamer"], ["'gstreamer'", "pyav, ffmpeg"]),
    "a codec for PyAV": (["--codec", "h264_nvenc"], ["--codec h264_nvenc", "--encoder ffmpeg"]),
    "odd width, fast": (["--set", "video.width=33"], ["33x32", "'fast'"]),
    "odd height, small": (["--set", "video.height=33", "--encoding", "small"], ["32x33", "'small'"]),
    "odd width, ffmpeg": (["--set", "video.width=33", "--encoder", "ffmpeg"], ["33x32", "'fast'"]),
    "an unknown option": (["--colour", "red"], ["--colour"]),
    "one word too many": (["more"], ["more"]),
    "unknown preset": (["--preset", "moving_shape"], ["'moving_shape'", "did you mean 'moving_shapes'"]),
    "unknown reference preset": (["--preset", "reference/moving_shape"], ["did you mean 'reference/moving_shapes'"]),
    "no preset's name": (["--preset", ""], ["''"]),
    "a missing file": (["--preset", "nowhere.yaml"], ["nowhere.yaml", "no such preset file"]),
    "a folder as preset": (["--preset", "folder"], ["'folder'", ".yaml"]),
    "a folder named as a file": (["--preset", "folder.yaml"], ["folder.yaml", "no such preset file"]),
    "a name too long": (["--preset", "x" * 300 + ".yaml"], ["xxx", "no such preset file"]),
    "nobody's home": (["--preset", "~nobody-of-that-name/a.yaml"], ["~nobody-of-that-name/a.yaml", "no such preset file"]),
    "a preset above this one": (["--preset", "../../presets/moving_shapes"], ["'../../presets/moving_shapes'"]),
    "a file for a folder": (["--out", "file"], ["file", "must be a folder"]),
    "a folder of other things": (["--out", "folder.yaml"], ["folder.yaml", "is not empty"]),
    "recipe and preset": (["--recipe", "set/synvid.yaml"], ["--recipe", "--preset"]),
}

#: Whole command lines → words that the sentence must have.
COMMANDS = {
    "render": ["--out"],
    "render --out out": ["--preset", "--n"],
    "render --preset preset.yaml --out out": ["--n"],
    "render --n 4 --out out": ["--preset"],
    "render --recipe nowhere/synvid.yaml --out out": ["nowhere/synvid.yaml"],
    "render --recipe file --out out": ["file", "synvid.yaml"],
    "render --recipe folder --out out": ["folder"],
    "render --recipe set/synvid.yaml --seed 5 --out out": ["--recipe", "--seed"],
    "render --recipe set/synvid.yaml --format tar --out out": ["--recipe", "--format"],
    "render --recipe set/synvid.yaml --n 0 --out out": ["--recipe", "--n"],
    "rendr --out out": ["'rendr'", "render"],
    "status": ["FOLDER"],
    "status file": ["'file'"],
    "verify file": ["'file'"],
    "verify folder --workers 0": ["'--workers'"],
    "merge": ["FOLDER"],
    "merge file folder": ["'file'"],
    "presets show": ["NAME"],
    "presets show movingshapes": ["'movingshapes'", "did you mean 'moving_shapes'"],
    "presets show moving_shapes --set objects.cuont=1": ["'objects.cuont'", "did you mean 'objects.count'"],
    "presets list": ["'list'"],
    "preview": ["name a preset"],
    "preview moving_shape": ["'moving_shape'", "did you mean 'moving_shapes'"],
    "preview preset.yaml --out out.txt": ["'.txt'", ".png, .mp4, .gif"],
    "preview preset.yaml --out out": ["''", ".png, .mp4, .gif"],
    "preview preset.yaml --out folder": ["'folder'"],
    "preview preset.yaml --clips 0": ["'--clips'", "0"],
    "preview preset.yaml --columns 65": ["'--columns'", "65"],
    "preview preset.yaml --seed -1": ["seed is -1"],
    "preview preset.yaml --set video.width=0": ["video.width is 0"],
}

#: A matter of the disk: exit code 1.
DISK = {
    "status folder": ["folder", "no dataset here"],
    "status nowhere": ["nowhere", "no dataset here"],
    "verify folder": ["folder", "no dataset here"],
    "verify nowhere": ["nowhere", "no dataset here"],
    "merge nowhere": ["nowhere", "no dataset here"],
    "merge out nowhere": ["nowhere", "no dataset here"],
    "merge out folder": ["folder", "no dataset here"],
    f"status {'x' * 300}": ["xxx"],
    f"render --preset preset.yaml --n 4 --out {'x' * 300} --quiet": ["xxx"],
    "render --preset preset.yaml --n 4 --out file/out --quiet": ["file"],
    "preview preset.yaml --out file/out.png": ["file"],
}

#: Content of a synvid.yaml, with `preset: {}` after it → words that the sentence must have.
RECIPES = {
    "output_version: 1": ["not as `synvid render` wrote it"],
    "n: 4": ["output_version is None"],
    "{output_version: 2, n: 4}": ["output_version is 2"],
    "{output_version: 1, n: four}": ["n is 'four'"],
    "{output_version: 1, n: true}": ["n is True"],
    "{output_version: 1, n: 0}": ["n is 0"],
    "{output_version: 1, n: 4, seed: 1.5}": ["seed is 1.5"],
    "{output_version: 1, n: 4, shard_size: []}": ["shard_size is []"],
    "{output_version: 1, n: 4, format: [tar]}": ["format is ['tar']"],
    "{output_version: 1, n: 4, encoder: [pyav]}": ["encoder", "['pyav']"],
    "{output_version: 1, n: 4, encoding: {fast: 1}}": ["encoding", "{'fast': 1}"],
    "{output_version: 1, n: 4, encoder: ffmpeg, codec: 264}": ["codec", "264"],
    "{output_version: 1, n: 4, more: 1}": ["not as `synvid render` wrote it"],
    "{output_version: 1, n: 4, preset: 5}": ["not as `synvid render` wrote it"],
    "{output_version: 1, n: 4, preset: {video: {width: 5}}}": ["video.width is 5"],
    "{output_version: 1, n: 4, preset: {video: {width: 33}}}": ["33x256"],
    "{output_version: 1, n: 4": ["line 2"],
    "": ["mapping"],
}


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A folder with a good preset, a wrong one, a file, a folder, and a damaged recipe."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SLURM_ARRAY_TASK_ID", raising=False)
    (tmp_path / "preset.yaml").write_text(GOOD)
    (tmp_path / "circle.yaml").write_text("extends: preset.yaml")
    (tmp_path / "wrong.yaml").write_text("objects: {count: -1}")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / "folder.yaml" / "thesis.tex").write_text("mine")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "synvid.yaml").write_text("output_version: 1")
    return tmp_path


def names(place):
    return sorted(path.relative_to(place).as_posix() for path in place.rglob("*"))


@pytest.fixture
def refused(place, capsys):
    """Run a command that must be refused, with these words and this exit code."""

    def run(arguments, words, code=2):
        before = names(place)
        with pytest.raises(SystemExit) as ending:
            main(arguments)
        data, talk = capsys.readouterr()
        assert ending.value.code == code, talk
        assert data == ""
        assert_one_sentence(talk, words)
        assert names(place) == before

    return run


def assert_one_sentence(talk, words):
    """One line that begins with our name, or click's usage and one line that begins with Error, and these words in it."""
    assert "Traceback" not in talk
    lines = [line for line in talk.splitlines() if line]
    usage = lines[0].startswith("Usage: ")
    sentences = [line for line in lines if line.startswith("Error: " if usage else "synvid: ")]
    assert len(sentences) == 1, talk
    assert len(lines) == (3 if usage else 1), talk
    assert len(sentences[0]) < 1000
    assert usage or sentences[0].endswith((".", "?"))
    for word in words:
        assert word in sentences[0]


@pytest.mark.parametrize(("text", "words"), PRESETS.values(), ids=PRESETS.keys())
def test_a_wrong_preset_is_refused(text, words, place, refused):
    """A preset that is wrong in one place: exit code 2, and one sentence that names the key, the value and what is right."""
    (place / "preset.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(["presets", "show", "preset.yaml"], words)
    assert not (place / "pwned").exists()


@pytest.mark.parametrize("text", ["objects: {cuont: 5}", "objects: {count: -1}", "extends: moving_shape", "- a", ""])
@pytest.mark.parametrize("command", [RENDER, [*RENDER, "--dry-run"], ["preview", "preset.yaml", "--out", "out.png"]])
def test_every_command_refuses_a_wrong_preset(text, command, place, refused):
    """What one command says of a preset, the others say, too, before they do anything."""
    (place / "preset.yaml").write_text(text)
    refused(command, ["preset.yaml"])


@pytest.mark.parametrize(("text", "words"), OVERRIDES.items(), ids=OVERRIDES.keys())
def test_a_wrong_override_is_refused(text, words, refused):
    """A wrong --set: exit code 2, and one sentence that names the key or the option, and the value."""
    refused([*RENDER, "--set", text], words)


@pytest.mark.parametrize(("options", "words"), OPTIONS.values(), ids=OPTIONS.keys())
def test_a_wrong_option_is_refused(options, words, refused):
    """A wrong option of `render`: exit code 2, and one sentence that names it and its value."""
    refused([*RENDER, *options], words)


@pytest.mark.parametrize(("line", "words"), COMMANDS.items(), ids=COMMANDS.keys())
def test_a_wrong_command_is_refused(line, words, refused):
    """A wrong or incomplete command line: exit code 2, and one sentence that names what is wrong."""
    refused(line.split(), words)


@pytest.mark.parametrize(("line", "words"), DISK.items(), ids=lambda value: value[:60] if isinstance(value, str) else "")
def test_what_is_not_on_disk_is_an_error_of_another_kind(line, words, refused):
    """No dataset, or no way to write one: exit code 1, and one sentence that names the place."""
    refused(line.split(), words, code=1)


@pytest.mark.parametrize(("text", "words"), RECIPES.items(), ids=RECIPES.keys())
@pytest.mark.parametrize("command", ["render --recipe set/synvid.yaml --out out", "status set", "verify set", "merge set"])
def test_a_damaged_recipe_is_refused(text, words, command, place, refused):
    """A synvid.yaml that is not as written: every command says so in one sentence that names the file."""
    preset = "" if "preset" in text or not text else "preset: {}"
    text = text[:-1] + f", {preset}}}" if preset and text.endswith("}") else f"{text}\n{preset}"
    (place / "set" / "synvid.yaml").write_text(text)
    refused(command.split(), ["set/synvid.yaml", *words])


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_unknown_codec_is_refused(workers, place, capfd):
    """A codec that ffmpeg does not have: exit code 2, one sentence, and the folder is as free as before."""
    line = f"{' '.join(RENDER)} --encoder ffmpeg --shard-size 2 --workers {workers} --codec"
    with pytest.raises(SystemExit) as ending:
        main([*line.split(), "h264_of_mine"])
    ours = [line for line in capfd.readouterr().err.splitlines() if line.startswith("synvid: ")]
    assert ending.value.code == 2
    assert_one_sentence("\n".join(ours), ["'h264_of_mine'"])
    assert not (place / "out" / "train").exists()
    main([*line.split()[:-1], "--quiet"])
    assert (place / "out" / "manifest.jsonl").exists()


@pytest.mark.parametrize(
    ("line", "words", "code"),
    [
        ("render --preset moving_shape --n 4 --out out", ["did you mean 'moving_shapes'"], 2),
        ("render --preset preset.yaml --n 4 --out out --set objects.cuont=5", ["did you mean 'objects.count'"], 2),
        ("render --preset preset.yaml --n four --out out", ["'--n'", "'four'"], 2),
        ("render --preset preset.yaml --n 4 --out file/out --quiet", ["file"], 1),
        ("status folder", ["no dataset here"], 1),
        ("preview", ["name a preset"], 2),
    ],
)
def test_the_program_itself_refuses(line, words, code, place):
    """The program, started as a user starts it: the same sentences on stderr, nothing on stdout, the same exit codes."""
    before = names(place)
    done = subprocess.run([sys.executable, "-m", "synvid", *line.split()], capture_output=True, text=True)
    assert done.returncode == code
    assert done.stdout == ""
    assert_one_sentence(done.stderr, words)
    assert names(place) == before


# ---- The Python interface ------------------------------------------------------------------------------------------
def refusal(call):
    """The one sentence with which a call is refused."""
    with pytest.raises(synvid.ConfigurationError) as caught:
        call()
    sentence = str(caught.value)
    assert len(sentence.splitlines()) == 1
    assert sentence.endswith((".", "?"))
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return sentence


@pytest.mark.parametrize(
    ("name", "overrides", "word"),
    [
        ("moving_shape", {}, "did you mean 'moving_shapes'"),
        ("nowhere.yaml", {}, "nowhere.yaml"),
        ("wrong.yaml", {}, "objects.count is -1"),
        ("", {}, "''"),
        (5, {}, "preset is 5 (int)"),
        (None, {}, "preset is None (NoneType)"),
        ("preset.yaml", {"objects.cuont": 5}, "did you mean 'objects.count'"),
        ("preset.yaml", {"objects": {"count": 5}}, "'objects'"),
        ("preset.yaml", {5: 5}, "'5'"),
        ("preset.yaml", {"objects.count": "5"}, "'5'"),
        ("preset.yaml", {"objects.count": True}, "True"),
        ("preset.yaml", {"objects.count": np.float64(5)}, "5.0"),
        ("preset.yaml", {"objects.count": None}, "None"),
        ("preset.yaml", {"video.fps": float("nan")}, "nan"),
        ("preset.yaml", {"motion.speed_range": {1, 2}}, "{1, 2}"),
        ("preset.yaml", {"motion.speed_range": np.array([1.0, 2.0])}, "array([1., 2.])"),
    ],
)
def test_load_preset_refuses(name, overrides, word):
    """A preset that does not exist and overrides that do not fit raise ConfigurationError with one sentence."""
    assert word in refusal(lambda: synvid.load_preset(name, overrides))


@pytest.mark.parametrize("argument", ["seed", "index"])
@pytest.mark.parametrize("value", [-1, 2**64, 1.0, 1.5, "1", None, True, np.float64(1), [1]], ids=repr)
def test_sample_scene_refuses(argument, value):
    """Seeds and indices are whole numbers of 64 bits; anything else raises ConfigurationError that names it."""
    preset = synvid.load_preset("preset.yaml")
    assert f"{argument} is {value!r}" in refusal(lambda: synvid.sample_scene(preset, **{argument: value}))


@pytest.mark.parametrize("value", [-1, "num_frames", 1.5, 1.0, True, None, "1", np.float64(0), 2**70], ids=repr)
def test_render_refuses(value):
    """Frames are whole numbers of the clip; anything else raises ConfigurationError that says which there are."""
    scene = synvid.sample_scene(synvid.load_preset("preset.yaml"))
    value = scene.num_frames if value == "num_frames" else value
    for call in (lambda: synvid.render(scene, [0, value]), lambda: scene.poses(value)):
        sentence = refusal(call)
        assert f"frame {value!r}" in sentence
        assert f"0 to {scene.num_frames - 1}" in sentence


def drop(name):
    return lambda values: values.pop(name)


def put(value, *path):
    def change(values):
        *parents, last = path
        for key in parents:
            values = values[key]
        values[last] = value

    return change


#: Ways to spoil a scene's JSON.
SPOILED = {
    "no motion": drop("motion"),
    "no colours": drop("colors"),
    "no size": drop("width"),
    "no speed": lambda values: values["motion"].pop("speed"),
    "a part too many": put(5, "more"),
    "a motion too many": put([1.0], "motion", "spin"),
    "a colour too few": lambda values: values["colors"].pop(),
    "a vertex count too few": lambda values: values["num_vertices"].pop(),
    "an outline too few": lambda values: values["vertices"].pop(),
    "a radius too few": lambda values: values["motion"]["radius"].pop(),
    "a speed too few": lambda values: values["motion"]["speed"].pop(),
    "a centre too many": lambda values: values["motion"]["center"].append([0.0, 0.0]),
    "a scale of one number": lambda values: values["motion"].update(scale=[row[:1] for row in values["motion"]["scale"]]),
    "a pivot of three": put([0.0, 0.0, 0.0], "motion", "pivot"),
    "a flag for a list": put(True, "motion", "shear"),
    "a list for a flag": put([1.0], "motion", "compound"),
    "more vertices than there are": put(100, "num_vertices", 0),
    "fewer vertices than none": put(-1, "num_vertices", 0),
    "NaN": put(float("nan"), "motion", "radius", 0),
    "infinite": put(float("inf"), "motion", "center", 0, 1),
    "NaN in an outline": put(float("nan"), "vertices", 0, 0, 0),
    "text in an array": put("fast", "motion", "speed", 0),
    "text for an array": put("fast", "motion", "speed"),
    "null in an array": put(None, "motion", "speed", 0),
    "a colour too bright": put(256, "colors", 0, 0),
    "a negative colour": put(-1, "colors", 0, 0),
    "text for frames": put("many", "num_frames"),
    "half a frame": put(4.5, "num_frames"),
    "no frames": put(0, "num_frames"),
    "a negative width": put(-32, "width"),
    "a width of a billion": put(10**9, "width"),
    "text for a height": put("32", "height"),
    "NaN for frames per second": put(float("nan"), "fps"),
    "a background of two": put([0, 0], "background"),
    "a background of text": put("black", "background"),
    "a background too bright": put([0, 0, 256], "background"),
    "a flag of text": put("yes", "antialias"),
    "a negative seed": put(-1, "seed"),
    "an index of text": put("0", "index"),
}


@pytest.mark.parametrize("spoil", SPOILED.values(), ids=SPOILED.keys())
def test_a_spoiled_scene_is_refused(spoil):
    """A scene that lacks a part, or whose parts do not fit, is refused when it is read, not when it is rendered."""
    values = json.loads(synvid.sample_scene(synvid.load_preset("preset.yaml")).to_json())
    assert synvid.Scene.from_json(json.dumps(values)).num_objects == 20
    spoil(values)
    assert "scene" in refusal(lambda: synvid.Scene.from_json(json.dumps(values)))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "5", "null", '"scene"', "{}", '{"motion": 5}', "[" * 100_000], ids=lambda text: text[:12]
)
def test_what_is_no_scene_is_refused(text):
    """Text that is no JSON, or JSON that is no scene, is refused with one sentence."""
    assert "scene" in refusal(lambda: synvid.Scene.from_json(text))


def test_open_dataset_refuses(place):
    """No dataset, an unfinished one and one of another output version are told apart."""
    for name in ("nowhere", "folder", "file"):
        with pytest.raises(synvid.DatasetError, match="no dataset here"):
            synvid.open_dataset(place / name)
    (place / "set" / "synvid.yaml").write_text("output_version: 2")
    with pytest.raises(synvid.ConfigurationError, match="output_version is 2"):
        synvid.open_dataset(place / "set")
    (place / "set" / "synvid.yaml").write_text("output_version: 1\nn: 1\npreset: {}")
    with pytest.raises(synvid.DatasetError, match="not finished"):
        synvid.open_dataset(str(place / "set") + os.sep)

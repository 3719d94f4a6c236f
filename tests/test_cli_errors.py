"""Invalid presets, options and arguments: one error message that names the mistake, an exit code, and no file written."""

import subprocess
import sys

import pytest
from conftest import GOOD_PRESET

from synvid.cli.main import main

pytestmark = pytest.mark.usefixtures("input_folder")

LAUGHS = "a: &a [lol, lol]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)

#: Content of a preset file, and texts that the error message must contain.
PRESETS = {
    # Unknown keys, and suggestions.
    "unknown key": ("flavour: mint", ["'flavour'"]),
    "unknown section": ("vidio: {}", ["'vidio'", "did you mean 'video'"]),
    "unknown setting": ("objects: {cuont: 5}", ["'objects.cuont'", "did you mean 'objects.count'"]),
    "setting at the top": ("count: 5", ["'count'"]),
    "setting in another section": ("video: {count: 5}", ["'video.count'"]),
    "setting with another case": ("objects: {Count: 5}", ["'objects.Count'", "did you mean 'objects.count'"]),
    "setting with a dash": ("motion: {speed-range: [1, 2]}", ["'motion.speed-range'", "did you mean 'motion.speed_range'"]),
    "number as key": ("objects: {1: 5}", ["'objects.1'"]),
    "null as key": ("null: 5", ["'None'"]),
    "boolean as key": ("yes: 5", ["'True'"]),
    "list as key": ("objects: {? [count] : 5}", ["line 1", "key must be text"]),
    # Wrong types of values.
    "text for a number": ("objects: {count: many}", ["objects.count", "'many'", "from 0 to 100000"]),
    "digits in quotes": ('objects: {count: "20"}', ["objects.count", "'20'"]),
    "list for a number": ("objects: {count: [20]}", ["objects.count", "[20]"]),
    "mapping for a number": ("objects: {count: {of: 20}}", ["objects.count", "{'of': 20}"]),
    "float for an integer": ("objects: {count: 20.0}", ["objects.count", "20.0", "whole"]),
    "exponent for an integer": ("objects: {count: 2e1}", ["objects.count", "20.0", "whole"]),
    "boolean for an integer": ("objects: {count: true}", ["objects.count", "True"]),
    "yes for a number": ("objects: {radius_scale: yes}", ["objects.radius_scale", "True"]),
    "number for a boolean": ("video: {antialias: 1}", ["video.antialias", "true or false"]),
    "text for a boolean": ("video: {antialias: 'true'}", ["video.antialias", "true or false"]),
    "number for text": ("name: 5", ["name", "5", "text"]),
    "list for text": ("description: [a]", ["description", "['a']", "text"]),
    "two lines for a name": ('name: "a\\nb"', ["name", "one line"]),
    "surrogate in a name": ('name: "\\ud800"', ["name", "one line"]),
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
    # Numbers out of range.
    "zero": ("video: {width: 0}", ["video.width is 0", "from 16 to 2048"]),
    "negative": ("video: {height: -32}", ["video.height is -32"]),
    "too small": ("video: {width: 15}", ["video.width is 15"]),
    "huge": ("video: {width: 1000000}", ["video.width is 1000000"]),
    "a number of 400 digits": (f"objects: {{count: {'9' * 400}}}", ["objects.count", "999..."]),
    "a number of 5000 digits": (f"objects: {{count: {'9' * 5000}}}", ["digits"]),
    "no frames": ("video: {num_frames_range: [0, 0]}", ["video.num_frames_range is [0, 0]"]),
    "zero fps": ("video: {fps: 0}", ["video.fps is 0"]),
    "not a number": ("video: {fps: .nan}", ["video.fps is nan"]),
    "infinite": ("objects: {radius_scale: .inf}", ["objects.radius_scale is inf"]),
    "minus infinity": ("motion: {speed_range: [-.inf, 0]}", ["motion.speed_range is [-inf, 0]"]),
    "not a number in a range": ("motion: {speed_range: [0, .nan]}", ["motion.speed_range is [0, nan]"]),
    # Ranges.
    "range reversed": ("motion: {speed_range: [3, 1]}", ["motion.speed_range is [3, 1]", "low not above high"]),
    "range of one": ("video: {num_frames_range: [8]}", ["video.num_frames_range is [8]", "a pair"]),
    "range of three": ("video: {num_frames_range: [4, 6, 8]}", ["video.num_frames_range is [4, 6, 8]", "a pair"]),
    "empty range": ("video: {num_frames_range: []}", ["video.num_frames_range is []", "a pair"]),
    "number for a range": ("video: {num_frames_range: 8}", ["video.num_frames_range is 8", "a pair"]),
    "range of ranges": ("video: {num_frames_range: [[4, 8], [4, 8]]}", ["video.num_frames_range is [[4, 8], [4, 8]]"]),
    "range of floats": ("video: {num_frames_range: [4.0, 8.0]}", ["video.num_frames_range is [4.0, 8.0]", "whole"]),
    # YAML pitfalls.
    "a key twice": ("objects: {count: 5, count: 6}", ["line 1", "duplicate key 'count'"]),
    "a section twice": ("objects: {count: 5}\nvideo: {}\nobjects: {count: 6}", ["line 3", "duplicate key 'objects'"]),
    "anchor and alias": ("objects: &o {count: 5}\nvideo: *o", ["line 2", "aliases"]),
    "merge": ("objects: {<<: {count: 5, count: 6}}", ["line 1", "extends"]),
    "a billion laughs": (LAUGHS, ["line 2", "aliases"]),
    "a Python object": ("name: !!python/object/apply:os.system ['touch pwned']", ["line 1", "python/object"]),
    "a Python name": ("name: !!python/name:os.system", ["line 1", "python/name"]),
    "a custom tag": ("name: !secret x", ["line 1", "!secret"]),
    "an invalid tagged timestamp": ("name: !!timestamp never", ["preset.yaml"]),
    "an invalid tagged integer": ('objects: {count: !!int ""}', ["preset.yaml"]),
    "an invalid tagged boolean": ("name: !!bool perhaps", ["preset.yaml"]),
    "an invalid tagged omap": ("name: !!omap [x]", ["preset.yaml"]),
    "a date for a number": ("objects: {count: 2024-01-01}", ["objects.count", "date(2024, 1, 1)"]),
    "an invalid date": ("objects: {count: 2024-13-45}", ["preset.yaml", "month"]),
    "a sexagesimal integer": ("objects: {count: 1:30}", ["objects.count", "'1:30'"]),
    "a sexagesimal float": ("video: {fps: 1:30.5}", ["video.fps", "'1:30.5'"]),
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
    "UTF-16": (GOOD_PRESET.encode("utf-16"), ["preset.yaml", "UTF-8"]),
    "Latin-1": ("name: Düne".encode("latin-1"), ["preset.yaml", "UTF-8"]),
    "two megabytes": (GOOD_PRESET + "# " + "x" * 2_000_000, ["preset.yaml", "1 MB"]),
    # Extending.
    "extends itself": ("extends: preset.yaml", ["preset.yaml", "extends"]),
    "extends in a circle": ("extends: circle.yaml", ["circle.yaml", "extends"]),
    "extends a missing file": ("extends: nowhere.yaml", ["nowhere.yaml", "no such preset file"]),
    "extends an unknown preset": ("extends: moving_shape", ["'moving_shape'", "did you mean 'moving_shapes'"]),
    "extends two": ("extends: [moving_shapes, moving_circles]", ["extends", "one preset"]),
    "extends a number": ("extends: 5", ["extends is 5"]),
    "extends an invalid preset": ("extends: wrong.yaml", ["wrong.yaml", "objects.count is -1"]),
}

#: Values of `--set`, and texts that the error message must contain.
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

#: Options added to those of RENDER, and texts that the error message must contain.
OPTIONS = {
    "zero clips": (["--n", "0"], ["n is 0"]),
    "negative clips": (["--n", "-1"], ["n is -1"]),
    "a billion clips too many": (["--n", str(10**12)], [f"n is {10**12}"]),
    "clips in words": (["--n", "four"], ["'--n'", "'four'"]),
    "half a clip": (["--n", "1.5"], ["'--n'", "'1.5'"]),
    "empty shards": (["--shard-size", "0"], ["shard_size is 0"]),
    "a negative seed": (["--seed", "-1"], ["seed is -1"]),
    "a seed too large": (["--seed", str(2**64)], [f"seed is {2**64}"]),
    "a seed in words": (["--seed", "lucky"], ["'--seed'", "'lucky'"]),
    "a part too far": (["--part", "2/2"], ["--part 2/2", "I/N"]),
    "zero parts": (["--part", "0/0"], ["--part 0/0", "I/N"]),
    "a part in words": (["--part", "x/y"], ["--part x/y", "I/N"]),
    "a part without N": (["--part", "3"], ["--part 3", "I/N"]),
    "two slashes in a part": (["--part", "0/1/2"], ["--part 0/1/2", "I/N"]),
    "a negative part": (["--part", "-1/2"], ["--part -1/2", "I/N"]),
    "no workers": (["--workers", "0"], ["'--workers'", "0"]),
    "workers in words": (["--workers", "all"], ["'--workers'", "'all'"]),
    "unknown format": (["--format", "zip"], ["'zip'", "tar, files"]),
    "unknown encoding": (["--encoding", "best"], ["'best'", "fast, small, yuv444, lossless"]),
    "unknown encoder": (["--encoder", "gstreamer"], ["'gstreamer'", "pyav, ffmpeg"]),
    "a codec for PyAV": (["--codec", "h264_nvenc"], ["codec is 'h264_nvenc'", "--encoder ffmpeg"]),
    "odd width, fast": (["--set", "video.width=33"], ["33x32", "'fast'"]),
    "odd height, small": (["--set", "video.height=33", "--encoding", "small"], ["32x33", "'small'"]),
    "odd width, ffmpeg": (["--set", "video.width=33", "--encoder", "ffmpeg"], ["33x32", "'fast'"]),
    "an unknown option": (["--colour", "red"], ["--colour"]),
    "an extra argument": (["more"], ["more"]),
    "unknown preset": (["--preset", "moving_shape"], ["'moving_shape'", "did you mean 'moving_shapes'"]),
    "unknown reference preset": (["--preset", "reference/moving_shape"], ["did you mean 'reference/moving_shapes'"]),
    "empty preset name": (["--preset", ""], ["''"]),
    "a missing file": (["--preset", "nowhere.yaml"], ["nowhere.yaml", "no such preset file"]),
    "a folder as preset": (["--preset", "folder"], ["'folder'", ".yaml"]),
    "a folder named as a file": (["--preset", "folder.yaml"], ["folder.yaml", "no such preset file"]),
    "a name too long": (["--preset", "x" * 300 + ".yaml"], ["xxx", "no such preset file"]),
    "home of an unknown user": (
        ["--preset", "~nobody-of-that-name/a.yaml"],
        ["~nobody-of-that-name/a.yaml", "no such preset file"],
    ),
    "a relative path as preset name": (["--preset", "../../presets/moving_shapes"], ["'../../presets/moving_shapes'"]),
    "a file for a folder": (["--out", "file"], ["file", "must be a folder"]),
    "a folder of other things": (["--out", "folder.yaml"], ["folder.yaml", "is not empty"]),
    "recipe and preset": (["--recipe", "set/synvid.yaml"], ["--recipe", "--preset"]),
}

#: Command lines, and texts that the error message must contain.
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
    "stats": ["name a dataset to measure"],
    "stats moving_shapes --pairs-per-clip 1": ["'--pairs-per-clip'", "1"],
    "stats moving_shapes --out out.txt": ["--out out.txt", ".json"],
    "stats moving_shapes --plot out.gif": ["--plot out.gif", ".png, .svg or .pdf"],
    "report": ["name one or more metrics files"],
    "report file --out out.txt": ["--out out.txt", ".html"],
    "textures build sttistical --out a.bank": ["'sttistical'", "statistical"],
    "textures build statistical": ["--out"],
    "textures build statistical --out a.bin": ["--out a.bin", ".bank"],
    "textures statistical --out a.bank": ["'textures statistical' is now 'textures build statistical'"],
    "textures show nowhere.bank": ["nowhere.bank", "no such bank"],
    "textures verify nowhere.bank": ["nowhere.bank", "no such bank"],
}

#: Command lines that fail because of the disk (exit code 1), and texts that the error message must contain.
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

#: Content of a synvid.yaml, before `preset: {}` is added, and texts that the error message must contain.
RECIPES = {
    "output_version: 1": ["has been modified since `synvid render` wrote it"],
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
    "{output_version: 1, n: 4, more: 1}": ["has been modified since `synvid render` wrote it"],
    "{output_version: 1, n: 4, preset: 5}": ["has been modified since `synvid render` wrote it"],
    "{output_version: 1, n: 4, preset: {video: {width: 5}}}": ["video.width is 5"],
    "{output_version: 1, n: 4, preset: {video: {width: 33}}}": ["33x256"],
    "{output_version: 1, n: 4": ["line 2"],
    "": ["mapping"],
}


def list_files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture
def assert_fails(input_folder, capsys):
    """Run a command; check its exit code and error message, that stdout is empty, and that no file is written."""

    def run(arguments, words, code=2):
        before = list_files(input_folder)
        with pytest.raises(SystemExit) as ending:
            main(arguments)
        stdout, stderr = capsys.readouterr()
        assert ending.value.code == code, stderr
        assert stdout == ""
        assert_one_message(stderr, words)
        assert list_files(input_folder) == before

    return run


def assert_one_message(stderr, words):
    """Check for one line "synvid: MESSAGE", or click's usage and one line "Error: MESSAGE", with these texts in MESSAGE."""
    assert "Traceback" not in stderr
    lines = [line for line in stderr.splitlines() if line]
    has_usage = lines[0].startswith("Usage: ")
    messages = [line for line in lines if line.startswith("Error: " if has_usage else "synvid: ")]
    assert len(messages) == 1, stderr
    assert len(lines) == (3 if has_usage else 1), stderr
    assert len(messages[0]) < 1000
    assert has_usage or messages[0].endswith((".", "?"))
    for word in words:
        assert word in messages[0]


@pytest.mark.parametrize(("text", "words"), PRESETS.values(), ids=PRESETS.keys())
def test_invalid_preset_file_exits_2(text, words, input_folder, assert_fails):
    """`presets show` of an invalid preset file exits with 2; the message names the key, the value and what would be right."""
    (input_folder / "preset.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert_fails(["presets", "show", "preset.yaml"], words)
    assert not (input_folder / "pwned").exists()


@pytest.mark.parametrize("text", ["objects: {cuont: 5}", "objects: {count: -1}", "extends: moving_shape", "- a", ""])
@pytest.mark.parametrize("command", [RENDER, [*RENDER, "--dry-run"], ["preview", "preset.yaml", "--out", "out.png"]])
def test_invalid_preset_file_fails_in_every_command(text, command, input_folder, assert_fails):
    """`render`, `render --dry-run` and `preview` reject an invalid preset before they write anything."""
    (input_folder / "preset.yaml").write_text(text)
    assert_fails(command, ["preset.yaml"])


@pytest.mark.parametrize(("text", "words"), OVERRIDES.items(), ids=OVERRIDES.keys())
def test_invalid_set_option_exits_2(text, words, assert_fails):
    """An invalid `--set` exits with 2; the message names the key or the option, and the value."""
    assert_fails([*RENDER, "--set", text], words)


@pytest.mark.parametrize(("options", "words"), OPTIONS.values(), ids=OPTIONS.keys())
def test_invalid_render_option_exits_2(options, words, assert_fails):
    """An invalid option of `render` exits with 2; the message names the option and its value."""
    assert_fails([*RENDER, *options], words)


@pytest.mark.parametrize(("line", "words"), COMMANDS.items(), ids=COMMANDS.keys())
def test_invalid_command_line_exits_2(line, words, assert_fails):
    """An invalid or incomplete command line exits with 2; the message names the mistake."""
    assert_fails(line.split(), words)


@pytest.mark.parametrize(("line", "words"), DISK.items(), ids=lambda value: value[:60] if isinstance(value, str) else "")
def test_missing_dataset_or_unwritable_path_exits_1(line, words, assert_fails):
    """A folder without a dataset, or one that cannot be written, exits with 1; the message names the path."""
    assert_fails(line.split(), words, code=1)


@pytest.mark.parametrize(("text", "words"), RECIPES.items(), ids=RECIPES.keys())
@pytest.mark.parametrize("command", ["render --recipe set/synvid.yaml --out out", "status set", "verify set", "merge set"])
def test_invalid_recipe_file_exits_2(text, words, command, input_folder, assert_fails):
    """An invalid synvid.yaml makes every command exit with 2; the message names the file."""
    preset = "" if "preset" in text or not text else "preset: {}"
    text = text[:-1] + f", {preset}}}" if preset and text.endswith("}") else f"{text}\n{preset}"
    (input_folder / "set" / "synvid.yaml").write_text(text)
    assert_fails(command.split(), ["set/synvid.yaml", *words])


@pytest.mark.parametrize("workers", ["1", "2"])
def test_unknown_codec_exits_2(workers, input_folder, capfd):
    """A codec that ffmpeg does not have exits with 2, and the same folder can then be rendered with another codec."""
    line = f"{' '.join(RENDER)} --encoder ffmpeg --shard-size 2 --workers {workers} --codec"
    with pytest.raises(SystemExit) as ending:
        main([*line.split(), "h264_of_mine"])
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("synvid: ")]
    assert ending.value.code == 2
    assert_one_message("\n".join(lines), ["'h264_of_mine'"])
    assert not (input_folder / "out" / "train").exists()
    main([*line.split()[:-1], "--quiet"])
    assert (input_folder / "out" / "manifest.jsonl").exists()


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
def test_program_prints_one_message_on_stderr(line, words, code, input_folder):
    """`python -m synvid` prints the same messages on stderr, nothing on stdout, and has the same exit codes."""
    before = list_files(input_folder)
    done = subprocess.run([sys.executable, "-m", "synvid", *line.split()], capture_output=True, text=True)
    assert done.returncode == code
    assert done.stdout == ""
    assert_one_message(done.stderr, words)
    assert list_files(input_folder) == before


#: A command line with an old name, and the error message that names the new one.
RENAMED = {
    "verify --deep data": "--deep is now --rerender.",
    "stats --against a.json b": "--against is now --reference.",
    "stats --moments 3 a": "--moments is now --pairs-per-clip.",
    "textures statistical --n 3": "'textures statistical' is now 'textures build statistical'.",
}
TRAINING_RENAMED = {
    "compare --infinity a b": "--infinity is now --fid-infinity.",
    "recipes pretrain_vitb": "'recipes pretrain_vitb' is now 'recipes show pretrain_vitb'.",
}


@pytest.mark.parametrize("line", RENAMED)
def test_renamed_option_or_command_names_the_new_one(line, capsys):
    """An old name is an error, with exit code 2, whose message is the new name."""
    with pytest.raises(SystemExit) as error:
        main(line.split())
    assert error.value.code == 2
    assert capsys.readouterr().err == f"synvid: {RENAMED[line]}\n"


@pytest.mark.parametrize("line", TRAINING_RENAMED)
def test_renamed_training_option_or_command_names_the_new_one(line, capsys):
    """The same for `synvid-train`."""
    from synvid_train.cli.main import main as train_main

    with pytest.raises(SystemExit) as error:
        train_main(line.split())
    assert error.value.code == 2
    assert capsys.readouterr().err == f"synvid-train: {TRAINING_RENAMED[line]}\n"


@pytest.mark.parametrize("line", ["render --deep", "verify --depe data", "textures statistcal", "textures biuld"])
def test_unknown_option_or_command_is_not_taken_for_a_renamed_one(line, capsys):
    """An old name counts only where the new one exists; typing errors have click's message."""
    with pytest.raises(SystemExit) as error:
        main(line.split())
    assert error.value.code == 2
    assert "is now" not in capsys.readouterr().err

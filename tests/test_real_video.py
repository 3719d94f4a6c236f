"""Frame t of a real video is the t-th frame shown, whatever the container, the codec, and the way it is asked for."""

import contextlib
import dataclasses
import pathlib
import tracemalloc

import films
import numpy as np
import pytest
from films import FILMS, ffmpeg, number_of, packed_avi, write_film
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import ended

import synvid
from synvid.dataset.real_videos import RealVideos
from synvid.errors import DatasetError
from synvid.preset import Video
from synvid.sources.resolve import resolve_source
from synvid.video import decode as decode_module
from synvid.video.decode import VideoFile, decode

av = pytest.importorskip("av")

#: Of every film; what is dropped from one.
COUNT = 40
SHOWN = {"dropped_frames.avi": [number for number in range(COUNT) if number % 5 != 3]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """All films."""
    out = tmp_path_factory.mktemp("films")
    for name, options in FILMS.items():
        write_film(out / name, options, COUNT)
    packed_avi(out / "packed.avi", 13)
    return out


def linear(path):
    """All frames as PyAV's plain loop gives them, what is broken passed over."""
    frames = []
    with av.open(str(path.absolute())) as container, contextlib.suppress(av.FFmpegError):
        container.streams.video[0].codec_context.thread_count = 1
        for packet in container.demux(container.streams.video[0]):
            with contextlib.suppress(av.FFmpegError):
                frames += [frame.to_ndarray(format="rgb24", threads=1) for frame in packet.decode()]
    return np.stack(frames)


@pytest.fixture(scope="module")
def wholes(folder):
    """All frames of each film."""
    return {name: linear(folder / name) for name in [*FILMS, "packed.avi"]}


# ---- Frames -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [*FILMS, "packed.avi"])
def test_all_frames_come_in_order(name, folder, wholes):
    """Every frame is there once, in the order in which a player shows it; a second look, through the cache, is the same."""
    expected = SHOWN.get(name, list(range(13 if name == "packed.avi" else COUNT)))
    for _ in range(2):
        with VideoFile(folder / name) as video:
            assert [number_of(frame) for frame in video.stream(range(video.num_frames))] == expected
            assert (np.diff(video.times) > 0).all()
        decode_module._known.clear()
    assert (decode(folder / name) == wholes[name]).all()


@pytest.mark.parametrize("name", [*FILMS, "packed.avi"])
def test_windows_are_those_of_the_whole_film(name, folder, wholes):
    """Random windows, strides and single frames, in any order, equal the frames of the whole film."""
    rng, whole = np.random.default_rng(1), wholes[name]
    for _ in range(12):
        start, stride = rng.integers(len(whole)), rng.integers(1, 5)
        numbers = list(range(start, len(whole), stride))[:8]
        if rng.random() < 0.3:
            numbers = rng.integers(len(whole), size=5).tolist()
        assert (decode(folder / name, numbers) == whole[numbers]).all(), numbers


ENCODERS = st.one_of(
    st.tuples(st.sampled_from(["mp4", "mkv", "mov", "avi", "ts", "flv"]), st.just("libx264")),
    st.tuples(st.sampled_from(["mp4", "mkv", "avi"]), st.just("mpeg4")),
    st.tuples(st.sampled_from(["mpg", "ts", "mkv"]), st.just("mpeg2video")),
    st.tuples(st.sampled_from(["mpg"]), st.just("mpeg1video")),
)


@given(ENCODERS, st.integers(1, 40), st.integers(0, 4), st.booleans(), st.integers(0, 30), st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_film(tmp_path, kind, gop, b_frames, is_open, cut, data):
    """Films of any container, group of pictures and B-frames, cut anywhere without being encoded again."""
    (ending, codec) = kind
    options = ["-c:v", codec, "-g", gop, "-bf", 0 if codec != "libx264" and gop < 2 else min(b_frames, max(gop - 1, 0))]
    options += ["-x264-params", f"open-gop={int(is_open)}", "-pix_fmt", "yuv420p"] if codec == "libx264" else ["-q:v", 2]
    path = write_film(tmp_path / f"film.{ending}", options, COUNT)
    if cut:
        ffmpeg("-ss", cut / 25, "-i", path, "-c", "copy", tmp_path / f"cut.{ending}")
        path = tmp_path / f"cut.{ending}"
    try:
        whole = linear(path)
    except (av.FFmpegError, ValueError):  # nothing was left behind the cut
        with pytest.raises(DatasetError, match="cannot be decoded"):
            VideoFile(path)
        return
    numbers = data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=6))
    with VideoFile(path) as video:
        assert video.num_frames == len(whole)
        assert (video.read(numbers) == whole[numbers]).all()


@pytest.mark.parametrize("source", ["b_frames.mp4", "b_frames.mkv", "open_gop.mp4"])
@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv"])
def test_edit_lists(source, ending, folder, tmp_path):
    """A film cut in the middle of a group hides the frames before the cut: the first frame is the first one shown."""
    path = tmp_path / f"cut.{ending}"
    ffmpeg("-ss", "0.8", "-i", folder / source, "-c", "copy", path)
    whole = linear(path)
    with VideoFile(path) as video:
        assert video.num_frames == len(whole)
        assert number_of(video.read([0])[0]) == number_of(whole[0])
        for numbers in ([3, 4, 5], [len(whole) - 1], [10, 2]):
            assert (video.read(numbers) == whole[numbers]).all()


def test_times_are_those_of_the_file(folder):
    """Uneven rates, files that begin late: seconds from the first frame."""
    with VideoFile(folder / "variable_rate.mkv") as video:
        n = np.arange(COUNT)
        expected = (n + 0.9 * (n % 4 >= 2)) / 25
        assert np.abs(video.times - expected).max() < 2e-3
    for name in ("late.mkv", "late.ts", "b_frames.avi"):
        with VideoFile(folder / name) as video:
            assert np.abs(video.times - np.arange(COUNT) / 25).max() < 2e-3
            assert video.duration == pytest.approx(COUNT / 25, abs=2e-3)


@pytest.mark.parametrize("name", ["mpeg2.mpg", "mpeg2.ts", "b_frames.avi"])
def test_a_clock_that_goes_back_runs_on(name, folder, tmp_path):
    """Times of files that were joined rise all the way; those of AVI, whose frames are moved by a few places, stay even."""
    path = tmp_path / name
    path.write_bytes((folder / name).read_bytes() * (1 if name.endswith("avi") else 2))
    with VideoFile(path) as video:
        count = COUNT if name.endswith("avi") else 2 * COUNT
        assert count - 3 <= video.num_frames <= count
        assert np.abs(np.diff(video.times) - 1 / 25).max() < 2e-3
        assert video.duration == pytest.approx(video.num_frames / 25, abs=0.1)


# ---- Damage -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [name for name in FILMS if name not in {"b_frames.mp4", "b_frames.mov"}])
def test_a_broken_end(name, folder, tmp_path):
    """A file that breaks off: frames before the break are those of the whole, and the count says how many there are."""
    data = (folder / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * 0.7)])
    try:
        video = VideoFile(tmp_path / name)
    except DatasetError as error:  # the head of the file stood at its end
        assert str(tmp_path / name) in str(error)  # noqa: PT017
        return
    with video:
        whole = linear(tmp_path / name)
        assert 0 < video.num_frames <= len(whole)
        last = video.num_frames - 1
        for numbers in (list(range(max(0, last - 6), last + 1)), [0], [last // 2, last]):
            assert (video.read(numbers) == whole[numbers]).all()
        with pytest.raises(DatasetError, match=f"no frame {last + 1}; it has {last + 1}"):
            video.read([last + 1])


@pytest.mark.parametrize(
    ("name", "unnoticed"),
    [("b_frames.mp4", 0), ("b_frames.mkv", 0), ("xvid_b_frames.avi", 1), ("b_frames.ts", 6), ("mpeg2.mpg", 9)],
)
def test_a_broken_middle(name, unnoticed, folder, tmp_path):
    """Damage that the decoder notices is a sentence with file and frame; what it does not notice ends with the group."""
    data = bytearray((folder / name).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = np.random.default_rng(0).integers(0, 256, 200, np.uint8).tobytes()
    (tmp_path / name).write_bytes(data)
    sound, wrong = linear(folder / name), []
    with VideoFile(tmp_path / name) as video:
        count = video.num_frames
    for number in range(count):
        try:
            frame = decode(tmp_path / name, [number])[0]
        except DatasetError as error:
            assert f"{name}: cannot be decoded: frame {number} is damaged." in str(error)  # noqa: PT017
        else:
            wrong += [number] if not (frame == sound).all(axis=(1, 2, 3)).any() else []
    assert len(wrong) <= unnoticed
    assert not wrong or wrong[-1] - wrong[0] < 12


def test_reading_goes_on_after_damage_and_never_from_another_place(folder, tmp_path):
    """After an error the same open file gives other frames; a stream that another read has displaced ends in a sentence."""
    data = bytearray((folder / "b_frames.mp4").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = np.random.default_rng(0).integers(0, 256, 200, np.uint8).tobytes()
    (tmp_path / "film.mp4").write_bytes(data)
    with VideoFile(tmp_path / "film.mp4") as video:
        with pytest.raises(DatasetError, match="is damaged"):
            video.read(range(COUNT))
        assert [number_of(frame) for frame in video.read([39, 0, 3])] == [39, 0, 3]
    with VideoFile(folder / "b_frames.mp4") as video:
        frames = video.stream(range(COUNT))
        assert number_of(next(frames)) == 0
        assert number_of(video.read([30])[0]) == 30
        with pytest.raises(DatasetError, match="other frames were read before these had ended"):
            list(frames)


# ---- Files ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("option", "turned"),
    [
        (["-display_rotation", "90"], lambda f: np.rot90(f, 1, (1, 2))),
        (["-display_rotation", "180"], lambda f: np.rot90(f, 2, (1, 2))),
        (["-display_rotation", "270"], lambda f: np.rot90(f, 3, (1, 2))),
        (["-display_hflip"], lambda f: f[:, :, ::-1]),
        (["-display_vflip"], lambda f: f[:, ::-1]),
    ],
)
def test_telephones_turn_their_films(option, turned, folder, tmp_path):
    """A matrix in the file is obeyed wherever frames are taken, as ffmpeg itself obeys it."""
    path = tmp_path / "turned.mp4"
    ffmpeg(*option, "-i", folder / "b_frames.mp4", "-c", "copy", path)
    upright = turned(linear(folder / "b_frames.mp4"))
    assert (decode(path) == upright).all()
    shown = np.frombuffer(ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"), np.uint8).reshape(upright.shape)
    assert np.abs(shown.astype(int) - upright).mean() < 2  # another build of swscale
    source = resolve_source(str(path))
    assert (source.take(0, lambda _: [0, 5]).frames == upright[[0, 5]]).all()


@pytest.mark.parametrize("name", ["2021-01-01T12:00:00.mp4", "concat:a|b.mp4", "50%d [v1] {a} é.mp4", "-i.mp4", "a\udcff.mp4"])
def test_names_are_names(name, folder, tmp_path, monkeypatch):
    """A colon makes no protocol, a percent sign no pattern, of a relative path neither."""
    monkeypatch.chdir(tmp_path)
    try:
        (tmp_path / name).write_bytes((folder / "b_frames.mp4").read_bytes())
    except (OSError, UnicodeEncodeError):
        pytest.skip("no such names here")
    assert [number_of(frame) for frame in decode(name, [3, 7])] == [3, 7]


def test_a_cover_picture_is_no_film(folder, tmp_path):
    """The picture of an album in front of a film is passed over; alone it is no video."""
    from PIL import Image

    Image.new("RGB", (32, 32)).save(tmp_path / "cover.png")
    inputs = ["-i", tmp_path / "cover.png", "-i", folder / "b_frames.mp4", "-map", "0", "-map", "1"]
    ffmpeg(*inputs, "-c", "copy", "-disposition:v:0", "attached_pic", tmp_path / "both.mp4")
    assert number_of(decode(tmp_path / "both.mp4", [9])[0]) == 9


def test_a_film_that_changes_its_size_is_a_sentence(folder, tmp_path):
    """Frames of two sizes are no array."""
    write_film(tmp_path / "small.ts", ["-vf", "scale=32:24", "-c:v", "libx264", "-pix_fmt", "yuv420p"], 10)
    (tmp_path / "two.ts").write_bytes((folder / "b_frames.ts").read_bytes() + (tmp_path / "small.ts").read_bytes())
    with pytest.raises(
        DatasetError, match=r"two\.ts: cannot be decoded: its frames change their size at frame 3\d|is damaged"
    ):
        decode(tmp_path / "two.ts")


def test_no_thread_is_left(folder):
    """A thread of FFmpeg's that outlives its file would hang a process that is forked later, when it frees the file."""
    tasks = pathlib.Path("/proc/self/task")
    if not tasks.is_dir():
        pytest.skip("the threads of a process are not listed here")
    before, kept = len(list(tasks.iterdir())), []
    for name in FILMS:
        video = VideoFile(folder / name)
        kept.append((video, video.stream([0, 5])))
        next(kept[-1][1])
    assert len(list(tasks.iterdir())) <= before
    for video, _ in kept:
        video.close()


# ---- Cost -------------------------------------------------------------------------------------------------------------
def _packets_read(monkeypatch, path, numbers):
    """Packets that are decoded for some frames of a file whose index is known."""
    seen = []
    decoded = VideoFile._decoded

    def counted(self, packets):
        return decoded(self, (seen.append(place) or (place, packet) for place, packet in packets))

    with VideoFile(path) as video:
        monkeypatch.setattr(VideoFile, "_decoded", counted)
        video.read(numbers)
    monkeypatch.setattr(VideoFile, "_decoded", decoded)
    return len(seen)


def test_an_index_that_was_wrong_is_made_once_more(tmp_path, monkeypatch):
    """Where time stamps are there but lie, frames come in another order than they say; that is noticed once a file."""
    path = write_film(tmp_path / "film.mp4", FILMS["no_b_frames.mp4"])
    whole = linear(path)
    make, made = VideoFile._make_index, []
    wrong = {"numbers": lambda n: n[[1, 0, *range(2, len(n))]]}

    def lying(self, decode=False):
        made.append(decode)
        index = make(self, decode)
        return index if decode else dataclasses.replace(index, numbers=wrong["numbers"](index.numbers))

    monkeypatch.setattr(VideoFile, "_make_index", lying)
    for _ in range(2):
        assert (decode(path, [0, 5]) == whole[[0, 5]]).all()
    assert made == [False, True]


@pytest.mark.parametrize("name", ["b_frames.mp4", "b_frames.mkv", "xvid_b_frames.avi", "xvid.avi", "b_frames.avi", "mpeg2.mpg",
                                  "b_frames.ts", "wmv2.wmv", "vp9.webm"])  # fmt: skip
def test_a_window_costs_its_group(name, tmp_path, monkeypatch):
    """A window of a long film decodes a group of pictures or two, however long the film."""
    path = write_film(tmp_path / name, FILMS[name], 240)
    for start in (30, 120, 200):
        assert _packets_read(monkeypatch, path, range(start, start + 8)) <= 8 + 2 * 12 + 4


def test_an_index_is_made_once(folder, monkeypatch, tmp_path):
    """An index that had to be decoded is kept: in the process, and for other processes in the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path, made = tmp_path / "film.avi", []
    path.write_bytes((folder / "b_frames.avi").read_bytes())
    make = VideoFile._make_index
    monkeypatch.setattr(VideoFile, "_make_index", lambda *a, **b: made.append(1) or make(*a, **b))
    decode(path, [3])
    assert made
    for forget in (False, True):
        if forget:
            decode_module._known.clear()
        made.clear()
        assert number_of(decode(path, [3])[0]) == 3
        assert not made
    for cached in (tmp_path / "synvid" / "videos").iterdir():
        cached.write_bytes(b"PK\x03\x04 nonsense")
    decode_module._known.clear()
    assert number_of(decode(path, [3])[0]) == 3
    decode_module._known.clear()
    made.clear()
    decode(path, [3])  # what was nonsense has been written anew
    assert not made
    path.write_bytes((folder / "xvid.avi").read_bytes())  # another film under the same name
    assert [number_of(frame) for frame in decode(path)] == list(range(COUNT))


def test_memory_goes_with_the_frames_taken(tmp_path):
    """Eight frames of a film of 240 hold no more than a few frames, in measuring as in reading."""
    path = write_film(tmp_path / "film.mp4", ["-vf", "scale=640:480", *FILMS["b_frames.mp4"]], 240)
    frame = 640 * 480 * 3
    for take in (lambda: decode(path, range(100, 108)), lambda: resolve_source(str(path)).read(0, 4)):
        tracemalloc.start()
        take()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 26 * frame


# ---- Everywhere the same ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["b_frames.avi", "mpeg1.mpg", "xvid_b_frames.avi", "variable_rate.mkv", "late.ts"])
def test_training_and_testing_see_these_frames(name, folder, wholes):
    """The windows of fine-tuning and the views of a test are made of them."""
    pytest.importorskip("torch")
    from synvid_train.data.annotations import VideoList
    from synvid_train.data.corruptions import Corruption
    from synvid_train.data.samples import TestVideos
    from synvid_train.data.transforms import evaluation_views, finetune_window
    from synvid_train.data.window_sources import LabelledVideos
    from synvid_train.training_recipe import load_recipe

    whole = wholes[name]
    source = LabelledVideos(VideoList(folder, (folder / name,), (0,), ("a",)))
    for seed in range(8):
        window = source.window(0, 4, 2, np.random.default_rng(seed))
        assert (window == whole[finetune_window(len(whole), 4, 2, np.random.default_rng(seed))]).all()
    recipe = load_recipe("laptop_finetune", ["model.num_frames=4", "model.image_size=32", "data.stride=2"])
    count = recipe.views.test_clips, recipe.views.test_crops
    shown = TestVideos(source, recipe)[0]["clips"].numpy()
    assert (shown == evaluation_views(whole, 4, 2, 32, *count)).all()
    reverse = Corruption("reverse", 1)
    shown = TestVideos(source, recipe, reverse)[0]["clips"].numpy()
    assert (shown == evaluation_views(reverse(whole, (0, 0)), 4, 2, 32, *count)).all()


@pytest.mark.parametrize("name", ["b_frames.avi", "mpeg1.mpg", "xvid.avi"])
def test_measuring_sees_these_frames(name, folder, wholes):
    """`stats` and `compare` take frames by the same numbers."""
    taken = resolve_source(str(folder / name)).take(0, lambda count: [0, count // 2, count - 1])
    assert taken.num_frames == COUNT
    assert (taken.frames == wholes[name][[0, COUNT // 2, COUNT - 1]]).all()


def test_real_clips_keep_the_pace_of_a_variable_film(folder, tmp_path):
    """A set has a steady rate: at each of its times it shows the frame of the film that has begun last."""
    (tmp_path / "film.mkv").write_bytes((folder / "variable_rate.mkv").read_bytes())
    real, video = RealVideos.find(tmp_path), Video(width=films.WIDTH, height=films.HEIGHT, fps=50.0, num_frames_range=(70, 70))
    shown = [number_of(frame) for piece in real.frame_chunks("film.mkv", video, 0, 0) for frame in piece]
    n = np.arange(COUNT)
    begins = np.round((n + 0.9 * (n % 4 >= 2)) / 25, 3)
    with VideoFile(tmp_path / "film.mkv") as film:
        latest = film.duration - 70 / 50
    offsets = [o for o in np.linspace(0, latest, 400)
               if [int(np.searchsorted(begins, o + k / 50 + 1e-6, "right") - 1) for k in range(70)] == shown]  # fmt: skip
    assert offsets


def test_features_draw_the_first_frames(folder, tmp_path, monkeypatch):
    """`synvid-train features` decodes the frames that it draws and no more."""
    pytest.importorskip("torch")
    from synvid_train.cli.main import main
    from synvid_train.eval import visualize

    taken = []
    monkeypatch.setattr(visualize, "draw_features", lambda _, videos, *__: taken.extend(videos))
    monkeypatch.setattr("synvid_train.model.convert.load_checkpoint", lambda _: _Anything())
    code, said, _ = ended(
        main, "features", "--checkpoint", folder / "b_frames.mp4", "--data", folder, "--videos", 2, "--out", tmp_path
    )
    assert code == 0, said
    assert [len(video) for video in taken] == [32, 32]


class _Anything:
    """A checkpoint whose model is not asked for anything."""

    def __getattr__(self, _):
        return self

    def __call__(self, *_, **__):
        return self


def test_it_is_public_nowhere_else():
    """No other module opens a video."""
    root = pathlib.Path(synvid.__file__).parents[1]
    opening = [
        path.name
        for part in ("synvid", "synvid_train")
        for path in (root / part).rglob("*.py")
        if "av.open(" in path.read_text()
    ]
    assert sorted(opening) == ["decode.py", "encode.py"]

"""Reading video files: frame t is the t-th frame shown, whatever the container, the codec and the order of reading."""

import contextlib
import dataclasses
import pathlib
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running import ended
from video_files import HEIGHT, VIDEOS, WIDTH, ffmpeg, read_number, write_numbered_video, write_packed_avi

import synvid
from synvid.dataset.real_videos import RealVideos
from synvid.errors import DatasetError
from synvid.preset import Video
from synvid.sources.find_sources import resolve_source
from synvid.video import decode as decode_module
from synvid.video import frame_index
from synvid.video.decode import VideoFile, decode
from synvid.video.demux import PacketReader

av = pytest.importorskip("av")

#: Frames of every video; the frames that are left of one from which frames are dropped.
COUNT = 40
SHOWN = {"dropped_frames.avi": [number for number in range(COUNT) if number % 5 != 3]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with all videos."""
    out = tmp_path_factory.mktemp("videos")
    for name, options in VIDEOS.items():
        write_numbered_video(out / name, options, COUNT)
    write_packed_avi(out / "packed.avi", 13)
    return out


def decode_linearly(path):
    """All frames as PyAV's plain loop returns them; packets that cannot be decoded are skipped."""
    frames = []
    with av.open(str(path.absolute())) as container, contextlib.suppress(av.FFmpegError):
        container.streams.video[0].codec_context.thread_count = 1
        for packet in container.demux(container.streams.video[0]):
            with contextlib.suppress(av.FFmpegError):
                frames += [frame.to_ndarray(format="rgb24", threads=1) for frame in packet.decode()]
    return np.stack(frames)


@pytest.fixture(scope="module")
def wholes(folder):
    """All frames of each video."""
    return {name: decode_linearly(folder / name) for name in [*VIDEOS, "packed.avi"]}


# ---- Frames -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [*VIDEOS, "packed.avi"])
def test_read_all_frames_in_display_order(name, folder, wholes):
    """Every frame is returned once, in display order; the same with the index from the cache."""
    expected = SHOWN.get(name, list(range(13 if name == "packed.avi" else COUNT)))
    for _ in range(2):
        with VideoFile(folder / name) as video:
            assert [read_number(frame) for frame in video.stream(range(video.num_frames))] == expected
            assert (np.diff(video.times) > 0).all()
        frame_index._recent.clear()
    assert (decode(folder / name) == wholes[name]).all()


@pytest.mark.parametrize("name", [*VIDEOS, "packed.avi"])
def test_read_selected_frames_equal_linear_decoding(name, folder, wholes):
    """Random windows, strides and single frames, in any order, equal the frames of linear decoding."""
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
def test_any_encoding_and_cut_equals_linear_decoding(tmp_path, kind, gop, b_frames, is_open, cut, data):
    """Any container, GOP size and number of B-frames, also cut without re-encoding, gives the frames of linear decoding."""
    (suffix, codec) = kind
    options = ["-c:v", codec, "-g", gop, "-bf", 0 if codec != "libx264" and gop < 2 else min(b_frames, max(gop - 1, 0))]
    options += ["-x264-params", f"open-gop={int(is_open)}", "-pix_fmt", "yuv420p"] if codec == "libx264" else ["-q:v", 2]
    path = write_numbered_video(tmp_path / f"video.{suffix}", options, COUNT)
    if cut:
        ffmpeg("-ss", cut / 25, "-i", path, "-c", "copy", tmp_path / f"cut.{suffix}")
        path = tmp_path / f"cut.{suffix}"
    try:
        whole = decode_linearly(path)
    except (av.FFmpegError, ValueError):  # the cut left no frames
        with pytest.raises(DatasetError, match="cannot be decoded"):
            VideoFile(path)
        return
    numbers = data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=6))
    with VideoFile(path) as video:
        assert video.num_frames == len(whole)
        assert (video.read(numbers) == whole[numbers]).all()


def test_seek_to_partial_packet_is_not_mistaken_for_a_frame(tmp_path):
    """After a seek, an MPEG program stream may begin inside a packet; packets of equal size are still told apart."""
    path = write_numbered_video(tmp_path / "video.mpg", ["-c:v", "mpeg2video", "-g", 1, "-bf", 0, "-q:v", 2], COUNT)
    assert [read_number(decode(path, [number])[0]) for number in range(COUNT)] == list(range(COUNT))


@pytest.mark.parametrize("source", ["b_frames.mp4", "b_frames.mkv", "open_gop.mp4"])
@pytest.mark.parametrize("suffix", ["mp4", "mov", "mkv"])
def test_edit_list_hides_frames_before_the_cut(source, suffix, folder, tmp_path):
    """In a file cut inside a group of pictures, frame 0 is the first frame shown, not the first one decoded."""
    path = tmp_path / f"cut.{suffix}"
    ffmpeg("-ss", "0.8", "-i", folder / source, "-c", "copy", path)
    whole = decode_linearly(path)
    with VideoFile(path) as video:
        assert video.num_frames == len(whole)
        assert read_number(video.read([0])[0]) == read_number(whole[0])
        for numbers in ([3, 4, 5], [len(whole) - 1], [10, 2]):
            assert (video.read(numbers) == whole[numbers]).all()


def test_times_follow_time_stamps(folder):
    """Times are seconds from the first frame, for variable rates and files that start late."""
    with VideoFile(folder / "variable_rate.mkv") as video:
        n = np.arange(COUNT)
        expected = (n + 0.9 * (n % 4 >= 2)) / 25
        assert np.abs(video.times - expected).max() < 2e-3
    for name in ("late.mkv", "late.ts", "b_frames.avi"):
        with VideoFile(folder / name) as video:
            assert np.abs(video.times - np.arange(COUNT) / 25).max() < 2e-3
            assert video.duration == pytest.approx(COUNT / 25, abs=2e-3)


@pytest.mark.parametrize("name", ["mpeg2.mpg", "mpeg2.ts", "b_frames.avi"])
def test_times_of_concatenated_files_increase(name, folder, tmp_path):
    """Where time stamps go back, as in concatenated files, times go on increasing by the usual step."""
    path = tmp_path / name
    path.write_bytes((folder / name).read_bytes() * (1 if name.endswith("avi") else 2))
    with VideoFile(path) as video:
        count = COUNT if name.endswith("avi") else 2 * COUNT
        assert count - 3 <= video.num_frames <= count
        assert np.abs(np.diff(video.times) - 1 / 25).max() < 2e-3
        assert video.duration == pytest.approx(video.num_frames / 25, abs=0.1)


# ---- Damage -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", [name for name in VIDEOS if name not in {"b_frames.mp4", "b_frames.mov"}])
def test_truncated_file_gives_frames_before_the_cut(name, folder, tmp_path):
    """A truncated file has the frames before the cut, equal to linear decoding, and counts them correctly."""
    data = (folder / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * 0.7)])
    try:
        video = VideoFile(tmp_path / name)
    except DatasetError as error:  # the header was at the end of the file
        assert str(tmp_path / name) in str(error)  # noqa: PT017
        return
    with video:
        whole = decode_linearly(tmp_path / name)
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
def test_damaged_frame_raises_with_file_and_number(name, unnoticed, folder, tmp_path):
    """Damage that the decoder detects raises an error naming file and frame; other damage ends with its group of pictures."""
    data = bytearray((folder / name).read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = np.random.default_rng(0).integers(0, 256, 200, np.uint8).tobytes()
    (tmp_path / name).write_bytes(data)
    sound, wrong = decode_linearly(folder / name), []
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


def test_read_after_error_and_displaced_stream(folder, tmp_path):
    """After an error the same object reads other frames; a stream that another read has displaced raises."""
    data = bytearray((folder / "b_frames.mp4").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 200] = np.random.default_rng(0).integers(0, 256, 200, np.uint8).tobytes()
    (tmp_path / "video.mp4").write_bytes(data)
    with VideoFile(tmp_path / "video.mp4") as video:
        with pytest.raises(DatasetError, match="is damaged"):
            video.read(range(COUNT))
        assert [read_number(frame) for frame in video.read([39, 0, 3])] == [39, 0, 3]
    with VideoFile(folder / "b_frames.mp4") as video:
        frames = video.stream(range(COUNT))
        assert read_number(next(frames)) == 0
        assert read_number(video.read([30])[0]) == 30
        with pytest.raises(DatasetError, match="other frames were read before this iteration ended"):
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
def test_display_matrix_is_applied(option, turned, folder, tmp_path):
    """Frames are rotated and mirrored by the display matrix of the file, as ffmpeg does, by every reader."""
    path = tmp_path / "turned.mp4"
    ffmpeg(*option, "-i", folder / "b_frames.mp4", "-c", "copy", path)
    upright = turned(decode_linearly(folder / "b_frames.mp4"))
    assert (decode(path) == upright).all()
    shown = np.frombuffer(ffmpeg("-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"), np.uint8).reshape(upright.shape)
    assert np.abs(shown.astype(int) - upright).mean() < 2  # another build of swscale
    source = resolve_source(str(path))
    assert (source.read_frames(0, lambda _: [0, 5]).frames == upright[[0, 5]]).all()


@pytest.mark.parametrize("name", ["2021-01-01T12:00:00.mp4", "concat:a|b.mp4", "50%d [v1] {a} é.mp4", "-i.mp4", "a\udcff.mp4"])
def test_special_characters_in_names_are_literal(name, folder, tmp_path, monkeypatch):
    """In a path, a colon makes no protocol and a percent sign no pattern, also if the path is relative."""
    monkeypatch.chdir(tmp_path)
    try:
        (tmp_path / name).write_bytes((folder / "b_frames.mp4").read_bytes())
    except (OSError, UnicodeEncodeError):
        pytest.skip("no such names here")
    assert [read_number(frame) for frame in decode(name, [3, 7])] == [3, 7]


def test_cover_art_is_skipped(folder, tmp_path):
    """Cover art before the video stream is skipped."""
    from PIL import Image

    Image.new("RGB", (32, 32)).save(tmp_path / "cover.png")
    inputs = ["-i", tmp_path / "cover.png", "-i", folder / "b_frames.mp4", "-map", "0", "-map", "1"]
    ffmpeg(*inputs, "-c", "copy", "-disposition:v:0", "attached_pic", tmp_path / "both.mp4")
    assert read_number(decode(tmp_path / "both.mp4", [9])[0]) == 9


def test_changing_frame_size_raises(folder, tmp_path):
    """Frames of two sizes raise an error, since they cannot form one array."""
    write_numbered_video(tmp_path / "small.ts", ["-vf", "scale=32:24", "-c:v", "libx264", "-pix_fmt", "yuv420p"], 10)
    (tmp_path / "two.ts").write_bytes((folder / "b_frames.ts").read_bytes() + (tmp_path / "small.ts").read_bytes())
    with pytest.raises(
        DatasetError, match=r"two\.ts: cannot be decoded: its frames change their size at frame 3\d|is damaged"
    ):
        decode(tmp_path / "two.ts")


def test_open_files_have_no_threads(folder):
    """Open files keep no FFmpeg thread, which would hang a process that is forked later when it frees the file."""
    tasks = pathlib.Path("/proc/self/task")
    if not tasks.is_dir():
        pytest.skip("the threads of a process are not listed here")
    before, kept = len(list(tasks.iterdir())), []
    for name in VIDEOS:
        video = VideoFile(folder / name)
        kept.append((video, video.stream([0, 5])))
        next(kept[-1][1])
    assert len(list(tasks.iterdir())) <= before
    for video, _ in kept:
        video.close()


# ---- Cost -------------------------------------------------------------------------------------------------------------
def _packets_read(monkeypatch, path, numbers):
    """Number of packets decoded to read frames of a file that has an index."""
    positions = []
    decode_packets = PacketReader.decode

    def count(self, packets):
        return decode_packets(self, (positions.append(position) or (position, packet) for position, packet in packets))

    with VideoFile(path) as video:
        monkeypatch.setattr(PacketReader, "decode", count)
        video.read(numbers)
    monkeypatch.setattr(PacketReader, "decode", decode_packets)
    return len(positions)


def test_wrong_index_is_rebuilt_once(tmp_path, monkeypatch):
    """If time stamps give a wrong order, the file is indexed again by decoding, once."""
    path = write_numbered_video(tmp_path / "video.mp4", VIDEOS["no_b_frames.mp4"])
    whole = decode_linearly(path)
    build_index, builds = decode_module.build_index, []

    def build_swapped(reader, decode=False):
        builds.append(decode)
        index = build_index(reader, decode)
        order = [1, 0, *range(2, len(index.numbers))]
        return index if decode else dataclasses.replace(index, numbers=index.numbers[order])

    monkeypatch.setattr(decode_module, "build_index", build_swapped)
    for _ in range(2):
        assert (decode(path, [0, 5]) == whole[[0, 5]]).all()
    assert builds == [False, True]


@pytest.mark.parametrize("name", ["b_frames.mp4", "b_frames.mkv", "xvid_b_frames.avi", "xvid.avi", "b_frames.avi", "mpeg2.mpg",
                                  "b_frames.ts", "wmv2.wmv", "vp9.webm"])  # fmt: skip
def test_window_decodes_few_groups_of_pictures(name, tmp_path, monkeypatch):
    """Reading a window decodes one or two groups of pictures, however long the video."""
    path = write_numbered_video(tmp_path / name, VIDEOS[name], 240)
    for start in (30, 120, 200):
        assert _packets_read(monkeypatch, path, range(start, start + 8)) <= 8 + 2 * 12 + 4


def test_index_is_cached_in_process_and_on_disk(folder, monkeypatch, tmp_path):
    """An index made by decoding is kept in the process and in the user's cache, until the video changes.

    A damaged file in the cache is rewritten.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path, builds = tmp_path / "video.avi", []
    path.write_bytes((folder / "b_frames.avi").read_bytes())
    build_index = decode_module.build_index
    monkeypatch.setattr(decode_module, "build_index", lambda *a, **b: builds.append(1) or build_index(*a, **b))
    decode(path, [3])
    assert builds
    for forget in (False, True):
        if forget:
            frame_index._recent.clear()
        builds.clear()
        assert read_number(decode(path, [3])[0]) == 3
        assert not builds
    for cached in (tmp_path / "synvid" / "videos").iterdir():
        cached.write_bytes(b"PK\x03\x04 nonsense")
    frame_index._recent.clear()
    assert read_number(decode(path, [3])[0]) == 3
    frame_index._recent.clear()
    builds.clear()
    decode(path, [3])  # the damaged cache file has been rewritten
    assert not builds
    path.write_bytes((folder / "xvid.avi").read_bytes())  # another video under the same name
    assert [read_number(frame) for frame in decode(path)] == list(range(COUNT))


@pytest.mark.slow
def test_memory_depends_on_frames_read(tmp_path):
    """Reading 8 of 240 frames holds only a few frames in memory."""
    path = write_numbered_video(tmp_path / "video.mp4", ["-vf", "scale=640:480", *VIDEOS["b_frames.mp4"]], 240)
    frame = 640 * 480 * 3
    for take in (lambda: decode(path, range(100, 108)), lambda: resolve_source(str(path)).read_pairs(0, 4)):
        tracemalloc.start()
        take()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 26 * frame


# ---- Everywhere the same ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["b_frames.avi", "mpeg1.mpg", "xvid_b_frames.avi", "variable_rate.mkv", "late.ts"])
def test_training_and_evaluation_read_these_frames(name, folder, wholes):
    """Windows of fine-tuning and views of evaluation consist of these frames."""
    pytest.importorskip("torch")
    from synvid_train.data.corruptions import Corruption
    from synvid_train.data.samples import EvaluationVideos
    from synvid_train.data.transforms import evaluation_views, finetune_window
    from synvid_train.data.video_list import VideoList
    from synvid_train.data.window_sources import LabelledVideos
    from synvid_train.training_recipe import load_recipe

    whole = wholes[name]
    source = LabelledVideos(VideoList(folder, (folder / name,), (0,), ("a",)))
    for seed in range(8):
        window = source.read_window(0, 4, 2, np.random.default_rng(seed))
        assert (window == whole[finetune_window(len(whole), 4, 2, np.random.default_rng(seed))]).all()
    recipe = load_recipe("laptop_finetune", ["model.num_frames=4", "model.image_size=32", "data.stride=2"])
    count = recipe.views.test_clips, recipe.views.test_crops
    shown = EvaluationVideos(source, recipe)[0]["clips"].numpy()
    assert (shown == evaluation_views(whole, 4, 2, 32, *count)).all()
    reverse = Corruption("reverse", 1)
    shown = EvaluationVideos(source, recipe, reverse)[0]["clips"].numpy()
    assert (shown == evaluation_views(reverse(whole, (0, 0)), 4, 2, 32, *count)).all()


@pytest.mark.parametrize("name", ["b_frames.avi", "mpeg1.mpg", "xvid.avi"])
def test_clip_sources_read_these_frames(name, folder, wholes):
    """`stats` and `compare` read frames by the same numbers."""
    selection = resolve_source(str(folder / name)).read_frames(0, lambda count: [0, count // 2, count - 1])
    assert selection.num_frames == COUNT
    assert (selection.frames == wholes[name][[0, COUNT // 2, COUNT - 1]]).all()


def test_real_clips_of_variable_rate_video_keep_its_pace(folder, tmp_path):
    """At each of its times a real clip shows the frame of the video that has begun last."""
    (tmp_path / "video.mkv").write_bytes((folder / "variable_rate.mkv").read_bytes())
    real, video = RealVideos.find(tmp_path), Video(width=WIDTH, height=HEIGHT, fps=50.0, num_frames_range=(70, 70))
    shown = [read_number(frame) for piece in real.frame_chunks("video.mkv", video, 0, 0) for frame in piece]
    n = np.arange(COUNT)
    begins = np.round((n + 0.9 * (n % 4 >= 2)) / 25, 3)
    with VideoFile(tmp_path / "video.mkv") as file:
        latest = file.duration - 70 / 50
    offsets = [o for o in np.linspace(0, latest, 400)
               if [int(np.searchsorted(begins, o + k / 50 + 1e-6, "right") - 1) for k in range(70)] == shown]  # fmt: skip
    assert offsets


def test_features_decodes_only_the_frames_it_draws(folder, tmp_path, monkeypatch):
    """`synvid-train features` decodes only the frames that it draws."""
    pytest.importorskip("torch")
    from synvid_train.cli.main import main
    from synvid_train.eval import visualize

    drawn = []
    monkeypatch.setattr(visualize, "draw_features", lambda _, videos, *__: drawn.extend(videos))
    monkeypatch.setattr("synvid_train.model.load.load_checkpoint", lambda _: _Anything())
    code, output, _ = ended(
        main, "features", "--checkpoint", folder / "b_frames.mp4", "--data", folder, "--videos", 2, "--out", tmp_path
    )
    assert code == 0, output
    assert [len(video) for video in drawn] == [32, 32]


class _Anything:
    """A checkpoint that accepts any attribute and call."""

    def __getattr__(self, _):
        return self

    def __call__(self, *_, **__):
        return self


def test_only_two_modules_open_videos():
    """Only the demuxer and the encoder open video files."""
    root = pathlib.Path(synvid.__file__).parents[1]
    opening = [
        path.name
        for part in ("synvid", "synvid_train")
        for path in (root / part).rglob("*.py")
        if "av.open(" in path.read_text()
    ]
    assert sorted(opening) == ["demux.py", "encode.py"]

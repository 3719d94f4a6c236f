"""Small networks, feature extractors and videos for tests of feature metrics."""

import warnings
from functools import partial

import numpy as np
import torch
from running import ended, noise_clip, write_video

from synvid.sources.find_sources import resolve_source
from synvid_train.cli.main import main
from synvid_train.eval.feature_extractors import FeatureExtractor

#: Run `synvid-train`; returns exit code, stderr and stdout.
run_command = partial(ended, main)
long_clip = partial(noise_clip, frames=20)


class MeanColors(torch.nn.Module):
    """Network of frames: mean colours of their four quarters."""

    def forward(self, x):
        """(K, 3, H, W) to (K, 12)."""
        return torch.nn.functional.adaptive_avg_pool2d(x.float(), 2).flatten(1)


class ClipStatistics(torch.nn.Module):
    """Network of clips with the arguments of I3D; returns the mean, the number of frames and its arguments."""

    def forward(self, x, rescale: bool = False, resize: bool = False, return_features: bool = False):
        """(B, 3, T, H, W) to (B, 5)."""
        size = torch.tensor([float(x.shape[2]), float(rescale), float(resize), float(return_features)])
        return torch.cat([x.mean().reshape(1), size]).expand(x.shape[0], 5)


def save_script(module, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(module).save(str(path))
    return path


def counting_extractor(key="counted"):
    """Return an extractor of frames, and the list of the numbers of frames of its calls."""
    calls = []

    def features(frames):
        calls.append(len(frames))
        return torch.from_numpy(frames.reshape(len(frames), -1)[:, :4].astype(np.float32))

    return FeatureExtractor(key, "a test", "Fréchet distance on a test", key, features), calls


def ramp_videos(folder, count, length=24):
    """Write videos whose colours tell the index of the clip and of the frame; return them as a source."""
    for k in range(count):
        frames = np.zeros((length, 32, 32, 3))
        frames[...] = np.array([10 * np.arange(length), np.full(length, 10 * k), np.zeros(length)]).T[:, None, None]
        write_video(folder / f"{k}.mp4", frames)
    return resolve_source(str(folder))


def window_recorder(num_frames, stride):
    """Return an extractor of clips whose vectors are the indices of the frames in `ramp_videos`."""

    def features(frames):
        return torch.from_numpy(frames[:, 0, 0, 0].astype(np.float32).round()[None] / 10)

    return FeatureExtractor("recorder", "a test", "Fréchet distance on a test", "recorder", features, num_frames, stride)

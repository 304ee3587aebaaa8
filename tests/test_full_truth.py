"""Depth of `full` against the exact depth of made-up scenes, through video compression and all."""

from __future__ import annotations

import functools
import json

import numpy as np
import pytest
from conftest import Dataset
from test_depth import frames_of
from test_recordings import Recorded

STEPS, SEED = 12, 3  # the hand starts at rest, and is on its way for the second half
NEAR_MM, FAR_MM = 300, 1500
FILMS = {
    "rectified, mpeg4, 1280x720": ["--video", "stereo", "--codec", "mpeg4", "--resolution", "HD"],
    "rectified, h264, 672x376": ["--video", "stereo", "--codec", "h264", "--resolution", "VGA"],
    "raw, 672x376": ["--video", "svo2", "--resolution", "VGA"],
}


def seen_by_both(depth_mm: np.ndarray, fx_px: float, baseline_m: float) -> np.ndarray:
    """Pixels of the left picture whose point the right eye sees too, by geometry alone."""
    rows, columns = np.nonzero(depth_mm)
    disparity = fx_px * baseline_m * 1000 / depth_mm[rows, columns].astype(float)
    at = columns - disparity
    height, width = depth_mm.shape
    nearest = np.zeros((height, width + 2))  # the largest disparity that lands on a right pixel
    inside = at >= 0
    whole = np.floor(at).astype(int)
    for step in (0, 1):
        np.maximum.at(nearest, (rows[inside], whole[inside] + step), disparity[inside])
    front = np.maximum(nearest[rows, whole], nearest[rows, whole + 1])
    seen = np.zeros(depth_mm.shape, bool)
    seen[rows, columns] = inside & (disparity > front - 1)
    return seen


def test_what_stands_behind_is_seen_by_one_eye():
    """A pole 40 px wide at 0.5 m hides a strip of a wall at 1 m, as disparities differ."""
    depth = np.full((4, 400), 1000, np.uint16)
    depth[:, 200:240] = 500
    seen = seen_by_both(depth, fx_px=300, baseline_m=0.1)  # 30 px and 60 px
    hidden = np.flatnonzero(~seen[1])
    assert hidden[:30].tolist() == list(range(30)), "beyond the right picture's edge"
    # The pole covers 140 … 179 of the right picture, where the wall's 170 … 209 would be.
    strip = hidden[30:]
    assert abs(strip.min() - 170) <= 1 and strip.max() == 199


@pytest.fixture(scope="module")
def filmed(droidflow, shared, tmp_path_factory):
    """filmed(name) -> an episode whose cameras are those of real calibration files."""

    @functools.cache
    def make(name: str) -> Recorded:
        folder = tmp_path_factory.mktemp("film") / "data"
        size = ["--episodes", 1, "--steps", STEPS, "--seed", SEED]
        conf = ["--conf-dir", shared / "data/zed_conf"]
        droidflow("synth", folder, *FILMS[name], *size, *conf, code=0, timeout=300)
        data = Dataset(folder / "annotations", folder / "conf", folder / "raw")
        return Recorded(data, folder / "truth")

    return make


@pytest.fixture(scope="module")
def finished(droidflow, filmed, tmp_path_factory):
    """finished(name) -> the episode's output folder."""

    @functools.cache
    def make(name: str):
        data = filmed(name).data
        out = tmp_path_factory.mktemp("full") / "out"
        flags = ["--backend", "cpu", "--out", out]
        droidflow("full", -1, *data.inputs, *flags, code=0, timeout=300)
        return out / filmed(name).episode

    return make


@pytest.mark.parametrize("name", FILMS)
@pytest.mark.parametrize("camera", ["ext1", "ext2", "wrist"])
def test_depth_is_dense_and_within_a_percent(ffmpeg, filmed, finished, name, camera):
    serial = filmed(name).metadata()[f"{camera}_cam_serial"]
    folder = finished(name) / "recordings" / serial
    have = frames_of(folder / "depth.mkv").astype(float)
    truth = frames_of(next(filmed(name).truth.rglob(f"{serial}/depth.mkv")))[: len(have)]
    assert have.shape == truth.shape and len(have) >= STEPS - 1
    lens = json.loads((folder / "intrinsics.json").read_text())
    visible = np.stack([seen_by_both(t, lens["fx"], lens["baseline_m"]) for t in truth])
    counts = visible & (truth >= NEAR_MM) & (truth <= FAR_MM)
    assert counts.mean() > 0.1, "there is something to measure"
    valid = counts & (have > 0)
    density = valid.sum() / counts.sum()
    off = np.abs(have - truth)[valid] / truth[valid]
    print(f"{name}, {camera}: density {density:.4f}, median {np.median(off):.5f}")
    assert density >= 0.85
    assert np.median(off) <= 0.01


@pytest.mark.parametrize("name", FILMS)
def test_the_wrist_camera_moves_so_that_a_wrong_frame_would_show(ffmpeg, filmed, name):
    serial = filmed(name).metadata()["wrist_cam_serial"]
    truth = frames_of(next(filmed(name).truth.rglob(f"{serial}/depth.mkv"))).astype(float)
    truth = truth[STEPS // 2 :]
    both = (truth[:-1] > 0) & (truth[1:] > 0)
    off = (np.abs(truth[1:] - truth[:-1]) / np.maximum(truth[1:], 1))[both]
    assert np.median(off) > 0.01

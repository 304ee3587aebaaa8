"""Depth, frame by frame, against the program ffmpeg reading the whole file."""

from __future__ import annotations

import importlib.util
import json
import pathlib
import shutil
import subprocess

import numpy as np
import pytest
from conftest import STEPS, unavailable

from droidflow import BadFile, Dataset, Depth, NotFound, Unsupported


@pytest.fixture(params=["av", "ffmpeg"])
def decoder(request, monkeypatch) -> str:
    """Each test decodes with PyAV and with the program."""
    if request.param == "av" and importlib.util.find_spec("av") is None:
        pytest.skip("no PyAV")
    if request.param == "ffmpeg":
        if not shutil.which("ffmpeg"):
            unavailable("no ffmpeg")
        monkeypatch.setattr(Depth, "_with_av", Depth._with_program)
    return request.param


def all_frames(path: pathlib.Path) -> np.ndarray:
    """Metres, NaN where there is none, as docs/formats.md says it is done."""
    meta = json.loads((path / "depth_meta.json").read_text())
    command = f"ffmpeg -v error -i {path / 'depth.mkv'} -fps_mode passthrough -f rawvideo"
    done = subprocess.run([*command.split(), "-pix_fmt", "gray16le", "-"], stdout=subprocess.PIPE)
    raw = np.frombuffer(done.stdout, "<u2").reshape(-1, meta["height"], meta["width"])
    return np.where(raw == 0, np.nan, raw / 1000.0)


@pytest.fixture
def episode(out):
    return next(iter(Dataset(out).values()))


def test_any_frame_is_the_one_that_ffmpeg_decodes(episode, decoder):
    for camera in ("ext1", "wrist"):
        path = pathlib.Path(episode.name) / "recordings" / episode.serial(camera)
        expected, depth = all_frames(path), episode.depth(camera)
        assert depth.shape == expected.shape and len(depth) == len(expected) > 4
        for j in (3, 0, len(depth) - 1, -2):
            assert depth[j].dtype == np.float32
            np.testing.assert_allclose(depth[j], expected[j], rtol=1e-6)
        np.testing.assert_allclose(depth[4:0:-2], expected[4:0:-2], rtol=1e-6)
        assert depth[2:2].shape == (0, *expected.shape[1:])
        assert 0 < np.isnan(expected).mean() < 1
        with pytest.raises(IndexError):
            depth[len(depth)]


def test_a_step_finds_its_frame(episode, decoder):
    depth = episode.depth("ext2")
    video = episode.video["ext2"]["step_to_frame"]
    frames = [f // 2 if f >= 0 and f % 2 == 0 and f // 2 < len(depth) else -1 for f in video]
    assert depth.step_to_frame.tolist() == frames and len(frames) == STEPS
    step = frames.index(3)
    assert np.array_equal(depth.at_step(step), depth[3], equal_nan=True)
    with pytest.raises(NotFound, match="want a frame that shows step .*, have none: .*_meta.json"):
        depth.at_step(frames.index(-1))


def test_a_camera_without_depth_is_said(original, episode, tmp_path):
    with pytest.raises(NotFound, match="want depth of camera ext1, have it of cameras .none."):
        next(iter(Dataset(original).values())).depth("ext1")
    with pytest.raises(NotFound, match="want depth of camera 99, have it of cameras 2"):
        episode.depth("99")


@pytest.fixture
def broken(out, tmp_path):
    """A recording to break, and what opens it."""
    shutil.copytree(out, tmp_path / "out")
    episode = next(iter(Dataset(tmp_path / "out").values()))
    path = pathlib.Path(episode.name) / "recordings" / episode.serial("ext1")
    return path, lambda: episode.depth("ext1")


def test_another_pixel_format_is_said(broken):
    path, depth = broken
    meta = json.loads((path / "depth_meta.json").read_text())
    (path / "depth_meta.json").write_text(json.dumps({**meta, "pix_fmt": "bgr24"}))
    with pytest.raises(BadFile, match="want ffv1, gray16le, have ffv1, bgr24: .*depth_meta.json"):
        depth()


def test_another_number_of_frames_is_said(broken):
    path, depth = broken
    meta = json.loads((path / "depth_meta.json").read_text())
    frames = meta["frame_count"]
    (path / "depth_meta.json").write_text(json.dumps({**meta, "frame_count": frames + 1}))
    with pytest.raises(BadFile, match=f"want {frames + 1} frames, have {frames}: .*depth.mkv"):
        depth()[0]


@pytest.mark.parametrize("keep", [0, 3, 100, 5000, -20])
def test_a_video_that_was_cut_off_is_said(broken, keep):
    path, depth = broken
    data = (path / "depth.mkv").read_bytes()
    (path / "depth.mkv").write_bytes(data[:keep])
    with pytest.raises(BadFile, match="depth.mkv"):
        depth()[0]


def test_an_index_that_points_nowhere_is_said(broken):
    path, depth = broken
    data = (path / "depth.mkv").read_bytes()
    cues = data.rindex(b"\x1c\x53\xbb\x6b")
    (path / "depth.mkv").write_bytes(
        data[:cues].replace(b"\x1f\x43\xb6\x75", bytes(4)) + data[cues:]
    )
    with pytest.raises(BadFile, match="want frame 1 where its index says, have none: .*depth.mkv"):
        depth()[1]


def test_a_video_without_an_index_is_said(broken):
    path, depth = broken
    data = (path / "depth.mkv").read_bytes()
    (path / "depth.mkv").write_bytes(data.replace(b"\x1c\x53\xbb\x6b", b"\xec\xec\xec\xec", 1))
    with pytest.raises(BadFile, match="want Matroska with one track and its index.*depth.mkv"):
        depth()[0]


def test_damaged_frames_are_said(broken, decoder):
    path, depth = broken
    data = bytearray((path / "depth.mkv").read_bytes())
    data[5000:6000] = bytes(1000)
    (path / "depth.mkv").write_bytes(data)
    with pytest.raises(BadFile, match="want the checksums of frame 0, have others: .*depth.mkv"):
        depth()[0]
    assert np.isfinite(depth()[1]).any()


def test_without_a_decoder_that_is_said(episode, monkeypatch):
    monkeypatch.setattr(Depth, "_with_av", Depth._with_program)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(Unsupported, match="want the package av or the program ffmpeg"):
        episode.depth("ext1")[0]

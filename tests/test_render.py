"""`droidflow render`: what its pictures show of an episode whose tracks and recordings are known."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess

import conftest
import numpy as np
import pytest
from conftest import Dataset, copy_dataset, load
from recordings_reference import ffmpeg, have_ffmpeg, probe
from test_full import recording, role_of

STEPS = 12
ORANGE, BLUE, PINK = (255, 150, 20), (0, 200, 255), (255, 0, 200)
GAP, CAPTION = 8, 24  # around tiles
PLAIN = 70  # gray where there is no picture


@pytest.fixture(scope="module", autouse=True)
def need_ffmpeg():
    if not have_ffmpeg():
        conftest._unavailable("no ffmpeg and ffprobe on this machine")


@pytest.fixture(scope="module")
def films(synth) -> Dataset:
    return synth(episodes=1, steps=STEPS, seed=5, video="stereo")


@pytest.fixture(scope="module")
def episode(droidflow, films, tmp_path_factory) -> pathlib.Path:
    """Results of `full`, with coarse depth."""
    out = tmp_path_factory.mktemp("out")
    quick = ["--backend", "cpu", "--preset", "fast", "--max-disparity", 64]
    droidflow("full", -1, *films.inputs, "--out", out, *quick, code=0, timeout=300)
    return out / films.episodes()[0]


def pictures(path: pathlib.Path) -> np.ndarray:
    """[F, H, W, 3], as int."""
    stream = probe(path)
    raw = ffmpeg("-i", path, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    return np.frombuffer(raw, "u1").reshape(-1, stream["height"], stream["width"], 3).astype(int)


def alone(picture: np.ndarray, width: int, height: int) -> tuple[np.ndarray, float]:
    """The one tile of a picture, and how much smaller it is than the camera's picture."""
    tile_width = picture.shape[1] - 2 * GAP
    scale = tile_width / width
    tile = picture[CAPTION : CAPTION + round(height * scale), GAP : GAP + round(width * scale)]
    return tile, scale


def at(tile: np.ndarray, scale: float, pixels: np.ndarray) -> np.ndarray:
    """The colours at pixels of the large picture."""
    u, v = np.rint((pixels + 0.5) * scale - 0.5).astype(int).T
    return tile[v, u]


def near(colours: np.ndarray, colour, most: int = 110) -> np.ndarray:
    return np.abs(colours - np.asarray(colour)).max(axis=-1) <= most


def serial_of(episode: pathlib.Path, role: str) -> str:
    cameras = json.loads((episode / "quality.json").read_text())["cameras"]
    return next(serial for serial, camera in cameras.items() if camera["role"] == role)


@pytest.mark.parametrize("role", ["ext1", "wrist"])
def test_points_lie_where_tracks_2d_says(droidflow, episode, tmp_path, role):
    out = tmp_path / "step.png"
    droidflow(
        *("render", episode, "-o", out, "--camera", role, "--what", "tracks", "--step", 5), code=0
    )
    tracks = load(episode / "tracks.npz")
    serial = serial_of(episode, role)
    width, height = tracks[f"image_size_{serial}"]
    tile, scale = alone(pictures(out)[0], width, height)
    points = tracks[f"tracks_2d_{serial}"][5]
    inside = ((points >= 0) & (points <= (width - 1, height - 1))).all(axis=1)
    is_left = np.arange(len(points)) < len(points) // 2
    assert (inside & is_left).any() and (inside & ~is_left).any()
    # Both pads may cover each other in the picture, and the right one is drawn last.
    either = near(at(tile, scale, points[inside]), ORANGE) | near(at(tile, scale, points[inside]), BLUE)
    assert either.mean() > 0.9
    assert near(at(tile, scale, points[inside & ~is_left]), BLUE).mean() > 0.9
    # Far from everything the picture is plain.
    corner = tile[: height // 20, : width // 20]
    assert (corner == PLAIN).all()


def test_a_point_outside_is_marked_at_the_border(droidflow, episode, tmp_path):
    moved = shutil.copytree(episode, tmp_path / "moved")
    tracks = load(moved / "tracks.npz")
    serial = serial_of(episode, "ext1")
    width, height = tracks[f"image_size_{serial}"]
    tracks[f"tracks_2d_{serial}"][3, 0] = (-50, height / 2)
    tracks[f"tracks_2d_{serial}"][3, 1] = np.nan
    np.savez(moved / "tracks.npz", **tracks)
    out = tmp_path / "step.png"
    droidflow(
        *("render", moved, "-o", out, "--camera", serial, "--what", "tracks", "--step", 3), code=0
    )
    tile, scale = alone(pictures(out)[0], width, height)
    assert near(tile[tile.shape[0] // 2, 0], PINK, 40)
    assert near(tile.reshape(-1, 3), PINK, 40).sum() < 200


def test_the_recordings_frame_lies_behind(droidflow, films, episode, tmp_path):
    out = tmp_path / "step.png"
    inputs = ["--droid-root", films.raw]
    droidflow(
        *("render", episode, *inputs, "-o", out, "--camera", "ext2", "--what", "frames"),
        *("--step", 4),
        code=0,
    )
    serial = serial_of(episode, "ext2")
    video = json.loads((episode / f"recordings/{serial}/video.json").read_text())
    shown = video["step_to_frame"][4]
    stereo = pictures(films.raw / films.episodes()[0] / video["file"])[shown]
    left = stereo[:, : stereo.shape[1] // 2]
    tile, scale = alone(pictures(out)[0], left.shape[1], left.shape[0])
    assert scale == 1
    difference = np.abs(tile - left).max(axis=-1)
    assert np.median(difference) <= 3
    # All but the axes.
    assert (difference > 40).mean() < 0.02


def test_depth_lies_beside_in_the_colours_of_its_legend(droidflow, episode, tmp_path):
    out = tmp_path / "step.png"
    (report,) = droidflow.json(
        *("render", episode, "-o", out, "--camera", "ext1", "--what", "depth", "--step", 2)
    )
    assert (report["file"], report["steps"], len(report["notes"])) == (str(out), 1, 1)
    assert (report["height"], report["width"]) == pictures(out)[0].shape[:2]
    preview = tmp_path / "depth.png"
    serial = serial_of(episode, "ext1")
    meta = json.loads((episode / f"recordings/{serial}/depth_meta.json").read_text())
    frame = meta["step_to_frame"][2]
    droidflow(
        *("depth-preview", episode / f"recordings/{serial}/depth.mkv", "-o", preview),
        *("--frame", frame),
        code=0,
    )
    (sheet,), (alone_,) = pictures(out), pictures(preview)
    width = (1440 - GAP) // 2 - GAP
    tile = sheet[CAPTION : CAPTION + width * 9 // 16, 2 * GAP + width :][:, :width]
    # The same scale, in another size: the colours occur as often.
    yellowish = lambda picture: near(picture, (253, 231, 37), 60).mean()  # noqa: E731
    hatched = lambda picture: (np.ptp(picture, axis=-1) == 0).mean()  # noqa: E731
    full_size = alone_[: round(alone_.shape[1] * 9 / 16)]
    assert yellowish(tile) == pytest.approx(yellowish(full_size), abs=0.05)
    assert hatched(tile) == pytest.approx(hatched(full_size), abs=0.08)


def test_a_sheet_has_eight_moments_of_every_camera(droidflow, films, episode, tmp_path):
    out = tmp_path / "sheet.png"
    droidflow(
        *("render", episode, "--droid-root", films.raw, "-o", out, "--what", "tracks,frames"), code=0
    )
    (sheet,) = pictures(out)
    width = (1440 - GAP) // 3 - GAP
    height = round(width * 9 / 16)
    for row in range(8):
        for column in range(3):
            x = GAP + column * (width + GAP)
            y = CAPTION + row * (height + CAPTION + GAP)
            assert sheet[y : y + height, x : x + width].std() > 10, (row, column)


def test_a_video_has_a_picture_for_each_step_at_their_rate(droidflow, films, episode, tmp_path):
    out = tmp_path / "tracks.mp4"
    droidflow(
        *("render", episode, "--droid-root", films.raw, "-o", out, "--camera", "wrist"), code=0
    )
    stream = probe(out)
    assert (stream["codec_name"], stream["pix_fmt"]) == ("h264", "yuv420p")
    shown = pictures(out)
    assert len(shown) == STEPS
    rate = [int(part) for part in stream["avg_frame_rate"].split("/")]
    fps = float(load(episode / "tracks.npz")["fps"])
    assert rate[0] / rate[1] == pytest.approx(fps, rel=0.01)
    assert any((shown[i] != shown[i + 1]).mean() > 0.1 for i in range(STEPS - 2))


def test_what_cannot_be_shown_is_said_and_drawn_on_gray(droidflow, films, episode, tmp_path):
    data = copy_dataset(films, tmp_path / "data")
    victim = data.episodes()[0]
    broken = recording(data, victim, role_of(data, victim)["ext1"])
    broken.write_bytes(b"no recording")
    out = tmp_path / "sheet.png"
    done = droidflow(
        *("render", episode, "--droid-root", data.raw, "-o", out, "--camera", "ext1"), code=0
    )
    assert str(broken) in done.stderr and out.stat().st_size > 1000
    done = droidflow("render", episode, "-o", out, "--camera", "ext1", code=0)
    assert "--droid-root" in done.stderr


def test_several_episodes_get_a_picture_each(droidflow, episode, tmp_path):
    twins = tmp_path / "out"
    for name in ("a", "b"):
        shutil.copytree(episode, twins / "LAB/success/2023-07-01" / name)
    out = tmp_path / "p.png"
    droidflow("render", twins, "-o", out, "--what", "tracks", "--step", 0, code=0)
    names = sorted(path.name for path in tmp_path.glob("*.png"))
    assert names == ["p-2023-07-01-a.png", "p-2023-07-01-b.png"]


def cut_off(path: pathlib.Path, share: float):
    """Takes the end of a file away."""
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])


def test_a_damaged_episode_does_not_stop_the_others(droidflow, episode, tmp_path):
    twins = tmp_path / "out/LAB/success/2023-07-01"
    for name in ("a", "b", "c"):
        shutil.copytree(episode, twins / name)
    cut_off(twins / "a/tracks.npz", 0.5)
    depth = twins / f"b/recordings/{serial_of(episode, 'ext1')}/depth.mkv"
    cut_off(depth, 0.5)
    flags = ["--camera", "ext1", "--step", 2]
    done = droidflow("render", tmp_path / "out", "-o", tmp_path / "p.png", "--json", *flags, code=3)
    assert str(twins / "a") in done.stderr and "tracks.npz" in done.stderr
    a, b, c = json.loads(done.stdout)
    assert a["file"] is None and "tracks.npz" in a["error"]
    names = sorted(path.name for path in tmp_path.glob("*.png"))
    assert names == ["p-2023-07-01-b.png", "p-2023-07-01-c.png"]
    # Without its depth, but with all else.
    assert [str(depth) in note for note in b["notes"]].count(True) == 1
    assert not any("depth" in note for note in c["notes"])
    assert b["width"] < c["width"] or b["height"] != c["height"]


def test_a_recording_that_was_cut_off_is_noted(droidflow, films, episode, tmp_path):
    data = copy_dataset(films, tmp_path / "data")
    serial = serial_of(episode, "ext1")
    video = json.loads((episode / f"recordings/{serial}/video.json").read_text())
    broken = data.raw / data.episodes()[0] / video["file"]
    cut_off(broken, 0.4)
    out = tmp_path / "sheet.png"
    inputs = ["--droid-root", data.raw, "--camera", "ext1", "--what", "tracks"]
    (told,) = droidflow.json("render", episode, *inputs, "-o", out)
    (note,) = told["notes"]
    assert str(broken) in note and serial in note
    missing, wanted = re.search(r"(\d+) of (\d+) wanted frames cannot be read", note).groups()
    assert 0 < int(missing) < int(wanted) <= 8, note
    assert re.search(r"by its header it has \d+ frames", note), note


def test_a_sheet_of_one_camera_is_about_as_wide_as_high(droidflow, films, episode, tmp_path):
    out = tmp_path / "sheet.png"
    inputs = ["--droid-root", films.raw, "--camera", "ext1", "--what", "tracks"]
    (told,) = droidflow.json("render", episode, *inputs, "-o", out)
    assert told["steps"] == 8 and 1200 <= told["width"] <= 1440
    assert 0.5 < told["width"] / told["height"] < 2
    (sheet,) = pictures(out)
    assert sheet.shape[:2] == (told["height"], told["width"])
    # Two moments in a row.
    width = (told["width"] - GAP) // 2 - GAP
    height = round(width * 9 / 16)
    for moment in range(8):
        x = GAP + moment % 2 * (width + GAP)
        y = CAPTION + moment // 2 * (height + CAPTION + GAP)
        assert sheet[y : y + height, x : x + width].std() > 10, moment


def test_files_of_the_original_are_drawn(droidflow, episode, tmp_path):
    """It pickles the list of cameras, and writes neither times nor roles."""
    copy = shutil.copytree(episode, tmp_path / "original")
    (copy / "quality.json").write_text("{}")
    tracks = load(copy / "tracks.npz")
    tracks["cameras_with_2d_tracks"] = np.array(tracks["cameras_with_2d_tracks"], object)
    del tracks["timestamps_ms"]
    np.savez(copy / "tracks.npz", **tracks)
    assert b"'|O'" in (copy / "tracks.npz").read_bytes()
    serial = serial_of(episode, "ext1")
    out = tmp_path / "step.png"
    droidflow("render", copy, "-o", out, "--what", "tracks", "--step", 1, "--camera", serial, code=0)
    droidflow("render", copy, "-o", out, "--what", "tracks", "--step", 1, "--camera", "wrist", code=0)
    droidflow("view", copy, "-o", tmp_path / "original.mcap", code=0)


@pytest.mark.parametrize("verb, name", [("render", "x.png"), ("render", "x.mp4"), ("view", "x.mcap")])
def test_what_a_killed_process_left_is_removed(droidflow, episode, tmp_path, verb, name):
    gone = subprocess.Popen(["true"])
    gone.wait()
    for process in (gone.pid, os.getpid()):
        (tmp_path / f"{name}.tmp-{process}-0").write_bytes(b"half")
    droidflow(verb, episode, "-o", tmp_path / name, "--camera", "wrist", "--every", 6, code=0)
    assert {path.name for path in tmp_path.iterdir()} == {name, f"{name}.tmp-{os.getpid()}-0"}


@pytest.mark.parametrize(
    "flags, code, said",
    [
        (["--camera", "ext7"], 2, "ext7"),
        (["--step", STEPS], 2, f"0 … {STEPS - 1}"),
        (["--step", 3, "-o", "x.mp4"], 2, ".png"),
        (["-o", "x.gif"], 2, ".mp4"),
        (["--every", 0], 2, "every"),
        (["--what", "sound"], 2, "sound"),
    ],
)
def test_wrong_wishes_are_refused(droidflow, episode, tmp_path, flags, code, said):
    flags = [str(tmp_path / f) if f in ("x.mp4", "x.gif") else f for f in flags]
    out = [] if "-o" in flags else ["-o", tmp_path / "x.png"]
    done = droidflow("render", episode, *out, *flags)
    assert done.returncode == code and said in done.stderr, done.stderr
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_episode_is_refused(droidflow, episode, tmp_path):
    assert droidflow("render", tmp_path).returncode == 10
    damaged = shutil.copytree(episode, tmp_path / "damaged")
    data = bytearray((damaged / "tracks.npz").read_bytes())
    data[len(data) // 2] ^= 0xFF
    (damaged / "tracks.npz").write_bytes(data[: len(data) // 2])
    done = droidflow("render", damaged, "-o", tmp_path / "x.png")
    assert done.returncode == 1 and "tracks.npz" in done.stderr
    assert not (tmp_path / "x.png").exists()

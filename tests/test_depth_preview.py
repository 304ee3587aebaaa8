"""`droidflow depth-preview`: what its pictures show of depth that is known."""

from __future__ import annotations

import pathlib
import subprocess

import conftest
import numpy as np
import pytest
from recordings_reference import ffmpeg, have_ffmpeg, probe

WIDTH, HEIGHT, FRAMES = 1280, 720, 10
YELLOW, VIOLET = (253, 231, 37), (68, 1, 84)  # both ends of viridis
NEAR_M, FAR_M = 0.4, 2.4


@pytest.fixture(scope="module", autouse=True)
def need_ffmpeg():
    if not have_ffmpeg():
        conftest._unavailable("no ffmpeg and ffprobe on this machine")


def depth_of(frame: int) -> np.ndarray:
    """Millimetres: a ramp from 0.4 m on the left to 2.4 m on the right, farther in each frame; the
    middle of the picture has no depth."""
    depth = np.linspace(400, 2400, WIDTH) + 10 * frame
    depth = np.tile(np.rint(depth).astype("<u2"), (HEIGHT, 1))
    depth[300:420, 500:700] = 0
    return depth


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> pathlib.Path:
    """Depth as ffmpeg writes it."""
    path = tmp_path_factory.mktemp("depth") / "depth.mkv"
    subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", "gray16le"]
        + ["-s", f"{WIDTH}x{HEIGHT}", "-r", "10", "-i", "-"]
        + ["-c:v", "ffv1", "-level", "3", "-g", "1", "-threads", "1", str(path)],
        input=b"".join(depth_of(i).tobytes() for i in range(FRAMES)),
        check=True,
        timeout=60,
    )
    return path


def pictures(path: pathlib.Path) -> np.ndarray:
    """[F, H, W, 3], as int."""
    stream = probe(path)
    raw = ffmpeg("-i", path, "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-")
    return np.frombuffer(raw, "u1").reshape(-1, stream["height"], stream["width"], 3).astype(int)


def distance(a, b) -> np.ndarray:
    return np.abs(np.asarray(a, int) - np.asarray(b, int)).max(axis=-1)


def bar_of(picture: np.ndarray, tolerance: int = 0) -> np.ndarray:
    """The legend's colours from near to far: of the lowest row with a yellow and a violet pixel,
    what is between them."""
    for row in picture[::-1]:
        yellow = np.flatnonzero(distance(row, YELLOW) <= tolerance)
        violet = np.flatnonzero(distance(row, VIOLET) <= tolerance)
        if len(yellow) and len(violet) and violet[-1] - yellow[0] > 100:
            return row[yellow[0] : violet[-1] + 1]
    raise AssertionError("no legend")


def expected(bar: np.ndarray, depth_mm: np.ndarray, near_m: float, far_m: float) -> np.ndarray:
    """The legend's colours of depths."""
    share = np.clip((depth_mm / 1000 - near_m) / (far_m - near_m), 0, 1)
    return bar[np.rint(share * (len(bar) - 1)).astype(int)]


def place_of_depth(picture: np.ndarray) -> slice:
    """The rows of a picture of full size: above them is its caption, below them the legend."""
    background = picture[0, 0]
    is_depth = (distance(picture, background) > 8).mean(axis=1) > 0.99
    (rows,) = np.nonzero(is_depth)
    assert len(rows) == HEIGHT
    return slice(rows[0], rows[0] + HEIGHT)


def is_gray(colours: np.ndarray, tolerance: int = 0) -> np.ndarray:
    return np.ptp(colours, axis=-1) <= tolerance


def test_colours_are_those_of_the_legend(droidflow, video, tmp_path):
    out = tmp_path / "frame.png"
    report = droidflow.json(
        "depth-preview", video, "-o", out, "--frame", 4, "--near", NEAR_M, "--far", FAR_M
    )
    (picture,) = pictures(out)
    assert report["pictures"] == 1
    assert (report["height"], report["width"]) == picture.shape[:2]
    assert (report["near_m"], report["far_m"]) == (NEAR_M, FAR_M)
    assert report["valid_fraction"] == pytest.approx(1 - 120 * 200 / (WIDTH * HEIGHT))

    depth = depth_of(4)
    shown = picture[place_of_depth(picture)]
    wanted = expected(bar_of(picture), depth, NEAR_M, FAR_M)
    valid = depth > 0
    assert distance(shown, wanted)[valid].max() <= 2
    assert (distance(shown[:, 1:], shown[:, :-1]).max()) > 0
    # What has no depth is hatched in two grays; nothing else is gray.
    assert np.array_equal(is_gray(shown), ~valid)
    grays = np.unique(shown[~valid][:, 0])
    assert len(grays) == 2 and grays[1] - grays[0] >= 40


def test_legend_shows_what_no_depth_looks_like(droidflow, video, tmp_path):
    out = tmp_path / "frame.png"
    droidflow("depth-preview", video, "-o", out, "--frame", 0, code=0)
    (picture,) = pictures(out)
    rows = place_of_depth(picture)
    hatch = np.unique(picture[rows][is_gray(picture[rows])], axis=0)
    legend = picture[rows.stop :]
    assert all((distance(legend, gray) == 0).sum() > 100 for gray in hatch)


def test_scale_by_itself_leaves_outliers_out(droidflow, tmp_path):
    depth = np.full((480, 640), 0.8, "f4")
    depth[:, 320:] = 1.5
    depth[0, :100] = 40
    depth[1, :100] = np.nan
    np.save(tmp_path / "map.npy", depth)
    out = tmp_path / "map.png"
    report = droidflow.json("depth-preview", tmp_path / "map.npy", "-o", out)
    assert 0.7 <= report["near_m"] <= 0.8 and 1.5 <= report["far_m"] <= 1.6
    (picture,) = pictures(out)
    assert picture.shape[1] == 640
    assert (picture[0, 50] == VIOLET).all()
    assert is_gray(picture[1, :100]).all()


def test_sheet_has_moments_of_the_whole_video(droidflow, video, tmp_path):
    out = tmp_path / "sheet.png"
    report = droidflow.json("depth-preview", video, "-o", out, "--near", NEAR_M, "--far", FAR_M)
    assert report["pictures"] == 8
    (picture,) = pictures(out)
    assert 1280 <= picture.shape[1] <= 1320
    # Two columns of four, half the size: the same place of each is a little farther than before.
    half = WIDTH // 2
    gray = is_gray(picture) & (distance(picture, picture[0, 0]) > 8)
    holes = [
        (y, x)
        for y in range(picture.shape[0] - 60)
        for x in np.flatnonzero(gray[y, 1:] & ~gray[y, :-1])
        if gray[y : y + 60, x + 1 : x + 101].all() and not gray[y - 1, x + 1 : x + 101].any()
    ]
    assert len(holes) == 8
    bar = bar_of(picture)
    chosen = [i * (FRAMES - 1) // 7 for i in range(8)]
    for (y, x), frame in zip(sorted(holes), chosen):
        row = picture[y - 20, x + 1 - 250 : x + 1 - 250 + half]
        wanted = expected(bar, depth_of(frame)[0, 1::2], NEAR_M, FAR_M)
        assert distance(row, wanted).max() <= 3


@pytest.mark.parametrize("every", [1, 3])
def test_video_is_one_that_browsers_play(droidflow, video, tmp_path, every):
    out = tmp_path / "depth.mp4"
    flags = ["--near", NEAR_M, "--far", FAR_M, "--every", every]
    report = droidflow.json("depth-preview", video, "-o", out, *flags)
    stream = probe(out)
    assert (stream["codec_name"], stream["pix_fmt"]) == ("h264", "yuv420p")
    assert stream["width"] % 2 == 0 and stream["height"] % 2 == 0
    frames = range(0, FRAMES, every)
    assert report["pictures"] == int(stream["nb_read_packets"]) == len(frames)
    numerator, denominator = map(int, stream["r_frame_rate"].split("/"))
    assert numerator / denominator == pytest.approx(10, rel=0.01)

    shown = pictures(out)
    still = tmp_path / "still.png"
    droidflow("depth-preview", video, "-o", still, *flags[:4], "--frame", 0, code=0)
    (reference,) = pictures(still)
    rows = place_of_depth(reference)
    bar = bar_of(reference)
    for picture, frame in zip(shown, frames):
        depth = depth_of(frame)
        error = distance(picture[rows], expected(bar, depth, NEAR_M, FAR_M))[depth > 0]
        assert np.percentile(error, 95) <= 12, frame


def test_folder_of_maps(droidflow, tmp_path):
    maps = tmp_path / "maps"
    maps.mkdir()
    for i in range(3):
        depth = np.full((48, 64), 1 + i, "f4")
        if i == 1:
            header = f"Pf\n64 48\n-1\n".encode()
            (maps / f"{i}.pfm").write_bytes(header + depth[::-1].tobytes())
        else:
            np.save(maps / f"{i}.npy", depth)
    out = tmp_path / "maps.png"
    report = droidflow.json("depth-preview", maps, "-o", out, "--near", 1, "--far", 3)
    assert report["pictures"] == 3 and report["valid_fraction"] == 1
    (picture,) = pictures(out)
    bar = bar_of(picture)
    for metres in (1, 2, 3):
        colour = expected(bar, np.array([1000 * metres]), 1, 3)[0]
        assert (distance(picture, colour) <= 1).sum() >= 48 * 64


def test_folder_with_one_depth_video(droidflow, video, tmp_path):
    folder = tmp_path / "episode/recordings/20000107"
    folder.mkdir(parents=True)
    (folder / "depth.mkv").symlink_to(video)
    out = tmp_path / "x.png"
    assert droidflow.json("depth-preview", tmp_path / "episode", "-o", out)["pictures"] == 8
    other = tmp_path / "episode/recordings/20000207"
    other.mkdir()
    (other / "depth.mkv").symlink_to(video)
    done = droidflow("depth-preview", tmp_path / "episode", "-o", out, code=2)
    assert "want one depth.mkv, have 2" in done.stderr


def test_says_what_is_wrong_and_writes_nothing(droidflow, video, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "cut.mkv").write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    out, maps = tmp_path / "out", tmp_path / "maps"
    maps.mkdir()
    ffmpeg("-i", video, "-frames:v", 1, "-pix_fmt", "gray16be", maps / "0.png")
    for arguments, code, text in [
        ([tmp_path / "none.mkv", "-o", out / "x.png"], 10, "none.mkv"),
        ([tmp_path / "empty", "-o", out / "x.png"], 10, "no depth.mkv"),
        ([tmp_path / "text.npy", "-o", out / "x.png"], 1, "text.npy"),
        ([tmp_path / "cut.mkv", "-o", out / "x.mp4"], 1, "cut off"),
        ([video, "-o", out / "x.gif"], 2, "x.gif"),
        ([maps, "-o", maps / "0.png"], 2, "a file of its own"),
        ([maps / "0.png", "-o", maps / "0.png"], 2, "a file of its own"),
        ([video, "-o", tmp_path / "text.npy/x.png", "--frame", 0], 1, "cannot make"),
        ([video, "-o", "/proc/none/x.mp4"], 1, "cannot make"),
        ([video, "-o", out / "x.png", "--frame", FRAMES], 2, "have 10"),
        ([video, "-o", out / "x.png", "--near", 2, "--far", 1], 2, "more than 2 m, have 1"),
        ([video, "-o", out / "x.png", "--near", -1], 2, "have -1"),
        ([video, "-o", out / "x.mp4", "--frame", 1], 2, "one frame"),
        ([video, "-o", out / "x.png", "--frame", 1, "--every", 2], 2, "--frame"),
    ]:
        done = droidflow("depth-preview", *arguments, code=code)
        assert text in done.stderr + done.stdout, arguments
    assert not out.exists() or not list(out.iterdir())


def test_dry_run_writes_nothing(droidflow, video, tmp_path):
    out = tmp_path / "x.mp4"
    assert "would write" in droidflow("depth-preview", video, "-o", out, "--dry-run", code=0).stdout
    assert not out.exists()

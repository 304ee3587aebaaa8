"""`verify` of depth: a good episode passes, every kind of damage is told. NumPy is the oracle."""

from __future__ import annotations

import json
import pathlib
import shutil

import numpy as np
import pytest
from conftest import load, quality
from recordings_reference import decode, probe
from test_recordings import Recorded, film, run

STEPS = 12


@pytest.fixture(scope="session")
def filmed(droidflow, tmp_path_factory) -> Recorded:
    folder = tmp_path_factory.mktemp("film") / "stereo"
    return film(droidflow, folder, "stereo", "--resolution", "VGA", steps=STEPS, seed=3)


@pytest.fixture(scope="session")
def finished(droidflow, filmed, tmp_path_factory) -> pathlib.Path:
    """The output folder of an episode with tracks and depth, not to be changed."""
    out = tmp_path_factory.mktemp("finished") / "out"
    folder = run(droidflow, filmed.data, out)
    inputs = ["--episode-id", filmed.episode, *filmed.data.inputs]
    droidflow("depth", *inputs, "--out", out, code=0)
    return folder


@pytest.fixture
def product(finished, tmp_path) -> pathlib.Path:
    """A copy to break."""
    return pathlib.Path(shutil.copytree(finished, tmp_path / "episode"))


@pytest.fixture
def camera(filmed) -> str:
    return filmed.serials()[0]


def edit(path: pathlib.Path, **changes) -> dict:
    """Sets keys of a JSON file; a key set to ... goes."""
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not ...}))
    return values


def verified(droidflow, folder: pathlib.Path, *flags, code: int = 0) -> dict:
    (episode,) = droidflow.json("verify", folder, *flags, code=code)["episodes"]
    assert episode["ok"] == (code == 0)
    return episode


def test_a_finished_episode_passes(droidflow, finished):
    assert verified(droidflow, finished)["problems"] == []
    assert verified(droidflow, finished, "--quick")["wrist_depth"] is None


@pytest.mark.usefixtures("ffmpeg")
def test_ffprobe_reads_the_depth(finished, filmed):
    for serial in filmed.serials():
        stream = probe(finished / "recordings" / serial / "depth.mkv")
        assert stream["codec_name"] == "ffv1" and stream["pix_fmt"] == "gray16le"
        assert (stream["width"], stream["height"]) == (672, 376)
        video = json.loads((finished / "recordings" / serial / "video.json").read_text())
        assert int(stream["nb_read_packets"]) == video["frames"]


def of_points(folder: pathlib.Path) -> tuple[int, np.ndarray]:
    """How many track points the wrist camera has in its image, and measured minus predicted mm."""
    wrist = quality(folder)["wrist_camera"]
    tracks, poses = load(folder / "tracks.npz"), load(folder / "extrinsics.npz")["wrist_extrinsics"]
    meta = json.loads((folder / f"recordings/{wrist}/depth_meta.json").read_text())
    depth_mm = decode(folder / f"recordings/{wrist}/depth.mkv", "gray16le").astype(float)
    height, width = depth_mm.shape[1:]
    points, off_mm = 0, []
    for step, frame in enumerate(meta["step_to_frame"]):
        if frame < 0:
            continue
        to_camera = np.linalg.inv(poses[step])
        z_mm = 1000 * (tracks["tracks_3d"][step] @ to_camera[:3, :3].T + to_camera[:3, 3])[:, 2]
        u, v = np.floor(tracks[f"tracks_2d_{wrist}"][step] + 0.5).T
        inside = (u >= 0) & (v >= 0) & (u < width) & (v < height)
        measured_mm = depth_mm[frame][v[inside].astype(int), u[inside].astype(int)]
        points += inside.sum()
        off_mm.append((measured_mm - z_mm[inside])[measured_mm > 0])
    return points, np.concatenate(off_mm)


def assert_numbers_are_those_of_numpy(found: dict, folder: pathlib.Path) -> None:
    points, off_mm = of_points(folder)
    assert [found[key] for key in ("steps", "points", "measured")] == [
        STEPS - 1,
        points,
        len(off_mm),
    ]
    assert found["median_difference_mm"] == pytest.approx(np.median(off_mm), abs=1e-3)
    near = np.mean(np.abs(off_mm) <= 20)
    assert found["within_20_mm_fraction"] == pytest.approx(near, abs=2 / len(off_mm))


@pytest.mark.usefixtures("ffmpeg")
def test_it_compares_depth_with_the_points_in_the_wrists_view(droidflow, finished):
    assert_numbers_are_those_of_numpy(verified(droidflow, finished)["wrist_depth"], finished)


@pytest.mark.usefixtures("ffmpeg")
def test_points_lie_on_the_true_surface(droidflow, filmed, finished, tmp_path):
    wrist = filmed.serials()[2]
    out = tmp_path / "out"
    folder = out / filmed.episode
    shutil.copytree(finished, folder)
    (tmp_path / "maps" / wrist).mkdir(parents=True)
    truth_mm = decode(next(filmed.truth.rglob(f"{wrist}/depth.mkv")), "gray16le")
    frames = json.loads((folder / f"recordings/{wrist}/video.json").read_text())["frames"]
    for i, frame in enumerate(truth_mm[:frames]):
        np.save(tmp_path / f"maps/{wrist}/{i}.npy", (frame / 1000).astype("<f4"))
    inputs = ["--episode-id", filmed.episode, *filmed.data.inputs, "--cameras", "wrist"]
    backend = ["--backend", f"external:{tmp_path}/maps", "--external-unit", "depth"]
    droidflow("depth", *inputs, *backend, "--min-depth", 0.05, "--out", out, code=0)
    found = verified(droidflow, folder)["wrist_depth"]
    assert_numbers_are_those_of_numpy(found, folder)
    assert found["measured"] == found["points"] > 1000
    assert abs(found["median_difference_mm"]) < 3
    assert found["within_20_mm_fraction"] > 0.5  # of both fingers' pads; the rest is hidden


def truncate(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def flip(path: pathlib.Path) -> None:
    """A bit of a picture in the middle."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def meta(**changes):
    return lambda folder: edit(folder / "depth_meta.json", **changes)


def fraction_in_quality(folder: pathlib.Path, value) -> None:
    path = folder.parents[1] / "quality.json"
    cameras = json.loads(path.read_text())["cameras"]
    cameras[folder.name]["depth_valid_fraction"] = value
    edit(path, cameras=cameras)


def without_depth(folder: pathlib.Path) -> None:
    valid_fraction = json.loads((folder / "depth_meta.json").read_text())["valid_fraction"]
    fraction_in_quality(folder, valid_fraction)
    (folder / "depth.mkv").unlink()
    (folder / "depth_meta.json").unlink()


DAMAGES = {  # what is done to recordings/{serial}, and what must be told
    "a video cut off": (lambda f: truncate(f / "depth.mkv"), ["depth.mkv", "cut off"]),
    "a bit of a video": (lambda f: flip(f / "depth.mkv"), ["depth.mkv", "damaged", "sha256"]),
    "no video": (lambda f: (f / "depth.mkv").unlink(), ["depth.mkv: missing"]),
    "an empty video": (lambda f: (f / "depth.mkv").write_bytes(b""), ["depth.mkv", "Matroska"]),
    "no description": (lambda f: (f / "depth_meta.json").unlink(), ["depth_meta.json: missing"]),
    "half a description": (
        lambda f: (f / "depth_meta.json").write_text("{"),
        ["depth_meta.json: not a JSON object"],
    ),
    "no depth at all": (without_depth, ["depth.mkv: missing", "depth_meta.json: missing"]),
    "a key": (meta(baseline_m=...), ["depth_meta.json: no key baseline_m"]),
    "a hash": (meta(sha256="0" * 64), ["want sha256 000"]),
    "a frame count": (
        meta(frame_count=STEPS),
        ["frame_to_step: want 12 entries", "want 12 frames", "have 11"],
    ),
    "a size": (meta(width=640), ["want 672", "have 640", "want 640x376 px", "have 672x376"]),
    "a range": (meta(max_depth_m=0.5), ["frame 0, pixel (", "want 0 or 200 to 500 mm"]),
    "a share": (meta(valid_fraction=0.5), ["valid_fraction: want 0.8", "have 0.5"]),
    "a step": (meta(step_to_frame=[0] * STEPS), ["step_to_frame: step 1: want 1", "have 0"]),
    "a frame": (meta(frame_to_step=[0] * (STEPS - 1)), ["frame_to_step: frame 1: want 1"]),
    "a time": (meta(timestamps_ms=[1.5]), ["timestamps_ms: want 11 entries, have 1"]),
    "frames said to be missing": (meta(missing_frames=[3]), ["frame 3: want no depth"]),
    "every second frame": (meta(depth_every=2), ["step_to_frame: step 1: want -1", "have 1"]),
    "another share in quality.json": (
        lambda f: fraction_in_quality(f, 0.25),
        ["quality.json", "depth_valid_fraction", "have 0.25"],
    ),
    "another size of the camera": (
        lambda f: edit(f / "intrinsics.json", height=360),
        ["depth_meta.json: height: want 360", "have 376"],
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found(droidflow, product, camera, name):
    damage, words = DAMAGES[name]
    damage(product / "recordings" / camera)
    told = "\n".join(verified(droidflow, product, code=3)["problems"])
    for word in words:
        assert word in told
    assert camera in told


def test_quick_reads_headers_and_checksums_but_not_every_frame(droidflow, product, camera):
    folder = product / "recordings" / camera
    meta(valid_fraction=0.5)(folder)
    verified(droidflow, product, code=3)
    verified(droidflow, product, "--quick")
    flip(folder / "depth.mkv")
    told = verified(droidflow, product, "--quick", code=3)["problems"]
    assert len(told) == 1 and "sha256" in told[0]


def test_an_episode_without_a_wrist_camera_has_nothing_to_compare(droidflow, product):
    edit(product / "quality.json", wrist_camera=None)
    assert verified(droidflow, product)["wrist_depth"] is None


def test_the_share_that_quality_json_says_may_be_that_of_the_video(droidflow, product, camera):
    folder = product / "recordings" / camera
    valid_fraction = json.loads((folder / "depth_meta.json").read_text())["valid_fraction"]
    fraction_in_quality(folder, valid_fraction)
    verified(droidflow, product)

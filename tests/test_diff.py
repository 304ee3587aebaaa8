"""`droidflow diff`: what it says of two trees whose differences are known."""

from __future__ import annotations

import json
import pathlib
import shutil
import subprocess

import numpy as np
import pytest
from conftest import Dataset, load
from full_runs import QUICK
from recordings_reference import ffmpeg as run_ffmpeg
from recordings_reference import probe


@pytest.fixture(scope="module")
def films(synth) -> Dataset:
    return synth(episodes=2, steps=4, seed=8, video="stereo")


@pytest.fixture(scope="module")
def results(droidflow, films, tmp_path_factory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("out")
    droidflow("full", -1, *films.inputs, "--out", out, *QUICK, code=0, timeout=300)
    return out


@pytest.fixture
def pair(results, tmp_path) -> tuple[pathlib.Path, pathlib.Path]:
    return results, pathlib.Path(shutil.copytree(results, tmp_path / "other"))


def first(tree: pathlib.Path) -> pathlib.Path:
    return sorted(tree.glob("*/*/*/*/tracks.npz"))[0].parent


def compare(droidflow, pair, *flags, code: int) -> dict:
    report = droidflow.json("diff", *pair, *flags, code=code)
    assert report["equal"] == (code == 0)
    return report


def differing(report: dict) -> dict[str, dict]:
    return {key: found for key, found in report["values"].items() if found["differing"]}


def test_a_second_run_is_equal(droidflow, films, results, tmp_path):
    again = tmp_path / "again"
    droidflow("full", -1, *films.inputs, "--out", again, *QUICK, code=0, timeout=300)
    report = compare(droidflow, (results, again), code=0)
    assert report["episodes"] == 2
    assert report["only_in_a"] == report["only_in_b"] == []
    keys = report["values"].keys()
    assert {"tracks.npz tracks_3d", "tracks.npz tracks_2d_*", "extrinsics.npz external_*"} <= keys
    assert "recordings/*/depth.mkv" in keys and "quality.json /cameras/*/frames" in keys
    assert report["values"]["tracks.npz tracks_2d_*"] == {"equal": 6, "differing": 0}
    # Only the times are those of one run.
    strict = droidflow.json("diff", results, again, "--all", code=3)
    assert {key.split("/")[1] for key in differing(strict)} <= {"timings_ms", "provenance"}


def test_the_largest_difference_of_numbers_is_found(droidflow, pair):
    folder = first(pair[1])
    tracks = load(folder / "tracks.npz")
    tracks["tracks_3d"][2, 7, 1] += 0.5
    tracks["tracks_3d"][1, 3, 0] -= 0.25
    tracks["fps"] = tracks["fps"] + 2
    np.savez(folder / "tracks.npz", **tracks)
    report = compare(droidflow, pair, code=3)
    found = differing(report)
    assert set(found) == {"tracks.npz tracks_3d", "tracks.npz fps"}
    assert found["tracks.npz tracks_3d"]["largest"] == pytest.approx(0.5, rel=1e-6)
    assert found["tracks.npz tracks_3d"]["equal"] == 1
    assert found["tracks.npz fps"]["largest"] == pytest.approx(2)
    assert found["tracks.npz fps"]["where"] == str(first(pair[0]) / "tracks.npz")


def test_nan_equals_nan_and_nothing_else(droidflow, pair):
    for tree in pair:
        tracks = load(first(tree) / "tracks.npz")
        serial = str(tracks["cameras_with_2d_tracks"][0])
        tracks[f"tracks_2d_{serial}"][0, 0] = np.nan
        target = first(pair[1])
        if tree == pair[1]:
            np.savez(target / "tracks.npz", **tracks)
    found = differing(compare(droidflow, pair, code=3))
    assert found["tracks.npz tracks_2d_*"]["largest"] == "nan"
    twin = pair[1].with_name("twin")
    shutil.copytree(pair[1], twin)
    compare(droidflow, (pair[1], twin), code=0)


def test_other_types_shapes_and_texts_are_told(droidflow, pair):
    folder = first(pair[1])
    tracks = load(folder / "tracks.npz")
    serials = [str(s) for s in tracks["cameras_with_2d_tracks"]]
    tracks["tracks_3d"] = tracks["tracks_3d"].astype("f8")
    tracks["contact_centroids"] = tracks["contact_centroids"][:-1]
    tracks["cameras_with_2d_tracks"] = np.array(serials[::-1])
    tracks["mine"] = np.arange(3)
    del tracks["gripper_positions"]
    np.savez(folder / "tracks.npz", **tracks)
    said = {key: found["what"] for key, found in differing(compare(droidflow, pair, code=3)).items()}
    assert said == {
        "tracks.npz tracks_3d": "<f4 is <f8",
        "tracks.npz contact_centroids": "[4,3] is [3,3]",
        "tracks.npz cameras_with_2d_tracks": said["tracks.npz cameras_with_2d_tracks"],
        "tracks.npz mine": "only in B",
        "tracks.npz gripper_positions": "only in A",
    }
    assert serials[0] in said["tracks.npz cameras_with_2d_tracks"]


def test_values_of_json_are_compared_one_by_one(droidflow, pair):
    folder = first(pair[1])
    quality = json.loads((folder / "quality.json").read_text())
    quality["path_length_mm"] += 3
    quality["outcome"] = "failure"
    quality["timings_ms"] = {"read": 1e9}
    (folder / "quality.json").write_text(json.dumps(quality))
    found = differing(compare(droidflow, pair, code=3))
    assert set(found) == {"quality.json /path_length_mm", "quality.json /outcome"}
    assert found["quality.json /path_length_mm"]["largest"] == pytest.approx(3)
    assert found["quality.json /outcome"]["what"] == '"success" is "failure"'


def test_depth_is_compared_pixel_by_pixel(droidflow, ffmpeg, pair):
    video = sorted(first(pair[1]).glob("recordings/*/depth.mkv"))[0]
    other = video.with_name("other.mkv")
    # 7 mm more in the left half of all frames.
    stream = probe(video)
    shape = -1, stream["height"], stream["width"]
    raw = run_ffmpeg("-i", video, "-fps_mode", "passthrough", "-f", "rawvideo", "-")
    depth = np.frombuffer(raw, "<u2").reshape(shape).copy()
    depth[:, :, : shape[2] // 2] += 7
    subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "rawvideo", "-pix_fmt", "gray16le"]
        + ["-s", f"{shape[2]}x{shape[1]}", "-i", "-", "-c:v", "ffv1", "-level", "3", str(other)],
        input=depth.tobytes(),
        check=True,
    )
    other.replace(video)
    found = differing(compare(droidflow, pair, code=3))
    assert found == {
        "recordings/*/depth.mkv": {
            "equal": 5,
            "differing": 1,
            "largest": 7,
            "where": str(pair[0] / video.relative_to(pair[1])),
        }
    }


def test_what_only_one_has_is_listed(droidflow, pair):
    episodes = sorted(p.parent for p in pair[1].glob("*/*/*/*/tracks.npz"))
    shutil.rmtree(episodes[0])
    (episodes[1] / "notes.txt").write_text("mine")
    report = compare(droidflow, pair, code=3)
    assert report["only_in_a"] == [str(episodes[0].relative_to(pair[1]))]
    assert report["only_in_b"] == [str((episodes[1] / "notes.txt").relative_to(pair[1]))]
    done = droidflow("diff", *pair, code=3)
    assert "only in A: " in done.stdout and "1 episode in both" in done.stdout
    assert droidflow("diff", *pair, "-q", code=3).stdout == ""


def test_two_episodes_may_be_compared(droidflow, pair):
    compare(droidflow, (first(pair[0]), first(pair[1])), code=0)


def test_what_cannot_be_read_is_an_error(droidflow, pair, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert droidflow("diff", pair[0], empty).returncode == 10
    broken = first(pair[1]) / "quality.json"
    broken.write_text("{")
    done = droidflow("diff", *pair)
    assert done.returncode == 1 and str(broken) in done.stderr

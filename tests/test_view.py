"""`droidflow view`: MCAP files as the official reader and JSON Schema take them, against NumPy's view of the results."""

from __future__ import annotations

import base64
import json
import re
import shutil
import sys

import conftest
import from_pypi
import numpy as np
import pytest
from conftest import copy_dataset, load
from recordings_reference import ffmpeg, have_ffmpeg
from test_full import role_of

STEPS = 10
SCHEMAS = {
    "/tf": "foxglove.FrameTransforms",
    "/tracks": "foxglove.PointCloud",
    "/path": "foxglove.SceneUpdate",
    "/status": "foxglove.Log",
    "calibration": "foxglove.CameraCalibration",
    "image": "foxglove.CompressedImage",
    "tracks": "foxglove.ImageAnnotations",
    "depth": "foxglove.RawImage",
}


@pytest.fixture(scope="module")
def read():
    """read(path) -> {topic: [(ns, message)]}, each message valid by its schema."""
    if not have_ffmpeg():
        conftest._unavailable("no ffmpeg and ffprobe on this machine")
    try:
        folder = from_pypi.install("mcap_reader", "mcap>=1.2,<2", "jsonschema>=4.17,<4.18")
    except RuntimeError as error:
        conftest._unavailable(str(error))
    sys.path.insert(0, str(folder))
    try:
        import jsonschema
        from mcap.reader import make_reader
    finally:
        sys.path.remove(str(folder))

    def read(path):
        found: dict[str, list] = {}
        with path.open("rb") as file:
            reader = make_reader(file, validate_crcs=True)
            summary = reader.get_summary()
            checks = {i: jsonschema.Draft7Validator(json.loads(s.data)) for i, s in summary.schemas.items()}
            for schema, channel, message in reader.iter_messages():
                assert (schema.encoding, channel.message_encoding) == ("jsonschema", "json")
                assert schema.name == SCHEMAS[channel.topic if channel.topic in SCHEMAS else channel.topic.split("/")[-1]]
                content = json.loads(message.data)
                checks[schema.id].validate(content)
                assert set(content) == set(json.loads(schema.data)["properties"])
                found.setdefault(channel.topic, []).append((message.log_time, content))
            assert summary.statistics.message_count == sum(map(len, found.values()))
        return found

    return read


@pytest.fixture(scope="module")
def films(synth):
    return synth(episodes=1, steps=STEPS, seed=5, video="stereo")


@pytest.fixture(scope="module")
def episode(droidflow, films, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    quick = ["--backend", "cpu", "--preset", "fast", "--max-disparity", 64]
    droidflow("full", -1, *films.inputs, "--out", out, *quick, code=0, timeout=300)
    return out / films.episodes()[0]


@pytest.fixture(scope="module")
def viewed(droidflow, read, films, episode, tmp_path_factory):
    out = tmp_path_factory.mktemp("view") / "ep.mcap"
    droidflow("view", episode, "-o", out, "--droid-root", films.raw, "--conf-dir", films.conf, "--width", 0, code=0)
    return read(out)


def matrix(transform) -> np.ndarray:
    x, y, z, w = (transform["rotation"][k] for k in "xyzw")
    pose = np.eye(4)
    pose[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    pose[:3, 3] = [transform["translation"][k] for k in "xyz"]
    return pose


def test_poses_and_points_are_those_of_the_results(viewed, films, episode):
    tracks, extrinsics = load(episode / "tracks.npz"), load(episode / "extrinsics.npz")
    serials = role_of(films, films.episodes()[0])
    assert [ns for ns, _ in viewed["/tf"]] == [int(ms) * 10**6 for ms in tracks["timestamps_ms"]]
    for t, (ns, message) in enumerate(viewed["/tf"]):
        poses = {m["child_frame_id"]: m for m in message["transforms"]}
        assert set(poses) == {"contact", *serials}
        assert {(m["parent_frame_id"], m["timestamp"]["sec"] * 10**9 + m["timestamp"]["nsec"]) for m in poses.values()} == {
            ("world", ns)
        }
        np.testing.assert_allclose(matrix(poses["contact"]), tracks["contact_frames"][t], atol=1e-6)
        for role, serial in serials.items():
            wanted = extrinsics["wrist_extrinsics"][t] if role == "wrist" else extrinsics[f"external_{serial}"]
            np.testing.assert_allclose(matrix(poses[role]), wanted, atol=1e-6)
        cloud = viewed["/tracks"][t][1]
        kinds = [f["name"] for f in cloud["fields"]]
        assert kinds == ["x", "y", "z", "red", "green", "blue", "alpha"]
        points = np.frombuffer(base64.b64decode(cloud["data"]), [("xyz", "<f4", 3), ("rgba", "u1", 4)])
        np.testing.assert_array_equal(points["xyz"], tracks["tracks_3d"][t])
        assert len({tuple(c) for c in points["rgba"]}) == 2
        assert (points["rgba"][: len(points) // 2] == points["rgba"][0]).all()


def test_the_way_is_drawn_once(viewed, episode):
    ((_, scene),) = viewed["/path"]
    (entity,) = scene["entities"]
    (line,) = entity["lines"]
    way = load(episode / "tracks.npz")["normalized_centroids"]
    points = np.array([[p[k] for k in "xyz"] for p in line["points"]])
    assert len(line["colors"]) == len(points) > 1
    np.testing.assert_allclose(points[0], way[0], atol=1e-6)
    nearest = np.linalg.norm(points[:, None] - way[None], axis=2).min(axis=1)
    assert nearest.max() < 1e-6


def test_pictures_carry_their_points_and_depth(viewed, films, episode):
    tracks = load(episode / "tracks.npz")
    for role, serial in role_of(films, films.episodes()[0]).items():
        at = f"/camera/{role}"
        width, height = (int(v) for v in tracks[f"image_size_{serial}"])
        calibration = viewed[f"{at}/calibration"][0][1]
        assert (calibration["width"], calibration["height"]) == (width, height)
        np.testing.assert_allclose(calibration["K"], tracks[f"intrinsics_{serial}"].ravel(), atol=1e-9)
        raw = ffmpeg("-i", episode / f"recordings/{serial}/depth.mkv", "-f", "rawvideo", "-pix_fmt", "gray16le", "-")
        depth = np.frombuffer(raw, "<u2").reshape(-1, height, width)
        meta = json.loads((episode / f"recordings/{serial}/depth_meta.json").read_text())
        shown = [(t, f) for t, f in enumerate(meta["step_to_frame"]) if f is not None and f >= 0]
        assert len(viewed[f"{at}/depth"]) == len(shown) > 0
        for (_, frame), (_, image) in zip(shown, viewed[f"{at}/depth"]):
            assert (image["encoding"], image["width"], image["step"]) == ("16UC1", width, 2 * width)
            np.testing.assert_array_equal(np.frombuffer(base64.b64decode(image["data"]), "<u2"), depth[frame].ravel())
        for t, (_, marks) in enumerate(viewed[f"{at}/tracks"]):
            drawn = np.array([[p["x"], p["y"]] for finger in marks["points"] for p in finger["points"]])
            there = tracks[f"tracks_2d_{serial}"][t]
            there = there[np.isfinite(there).all(axis=1)]
            np.testing.assert_allclose(drawn.reshape(-1, 2), there + 0.5, atol=0.006)
        image = viewed[f"{at}/image"][0][1]
        assert image["format"] == "jpeg" and base64.b64decode(image["data"])[:2] == b"\xff\xd8"


def test_smaller_and_fewer(droidflow, read, episode, films, tmp_path):
    out = tmp_path / "small.mcap"
    told = droidflow.json(
        "view", episode, "-o", out, "--droid-root", films.raw, "--conf-dir", films.conf, "--width", 320, "--every", 4, "--camera", "ext1"
    )
    found = read(out)
    assert told["messages"] == sum(map(len, found.values())) and told["bytes"] == out.stat().st_size
    assert told["steps"] == len(found["/tf"]) == 3 and told["notes"] == []
    assert {topic.split("/")[2] for topic in found if topic.startswith("/camera")} == {"ext1"}
    calibration = found["/camera/ext1/calibration"][0][1]
    tracks = load(episode / "tracks.npz")
    serial = tracks["cameras_with_2d_tracks"][0]
    scale = 320 / tracks[f"image_size_{serial}"][0]
    fx, _, cx, *_ = tracks[f"intrinsics_{serial}"].ravel()
    assert calibration["K"][0] == pytest.approx(fx * scale) and calibration["K"][2] == pytest.approx((cx + 0.5) * scale - 0.5)
    picture = base64.b64decode(found["/camera/ext1/image"][0][1]["data"])
    (tmp_path / "a.jpg").write_bytes(picture)
    assert len(ffmpeg("-i", tmp_path / "a.jpg", "-f", "rawvideo", "-pix_fmt", "gray", "-")) == 320 * calibration["height"]


def test_without_recordings_it_says_so(droidflow, read, episode, tmp_path):
    done = droidflow("view", episode, "-o", tmp_path / "bare.mcap", code=0)
    assert done.stderr.count("--droid-root") == 3
    found = read(tmp_path / "bare.mcap")
    assert not any(topic.endswith("/image") for topic in found)
    assert sum("--droid-root" in message["message"] for _, message in found["/status"]) == 3


def test_what_is_damaged_is_said_in_the_log(droidflow, read, films, episode, tmp_path):
    data = copy_dataset(films, tmp_path / "data")
    copy = shutil.copytree(episode, tmp_path / "copy")
    serial = role_of(films, films.episodes()[0])["ext1"]
    video = json.loads((copy / f"recordings/{serial}/video.json").read_text())
    recording, depth = data.raw / data.episodes()[0] / video["file"], copy / f"recordings/{serial}/depth.mkv"
    for path in (recording, depth):
        path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 5])
    quality = json.loads((copy / "quality.json").read_text())
    quality["warnings"] = [{"code": "recording_broken", "text": "it ends early"}]
    (copy / "quality.json").write_text(json.dumps(quality))
    out = tmp_path / "ep.mcap"
    flags = ["--droid-root", data.raw, "--conf-dir", data.conf, "--camera", "ext1", "--width", 160]
    told = droidflow.json("view", copy, "-o", out, *flags)
    found = read(out)
    said = [message["message"] for _, message in found["/status"]]
    assert "recording_broken: it ends early" in said
    (of_depth,) = [note for note in told["notes"] if str(depth) in note]
    (of_recording,) = [note for note in told["notes"] if str(recording) in note]
    assert of_depth in said and of_recording in said
    filmed = sum(frame is not None and frame >= 0 for frame in video["step_to_frame"])
    missing = int(re.search(r"(\d+) of \d+ wanted frames cannot be read", of_recording)[1])
    assert 0 < missing == filmed - len(found["/camera/ext1/image"])
    assert len(found["/camera/ext1/tracks"]) == STEPS and "/camera/ext1/depth" not in found


def test_refuses_what_it_cannot_write(droidflow, episode, tmp_path):
    assert ".mcap" in droidflow("view", episode, "-o", tmp_path / "x.txt", code=2).stderr
    assert "no camera" in droidflow("view", episode, "-o", tmp_path / "x.mcap", "--camera", "left", code=2).stderr
    droidflow("view", tmp_path / "none", "-o", tmp_path / "x.mcap", code=10)
    assert list(tmp_path.iterdir()) == []


def test_rerun_takes_the_python_package(droidflow, episode, tmp_path):
    """What it writes python/tests/test_rrd.py reads."""
    env = {"DROIDFLOW_PYTHON": sys.executable, "PYTHONPATH": str(tmp_path)}
    (tmp_path / "droidflow.py").write_text("import sys; print(sys.argv[1:]); sys.exit(7)")
    flags = ["--camera", "ext1,wrist", "--every", 3, "--droid-root", tmp_path]
    done = droidflow("view", episode, "--rrd", "ep.rrd", *flags, code=7, env=env)
    words = ["view", str(episode), "-o", "ep.rrd", "--droid-root", str(tmp_path)]
    assert done.stdout.strip() == str([*words, "--camera=ext1,wrist", "--width=640", "--every=3"])
    (tmp_path / "droidflow.py").unlink()
    assert "pip install" in droidflow("view", episode, "--rrd", "ep.rrd", code=1, env=env).stderr

"""`droidflow check`: labels that are right, and labels that are wrong by a known amount."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import sqlite3

import numpy as np
import pytest
from conftest import Dataset

STEPS = 60
LATE = 2


@pytest.fixture(scope="module")
def make(droidflow, tmp_path_factory):
    """make(…flags of synth) -> raw data and results of one episode."""

    def run(*flags, steps=STEPS, seed=5) -> tuple[pathlib.Path, pathlib.Path]:
        folder = tmp_path_factory.mktemp("check") / "data"
        droidflow("synth", folder, "--episodes", 1, "--steps", steps, "--seed", seed,
                  "--resolution", "VGA", *flags, code=0, timeout=300)  # fmt: skip
        data = Dataset(folder / "annotations", folder / "conf", folder / "raw")
        droidflow("metadata", 1, *data.inputs, "--points", 48, "--out", folder / "out", code=0)
        return data.raw, folder / "out"

    return run


@pytest.fixture(scope="module")
def late(make):
    """Pictures that come late, and labels that are right otherwise."""
    return make("--video", "mono", "--time-offset-frames", LATE)


@pytest.fixture(scope="module")
def checked(droidflow, late) -> dict:
    raw, out = late
    [told] = droidflow.json("check", out, "--droid-root", raw, "--dry-run")
    return told


def episode_of(out: pathlib.Path) -> pathlib.Path:
    [folder] = [path.parent for path in out.rglob("quality.json")]
    return folder


def external(told: dict) -> list[dict]:
    return [camera for camera in told["cameras"].values() if camera["role"] != "wrist"]


def test_right_labels_score_high_and_wrong_ones_low(droidflow, late, checked, tmp_path):
    raw, out = late
    scores = [[camera["score"] for camera in external(checked)]]
    for metres in (0.02, 0.05):
        wrong = tmp_path / f"{metres}"
        shutil.copytree(out, wrong)
        path = episode_of(wrong) / "extrinsics.npz"
        arrays = dict(np.load(path))
        for name, pose in arrays.items():
            if name.startswith("external_") and pose.ndim == 2:
                pose[:3, 3] += metres * pose[:3, 0]  # to the camera's right
        np.savez(path, **arrays)
        [told] = droidflow.json("check", wrong, "--droid-root", raw, "--dry-run")
        scores.append([camera["score"] for camera in external(told)])
        for camera in external(told):
            assert camera["shift_mm"] == pytest.approx(1000 * metres, rel=0.3)
    assert min(scores[0]) > 0.9
    assert max(scores[1]) < 0.75
    assert (np.diff(np.array(scores), axis=0) < 0).all()
    assert checked["score"] == min(scores[0])


def test_raw_recordings_are_compared_as_the_factorys_calibration_rectifies_them(droidflow, make, tmp_path):
    raw, out = make("--video", "svo2", steps=36, seed=8)
    conf = raw.parent / "conf"
    flags = ["check", out, "--droid-root", raw, "--dry-run"]
    [told] = droidflow.json(*flags, "--conf-dir", conf)
    assert min(camera["score"] for camera in external(told)) > 0.9
    # By other lenses the same pictures are elsewhere.
    for path in conf.glob("SN*.conf"):
        text = re.sub(r"^(f[xy])=(.*)$", lambda m: f"{m[1]}={0.7 * float(m[2])}", path.read_text(), flags=re.M)
        (tmp_path / path.name).write_text(text)
    [wrong] = droidflow.json(*flags, "--conf-dir", tmp_path)
    assert max(camera["score"] for camera in external(wrong)) < 0.7
    [bare] = droidflow.json(*flags)
    for camera in bare["cameras"].values():
        assert camera["score"] is None
        assert any("not rectified, want --conf-dir" in note for note in camera["notes"])


def test_someone_who_walks_by_hardly_lowers_a_score(droidflow, make):
    raw, out = make("--video", "mono", "--passer-by", steps=36, seed=8)
    [told] = droidflow.json("check", out, "--droid-root", raw, "--dry-run")
    assert min(camera["score"] for camera in external(told)) > 0.85


def test_how_late_pictures_are_is_told(checked):
    for camera in checked["cameras"].values():
        assert camera["time_offset_frames"] == pytest.approx(LATE, abs=0.5)


def test_synth_writes_wrong_poses_of_cameras_that_stand_where_they_stood(make):
    cm, degrees = 3, 4
    _, right = make()
    _, wrong = make("--extrinsics-error-cm", cm, "--extrinsics-error-deg", degrees)
    right, wrong = (np.load(episode_of(out) / "extrinsics.npz") for out in (right, wrong))
    poses = [name for name in right.files if name.startswith("external_") and right[name].ndim == 2]
    assert len(poses) == 2
    for name in poses:
        moved = wrong[name][:3, 3] - right[name][:3, 3]
        assert np.linalg.norm(moved) == pytest.approx(cm / 100, abs=1e-6)
        turn = right[name][:3, :3].T @ wrong[name][:3, :3]
        assert np.rad2deg(np.arccos((np.trace(turn) - 1) / 2)) == pytest.approx(degrees, abs=1e-3)


def test_quality_json_tells_what_was_found_and_everything_else_as_before(droidflow, late, tmp_path):
    raw, out = late
    here = tmp_path / "out"
    shutil.copytree(out, here)
    before = json.loads((episode_of(here) / "quality.json").read_text())
    [told] = droidflow.json("check", here, "--droid-root", raw)
    after = json.loads((episode_of(here) / "quality.json").read_text())
    del told["directory"]
    assert after.pop("check") == told
    assert after == before
    assert told["method"] == "gripper_overlap"
    droidflow("verify", here, code=0)
    assert droidflow.json("stats", here, "--min-check", 0.5)["episodes"] == 1
    droidflow("stats", out, "--min-check", 0.0, code=10)


def test_what_cannot_be_measured_again_is_kept(droidflow, late, tmp_path):
    raw, finished = late
    out = shutil.copytree(finished, tmp_path / "out")
    droidflow("check", out, "--droid-root", raw, code=0)
    measured = json.loads((episode_of(out) / "quality.json").read_text())["check"]
    cut = shutil.copytree(raw, tmp_path / "cut")
    for path in cut.rglob("*.mp4"):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 4])
    for words in ([], ["--droid-root", tmp_path], ["--droid-root", cut]):
        droidflow("check", out, *words, code=0)
        kept = json.loads((episode_of(out) / "quality.json").read_text())["check"]
        assert kept["score"] == measured["score"]
        for serial, camera in kept["cameras"].items():
            assert any("what was measured before is kept" in note for note in camera.pop("notes"))
            assert camera == {k: v for k, v in measured["cameras"][serial].items() if k != "notes"}
    fresh = shutil.copytree(finished, tmp_path / "fresh")
    [told] = droidflow.json("check", fresh, "--droid-root", cut)
    assert all(any(re.search("the recording ends before|cut off|cannot", n) for n in camera["notes"])
               for camera in told["cameras"].values()), told  # fmt: skip
    done = droidflow("check", out, "--droid-root", tmp_path / "nowhere", code=10)
    assert "no such folder" in done.stderr and str(tmp_path / "nowhere") in done.stderr


def test_a_damaged_episode_leaves_the_others(droidflow, late, tmp_path):
    raw, finished = late
    for lab in ("A", "B", "C"):
        shutil.copytree(finished, tmp_path / "out" / lab)
    damaged = episode_of(tmp_path / "out/B")
    (damaged / "tracks.npz").write_bytes((damaged / "tracks.npz").read_bytes()[:1000])
    words = ("check", tmp_path / "out", "--droid-root", raw, "--dry-run", "--json")
    done = droidflow(*words, code=3)
    assert str(damaged) in done.stderr
    told = json.loads(done.stdout)
    assert [bool(entry.get("cameras")) for entry in told] == [True, False, True]
    assert "tracks.npz" in told[1]["error"] and told[1]["directory"] == str(damaged)


def test_labels_of_capture_times_are_compared_at_these(droidflow, late, tmp_path):
    """Of all cameras alike: synth's pictures show the step, 56 ms after they say they were taken."""
    raw, _ = late
    data = Dataset(raw.parent / "annotations", raw.parent / "conf", raw)
    late_steps = {}
    for when in ("step", "capture"):
        words = ["--points", 48, "--pose-time", when, "--out", tmp_path / when]
        droidflow("metadata", 1, *data.inputs, *words, code=0)
        [told] = droidflow.json("check", tmp_path / when, "--droid-root", raw, "--dry-run")
        late_steps[when] = [c["time_offset_frames"] for c in told["cameras"].values()]
    moved = np.subtract(late_steps["step"], late_steps["capture"])
    assert np.ptp(moved) < 0.4 and moved.min() > 0.3, late_steps


def test_a_run_takes_checked_episodes_as_done_and_uploads_them_anew(droidflow, make, tmp_path):
    raw, out = make()
    hub = tmp_path / "hub"
    droidflow("upload", out, "--hub", f"file:{hub}", "--keep-uploaded", code=0)
    episode = episode_of(out)
    droidflow("check", episode, code=0)
    inputs = ["--droid-root", raw, "--annotations", raw.parent / "annotations", "--conf-dir", raw.parent / "conf"]
    again = droidflow.json("metadata", 1, *inputs, "--points", 48, "--out", out)
    assert "check" in json.loads((episode / "quality.json").read_text()), again
    with sqlite3.connect(out / ".droidflow" / "run.sqlite") as store:
        assert store.execute("SELECT attempts FROM task").fetchall() == [(1,)]
    droidflow("upload", out, "--hub", f"file:{hub}", "--keep-uploaded", code=0)
    [uploaded] = hub.rglob("quality.json")
    assert "check" in json.loads(uploaded.read_text())


def test_episodes_below_the_wanted_score_are_named(droidflow, late):
    raw, out = late
    droidflow("check", out, "--droid-root", raw, "--dry-run", "--min-check", 0.5, code=0)
    said = droidflow("check", out, "--dry-run", "--min-check", 0.5, code=3)
    assert "1 of 1 below a score of 0.5" in said.stderr
    assert "the recording takes --droid-root" in said.stderr


def test_depth_tells_how_far_off_labels_are_and_which_points_are_seen(droidflow, late, tmp_path):
    raw, out = late
    shutil.copytree(out, tmp_path / "out")
    episode = episode_of(tmp_path / "out")
    shape = np.load(episode / "tracks.npz")["tracks_3d"].shape
    truth = next((raw.parent / "truth").glob("*/*/*/*/recordings"))
    quality = json.loads((episode / "quality.json").read_text())
    for serial in quality["external_cameras"]:
        folder = episode / "recordings" / serial
        shutil.copy(truth / serial / "depth.mkv", folder)
        # The frame that shows the robot as it was at each step.
        frames = [t + LATE if t + LATE < STEPS - 1 else -1 for t in range(STEPS)]
        (folder / "depth_meta.json").write_text(json.dumps({"step_to_frame": frames}))
    [told] = droidflow.json("check", episode)
    for serial in quality["external_cameras"]:
        camera = told["cameras"][serial]
        assert abs(camera["depth_error_mm"]) < 10
        assert camera["depth_within_2cm"] > 0.7
        visible = np.load(episode / "recordings" / serial / "visibility.npz")["visibility"]
        assert visible.dtype == np.uint8
        assert visible.shape == shape[:2]
        assert set(np.unique(visible)) <= {0, 1, 2}
        assert camera["visible_fraction"] == pytest.approx((visible == 1).sum() / (visible != 2).sum(), abs=1e-4)

    path = episode / "extrinsics.npz"
    arrays = dict(np.load(path))
    for name, pose in arrays.items():
        if name.startswith("external_") and pose.ndim == 2:
            pose[:3, 3] -= 0.04 * pose[:3, 2]  # back: all seems farther away than it is
    np.savez(path, **arrays)
    [moved] = droidflow.json("check", episode, "--dry-run")
    for serial in quality["external_cameras"]:
        told_mm = told["cameras"][serial]["depth_error_mm"]
        assert moved["cameras"][serial]["depth_error_mm"] == pytest.approx(told_mm - 40, abs=8)
        assert moved["cameras"][serial]["depth_within_2cm"] < 0.3

    # Where depth begins behind the gripper, what was measured in its place is not the gripper.
    path = episode / "recordings" / serial / "depth_meta.json"
    path.write_text(json.dumps({"step_to_frame": frames, "min_depth_m": 5}))
    [beyond] = droidflow.json("check", episode, "--dry-run")
    assert beyond["cameras"][serial]["depth_error_mm"] is None
    assert "beyond 5.00 m" in " ".join(beyond["cameras"][serial]["notes"])


def test_episodes_below_the_wanted_score_are_not_uploaded(droidflow, make, tmp_path):
    _, out = make()
    flags = ["--hub", f"file:{tmp_path / 'hub'}", "--dry-run"]
    assert droidflow.json("upload", out, *flags)["episodes"] == 1
    assert droidflow.json("upload", out, *flags, "--min-check", 0.5)["episodes"] == 0
    path = episode_of(out) / "quality.json"
    quality = json.loads(path.read_text())
    path.write_text(json.dumps({**quality, "check": {"score": 0.7}}))
    assert droidflow.json("upload", out, *flags, "--min-check", 0.5)["episodes"] == 1
    assert droidflow.json("upload", out, *flags, "--min-check", 0.8)["episodes"] == 0

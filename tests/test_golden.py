"""`droidflow metadata` on known episodes: against the original pipeline's output, against
tests/reference.py where the original has none, and against the written output format."""

from __future__ import annotations

import json
import math
import os
import pathlib
import re
import shutil
import struct
import sys
import zipfile

import h5py
import numpy as np
import pytest
import reference
from conftest import POINTS_KEY, content, copy_dataset, load, products, quality

AUTOLAB = "AUTOLab/success/2023-07-07/Fri_Jul__7_09:42:23_2023"
IRIS = "IRIS/success/2023-03-07/Tue_Mar__7_16_19_59_2023"
REAL = "REAL/success/2023-06-19/Mon_Jun_19_19:24:15_2023"
RPL = "RPL/success/2023-04-26/Wed_Apr_26_18:09:40_2023"
TRI = "TRI/success/2023-11-03/Fri_Nov__3_12:35:07_2023"
RECORDED = "AUTOLab/success/2023-08-12/Sat_Aug_12_16:26:07_2023"  # by a real robot

EPISODES = [AUTOLAB, IRIS, REAL, RPL, TRI, RECORDED]
WITH_EXPECTED = [e for e in EPISODES if e != IRIS]


@pytest.fixture
def dataset_of(golden, real):
    return lambda episode: real if episode == RECORDED else golden


@pytest.fixture
def reference_episode(dataset_of):
    def read(episode: str) -> reference.Episode:
        data = dataset_of(episode)
        return reference.load_episode(data.raw / episode, data.raw, data.annotations)

    return read


@pytest.fixture
def compat(runs, dataset_of, original_points):
    """The output folder of one episode, processed as the original would."""
    flags = ("--compat", "original", "--contact-points", original_points)
    return lambda episode: runs(dataset_of(episode), *flags) / episode


@pytest.fixture
def default(runs, dataset_of):
    """The output folder of one episode, processed with the defaults."""
    return lambda episode: runs(dataset_of(episode)) / episode


def members(folder: pathlib.Path) -> dict[str, np.ndarray]:
    return load(folder / "tracks.npz")


# ----------------------------------------------------------------------------- the oracle is judged


@pytest.mark.parametrize("episode", WITH_EXPECTED)
def test_the_reference_agrees_with_the_original(episode, dataset_of, reference_episode):
    expected = dataset_of(episode).expected / episode
    with np.load(expected / "tracks.npz", allow_pickle=True) as archive:
        tracks = dict(archive)
    tracks_have, extrinsics_have = reference.compute(
        reference_episode(episode), tracks[POINTS_KEY], reference.Options.original()
    )
    assert reference.differences(tracks_have, tracks) == []
    assert reference.differences(extrinsics_have, load(expected / "extrinsics.npz")) == []


@pytest.mark.parametrize("joint_max_rad, gap_mm", [(0.725, 0.6), (0.722, 1.0), (0.8, -7.9)])
def test_the_reference_closes_the_pads_to_the_stated_gap(joint_max_rad, gap_mm):
    points = reference.pad_grid(480)
    closed = [
        reference.transform(reference.finger_in_gripper(side, np.array([joint_max_rad])), points)[0]
        for side in ("left", "right")
    ]
    assert (closed[0] - closed[1])[:, 0].mean() * 1000 == pytest.approx(gap_mm, abs=0.1)


# ---------------------------------------------------------------------- agreement with the original


@pytest.mark.parametrize("episode", WITH_EXPECTED)
def test_compat_tracks_agree_in_every_key(episode, compat, dataset_of):
    with np.load(
        dataset_of(episode).expected / episode / "tracks.npz", allow_pickle=True
    ) as archive:
        assert reference.differences(members(compat(episode)), dict(archive)) == []


@pytest.mark.parametrize("episode", WITH_EXPECTED)
def test_compat_extrinsics_agree_in_every_key(episode, compat, dataset_of):
    want = load(dataset_of(episode).expected / episode / "extrinsics.npz")
    assert reference.differences(load(compat(episode) / "extrinsics.npz"), want) == []


@pytest.mark.parametrize("episode", WITH_EXPECTED)
def test_compat_quality_holds_the_originals_keys_verbatim(episode, compat, dataset_of):
    want, have = quality(dataset_of(episode).expected / episode), quality(compat(episode))
    assert {key: have.get(key) for key in want} == want
    (uuid,) = want["cam2base_calibration"]
    entry = have["cam2base_calibration"][uuid]
    assert list(entry) == list(want["cam2base_calibration"][uuid]), "the entry's own order is kept"


@pytest.mark.parametrize("episode", EPISODES)
def test_compat_intrinsics_agree(episode, compat, dataset_of):
    expected = sorted((dataset_of(episode).expected / episode).glob("recordings/*/intrinsics.json"))
    assert len(expected) == 3
    for path in expected:
        serial, want = path.parent.name, json.loads(path.read_text())
        have = json.loads((compat(episode) / "recordings" / serial / "intrinsics.json").read_text())
        assert {key: have.get(key) for key in want} == pytest.approx(want, abs=1e-9), serial
        assert have["source"] == "annotations"


@pytest.mark.parametrize("episode", EPISODES)
def test_baselines_come_from_the_conf_file_else_from_the_two_lenses(episode, compat, dataset_of):
    data = dataset_of(episode)
    for path in sorted(compat(episode).glob("recordings/*/intrinsics.json")):
        have, serial = json.loads(path.read_text()), path.parent.name
        conf = data.conf / f"SN{serial}.conf"
        if conf.exists():
            want_m = float(re.search(r"^Baseline=([\d.]+)", conf.read_text(), re.M)[1]) / 1000
        else:
            with h5py.File(data.raw / episode / "trajectory.h5") as file:
                left, right = (
                    file[f"observation/camera_extrinsics/{serial}_{e}"][0]
                    for e in ("left", "right")
                )
            want_m = np.linalg.norm(left[:3] - right[:3])
            assert abs(want_m / 0.12 - 1) < 0.1
        assert have["baseline_m"] == pytest.approx(want_m, abs=1e-6), serial
        assert have["baseline_source"] == ("conf" if conf.exists() else "trajectory")


def test_an_episode_the_original_could_not_find_is_done(compat, reference_episode, original_points):
    tracks, extrinsics = reference.compute(
        reference_episode(IRIS), np.load(original_points), reference.Options.original()
    )
    assert reference.differences(members(compat(IRIS)), tracks) == []
    assert reference.differences(load(compat(IRIS) / "extrinsics.npz"), extrinsics) == []
    assert quality(compat(IRIS))["episode_id"] == "IRIS+ef107c48+2023-03-07-16h-19m-59s"


# ----------------------------------------------------------------------- the defaults and the flags


@pytest.mark.parametrize("episode", EPISODES)
def test_defaults_agree_with_the_reference(episode, default, reference_episode):
    tracks, extrinsics = reference.compute(reference_episode(episode), reference.pad_grid(480))
    have = members(default(episode))
    assert have["num_points_per_finger"] == 480
    assert have["gripper_joint_max_rad"] == 0.725
    assert reference.differences(have, tracks) == []
    assert reference.differences(load(default(episode) / "extrinsics.npz"), extrinsics) == []


def test_fps_is_measured_where_the_file_has_timestamps(default):
    assert members(default(RECORDED))["fps"] == pytest.approx(14.12, abs=0.005)
    assert members(default(RPL))["fps"] == 15.0, "one step has no duration"


def test_timestamps_are_those_of_the_steps(default, reference_episode):
    want = reference_episode(RECORDED).step_start_ms
    have = members(default(RECORDED))["timestamps_ms"]
    assert have.dtype == np.int64 and np.array_equal(have, want)


def test_a_path_shorter_than_the_step_keeps_its_two_ends(runs, golden):
    """1.47 mm of path at a step of 2 mm: worked by hand, no reference."""
    have = members(runs(golden, "--step-mm", 2) / REAL)
    assert have["normalized_step_size_mm"] == 2.0
    assert have["num_normalized_steps"] == 2
    assert have["frame_to_normalized_idx"].tolist() == [0] * 20 + [1] * 20
    pairs = {
        "normalized_tracks_3d": "tracks_3d",
        "normalized_centroids": "contact_centroids",
        "normalized_frames": "contact_frames",
        "normalized_left_frames": "left_contact_frames",
        "normalized_right_frames": "right_contact_frames",
    }
    for normalized, plain in pairs.items():
        assert np.allclose(have[normalized], have[plain][[0, -1]], rtol=0, atol=1e-6), normalized


@pytest.mark.parametrize("episode", [AUTOLAB, TRI, RECORDED])
def test_other_steps_agree_with_the_reference(episode, runs, dataset_of, reference_episode):
    have = members(runs(dataset_of(episode), "--step-mm", 2) / episode)
    want, _ = reference.compute(
        reference_episode(episode), reference.pad_grid(480), reference.Options(step_mm=2.0)
    )
    assert reference.differences(have, want) == []


@pytest.mark.parametrize("episode", [AUTOLAB, TRI, RECORDED])
def test_resampled_rows_lie_evenly_and_include_both_ends(episode, default):
    have = members(default(episode))
    centroids = have["normalized_centroids"].astype(float)
    chords_mm = np.linalg.norm(np.diff(centroids, axis=0), axis=1) * 1000
    length_mm = have["cumulative_distance_mm"][-1]
    assert chords_mm.max() <= length_mm / (len(centroids) - 1) + 1e-3 <= 1.0 + 1e-3
    assert np.allclose(centroids[[0, -1]], have["contact_centroids"][[0, -1]], rtol=0, atol=2e-6)


@pytest.mark.parametrize("key", reference.FRAMES[:-2])
def test_stored_rotations_are_rotations(key, default):
    R = members(default(TRI))[key][:, :3, :3].astype(float)
    assert np.abs(R @ R.transpose(0, 2, 1) - np.eye(3)).max() < 1e-6
    assert np.linalg.det(R).min() > 0


def test_fps_and_max_frames_are_taken_from_the_flags(runs, golden, reference_episode):
    have = members(runs(golden, "--fps", 12.5, "--max-frames", 25) / AUTOLAB)
    options = reference.Options(fps=12.5, max_frames=25)
    want, _ = reference.compute(reference_episode(AUTOLAB), reference.pad_grid(480), options)
    assert have["num_frames"] == 25
    assert reference.differences(have, want) == []


@pytest.mark.parametrize("points", [24, 96, 960])
def test_other_counts_of_points_fill_the_same_pad(points, runs, golden):
    have = members(runs(golden, "--points", points) / RPL)
    assert np.allclose(have[POINTS_KEY], reference.pad_grid(points), rtol=0, atol=1e-12)


def test_a_count_with_long_cells_is_refused_and_the_nearest_good_one_named(
    droidflow, golden, tmp_path
):
    with pytest.raises(ValueError, match="2:1"):
        reference.pad_grid(23)
    done = droidflow("metadata", *golden.inputs, "--out", tmp_path / "out", "--points", 23, code=2)
    assert re.search(r"\b24\b", done.stderr), done.stderr


def test_contact_points_replace_the_count(runs, golden, original_points):
    have = members(runs(golden, "--contact-points", original_points, "--points", 480) / RPL)
    assert have["num_points_per_finger"] == 48


def test_a_finger_mesh_is_sampled_over_its_pad(droidflow, runs, golden, shared, tmp_path):
    mesh = shared / "data/meshes/inner_finger_fine.STL"
    flags = ("--finger-mesh", mesh, "--points", 480)
    points = members(runs(golden, *flags) / RPL)[POINTS_KEY]
    assert points.shape == (480, 3)
    assert np.allclose(points[:, 0], reference.PAD_X_M, rtol=0, atol=1e-5)
    for axis, (low, high) in ((1, reference.PAD_Y_M), (2, reference.PAD_Z_M)):
        assert points[:, axis].min() > low - 1e-6 and points[:, axis].max() < high + 1e-6
        # Uniform over a rectangle: the mean is its centre, the spread its width / sqrt(12).
        assert points[:, axis].mean() == pytest.approx((low + high) / 2, abs=0.02 * (high - low))
        assert points[:, axis].std() == pytest.approx((high - low) / 12**0.5, rel=0.05)

    again = tmp_path / "out"
    uuid = golden.uuid(pathlib.Path(RPL))
    droidflow("metadata", *golden.inputs, "--out", again, "--episodes", uuid, *flags, code=0)
    assert np.array_equal(members(again / RPL)[POINTS_KEY], points)


def test_an_ascii_mesh_gives_the_points_of_the_binary_one(runs, golden, shared, tmp_path):
    binary = shared / "data/meshes/inner_finger_fine.STL"
    facet = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    facets = np.frombuffer(binary.read_bytes()[84:], facet)
    lines = ["solid finger"]
    for normal, corners in zip(facets["normal"], facets["corners"]):
        lines += ["facet normal {:.9g} {:.9g} {:.9g}".format(*normal), " outer loop"]
        lines += ["  vertex {:.9g} {:.9g} {:.9g}".format(*corner) for corner in corners]
        lines += [" endloop", "endfacet"]
    text = tmp_path / "finger.stl"
    text.write_text("\n".join([*lines, "endsolid finger\n"]))
    have = [
        members(runs(golden, "--finger-mesh", m, "--points", 480) / RPL)[POINTS_KEY]
        for m in (binary, text)
    ]
    assert np.array_equal(*have)


def test_points_behind_a_camera_are_nan_and_only_those(runs, golden, reference_episode):
    episode = reference_episode(TRI)
    camera = next(c for c in episode.externals if c.serial == "29838012")
    for flags, limit_m in ((("--min-point-depth", 0.3), 0.3), ((), 0.01)):
        have = members(runs(golden, *flags) / TRI)
        T_cam_base = np.linalg.inv(reference.pose_matrix(camera.pose))
        depth_m = reference.transform(T_cam_base, have["tracks_3d"].astype(float))[..., 2]
        clear = np.abs(depth_m - limit_m) > 1e-5  # away from the limit, where float32 cannot decide
        hidden = np.isnan(have["tracks_2d_29838012"])
        assert np.array_equal(hidden[..., 0], hidden[..., 1])
        assert np.array_equal(hidden[clear, 0], depth_m[clear] <= limit_m)
        assert hidden.any() and not hidden.all()


@pytest.mark.parametrize("episode", [AUTOLAB, RPL, RECORDED])
def test_capture_time_moves_pixels_and_the_wrist_camera_only(
    episode, runs, default, dataset_of, reference_episode
):
    folder = runs(dataset_of(episode), "--pose-time", "capture") / episode
    have, extrinsics = members(folder), load(folder / "extrinsics.npz")
    options = reference.Options(pose_time="capture")
    tracks_want, extrinsics_want = reference.compute(
        reference_episode(episode), reference.pad_grid(480), options
    )
    assert reference.differences(have, tracks_want) == []
    assert reference.differences(extrinsics, extrinsics_want) == []

    at_step = members(default(episode))
    moved = {key for key in at_step if have[key].tobytes() != at_step[key].tobytes()}
    assert all(key.startswith("tracks_2d_") for key in moved), moved
    assert bool(moved) == (episode != RPL), "a single step has nothing to interpolate"


# ------------------------------------------------------------------------------ cameras and sources


@pytest.mark.parametrize("episode", EPISODES)
def test_externals_keep_the_annotations_order_and_the_wrist_is_last(episode, default, dataset_of):
    data = dataset_of(episode)
    have = quality(default(episode))
    annotation = json.loads((data.annotations / "cam2base_extrinsic_superset.json").read_text())
    serials = [key for key in annotation[have["episode_id"]] if key.isdigit()]
    assert have["external_cameras"] == serials
    assert have["cameras_with_2d_tracks"] == [*serials, have["wrist_camera"]]
    assert (
        members(default(episode))["cameras_with_2d_tracks"].tolist()
        == have["cameras_with_2d_tracks"]
    )


class Variant:
    """One golden episode with changed inputs, and what becomes of it."""

    def __init__(self, droidflow, data, out: pathlib.Path, episode: str):
        self.droidflow, self.data, self.out, self.episode = droidflow, data, out, episode
        self.uuid = data.uuid(pathlib.Path(episode))
        self.metadata_path = data.raw / episode / f"metadata_{self.uuid}.json"

    @property
    def metadata(self) -> dict:
        return json.loads(self.metadata_path.read_text())

    def annotate(self, name: str, entry) -> None:
        (self.data.annotations / f"{name}.json").write_text(json.dumps({self.uuid: entry}))

    def entry(self, name: str) -> dict:
        return json.loads((self.data.annotations / f"{name}.json").read_text())[self.uuid]

    def run(self, *flags) -> pathlib.Path:
        flags = ["--episodes", self.uuid, "--out", self.out, *flags]
        self.droidflow("metadata", *self.data.inputs, *flags, code=0)
        return self.out / self.episode


@pytest.fixture
def variant(droidflow, golden_copy, tmp_path):
    return lambda episode: Variant(droidflow, golden_copy, tmp_path / "out", episode)


def test_without_an_annotation_externals_come_as_the_metadata_names_them(variant):
    iris = variant(IRIS)
    iris.annotate("cam2base_extrinsic_superset", {})
    folder, metadata = iris.run(), iris.metadata
    assert quality(folder)["external_cameras"] == [
        metadata["ext1_cam_serial"],
        metadata["ext2_cam_serial"],
    ]
    extrinsics = load(folder / "extrinsics.npz")
    for role in ("ext1", "ext2"):
        serial = metadata[f"{role}_cam_serial"]
        pose = reference.pose_matrix(metadata[f"{role}_cam_extrinsics"])
        assert np.allclose(extrinsics[f"external_{serial}"], pose, rtol=0, atol=1e-9)
        assert extrinsics[f"external_source_{serial}"] == "metadata"


def test_a_pose_only_in_cam2base_is_used_before_the_metadata(variant):
    iris, serial = variant(IRIS), "23404442"
    superset = iris.entry("cam2base_extrinsic_superset")
    del superset[serial]
    iris.annotate("cam2base_extrinsic_superset", superset)
    pose = [0.1, 0.2, 0.3, -2.0, 0.1, -1.0]
    entry = {serial: pose, "metric_type": "IoU", "quality_metric": 0.7, "source": "GT"}
    iris.annotate("cam2base_extrinsics", entry)
    extrinsics = load(iris.run() / "extrinsics.npz")
    assert np.allclose(
        extrinsics[f"external_{serial}"], reference.pose_matrix(pose), rtol=0, atol=1e-9
    )
    sources = {s: str(extrinsics[f"external_source_{s}"]) for s in ("23404442", "26405488")}
    assert sources == {"23404442": "cam2base_extrinsics", "26405488": "cam2base_extrinsic_superset"}


def test_a_pose_only_in_the_trajectory_is_the_last_resort(variant):
    iris, serial = variant(IRIS), "23404442"
    iris.annotate("cam2base_extrinsic_superset", {})
    metadata = iris.metadata
    assert metadata["ext1_cam_serial"] == serial
    del metadata["ext1_cam_extrinsics"]
    iris.metadata_path.write_text(json.dumps(metadata))
    pose = [0.3, 0.2, 0.1, -2.1, 0.2, -1.1]
    with h5py.File(iris.data.raw / IRIS / "trajectory.h5", "r+") as file:
        file[f"observation/camera_extrinsics/{serial}_left"][:] = pose
    extrinsics = load(iris.run() / "extrinsics.npz")
    assert np.allclose(
        extrinsics[f"external_{serial}"], reference.pose_matrix(pose), rtol=0, atol=1e-9
    )
    assert extrinsics[f"external_source_{serial}"] == "trajectory"


def test_a_serial_the_metadata_lacks_is_taken_from_camera_serials(variant):
    tri = variant(TRI)
    metadata = tri.metadata
    serial = metadata.pop("ext2_cam_serial")
    tri.metadata_path.write_text(json.dumps(metadata))
    assert tri.entry("camera_serials")["ext2_cam_serial"] == serial
    assert serial in quality(tri.run())["cameras_with_2d_tracks"]


def test_camera_serials_never_names_a_camera_twice(variant):
    """The two files name ext1 and ext2 the other way round: filling the gap would repeat ext1."""
    iris = variant(IRIS)
    metadata = iris.metadata
    del metadata["ext2_cam_serial"]
    iris.metadata_path.write_text(json.dumps(metadata))
    assert iris.entry("camera_serials")["ext2_cam_serial"] == metadata["ext1_cam_serial"]
    serials = quality(iris.run())["external_cameras"]
    assert len(serials) == len(set(serials))


def test_intrinsics_of_the_trajectory_come_after_the_annotations_and_before_conf(variant):
    tri, serial = variant(TRI), "23404442"
    tri.annotate(
        "intrinsics",
        {serial: {"cameraMatrix": [1, 1, 1, 1], "distCoeffs": [], "width": 0, "height": 0}},
    )
    K = np.array([[511.0, 0, 633.0], [0, 512.0, 355.0], [0, 0, 1]])
    with h5py.File(tri.data.raw / TRI / "trajectory.h5", "r+") as file:
        name = f"observation/camera_intrinsics/{serial}_left"
        file.create_dataset(name, data=np.broadcast_to(K, (150, 3, 3)), chunks=(1, 3, 3))
    folder = tri.run()
    sources = {s: c["intrinsics_source"] for s, c in quality(folder)["cameras"].items()}
    assert sources == {serial: "trajectory", "29838012": "conf", "19824535": "conf"}
    assert np.array_equal(members(folder)[f"intrinsics_{serial}"], K)
    assert members(folder)[f"image_size_{serial}"].tolist() == [1280, 720]


def test_the_configuration_told_of_is_that_which_shaped_the_numbers(variant, original_points):
    flags = [
        "--contact-points",
        original_points,
        "--step-mm",
        2.5,
        "--min-point-depth",
        0.25,
        "--fps",
        9,
    ]
    folder = variant(RPL).run(*flags, "--pose-time", "capture", "--max-frames", 1)
    text = json.dumps(quality(folder)["config"])
    for word in ("original.npy", "2.5", "0.25", "9", "capture", "0.725"):
        assert word in text, (word, text)
    assert "480" not in text, text


@pytest.mark.parametrize(
    "serial, fx_px, cx_px, cy_px, within",
    [
        ("23404442", 522.502, 640.492, 353.231, 0.01),
        ("29838012", 523.223, 639.237, 352.501, 0.01),
        ("19824535", 697.908, 649.598, 354.900, 0.05),
    ],
)
def test_conf_files_stand_in_for_missing_intrinsics(variant, serial, fx_px, cx_px, cy_px, within):
    """The numbers are those the maker's SDK reports for the rectified left camera."""
    tri = variant(TRI)
    tri.annotate("intrinsics", {})
    folder = tri.run()
    have = json.loads((folder / "recordings" / serial / "intrinsics.json").read_text())
    assert have["source"] == "conf" and have["approximate"] is True
    assert (have["width"], have["height"]) == (1280, 720)
    assert have["fx"] == have["fy"] == pytest.approx(fx_px, rel=within)
    assert have["cx"] == pytest.approx(cx_px, abs=10) and have["cy"] == pytest.approx(cy_px, abs=20)
    stored = members(folder)[f"intrinsics_{serial}"]
    assert np.allclose(
        stored, [[have["fx"], 0, have["cx"]], [0, have["fy"], have["cy"]], [0, 0, 1]]
    )


def test_quality_says_what_was_used_and_how_good_it_is(default):
    have, tracks = quality(default(AUTOLAB)), members(default(AUTOLAB))
    assert have["droidflow_version"]
    assert have["num_track_points"] == 960
    assert have["current_task"] == "put the marker in the cup"
    assert have["path_length_mm"] == pytest.approx(tracks["cumulative_distance_mm"][-1], abs=1e-3)
    assert 0 <= have["idle_fraction"] <= 1
    assert isinstance(have["config"], dict) and have["config"]
    assert have["timings_ms"] and all(t >= 0 for t in have["timings_ms"].values())
    assert all({"code", "text"} <= set(w) for w in have["warnings"]), have["warnings"]
    cameras = have["cameras"]
    assert list(cameras) == have["cameras_with_2d_tracks"]
    for serial, camera in cameras.items():
        assert camera["intrinsics_source"] and camera["extrinsics_source"]
        u, v = np.moveaxis(tracks[f"tracks_2d_{serial}"], -1, 0)
        inside = (u >= 0) & (u < 1280) & (v >= 0) & (v < 720)  # false where NaN
        assert camera["in_image_fraction"] == pytest.approx(inside.mean(), abs=0.005), serial
    metric = cameras["26405488"]["calibration_metric"]
    assert metric["type"].lower() == "reprojection_error" and metric["value"] == 5.9008


@pytest.mark.parametrize("episode", [AUTOLAB, REAL, TRI])
def test_idle_steps_are_those_with_hardly_any_motion(episode, default):
    have = members(default(episode))
    still = (
        np.linalg.norm(np.diff(have["contact_centroids"].astype(float), axis=0), axis=1) < 0.5e-3
    )
    still &= np.abs(np.diff(have["gripper_positions"])) < 0.01
    assert quality(default(episode))["idle_fraction"] == pytest.approx(still.mean(), abs=0.02)


@pytest.mark.parametrize("episode", [AUTOLAB, RECORDED])
def test_the_delay_of_the_images_is_the_episodes_own(episode, default, reference_episode):
    """29 ms in the made-up episodes, 56 ms in the recorded one."""
    recorded = reference_episode(episode)
    cameras = quality(default(episode))["cameras"]
    for camera in recorded.cameras:
        delay_ms = np.median(recorded.step_start_ms - camera.capture_ms)
        assert cameras[camera.serial]["capture_delay_ms"] == pytest.approx(delay_ms, abs=0.5)


# --------------------------------------------------------------------------- the bytes of the files

TRACKS_FORMAT = {
    "tracks_3d": ("<f4", "T N 3"),
    "contact_points_local": ("<f8", "P 3"),
    "contact_centroids": ("<f4", "T 3"),
    "contact_frames": ("<f4", "T 4 4"),
    "left_contact_frames": ("<f4", "T 4 4"),
    "right_contact_frames": ("<f4", "T 4 4"),
    "normalized_tracks_3d": ("<f4", "M N 3"),
    "normalized_centroids": ("<f4", "M 3"),
    "normalized_frames": ("<f4", "M 4 4"),
    "normalized_left_frames": ("<f4", "M 4 4"),
    "normalized_right_frames": ("<f4", "M 4 4"),
    "cumulative_distance_mm": ("<f8", "T"),
    "frame_to_normalized_idx": ("<i4", "T"),
    "normalized_step_size_mm": ("<f8", ""),
    "num_normalized_steps": ("<i8", ""),
    "gripper_poses": ("<f8", "T 4 4"),
    "gripper_positions": ("<f8", "T"),
    "cartesian_positions": ("<f8", "T 6"),
    "num_frames": ("<i8", ""),
    "num_points_per_finger": ("<i8", ""),
    "fps": ("<f8", ""),
    "timestamps_ms": ("<i8", "T"),
    "gripper_joint_max_rad": ("<f8", ""),
}
CAMERA_FORMAT = {
    "tracks_2d": ("<f4", "T N 2"),
    "intrinsics": ("<f8", "3 3"),
    "image_size": ("<i8", "2"),
}


@pytest.mark.parametrize("episode", EPISODES)
def test_tracks_have_the_written_dtypes_and_shapes(episode, default):
    have = members(default(episode))
    T, P, M = (
        int(have[k]) for k in ("num_frames", "num_points_per_finger", "num_normalized_steps")
    )
    sizes = {"T": T, "P": P, "N": 2 * P, "M": M, "2": 2, "3": 3, "4": 4, "6": 6}
    want = dict(TRACKS_FORMAT)
    for serial in have["cameras_with_2d_tracks"]:
        want |= {f"{name}_{serial}": form for name, form in CAMERA_FORMAT.items()}
    assert set(have) == {*want, "cameras_with_2d_tracks"}
    assert have["cameras_with_2d_tracks"].dtype.kind == "U"
    for key, (dtype, shape) in want.items():
        assert have[key].dtype == np.dtype(dtype), key
        assert have[key].shape == tuple(sizes[letter] for letter in shape.split()), key


@pytest.mark.parametrize("episode", EPISODES)
def test_extrinsics_have_the_written_dtypes_and_shapes(episode, default):
    have = load(default(episode) / "extrinsics.npz")
    T, externals = int(have["num_frames"]), quality(default(episode))["external_cameras"]
    assert have["num_frames"].dtype == np.int64 and have["num_frames"].shape == ()
    assert have["wrist_extrinsics"].dtype == np.float64 and have["wrist_extrinsics"].shape == (
        T,
        4,
        4,
    )
    for name in ["wrist_serial", "wrist_source", *(f"external_source_{s}" for s in externals)]:
        assert have[name].dtype.kind == "U" and have[name].shape == (), name
    for serial in externals:
        pose = have[f"external_{serial}"]
        assert pose.dtype == np.float64 and pose.shape == (4, 4)
        assert np.abs(pose[:3, :3] @ pose[:3, :3].T - np.eye(3)).max() < 1e-9
    assert len(have) == 4 + 2 * len(externals)


def stored_members(path: pathlib.Path):
    """(name, offset of the array data, ZipInfo) of each member, read from the raw bytes."""
    data = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            at = info.header_offset
            signature, name_bytes, extra_bytes = struct.unpack("<4s22xHH", data[at : at + 30])
            assert signature == b"PK\x03\x04"
            npy = at + 30 + name_bytes + extra_bytes
            assert data[npy : npy + 6] == b"\x93NUMPY"
            major = data[npy + 6]
            size = struct.unpack(
                "<H" if major == 1 else "<I", data[npy + 8 : npy + (10 if major == 1 else 12)]
            )
            yield info.filename, npy + (10 if major == 1 else 12) + size[0], info


@pytest.mark.parametrize("name", ["tracks.npz", "extrinsics.npz"])
@pytest.mark.parametrize("episode", EPISODES)
def test_members_are_stored_aligned_dated_1980_and_whole(episode, name, default):
    path = default(episode) / name
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert len(set(archive.namelist())) == len(archive.namelist())
    for member, offset, info in stored_members(path):
        assert info.compress_type == zipfile.ZIP_STORED, member
        assert info.date_time == (1980, 1, 1, 0, 0, 0), member
        assert offset % 64 == 0, f"{member}: array data at byte {offset}"
        assert member.endswith(".npy")


@pytest.mark.parametrize("episode", EPISODES)
def test_tracks_can_be_mapped_into_memory(episode, default):
    """What alignment and stored members are for: an array view on the file's own bytes."""
    path = default(episode) / "tracks.npz"
    (at,) = (offset for name, offset, _ in stored_members(path) if name == "tracks_3d.npy")
    want = members(default(episode))["tracks_3d"]
    assert np.array_equal(np.memmap(path, np.float32, "r", at, want.shape), want)


def test_two_runs_write_the_same_bytes_with_any_number_of_workers(
    droidflow, runs, golden, tmp_path
):
    first = content(runs(golden))
    for workers in (1, 3):
        again = tmp_path / f"workers_{workers}"
        droidflow("metadata", -1, workers, *golden.inputs, "--out", again, code=0)
        have = content(again)
        assert list(have) == list(first)
        assert [name for name in first if have[name] != first[name]] == []


def test_every_episode_has_exactly_the_written_files(runs, golden):
    for episode in golden.episodes():
        folder = runs(golden) / episode
        names = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
        cameras = quality(folder)["external_cameras"] + [quality(folder)["wrist_camera"]]
        intrinsics = [f"recordings/{serial}/intrinsics.json" for serial in cameras]
        assert names == sorted(["tracks.npz", "extrinsics.npz", "quality.json", *intrinsics])


def test_the_operators_name_reaches_no_output(runs, golden, real):
    for data, name in ((golden, b"Golden User"), (real, b"Zehan Ma")):
        folder = runs(data)
        assert any(name in p.read_bytes() for p in data.raw.rglob("*") if p.is_file())
        leaks = [p for p in folder.rglob("*") if p.is_file() and name in p.read_bytes()]
        assert leaks == []
        for path in products(folder).values():
            if path.name == "quality.json":
                assert '"user"' not in path.read_text()


def test_moved_in_time_or_place_an_episode_keeps_its_bytes(droidflow, runs, golden, tmp_path):
    """Another root, another day: nothing of the surroundings is written."""
    data = copy_dataset(golden, tmp_path / "elsewhere")
    droidflow("metadata", -1, 2, *data.inputs, "--out", tmp_path / "out", code=0)
    first, second = content(runs(golden)), content(tmp_path / "out")
    binary = [name for name in first if name.endswith((".npz", "intrinsics.json"))]
    assert binary and [name for name in binary if first[name] != second[name]] == []


# Runs a command and prints the peak memory, in KiB, of the largest of its processes.
# A small process of its own: the kernel counts what a parent held when it started a child as the
# child's.
PEAK_MEMORY = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


def test_a_long_episode_is_never_held_whole(droidflow, golden, tmp_path):
    """2287 steps, 20 m, 960 points: 230 MB of resampled tracks from a worker of 256 MB at most."""
    steps, length_m = 2287, 20.0
    data = copy_dataset(golden, tmp_path / "data")
    angle = np.linspace(0, length_m / 0.15, steps)  # round and round on a circle of 0.15 m
    pose = np.zeros((steps, 6))
    pose[:, 0], pose[:, 1], pose[:, 2] = 0.5 + 0.15 * np.cos(angle), 0.15 * np.sin(angle), 0.3
    pose[:, 3] = math.pi
    with h5py.File(data.raw / RPL / "trajectory.h5", "r+") as file:
        for name, values in (
            ("cartesian_position", pose),
            ("gripper_position", np.full(steps, 0.5)),
        ):
            del file[f"observation/robot_state/{name}"]
            chunk = (1, *values.shape[1:])
            file.create_dataset(f"observation/robot_state/{name}", data=values, chunks=chunk)
        del file["observation/timestamp"]
    uuid = data.uuid(pathlib.Path(RPL))
    command = ["metadata", 1, 1, *data.inputs, "--out", tmp_path / "out", "--episodes", uuid]
    peak_kib = int(
        droidflow(*command, prefix=[sys.executable, "-c", PEAK_MEMORY], code=0).stdout.split()[-1]
    )
    with np.load(tmp_path / "out" / RPL / "tracks.npz") as archive:
        rows = int(archive["num_normalized_steps"])
        distance_mm = archive["cumulative_distance_mm"]
    assert 1999 * 10 < rows == math.ceil(distance_mm[-1]) + 1 <= 20001
    assert (tmp_path / "out" / RPL / "tracks.npz").stat().st_size > rows * 960 * 12
    # A sanitizer takes memory of its own, more the larger the program is.
    if "DROIDFLOW_SANITIZED" not in os.environ:
        assert peak_kib / 1024 <= 256, "MiB, the larger of coordinator and worker"
    droidflow("verify", tmp_path / "out", code=0, timeout=300)
    shutil.rmtree(tmp_path)

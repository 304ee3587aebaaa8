"""What an episode says, against its files and against the laws of projection."""

from __future__ import annotations

import copy
import json
import pathlib
import pickle
import shutil

import numpy as np
import pytest
from conftest import STEPS, load

from droidflow import BadFile, Dataset, Episode, NotFound


@pytest.fixture
def episode(out) -> Episode:
    return next(iter(Dataset(out).values()))


def folder(episode: Episode) -> pathlib.Path:
    return pathlib.Path(episode.name)


def test_every_key_is_an_attribute(episode):
    for file in ("tracks.npz", "extrinsics.npz"):
        for key, array in load(folder(episode) / file).items():
            value = getattr(episode, key)
            equal_nan = array.dtype.kind == "f"
            assert np.array_equal(value, array, equal_nan=equal_nan), key
            assert np.array_equal(episode[key], array, equal_nan=equal_nan), key
            assert key in dir(episode)
    assert (type(episode.num_frames), type(episode.fps)) == (int, float)
    assert type(episode.wrist_serial) is str


def test_an_unknown_key_is_said_with_those_that_are_there(episode):
    with pytest.raises(AttributeError, match="want key 'traks', have tracks_3d, .*success"):
        episode.traks
    with pytest.raises(NotFound, match="want key 'traks'"):
        episode["traks"]
    assert not hasattr(episode, "traks")


def test_it_holds_the_keys_of_its_files(episode):
    files = [load(folder(episode) / name) for name in ("tracks.npz", "extrinsics.npz")]
    keys = list(dict.fromkeys(key for file in files for key in file))
    assert list(episode) == episode.keys() == keys and len(episode) == len(keys)
    assert "fps" in episode and "wrist_extrinsics" in episode
    assert "traks" not in episode and 7 not in episode
    assert dict(episode).keys() == set(keys)


def test_without_poses_it_holds_the_rest(out, tmp_path):
    shutil.copytree(out, tmp_path / "out")
    episode = next(iter(Dataset(tmp_path / "out").values()))
    (folder(episode) / "extrinsics.npz").unlink()
    assert episode.keys() == list(load(folder(episode) / "tracks.npz"))
    assert "tracks_3d" in dir(episode) and "wrist_extrinsics" not in episode
    assert not hasattr(episode, "wrist_extrinsics")
    with pytest.raises(NotFound, match="want a file, have none: .*extrinsics.npz"):
        episode.T_base_cam("wrist")
    (folder(episode) / "tracks.npz").write_bytes(b"no archive")
    assert "tracks_2d" in dir(Dataset(tmp_path / "out")[episode.folder])


def test_points_project_to_the_2d_tracks(episode):
    assert len(episode.tracks_2d) == 3
    for serial, pixels in episode.tracks_2d.items():
        T_cam_base = np.linalg.inv(episode.T_base_cam(serial))
        points = np.concatenate([episode.tracks_3d, np.ones((*pixels.shape[:2], 1))], axis=-1)
        seen = np.einsum("tij,tnj->tni", T_cam_base, points)
        u_v_w = seen[..., :3] @ episode[f"intrinsics_{serial}"].T
        assert np.isfinite(pixels).any()
        expected = u_v_w[..., :2] / u_v_w[..., 2:]
        np.testing.assert_allclose(pixels, expected, atol=2e-3, equal_nan=False)


def test_a_camera_is_found_by_role_and_by_serial(episode):
    serials = list(episode.tracks_2d)
    assert list(episode.cameras.items()) == list(zip(["ext1", "ext2", "wrist"], serials))
    assert episode.tracks_2d["wrist"] is episode.tracks_2d[serials[2]]
    assert "ext2" in episode.intrinsics and "ext9" not in episode.intrinsics
    with pytest.raises(NotFound, match=f"want camera ext9, have {serials[0]}"):
        episode.intrinsics["ext9"]
    with pytest.raises(NotFound, match="want a pose of camera 123, have num_frames, external_"):
        episode.T_base_cam("123")


def test_poses_are_of_a_step_or_of_all(episode):
    extrinsics = load(folder(episode) / "extrinsics.npz")
    assert np.array_equal(episode.T_base_cam("wrist", 3), extrinsics["wrist_extrinsics"][3])
    fixed = extrinsics[f"external_{episode.serial('ext1')}"]
    assert np.array_equal(episode.T_base_cam("ext1", STEPS - 1), fixed)
    assert episode.T_base_cam("ext1").shape == (STEPS, 4, 4)
    for camera in ("ext1", "wrist"):
        with pytest.raises(IndexError):
            episode.T_base_cam(camera, STEPS)


def test_intrinsics_are_those_of_the_file(episode):
    for serial, intrinsics in episode.intrinsics.items():
        path = folder(episode) / f"recordings/{serial}/intrinsics.json"
        assert vars(intrinsics) == json.loads(path.read_text())
        assert np.array_equal(intrinsics.K, episode[f"intrinsics_{serial}"])


def test_quality_and_video_are_those_of_the_files(episode):
    assert episode.quality == json.loads((folder(episode) / "quality.json").read_text())
    assert episode.uuid == episode.quality["episode_id"]
    for serial, video in episode.video.items():
        path = folder(episode) / f"recordings/{serial}/video.json"
        assert video == json.loads(path.read_text())


def test_visible_points_are_within_the_image(episode):
    for serial, visible in episode.visible.items():
        width, height = episode.image_size[serial]
        with np.errstate(invalid="ignore"):
            column, row = np.rint(np.moveaxis(episode.tracks_2d[serial], -1, 0))
        inside = (0 <= column) & (column < width) & (0 <= row) & (row < height)
        assert np.array_equal(visible, inside)
    assert any(visible.any() for visible in episode.visible.values())


def test_a_copy_reads_the_same(episode):
    for other in (pickle.loads(pickle.dumps(episode)), copy.copy(episode)):
        assert np.array_equal(other.tracks_3d, episode.tracks_3d)
        assert other.uuid == episode.uuid


def test_instructions_are_those_of_the_annotations_else_as_recorded(out, tmp_path):
    episodes = sorted(Dataset(out).values(), key=lambda episode: -len(episode.language))
    assert [len(episode.quality["language"]) for episode in episodes] == [3, 1, 0]
    assert episodes[0].language == tuple(episodes[0].quality["language"])
    recorded = episodes[-1]
    assert recorded.language == (recorded.quality["current_task"],)
    said = {"language_instruction1": "open it", "language_instruction2": ""}
    (tmp_path / "language.json").write_text(json.dumps({recorded.uuid: said}))
    annotated = Dataset(out, language=tmp_path / "language.json")
    assert annotated[recorded.uuid].language == ("open it",)
    assert annotated[recorded.folder].language == ("open it",)
    other = annotated[episodes[0].uuid]
    assert other.language == episodes[0].language


def test_idle_steps_and_ranges_are_those_of_the_run(out):
    for episode in Dataset(out).values():
        said = episode.quality
        want = np.zeros(episode.num_frames, bool)
        for begin, end in said["idle_ranges"]:
            want[begin:end] = True
        assert episode.idle.dtype == bool and episode.idle.tolist() == want.tolist()
        kept = said["keep_ranges"]
        assert episode.keep_ranges == (kept if kept is None else [tuple(r) for r in kept])
    assert {episode.keep_ranges is None for episode in Dataset(out).values()} == {True, False}


def test_the_originals_outputs_are_read(original):
    data = Dataset(original)
    assert len(data) == 4
    for episode in data.values():
        assert not hasattr(episode, "idle")
        with pytest.raises(NotFound, match="want idle_ranges .*, have results of the original"):
            episode.idle
        expected = load(folder(episode) / "tracks.npz")
        assert np.array_equal(episode.tracks_3d, expected["tracks_3d"])
        assert list(episode.tracks_2d) == list(expected["cameras_with_2d_tracks"])
        assert list(episode.tracks_2d) == episode.quality["cameras_with_2d_tracks"]
        for serial, intrinsics in episode.intrinsics.items():
            assert intrinsics.source is None and intrinsics.baseline_m is None
            assert episode.T_base_cam(serial).shape == (episode.num_frames, 4, 4)
        assert len(episode.normalized()) == expected["num_normalized_steps"]


def test_files_that_are_no_json_or_lack_a_key_are_said(out, tmp_path):
    shutil.copytree(out, tmp_path / "out")
    episode = next(iter(Dataset(tmp_path / "out").values()))
    for serial, text, found in (
        ("ext1", "{", "want JSON, have Expecting"),
        ("ext2", "[1]", "want a JSON object, have list"),
        ("wrist", '{"fx": 1}', "want fx fy cx cy width height, have fx"),
    ):
        path = folder(episode) / f"recordings/{episode.serial(serial)}/intrinsics.json"
        path.write_text(text)
        with pytest.raises(BadFile, match=f"{found}.*intrinsics.json"):
            episode.intrinsics[serial]

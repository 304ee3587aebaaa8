"""The compact layout: arrays computed here have the bits of those that droidflow writes."""

from __future__ import annotations

import pathlib

import h5py
import numpy as np
import pytest
from conftest import load

from droidflow import BadFile, Dataset, Episode, Windows, compact
from droidflow.place import LocalBlob

EPISODES = 6  # with each of the options

OPTIONS = {
    "as usual": ["--points", 54],
    "points behind cameras": ["--min-point-depth", 0.9, "--points", 6],
    "another mount": [
        "--mount-xyz=0.01,-0.02,0.03",
        "--mount-rpy=0.3,-1.2,2.1",
        "--step-mm",
        0.4,
        "--points",
        6,
    ],
    "poses of the images": ["--pose-time", "capture", "--gripper-joint-max", 0.77, "--points", 24],
    "the original's": ["--compat", "original", "--points", 24],
    "a short path": ["--step-mm", 100_000, "--points", 24],
    "one step": ["--max-frames", 1, "--points", 24],
    "compressed": ["--compress", "zip", "--points", 24],
}


@pytest.fixture(scope="module")
def odd_raw(program, tmp_path_factory) -> list:
    """Options that name raw episodes whose robot does what no robot does."""
    data = tmp_path_factory.mktemp("odd") / "data"
    program("synth", data, "--episodes", EPISODES, "--steps", 12, "--seed", 5)
    random = np.random.default_rng(11)
    for i, path in enumerate(sorted((data / "raw").rglob("trajectory.h5"))):
        with h5py.File(path, "r+") as file:
            state = file["observation/robot_state"]
            steps = len(state["gripper_position"])
            odd = random.choice([-0.05, -0.0, 0.0, 1.0, 1.05, random.random()], steps)
            state["gripper_position"][...] = odd
            if i % 3:  # others stay as they are
                poses = state["cartesian_position"][...]
                poses[:, :3] += random.normal(0, 0.02, (steps, 3))
                poses[:, 3:] = random.uniform(-np.pi, np.pi, (steps, 3))
                state["cartesian_position"][...] = poses
    names = {"--droid-root": "raw", "--annotations": "annotations", "--conf-dir": "conf"}
    return [word for flag, folder in names.items() for word in (flag, data / folder)]


@pytest.fixture(scope="module")
def layouts(program, odd_raw, tmp_path_factory):
    """layouts(options) -> results in both layouts."""

    def make(options: list) -> tuple[pathlib.Path, pathlib.Path]:
        here = tmp_path_factory.mktemp("layouts")
        for layout in ("full", "compact"):
            layout_of = ["--tracks-layout", layout, "--out", here / layout]
            program("metadata", -1, 2, *odd_raw, *options, *layout_of)
        return here / "full", here / "compact"

    return make


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """But for the sign of zero and of NaN."""
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")


@pytest.mark.parametrize("name", OPTIONS)
def test_arrays_are_those_of_the_full_layout(layouts, name):
    full, short = layouts(OPTIONS[name])
    episodes = Dataset(short)
    assert episodes.folders == Dataset(full).folders and len(episodes) == EPISODES
    invalid = 0
    for folder in episodes.folders:
        stored = load(full / folder / "tracks.npz")
        tracks = compact.open_tracks(LocalBlob(short / folder / "tracks.npz"))
        assert list(tracks) == list(stored)
        for key, array in stored.items():
            assert same_bits(tracks[key], array), (folder, key)
            assert tracks[key].shape == array.shape and not tracks[key].flags.writeable
            if key.startswith("tracks_2d_"):
                invalid += np.isnan(array).sum()
    assert name != "points behind cameras" or invalid > 1000


@pytest.fixture(scope="module")
def pair(layouts) -> tuple[Episode, Episode]:
    """An episode in both layouts."""
    full, short = layouts(["--points", 24])
    uuid = next(iter(Dataset(full)))
    return Dataset(full)[uuid], Dataset(short)[uuid]


def test_only_what_is_asked_for_is_computed(pair, monkeypatch):
    episode = Episode(pair[1].files)
    monkeypatch.setattr(
        compact.CompactTracks, "_fingers", property(lambda self: pytest.fail("computed"))
    )
    assert episode.num_normalized_steps == pair[0].num_normalized_steps
    assert np.array_equal(episode.gripper_positions, pair[0].gripper_positions)
    assert len(episode.tracks_2d) == 3 and "wrist" in episode.visible
    monkeypatch.undo()
    assert episode.tracks_3d is episode.tracks_3d


def test_what_is_made_of_the_arrays_is_the_same(pair):
    stored, made = pair
    assert made.keys() == stored.keys()
    for camera in ("ext1", "wrist"):
        assert same_bits(made.tracks_2d[camera], stored.tracks_2d[camera])
        assert same_bits(made.visible[camera], stored.visible[camera])
    for step_mm in (None, 3):
        assert same_bits(made.normalized(step_mm).frames, stored.normalized(step_mm).frames)


def test_windows_and_shards_are_read(program, pair, tmp_path):
    short = pathlib.Path(pair[1].name).parents[3]
    windows, stored = (
        Windows(Dataset(root), 5, camera="ext2", uuids=[pair[0].uuid])
        for root in (short, short.parent / "full")
    )
    assert all(same_bits(windows[1][k], stored[1][k]) for k in ("tracks_3d", "tracks_2d"))
    flags = ["--hub-layout", "shards", "--upload-interval", 0, "--keep-uploaded"]
    program("upload", short, "--hub", f"file:{tmp_path / 'hub'}", *flags)
    assert same_bits(Dataset(tmp_path / "hub")[pair[0].uuid].tracks_3d, pair[0].tracks_3d)


def test_a_file_that_is_not_whole_is_said(pair, tmp_path):
    path = pathlib.Path(pair[1].name) / "tracks.npz"
    for key, value, message in (
        ("compact_version", 2, "want compact_version 1, have 2"),
        ("num_frames", 3, r"want cartesian_positions of shape \(3, 6\), have \(12, 6\)"),
        ("num_normalized_steps", 5, "want num_normalized_steps .*, have 5"),
    ):
        np.savez(tmp_path / "tracks.npz", **{**load(path), key: value})
        with pytest.raises(BadFile, match=f"{message}.*tracks.npz"):
            compact.open_tracks(LocalBlob(tmp_path / "tracks.npz"))["normalized_tracks_3d"]


def test_a_file_that_is_far_is_read_at_once(pair):
    class Far(LocalBlob):
        mapped = False
        reads = 0

        def read(self, start, stop):
            self.reads += 1
            return super().read(start, stop)

    far = Far(pathlib.Path(pair[1].name) / "tracks.npz")
    assert same_bits(compact.open_tracks(far)["tracks_3d"], pair[0].tracks_3d)
    assert far.reads <= 2

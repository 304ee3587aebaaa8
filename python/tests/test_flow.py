"""Flow at another step, against files that droidflow wrote with that step."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import load

from droidflow import BadFile, Dataset, Episode
from droidflow.flow import Flow

KEYS = {
    "tracks_3d": "normalized_tracks_3d",
    "centroids": "normalized_centroids",
    "frames": "normalized_frames",
    "left_frames": "normalized_left_frames",
    "right_frames": "normalized_right_frames",
    "frame_to_idx": "frame_to_normalized_idx",
}


def test_without_a_step_flow_is_what_the_file_holds(out):
    for folder in Dataset(out).folders:
        stored = load(out / folder / "tracks.npz")
        for flow in (Dataset(out)[folder].normalized(), Dataset(out)[folder].normalized(1)):
            assert flow.step_mm == 1 and len(flow) == stored["num_normalized_steps"]
            for name, key in KEYS.items():
                assert np.array_equal(getattr(flow, name), stored[key])


# A step of 10 m is longer than any path.
@pytest.mark.parametrize("step_mm", [0.3, 7.5, 10_000])
def test_flow_at_another_step_is_what_droidflow_writes_with_it(out, at_step, step_mm):
    here = at_step(step_mm)
    for folder in Dataset(out).folders:
        expected = load(here / folder / "tracks.npz")
        flow = Dataset(out)[folder].normalized(step_mm)
        assert len(flow) == expected["num_normalized_steps"]
        assert np.array_equal(flow.frame_to_idx, expected["frame_to_normalized_idx"])
        for name, key in KEYS.items():
            made = getattr(flow, name)
            assert made.dtype == expected[key].dtype
            # Made of float32, where droidflow has float64: points and origins of metres.
            np.testing.assert_allclose(made, expected[key], rtol=0, atol=1e-6, err_msg=name)


class Made:
    """An episode of given distances whose points are numbered by frame."""

    name = "made"
    normalized_step_size_mm = 1.0

    def __init__(self, cumulative_distance_mm):
        self.cumulative_distance_mm = np.array(cumulative_distance_mm, float)
        self.contact_centroids = np.arange(len(cumulative_distance_mm), dtype=np.float32)

    def __getitem__(self, key: str):
        return getattr(self, key)

    def turning(self, x_deg) -> Made:
        """With gripper frames turned by these angles about x."""
        c, s = np.cos(np.deg2rad(x_deg)), np.sin(np.deg2rad(x_deg))
        self.contact_frames = np.tile(np.eye(4), (len(c), 1, 1))
        self.contact_frames[:, 1:3, 1:3] = np.array([[c, -s], [s, c]]).transpose(2, 0, 1)
        return self


def flow(distances_mm, step_mm) -> Flow:
    episode: Episode = Made(distances_mm)  # type: ignore[assignment]
    return Flow(episode, step_mm)


def test_steps_by_hand():
    # 5 mm at most 2 mm apart are three intervals of 5/3 mm; a rest and a jump on the way.
    made = flow([0, 0, 1, 5], 2)
    np.testing.assert_allclose(made.centroids, [0, 2 + 1 / 6, 2 + 7 / 12, 3], rtol=1e-6)
    assert made.frame_to_idx.tolist() == [0, 0, 1, 3]


# The largest component of the quaternions changes at 90 degrees: their signs differ.
@pytest.mark.parametrize("ends_deg", [(-80, -100), (10, 130), (170, 190), (-179, -30), (0, 1)])
def test_rotations_turn_evenly_and_the_short_way(ends_deg):
    made = Flow(Made([0, 4]).turning(ends_deg), 0.5).frames  # type: ignore[arg-type]
    angles_deg = np.unwrap(np.rad2deg(np.arctan2(made[:, 2, 1], made[:, 1, 1])), period=360)
    np.testing.assert_allclose(angles_deg % 360, np.linspace(*ends_deg, 9) % 360, atol=2e-4)


def test_a_path_shorter_than_a_step_is_its_two_ends():
    made = flow([0, 0.1, 0.2, 0.3, 0.4], 2)
    assert made.centroids.tolist() == [0, 4]
    assert made.frame_to_idx.tolist() == [0, 0, 1, 1, 1]


def test_one_frame_is_one_step():
    made = flow([0], 2)
    assert (made.centroids.tolist(), made.frame_to_idx.tolist()) == ([0], [0])


def test_a_frame_between_two_steps_belongs_to_the_first():
    assert flow([0, 2, 4, 8], 4).frame_to_idx.tolist() == [0, 0, 1, 2]


@pytest.mark.parametrize("step_mm", [0, -1, float("nan"), float("inf")])
def test_a_step_that_is_none_is_refused(step_mm):
    with pytest.raises(ValueError, match="want a step of more than 0 mm, have "):
        flow([0, 1], step_mm)


def test_distances_that_are_not_finite_are_said():
    with pytest.raises(BadFile, match="want finite cumulative_distance_mm.*made"):
        flow([0, np.nan, 1], 2).centroids

"""Tracks resampled by travelled distance, as droidflow defines it."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import BadFile

if TYPE_CHECKING:
    from .episode import Episode

_MAX_STEPS = 10_000_000
_SMALLEST_MM = 1e-7
_NEARLY_EQUAL = 0.9995  # of two quaternions: above, the chord does for the arc


class Flow:
    """An episode at M steps at most `step_mm` of the centroid's path apart, both ends included.

    Of the file's own step it is what the file holds; of another, points and origins are blended
    linearly and rotations by SLERP. Robot base, metres, float32.
    """

    def __init__(self, episode: Episode, step_mm: float | None = None):
        stored_mm = float(episode.normalized_step_size_mm)
        self._episode = episode
        self.step_mm = stored_mm if step_mm is None else float(step_mm)
        self._stored = self.step_mm == stored_mm
        if not (math.isfinite(self.step_mm) and self.step_mm > 0):
            raise ValueError(f"want a step of more than 0 mm, have {step_mm}")

    def __len__(self) -> int:
        return len(self.centroids)

    @functools.cached_property
    def tracks_3d(self) -> NDArray[np.float32]:
        """[M, N, 3]"""
        return self._take("normalized_tracks_3d", "tracks_3d")

    @functools.cached_property
    def centroids(self) -> NDArray[np.float32]:
        """[M, 3]"""
        return self._take("normalized_centroids", "contact_centroids")

    @functools.cached_property
    def frames(self) -> NDArray[np.float32]:
        """[M, 4, 4] rotation of the gripper, origin at the centroid"""
        return self._take("normalized_frames", "contact_frames")

    @functools.cached_property
    def left_frames(self) -> NDArray[np.float32]:
        """[M, 4, 4]"""
        return self._take("normalized_left_frames", "left_contact_frames")

    @functools.cached_property
    def right_frames(self) -> NDArray[np.float32]:
        """[M, 4, 4]"""
        return self._take("normalized_right_frames", "right_contact_frames")

    @functools.cached_property
    def frame_to_idx(self) -> NDArray[np.int32]:
        """[T] the nearest step of every frame, the first on a tie"""
        if self._stored:
            return self._episode.frame_to_normalized_idx
        d_mm, targets_mm = self._distances_mm, self._targets_mm
        if d_mm[-1] < self.step_mm:
            second_half = np.arange(len(d_mm)) >= max(1, len(d_mm) // 2)
            return second_half.astype(np.int32)
        upper = np.searchsorted(targets_mm, d_mm).clip(1, len(targets_mm) - 1)
        nearer = targets_mm[upper] - d_mm < d_mm - targets_mm[upper - 1]
        return np.asarray(upper - 1 + nearer, np.int32)

    def _take(self, stored: str, by_frame: str) -> NDArray[np.float32]:
        if self._stored:
            return self._episode[stored]
        before, after, weight = self._blends
        values = self._episode[by_frame].astype(np.float64)
        w = weight.reshape(-1, *[1] * (values.ndim - 1))
        mixed = values[before] + w * (values[after] - values[before])
        if values.shape[1:] == (4, 4):
            q = _quaternions(values[:, :3, :3])
            mixed[:, :3, :3] = _rotations(_slerp(q[before], q[after], weight))
        return np.asarray(mixed, np.float32)

    @functools.cached_property
    def _distances_mm(self) -> NDArray[np.float64]:
        d_mm = self._episode.cumulative_distance_mm
        if not np.isfinite(d_mm).all():
            raise BadFile(self._episode.name, "finite cumulative_distance_mm", "others")
        return d_mm

    @functools.cached_property
    def _targets_mm(self) -> NDArray[np.float64]:
        length_mm = self._distances_mm[-1]
        intervals = math.ceil(length_mm / self.step_mm)
        if intervals >= _MAX_STEPS:
            raise ValueError(f"want fewer than {_MAX_STEPS} steps, have {intervals}")
        targets_mm: NDArray[np.float64] = np.arange(intervals + 1) * (length_mm / max(1, intervals))
        targets_mm[-1] = length_mm
        return targets_mm

    @functools.cached_property
    def _blends(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]:
        """Frame before, frame after and weight of that after, of every step."""
        d_mm = self._distances_mm
        if d_mm[-1] < self.step_mm:
            ends = np.array([0, len(d_mm) - 1][: len(d_mm)])
            return ends, ends, np.zeros(len(ends))
        after = np.searchsorted(d_mm, self._targets_mm)
        before = np.maximum(after - 1, 0)
        gap_mm = d_mm[after] - d_mm[before]
        far = gap_mm >= _SMALLEST_MM
        weight = np.where(far, self._targets_mm - d_mm[before], 0) / np.where(far, gap_mm, 1)
        return before, after, weight


def _quaternions(r: NDArray[np.float64]) -> NDArray[np.float64]:
    """[T, 4] w x y z of [T, 3, 3], each from its largest component."""
    trace = np.trace(r, axis1=1, axis2=2)
    squares = np.column_stack([trace, 2 * np.diagonal(r, axis1=1, axis2=2) - trace[:, None]])
    w, x, y, z = 1 + squares.T
    wx, wy, wz = r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1]
    xy, xz, yz = r[:, 1, 0] + r[:, 0, 1], r[:, 0, 2] + r[:, 2, 0], r[:, 2, 1] + r[:, 1, 2]
    rows = np.array([[w, wx, wy, wz], [wx, x, xy, xz], [wy, xy, y, yz], [wz, xz, yz, z]])
    q = rows[squares.argmax(axis=1), :, np.arange(len(r))]
    return np.asarray(q / np.linalg.norm(q, axis=1, keepdims=True))


def _slerp(
    a: NDArray[np.float64], b: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    dot = (a * b).sum(axis=1)
    arc = np.abs(dot) <= _NEARLY_EQUAL
    angle = np.arccos(np.where(arc, np.abs(dot), 0))  # of the others not used
    sine = np.sin(angle)
    of_a = np.where(arc, np.sin((1 - weight) * angle) / sine, 1 - weight)
    of_b = np.where(arc, np.sin(weight * angle) / sine, weight) * np.where(dot < 0, -1, 1)
    q = of_a[:, None] * a + of_b[:, None] * b
    return np.asarray(q / np.linalg.norm(q, axis=1, keepdims=True))


def _rotations(q: NDArray[np.float64]) -> NDArray[np.float64]:
    w, x, y, z = q.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), 2, 0)

"""The compact layout of tracks.npz: the arrays of the full one, computed when asked for.

Of the same bits as those that droidflow writes; docs/formats.md says what is stored.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import exact
from .errors import BadFile, NotFound
from .exact import Array
from .npz import Npz
from .place import Blob

_VERSION = 1
_SMALLEST_M = 1e-10
_ROWS = 256  # resampled steps at a time

# Joint origins of the gripper's URDF, metres (src/droidflow/tracks/gripper.cc).
_LEFT = (0.0127, 0, 0.0693), (0.03458531, 0, 0.04549702)
_RIGHT = (-0.0127, 0, 0.0693), (0.03410605, 0, 0.04585739)


def open_tracks(blob: Blob) -> Mapping[str, NDArray[Any]]:
    """tracks.npz of either layout."""
    stored = Npz(blob)
    if "compact_version" not in stored:
        return stored
    return CompactTracks(stored if blob.mapped else Npz(_Whole(blob)))


class _Whole:
    """A small file that is far away, read at once."""

    mapped = False

    def __init__(self, blob: Blob):
        self.name, self.size = blob.name, blob.size
        self._bytes = blob.read(0, blob.size)

    def read(self, start: int, stop: int) -> memoryview:
        return self._bytes[start:stop]


@dataclasses.dataclass(frozen=True)
class _Fingers:
    """Where the gripper is, by moments: poses [T, 4, 4]."""

    gripper: Array
    left: Array
    right: Array


@dataclasses.dataclass(frozen=True)
class _Plan:
    """Resampled steps: frame before, frame after and weight of that after, [M]."""

    distance_m: Array
    before: NDArray[np.int64]
    after: NDArray[np.int64]
    weight: Array
    frame_to_step: NDArray[np.int32]

    def blend(self, values: Array) -> Array:
        w = self.weight.reshape(-1, *[1] * (values.ndim - 1))
        before = values[self.before]
        return np.asarray(before + w * (values[self.after] - before))


class CompactTracks(Mapping[str, NDArray[Any]]):
    """Read-only arrays by the keys of the full layout."""

    def __init__(self, stored: Npz):
        self._stored = stored
        if (version := int(stored["compact_version"])) != _VERSION:
            raise BadFile(stored.name, f"compact_version {_VERSION}", str(version))
        self._arrays: dict[str, NDArray[Any]] = {}
        serials = [str(serial) for serial in stored["cameras_with_2d_tracks"]]
        made: dict[str, Callable[[], NDArray[Any]]] = {
            "tracks_3d": self._tracks_3d,
            "contact_centroids": lambda: _f4(self._centroids),
            "contact_frames": lambda: _f4(self._frames("gripper")),
            "left_contact_frames": lambda: _f4(self._frames("left")),
            "right_contact_frames": lambda: _f4(self._frames("right")),
            "normalized_tracks_3d": self._normalized_tracks,
            "normalized_centroids": lambda: _f4(self._plan.blend(self._centroids)),
            "normalized_frames": lambda: self._normalized_frames("gripper"),
            "normalized_left_frames": lambda: self._normalized_frames("left"),
            "normalized_right_frames": lambda: self._normalized_frames("right"),
            "cumulative_distance_mm": lambda: self._plan.distance_m * 1000,
            "frame_to_normalized_idx": lambda: self._plan.frame_to_step,
            **{f"tracks_2d_{s}": functools.partial(self._tracks_2d, s) for s in serials},
            "gripper_poses": lambda: self._fingers.gripper,
        }
        self._made = made
        keys = ["tracks_3d", "contact_points_local", *list(made)[1:12], "normalized_step_size_mm"]
        keys += ["num_normalized_steps"]
        for s in serials:
            keys += [f"tracks_2d_{s}", f"intrinsics_{s}", f"image_size_{s}", f"capture_ms_{s}"]
        keys += ["cameras_with_2d_tracks", "gripper_poses", "gripper_positions"]
        keys += ["cartesian_positions", "num_frames", "num_points_per_finger", "fps"]
        keys += ["timestamps_ms", "gripper_joint_max_rad"]
        self._keys = {key: None for key in keys if key in made or key in stored}

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    def __getitem__(self, key: str) -> NDArray[Any]:
        if key not in self._keys:
            raise NotFound(self._stored.name, f"a member {key!r}", ", ".join(self))
        if key not in self._made:
            return self._stored[key]
        if key not in self._arrays:
            array = self._made[key]()
            array.flags.writeable = False
            self._arrays[key] = array
        return self._arrays[key]

    def _rows(self, key: str, *shape: int) -> NDArray[Any]:
        """An array that must have a shape."""
        array = self._stored[key]
        if array.shape != shape:
            raise BadFile(self._stored.name, f"{key} of shape {shape}", str(array.shape))
        return array

    def _number(self, key: str) -> float:
        return float(self._rows(key))

    @functools.cached_property
    def _steps(self) -> int:
        return int(self._rows("num_frames"))

    @functools.cached_property
    def _pad(self) -> Array:
        """[P, 3]"""
        return self._rows("contact_points_local", int(self._rows("num_points_per_finger")), 3)

    @functools.cached_property
    def _ee(self) -> Array:
        return exact.pose_of_vector(self._rows("cartesian_positions", self._steps, 6))

    @functools.cached_property
    def _fingers(self) -> _Fingers:
        return self._fingers_at(self._ee, self._rows("gripper_positions", self._steps))

    def _fingers_at(self, ee: Array, position: Array) -> _Fingers:
        xyz, rpy = self._rows("gripper_mount_xyz_m", 3), self._rows("gripper_mount_rpy_rad", 3)
        closed = np.where(position < 0, 0, np.where(position > 1, 1, position))
        joint = closed * self._number("gripper_joint_max_rad")
        there, back = exact.rotation(1, -joint), exact.rotation(1, joint)
        half_turn = np.diag([-1.0, -1.0, 1.0])

        def finger(knuckle: Array, origins: Any) -> Array:
            outer, inner = np.array(origins, np.float64)
            return exact.compose(exact.pose(knuckle, outer), exact.pose(back, inner))

        gripper = exact.compose(ee, exact.pose_of_vector(np.concatenate([xyz, rpy])))
        return _Fingers(
            gripper,
            exact.compose(gripper, finger(there, _LEFT)),
            exact.compose(gripper, finger(exact.product(half_turn, there), _RIGHT)),
        )

    @functools.cached_property
    def _pad_mean(self) -> Array:
        return np.asarray(np.cumsum(self._pad, axis=0)[-1] / float(len(self._pad)))

    def _origins(self, name: str) -> Array:
        """[T, 3] of the contact frames."""
        if name == "gripper":
            return self._centroids
        return exact.apply(getattr(self._fingers, name), self._pad_mean)

    @functools.cached_property
    def _centroids(self) -> Array:
        return np.asarray(0.5 * (self._origins("left") + self._origins("right")))

    def _frames(self, name: str) -> Array:
        return exact.pose(getattr(self._fingers, name)[:, :3, :3], self._origins(name))

    def _points(self, steps: NDArray[Any] | slice) -> Array:
        """[steps, N, 3]"""
        return np.concatenate(
            [
                np.stack(_seen_from(finger[steps], self._pad), axis=-1)
                for finger in (self._fingers.left, self._fingers.right)
            ],
            axis=1,
        )

    def _tracks_3d(self) -> NDArray[np.float32]:
        made = np.empty((self._steps, 2 * len(self._pad), 3), np.float32)
        for begin in range(0, self._steps, _ROWS):
            made[begin : begin + _ROWS] = self._points(slice(begin, begin + _ROWS))
        return made

    def _tracks_2d(self, serial: str) -> NDArray[np.float32]:
        poses = self._stored[f"T_base_cam_{serial}"]
        if poses.shape[1:] != (4, 4) or len(poses) not in (1, self._steps):
            raise BadFile(self._stored.name, f"T_base_cam_{serial} [1 or T,4,4]", f"{poses.shape}")
        fingers, camera = self._fingers_of(serial), exact.inverse(poses)
        k = self._rows(f"intrinsics_{serial}", 3, 3)
        nearest_m = self._number("min_point_depth_m")
        count = len(self._pad)
        made = np.empty((self._steps, 2 * count, 2), np.float32)
        for i, finger in enumerate((fingers.left, fingers.right)):
            x, y, depth_m = _seen_from(exact.compose(camera, finger), self._pad)
            with np.errstate(all="ignore"):
                u = k[0, 0] * x / depth_m + k[0, 2]
                v = k[1, 1] * y / depth_m + k[1, 2]
                here = made[:, i * count : (i + 1) * count]
                here[..., 0], here[..., 1] = u, v
            here[~(depth_m > nearest_m)] = np.nan
        return made

    def _fingers_of(self, serial: str) -> _Fingers:
        """At the moments of a camera."""
        if f"capture_ms_{serial}" not in self._stored:
            return self._fingers
        times_ms = self._rows("timestamps_ms", self._steps).tolist()
        positions = self._rows("gripper_positions", self._steps)
        before, after, weight = [], [], []
        for step, moment_ms in enumerate(self._rows(f"capture_ms_{serial}", self._steps).tolist()):
            at = step
            while at > 0 and times_ms[at] > moment_ms:
                at -= 1
            while at + 1 < self._steps and times_ms[at + 1] <= moment_ms:
                at += 1
            before.append(at)
            if at + 1 == self._steps or times_ms[at] > moment_ms:
                after.append(-1)  # as the step
                weight.append(0.0)
            else:
                after.append(at + 1)
                start_ms = float(times_ms[at])
                weight.append((float(moment_ms) - start_ms) / (float(times_ms[at + 1]) - start_ms))
        first, second, w = np.array(before), np.array(after), np.array(weight)
        q = exact.quaternions(self._ee[:, :3, :3])
        between = exact.pose(
            exact.interpolate(q[first], q[second], w),
            (1 - w)[:, None] * self._ee[first, :3, 3] + w[:, None] * self._ee[second, :3, 3],
        )
        as_step = second < 0
        ee = np.where(as_step[:, None, None], self._ee[first], between)
        mixed = (1 - w) * positions[first] + w * positions[second]
        return self._fingers_at(ee, np.where(as_step, positions[first], mixed))

    @functools.cached_property
    def _plan(self) -> _Plan:
        centroids = self._centroids.astype(np.float32)
        if not int(self._rows("float32_distances")):
            centroids = centroids.astype(np.float64)
        x, y, z = np.diff(centroids, axis=0).T
        lengths = np.sqrt((x * x + y * y) + z * z)
        distance_m = np.concatenate([[0], np.cumsum(lengths, dtype=lengths.dtype)]).astype(float)
        step_m = self._number("normalized_step_size_mm") / 1000
        steps, length_m = self._steps, float(distance_m[-1])
        if steps < 2 or length_m < step_m:
            ends = np.array([0, steps - 1][: min(steps, 2)])
            nearest = (np.arange(steps) >= max(1, steps // 2)).astype(np.int32)
            return _Plan(distance_m, ends, ends, np.zeros(len(ends)), nearest)
        intervals = math.ceil(length_m / step_m)
        if intervals + 1 != (stored := int(self._rows("num_normalized_steps"))):
            raise BadFile(self._stored.name, f"num_normalized_steps {intervals + 1}", str(stored))
        targets_m = np.arange(intervals + 1) * (length_m / intervals)
        targets_m[-1] = length_m
        after = np.searchsorted(distance_m, targets_m)
        before = np.maximum(after - 1, 0)
        gap_m = distance_m[after] - distance_m[before]
        far = gap_m >= _SMALLEST_M
        weight = np.where(far, targets_m - distance_m[before], 0) / np.where(far, gap_m, 1)
        upper = np.searchsorted(targets_m, distance_m).clip(1, intervals)
        nearer = targets_m[upper] - distance_m < distance_m - targets_m[upper - 1]
        nearest = np.asarray(upper - 1 + nearer, np.int32)
        return _Plan(distance_m, before, after, weight, nearest)

    def _normalized_tracks(self) -> NDArray[np.float32]:
        plan = self._plan
        made = np.empty((len(plan.weight), 2 * len(self._pad), 3), np.float32)
        for begin in range(0, len(made), _ROWS):
            rows = slice(begin, begin + _ROWS)
            first, last = int(plan.before[rows][0]), int(plan.after[rows][-1])
            points = self._points(slice(first, last + 1))
            before = points[plan.before[rows] - first]
            w = plan.weight[rows, None, None]
            made[rows] = before + w * (points[plan.after[rows] - first] - before)
        return made

    def _normalized_frames(self, name: str) -> NDArray[np.float32]:
        plan = self._plan
        q = exact.quaternions(getattr(self._fingers, name)[:, :3, :3])
        turned = exact.interpolate(q[plan.before], q[plan.after], plan.weight)
        return _f4(exact.pose(turned, plan.blend(self._origins(name))))


def _f4(values: Array) -> NDArray[np.float32]:
    return values.astype(np.float32)


def _seen_from(poses: Array, points: Array) -> list[Array]:
    """x, y and z [T, P] of points [P, 3] in a finger's frame."""
    x, y, z = points.T
    rows = poses[:, :3, :, None]
    return [((m[:, 0] * x + m[:, 1] * y) + m[:, 2] * z) + m[:, 3] for m in np.moveaxis(rows, 1, 0)]

"""The contact tracks of one episode, computed a second time with NumPy and SciPy.

An oracle, not a product: it follows the written geometry (joint table, pad, projection, resampling)
on whole arrays, reads its inputs with h5py and json, and shares no code with the C++ it judges.

Frames: `T_a_b` maps coordinates of b into a. `base` is the robot base (the outputs' "world").
Units: metres, radians, pixels, milliseconds.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib

import h5py
import numpy as np
from scipy.spatial.transform import Rotation

# One row per joint of robotiq_arg85: xyz of the joint, turn about z before it, sign of the joint
# angle about y.
FINGER_CHAINS = {
    "left": (((0.0127, 0.0, 0.0693), 0.0, -1.0), ((0.03458531, 0.0, 0.04549702), 0.0, +1.0)),
    "right": (((-0.0127, 0.0, 0.0693), math.pi, -1.0), ((0.03410605, 0.0, 0.04585739), 0.0, +1.0)),
}
MOUNT_YAW_RAD = math.pi / 2
PAD_X_M, PAD_Y_M, PAD_Z_M = -0.0078, (-0.011, 0.011), (0.007, 0.044)
NLERP_DOT = 0.9995


@dataclasses.dataclass
class Options:
    """What shapes the numbers; the defaults are the product's."""

    joint_max_rad: float = 0.725
    step_mm: float = 1.0
    min_point_depth_m: float = 0.01
    fps: float | None = None
    max_frames: int | None = None
    float32_distances: bool = False
    pose_time: str = "step"

    @classmethod
    def original(cls, **changes) -> "Options":
        """The settings of `--compat original`."""
        compat = cls(joint_max_rad=0.8, min_point_depth_m=0.1, fps=30.0, float32_distances=True)
        return dataclasses.replace(compat, **changes)


@dataclasses.dataclass
class Camera:
    serial: str
    pose: np.ndarray | None  # [6] of an external camera; of the wrist camera at t = 0
    K: np.ndarray | None
    size: tuple[int, int] = (1280, 720)
    capture_ms: np.ndarray | None = None  # [T]


@dataclasses.dataclass
class Episode:
    uuid: str
    relative_path: str
    metadata: dict
    cartesian: np.ndarray  # [T, 6]
    gripper: np.ndarray  # [T]
    step_start_ms: np.ndarray | None  # [T]
    externals: list[Camera]
    wrist: Camera | None

    @property
    def cameras(self) -> list[Camera]:
        return self.externals + ([self.wrist] if self.wrist else [])


# -------------------------------------------------------------------------------------------- input


def _intrinsics(entry) -> tuple[np.ndarray | None, tuple[int, int]]:
    """Both annotation forms; (None, …) when there is no usable entry."""
    if entry is None:
        return None, (0, 0)
    size = (1280, 720)
    if isinstance(entry, dict):
        size = (entry["width"], entry["height"])
        entry = entry["cameraMatrix"]
        if size[0] == 0:
            return None, (0, 0)
    fx, cx, fy, cy = entry
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), size


def load_episode(folder: pathlib.Path, root: pathlib.Path, annotations: pathlib.Path) -> Episode:
    """One raw episode: the superset's poses (else the metadata's), the annotated intrinsics."""
    (metadata_path,) = folder.glob("metadata_*.json")
    metadata = json.loads(metadata_path.read_text())
    uuid = metadata["uuid"]
    poses = json.loads((annotations / "cam2base_extrinsic_superset.json").read_text()).get(uuid, {})
    lenses = json.loads((annotations / "intrinsics.json").read_text()).get(uuid, {})

    with h5py.File(folder / "trajectory.h5", "r") as h5:
        state = h5["observation/robot_state"]
        stamps = h5["observation/timestamp"]
        steps = stamps["control/step_start"][:] if "control/step_start" in stamps else None
        captures = {}
        for name in stamps.get("cameras", {}):
            serial, _, what = name.partition("_")
            if what == "estimated_capture":
                captures[serial] = stamps["cameras"][name][:]
        cartesian, gripper = state["cartesian_position"][:], state["gripper_position"][:]

    def camera(serial: str, pose) -> Camera:
        K, size = _intrinsics(lenses.get(serial))
        return Camera(
            serial, None if pose is None else np.array(pose), K, size, captures.get(serial)
        )

    known = [
        metadata[f"{role}_cam_serial"]
        for role in ("ext1", "ext2")
        if metadata.get(f"{role}_cam_serial")
    ]
    annotated = [key for key in poses if key in known]
    externals = []
    for serial in annotated + [s for s in known if s not in annotated]:
        role = "ext1" if metadata["ext1_cam_serial"] == serial else "ext2"
        externals.append(camera(serial, poses.get(serial) or metadata[f"{role}_cam_extrinsics"]))
    wrist = camera(metadata["wrist_cam_serial"], metadata["wrist_cam_extrinsics"])
    return Episode(
        uuid, str(folder.relative_to(root)), metadata, cartesian, gripper, steps, externals, wrist
    )


# ----------------------------------------------------------------------------------------- geometry


def rigid(rotation: Rotation, origin) -> np.ndarray:
    """[..., 4, 4] from rotations and origins."""
    matrices = rotation.as_matrix()
    origin = np.broadcast_to(origin, matrices.shape[:-1])
    T = np.zeros(matrices.shape[:-2] + (4, 4))
    T[..., :3, :3], T[..., :3, 3], T[..., 3, 3] = matrices, origin, 1.0
    return T


def pose_matrix(pose) -> np.ndarray:
    """[..., 6] (xyz, Euler about the fixed axes x, y, z) -> [..., 4, 4]."""
    pose = np.asarray(pose, dtype=float)
    return rigid(Rotation.from_euler("xyz", pose[..., 3:]), pose[..., :3])


def transform(T: np.ndarray, points: np.ndarray) -> np.ndarray:
    """[..., 4, 4] x [..., N, 3] -> [..., N, 3]."""
    return np.einsum("...ij,...nj->...ni", T[..., :3, :3], points) + T[..., None, :3, 3]


def finger_in_gripper(side: str, joint_rad: np.ndarray) -> np.ndarray:
    """[T] joint angles -> [T, 4, 4] T_gripper_finger, walking the joint table."""
    T = np.broadcast_to(np.eye(4), (len(joint_rad), 4, 4))
    for xyz, yaw, sign in FINGER_CHAINS[side]:
        turn = Rotation.from_euler("z", yaw) * Rotation.from_euler("y", sign * joint_rad)
        T = T @ rigid(turn, xyz)
    return T


def pad_grid(count: int) -> np.ndarray:
    """The built-in pad: centres of `count` equal cells, y fastest; squarest factorisation."""
    width, height = PAD_Y_M[1] - PAD_Y_M[0], PAD_Z_M[1] - PAD_Z_M[0]

    def elongation(columns: int) -> float:
        cell_y, cell_z = width / columns, height / (count // columns)
        return max(cell_y, cell_z) / min(cell_y, cell_z)

    columns = min((c for c in range(1, count + 1) if count % c == 0), key=elongation)
    if elongation(columns) > 2:
        raise ValueError(f"{count} points make cells longer than 2:1")
    rows = count // columns
    y = PAD_Y_M[0] + (np.arange(columns) + 0.5) * width / columns
    z = PAD_Z_M[0] + (np.arange(rows) + 0.5) * height / rows
    zz, yy = np.meshgrid(z, y, indexing="ij")
    return np.stack([np.full(count, PAD_X_M), yy.ravel(), zz.ravel()], axis=-1)


def project(
    T_base_cam: np.ndarray, K: np.ndarray, points: np.ndarray, min_depth_m: float
) -> np.ndarray:
    """[..., N, 3] in base -> [..., N, 2] pixels, NaN at or nearer than `min_depth_m`."""
    q = transform(np.linalg.inv(T_base_cam), points)
    homogeneous = q @ K.T
    with np.errstate(divide="ignore", invalid="ignore"):
        pixels = homogeneous[..., :2] / homogeneous[..., 2:]
    return np.where(q[..., 2:] > min_depth_m, pixels, np.nan)


def slerp(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """[n,3,3], [n,3,3], [n] -> [n,3,3] along the shorter arc; nearly equal ones linear."""
    a, b = Rotation.from_matrix(first).as_quat(), Rotation.from_matrix(second).as_quat()
    dot = np.sum(a * b, axis=-1, keepdims=True)
    b, dot, w = np.where(dot < 0, -b, b), np.abs(dot), weight[:, None]
    angle = np.arccos(np.clip(dot, -1, 1))
    with np.errstate(divide="ignore", invalid="ignore"):
        arc = (np.sin((1 - w) * angle) * a + np.sin(w * angle) * b) / np.sin(angle)
    return Rotation.from_quat(np.where(dot > NLERP_DOT, (1 - w) * a + w * b, arc)).as_matrix()


def blend(
    values: np.ndarray, before: np.ndarray, after: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """Linear between rows `before` and `after` of `values`."""
    w = weight.reshape((-1,) + (1,) * (values.ndim - 1))
    values = values.astype(np.float64)
    return (1 - w) * values[before] + w * values[after]


def blend_frames(
    frames: np.ndarray, before: np.ndarray, after: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    out = blend(frames, before, after, weight)
    out[:, :3, :3] = slerp(frames[before, :3, :3], frames[after, :3, :3], weight)
    return out


# --------------------------------------------------------------------------------------- resampling


@dataclasses.dataclass
class Sampling:
    """Resampled row m lies between frames before[m] and after[m], at weight[m]."""

    before: np.ndarray
    after: np.ndarray
    weight: np.ndarray
    frame_to_row: np.ndarray
    distance_m: np.ndarray


def path_lengths(centroids: np.ndarray, in_float32: bool) -> np.ndarray:
    """[T] path of the float32 centroids up to each frame, metres."""
    kind = np.float32 if in_float32 else np.float64
    steps = np.diff(centroids.astype(np.float32).astype(kind), axis=0)
    norms = np.sqrt((steps * steps).sum(axis=1, dtype=kind))
    return np.concatenate([[0], np.cumsum(norms, dtype=kind)]).astype(np.float64)


def resample(distance_m: np.ndarray, step_m: float) -> Sampling:
    T = len(distance_m)
    if T < 2:
        rows = np.arange(T)
        return Sampling(rows, rows, np.zeros(T), rows * 0, distance_m)
    length = distance_m[-1]
    if length < step_m:
        ends = np.array([0, T - 1])
        return Sampling(ends, ends, np.zeros(2), (np.arange(T) >= T // 2).astype(int), distance_m)
    targets = np.linspace(0.0, length, math.ceil(length / step_m) + 1)
    after = np.searchsorted(distance_m, targets, side="left").clip(0, T - 1)
    before = np.maximum(after - 1, 0)
    gap = distance_m[after] - distance_m[before]
    weight = np.where(
        gap < 1e-10, 0.0, (targets - distance_m[before]) / np.where(gap < 1e-10, 1.0, gap)
    )
    nearest = np.abs(distance_m[:, None] - targets[None, :]).argmin(axis=1)
    return Sampling(before, after, weight, nearest, distance_m)


def measured_fps(step_start_ms: np.ndarray | None) -> float:
    if step_start_ms is None or len(step_start_ms) < 2:
        return 15.0
    steps = np.diff(step_start_ms).astype(float)
    usual = steps[steps <= 3 * np.median(steps)]
    return 1000.0 / usual.mean() if len(usual) and usual.mean() > 0 else 15.0


# ----------------------------------------------------------------------------------------- products


def _at_times(times_ms, step_start_ms, T_base_ee, gripper):
    """Robot poses and gripper positions at other times; held at both ends."""
    clock = step_start_ms.astype(float)
    place = np.interp(times_ms.astype(float), clock, np.arange(len(clock)))
    before = np.floor(place).astype(int).clip(0, max(len(clock) - 2, 0))
    after = np.minimum(before + 1, len(clock) - 1)
    weight = place - before
    return blend_frames(T_base_ee, before, after, weight), blend(gripper, before, after, weight)


def finger_points(T_base_ee, gripper, points, joint_max_rad):
    """T_base_gripper [T,4,4], T_base_finger by side, and the points [T,2P,3], left first."""
    T_base_gripper = T_base_ee @ rigid(Rotation.from_euler("z", MOUNT_YAW_RAD), np.zeros(3))
    joint_rad = np.clip(gripper, 0, 1) * joint_max_rad
    fingers = {side: T_base_gripper @ finger_in_gripper(side, joint_rad) for side in FINGER_CHAINS}
    both = np.concatenate([transform(fingers[side], points) for side in ("left", "right")], axis=1)
    return T_base_gripper, fingers, both


def _with_origin(frames: np.ndarray, origin: np.ndarray) -> np.ndarray:
    out = frames.copy()
    out[:, :3, 3] = origin
    return out


def compute(
    episode: Episode, points: np.ndarray, options: Options = Options()
) -> tuple[dict, dict]:
    """(tracks.npz, extrinsics.npz) as dictionaries of arrays in the stored dtypes."""
    limit = slice(options.max_frames)
    cartesian, gripper = episode.cartesian[limit], episode.gripper[limit]
    stamps = None if episode.step_start_ms is None else episode.step_start_ms[limit]
    T, P = len(cartesian), len(points)
    T_base_ee = pose_matrix(cartesian)
    T_base_gripper, fingers, tracks = finger_points(
        T_base_ee, gripper, points, options.joint_max_rad
    )
    centroids = tracks.mean(axis=1)
    frames = {
        "": _with_origin(T_base_gripper, centroids),
        "left_": _with_origin(fingers["left"], tracks[:, :P].mean(axis=1)),
        "right_": _with_origin(fingers["right"], tracks[:, P:].mean(axis=1)),
    }

    distance_m = path_lengths(centroids, options.float32_distances)
    rows = resample(distance_m, options.step_mm / 1000)
    between = (rows.before, rows.after, rows.weight)
    out = {
        "tracks_3d": tracks.astype(np.float32),
        "contact_points_local": np.asarray(points, dtype=np.float64),
        "contact_centroids": centroids.astype(np.float32),
        "normalized_tracks_3d": blend(tracks, *between).astype(np.float32),
        "normalized_centroids": blend(centroids, *between).astype(np.float32),
        "cumulative_distance_mm": distance_m * 1000,
        "frame_to_normalized_idx": rows.frame_to_row.astype(np.int32),
        "normalized_step_size_mm": np.float64(options.step_mm),
        "num_normalized_steps": np.int64(len(rows.weight)),
        "gripper_poses": T_base_gripper,
        "gripper_positions": gripper,
        "cartesian_positions": cartesian,
        "num_frames": np.int64(T),
        "num_points_per_finger": np.int64(P),
        "fps": np.float64(options.fps if options.fps is not None else measured_fps(stamps)),
    }
    for prefix, poses in frames.items():
        out[f"{prefix}contact_frames"] = poses.astype(np.float32)
        out[f"normalized_{prefix}frames"] = blend_frames(poses, *between).astype(np.float32)

    extrinsics = {"num_frames": np.int64(T)}
    drawn = []
    for camera in episode.cameras:
        is_wrist = camera is episode.wrist
        T_base_ee_seen, points_seen = T_base_ee, tracks
        if options.pose_time == "capture":
            capture = camera.capture_ms[limit]
            T_base_ee_seen, gripper_seen = _at_times(capture, stamps, T_base_ee, gripper)
            points_seen = finger_points(
                T_base_ee_seen, gripper_seen, points, options.joint_max_rad
            )[2]
        if camera.pose is None:
            continue
        T_base_cam = pose_matrix(camera.pose)
        if is_wrist:
            T_base_cam = T_base_ee_seen @ (np.linalg.inv(T_base_ee[0]) @ T_base_cam)
            extrinsics["wrist_extrinsics"] = T_base_cam
            extrinsics["wrist_serial"] = np.array(camera.serial)
        else:
            extrinsics[f"external_{camera.serial}"] = T_base_cam
        if camera.K is None:
            continue
        drawn.append(camera.serial)
        pixels = project(T_base_cam, camera.K, points_seen, options.min_point_depth_m)
        out[f"tracks_2d_{camera.serial}"] = pixels.astype(np.float32)
        out[f"intrinsics_{camera.serial}"] = camera.K
        out[f"image_size_{camera.serial}"] = np.array(camera.size, dtype=np.int64)
    out["cameras_with_2d_tracks"] = np.array(drawn, dtype=str)
    return out, extrinsics


# --------------------------------------------------------------------------------------- comparison

POSITIONS = ("tracks_3d", "contact_centroids", "normalized_tracks_3d", "normalized_centroids")
FRAMES = tuple(
    f"{prefix}{side}{name}"
    for prefix, name in (("", "contact_frames"), ("normalized_", "frames"))
    for side in ("", "left_", "right_")
) + ("gripper_poses", "wrist_extrinsics")


def difference(key: str, have: np.ndarray, want: np.ndarray) -> str | None:
    """None when `have` agrees with `want` to the tolerance of its kind; else what is wrong."""
    have, want = np.asarray(have), np.asarray(want)
    if have.shape != want.shape:
        return f"{key}: shape {have.shape}, expected {want.shape}"
    if want.dtype == object or want.dtype.kind == "U":
        same = have.astype(str).tolist() == want.astype(str).tolist()
        return None if same else f"{key}: {have.tolist()}, expected {want.tolist()}"
    if want.dtype.kind == "i":
        return (
            None if np.array_equal(have, want) else f"{key}: {np.sum(have != want)} integers differ"
        )

    def far(part: str, a: np.ndarray, b: np.ndarray, tolerance: float) -> str | None:
        if not np.array_equal(np.isnan(a), np.isnan(b)):
            return f"{key}{part}: NaN at {np.isnan(a).sum()} places, expected {np.isnan(b).sum()}"
        worst = np.nanmax(np.abs(a.astype(np.float64) - b)) if np.any(~np.isnan(b)) else 0.0
        return (
            None
            if worst <= tolerance
            else f"{key}{part}: {worst:.3g} away, tolerance {tolerance:g}"
        )

    if key in FRAMES or key.startswith("external_"):
        return (
            far(" rotation", have[..., :3, :3], want[..., :3, :3], 2e-5)
            or far(" origin", have[..., :3, 3], want[..., :3, 3], 2e-6)
            or far(" last row", have[..., 3, :], want[..., 3, :], 0.0)
        )
    if key in POSITIONS:
        return far("", have, want, 2e-6)
    if key == "cumulative_distance_mm":
        return far("", have, want, 1e-3)
    if key.startswith("tracks_2d_"):
        return far("", have, want, 2e-3)
    return far("", have, want, 1e-9)


def differences(have, want) -> list[str]:
    """Every key of `want` that `have` lacks or has otherwise."""
    missing = [f"{key}: missing" for key in want if key not in have]
    found = [difference(key, have[key], want[key]) for key in want if key in have]
    return missing + [text for text in found if text]

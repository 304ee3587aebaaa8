"""An episode: tracks, poses, intrinsics, depth and quality, each read when asked for."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from .compact import open_tracks
from .depth import Depth
from .errors import BadFile, DroidflowError, NoAttribute, NotFound
from .flow import Flow
from .npz import Npz
from .place import Blob

_Value = TypeVar("_Value")


class Files(Protocol):
    """The files of an episode, wherever they lie. Can be pickled."""

    @property
    def folder(self) -> str:
        """{lab}/{outcome}/{date}/{time}"""
        ...

    @property
    def name(self) -> str:
        """For messages."""
        ...

    def names(self) -> list[str]: ...

    def blob(self, name: str) -> Blob: ...

    def quality(self) -> dict[str, Any]: ...


def parse_object(blob: Blob) -> dict[str, Any]:
    """A JSON object. Raises BadFile."""
    try:
        value = json.loads(bytes(blob.read(0, blob.size)))
    except ValueError as error:
        raise BadFile(blob.name, "JSON", str(error)) from error
    if not isinstance(value, dict):
        raise BadFile(blob.name, "a JSON object", type(value).__name__)
    return value


def within_image(pixels: NDArray[Any], size_px: NDArray[Any]) -> NDArray[np.bool_]:
    """[…] of […, 2]. Pixel (0, 0) is the centre of the top-left one; NaN is not within."""
    u, v = pixels[..., 0], pixels[..., 1]
    width, height = map(float, size_px)
    return np.asarray((u >= -0.5) & (v >= -0.5) & (u < width - 0.5) & (v < height - 0.5))


@dataclasses.dataclass(frozen=True)
class Intrinsics:
    """Of the rectified left image, pixels and metres. The original pipeline says no source."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    k1: float = 0
    k2: float = 0
    p1: float = 0
    p2: float = 0
    k3: float = 0
    source: str | None = None
    approximate: bool | None = None
    baseline_m: float | None = None
    baseline_source: str | None = None

    @property
    def K(self) -> NDArray[np.float64]:  # noqa: N802
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1.0]])


class ByCamera(Mapping[str, _Value]):
    """Something of every camera by serial; `ext1`, `ext2` and `wrist` are understood, too."""

    def __init__(self, episode: Episode, serials: list[str], load: Callable[[str], _Value]):
        self._episode, self._serials, self._load = episode, serials, load

    def __iter__(self) -> Iterator[str]:
        return iter(self._serials)

    def __len__(self) -> int:
        return len(self._serials)

    def __contains__(self, camera: object) -> bool:
        return isinstance(camera, str) and self._episode.serial(camera) in self._serials

    def __getitem__(self, camera: str) -> _Value:
        if camera not in self:
            raise NotFound(self._episode.name, f"camera {camera}", ", ".join(self) or "none")
        return self._load(self._episode.serial(camera))


class Episode:
    """Every key of tracks.npz and extrinsics.npz is an attribute, and episode[key], too.

    Arrays are read-only; large ones of local files are views of them. Can be pickled; what was
    read stays behind.
    """

    tracks_3d: NDArray[np.float32]
    contact_points_local: NDArray[np.float64]
    contact_centroids: NDArray[np.float32]
    contact_frames: NDArray[np.float32]
    left_contact_frames: NDArray[np.float32]
    right_contact_frames: NDArray[np.float32]
    cumulative_distance_mm: NDArray[np.float64]
    frame_to_normalized_idx: NDArray[np.int32]
    normalized_tracks_3d: NDArray[np.float32]
    normalized_centroids: NDArray[np.float32]
    normalized_frames: NDArray[np.float32]
    normalized_left_frames: NDArray[np.float32]
    normalized_right_frames: NDArray[np.float32]
    normalized_step_size_mm: float
    num_normalized_steps: int
    gripper_poses: NDArray[np.float64]
    gripper_positions: NDArray[np.float64]
    cartesian_positions: NDArray[np.float64]
    timestamps_ms: NDArray[np.int64]
    num_frames: int
    num_points_per_finger: int
    fps: float

    def __init__(self, files: Files, instructions: tuple[str, ...] = ()):
        self.files = files
        self.folder, self.name = files.folder, files.name
        self._instructions = instructions

    def __reduce__(self) -> tuple[Any, ...]:
        return Episode, (self.files, self._instructions)

    def __repr__(self) -> str:
        return f"Episode({self.name!r})"

    def __dir__(self) -> list[str]:
        keys: list[str] = []
        with contextlib.suppress(DroidflowError):
            keys = self.keys()
        return [*super().__dir__(), *keys]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # as copy and pickle ask for
            raise AttributeError(name)
        if (own := vars(Episode).get(name)) is not None:  # it raised an AttributeError
            return own.__get__(self)
        if name not in self:
            raise NoAttribute(self.name, f"key {name!r}", ", ".join(self))
        value = self[name]
        return value if value.ndim else value.item()

    def __iter__(self) -> Iterator[str]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self.keys())

    def __contains__(self, key: object) -> bool:
        return any(key in arrays for arrays in self._arrays)

    def __getitem__(self, key: str) -> NDArray[Any]:
        """An array as it stands in tracks.npz or extrinsics.npz."""
        for arrays in self._arrays:
            if key in arrays:
                return arrays[key]
        raise NotFound(self.name, f"key {key!r}", ", ".join(self))

    def keys(self) -> list[str]:
        return list(dict.fromkeys(key for arrays in self._arrays for key in arrays))

    @property
    def _arrays(self) -> Iterator[Mapping[str, NDArray[Any]]]:
        """Of tracks.npz, and where it is there of extrinsics.npz."""
        yield self._tracks
        with contextlib.suppress(NotFound):
            yield self._extrinsics

    @functools.cached_property
    def _tracks(self) -> Mapping[str, NDArray[Any]]:
        return open_tracks(self.files.blob("tracks.npz"))

    @functools.cached_property
    def _extrinsics(self) -> Npz:
        return Npz(self.files.blob("extrinsics.npz"))

    @functools.cached_property
    def quality(self) -> dict[str, Any]:
        """quality.json"""
        return self.files.quality()

    @property
    def uuid(self) -> str:
        return str(self._said("episode_id"))

    def _said(self, key: str) -> Any:
        if key not in self.quality:
            found = ", ".join(self.quality) or "{}"
            raise BadFile(f"{self.name}/quality.json", f"the key {key}", found)
        return self.quality[key]

    @property
    def language(self) -> tuple[str, ...]:
        """Instructions: of the annotation file that the data set was given, else of the one that
        the episode was made with, else as recorded."""
        annotated = tuple(text for text in self._instructions if text)
        annotated = annotated or tuple(self.quality.get("language") or ())
        recorded = self.quality.get("current_task")
        return annotated or ((recorded,) if recorded else ())

    @property
    def keep_ranges(self) -> list[tuple[int, int]] | None:
        """Half-open ranges of steps that are not idle, of the annotation file that the episode was
        made with; None: it does not have the episode."""
        ranges = self.quality.get("keep_ranges")
        return None if ranges is None else [(begin, end) for begin, end in ranges]

    @property
    def idle(self) -> NDArray[np.bool_]:
        """[T] whether the robot rests, by `idle_ranges` of quality.json"""
        if "idle_ranges" not in self.quality:
            found = "results of the original pipeline, or of an older droidflow"
            raise NoAttribute(self.name, "idle_ranges in quality.json", found)
        idle = np.zeros(int(self._said("num_frames")), bool)
        for begin, end in self.quality["idle_ranges"]:
            idle[begin:end] = True
        return idle

    @property
    def cameras(self) -> dict[str, str]:
        """role -> serial: ext1, ext2, … in the annotation's order, wrist"""
        roles = {f"ext{i}": s for i, s in enumerate(self._said("external_cameras"), 1)}
        wrist = self.quality.get("wrist_camera")
        return {**roles, "wrist": wrist} if wrist else roles

    def serial(self, camera: str) -> str:
        """The serial of a role; a serial is its own."""
        return camera if camera.isdecimal() else self.cameras.get(camera, camera)

    @property
    def tracks_2d(self) -> ByCamera[NDArray[np.float32]]:
        """[T, N, 2] pixels; NaN at or behind the minimum point depth, not clipped to the image"""
        return ByCamera(self, self._with_tracks(), lambda serial: self[f"tracks_2d_{serial}"])

    @property
    def image_size(self) -> ByCamera[NDArray[np.int64]]:
        """[2] width, height in pixels, of what the 2-D tracks are in"""
        return ByCamera(self, self._with_tracks(), lambda serial: self[f"image_size_{serial}"])

    @property
    def visible(self) -> ByCamera[NDArray[np.bool_]]:
        """[T, N] whether the 2-D track is within the image"""

        return ByCamera(
            self,
            self._with_tracks(),
            lambda serial: within_image(self.tracks_2d[serial], self.image_size[serial]),
        )

    @property
    def intrinsics(self) -> ByCamera[Intrinsics]:
        known = {field.name for field in dataclasses.fields(Intrinsics)}

        def load(serial: str) -> Intrinsics:
            blob = self.files.blob(f"recordings/{serial}/intrinsics.json")
            values = {k: v for k, v in parse_object(blob).items() if k in known}
            try:
                return Intrinsics(**values)
            except TypeError as error:
                raise BadFile(blob.name, "fx fy cx cy width height", ", ".join(values)) from error

        return ByCamera(self, self._with_file("intrinsics.json"), load)

    @property
    def video(self) -> ByCamera[dict[str, Any]]:
        """video.json: which frame of the raw recording shows each step"""
        return ByCamera(
            self,
            self._with_file("video.json"),
            lambda serial: parse_object(self.files.blob(f"recordings/{serial}/video.json")),
        )

    def depth(self, camera: str) -> Depth:
        """Raises NotFound for a camera without depth."""
        serial = self.serial(camera)
        if serial not in self._depths:
            having = ByCamera(self, self._with_file("depth_meta.json"), self._open_depth)
            if serial not in having:
                reason = (self.quality.get("depth") or {}).get(serial, {}).get("reason")
                found = reason or f"it of cameras {', '.join(having) or '(none)'}"
                raise NotFound(self.name, f"depth of camera {camera}", found)
            self._depths[serial] = having[serial]
        return self._depths[serial]

    def T_base_cam(self, camera: str, t: int | None = None) -> NDArray[np.float64]:  # noqa: N802
        """[4, 4] pose of the left lens at step t, or without t [T, 4, 4] of all steps.

        From camera coordinates (x right, y down, z forward) to the robot's base.
        """
        serial, known = self.serial(camera), self._extrinsics
        if f"external_{serial}" in known:
            fixed = known[f"external_{serial}"]
            poses = np.broadcast_to(fixed, (int(known["num_frames"]), 4, 4))
        elif "wrist_serial" in known and str(known["wrist_serial"]) == serial:
            poses = known["wrist_extrinsics"]
        else:
            raise NotFound(self.name, f"a pose of camera {camera}", ", ".join(known))
        return poses if t is None else poses[t]

    def normalized(self, step_mm: float | None = None) -> Flow:
        """Steps of equal travelled distance: as in the file, or at most `step_mm` apart."""
        return Flow(self, step_mm)

    @functools.cached_property
    def _depths(self) -> dict[str, Depth]:
        return {}

    def _open_depth(self, serial: str) -> Depth:
        meta = self.files.blob(f"recordings/{serial}/depth_meta.json")
        return Depth(
            self.files.blob(f"recordings/{serial}/depth.mkv"), parse_object(meta), meta.name
        )

    @functools.cached_property
    def _names(self) -> list[str]:
        return self.files.names()

    def _with_tracks(self) -> list[str]:
        return [str(serial) for serial in self["cameras_with_2d_tracks"]]

    def _with_file(self, file: str) -> list[str]:
        parts = (name.split("/") for name in self._names)
        return [p[1] for p in parts if len(p) == 3 and p[0] == "recordings" and p[2] == file]

"""Episodes for the Rerun viewer, by its package rerun-sdk."""

from __future__ import annotations

import os
import pathlib
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset
from .episode import Episode
from .errors import DroidflowError, NotFound
from .raw import RawEpisode

_COLOURS = np.array([[255, 150, 20], [0, 200, 255]], np.uint8)  # left finger, right finger
_JPEG_QUALITY = 85


def open_episode(place: str | os.PathLike[str]) -> Episode:
    """The episode of a folder {results}/{lab}/{outcome}/{date}/{time}. Raises NotFound."""
    folder = pathlib.Path(place).resolve()
    if not (folder / "tracks.npz").is_file():
        raise NotFound(folder, "the results of an episode", "no tracks.npz")
    results = folder.parents[3]
    return Dataset(results)[str(folder.relative_to(results))]


def write_rrd(
    episode: Episode,
    output: str | os.PathLike[str],
    *,
    droid_root: pathlib.Path | None = None,
    cameras: Sequence[str] = (),
    width_px: int = 640,
    every: int = 1,
) -> list[str]:
    """Writes poses, tracks, pictures and depth over the steps' Unix time; whole or not at all.

    @param droid_root  the raw episodes; None: no pictures.
    @param cameras     roles or serials; none: all with 2-D tracks.
    @param width_px    of pictures and depth, at most; 0: as they were recorded.
    @param every       takes each K-th step.
    @return            what could not be shown, and why.
    """
    import rerun as rr

    steps = range(0, int(episode.num_frames), every)
    record = rr.RecordingStream("droidflow", recording_id=episode.uuid)
    output = pathlib.Path(output)
    with tempfile.TemporaryDirectory(prefix=".droidflow-", dir=output.absolute().parent) as folder:
        half = pathlib.Path(folder, output.name)
        record.save(half)
        _log_motion(rr, record, episode, steps)
        notes: list[str] = []
        for camera in cameras or list(episode.tracks_2d):
            notes += _log_camera(rr, record, episode, camera, steps, droid_root, width_px)
        record.flush()
        record.disconnect()
        os.replace(half, output)
    return notes


def _set_time(record: Any, episode: Episode, step: int) -> None:
    record.set_time("step", sequence=step)
    if "timestamps_ms" in episode.keys():
        stamp = np.datetime64(int(episode.timestamps_ms[step]), "ms")
        record.set_time("time", timestamp=stamp.astype("datetime64[ns]"))
    else:
        record.set_time("time", duration=step / float(episode.fps))


def _log_motion(rr: Any, record: Any, episode: Episode, steps: range) -> None:
    points = episode.tracks_3d.shape[1]
    colours = np.repeat(_COLOURS, points // 2, axis=0)
    record.log("world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    record.log("world/path", rr.LineStrips3D([episode.normalized_centroids]), static=True)
    text = [f"{episode.uuid}", *episode.language]
    text += [f"{warning['code']}: {warning['text']}" for warning in episode.quality["warnings"]]
    record.log("status", rr.TextDocument("\n\n".join(text)), static=True)
    for step in steps:
        _set_time(record, episode, step)
        record.log("world/tracks", rr.Points3D(episode.tracks_3d[step], colors=colours))
        record.log("world/contact", _pose(rr, episode.contact_frames[step]))
        record.log("gripper", rr.Scalars(float(episode.gripper_positions[step])))


def _pose(rr: Any, pose: NDArray[Any]) -> Any:
    return rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3])


def _log_camera(
    rr: Any,
    record: Any,
    episode: Episode,
    camera: str,
    steps: range,
    droid_root: pathlib.Path | None,
    width_px: int,
) -> list[str]:
    serial = episode.serial(camera)
    names = {serial: role for role, serial in episode.cameras.items()}
    at = f"world/{names.get(serial, serial)}"
    pixels, intrinsics = episode.tracks_2d[serial], episode.intrinsics[serial]
    width, height = (int(side) for side in episode.image_size[serial])
    scale = min(1.0, width_px / width) if width_px else 1.0
    shown = max(round(width * scale), 1), max(round(height * scale), 1)
    # A pixel's centre is a whole number, on the large picture as on the small one.
    K = intrinsics.K * scale  # noqa: N806
    K[:2, 2], K[2, 2] = (intrinsics.K[:2, 2] + 0.5) * scale - 0.5, 1
    record.log(f"{at}/image", rr.Pinhole(image_from_camera=K, resolution=shown), static=True)
    colours = np.repeat(_COLOURS, pixels.shape[1] // 2, axis=0)
    for step in steps:
        _set_time(record, episode, step)
        record.log(at, _pose(rr, episode.T_base_cam(serial, step)))
        seen = np.isfinite(pixels[step]).all(axis=1)
        marks = (pixels[step][seen] + 0.5) * scale  # from the corner of the first pixel
        record.log(f"{at}/image/tracks", rr.Points2D(marks, colors=colours[seen], radii=1.5))
    notes = []
    try:
        for step, picture in _pictures(episode, serial, steps, droid_root, shown):
            _set_time(record, episode, step)
            record.log(f"{at}/image", rr.Image(picture).compress(jpeg_quality=_JPEG_QUALITY))
    except DroidflowError as error:
        notes.append(f"camera {serial}: {error}")
    try:
        depth = episode.depth(serial)
    except NotFound:
        return notes
    rows = (2 * np.arange(shown[1]) + 1) * depth.shape[1] // (2 * shown[1])
    columns = (2 * np.arange(shown[0]) + 1) * depth.shape[2] // (2 * shown[0])
    for step in steps:
        if (frame := int(depth.step_to_frame[step])) < 0:
            continue
        _set_time(record, episode, step)
        metres = np.nan_to_num(depth[frame][np.ix_(rows, columns)])
        record.log(f"{at}/image/depth", rr.DepthImage(np.rint(metres * 1000).astype("u2"), meter=1000))
    return notes


def _pictures(
    episode: Episode,
    serial: str,
    steps: range,
    droid_root: pathlib.Path | None,
    size_px: tuple[int, int],
) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    if droid_root is None:
        raise NotFound(episode.name, "raw episodes for pictures (--droid-root)", "none")
    video = episode.video[serial]
    frames = [(step, frame) for step in steps if (frame := video["step_to_frame"][step]) is not None]
    frames = [(step, frame) for step, frame in frames if frame >= 0]
    pictures = RawEpisode(droid_root, episode).pictures(video, [f for _, f in frames], size_px)
    yield from zip((step for step, _ in frames), pictures)

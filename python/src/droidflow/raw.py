"""What only the raw episodes have: scene, actions, pictures."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .episode import Episode, parse_object
from .errors import BadFile, NotFound
from .place import LocalBlob


class RawEpisode:
    """The raw files of an episode, below `droid_root`."""

    def __init__(self, droid_root: pathlib.Path, episode: Episode):
        self._folder = droid_root / episode.folder
        self._episode = episode

    def metadata(self) -> dict[str, Any]:
        """metadata_{uuid}.json. Raises NotFound."""
        paths = sorted(self._folder.glob("metadata_*.json"))
        if not paths:
            raise NotFound(self._folder, "metadata_*.json", "none")
        return parse_object(LocalBlob(paths[0]))

    def actions(self) -> NDArray[np.float64]:
        """[T, 7] commanded x y z in metres, angles about the fixed axes x y z, gripper 0 … 1"""
        import h5py

        path = self._folder / "trajectory.h5"
        blob = LocalBlob(path)
        try:
            with h5py.File(path, "r") as file:
                pose = np.asarray(file["action/cartesian_position"], np.float64)
                gripper = np.asarray(file["action/gripper_position"], np.float64)
        except (KeyError, OSError) as error:
            raise BadFile(blob.name, "actions of DROID", str(error)) from error
        steps = int(self._episode.num_frames)
        if pose.shape != (steps, 6) or gripper.shape != (steps,):
            found = f"shapes {pose.shape} and {gripper.shape}"
            raise BadFile(path, f"actions of {steps} steps", found)
        return np.column_stack([pose, gripper])

    def pictures(
        self, video: dict[str, Any], frames: Iterable[int], size_px: tuple[int, int]
    ) -> Iterator[NDArray[np.uint8]]:
        """RGB [H, W, 3] of frames in rising order, the left eye's, resized to width and height.

        Of an SVO recording, which only its maker's software decodes: the MP4 file beside it.

        @param video  video.json
        """
        import av

        serial, of_svo = video["serial"], not str(video["kind"]).endswith("_mp4")
        name = f"recordings/MP4/{serial}.mp4" if of_svo else video["file"]
        path, eyes = self._folder / name, 2 if video["kind"] == "stereo_mp4" else 1
        width, height = size_px
        if not path.is_file():
            raise NotFound(path, f"a recording of camera {serial}", "none")
        wanted = iter(frames)
        next_wanted, count = next(wanted, None), 0
        try:
            with av.open(str(path)) as container:
                stream = container.streams.video[0]
                if of_svo and video["frames"] not in (None, stream.frames):
                    expected = f"{video['frames']} frames, as {video['file']} has"
                    raise BadFile(path, expected, f"{stream.frames}")
                stream.thread_type = "AUTO"
                for picture in container.decode(stream):
                    if next_wanted is None:
                        return
                    if next_wanted == count:
                        rgb = picture.to_ndarray(
                            format="rgb24",
                            width=eyes * width,
                            height=height,
                            interpolation="AREA",
                        )
                        left = np.ascontiguousarray(rgb[:, :width], np.uint8)
                        while next_wanted == count:
                            yield left
                            next_wanted = next(wanted, None)
                    count += 1
        except (av.FFmpegError, IndexError) as error:
            raise BadFile(path, "a video", str(error)) from error
        if next_wanted is not None:
            raise BadFile(path, f"frame {next_wanted}", f"{count} frames")

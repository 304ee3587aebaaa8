"""Windows of equal length over many episodes, for training."""

from __future__ import annotations

import collections
import itertools
import os
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .dataset import Dataset
from .episode import Episode, parse_object, within_image
from .errors import BadFile
from .place import LocalBlob

_EPISODE_FOLDER = re.compile(r"([^/]+/(?:success|failure)/[^/]+/[^/]+)/recordings")

Ranges = Mapping[str, Iterable[Sequence[int]]]


class EpisodeCache:
    """The episodes used last. A pickle takes none along; what fork copies are mapped pages only."""

    def __init__(self, dataset: Dataset, size: int):
        self._dataset, self._size = dataset, size
        self._episodes: collections.OrderedDict[str, Episode] = collections.OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        return EpisodeCache, (self._dataset, self._size)

    def __getitem__(self, uuid: str) -> Episode:
        if uuid not in self._episodes:
            self._episodes[uuid] = self._dataset[uuid]
            if len(self._episodes) > self._size:
                self._episodes.popitem(last=False)
        self._episodes.move_to_end(uuid)
        return self._episodes[uuid]


class Windows(Sequence[dict[str, Any]]):
    """windows[i]: `length` steps of an episode, as {"uuid", "start", key: array [length, …]}.

    @param stride  steps between the starts of windows.
    @param keys    of tracks.npz or extrinsics.npz, with an entry for each step.
    @param camera  serial or role (`wrist`, `ext1`): adds `tracks_2d` [length, N, 2] in pixels,
                   `visible` [length, N] (elsewhere pixels may be NaN), `K` and `T_base_cam`;
                   episodes without it are left out.
    @param keep    uuid or folder -> half-open ranges of steps; a window lies within one, and
                   episodes not named are left out. See read_keep_ranges.
    @param valid   episode -> [T] of bool; a window has true steps only.
    @param uuids   only these.

    Can be pickled; `valid` stays behind.
    """

    def __init__(
        self,
        dataset: Dataset,
        length: int,
        stride: int = 1,
        keys: Sequence[str] = ("tracks_3d",),
        camera: str | None = None,
        keep: Ranges | None = None,
        valid: Callable[[Episode], ArrayLike] | None = None,
        uuids: Iterable[str] | None = None,
        cached_episodes: int = 64,
    ):
        if length < 1 or stride < 1:
            raise ValueError(f"want a length and stride of 1 or more, have {length} and {stride}")
        self.length, self.keys, self.camera = length, tuple(keys), camera
        self._episodes = EpisodeCache(dataset, cached_episodes)
        self._which: list[tuple[str, int]] = []
        starts: list[NDArray[np.int64]] = []
        for uuid in dataset if uuids is None else uuids:
            episode = dataset[uuid]
            if camera is not None and camera not in episode.tracks_2d:
                continue
            steps = int(episode.quality["num_frames"])
            ranges: Iterable[Sequence[int]] = [(0, steps)]
            if keep is not None:
                ranges = keep.get(uuid, keep.get(episode.folder, ()))
            found = [
                np.arange(max(0, begin), min(end, steps) - length + 1, stride)
                for begin, end in ranges
            ]
            here = np.concatenate([np.empty(0, np.int64), *found])
            if valid is not None and len(here) > 0:
                flags = np.asarray(valid(episode), bool)
                if flags.shape != (steps,):
                    raise ValueError(
                        f"want valid of {steps} steps, have shape {flags.shape}: {uuid}"
                    )
                bad_before = np.concatenate([[0], np.cumsum(~flags)])
                here = here[bad_before[here + length] == bad_before[here]]
            self._which.append((uuid, steps))
            starts.append(here)
        self._firsts = np.array([0, *itertools.accumulate(map(len, starts))])
        self._starts = np.concatenate([np.empty(0, np.int64), *starts])

    def __len__(self) -> int:
        return len(self._starts)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(len(self))[index]]
        at = range(len(self))[index]
        uuid, steps = self._which[int(np.searchsorted(self._firsts, at, side="right")) - 1]
        episode, start = self._episodes[uuid], int(self._starts[at])
        here = slice(start, start + self.length)
        window: dict[str, Any] = {"uuid": uuid, "start": start}
        for key in self.keys:
            array = episode[key]
            if array.shape[:1] != (steps,):
                raise BadFile(episode.name, f"{key} of each of {steps} steps", f"{array.shape}")
            window[key] = array[here]
        if self.camera is not None:
            pixels = episode.tracks_2d[self.camera][here]
            window["tracks_2d"] = pixels
            window["visible"] = within_image(pixels, episode.image_size[self.camera])
            window["K"] = episode[f"intrinsics_{episode.serial(self.camera)}"]
            window["T_base_cam"] = episode.T_base_cam(self.camera)[here]
        return window


def read_keep_ranges(path: str | os.PathLike[str]) -> dict[str, list[tuple[int, int]]]:
    """folder -> half-open ranges of steps that are not idle, of DROID's keep_ranges_1_0_1.json."""
    ranges = {}
    for key, value in parse_object(LocalBlob(pathlib.Path(path))).items():
        if not (match := _EPISODE_FOLDER.search(key)):
            raise BadFile(path, "{lab}/{outcome}/{date}/{time}/recordings in each key", repr(key))
        ranges[match[1]] = [(int(begin), int(end)) for begin, end in value]
    return ranges

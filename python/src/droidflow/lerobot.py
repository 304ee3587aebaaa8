"""A LeRobot data set, version 3. Needs pyarrow, and with videos av and h5py.

Source  `lerobot` 0.4, lerobot/datasets
"""

from __future__ import annotations

import dataclasses
import fractions
import io
import json
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .dataset import Dataset
from .episode import Episode
from .errors import BadFile, NotFound
from .index import SHARES, SPLITS, scene_of
from .place import Place
from .provenance import Provenance
from .raw import RawEpisode

_FILES_PER_CHUNK = 1000
_DATA_FILE_MB = 100
_VIDEO_FILE_MB = 200
_VIDEO_FILE_S = 850  # and the last episode: from 1024 on float32 is coarser than LeRobot tolerates
_ROWS_AT_A_TIME = 1000  # of episodes
_NAME = "chunk-{chunk_index:03d}/file-{file_index:03d}"
_DATA_PATH = f"data/{_NAME}.parquet"
_VIDEO_PATH = f"videos/{{video_key}}/{_NAME}.mp4"
_EPISODES_PATH = f"meta/episodes/{_NAME}.parquet"
_NO_SPLIT = "unknown"  # of episodes without a scene
_CRF = "12"  # 37 dB in each picture of the hardest made-up wrist camera
_POSE = ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]
_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
_MAX_EPISODE_STATS = 8  # values; statistics of larger features are of the whole data set only

_Stats = dict[str, NDArray[np.float64]]


@dataclasses.dataclass(frozen=True)
class Options:
    """What is written. Without a root of the raw data: no videos, no actions, no splits."""

    droid_root: pathlib.Path | None = None
    cameras: Sequence[str] = ("wrist", "ext1", "ext2")
    size_px: tuple[int, int] = (320, 180)  # even, as H.264 has it
    fps: int = 15
    shares: Sequence[float] = SHARES


def export(
    dataset: Dataset,
    destination: pathlib.Path,
    options: Options,
    left_out: Callable[[str, Exception], None],
) -> tuple[int, int]:
    """Writes a data set, at once or not at all. Returns how many episodes and frames.

    @param left_out  is told folders of episodes that lack something, and what.
    """
    if destination.exists():
        raise BadFile(destination, "a new folder", "an old one")
    destination.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{destination.name}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=destination.parent) as staging:
        root = pathlib.Path(staging) / destination.name
        writer = _Writer(root, options)
        for folder, scene in _ordered(dataset, options, left_out):
            try:
                writer.add(dataset[folder], scene)
            except (NotFound, BadFile) as error:
                left_out(folder, error)
        writer.close(dataset.place)
        if writer.episodes == 0:
            raise NotFound(dataset.place.name, "an episode to export", "none")
        os.rename(root, destination)
    return writer.episodes, writer.frames


def _ordered(
    dataset: Dataset, options: Options, left_out: Callable[[str, Exception], None]
) -> list[tuple[str, dict[str, Any]]]:
    """Folders and scenes, split by split: LeRobot has splits as ranges of episodes."""
    scenes, known = [], set()
    for folder in dataset.folders:
        try:
            episode = dataset[folder]
            scenes.append((folder, scene_of(episode, options.droid_root, options.shares)))
            known |= {*episode.cameras, *episode.cameras.values()}
        except (NotFound, BadFile) as error:
            left_out(folder, error)
    for camera in options.cameras:
        if scenes and camera not in known:
            names = ", ".join(sorted(known)) or "none"
            raise NotFound(dataset.place.name, f"an episode with camera {camera!r}", names)
    order = {split: i for i, split in enumerate((*SPLITS, None))}
    return sorted(scenes, key=lambda each: order[each[1]["split"]])


class _Parts:
    """Numbered files, the next begun when the last is full."""

    def __init__(self, root: pathlib.Path, pattern: str, limit_mb: int):
        self._root, self._pattern, self._limit_bytes = root, pattern, limit_mb << 20
        self._number = -1
        self._path: pathlib.Path | None = None
        self._file: Any = None

    @property
    def place(self) -> tuple[int, int]:
        """Chunk and file."""
        return divmod(self._number, _FILES_PER_CHUNK)

    def _full(self) -> bool:
        return self._path is None or self._path.stat().st_size >= self._limit_bytes

    def _next(self) -> pathlib.Path:
        self.close()
        self._number += 1
        chunk, file = self.place
        self._path = self._root / self._pattern.format(chunk_index=chunk, file_index=file)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self._path

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


class _Tables(_Parts):
    def begin(self, schema: pa.Schema) -> None:
        """From here on `place` is that of the next rows."""
        if self._full():
            self._file = pq.ParquetWriter(self._next(), schema)

    def write(self, table: pa.Table) -> None:
        self._file.write_table(table)


class _Videos(_Parts):
    """Videos of episodes, one after another in each file."""

    def __init__(self, root: pathlib.Path, key: str, fps: int):
        super().__init__(root, _VIDEO_PATH.replace("{video_key}", key), _VIDEO_FILE_MB)
        self._fps, self._frames = fps, 0

    def _full(self) -> bool:
        return super()._full() or self._frames >= _VIDEO_FILE_S * self._fps

    def append(self, video: bytes, frames: int) -> int:
        """Returns the first frame's number in its file."""
        import av

        with av.open(io.BytesIO(video), "r") as source:
            if self._full():
                self._file = av.open(str(self._next()), "w")
                self._stream = self._file.add_stream_from_template(source.streams.video[0])
                self._frames = 0
            first, self._frames = self._frames, self._frames + frames
            for packet in source.demux(video=0):
                if packet.pts is not None and packet.dts is not None:  # the last is empty
                    offset = round(first / self._fps / packet.time_base)
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    packet.stream = self._stream
                    self._file.mux(packet)
        return first


def _encode(
    pictures: Iterator[NDArray[np.uint8]], options: Options, histogram: NDArray[np.int64]
) -> bytes:
    """H.264 in MP4. Counts the values [3, 256] of the pictures.

    Any frame is at most one after a key frame, as in LeRobot's own videos: training reads at random.
    """
    import av

    video = io.BytesIO()
    with av.open(video, "w", format="mp4") as container:
        stream = container.add_stream("libx264", fractions.Fraction(options.fps))
        stream.width, stream.height = options.size_px
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": _CRF, "g": "2", "bf": "0"}
        for picture in pictures:
            for channel in range(3):
                histogram[channel] += np.bincount(picture[..., channel].ravel(), minlength=256)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return video.getvalue()


class _Writer:
    """Episodes one by one; what one of them needs is in memory."""

    def __init__(self, root: pathlib.Path, options: Options):
        self._root, self._options = root, options
        self.episodes = self.frames = 0
        self._features: dict[str, dict[str, Any]] = {}
        self._tasks: dict[str, int] = {}
        self._splits: dict[str, list[int]] = {}
        self._stats: dict[str, _Stats] = {}
        self._rows: list[dict[str, Any]] = []
        self._provenance = Provenance()
        self._data = _Tables(root, _DATA_PATH, _DATA_FILE_MB)
        self._index = _Tables(root, _EPISODES_PATH, _DATA_FILE_MB)
        cameras = options.cameras if options.droid_root else ()
        keys = [f"observation.images.{camera}" for camera in cameras]
        self._videos = {key: _Videos(root, key, options.fps) for key in keys}

    def add(self, episode: Episode, scene: dict[str, Any]) -> None:
        options = self._options
        values = _features(episode, options)
        pictures: dict[str, Iterator[NDArray[np.uint8]]] = {}
        if options.droid_root:
            raw = RawEpisode(options.droid_root, episode)
            values["action"] = raw.actions().astype(np.float32)
            shown, steps = _shown(episode, options.cameras)
            values = {key: array[steps] for key, array in values.items()}
            for key, camera, frames in zip(self._videos, options.cameras, shown):
                pictures[key] = raw.pictures(episode.video[camera], frames, options.size_px)
        length = len(values["step"])
        language = list(episode.language) or [""]
        task = self._tasks.get(language[0], len(self._tasks))
        values |= {
            "timestamp": (np.arange(length) / options.fps).astype(np.float32),
            "frame_index": np.arange(length),
            "episode_index": np.full(length, self.episodes),
            "index": self.frames + np.arange(length),
            "task_index": np.full(length, task),
        }
        features = {key: _feature(key, array) for key, array in values.items()}
        for key, have in features.items():
            if (want := self._features.get(key, have)) != have:
                found = f"{have['dtype']} {have['shape']}"
                raise BadFile(
                    episode.name, f"{key} as of others, {want['dtype']} {want['shape']}", found
                )

        stats = {key: _stats_of(array) for key, array in values.items() if np.isfinite(array).all()}
        videos = {}
        for key, of_key in pictures.items():
            histogram = np.zeros((3, 256), np.int64)
            videos[key] = _encode(of_key, options, histogram)
            stats[key] = _stats_of_pictures(histogram, length)

        # What could be wrong with the episode would have been found by now.
        row = {
            "episode_index": self.episodes,
            "tasks": language[:1],
            "length": length,
            "dataset_from_index": self.frames,
            "dataset_to_index": self.frames + length,
            "uuid": episode.uuid,
            "folder": episode.folder,
            "lab": scene["lab"],
            "outcome": scene["outcome"],
            "split": scene["split"] or _NO_SPLIT,
            "language": language,
        }
        self._features = features
        self._tasks.setdefault(language[0], task)
        self._provenance.add(episode.quality)
        self._splits.setdefault(row["split"], [self.episodes, 0])[1] = self.episodes + 1
        self.episodes += 1
        self.frames += length
        table = _table(values, features)
        self._data.begin(table.schema)
        self._data.write(table)
        row["data/chunk_index"], row["data/file_index"] = self._data.place
        for key, video in videos.items():
            first = self._videos[key].append(video, length)
            place = self._videos[key].place
            row[f"videos/{key}/chunk_index"], row[f"videos/{key}/file_index"] = place
            row[f"videos/{key}/from_timestamp"] = first / options.fps
            row[f"videos/{key}/to_timestamp"] = (first + length) / options.fps
        for key, said in stats.items():
            if said["mean"].size <= _MAX_EPISODE_STATS:
                row |= {f"stats/{key}/{name}": value.tolist() for name, value in said.items()}
            self._stats[key] = _merged(self._stats[key], said) if key in self._stats else said
        self._rows.append(row)
        if len(self._rows) == _ROWS_AT_A_TIME:
            self._write_rows()

    def _write_rows(self) -> None:
        if not self._rows:
            return
        schema = pa.Table.from_pylist(self._rows[:1]).schema
        places = ("meta/episodes/chunk_index", "meta/episodes/file_index")
        for place in places:
            schema = schema.append(pa.field(place, pa.int64()))
        self._index.begin(schema)
        rows = [row | dict(zip(places, self._index.place)) for row in self._rows]
        self._index.write(pa.Table.from_pylist(rows, schema))
        self._rows = []

    def close(self, source: Place) -> None:
        """Without an episode: nothing."""
        self._write_rows()
        for parts in (self._data, self._index, *self._videos.values()):
            parts.close()
        if self.episodes == 0:
            return
        width, height = self._options.size_px
        video = {
            "dtype": "video",
            "shape": [height, width, 3],
            "names": ["height", "width", "channels"],
            "info": {
                "video.height": height,
                "video.width": width,
                "video.codec": "h264",
                "video.pix_fmt": "yuv420p",
                "video.is_depth_map": False,
                "video.fps": self._options.fps,
                "video.channels": 3,
                "has_audio": False,
            },
        }
        info = {
            "codebase_version": "v3.0",
            "robot_type": "franka",
            "total_episodes": self.episodes,
            "total_frames": self.frames,
            "total_tasks": len(self._tasks),
            "chunks_size": _FILES_PER_CHUNK,
            "data_files_size_in_mb": _DATA_FILE_MB,
            "video_files_size_in_mb": _VIDEO_FILE_MB,
            "fps": self._options.fps,
            "splits": {split: f"{a}:{b}" for split, (a, b) in self._splits.items()},
            "data_path": _DATA_PATH,
            "video_path": _VIDEO_PATH if self._videos else None,
            "features": {**dict.fromkeys(self._videos, video), **self._features},
        }
        stats = {
            key: {name: value.tolist() for name, value in of_key.items()}
            for key, of_key in self._stats.items()
            if of_key["count"] == self.frames  # never NaN
        }
        (self._root / "meta/info.json").write_text(json.dumps(info, indent=4))
        made = self._provenance.document(source)
        (self._root / "meta/droidflow.json").write_text(json.dumps(made, indent=4))
        (self._root / "meta/stats.json").write_text(json.dumps(stats, indent=4))
        pq.write_table(_tasks_table(list(self._tasks)), self._root / "meta/tasks.parquet")


def _features(episode: Episode, options: Options) -> dict[str, NDArray[Any]]:
    """[T, …] of an episode; pixels are those of the resized pictures."""
    count = int(episode.num_frames)
    tracks = episode.tracks_3d
    state = np.column_stack([episode.cartesian_positions, episode.gripper_positions])
    times_ms = getattr(episode, "timestamps_ms", np.full(count, -1))
    values: dict[str, NDArray[Any]] = {
        "observation.state": state.astype(np.float32),
        "tracks_3d": tracks,
        "step": np.arange(count),
        "time_ms": times_ms,
    }
    for camera in options.cameras:
        pixels = np.full((*tracks.shape[:2], 2), np.nan, np.float32)
        matrix, pose = np.full((3, 3), np.nan), np.full((count, 4, 4), np.nan)
        if camera in episode.tracks_2d:
            scale = np.array(options.size_px) / episode.image_size[camera]
            shift = (scale - 1) / 2  # pixel (0, 0) is the centre of the top-left one
            resize = np.array([[scale[0], 0, shift[0]], [0, scale[1], shift[1]], [0, 0, 1]])
            pixels = (episode.tracks_2d[camera] * scale + shift).astype(np.float32)
            matrix = resize @ episode[f"intrinsics_{episode.serial(camera)}"]
        try:
            pose = episode.T_base_cam(camera)
        except NotFound:
            if camera in episode.tracks_2d:
                raise
        values[f"tracks_2d.{camera}"] = pixels
        values[f"K.{camera}"] = np.broadcast_to(matrix.astype(np.float32), (count, 3, 3))
        values[f"T_base_cam.{camera}"] = pose.astype(np.float32)
    return values


def _shown(episode: Episode, cameras: Sequence[str]) -> tuple[list[list[int]], NDArray[np.int64]]:
    """The steps that all cameras show, and for each camera the frames that do."""
    frames = np.array([episode.video[camera]["step_to_frame"] for camera in cameras])
    steps = np.flatnonzero((frames >= 0).all(axis=0))
    if len(steps) == 0:
        raise NotFound(episode.name, "a step that every camera shows", "none")
    return frames[:, steps].tolist(), steps


def _feature(key: str, array: NDArray[Any]) -> dict[str, Any]:
    names = _POSE if key in ("observation.state", "action") else None
    return {"dtype": str(array.dtype), "shape": list(array.shape[1:]) or [1], "names": names}


def _table(values: dict[str, NDArray[Any]], features: dict[str, dict[str, Any]]) -> pa.Table:
    """With the types as Hugging Face's `datasets` keeps them."""
    types = {}
    for key, feature in features.items():
        dtype, shape = feature["dtype"], feature["shape"]
        one = {"dtype": dtype, "_type": "Value"}
        if len(shape) > 1:
            types[key] = {"shape": shape, "dtype": dtype, "_type": f"Array{len(shape)}D"}
        elif shape == [1]:
            types[key] = one
        else:
            types[key] = {"feature": one, "length": shape[0], "_type": "Sequence"}
    table = pa.table({key: _column(values[key]) for key in features})
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": types}})})


def _column(array: NDArray[Any]) -> pa.Array:
    column = pa.array(array.reshape(-1))
    if array.ndim == 2:
        return pa.FixedSizeListArray.from_arrays(column, array.shape[1])
    for length in reversed(array.shape[1:]):
        ends = np.arange(0, len(column) + 1, length, dtype=np.int32)
        column = pa.ListArray.from_arrays(ends, column)
    return column


def _tasks_table(tasks: list[str]) -> pa.Table:
    """As pandas writes a frame whose index is the task."""
    index = "__index_level_0__"
    kinds = [("task_index", "task_index", "int64", "int64"), (None, index, "unicode", "object")]
    names = ("name", "field_name", "pandas_type", "numpy_type")
    columns = [{**dict(zip(names, kind)), "metadata": None} for kind in kinds]
    pandas = {"index_columns": [index], "column_indexes": [], "columns": columns}
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), index: tasks})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _stats_of(array: NDArray[Any]) -> _Stats:
    values = array.reshape(len(array), *(array.shape[1:] or [1])).astype(np.float64)
    return {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        "count": np.array([len(values)]),
        **dict(zip(_QUANTILES, np.quantile(values, list(_QUANTILES.values()), axis=0))),
    }


def _stats_of_pictures(histogram: NDArray[np.int64], count: int) -> _Stats:
    """[3, 1, 1] of values from 0 to 1"""
    values = np.arange(256) / 255
    share = histogram / histogram.sum(axis=1, keepdims=True)
    below = np.cumsum(share, axis=1)
    mean = share @ values

    def reached(part: float) -> NDArray[np.float64]:
        return np.array([values[min(255, int(np.searchsorted(of_one, part)))] for of_one in below])

    stats = {
        "min": np.array([values[of_one > 0].min() for of_one in share]),
        "max": np.array([values[of_one > 0].max() for of_one in share]),
        "mean": mean,
        "std": np.sqrt(np.maximum(0, share @ values**2 - mean**2)),
        **{name: reached(part) for name, part in _QUANTILES.items()},
    }
    return {
        **{name: value.reshape(3, 1, 1) for name, value in stats.items()},
        "count": np.array([count]),
    }


def _merged(a: _Stats, b: _Stats) -> _Stats:
    """Quantiles are means of the episodes', as LeRobot has them."""
    count = a["count"] + b["count"]
    part = float(b["count"][0] / count[0])
    mixed = {name: (1 - part) * a[name] + part * b[name] for name in ("mean", *_QUANTILES)}
    apart = part * (1 - part) * (a["mean"] - b["mean"]) ** 2
    return {
        **mixed,
        "min": np.minimum(a["min"], b["min"]),
        "max": np.maximum(a["max"], b["max"]),
        "std": np.sqrt((1 - part) * a["std"] ** 2 + part * b["std"] ** 2 + apart),
        "count": count,
    }

"""A table of episodes: what to choose them by, and which split each is in. Needs pyarrow."""

from __future__ import annotations

import os
import pathlib
import tempfile
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .dataset import Dataset
from .episode import Episode
from .errors import BadFile, NotFound
from .raw import RawEpisode
from .splits import SHARES, SPLITS, split_of
from .windows import Ranges

__all__ = ["SHARES", "SPLITS", "rows", "scene_of", "split_of", "write_index"]

_CAMERA = {
    "serial": pa.string(),
    "role": pa.string(),
    "intrinsics_source": pa.string(),
    "extrinsics_source": pa.string(),
    "metric_type": pa.string(),
    "metric_value": pa.float64(),
    "in_image_fraction": pa.float64(),
    "depth_valid_fraction": pa.float64(),
}
_SCHEMA = pa.schema(
    {
        "uuid": pa.string(),
        "folder": pa.string(),
        "lab": pa.string(),
        "outcome": pa.string(),
        "building": pa.string(),
        "scene_id": pa.int64(),
        "split": pa.string(),
        "num_frames": pa.int64(),
        "fps": pa.float64(),
        "path_length_mm": pa.float64(),
        "language": pa.list_(pa.string()),
        "current_task": pa.string(),
        "cameras": pa.list_(pa.struct(_CAMERA)),
        "keep_ranges": pa.list_(pa.list_(pa.int64())),
        "idle_ranges": pa.list_(pa.list_(pa.int64())),
        "warnings": pa.list_(pa.string()),
    }
)


def scene_of(
    episode: Episode, droid_root: pathlib.Path | None, shares: Sequence[float] = SHARES
) -> dict[str, Any]:
    """lab, outcome, building, scene_id and split.

    The last three are None where neither quality.json nor raw metadata tells: the original
    pipeline's results do not.
    """
    lab, outcome, *_ = episode.folder.split("/")
    said = episode.quality
    if "building" not in said and droid_root:
        said = RawEpisode(droid_root, episode).metadata()
    building, scene = said.get("building"), said.get("scene_id")
    return {
        "lab": lab,
        "outcome": outcome,
        "building": building,
        "scene_id": scene,
        "split": _split(lab, building, scene, shares),
    }


def rows(
    dataset: Dataset,
    droid_root: pathlib.Path | None = None,
    keep: Ranges | None = None,
    shares: Sequence[float] | None = None,
    left_out: Callable[[str, Exception], None] | None = None,
) -> Iterable[dict[str, Any]]:
    """One for each episode, in the order of folders.

    As the program's meta/episodes.jsonl has it; what it lacks, from the episode's files.

    @param shares    for the splits; None: those of the program's table, else 80/10/10.
    @param left_out  is told folders of episodes that lack something, and what; None: that raises.
    """
    for folder in dataset.folders:
        line = dataset.line(folder)
        try:
            row = _completed(line or {}, dataset[folder], droid_root)
            if line is not None and dataset.has_language:
                row = {**row, "language": list(dataset[folder].language)}
        except (NotFound, BadFile) as error:
            if left_out is None:
                raise
            left_out(folder, error)
            continue
        if shares is not None or row.get("split") is None:
            scene = row["lab"], row["building"], row["scene_id"]
            row = {**row, "split": _split(*scene, shares or SHARES)}
        if keep is not None:
            found = keep.get(row["uuid"], keep.get(folder))
            ranges = None if found is None else [list(range_) for range_ in found]
            row = {**row, "keep_ranges": ranges}
        yield {key: row.get(key) for key in _SCHEMA.names}


def _split(
    lab: str, building: str | None, scene: int | None, shares: Sequence[float]
) -> str | None:
    if building is None or scene is None:
        return None
    return split_of(lab, building, scene, shares)


def _completed(
    line: dict[str, Any], episode: Episode, droid_root: pathlib.Path | None
) -> dict[str, Any]:
    """A line of the program's table; of the original pipeline's results it does not have all."""
    wanted = ["num_frames", "fps", "path_length_mm", "cameras"]
    wanted += ["building", "scene_id"] if droid_root else []
    if all(line.get(key) not in (None, []) for key in wanted):
        return line
    said = {key: value for key, value in line.items() if value not in (None, [])}
    return _row(episode, droid_root) | said


def _row(episode: Episode, droid_root: pathlib.Path | None) -> dict[str, Any]:
    quality = episode.quality
    return {
        "uuid": episode.uuid,
        "folder": episode.folder,
        **scene_of(episode, droid_root),
        "num_frames": episode.num_frames,
        "fps": episode.fps,
        "path_length_mm": float(episode.cumulative_distance_mm[-1]),
        "language": list(episode.language),
        "current_task": quality.get("current_task"),
        "cameras": [_camera(serial, said) for serial, said in _cameras(episode).items()],
        "keep_ranges": quality.get("keep_ranges"),
        "idle_ranges": quality.get("idle_ranges"),
        "warnings": sorted({warning["code"] for warning in quality.get("warnings", ())}),
    }


def _cameras(episode: Episode) -> dict[str, dict[str, Any]]:
    """The original pipeline says roles only."""
    roles = {serial: {"role": role} for role, serial in episode.cameras.items()}
    return {**roles, **episode.quality.get("cameras", {})}


def _camera(serial: str, said: dict[str, Any]) -> dict[str, Any]:
    metric = said.get("calibration_metric") or {}
    own = {"serial": serial, "metric_type": metric.get("type"), "metric_value": metric.get("value")}
    return {key: own.get(key, said.get(key)) for key in _CAMERA}


def write_index(path: pathlib.Path, episodes: Iterable[dict[str, Any]]) -> int:
    """Writes rows as a Parquet file, at once or not at all. Returns how many."""
    table = pa.Table.from_pylist(list(episodes), _SCHEMA)
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".index-", dir=path.parent) as staging:
        staged = pathlib.Path(staging) / path.name
        pq.write_table(table, staged)
        os.replace(staged, path)
    return int(table.num_rows)

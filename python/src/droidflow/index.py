"""A table of episodes: what to choose them by, and which split each is in. Needs pyarrow."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from .dataset import Dataset
from .episode import Episode
from .raw import RawEpisode
from .windows import Ranges

SPLITS = ("train", "val", "test")
SHARES = (0.8, 0.1, 0.1)

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
        "cameras": pa.list_(pa.struct(_CAMERA)),
        "keep_ranges": pa.list_(pa.list_(pa.int64())),
    }
)


def split_of(lab: str, building: str, scene_id: int, shares: Sequence[float] = SHARES) -> str:
    """train, val or test, the same for all episodes of a scene.

    The first 8 bytes of the SHA-256 of the JSON text `[lab, building, scene_id]` are a number from
    0 to 1; the shares divide that range in their order.
    """
    digest = hashlib.sha256(json.dumps([lab, building, scene_id]).encode()).digest()
    place = int.from_bytes(digest[:8], "big") / 2**64 * sum(shares)
    if place < shares[0]:
        return SPLITS[0]
    return SPLITS[1] if place < shares[0] + shares[1] else SPLITS[2]


def scene_of(
    episode: Episode, droid_root: pathlib.Path | None, shares: Sequence[float] = SHARES
) -> dict[str, Any]:
    """lab, outcome, building, scene_id and split; without the raw metadata the last are None."""
    lab, outcome, *_ = episode.folder.split("/")
    metadata = RawEpisode(droid_root, episode).metadata() if droid_root else {}
    building, scene = metadata.get("building"), metadata.get("scene_id")
    split = None
    if building is not None and scene is not None:
        split = split_of(lab, building, scene, shares)
    return {
        "lab": lab,
        "outcome": outcome,
        "building": building,
        "scene_id": scene,
        "split": split,
    }


def rows(
    dataset: Dataset,
    droid_root: pathlib.Path | None = None,
    keep: Ranges | None = None,
    shares: Sequence[float] = SHARES,
) -> Iterable[dict[str, Any]]:
    """One for each episode, in the order of folders."""
    for folder in dataset.folders:
        episode = dataset[folder]
        ranges = None
        if keep is not None and (found := keep.get(episode.uuid, keep.get(folder))) is not None:
            ranges = [list(range_) for range_ in found]
        yield {
            "uuid": episode.uuid,
            "folder": folder,
            **scene_of(episode, droid_root, shares),
            "num_frames": episode.num_frames,
            "fps": episode.fps,
            "path_length_mm": float(episode.cumulative_distance_mm[-1]),
            "language": list(episode.language),
            "cameras": [_camera(serial, said) for serial, said in _cameras(episode).items()],
            "keep_ranges": ranges,
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

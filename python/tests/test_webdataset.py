"""Shards as the package webdataset reads them."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest


def test_webdataset_reads_every_member(out, shards):
    webdataset = pytest.importorskip("webdataset")
    archives = sorted(map(str, shards.glob("data/*/shard-*.tar")))
    samples = list(webdataset.WebDataset(archives, shardshuffle=False))
    folders = sorted(path.parent for path in out.glob("*/*/*/*/tracks.npz"))
    assert len(samples) == len(folders) == 3
    by_key = {sample["__key__"]: sample for sample in samples}
    for folder in folders:
        uuid = json.loads((folder / "quality.json").read_text())["episode_id"]
        sample = by_key[uuid]
        members = {
            path.relative_to(folder).as_posix().removeprefix("recordings/").replace("/", "."): path
            for path in folder.rglob("*")
            if path.is_file()
        }
        assert {name for name in sample if not name.startswith("__")} == set(members)
        for name, path in members.items():
            assert sample[name] == path.read_bytes()
        tracks = np.load(io.BytesIO(sample["tracks.npz"]))
        assert tracks["tracks_3d"].shape == (14, 40, 3)

"""PyTorch's own DataLoader over episodes and windows."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from conftest import STEPS, load

from droidflow import Dataset

pytestmark = pytest.mark.slow


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.fixture
def sets(torch):
    """droidflow.torch"""
    return importlib.import_module("droidflow.torch")


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_hand_over_whole_episodes(out, torch, sets, start):
    data = Dataset(out)
    loader = torch.utils.data.DataLoader(
        sets.EpisodeDataset(data, keys=["tracks_3d", "gripper_positions"]),
        batch_size=None,
        num_workers=2,
        multiprocessing_context=start,
    )
    samples = list(loader)
    assert [sample["uuid"] for sample in samples] == list(data)
    for sample in samples:
        arrays = load(out / data[sample["uuid"]].folder / "tracks.npz")
        for key in ("tracks_3d", "gripper_positions"):
            assert sample[key].dtype == torch.from_numpy(arrays[key]).dtype
            assert np.array_equal(sample[key].numpy(), arrays[key])


@pytest.mark.parametrize("workers", [0, 2])
def test_shuffled_batches_hold_every_window_once(out, torch, sets, workers):
    data, length = Dataset(out), 5
    windows = sets.WindowDataset(data, length, stride=2, keys=["tracks_3d"], camera="ext1")
    loader = torch.utils.data.DataLoader(
        windows,
        batch_size=3,
        shuffle=True,
        num_workers=workers,
        generator=torch.Generator().manual_seed(1),
    )
    seen = []
    for batch in loader:
        for i, (uuid, start) in enumerate(zip(batch["uuid"], batch["start"].tolist(), strict=True)):
            arrays = load(out / data[uuid].folder / "tracks.npz")
            assert np.array_equal(batch["tracks_3d"][i].numpy(), arrays["tracks_3d"][start : start + length])
            assert batch["visible"].dtype == torch.bool
            seen.append((uuid, start))
    wanted = [(uuid, start) for uuid in data for start in range(0, STEPS - length + 1, 2)]
    assert sorted(seen) == sorted(wanted) and seen != wanted

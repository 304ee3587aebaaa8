"""Data sets for PyTorch's DataLoader, with any number of workers, forked or spawned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch

from .dataset import Dataset
from .windows import EpisodeCache, Windows


def _tensors(sample: dict[str, Any]) -> dict[str, Any]:
    """Arrays as tensors with memory of their own; the rest as it is."""
    return {
        key: torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value
        for key, value in sample.items()
    }


class EpisodeDataset(torch.utils.data.Dataset[Any]):  # type: ignore[misc, unused-ignore]
    """dataset[i]: a whole episode, {"uuid", key: tensor}. Lengths differ: batch_size=None.

    @param keys       of tracks.npz or extrinsics.npz.
    @param transform  sample -> what the loader gets; must be picklable where workers are spawned.
    """

    def __init__(
        self,
        dataset: Dataset,
        keys: Sequence[str] = ("tracks_3d",),
        uuids: Iterable[str] | None = None,
        transform: Callable[[dict[str, Any]], Any] | None = None,
    ):
        self.uuids = list(dataset if uuids is None else uuids)
        self.keys, self._transform = tuple(keys), transform
        self._episodes = EpisodeCache(dataset, size=1)

    def __len__(self) -> int:
        return len(self.uuids)

    def __getitem__(self, index: int) -> Any:
        uuid = self.uuids[index]
        episode = self._episodes[uuid]
        sample = _tensors({"uuid": uuid, **{key: episode[key] for key in self.keys}})
        return self._transform(sample) if self._transform else sample


class WindowDataset(torch.utils.data.Dataset[Any]):  # type: ignore[misc, unused-ignore]
    """dataset[i]: a window, as droidflow.Windows makes it of the same arguments, of tensors."""

    def __init__(
        self,
        dataset: Dataset,
        length: int,
        transform: Callable[[dict[str, Any]], Any] | None = None,
        **options: Any,
    ):
        self.windows = Windows(dataset, length, **options)
        self._transform = transform

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> Any:
        sample = _tensors(self.windows[index])
        return self._transform(sample) if self._transform else sample

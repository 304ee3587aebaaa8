"""Reads what droidflow writes.

    data = droidflow.Dataset("out")              # or hf://datasets/NAMESPACE/NAME
    episode = data[uuid]
    episode.tracks_3d                            # [T, N, 3] metres, robot base

Letters of shapes: T control steps, N points of both fingers, M resampled steps, H and W pixels.
"""

from .dataset import Dataset
from .depth import Depth
from .episode import Episode, Intrinsics
from .errors import BadFile, DroidflowError, HubError, NoAttribute, NotFound, Unsupported
from .flow import Flow
from .windows import Windows, read_keep_ranges

__all__ = [
    "BadFile",
    "Dataset",
    "Depth",
    "DroidflowError",
    "Episode",
    "Flow",
    "HubError",
    "Intrinsics",
    "NoAttribute",
    "NotFound",
    "Unsupported",
    "Windows",
    "read_keep_ranges",
]

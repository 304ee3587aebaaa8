#!/usr/bin/env python3
"""Peak memory of one process for the longest episode: 2287 steps, a path of 20 m, 960 points."""

import json

import numpy as np

import common

folder = common.scratch("memory")
inputs = common.synth(folder / "data", episodes=1, steps=2287)
uuid = (folder / "data/episodes.txt").read_text().split()[0]
out = folder / "out"
wall, peak = common.seconds_and_peak_mb(
    [common.BINARY, "tracks", "--episode-id", uuid, *inputs, "--out", out])
quality = json.loads(next(out.rglob("quality.json")).read_text())
tracks = np.load(next(out.rglob("tracks.npz")))
assert tracks["tracks_3d"].shape == (2287, 960, 3)
print(f"path {quality['path_length_mm'] / 1000:.1f} m, {int(tracks['num_normalized_steps'])} resampled steps, {wall:.2f} s")
print(f"peak memory: {peak:.0f} MB; wanted: at most 256 MB")

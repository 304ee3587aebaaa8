#!/usr/bin/env python3
"""One episode (T = 300, 960 points, 3 cameras) on a RAM disk, one process start included, against cp."""

import shutil
import statistics

import common

RUNS = 15

folder = common.scratch("one")
inputs = common.synth(folder / "data", episodes=1, steps=300)
uuid = (folder / "data/episodes.txt").read_text().split()[0]
out = folder / "out"
command = [common.BINARY, "tracks", "--episode-id", uuid, *inputs, "--out", out]

common.run(*command[1:])
intrinsics = ["intrinsics", "--episode-id", uuid, *inputs, "--out", out]
common.run(*intrinsics)
common.run("verify", out)  # no time for a wrong answer
size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())

episode_s, copy_s, ratios = [], [], []
for _ in range(RUNS):
    shutil.rmtree(out)
    episode_s.append(common.seconds(command))
    copy = folder / "copy"
    copy_s.append(common.seconds(["cp", "-r", out, copy]))
    shutil.rmtree(copy)
    ratios.append(episode_s[-1] / copy_s[-1])

print(f"output: {size / 1e6:.1f} MB")
print(f"droidflow tracks: {common.spread(episode_s)}; wanted: at most 100 ms")
print(f"cp of the result: {common.spread(copy_s)}")
print(f"ratio, pair by pair: median {statistics.median(ratios):.2f}; wanted: at most 3")

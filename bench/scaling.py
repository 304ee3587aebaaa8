#!/usr/bin/env python3
"""A run of 40 episodes (T = 300) with one and with two workers, output on a RAM disk."""

import json
import pathlib
import shutil
import statistics
import threading
import time

import common

EPISODES = 40
RUNS = 3


def delete_finished(out, stop, deleted):
    """Keeps the RAM disk small: removes tracks.npz of episodes that are in place."""
    while not stop.wait(0.02):
        for file in out.glob("*/*/*/*/tracks.npz"):
            deleted.append(file)
            file.unlink()


folder = common.scratch("scaling")
inputs = common.synth(folder / "data", episodes=EPISODES, steps=300)


def rate(workers):
    out = folder / f"out-{workers}"
    stop, deleted = threading.Event(), []
    cleaner = threading.Thread(target=delete_finished, args=(out, stop, deleted))
    cleaner.start()
    start = time.perf_counter()
    summary = json.loads(common.run("metadata", "-1", workers, *inputs, "--out", out, "--json", "-q"))
    wall = time.perf_counter() - start
    stop.set()
    cleaner.join()
    assert summary["done"] == EPISODES, summary
    shutil.rmtree(out)
    return EPISODES / wall


rates = {1: [], 2: []}
for _ in range(RUNS):
    for workers in rates:
        rates[workers].append(rate(workers))
ratios = [two / one for one, two in zip(rates[1], rates[2])]
for workers, values in rates.items():
    print(f"{workers} worker(s): {common.spread(values, unit=1, name='episodes/s')}")
print(f"two workers over one, pair by pair: median {statistics.median(ratios):.2f}; wanted: at least 1.8")

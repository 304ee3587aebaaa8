"""How fast arrays come, against numpy.load in the same run: opening an episode, random windows.

    DROIDFLOW_BIN=build/release/bin/droidflow python3 python/bench/load_speed.py

Files are in the page cache. Every array is read to its last byte. Answers are compared first.
"""

from __future__ import annotations

import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np

ROOM = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOM / "src"))

import droidflow  # noqa: E402

BINARY = os.environ.get("DROIDFLOW_BIN", ROOM.parent / "build/release/bin/droidflow")
EPISODES, STEPS, LENGTH, WINDOWS, RUNS = 6, 300, 16, 200, 7
KEYS = ("tracks_3d", "gripper_poses")


def make(folder: pathlib.Path) -> droidflow.Dataset:
    """Episodes of 300 steps and 960 points."""
    raw, out = folder / "data", folder / "out"
    inputs = ["--droid-root", raw / "raw", "--annotations", raw / "annotations"]
    inputs += ["--conf-dir", raw / "conf"]
    for command in (
        ["synth", raw, "--episodes", EPISODES, "--steps", STEPS],
        ["metadata", -1, 1, *inputs, "--out", out],
    ):
        subprocess.run([BINARY, *map(str, command)], check=True, capture_output=True)
    return droidflow.Dataset(out)


def read(array: np.ndarray) -> np.ndarray:
    """Memory of its own, so that all of it was read."""
    return np.array(array)


def seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def open_episode(data: droidflow.Dataset) -> float:
    """Returns how long numpy.load takes for all members."""
    uuid = next(iter(data))
    path = pathlib.Path(data[uuid].name) / "tracks.npz"

    def all_members() -> np.ndarray:
        with np.load(path) as archive:
            return {key: archive[key] for key in archive.files}["tracks_3d"]

    def one_member() -> np.ndarray:
        with np.load(path) as archive:
            return archive["tracks_3d"]

    def ours() -> np.ndarray:
        return read(data[uuid].tracks_3d)

    assert ours().shape == (STEPS, 960, 3) and np.array_equal(ours(), all_members())
    mine, all_s, one_s = seconds(ours), seconds(all_members), seconds(one_member)
    print(f"open an episode, tracks_3d [{STEPS}, 960, 3] of {path.stat().st_size / 1e6:.0f} MB")
    print(f"  droidflow                  {mine * 1e3:8.2f} ms")
    print(f"  numpy.load, all members    {all_s * 1e3:8.2f} ms  {all_s / mine:6.1f} x as long")
    print(f"  numpy.load, tracks_3d only {one_s * 1e3:8.2f} ms  {one_s / mine:6.1f} x as long")
    return all_s


def open_other_layouts(data: droidflow.Dataset, all_s: float) -> None:
    """Against all members of the full layout."""
    for words in (["full", "zip"], ["compact", "none"], ["compact", "zip"]):
        layout, compress = words
        place = f"{data.place.name}-{layout}-{compress}"
        flags = ["--tracks-layout", layout, "--compress", compress, "-o", place, "-q"]
        subprocess.run(
            [BINARY, "convert", data.place.name, *flags], check=True, capture_output=True
        )
        other = droidflow.Dataset(place)
        uuid = next(iter(data))
        assert np.array_equal(other[uuid].tracks_3d, data[uuid].tracks_3d)
        mine = seconds(lambda: read(other[uuid].tracks_3d))  # noqa: B023
        name = f"droidflow, {layout}, {compress}"
        print(f"  {name:26} {mine * 1e3:8.2f} ms  {all_s / mine:6.1f}")


def random_windows(data: droidflow.Dataset) -> None:
    windows = droidflow.Windows(data, LENGTH, keys=KEYS, camera="ext1")
    order = np.random.default_rng(1).integers(len(windows), size=WINDOWS)
    known = [windows[i] for i in order]
    places = [(w["start"], pathlib.Path(data[w["uuid"]].name), w["uuid"]) for w in known]
    serials = {uuid: data[uuid].serial("ext1") for uuid in data}

    def ours() -> list[list[np.ndarray]]:
        return [
            [read(window[k]) for k in (*KEYS, "tracks_2d")]
            for window in map(windows.__getitem__, order)
        ]

    def plain() -> list[list[np.ndarray]]:
        found = []
        for start, folder, uuid in places:
            with np.load(folder / "tracks.npz") as archive:
                keys = (*KEYS, f"tracks_2d_{serials[uuid]}")
                found.append([read(archive[k][start : start + LENGTH]) for k in keys])
        return found

    for mine, theirs in zip(ours(), plain()):
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(mine, theirs))
    mine_s, plain_s = seconds(ours), seconds(plain)
    print(f"random windows of {LENGTH} steps: {', '.join(KEYS)}, tracks_2d of a camera")
    print(
        f"  droidflow.Windows          {WINDOWS / mine_s:8.0f} /s  {plain_s / mine_s:6.1f} x as many"
    )
    print(f"  numpy.load                 {WINDOWS / plain_s:8.0f} /s")


def main() -> None:
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="droidflow-bench-", dir=base) as folder:
        data = make(pathlib.Path(folder))
        open_other_layouts(data, open_episode(data))
        random_windows(data)


if __name__ == "__main__":
    main()

"""Size of tracks.npz in its layouts, and how long writing, reading and converting takes.

    DROIDFLOW_BIN=build/release/bin/droidflow python3 bench/tracks_layouts.py

An episode of 300 steps, 960 points, 3 cameras, on a RAM disk; one core. First every array of every
layout is compared with those of the plain one.
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

HERE = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HERE / "python/src"))

from droidflow.compact import open_tracks  # noqa: E402
from droidflow.place import MappedBlob  # noqa: E402

BINARY = os.environ.get("DROIDFLOW_BIN", HERE / "build/release/bin/droidflow")
STEPS, RUNS = 300, 7
LAYOUTS = [(layout, how) for layout in ("full", "compact") for how in ("none", "zip")]


def droidflow(*words: object) -> None:
    subprocess.run([BINARY, *map(str, words)], check=True, capture_output=True)


def milliseconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def check(plain: pathlib.Path, other: pathlib.Path) -> None:
    with np.load(plain) as expected:
        found = open_tracks(MappedBlob(other))
        assert list(found) == expected.files
        for key in expected.files:
            known, array = expected[key], found[key]
            assert array.dtype == known.dtype and array.shape == known.shape, key
            assert np.array_equal(array, known, equal_nan=known.dtype.kind == "f"), key


def main() -> None:
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="droidflow-bench-", dir=base) as folder:
        data, here = pathlib.Path(folder) / "data", pathlib.Path(folder)
        droidflow("synth", data, "--episodes", 1, "--steps", STEPS)
        inputs = ["--droid-root", data / "raw", "--annotations", data / "annotations"]
        inputs += ["--conf-dir", data / "conf", "--episode-id"]
        (h5,) = (data / "raw").rglob("trajectory.h5")
        inputs += [h5.parent.relative_to(data / "raw")]
        files = {}
        for layout, how in LAYOUTS:
            out = here / f"{layout}-{how}"
            droidflow("tracks", *inputs, "--out", out, "--tracks-layout", layout, "--compress", how)
            (files[layout, how],) = out.rglob("tracks.npz")
            check(files["full", "none"], files[layout, how])
        print("| layout, compression | size | write | read `tracks_3d` | read all | to full |")
        print("| --- | --- | --- | --- | --- | --- |")
        for layout, how in LAYOUTS:
            print(row(layout, how, files[layout, how], inputs, here))


def row(layout: str, how: str, path: pathlib.Path, inputs: list, here: pathlib.Path) -> str:
    flags = ["--tracks-layout", layout, "--compress", how, "--out", here / "again"]
    write_ms = milliseconds(lambda: droidflow("tracks", *inputs, *flags))

    def read(*keys: str) -> None:
        tracks = open_tracks(MappedBlob(path))
        for key in keys or tracks:
            np.array(tracks[key])  # a copy: of what is mapped every byte is read

    plain = ["--tracks-layout", "full", "--compress", "none", "-o", here / "back"]
    convert_ms = milliseconds(lambda: droidflow("convert", path.parent, *plain))
    cells = [
        f"{layout}, {how}",
        f"{path.stat().st_size / 1e6:.3g} MB",
        f"{write_ms:.0f} ms",
        f"{milliseconds(lambda: read('tracks_3d')):.1f} ms",
        f"{milliseconds(read):.0f} ms",
        f"{convert_ms:.0f} ms",
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Start-up with annotation files of the published size (126 MB intrinsics, 20 MB superset, 16 MB cam2base)."""

import json
import pathlib
import random
import subprocess
import sys

import common

INTRINSICS, SUPERSET, CAM2BASE, PATHS = 72000, 24000, 36000, 76000
RUNS = 5
random.seed(1)


def uuid(i):
    return f"LAB{i % 13}+{i:08x}+2023-{i % 12 + 1:02}-{i % 28 + 1:02}-{i % 24:02}h-{i % 60:02}m-{i // 60 % 60:02}s"


def number():
    return random.uniform(-3, 3)


def camera(i):
    values = [700 + number(), 640 + number(), 700 + number(), 360 + number()]
    if i % 8 == 0:
        return values
    return {"cameraMatrix": values, "distCoeffs": [0.0] * 12, "width": 1280, "height": 720}


def serials(i):
    return [str(20000000 + 7 * i % 9999999 + k) for k in range(3)]


def write(path, count, entry):
    """Adds made-up entries to the file's, as text of the published size."""
    entries = json.loads(path.read_text())
    entries.update((uuid(i), entry(i)) for i in range(count))
    path.write_text(json.dumps(entries, indent=4 if path.name != "episode_id_to_path.json" else None))


def superset(i):
    entry = {"relative_path": f"LAB{i % 13}/success/2023-01-01/folder"}
    for serial in serials(i)[:2]:
        entry |= {serial: [number() for _ in range(6)], f"{serial}_metric_type": "IoU",
                  f"{serial}_quality_metric": random.random(), f"{serial}_source": "Pred"}
    return entry


def generate(annotations):
    write(annotations / "intrinsics.json", INTRINSICS, lambda i: {s: camera(i) for s in serials(i)})
    write(annotations / "cam2base_extrinsic_superset.json", SUPERSET, superset)
    write(annotations / "cam2base_extrinsics.json", CAM2BASE, lambda i: {
        **{s: [number() for _ in range(6)] for s in serials(i)[:2]},
        "metric_type": "num_matches", "quality_metric": 9000.0, "source": "Pred"})
    write(annotations / "episode_id_to_path.json", PATHS, lambda i: f"LAB{i % 13}/success/2023-01-01/Day_{i:08}")


def main():
    folder = common.scratch("annotations")
    inputs = common.synth(folder / "data", episodes=4, steps=5)
    annotations = folder / "data/annotations"
    # In a process of its own: what a parent has in memory counts as its child's peak.
    subprocess.run([sys.executable, __file__, annotations], check=True)
    print("sizes in MB:", {file.name: round(file.stat().st_size / 1e6) for file in sorted(annotations.iterdir())})

    listed = json.loads(common.run("episodes", "-1", "--json", *inputs))
    assert listed["matching"] == 4 and listed["episodes"][0]["calibrated_cameras"] == 2, listed
    walls, peaks = [], []
    for _ in range(RUNS):
        wall, peak = common.seconds_and_peak_mb([common.BINARY, "episodes", "-1", *inputs])
        walls.append(wall)
        peaks.append(peak)
    print(f"start-up: {common.spread(walls)}; wanted: at most 3000 ms")
    print(f"peak memory: {max(peaks):.0f} MB; wanted: at most 300 MB")


if len(sys.argv) > 1:
    generate(pathlib.Path(sys.argv[1]))
else:
    main()

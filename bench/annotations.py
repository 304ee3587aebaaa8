#!/usr/bin/env python3
"""Start-up with annotation files of the published size (126 MB intrinsics, 20 MB superset, 16 MB cam2base)."""

import json
import random

import common

INTRINSICS, SUPERSET, CAM2BASE, PATHS = 72000, 24000, 36000, 76000
RUNS = 5

folder = common.scratch("annotations")
inputs = common.synth(folder / "data", episodes=4, steps=5)
out = folder / "out"
annotations = folder / "data/annotations"
random.seed(1)


def uuid(i):
    return f"LAB{i % 13}+{i:08x}+2023-{i % 12 + 1:02}-{i % 28 + 1:02}-{i % 24:02}h-{i % 60:02}m-{i // 60 % 60:02}s"


def number():
    return random.uniform(-3, 3)


def camera(i):
    values = [700 + number(), 640 + number(), 700 + number(), 360 + number()]
    if i % 2:
        return values
    return {"cameraMatrix": values, "distCoeffs": [0.0] * 12, "width": 1280, "height": 720}


def serials(i):
    return [str(20000000 + 7 * i % 9999999 + k) for k in range(3)]


def write(name, count, entry):
    """Adds made-up entries around the real ones, as text of the published size."""
    path = annotations / name
    entries = json.loads(path.read_text())
    entries.update((uuid(i), entry(i)) for i in range(count))
    path.write_text(json.dumps(entries, indent=1 if name != "episode_id_to_path.json" else None))
    return path.stat().st_size / 1e6


def superset(i):
    entry = {"relative_path": f"LAB{i % 13}/success/2023-01-01/folder"}
    for serial in serials(i)[:2]:
        entry |= {serial: [number() for _ in range(6)], f"{serial}_metric_type": "IoU",
                  f"{serial}_quality_metric": random.random(), f"{serial}_source": "Pred"}
    return entry


sizes = {
    "intrinsics.json": write("intrinsics.json", INTRINSICS, lambda i: {s: camera(i) for s in serials(i)}),
    "superset": write("cam2base_extrinsic_superset.json", SUPERSET, superset),
    "cam2base": write("cam2base_extrinsics.json", CAM2BASE, lambda i: {
        **{s: [number() for _ in range(6)] for s in serials(i)[:2]},
        "metric_type": "num_matches", "quality_metric": 9000.0, "source": "Pred"}),
    "paths": write("episode_id_to_path.json", PATHS, lambda i: f"LAB{i % 13}/success/2023-01-01/Day_{i:08}"),
}
print("sizes in MB:", {name: round(size) for name, size in sizes.items()})

listed = json.loads(common.run("episodes", "-1", "--json", *inputs))
assert listed["matching"] == 4 and listed["episodes"][0]["calibrated_cameras"] == 2, listed
walls, peaks = [], []
for _ in range(RUNS):
    wall, peak = common.seconds_and_peak_mb([common.BINARY, "episodes", "-1", *inputs])
    walls.append(wall)
    peaks.append(peak)
print(f"start-up: {common.spread(walls)}; wanted: at most 3000 ms")
print(f"peak memory: {max(peaks):.0f} MB; wanted: at most 300 MB")

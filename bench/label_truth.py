#!/usr/bin/env python3
"""Does `droidflow check` find wrong calibration and late pictures? Fifty made-up episodes whose error is known."""

import argparse
import json
import shutil
import statistics

import numpy as np

import common

ERRORS = [(0, 0), (1, 0), (2, 0), (5, 0), (0, 1), (0, 2), (0, 5)]


def rotation(axis, degrees):
    x, y, z = axis
    K = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.deg2rad(degrees)
    return np.eye(3) + np.sin(angle) * K + (1 - np.cos(angle)) * K @ K


def direction(random):
    v = random.normal(size=3)
    return v / np.linalg.norm(v)


def misplace(folder, cm, degrees, random):
    """Moves and turns the cameras of an episode's results, each in a direction of its own."""
    with np.load(folder / "extrinsics.npz") as npz:
        arrays = dict(npz)
    for name, pose in arrays.items():
        if name.startswith("external_") and pose.ndim == 2:
            pose[:3, 3] += cm / 100 * direction(random)
            pose[:3, :3] = pose[:3, :3] @ rotation(direction(random), degrees)
        if name == "wrist_extrinsics":
            error = np.eye(4)
            error[:3, 3] = cm / 100 * direction(random)
            error[:3, :3] = rotation(direction(random), degrees)
            arrays[name] = pose @ error
    np.savez(folder / "extrinsics.npz", **arrays)


def make(data, seed, steps):
    """Raw data and results of one episode; returns by how many frames its pictures are late."""
    late = np.random.default_rng(seed).uniform(-3, 3)
    common.run("synth", data, "--episodes", 1, "--steps", steps, "--seed", 1000 + seed, "--video", "mono",
               "--resolution", "VGA", "--time-offset-frames", f"{late:.3f}")
    common.run("metadata", 1, "--droid-root", data / "raw", "--annotations", data / "annotations", "--points", 48,
               "--out", data / "out")
    return late


def measure(data, seed):
    """Scores by error, and the time offsets."""
    random = np.random.default_rng(10_000 + seed)
    episode = next((data / "out").rglob("quality.json")).parent
    truth = data / "truth.npz"
    shutil.copy(episode / "extrinsics.npz", truth)
    wrist = json.loads((episode / "quality.json").read_text())["wrist_camera"]
    scores, offsets = {}, {}
    for cm, degrees in ERRORS:
        shutil.copy(truth, episode / "extrinsics.npz")
        misplace(episode, cm, degrees, random)
        [told] = json.loads(common.run("check", episode, "--droid-root", data / "raw", "--dry-run", "--json"))
        cameras = told["cameras"]
        external = [serial for serial in cameras if serial != wrist]
        scores[cm, degrees] = [[cameras[s]["score"] for s in external], cameras[wrist]["score"], told["score"]]
        offsets[cm, degrees] = [[cameras[s]["time_offset_frames"] for s in external], cameras[wrist]["time_offset_frames"]]
    return {"scores": scores, "offsets": offsets}


def separation(right, wrong):
    """The share on the right side of the best single threshold, and of pairs in the right order."""
    right, wrong = np.array(right), np.array(wrong)
    shares = [((right >= t).mean() + (wrong < t).mean()) / 2 for t in np.r_[right, wrong, 2]]
    return max(shares), (right > wrong).mean()


def near(told, truth):
    return np.mean([t is not None and abs(t - late) <= 0.5 for t, late in zip(told, truth, strict=True)])


def report(results):
    kinds = {
        "external camera": lambda s: [0 if x is None else x for x in s[0]],
        "wrist camera": lambda s: [0 if s[1] is None else s[1]],
        "episode": lambda s: [0 if s[2] is None else s[2]],
    }
    for name, pick in kinds.items():
        by_error = {error: [x for r in results for x in pick(r["scores"][error])] for error in ERRORS}
        print(f"{name}: median score " + ", ".join(
            f"{cm} cm {deg} deg {statistics.median(by_error[cm, deg]):.2f}" for cm, deg in ERRORS))
        for error in [(1, 0), (2, 0), (0, 1), (0, 2)]:
            threshold, pairs = separation(by_error[0, 0], by_error[error])
            print(f"  {error[0]} cm {error[1]} deg against none: {100 * threshold:.0f} % by one threshold, "
                  f"{100 * pairs:.0f} % of pairs")
    late = [r["late"] for r in results]
    for error in [(0, 0), (2, 0)]:
        external = [x for r in results for x in r["offsets"][error][0]]
        wrist = [r["offsets"][error][1] for r in results]
        print(f"time offset within half a frame, labels {error[0]} cm off: external "
              f"{100 * near(external, np.repeat(late, 2)):.0f} %, wrist {100 * near(wrist, late):.0f} %; wanted 90 %")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--steps", type=int, default=80)
    options = parser.parse_args()
    scratch = common.scratch("label-truth")
    results = []
    for seed in range(options.seeds):
        data = scratch / f"seed{seed}"
        late = make(data, seed, options.steps)
        results.append({"late": late, **measure(data, seed)})
        shutil.rmtree(data)
    report(results)


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Uploading next to the Hub's official client, the same trees to the same stand-in of the Hub.

    bench/upload_speed.py                  200 episodes of 4 files, 4 files of 50 MB
    bench/upload_speed.py --full           2,000 episodes of 4 files, 20 files of 100 MB
    bench/upload_speed.py --episodes 500 --large-files 0 --rounds 3

Both send by Git LFS (huggingface_hub with HF_HUB_DISABLE_XET=1: its pieces of Xet go elsewhere) over the
loopback to tests/hub_server, which takes 1 ms longer for every request than it must. A round is one
upload with each, to a new server; the client's start is not counted, droidflow's is. First of all the
server's trees must hold every file with its content.
"""

import argparse
import hashlib
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import time

import common

sys.path.insert(0, str(common.ROOT / "tests"))
import official_client  # noqa: E402
from hub_server.remote import RunningHub  # noqa: E402

REPO = "tester/speed"
CLIENT = """
import pathlib, sys, time
import huggingface_hub
api = huggingface_hub.HfApi(endpoint=sys.argv[1], token=sys.argv[2])
start = time.perf_counter()
api.create_repo(sys.argv[3], repo_type="dataset", private=True)
api.upload_folder(repo_id=sys.argv[3], repo_type="dataset", folder_path=sys.argv[4], ignore_patterns=".droidflow/**")
print(time.perf_counter() - start)
"""


def episode(out, number):
    return out / f"LAB{number % 13}/success/2023-07-{number // 13 % 28 + 1:02}/Fri_Jul__7_{number:05}_2023"


def write(path, size, rng):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".json":
        path.write_text(json.dumps({"text": rng.randbytes(size // 2).hex()}))
    else:
        path.write_bytes(rng.randbytes(size))


def small_tree(out, episodes):
    """Four files an episode, 5 to 500 kB, as many small as large on a logarithmic scale."""
    rng = random.Random(1)
    for number in range(episodes):
        for name in ("tracks.npz", "extrinsics.npz", "quality.json", "recordings/17225336/intrinsics.json"):
            write(episode(out, number) / name, int(5000 * 100 ** rng.random()), rng)


def large_tree(out, files, megabytes):
    rng = random.Random(2)
    for number in range(files):
        for name in ("tracks.npz", "extrinsics.npz", "quality.json"):
            write(episode(out, number) / name, 5000, rng)
        write(episode(out, number) / "recordings/17225336/depth.mkv", megabytes * 1_000_000, rng)


def content(out):
    found = {}
    for path in sorted(out.rglob("*")):
        if path.is_file():
            with open(path, "rb") as file:
                found[str(path.relative_to(out))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


def with_client(hub, out, home):
    environment = {**os.environ, **official_client.environment(home), "PYTHONPATH": str(official_client.install())}
    command = [sys.executable, "-c", CLIENT, hub.endpoint, hub.token, REPO, str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"the official client failed:\n{done.stderr}")
    return float(done.stdout)


def with_droidflow(hub, out, _):
    environment = {**os.environ, "HF_TOKEN": hub.token, "HF_ENDPOINT": hub.endpoint}
    command = [common.BINARY, "upload", out, "--hf-repo", REPO, "--hf-private", "--keep-uploaded"]
    start = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    wall = time.perf_counter() - start
    if done.returncode != 0:
        sys.exit(f"droidflow upload: exit {done.returncode}\n{done.stderr}")
    return wall


def measure(upload, out, wanted, home):
    """Seconds of one upload to a new server, which must then hold what is wanted."""
    shutil.rmtree(out / ".droidflow", ignore_errors=True)
    with RunningHub("--delay-ms", "1") as hub:
        wall = upload(hub, out, home)
        held = {path: told["sha256"] for path, told in hub.tree(REPO).items()}
        wrong = [path for path, sha256 in wanted.items() if held.get(path) != sha256]
        if wrong or hub.violations():
            sys.exit(f"{upload.__name__}: {len(wrong)} files are not as sent: {wrong[:3]}; {hub.violations()[:3]}")
    return wall


def compare(title, out, rounds, target, home, amount, unit):
    wanted = content(out)
    amount = amount or sum((out / path).stat().st_size for path in wanted) / 1e6
    walls = {with_client: [], with_droidflow: []}
    for number in range(rounds):
        order = list(walls) if number % 2 == 0 else list(walls)[::-1]
        for upload in order:
            walls[upload].append(measure(upload, out, wanted, home))
    client, ours = walls.values()
    ratio = statistics.median(a / b for a, b in zip(client, ours))
    print(f"{title}: droidflow {amount / statistics.median(ours):.1f} {unit}, "
          f"huggingface_hub {amount / statistics.median(client):.1f} {unit}; "
          f"{ratio:.2f} times as fast (median of {rounds} pairs); wanted: at least {target}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help="the sizes that the targets are about")
    parser.add_argument("--episodes", type=int, help="0: leave small files out")
    parser.add_argument("--large-files", type=int, help="0: leave large files out")
    parser.add_argument("--large-mb", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    sizes = [2000, 20, 100] if given.full else [200, 4, 50]
    asked = [given.episodes, given.large_files, given.large_mb]
    episodes, large, megabytes = [default if own is None else own for own, default in zip(asked, sizes)]
    try:
        official_client.install()
    except RuntimeError as error:
        print(f"nothing to compare with: {error}")
        return
    folder = common.scratch("upload")
    if episodes:
        small_tree(folder / "small", episodes)
        compare(f"{episodes} episodes of 4 files", folder / "small", given.rounds, 1.5, folder, 4 * episodes, "files/s")
        shutil.rmtree(folder / "small")
    if large:
        large_tree(folder / "large", large, megabytes)
        compare(f"{large} files of {megabytes} MB", folder / "large", given.rounds, 0.9, folder, None, "MB/s")


main()

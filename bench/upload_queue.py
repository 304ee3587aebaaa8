#!/usr/bin/env python3
"""A long queue: 400,000 small files of 100,000 episodes, uploaded to a folder on the RAM disk.

    bench/upload_queue.py [--episodes N]

Measures what it takes to enqueue an episode (its files are listed and written down in one transaction),
and the peak memory of the whole upload. First of all, every file must have arrived.
"""

import argparse
import contextlib
import os
import sqlite3
import subprocess
import time

import common

FILES = ("tracks.npz", "extrinsics.npz", "quality.json", "recordings/17225336/intrinsics.json")


def tree(out, episodes):
    for number in range(episodes):
        folder = out / f"LAB{number % 13}/success/2023-07-{number // 13 % 28 + 1:02}/Fri_Jul__7_{number:06}_2023"
        (folder / "recordings/17225336").mkdir(parents=True)
        for name in FILES:
            (folder / name).write_text(f'{{"episode": {number}}}')


def enqueued(queue):
    try:
        with contextlib.closing(sqlite3.connect(f"file:{queue}?mode=ro", uri=True)) as database:
            return database.execute("SELECT count(*) FROM entry").fetchone()[0]
    except sqlite3.OperationalError:
        return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--episodes", type=int, default=100_000)
    episodes = parser.parse_args().episodes
    folder = common.scratch("queue")
    tree(folder / "out", episodes)
    command = [common.BINARY, "upload", folder / "out", "--hub", f"file:{folder / 'hub'}", "--quiet"]
    start = time.perf_counter()
    process = subprocess.Popen([str(word) for word in command])
    queue_seconds = None
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        if queue_seconds is None:
            for queue in (folder / "out/.droidflow").rglob("*.sqlite*"):
                if not queue.name.endswith(("-wal", "-shm")) and enqueued(queue) >= episodes:
                    queue_seconds = time.perf_counter() - start
        time.sleep(0.05)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    names = {name.rpartition("/")[2] for name in FILES}
    arrived = sum(path.name in names for path in (folder / "hub").rglob("*"))
    if process.returncode != 0 or arrived != 4 * episodes:
        raise SystemExit(f"exit {process.returncode}, {arrived} of {4 * episodes} files arrived")
    print(f"{4 * episodes} files of {episodes} episodes in {wall:.0f} s")
    print(f"enqueue: {1000 * queue_seconds / episodes:.2f} ms per episode; wanted: at most 2")
    print(f"peak memory: {usage.ru_maxrss / 1000:.0f} MB; wanted: at most 200 MB")


main()

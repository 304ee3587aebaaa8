#!/usr/bin/env python3
"""A run over a bucket next to the same run over a folder, and what a large listing costs.

    bench/bucket_speed.py                  200 episodes of 300 steps, 3 rounds; 100,000 objects
    bench/bucket_speed.py --episodes 40 --objects 20000

The bucket is tests/bucket_server on the loopback, which takes 20 ms longer for every request than it must. A round is
`metadata` with two workers over the folder and then over the bucket, output on a RAM disk; first of all both must
write the same bytes. The stand-in has half of the cores and every run the other half, since no bucket takes time from
the cores of those who read it.
"""

import argparse
import http.server
import json
import os
import shutil
import statistics
import sys
import threading
import urllib.parse

import common

sys.path.insert(0, str(common.ROOT / "tests"))
from buckets import ROOT, Bucket  # noqa: E402

DELAY_MS = 20
PER_FOLDER = 13


class Listing(http.server.BaseHTTPRequestHandler):
    """The objects of one date, page by page, made up as they are asked for."""

    protocol_version = "HTTP/1.1"
    objects = 0

    def do_GET(self):
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlparse(self.path).query))
        prefix = query.get("prefix", "")
        date = "AUTOLab/success/2023-07-07/"
        if query.get("delimiter"):
            rest = date[len(prefix) :] if date.startswith(prefix) else ""
            page = {"prefixes": [prefix + rest[: rest.index("/") + 1]]} if rest else {}
        else:
            first = int(query.get("pageToken", 0))
            last = min(first + 1000, self.objects)
            page = {"items": [self.item(date, i) for i in range(first, last)]}
            if last < self.objects:
                page["nextPageToken"] = str(last)
        body = json.dumps(page).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    @staticmethod
    def item(date, i):
        episode, file = divmod(i, PER_FOLDER)
        name = f"recordings/MP4/{10000000 + file}.mp4"
        if file == 0:
            name = f"metadata_AUTOLab+{episode:08x}+2023-07-07-09h-42m-23s.json"
        return {
            "name": f"{date}Fri_Jul__7_09:42:23_2023_{episode:06}/{name}",
            "size": "1000000",
            "md5Hash": "AAAAAAAAAAAAAAAAAAAAAA==",
            "crc32c": "AAAAAA==",
        }

    def log_message(self, *_):
        pass


def measure_listing(objects):
    Listing.objects = objects
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Listing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    command = ["env", f"STORAGE_EMULATOR_HOST=127.0.0.1:{server.server_port}", common.BINARY]
    command += ["availability", "--droid-root", "gs://bucket", "--json"]
    wall, peak_mb = common.seconds_and_peak_mb(command)
    server.shutdown()
    print(f"listing {objects} objects: {peak_mb:.0f} MB, {wall:.1f} s; wanted: at most 150 MB for 100000")


def contents(out):
    found = {}
    for file in sorted(out.glob("*/*/*/*/**/*")):
        if file.name == "quality.json":
            found[file.relative_to(out)] = json.loads(file.read_text()) | {"timings_ms": None}
        elif file.is_file():
            found[file.relative_to(out)] = file.read_bytes()
    return found


def measure_runs(episodes, rounds):
    folder = common.scratch("bucket")
    inputs = common.synth(folder / "data", episodes=episodes, steps=300)
    cores = sorted(os.sched_getaffinity(0))
    half = len(cores) // 2
    os.sched_setaffinity(0, cores[half:])
    bucket = Bucket(folder / "bucket", "--delay-ms", DELAY_MS, "--md5-only")
    os.sched_setaffinity(0, cores[:half] or cores)
    bucket.raw.rmdir()
    (folder / "data/raw").rename(bucket.raw)
    roots = {"folder": bucket.raw, "bucket": ROOT}

    def run(root, selection, keep=False):
        out = folder / "out"
        command = ["env", *(f"{name}={value}" for name, value in bucket.env.items()), common.BINARY]
        command += ["metadata", selection, 2, *inputs[2:], "--droid-root", roots[root], "--points", 480]
        wall = common.seconds([*command, "--out", out, "-q"])
        made = contents(out) if keep else None
        assert len(list(out.glob("*/*/*/*/quality.json"))) == (episodes if selection == -1 else selection)
        shutil.rmtree(out)
        return made if keep else wall

    few = min(20, episodes)
    assert run("folder", few, keep=True) == run("bucket", few, keep=True), "both must write the same"
    walls = {root: [] for root in roots}
    for _ in range(rounds):
        for root in roots:
            walls[root].append(run(root, -1))
    for root, values in walls.items():
        print(f"{root}: {common.spread([episodes / wall for wall in values], unit=1, name='episodes/s')}")
    ratios = [here / there for here, there in zip(walls["folder"], walls["bucket"])]
    print(f"bucket over folder, pair by pair: median {statistics.median(ratios):.2f}; wanted: at least 0.8")
    bucket.stop()


parser = argparse.ArgumentParser()
parser.add_argument("--episodes", type=int, default=200)
parser.add_argument("--rounds", type=int, default=3)
parser.add_argument("--objects", type=int, default=100_000)
given = parser.parse_args()
if given.objects:
    measure_listing(given.objects)
if given.episodes:
    measure_runs(given.episodes, given.rounds)

#!/usr/bin/env python3
"""76,000 episodes in tasks of 32: how long do submit and status take, and what does a task cost beside its episodes?

sbatch, squeue and scontrol are scripts that answer at once: what is measured is droidflow's own.
"""

import json
import os
import pathlib
import shutil
import subprocess
import time

import common

EPISODES, EACH, RUNS = 76_000, 32, 5

folder = common.scratch("slurm")
inputs = common.synth(folder / "data", episodes=1, steps=3)
raw = folder / "data/raw"
template = next(raw.glob("*/*/*/*"))
metadata = next(template.glob("metadata_*"))
paths = {}
for i in range(EPISODES - 1):
    lab, day = f"LAB{i % 13}", i // 13 % 365
    date = f"2023-{day // 31 % 12 + 1:02}-{day % 28 + 1:02}"
    uuid = f"{lab}+{i:08x}+{date}-10h-{i % 60:02}m-{i // 60 % 60:02}s"
    relative = f"{lab}/success/{date}/Day_{i:06}"
    (raw / relative).mkdir(parents=True)
    (raw / relative / f"metadata_{uuid}.json").symlink_to(metadata)
    paths[uuid] = relative
annotated = folder / "data/annotations/episode_id_to_path.json"
annotated.write_text(json.dumps(json.loads(annotated.read_text()) | paths))

programs = folder / "bin"
programs.mkdir()
for name, body in {
    "sbatch": f"echo x >> {folder}/calls; wc -l < {folder}/calls",
    "squeue": f"cat {folder}/queue 2>/dev/null || true",
    "scontrol": "echo 'MaxArraySize = 1001'",
}.items():
    (programs / name).write_text(f"#!/bin/sh\n{body}\n")
    (programs / name).chmod(0o755)
environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "TMPDIR": str(folder)}
out, run_dir = folder / "out", folder / "run"
run = ["--droid-root", raw, "--out", out, *inputs[2:], "--points", "6"]


def timed(*words, codes=(0,), **more):
    start = time.perf_counter()
    done = subprocess.run(
        [str(w) for w in (common.BINARY, "slurm", *words)], env={**environment, **more}, capture_output=True, text=True
    )
    assert done.returncode in codes, (words, done.returncode, done.stderr)
    return time.perf_counter() - start, done


walls = []
for _ in range(RUNS):
    shutil.rmtree(run_dir, ignore_errors=True)
    wall, done = timed(
        "submit", "--run-dir", run_dir, "--episodes-per-task", EACH, "--json", "--", "metadata", "-1", *run
    )
    walls.append(wall)
submitted = json.loads(done.stdout)
tasks = -(-EPISODES // EACH)
assert submitted["tasks"] == tasks and len(submitted["arrays"]) == -(-tasks // 1001), submitted
print(f"submitting {EPISODES} episodes in {tasks} tasks: {common.spread(walls)}; wanted: at most 10000 ms")

# What a task costs beside the stages of its episode: from the start of the process to its end.
items = (run_dir / "items.txt").read_text().splitlines()
real = str(template.relative_to(raw))
one = folder / "one"
timed("submit", "--run-dir", one, "--episodes-per-task", 1, "--", "metadata", "-1", *run, "--episodes", real)
task = ["task", "--run-dir", one, "--attempt", 1, "--offset", 0]
job = {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_JOB_ID": "1", "SLURMD_NODENAME": "n1"}
cost, idle = [], []
for _ in range(4 * RUNS):
    shutil.rmtree(out, ignore_errors=True)
    shutil.rmtree(one / "shards", ignore_errors=True)
    wall = timed(*task, **job)[0]
    (item,) = json.loads((one / "shards/00000/done.json").read_text())["items"]
    cost.append(wall - sum(item["stages_ms"].values()) / 1000)
    idle.append(timed(*task, **job)[0])
start = [common.seconds([common.BINARY, "--version"]) for _ in range(4 * RUNS)]
print(f"a task beside its episode: {common.spread(cost)}; wanted: at most 50 ms")
print(f"of that any start of the program: {common.spread(start)}")
print(f"a task that is done already: {common.spread(idle)}")

# Shards that are done, all but the last hundred: the real one's, with 32 episodes.
head, item, end = (one / "shards/00000/done.json").read_text().split("\n", 2)
ours, theirs = (json.loads((place / "plan.json").read_text())["hash"] for place in (one, run_dir))
for shard in range(tasks - 100):
    lines = ",\n".join(item.replace(real, name) for name in items[shard * EACH : (shard + 1) * EACH])
    text = f"{head}\n{lines}\n{end}".replace(ours, theirs, 1).replace('"shard":0', f'"shard":{shard}', 1)
    place = run_dir / f"shards/{shard:05}"
    place.mkdir(parents=True)
    (place / "done.json").write_text(text.replace('"done":1', f'"done":{EACH}', 1))
ids = submitted["arrays"]
(folder / "queue").write_text(
    "".join(f"{ids[i // 1001]}|{i % 1001}|run|c|PENDING|Priority|\n" for i in range(tasks - 100, tasks - 50))
)
walls = [timed("status", "--run-dir", run_dir, "--json", codes=(0, 3)) for _ in range(RUNS)]
told = json.loads(walls[-1][1].stdout)
assert (told["tasks"]["done"], told["tasks"]["waiting"], told["tasks"]["lost"]) == (tasks - 100, 50, 50), told["tasks"]
print(f"status of {tasks} tasks: {common.spread([wall for wall, _ in walls])}; wanted: at most 3000 ms")

#!/usr/bin/env python3
"""100,000 known episodes of which 99,900 are done: how long until the run knows what to do?"""

import json
import pathlib
import shutil
import sqlite3

import common

KNOWN, LEFT, RUNS = 100_000, 100, 5

folder = common.scratch("resume")
inputs = common.synth(folder / "data", episodes=1, steps=3)
out = folder / "out"
options = [*inputs, "--out", out, "--points", "6"]
common.run("metadata", "-1", "1", *options, "-q")
raw = folder / "data/raw"
template = next(raw.glob("*/*/*/*"))
done = next(out.glob("*/*/*/*"))
files = [file.relative_to(done) for file in done.rglob("*") if file.is_file()]

# Known episodes by the thousand: the run's own record of the real one, its folder copied by hard links.
store = sqlite3.connect(out / ".droidflow/run.sqlite")
columns = [row[1] for row in store.execute("pragma table_info(task)")]
row = dict(zip(columns, store.execute("select * from task").fetchone()))
rows = []
for i in range(KNOWN):
    lab, day = f"LAB{i % 13}", i // 13 % 365
    date = f"2023-{day // 31 % 12 + 1:02}-{day % 28 + 1:02}"
    uuid = f"{lab}+{i:08x}+{date}-10h-{i % 60:02}m-{i // 60 % 60:02}s"
    relative = pathlib.Path(lab, "success", date, f"Day_{i:06}")
    (raw / relative).mkdir(parents=True)
    (raw / relative / f"metadata_{uuid}.json").symlink_to(next(template.glob("metadata_*")))
    rows.append(row | {"key": uuid, "payload": str(relative), "directory": str(relative), "position": i + 1})
    if i < KNOWN - LEFT:
        target = out / relative
        for name in files:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).hardlink_to(done / name)
    else:
        rows[-1] |= {"state": "pending", "files": "", "stages": ""}
marks = ", ".join("?" * len(columns))
store.executemany(f"insert into task values ({marks})", [[r[c] for c in columns] for r in rows])
store.commit()
store.close()

command = ["metadata", "-1", "1", *options, "--dry-run", "--json"]
plan = json.loads(common.run(*command))
assert plan["already_done"] == KNOWN - LEFT + 1 and plan["to_do"] == LEFT, {k: plan[k] for k in ("already_done", "to_do")}
walls = [common.seconds([common.BINARY, *command]) for _ in range(RUNS)]
print(f"deciding what to do: {common.spread(walls)}; wanted: at most 2000 ms")
shutil.rmtree(folder)

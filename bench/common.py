"""What the benchmarks share: the binary, a RAM disk, timing of whole processes."""

import os
import pathlib
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARY = pathlib.Path(os.environ.get("DROIDFLOW_BIN", ROOT / "build/release/bin/droidflow"))


def scratch(name):
    """A folder on the RAM disk, removed at the end of the process."""
    base = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    folder = pathlib.Path(tempfile.mkdtemp(prefix=f"droidflow-bench-{name}-", dir=base))
    import atexit

    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def run(*arguments, check=True):
    """Runs droidflow; returns its standard output."""
    done = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True)
    if check and done.returncode != 0:
        sys.exit(f"droidflow {' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def synth(folder, episodes, steps, seed=1):
    run("synth", folder, "--episodes", episodes, "--steps", steps, "--seed", seed)
    return ["--droid-root", folder / "raw", "--annotations", folder / "annotations", "--conf-dir", folder / "conf"]


def seconds(command):
    """Wall time of one process."""
    start = time.perf_counter()
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - start


def seconds_and_peak_mb(command):
    """Wall time and peak resident memory of one process and its children."""
    with subprocess.Popen([str(word) for word in command], stdout=subprocess.DEVNULL) as process:
        start = time.perf_counter()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{command}: exit {process.returncode}")
    return wall, usage.ru_maxrss / 1000


def spread(values, unit=1000, name="ms"):
    return (f"median {statistics.median(values) * unit:.1f} {name} "
            f"(min {min(values) * unit:.1f}, max {max(values) * unit:.1f}, {len(values)} runs)")

"""Runs the stand-in until it is told to end; see __init__.py."""

import argparse
import dataclasses
import json
import os
import pathlib
import signal
import sys

sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

from hub_server import HubServer, Options  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="hub_server", description="a stand-in of the Hugging Face Hub"
    )
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--storage-port", type=int, default=0)
    parser.add_argument("--data", help="folder of large objects; default: memory")
    parser.add_argument("--token", action="append", help="TOKEN or TOKEN:read; default hf_test")
    parser.add_argument(
        "--fault", action="append", default=[], type=json.loads, help="JSON, see faults.py"
    )
    for field in dataclasses.fields(Options):
        kind = type(field.default)
        parser.add_argument(
            "--" + field.name.replace("_", "-"),
            default=field.default,
            type=(lambda text: text.lower() in ("1", "true", "yes")) if kind is bool else kind,
            help=f"default {field.default}",
        )
    given = vars(parser.parse_args())
    tokens = {
        name: role or "write"
        for name, _, role in (t.partition(":") for t in given.pop("token") or [])
    }
    faults = given.pop("fault")
    # The default of 5 ms lets a busy thread keep the others waiting.
    sys.setswitchinterval(0.0005)
    stops = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    with HubServer(tokens=tokens, **given) as server:
        for fault in faults:
            server.inject(fault)
        ready = {
            "endpoint": server.endpoint,
            "storage": server.storage,
            "token": server.token,
            "pid": os.getpid(),
        }
        print(json.dumps(ready), flush=True)
        signal.sigwait(stops)


main()

"""A stand-in of Google Cloud Storage: lists and serves the files of a folder as the objects of any
bucket, and does wrong what it is told to.

    python3 tests/bucket_server FOLDER      prints its URL and runs until it is told to end
        --delay-ms N    so much later than it could
        --md5-only      without CRC-32C, which takes Python a second for every 6 MB

POST /__control__/faults takes a rule, DELETE removes all, GET /__control__/requests tells what was
asked for. A rule applies to requests whose decoded path and query have the regular expression
"about", after the first "after" of them (0), "count" times (1; null: for ever); of several rules the
first applies. It does one of
    status        this answer, with "headers"
    cut           hang up after so many bytes of the body
    short         so many bytes of the body, and an answer that says that they are all
    flip          the right length, and one byte wrong
    drip          bytes per second of the body
    whole         everything, whatever range was asked for
    moved         a redirect to the same object
    add, remove   a file of the folder, before the answer
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import pathlib
import re
import signal
import sys
import threading
import time
import urllib.parse

sys.path[0] = str(pathlib.Path(__file__).resolve().parent.parent)

from hub_server.wire import Body, Dropped, Request, Response, Server  # noqa: E402


def shifted(crc: int) -> int:
    for _ in range(8):
        crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc


TABLE = [shifted(byte) for byte in range(256)]


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


class Bucket:
    def __init__(self, folder: pathlib.Path, delay_s: float, with_crc: bool):
        self.folder, self.delay_s, self.with_crc = folder, delay_s, with_crc
        self.rules: list[dict] = []
        self.requests: list[dict] = []
        self.lock = threading.Lock()
        self.sums: dict[tuple, tuple] = {}

    def handle(self, request: Request) -> Response:
        parts = request.segments()
        if parts[0] == "__control__":
            return self.control(parts[1], request)
        time.sleep(self.delay_s)
        with self.lock:
            self.requests.append(
                {"target": request.target, "range": request.headers.get("range", "")}
            )
            rule = self.rule(urllib.parse.unquote(request.target))
        if "add" in rule:
            path = self.folder / rule["add"]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"added")
        if "remove" in rule:
            (self.folder / rule["remove"]).unlink()
        if "status" in rule:
            return Response(rule["status"], rule.get("headers"), "told to")
        if "moved" in rule:
            return Response(302, {"Location": request.target + "&again=1"})
        if parts[:3] != ["storage", "v1", "b"] or parts[3] == "none" or parts[4] != "o":
            return Response(404, {}, '{"error": {"code": 404}}')
        if len(parts) == 5:
            return self.page(request.query)
        return self.media(parts[5], request, rule)

    def control(self, verb: str, request: Request) -> Response:
        with self.lock:
            if verb == "requests":
                return Response(200, {}, json.dumps(self.requests))
            if request.method == "DELETE":
                self.rules.clear()
            else:
                self.rules.append({"seen": 0, "hits": 0, "after": 0, "count": 1} | request.json())
        return Response(200)

    def rule(self, target: str) -> dict:
        taken = None
        for rule in self.rules:
            if not re.search(rule["about"], target):
                continue
            rule["seen"] += 1
            left = rule["count"] is None or rule["hits"] < rule["count"]
            if taken is None and rule["seen"] > rule["after"] and left:
                rule["hits"] += 1
                taken = rule
        return taken or {}

    def page(self, query: dict) -> Response:
        """As Cloud Storage does: a page goes on behind the last name of the page before."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
        after = base64.b64decode(query.get("pageToken", "")).decode()
        left = int(query.get("maxResults", 1000))
        items, prefixes, last, token = [], [], after, {}
        for name in self.names(prefix):
            if not name.startswith(prefix) or name <= after:
                continue
            end = name.find(delimiter, len(prefix)) if delimiter else -1
            folder = name[: end + 1] if end >= 0 else None
            if folder and (folder in prefixes or after.startswith(folder)):
                last = name
                continue
            if len(items) + len(prefixes) == left:
                token = {"nextPageToken": base64.b64encode(last.encode()).decode()}
                break
            last = name
            if folder:
                prefixes.append(folder)
            else:
                items.append(self.item(name))
        page = token | ({"items": items} if items else {})
        return Response(200, {}, json.dumps(page | ({"prefixes": prefixes} if prefixes else {})))

    def names(self, prefix: str) -> list[str]:
        """Those of all files in the folder that a prefix begins with."""
        top = os.path.join(self.folder, prefix.rpartition("/")[0])
        paths = (f"{at}/{file}" for at, _, files in os.walk(top.rstrip("/")) for file in files)
        skipped = len(str(self.folder)) + 1
        return sorted(path[skipped:] for path in paths)

    def item(self, name: str) -> dict:
        path = os.path.join(self.folder, name)
        status = os.stat(path)
        stamp = (name, status.st_mtime_ns)
        if stamp not in self.sums:
            data = pathlib.Path(path).read_bytes()
            crc = crc32c(data) if self.with_crc else 0
            sums = hashlib.md5(data).digest(), crc.to_bytes(4, "big")
            self.sums[stamp] = tuple(base64.b64encode(value).decode() for value in sums)
        md5, crc = self.sums[stamp]
        item = {"name": name, "size": str(status.st_size)}
        if self.with_crc:
            item["crc32c"] = crc
        return item if name.endswith(".composite") else item | {"md5Hash": md5}

    def media(self, name: str, request: Request, rule: dict) -> Response:
        path = self.folder / name
        if not path.is_file():
            return Response(404, {}, "No such object")
        size = path.stat().st_size
        headers, status, first, last = {}, 200, 0, size - 1
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
        if asked and "whole" not in rule:
            first, last = int(asked[1]), min(int(asked[2] or last), last)
            if first >= size:
                return Response(416)
            headers["Content-Range"] = f"bytes {first}-{last}/{size}"
            status = 206
        if not rule:
            return Response(status, headers, Body(path=str(path), offset=first, size=last + 1 - first))
        data = path.read_bytes()[first : last + 1]
        if "cut" in rule:
            head = f"HTTP/1.1 {status} Cut\r\nContent-Length: {len(data)}\r\n"
            head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
            request.connection.socket.sendall(head.encode() + data[: rule["cut"]])
            raise Dropped("told to")
        if "short" in rule:
            data = data[: rule["short"]]
        if "flip" in rule:
            data = data[:-1] + bytes([data[-1] ^ 1])
        response = Response(status, headers, data)
        response.bytes_per_s = rule.get("drip")
        return response


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--delay-ms", type=float, default=0)
    parser.add_argument("--md5-only", action="store_true")
    given = parser.parse_args()
    bucket = Bucket(given.folder, given.delay_ms / 1000, not given.md5_only)
    stops = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    server = Server("127.0.0.1", 0, bucket.handle)
    print(f"http://127.0.0.1:{server.port}", flush=True)
    signal.sigwait(stops)
    server.stop()


main()

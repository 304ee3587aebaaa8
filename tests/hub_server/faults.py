"""Faults: rules that say which requests go wrong, and how.

A rule is a JSON object. It applies to requests that match all of
    origin    "hub" (default) or "storage"
    method    "PUT"; left out: any
    path      regular expression, searched in path and query, decoded
    about     regular expression, searched in the body (hub only): "which commit", "which object"
after the first `after` of them (0), `count` times (1; null: for ever); of several rules, the first
applies. What it does, one or more of
    delay     seconds before anything else
    gate      true: before anything else waits until the rule is removed
    status    this answer with `headers` and `body`; when "before" (default): instead of the work;
              when "after": the work is done all the same
    drop      hang up: "before" or "after" the work, or having read that number of bytes of the body
    hang      true: never answer; when "before" or "after" the work
    drip      bytes per second of the answer's body;  sip: bytes per second of the request's body
    truncate  keep this many bytes of a PUT, not of a part, and answer 200 as if all had come
    expired   true: 403 in XML, as for a presigned URL that has run out
    etag      headers ETag of a PUT becomes this; "": none
    parts     a number added to how many parts a multipart upload is told
    batch_error  {"code", "message", "oid"?} for that object or every one of an LFS batch
    link      "foreign", "loop", "lower", "bare": a Link to another origin, to the same page, with a
              header name in lower case, without quotes
    preupload {"reverse": true, "leave_out": regex, "ignore": regex, "mode": {regex: "lfs"}}
    race      {"path", "content"}: somebody else commits this to the branch just before
or what the hub can do at any time (`Hub.do`): revoke, repo, collect.
"""

from __future__ import annotations

import dataclasses
import re
import threading
import urllib.parse

from .wire import Request

ACTIONS = set("""delay gate status headers body when drop hang drip sip truncate expired etag parts
    batch_error link preupload race revoke repo collect""".split())


@dataclasses.dataclass
class Fault:
    origin: str = "hub"
    method: str | None = None
    path: str = ""
    about: str = ""
    after: int = 0
    count: int | None = 1
    action: dict = dataclasses.field(default_factory=dict)
    seen: int = 0
    hits: int = 0

    @classmethod
    def of(cls, rule: dict) -> Fault:
        known = {"origin", "method", "path", "about", "after", "count"}
        if unknown := set(rule) - known - ACTIONS:
            raise ValueError(f"unknown in a fault: {', '.join(sorted(unknown))}")
        if not set(rule) & ACTIONS:
            raise ValueError(f"a fault that does nothing: {rule}")
        for pattern in ("path", "about"):
            re.compile(rule.get(pattern, ""))
        match = {key: value for key, value in rule.items() if key in known}
        return cls(**match, action={k: v for k, v in rule.items() if k in ACTIONS})


class Faults:
    def __init__(self):
        self._rules: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, rule: dict) -> Fault:
        fault = Fault.of(rule)
        with self._lock:
            self._rules.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    def told(self) -> list[dict]:
        return [dataclasses.asdict(fault) for fault in self._rules]

    def take(self, origin: str, request: Request) -> Fault | None:
        """The first rule that applies to this request."""
        taken = None
        with self._lock:
            rules = list(self._rules)
        for fault in rules:
            if fault.origin != origin or (fault.method or request.method) != request.method:
                continue
            if not re.search(fault.path, urllib.parse.unquote(request.target)):
                continue
            text = request.read().decode("utf-8", "replace") if fault.about else ""
            if not re.search(fault.about, text):
                continue
            with self._lock:
                fault.seen += 1
                left = fault.count is None or fault.hits < fault.count
                if not taken and fault.seen > fault.after and left:
                    fault.hits += 1
                    taken = fault
        return taken

    def active(self, fault: Fault) -> bool:
        return any(rule is fault for rule in self._rules)

#!/usr/bin/env python3
"""Holds the code to its rooms: what may include what, and what docs/house.md promises.

    tools/check_layers.py [ROOT]

The law is each room's DEPS in src/droidflow/<room>/CMakeLists.txt. Prints one line per violation,
"file:line: what is wrong", and exits 1 when there is one.
"""

import os
import re
import sys
from pathlib import Path

SOURCES = "src/droidflow"

# Which files may include a library: "room" for all of a room, "room/file" for one file.
# A library that is not listed here may be used anywhere outside public headers.
LIBRARIES = [
    (r"(hdf5|H5public|hdf5_hl)\.h", ["io"]),
    (r"sqlite3\.h", ["core/sqlite.cc"]),
    (r"yaml-cpp/", ["pipeline"]),
    (r"CLI/", ["cli"]),
    (r"(ini|INIReader)\.h", ["formats"]),
    (r"curl/", ["transfer"]),
    (r"lib(av|sw)\w+/", ["video"]),
    (r"(lz4frame|zstd|zstd_errors)\.h", ["formats"]),
    (r"hwy/", ["depth"]),
    (r"sl/", ["video"]),
    (r"openssl/", ["core/sha256.cc"]),
    (r"opencv2/", ["depth/opencv_matcher.cc"]),
    (r"cuda|cub/|thrust/", ["depth", "pipeline/gpu_run_test.cc"]),
]
# What a public header may show of others: its readers need these words, or the standard library.
VOCABULARY = re.compile(r"(Eigen|fmt|tl)/")
# Headers of test code may also show GoogleTest.
TEST_HEADER = re.compile(r"test_support\.h|\w+_matchers\.h|\w+_test_\w+\.h|\w+_suite\.h")
# What the headers of the room that nobody includes may show besides.
DOOR = ("cli", re.compile(r"(CLI|nlohmann)/"))

# Headers without an extension or folder are the standard's; these are C's and the system's.
SYSTEM = re.compile(
    r"[a-z_0-9]+|(sys|linux|arpa|net|netinet)/\w+\.h"
    r"|(cpuid|dirent|errno|fcntl|immintrin|poll|pthread|sched|signal|spawn|unistd|termios)\.h"
)

ADD_ROOM = re.compile(r"droidflow_add_room\(([^)]*)\)")
KEYWORDS = {"NAME", "SOURCES", "DEPS", "PUBLIC_LIBS", "PRIVATE_LIBS", "TESTS", "TEST_LIBS"}
INCLUDE = re.compile(r'\s*#\s*include\s*["<]([^">]+)[">]')
ROOM_ROW = re.compile(r"\|\s*`(\w+)/`\s*\|")
NAMED_FILE = re.compile(r"`(\w+/[\w./-]+\.(?:h|cc|cu))`")


def parse_room(text):
    """The arguments of droidflow_add_room: keyword -> words. None when the call is not there."""
    call = ADD_ROOM.search(re.sub(r"#[^\n]*", "", text))
    if call is None:
        return None
    arguments, keyword = {}, None
    for word in call.group(1).split():
        if word in KEYWORDS:
            keyword = word
            arguments[keyword] = []
        elif keyword is not None:
            arguments[keyword].append(word)
    return arguments


def find_cycle(deps):
    """A list of rooms that ends where it began, or None."""
    done = set()

    def visit(room, path):
        if room in path:
            return path[path.index(room) :] + [room]
        if room in done:
            return None
        for dep in deps.get(room, []):
            cycle = visit(dep, path + [room])
            if cycle:
                return cycle
        done.add(room)
        return None

    for room in sorted(deps):
        cycle = visit(room, [])
        if cycle:
            return cycle
    return None


def check_include(room, name, target, may_include):
    """What is wrong with one include of room/name, or None."""
    ours = re.fullmatch(r"droidflow/(\w+)/.+", target)
    if ours:
        if ours.group(1) in may_include:
            return None
        return f"room {room} may not include room {ours.group(1)}: it is not in its DEPS"
    for pattern, allowed in LIBRARIES:
        if re.match(pattern, target) and room not in allowed and f"{room}/{name}" not in allowed:
            return f"<{target}> belongs in {' and '.join(allowed)} only"
    if not name.endswith(".h") or name.endswith("_internal.h"):
        return None
    if SYSTEM.fullmatch(target) or VOCABULARY.match(target):
        return None
    if TEST_HEADER.fullmatch(name) and re.match(r"g(test|mock)/", target):
        return None
    if room == DOOR[0] and DOOR[1].match(target):
        return None
    return f"<{target}> shows in a public header; keep it in the .cc file"


def check(root):
    """Every violation below root, as text."""
    violations = []

    def report(path, line, text):
        violations.append(f"{path.relative_to(root)}:{line}: {text}")

    sources = root / SOURCES
    deps, test_deps = {}, {}
    rooms = sorted(path.name for path in sources.iterdir() if path.is_dir())
    for room in rooms:
        lists = sources / room / "CMakeLists.txt"
        arguments = parse_room(lists.read_text()) if lists.exists() else None
        if arguments is None:
            report(lists, 1, f"room {room} has no droidflow_add_room(...)")
            continue
        if arguments.get("NAME") != [room]:
            report(lists, 1, f"want NAME {room}, have {' '.join(arguments.get('NAME', []))}")
        deps[room] = arguments.get("DEPS", [])
        test_libs = re.findall(r"droidflow(?:_|::)(\w+)", " ".join(arguments.get("TEST_LIBS", [])))
        test_deps[room] = deps[room] + test_libs
        for dep in test_deps[room]:
            if dep not in rooms:
                report(lists, 1, f"room {room} depends on {dep}, which is no room")

    cycle = find_cycle(deps)
    if cycle:
        violations.append(f"{SOURCES}: the rooms' DEPS go round: {' -> '.join(cycle)}")

    for room in deps:
        for path in sorted((sources / room).rglob("*")):
            if path.suffix not in (".h", ".cc", ".cu"):
                continue
            name = path.relative_to(sources / room).as_posix()
            lines = path.read_text().splitlines()
            if path.suffix == ".h" and "#pragma once" not in lines:
                report(path, 1, "a header without #pragma once")
            is_test = name.endswith("_test.cc") or TEST_HEADER.fullmatch(name)
            may_include = {room, *(test_deps if is_test else deps)[room]}
            for number, line in enumerate(lines, start=1):
                include = INCLUDE.match(line)
                wrong = include and check_include(room, name, include.group(1), may_include)
                if wrong:
                    report(path, number, wrong)

    house = root / "docs/house.md"
    listed = set()
    for number, line in enumerate(house.read_text().splitlines(), start=1):
        row = ROOM_ROW.match(line)
        if row:
            listed.add(row.group(1))
            if row.group(1) not in rooms:
                report(house, number, f"room {row.group(1)} is listed and not in the tree")
        for named in NAMED_FILE.findall(line):
            if not (sources / named).exists():
                report(house, number, f"{SOURCES}/{named} is not there")
    for room in rooms:
        if room not in listed:
            report(house, 1, f"room {room} is in the tree and not in the table of rooms")
    return violations


def main(arguments):
    root = Path(arguments[0]) if arguments else Path(os.path.realpath(__file__)).parents[1]
    violations = check(root)
    for violation in violations:
        print(violation)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

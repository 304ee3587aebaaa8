#!/usr/bin/env python3
"""Adds up CTest's JUnit files and prints one line: "N passed, N failed, N skipped".

    tools/test_summary.py FILE...

A test whose program is missing or does not start has failed, though CTest's file calls it skipped.
Exits 1 when a test failed or none passed.
"""

import sys
import xml.etree.ElementTree as ElementTree


def outcome(case):
    """passed, failed or skipped: of one <testcase>."""
    if case.get("status") == "run":
        return "passed"
    skipped = case.find("skipped")
    asked_for = case.get("status") == "disabled" or (
        skipped is not None and skipped.get("message", "").startswith("SKIP_")
    )
    return "skipped" if asked_for else "failed"


def main(paths):
    cases = [case for path in paths for case in ElementTree.parse(path).getroot().iter("testcase")]
    outcomes = [outcome(case) for case in cases]
    passed, failed, skipped = (outcomes.count(of) for of in ("passed", "failed", "skipped"))
    print(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

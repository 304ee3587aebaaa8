#!/usr/bin/env python3
"""Tests check_layers.py on small trees, good and bad."""

import tempfile
import unittest
from pathlib import Path

import check_layers

GOOD = {
    "docs/house.md": "| `low/` | bytes |\n| `high/` | robots |\n| see | `low/a.h` |\n",
    "src/droidflow/low/CMakeLists.txt": "droidflow_add_room(NAME low SOURCES a.cc)  # no DEPS\n",
    "src/droidflow/low/a.h": "#pragma once\n#include <vector>\n#include <fmt/format.h>\n",
    "src/droidflow/low/a.cc": '#include "droidflow/low/a.h"\n#include <nlohmann/json.hpp>\n',
    "src/droidflow/high/CMakeLists.txt": "droidflow_add_room(\n  NAME high\n  DEPS low\n  TESTS b_test.cc)\n",
    "src/droidflow/high/b.cc": '#include "droidflow/low/a.h"\n',
    "src/droidflow/high/b_test.cc": "#include <gtest/gtest.h>\n",
}


class CheckLayers(unittest.TestCase):
    def violations(self, files=None):
        """What check() says of GOOD with some files replaced or added."""
        with tempfile.TemporaryDirectory() as folder:
            for name, text in {**GOOD, **(files or {})}.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return check_layers.check(Path(folder))

    def assert_finds(self, expected, name, text):
        found = self.violations(files={name: text})
        self.assertEqual(found, [expected])

    def test_accepts_a_good_tree(self):
        self.assertEqual(self.violations(), [])

    def test_finds_an_include_of_a_higher_room(self):
        self.assert_finds(
            "src/droidflow/low/a.cc:2: room low may not include room high: it is not in its DEPS",
            "src/droidflow/low/a.cc",
            '#include "droidflow/low/a.h"\n#include "droidflow/high/b.h"\n',
        )

    def test_lets_a_test_include_its_test_libs_and_nobody_else(self):
        lists = "droidflow_add_room(NAME low SOURCES a.cc TESTS a_test.cc TEST_LIBS droidflow_high)"
        include = '#include "droidflow/high/b.h"\n'
        found = self.violations(
            files={
                "src/droidflow/low/CMakeLists.txt": lists,
                "src/droidflow/low/a_test.cc": include,
                "src/droidflow/low/a.cc": include,
            }
        )
        self.assertEqual(
            found,
            ["src/droidflow/low/a.cc:1: room low may not include room high: it is not in its DEPS"],
        )

    def test_finds_rooms_that_go_round(self):
        self.assert_finds(
            "src/droidflow: the rooms' DEPS go round: high -> low -> high",
            "src/droidflow/low/CMakeLists.txt",
            "droidflow_add_room(NAME low SOURCES a.cc DEPS high)",
        )

    def test_finds_a_dependency_that_is_no_room(self):
        self.assert_finds(
            "src/droidflow/low/CMakeLists.txt:1: room low depends on cellar, which is no room",
            "src/droidflow/low/CMakeLists.txt",
            "droidflow_add_room(NAME low SOURCES a.cc DEPS cellar)",
        )

    def test_finds_a_library_in_the_wrong_room(self):
        self.assert_finds(
            "src/droidflow/high/b.cc:1: <hdf5.h> belongs in io only",
            "src/droidflow/high/b.cc",
            "#include <hdf5.h>\n",
        )

    def test_finds_a_library_in_a_public_header(self):
        self.assert_finds(
            "src/droidflow/low/a.h:2: <simdjson.h> shows in a public header; keep it in the .cc file",
            "src/droidflow/low/a.h",
            "#pragma once\n#include <simdjson.h>\n",
        )

    def test_finds_a_header_without_pragma_once(self):
        self.assert_finds(
            "src/droidflow/low/a.h:1: a header without #pragma once",
            "src/droidflow/low/a.h",
            "#include <vector>\n",
        )

    def test_finds_a_room_without_a_build_list(self):
        self.assert_finds(
            "src/droidflow/high/CMakeLists.txt:1: room high has no droidflow_add_room(...)",
            "src/droidflow/high/CMakeLists.txt",
            "add_library(high b.cc)\n",
        )

    def test_finds_what_the_house_says_and_the_tree_does_not(self):
        found = self.violations(
            files={"docs/house.md": "| `low/` | x |\n| `attic/` | x |\n`low/gone.h`\n"}
        )
        self.assertEqual(
            found,
            [
                "docs/house.md:2: room attic is listed and not in the tree",
                "docs/house.md:3: src/droidflow/low/gone.h is not there",
                "docs/house.md:1: room high is in the tree and not in the table of rooms",
            ],
        )


if __name__ == "__main__":
    unittest.main()

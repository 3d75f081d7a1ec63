#!/usr/bin/env python3
"""Tests of layers.py: each rule is broken once in a tree of its own, and a sound tree passes."""
import pathlib
import tempfile
import unittest

import layers


class LayersTest(unittest.TestCase):
    def errors_of(self, path, *includes):
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder) / path
            file.parent.mkdir(parents=True)
            file.write_text("// A file.\n" + "".join(f"#include {header}\n" for header in includes))
            return layers.check(pathlib.Path(folder))

    def assert_one(self, errors, *words):
        self.assertEqual(len(errors), 1, errors)
        for word in words:
            self.assertIn(word, errors[0])

    def test_downward_includes_pass(self):
        self.assertEqual(self.errors_of("actors/a.cpp", '"graph/plan.hpp"', '"graph/model/mla.hpp"', "<map>"), [])
        self.assertEqual(self.errors_of("runtime/host/caf_host.cpp", "<caf/all.hpp>", '"actors/flow.hpp"'), [])
        self.assertEqual(self.errors_of("tests/a_test.cpp", '"runtime/host/sim_host.hpp"'), [])

    def test_upward_includes_are_named_with_their_line(self):
        self.assert_one(self.errors_of("kernels/gemm/gemm.cpp", "<map>", '"graph/plan.hpp"'), "kernels/gemm/gemm.cpp:3", "graph/plan.hpp")
        self.assert_one(self.errors_of("graph/plan.cpp", '"kernels/gemm/gemm.hpp"'), "graph/plan.cpp:2")
        self.assert_one(self.errors_of("graph/plan.cpp", '"graph/model/mla.hpp"'), "graph/plan.cpp:2")
        self.assert_one(self.errors_of("actors/a.hpp", '"runtime/host/host.hpp"'), "actors must not include")
        self.assert_one(self.errors_of("kernels/base/a.hpp", '"kernels/gemm/gemm.hpp"'), "kernels/base must not include")

    def test_the_public_headers_see_none_of_ours(self):
        self.assert_one(self.errors_of("runtime/include/sluice/engine.hpp", '"kernels/base/result.hpp"'), "runtime/include")

    def test_third_party_headers_have_one_home(self):
        for header, home in [("<caf/all.hpp>", "runtime/host/caf_"), ("<toml++/toml.h>", "runtime/config/"),
                             ("<boost/asio.hpp>", "runtime/server/"), ("<CLI/CLI.hpp>", "runtime/cli/"),
                             ("<pcre2.h>", "runtime/tokenizer/")]:
            self.assert_one(self.errors_of("runtime/engine/a.cpp", header), home)
        self.assert_one(self.errors_of("graph/plan.cpp", "<nlohmann/json.hpp>"), "runtime/")

    def test_actors_and_graph_are_pure(self):
        for header in ["<thread>", "<mutex>", "<chrono>", "<fstream>", "<unordered_map>", "<random>"]:
            self.assert_one(self.errors_of("actors/a.cpp", header), "is pure")
            self.assert_one(self.errors_of("graph/a.cpp", header), "is pure")
            self.assertEqual(self.errors_of("runtime/engine/a.cpp", header), [])


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""The checkers are checked: each rule is shown what it must refuse, and what it must let pass."""
import unittest

import proto_rules
import tree_rules

GOOD_PROTO = """\
// A state.
message State {
  reserved 4;
  // Its name.
  string name = 1;
  // By key.
  map<string, string> agents = 2;
  // One of these.
  oneof message {
    // A number; "{" in a comment and an option's string do no harm.
    uint32 number = 3 [deprecated = true];
  }

  // How it is.
  enum Phase {
    // Not said.
    PHASE_UNSPECIFIED = 0;
    // Good.
    PHASE_GOOD = 1;
  }
}

// Serves.
service Watcher {
  // Looks.
  rpc Look(LookRequest) returns (stream LookResponse);
  // Looks with options.
  rpc Peek(PeekRequest) returns (PeekResponse) {
    option deprecated = true;
  }
}

// Nothing.
message Empty {}
"""


class proto(unittest.TestCase):
    def test_good_passes(self):
        self.assertEqual([], list(proto_rules.check(GOOD_PROTO)))

    def test_every_missing_comment_is_found(self):
        lines = GOOD_PROTO.splitlines()
        comments = [i for i, line in enumerate(lines) if line.strip().startswith("//")]
        self.assertEqual(12, len(comments))
        for i in comments:
            found = list(proto_rules.check("\n".join(lines[:i] + lines[i + 1:])))
            self.assertEqual([i + 1], [line for line, _ in found], f"without line {i + 1}: {lines[i]}")

    def test_zero_value_and_prefix(self):
        for old, new in (("PHASE_UNSPECIFIED", "PHASE_NONE"), ("UNSPECIFIED = 0", "UNSPECIFIED = 2"),
                         ("PHASE_GOOD", "GOOD")):
            self.assertEqual(1, len(list(proto_rules.check(GOOD_PROTO.replace(old, new)))), new)

    def test_unclosed_block(self):
        self.assertTrue(list(proto_rules.check("// A.\nmessage A {\n")))

    def test_names(self):
        self.assertEqual("COPY_PHASE", proto_rules.upper_snake("CopyPhase"))
        self.assertEqual("TLS_MODE", proto_rules.upper_snake("TLSMode"))


class tree(unittest.TestCase):
    def refused(self, path, text):
        self.assertTrue(list(tree_rules.check(path, text)), f"{path}: {text[:60]!r} was let pass")

    def passes(self, path, text):
        self.assertEqual([], list(tree_rules.check(path, text)))

    def test_caf_version(self):
        self.refused("common/actor/supervise.cpp", "#if CAF_VERSION < 1800\n")
        self.passes("common/actor/caf_compat.hpp", "#pragma once\n#if CAF_VERSION < 1800\n")

    def test_long_file(self):
        self.refused("common/a.cpp", "\n" * 601)
        self.passes("common/a.cpp", "\n" * 600)
        self.passes("docs/long.md", "\n" * 5000)

    def test_machine_paths(self):
        for place in ("work/src", "home/jane/src", "Users/jane/src"):
            self.refused("docs/a.md", f"see /{place}/x\n")
        self.passes("docs/a.md", "servers/NAME/root/home/jane/x, $HOME/work/x and ~/work/x\n")

    def test_put_off(self):
        self.refused("dev", "# TO" "DO later\n")
        self.passes("tests/a.cpp", 'mkdtemp("/tmp/a-XXXX' 'XX")\n')

    def test_headers(self):
        self.refused("common/a.hpp", "int a();\n")
        self.refused("common/a.cpp", '#include "../b.hpp"\n')

    def test_libsqlite(self):
        self.refused("agent-primary/capture/a.cpp", "#include <sqlite3.h>\n")
        self.refused("agent-failover/replica/copy_wal.cpp", '#include "common/sqlite/database.hpp"\n')
        self.refused("agent-primary/capture/CMakeLists.txt", "LINK SQLite::SQLite3\n")
        self.passes("agent-primary/capture/a.cpp", '#include "common/sqlite/wal_format.hpp"\n')
        self.passes("agent-failover/store/a.cpp", '#include "common/sqlite/database.hpp"\n')

    def test_dependencies(self):
        self.refused("common/os/a.cpp", '#include "agent-primary/capture/describe.hpp"\n')
        self.refused("agent-failover/policy/a.cpp", '#include "agent-failover/store/state_store.hpp"\n')
        self.refused("agent-failover/ctl/a.cpp", '#include "agent-failover/api/board.hpp"\n')
        self.passes("agent-failover/server/a.cpp", '#include "agent-failover/replica/database_copy.hpp"\n')
        self.passes("agent-failover/main.cpp", '#include "agent-failover/actors/root.hpp"\n')
        self.refused("agent-failover/server/a.cpp", "#include <caf/send.hpp>\n")
        self.passes("agent-failover/actors/a.cpp", "#include <caf/send.hpp>\n")


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""What holds for the whole tree and no compiler checks.

usage: tree_rules.py [--root DIRECTORY]

One rule per function; each gets a file's path (relative, with '/') and its text, and yields (line number, what is
wrong). RULES lists them.
"""
import argparse
import pathlib
import re
import subprocess
import sys

SOURCES = (".cpp", ".hpp")
LONGEST_FILE = 600  # lines; one noun per file, and 300 is the aim


def lines_with(pattern, text):
    for number, line in enumerate(text.splitlines(), 1):
        if pattern.search(line):
            yield number, line


def caf_versions_are_handled_in_one_place(path, text):
    if path.endswith(SOURCES) and path != "common/actor/caf_compat.hpp":
        for number, _ in lines_with(re.compile(r"\bCAF_VERSION\b"), text):
            yield number, "CAF_VERSION is for common/actor/caf_compat.hpp only: an upgrade must have one place"


def files_are_short(path, text):
    if path.endswith(SOURCES):
        count = len(text.splitlines())
        if count > LONGEST_FILE:
            yield count, f"{count} lines, more than {LONGEST_FILE}: find the second noun in it"


def no_paths_of_one_machine(path, text):
    # A path as it begins: not the middle of another one, such as a copy's root/home/...
    pattern = re.compile(r"(?<![\w./~{}*$-])/(?:work|workspace|home/\w+|Users/\w+|mnt/\w+)/\w")
    for number, line in lines_with(pattern, text):
        yield number, f"names a place of one machine: {pattern.search(line).group(0)}..."


def nothing_is_put_off(path, text):
    pattern = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")
    for number, _ in lines_with(pattern, text):
        yield number, "finish it, or leave it out and say so in README.md"


def headers_are_included_once(path, text):
    if path.endswith(".hpp") and "#pragma once" not in text:
        yield 1, "no #pragma once"


def includes_begin_at_the_root(path, text):
    if path.endswith(SOURCES):
        for number, _ in lines_with(re.compile(r'#include "\.\.?/'), text):
            yield number, "write the path from the tree's root"


# A process that opens a database with libsqlite and closes any other descriptor of that file loses SQLite's locks on
# it (POSIX), so these folders, which hold descriptors of live databases, do without it.
WITHOUT_LIBSQLITE = ("agent-primary/capture/", "agent-failover/history/", "agent-failover/replica/",
                     "agent-failover/rows/")
# Plays back a stand-in's hot journal while no descriptor of the copy is open; only SQLite itself may judge one.
MAY_OPEN_BY_LIBSQLITE = ("agent-failover/replica/database_copy.cpp",)


def live_databases_are_not_opened_by_libsqlite(path, text):
    if not path.startswith(WITHOUT_LIBSQLITE) or path in MAY_OPEN_BY_LIBSQLITE:
        return
    if path.endswith(SOURCES):
        pattern = re.compile(r'#include [<"](sqlite3(ext)?\.h|common/sqlite/(database|sqlite_vfs)\.hpp)[>"]')
    elif path.endswith("CMakeLists.txt"):
        pattern = re.compile(r"\b(SQLite::SQLite3|SQLite3_LIBRARIES|sqlite3)\b")
    else:
        return
    for number, _ in lines_with(pattern, text):
        yield number, "this folder holds descriptors of live databases and must not use libsqlite"


# What these folders may include of the two agents; everything may include common/ and the protocol.
MAY_INCLUDE = {
    "common/": (),
    "agent-primary/application/": ("agent-primary/application/",),
    "agent-primary/capture/": ("agent-primary/capture/",),
    "agent-primary/files/": ("agent-primary/files/",),
    "agent-primary/lease/": ("agent-primary/lease/",),
    "agent-failover/history/": ("agent-failover/history/", "agent-failover/replica/"),
    "agent-failover/link/": ("agent-failover/link/", "agent-failover/network/"),
    "agent-failover/network/": ("agent-failover/network/",),
    "agent-failover/policy/": ("agent-failover/policy/",),
    "agent-failover/replica/": ("agent-failover/replica/",),
    "agent-failover/store/": ("agent-failover/store/",),
    "agent-failover/tables/": ("agent-failover/replica/", "agent-failover/tables/"),
    "agent-primary/tables/": ("agent-primary/tables/",),
    "agent-failover/rows/": ("agent-failover/rows/", "agent-failover/history/"),
    "agent-failover/server/": ("agent-failover/server/", "agent-failover/history/", "agent-failover/link/",
                               "agent-failover/network/", "agent-failover/policy/", "agent-failover/replica/", "agent-failover/store/", "agent-failover/tables/",
                               "agent-primary/application/", "agent-primary/capture/", "agent-primary/files/"),
    "agent-failover/api/": ("agent-failover/api/", "agent-failover/history/", "agent-failover/link/",
                            "agent-failover/network/", "agent-failover/rows/", "agent-failover/server/"),
    "agent-failover/ctl/": ("agent-failover/ctl/",),
}


def dependencies_run_one_way(path, text):
    for folder, allowed in MAY_INCLUDE.items():
        if path.startswith(folder) and path.endswith(SOURCES):
            for number, line in lines_with(re.compile(r'^#include "agent-'), text):
                if not line.split('"')[1].startswith(allowed):
                    yield number, f"{folder} does not know {line.split(chr(34))[1]}"


WITH_ACTORS = ("common/actor/", "agent-failover/actors/", "agent-primary/service/", "tests/")


def actors_are_in_their_folders(path, text):
    if path.endswith(SOURCES) and not path.startswith(WITH_ACTORS):
        for number, _ in lines_with(re.compile(r'^#include [<"]caf/'), text):
            yield number, "actors decide in their own folders; here a function that is called is enough"


RULES = (
    caf_versions_are_handled_in_one_place,
    files_are_short,
    no_paths_of_one_machine,
    nothing_is_put_off,
    headers_are_included_once,
    includes_begin_at_the_root,
    live_databases_are_not_opened_by_libsqlite,
    dependencies_run_one_way,
    actors_are_in_their_folders,
)


def check(path, text):
    for rule in RULES:
        yield from rule(path, text)


def files_of(root):
    """Tracked files and new ones; without git, everything but what is built."""
    listed = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True, check=False)
    if listed.returncode == 0:
        return [name for name in listed.stdout.decode().split("\0") if name and (root / name).is_file()]
    names = (str(p.relative_to(root)) for p in root.rglob("*") if p.is_file() and not p.is_symlink())
    return [n for n in names if not n.startswith(("build/", ".git/", ".cache/")) and "node_modules/" not in n]


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent)
    root = parser.parse_args(arguments).root
    found, checked = [], 0
    for name in sorted(files_of(root)):
        try:
            text = (root / name).read_text()
        except UnicodeDecodeError:
            continue  # binary
        checked += 1
        found += [f"{name}:{line}: {what}" for line, what in check(name, text)]
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    if checked < 100:  # the tree has hundreds
        print(f"only {checked} files found below {root}: the rules checked nothing", file=sys.stderr)
        return 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

#!/usr/bin/env python3
"""The rules of proto/README.md that a machine can check.

usage: proto_rules.py [FILE.proto...]     default: everything below proto/understudy

Every message, field, oneof, enum, value, service and rpc has a comment on the line above it, and every enum begins
with NAME_UNSPECIFIED = 0 and prefixes its values with its name.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

BLOCK = re.compile(r"(message|enum|service|oneof)\s+(\w+)\s*\{")
RPC = re.compile(r"rpc\s+(\w+)\s*\(")
VALUE = re.compile(r"(\w+)\s*=\s*(-?\w+)\s*(?:\[.*\])?\s*;")
FIELD = re.compile(r"(?:repeated\s+|optional\s+)?(?:map\s*<[^>]*>|[\w.]+)\s+(\w+)\s*=\s*\d+\s*(?:\[.*\])?\s*;")


def upper_snake(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).upper()


def check(text):
    """Yields (line number, what is wrong)."""
    blocks = []  # innermost last: [kind, name, values seen]
    commented = False  # the line above is a comment
    skipping = 0  # depth inside braces that name nothing: an rpc's or option's body
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if line.startswith("//"):
            commented = True
            continue
        code = re.sub(r'"(\\.|[^"\\])*"', '""', line).split("//")[0].strip()
        had_comment, commented = commented, False
        if skipping:
            skipping += code.count("{") - code.count("}")
            continue
        kind = blocks[-1][0] if blocks else None
        named = None
        if opened := BLOCK.match(code):
            named = f"{opened.group(1)} {opened.group(2)}"
            if not code.endswith("}"):
                blocks.append([opened.group(1), opened.group(2), 0])
        elif kind == "service" and (rpc := RPC.match(code)):
            named = f"rpc {rpc.group(1)}"
            skipping = code.count("{") - code.count("}")
        elif kind == "enum" and (value := VALUE.match(code)) and not code.startswith("option "):
            name, digits = value.groups()
            named = f"value {name}"
            prefix = upper_snake(blocks[-1][1]) + "_"
            blocks[-1][2] += 1
            if not name.startswith(prefix):
                yield number, f"value {name} does not begin with {prefix}"
            if blocks[-1][2] == 1 and (digits != "0" or not name.endswith("_UNSPECIFIED")):
                yield number, f"enum {blocks[-1][1]} must begin with {prefix}UNSPECIFIED = 0"
        elif kind in ("message", "oneof") and (field := FIELD.match(code)):
            if not code.startswith(("option ", "reserved ")):
                named = f"field {field.group(1)}"
        elif code == "}":
            if blocks:
                blocks.pop()
        if named and not had_comment:
            yield number, f"{named} has no comment above it"
    if blocks:
        yield len(text.splitlines()), f"{blocks[-1][0]} {blocks[-1][1]} is not closed (or not written one item per line)"


def main(arguments):
    files = [pathlib.Path(a) for a in arguments] or sorted((ROOT / "proto" / "understudy").rglob("*.proto"))
    if not files:
        print("no .proto file found", file=sys.stderr)
        return 1
    found = [f"{file}:{line}: {what}" for file in files for line, what in check(file.read_text())]
    print("\n".join(found), file=sys.stderr, end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

#!/usr/bin/env python3
"""The licence texts of every crate that is part of the binary, as the crates bring them. Texts that several share stand once."""

import collections
import json
import pathlib
import subprocess
import sys

metadata = json.loads(subprocess.run(
    ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"],
    check=True, capture_output=True).stdout)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}

# What is linked in: normal dependencies, from the root on.
linked, waiting = set(), [metadata["resolve"]["root"]]
while waiting:
    crate = waiting.pop()
    if crate in linked:
        continue
    linked.add(crate)
    waiting += [dep["pkg"] for dep in nodes[crate]["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"])]
linked.remove(metadata["resolve"]["root"])

texts, bare = collections.defaultdict(list), []
for package in sorted((packages[crate] for crate in linked), key=lambda package: (package["name"], package["version"])):
    name = f'{package["name"]} {package["version"]} ({package["license"] or package["license_file"]})'
    folder = pathlib.Path(package["manifest_path"]).parent
    files = sorted(path for path in folder.iterdir() if path.is_file()
                   and path.name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE")))
    for path in files:
        texts[path.read_text(errors="replace").strip()].append(name)
    if not files:
        bare.append(name)

print(f"postrider holds {len(linked)} crates. Their licences:\n")
for text, names in sorted(texts.items(), key=lambda entry: entry[1][0]):
    print("=" * 100, *sorted(set(names)), "-" * 100, text, "", sep="\n")
if bare:
    print("=" * 100, "Without a text of their own; the name of the licence says it:", *bare, sep="\n")
print(f"{len(linked)} crates, {len(texts)} texts, {len(bare)} without", file=sys.stderr)

#!/usr/bin/env python3
"""Puts docs/hostile-world.md together: each threat and fault, the tests that cover it, what they last measured.

tests/rows.py            prints the table, and fails if a row has neither evidence nor a word in "not covered"
tests/rows.py --write    the same, and writes docs/hostile-world.md

Evidence is what the tests of the last run left in target/tmp/rows (see tests/rows.rs): run `cargo test` and the
black-box suite as root first. Rows and their words are in docs/hostile-world.toml.
"""

import os
import pathlib
import platform
import sys
import tomllib

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "hostile-world.md"
HEAD = """# The hostile world

Each threat (T) and fault (F) that postrider is built against, the tests that cover it, and what they measured
when this page was last made. It is made by `tests/rows.py` from what a run of the tests leaves behind; nothing in it is typed but
the descriptions. Times are of the machine it ran on ({machine}) and tell an order of magnitude, not a promise.
[SECURITY.md](../SECURITY.md) tells the same as prose, and what is left open.

"""


def evidence():
    found = {}
    for file in sorted((ROOT / "target" / "tmp" / "rows").glob("*")):
        row, test, figure = file.read_text().rstrip("\n").split("\t")
        found.setdefault(row, []).append((test, figure))
    return found


def table(title, rows, found):
    lines = [f"## {title}", "", "| row | what | test | last measured |", "| --- | --- | --- | --- |"]
    for row, told in rows.items():
        cells = [(f"`{test}`", figure) for test, figure in found.get(row, [])]
        if "not_covered" in told:
            cells.append(("–", f"{'not covered yet' if cells else 'not covered'}: {told['not_covered']}"))
        for number, (test, figure) in enumerate(cells or [("**none**", "")]):
            lines.append(f"| {row if not number else ''} | {told['what'] if not number else ''} | {test} | {figure} |")
    return "\n".join(lines) + "\n\n"


def main():
    told = tomllib.loads((ROOT / "docs" / "hostile-world.toml").read_text())
    found = evidence()
    known = {**told["threats"], **told["faults"]}
    wrong = [f"{row} is not in docs/hostile-world.toml" for row in found if row not in known]
    wrong += [
        f"{row} ({text['what']}): no test of the last run covers it"
        for row, text in known.items()
        if row not in found and "not_covered" not in text
    ]
    page = HEAD.format(machine=f"{platform.system()} {platform.machine()}, {len(os.sched_getaffinity(0))} cores")
    page += table("Threats", told["threats"], found) + table("Faults", told["faults"], found)
    page = page.rstrip("\n") + "\n"
    print(page)
    if "--write" in sys.argv:
        PAGE.write_text(page)
    else:
        # Figures differ from run to run; what is covered by what does not.
        page = PAGE.read_text() if PAGE.exists() else ""
        named = {row.split("|")[3].strip(" `") for row in page.splitlines() if row.startswith("| ")}
        tests = {test for row in found.values() for test, _ in row}
        wrong += [f"{PAGE.name} does not name {test}: run tests/rows.py --write" for test in sorted(tests - named)]
    for row, cells in found.items():
        if all(figure.startswith("SKIPPED") for _, figure in cells):
            print(f"{row}: nothing but skipped tests", file=sys.stderr)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

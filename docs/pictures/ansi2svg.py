#!/usr/bin/env python3
"""Makes an SVG of a screen that `tmux capture-pane -e -p` wrote: ansi2svg.py COLUMNS ROWS TITLE < SCREEN > SVG

Every word begins in its cell and is as wide as its cells, whatever font the viewer has; rules and blocks are drawn as
shapes, so that they join. It knows what tmux writes (SGR only), and stops at anything else instead of leaving it out.
"""

import re
import sys
import unicodedata
from xml.sax.saxutils import escape

CELL_WIDTH, CELL_HEIGHT, BASELINE, SIZE = 8.43, 18, 13.2, 14
MARGIN, BAR = 14, 30
FOREGROUND, BACKGROUND, FRAME = "#d8dee9", "#161b22", "#30363d"
# The sixteen colours, chosen for their contrast with the background.
NAMED = [
    "#484f58", "#ff7b72", "#56d364", "#e3b341", "#79c0ff", "#d2a8ff", "#56d4dd", "#c9d1d9",
    "#8b949e", "#ffa198", "#7ee787", "#f2cc60", "#a5d6ff", "#e2c5ff", "#b3f0ff", "#ffffff",
]
# Rules: which arms a character has, as up, right, down, left.
ARMS = {"│": "ud", "┌": "rd", "┐": "ld", "└": "ur", "┘": "ul", "├": "urd", "┤": "uld",
        "┬": "rld", "┴": "url", "┼": "urld"}
BLOCKS = "▁▂▃▄▅▆▇█"
SEQUENCE = re.compile(r"\x1b\[([0-9;:]*)m")


def palette(number):
    """One of the 256 colours."""
    if number < 16:
        return NAMED[number]
    if number < 232:
        number -= 16
        levels = [0, 95, 135, 175, 215, 255]
        return "#%02x%02x%02x" % (levels[number // 36], levels[number // 6 % 6], levels[number % 6])
    return "#%02x%02x%02x" % ((8 + 10 * (number - 232),) * 3)


class Style:
    """What SGR has said so far."""

    def __init__(self):
        self.foreground = self.background = None
        self.bold = self.dim = self.underline = self.reverse = False

    def apply(self, parameters):
        numbers = [int(number or 0) for number in re.split("[;:]", parameters)]
        while numbers:
            number = numbers.pop(0)
            if number == 0:
                self.__init__()
            elif number in (1, 2, 4, 7):
                setattr(self, {1: "bold", 2: "dim", 4: "underline", 7: "reverse"}[number], True)
            elif number == 22:
                self.bold = self.dim = False
            elif number in (24, 27):
                setattr(self, {24: "underline", 27: "reverse"}[number], False)
            elif number in (38, 48):
                kind = numbers.pop(0)
                if kind == 5:
                    colour = palette(numbers.pop(0))
                elif kind == 2:
                    colour = "#%02x%02x%02x" % tuple(numbers.pop(0) for _ in range(3))
                else:
                    sys.exit(f"unknown colour {parameters}")
                setattr(self, "foreground" if number == 38 else "background", colour)
            elif number == 39:
                self.foreground = None
            elif number == 49:
                self.background = None
            elif 30 <= number <= 37 or 90 <= number <= 97:
                self.foreground = NAMED[number - 30 if number < 40 else number - 82]
            elif 40 <= number <= 47 or 100 <= number <= 107:
                self.background = NAMED[number - 40 if number < 50 else number - 92]
            else:
                sys.exit(f"unknown attribute {parameters}")

    def key(self):
        """Colours and weight as they are drawn."""
        foreground, background = self.foreground or FOREGROUND, self.background
        if self.reverse:
            foreground, background = background or BACKGROUND, foreground
        return foreground, background, self.bold, self.dim, self.underline


def cells(line):
    """(character, style) of each cell."""
    style, row, at = cells.style, [], 0
    while at < len(line):
        if line[at] == "\x1b":
            found = SEQUENCE.match(line, at)
            if not found:
                sys.exit(f"not only SGR: {line[at:at + 10]!r}")
            style.apply(found[1])
            at = found.end()
            continue
        if unicodedata.east_asian_width(line[at]) in "WF":
            sys.exit(f"a wide character: {line[at]!r}")
        row.append((line[at], style.key()))
        at += 1
    return row


cells.style = Style()  # goes on from line to line, as in a terminal


def number(value):
    return f"{value:.2f}".rstrip("0").rstrip(".")


def shape(character, x, y, colour, opacity):
    """A block or a corner."""
    if character in BLOCKS:
        height = CELL_HEIGHT * (BLOCKS.index(character) + 1) / 8
        return f'<rect x="{number(x)}" y="{number(y + CELL_HEIGHT - height)}" width="{number(CELL_WIDTH)}" ' \
               f'height="{number(height)}" fill="{colour}"{opacity} shape-rendering="crispEdges"/>'
    across, down = x + CELL_WIDTH / 2, y + CELL_HEIGHT / 2
    ends = {"u": (across, y), "r": (x + CELL_WIDTH, down), "d": (across, y + CELL_HEIGHT), "l": (x, down)}
    path = "".join(f"M{number(across)} {number(down)}L{number(ends[arm][0])} {number(ends[arm][1])}"
                   for arm in ARMS[character])
    return f'<path d="{path}" stroke="{colour}"{opacity}/>'


def runs(row):
    """Stretches of one style: (column, text, style)."""
    found = []
    for column, (character, style) in enumerate(row):
        if found and found[-1][2] == style:
            found[-1][1].append(character)
        else:
            found.append((column, [character], style))
    return found


def draw(row, y):
    """One line of the screen."""
    behind, before = [], []
    for column, characters, (foreground, background, bold, dim, underline) in runs(row):
        x, width = MARGIN + column * CELL_WIDTH, len(characters) * CELL_WIDTH
        opacity = ' opacity=".62"' if dim else ""
        if background:
            behind.append(f'<rect x="{number(x)}" y="{number(y)}" width="{number(width)}" height="{CELL_HEIGHT}" '
                          f'fill="{background}" shape-rendering="crispEdges"/>')
        weight = ' font-weight="700"' if bold else ""
        line = ' text-decoration="underline"' if underline else ""
        fill = f' fill="{foreground}"' if foreground != FOREGROUND else ""
        for found in re.finditer("(─+)|([│┌┐└┘├┤┬┴┼▁▂▃▄▅▆▇█])|([^ ─│┌┐└┘├┤┬┴┼▁▂▃▄▅▆▇█]+)", "".join(characters)):
            left, count = x + found.start() * CELL_WIDTH, len(found[0])
            if found[1]:  # one line for many cells
                middle = number(y + CELL_HEIGHT / 2)
                before.append(f'<path d="M{number(left)} {middle}h{number(count * CELL_WIDTH)}" '
                              f'stroke="{foreground}"{opacity}/>')
            elif found[2]:
                before.append(shape(found[2], left, y, foreground, opacity))
            else:  # a word: as wide as its cells, whatever the font
                length = f' textLength="{number(count * CELL_WIDTH)}"' if count > 1 else ""
                before.append(f'<text x="{number(left)}" y="{number(y + BASELINE)}"{length}{fill}{weight}{opacity}'
                              f'{line}>{escape(found[3])}</text>')
    return behind + before


def main():
    columns, rows, title = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    lines = sys.stdin.read().rstrip("\n").split("\n")
    if len(lines) > rows:
        sys.exit(f"{len(lines)} lines for {rows} rows")
    width, height = 2 * MARGIN + columns * CELL_WIDTH, BAR + rows * CELL_HEIGHT + MARGIN
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{number(width)}" height="{number(height)}" '
        f'viewBox="0 0 {number(width)} {number(height)}" role="img" aria-label="{escape(title)}">',
        f'<title>{escape(title)}</title>',
        f'<rect x=".5" y=".5" width="{number(width - 1)}" height="{number(height - 1)}" rx="8" fill="{BACKGROUND}" '
        f'stroke="{FRAME}"/>',
        f'<text x="{number(width / 2)}" y="20" fill="#8b949e" font-family="sans-serif" font-size="12" '
        f'text-anchor="middle">{escape(title)}</text>',
        f'<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,\'DejaVu Sans Mono\',\'Liberation Mono\',monospace" '
        f'font-size="{SIZE}" fill="{FOREGROUND}" stroke-width="1.2">',
    ]
    for index, line in enumerate(lines):
        row = cells(line)
        if len(row) > columns:
            sys.exit(f"line {index + 1} has {len(row)} columns")
        out += draw(row, BAR + index * CELL_HEIGHT)
    out += ["</g>", "</svg>"]
    print("\n".join(out))


main()

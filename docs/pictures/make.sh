#!/bin/bash
# Makes the pictures of the README: runs `postrider demo` in tmux, presses keys, and turns what the terminal shows into
# SVG. Nothing is drawn by hand. Needs tmux and Python 3.
#
#   docs/pictures/make.sh [POSTRIDER]      the program; target/release/postrider unless told otherwise
#   MINUTES=61                             how long the demo runs before the pictures are taken (its charts cover an hour)
set -euo pipefail

cd "$(dirname "$0")/../.."
program=$(realpath "${1:-target/release/postrider}")
minutes=${MINUTES:-61}
folder=docs/pictures
home=$(mktemp -d)
screen() { tmux -L "postrider-pictures-$$" -f /dev/null "$@"; }
# The demo removes what is its own.
cleanup() {
    screen kill-server 2>/dev/null || true
    for _ in $(seq 50); do
        rm -rf "$home" 2>/dev/null && return
        sleep 0.1
    done
}
trap cleanup EXIT

# Settings and memory of whoever runs this are left out.
export HOME="$home" XDG_CONFIG_HOME="$home" XDG_STATE_HOME="$home" TMPDIR="$home" LC_ALL=C.UTF-8
unset NO_COLOR COLORFGBG TMUX
screen new-session -d -x 120 -y 40 -s demo "'$program' demo"

keys() { screen send-keys -t demo "$@"; }
step() { for key in "$@"; do keys "$key"; sleep 0.2; done; } # keys that come all at once are a paste
size() { screen resize-window -t demo -x "$1" -y "$2"; }
shows() { # waits until the screen shows a text
    for _ in $(seq 100); do
        if screen capture-pane -p -t demo | grep -qF -- "$1"; then return; fi
        sleep 0.1
    done
    screen capture-pane -p -t demo >&2
    echo "the screen never showed: $1" >&2
    exit 1
}
settle() { # waits until what is drawn stays for a moment, counters aside
    sleep 1
}
take() { # NAME COLUMNS ROWS TITLE
    settle
    screen capture-pane -e -N -p -t demo | python3 "$folder/ansi2svg.py" "$2" "$3" "$4" > "$home/$1.svg"
    mv "$home/$1.svg" "$folder/$1.svg"
    echo "$folder/$1.svg"
}
shows 'Last deliveries'
sleep $((minutes * 60))

# While a receiver is in trouble, which one is for 25 of every 80 seconds.
for _ in $(seq 100); do
    if screen capture-pane -p -t demo | grep -q '^. aml-watch .*503 '; then break; fi
    sleep 1
done
sleep 8
take overview 120 40 'postrider: Overview'
size 80 24
take overview-80x24 80 24 'postrider: Overview in 80 columns and 24 lines'
size 120 40

keys 3
shows 'EVENT TYPE'
take deliveries 120 40 'postrider: Deliveries'

# One that its receiver did not take, with its plan.
keys c 5
shows 'server err'
settle
keys g
settle
keys Enter
shows 'Attempts'
take delivery 120 40 'postrider: one delivery, its attempts and its payload'
keys q

keys 2
shows 'OPTS'
step g j j j j
keys Enter
shows 'Signing key'
take form 120 40 'postrider: the form of a webhook'
keys Escape
shows 'OPTS'

size 80 24
step g j j
keys t
shows 'Likely cause'
take test 80 24 'postrider: the test of a webhook'

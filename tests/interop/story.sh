#!/usr/bin/env bash
# One story in a real terminal (tmux), against the release daemon and a receiver that we did not write (the Debian
# package `webhook`, with an HMAC rule): make a webhook by the form, test it, see why it fails, mend it, post events, see
# one fail, read its payload, send it again, delete the webhook and take that back.
#
#   tests/interop/story.sh [BINARY]
#
# Exit code 77 and a reason when something is missing.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
binary=$(realpath "${1:-$root/target/release/postrider}")
for tool in tmux webhook curl python3; do
    command -v "$tool" >/dev/null || { echo "SKIP: the story needs $tool"; exit 77; }
done

# Whatever the caller uses is not meant here.
unset "${!POSTRIDER_@}"
work=$(mktemp -d)
export TMUX_TMPDIR=$work
unset TMUX
pids=()
cleanup() {
    status=$?
    if [ "$status" -ne 0 ]; then
        echo "--- the screen"
        tmux capture-pane -p -t story 2>/dev/null || true
        tail -n 5 "$work"/*.log
    fi
    tmux kill-server 2>/dev/null || true
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    rm -rf "$work"
    exit "$status"
}
trap cleanup EXIT
fail() { echo "FAIL: $*"; exit 1; }

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# --- The daemon and the receiver -------------------------------------------------------------------------------------
cat >"$work/postrider.toml" <<'CONFIG'
[ingest]
listen = "127.0.0.1:0"
[egress]
allow = ["127.0.0.0/8"]
[retention]
min_free_bytes = 16777216
min_free_percent = 1
[email]
smtp = ""
CONFIG
export POSTRIDER_CONFIG=$work/postrider.toml POSTRIDER_STATE_DIR=$work/state POSTRIDER_SOCKET=$work/admin.sock
"$binary" serve >"$work/daemon.log" 2>&1 &
pids+=($!)

key=story-signing-key
hook_port=$(free_port)
cat >"$work/hooks.json" <<HOOKS
[{"id": "orders", "execute-command": "/bin/true", "trigger-rule-mismatch-http-response-code": 401,
  "trigger-rule": {"match": {"type": "payload-hmac-sha256", "secret": "$key",
                             "parameter": {"source": "header", "name": "Idenfy-Signature"}}}}]
HOOKS
receive() {
    webhook -hooks "$work/hooks.json" -ip 127.0.0.1 -port "$hook_port" -verbose >>"$work/webhook.log" 2>&1 &
    receiver=$!
    pids+=("$receiver")
    until curl -s -o /dev/null "http://127.0.0.1:$hook_port/"; do sleep 0.05; done
}
receive
for _ in $(seq 200); do "$binary" status --json >/dev/null 2>&1 && break; sleep 0.05; done
listen=$("$binary" status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["ingest"]["listen"])')
token=$(cat "$work/state/ingest.token")
post() { # SCANREF
    curl -sS --max-time 10 -o /dev/null -w '%{http_code}\n' -H "Authorization: Bearer $token" \
        -H 'Content-Type: application/json' -d "{\"scanRef\":\"$1\",\"note\":\"from the story\"}" \
        "http://$listen/v1/events/SOS_REPORT" | grep -q 202 || fail "the event $1 was not accepted"
}

# --- The terminal ----------------------------------------------------------------------------------------------------
shows() { # TEXT: waits until the screen holds it
    for _ in $(seq 200); do
        tmux capture-pane -p -t story 2>/dev/null | grep -qF -- "$1" && return 0
        sleep 0.05
    done
    fail "the screen does not show: $1"
}
keys() { for key_name in "$@"; do tmux send-keys -t story "$key_name"; sleep 0.05; done; }
# Character by character: what comes all at once is a paste.
types() { for ((at = 0; at < ${#1}; at++)); do tmux send-keys -t story -l -- "${1:at:1}"; sleep 0.02; done; }

tmux -f /dev/null new-session -d -s story -x 80 -y 24 "$binary tui"
shows 'no webhooks yet'

# A webhook by the form, with a port that nobody listens on, and without its key at first.
keys 2 n
shows 'new webhook'
types orders
keys Tab C-u
types "http://127.0.0.1:$(free_port)/hooks/orders"
keys Tab
keys Space
shows 'Event types'
types sos
shows '> [ ] SOS_REPORT'
keys Space Enter
shows '< SOS_REPORT >'

# Tested before it is saved: nothing listens there.
keys C-t
shows 'FAIL Connect'
shows 'Likely cause'
keys Escape Up Up
shows 'where events are posted'
keys C-u
types "http://127.0.0.1:$hook_port/hooks/orders"
keys C-t
# The receiver is there, and wants a signature.
shows 'FAIL Response'
shows '401'
keys Escape
for _ in 1 2 3 4 5; do
    tmux capture-pane -p -t story | grep -q '^>.*Signing key' && break
    keys Tab
done
shows '> Signing key'
types "$key"
keys C-t
shows 'ok   Response'
keys Escape C-s
shows 'orders made'
echo "ok: a webhook was made by the form, tested before it was saved, and mended by what the test said"

# Events: one arrives, one does not.
post arrives
keys 3
shows 'arrives'
shows ' done '
kill "$receiver"
wait "$receiver" 2>/dev/null || true
post fails-1
shows 'fails-1'
shows '0 no response retry'
keys g Enter
shows 'nothing listens there'
keys v
shows '"note": "from the story"'
keys q q
shows '(recently sent)'
receive
keys g r
shows 'sent again'
for _ in $(seq 200); do
    "$binary" delivery list --ref fails-1 --json | grep -q '"state": *"delivered"' && break
    sleep 0.05
done
"$binary" delivery list --ref fails-1 --json | grep -q '"state": *"delivered"' || fail "it was not delivered by hand"
tmux capture-pane -p -t story | grep -q 'fails-1' || fail "the list lost it"
echo "ok: an event failed, was read, and was sent again by hand"

# Deleted, which needs the name, and taken back.
keys 2 d
shows 'Delete webhook orders?'
keys Enter
shows '> orders'
keys d
types orders
keys Tab Enter
shows 'deleted orders'
"$binary" webhook list --json | grep -q orders && fail "it is still there"
keys u
shows 'restored orders'
shows '> orders'
"$binary" webhook list --json | grep -q orders || fail "it did not come back"
keys Q
for _ in $(seq 100); do tmux has-session -t story 2>/dev/null || break; sleep 0.05; done
tmux has-session -t story 2>/dev/null && fail "it did not end"
echo "ok: the webhook was deleted by its name, and came back"

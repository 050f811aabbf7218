#!/usr/bin/env bash
# Checks OAuth towards receivers against an authorization server that we did not write, the npm package
# `oauth2-mock-server`, and a receiver that verifies its tokens.
#
#   tests/interop/oauth.sh [BINARY]
#
# Needs curl, python3 and node with npm. Exit code 77 and a reason when something is missing.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
binary=$(realpath "${1:-${POSTRIDER_BIN:-$root/target/release/postrider}}")
cache=${INTEROP_CACHE:-$root/target/interop}/oauth

for tool in curl python3 node npm; do
    command -v "$tool" >/dev/null || { echo "SKIP: needs $tool"; exit 77; }
done
[ -x "$binary" ] || { echo "SKIP: no binary at $binary"; exit 77; }

# Pinned, as in run.sh.
mkdir -p "$cache"
if [ ! -e "$cache/ready" ]; then
    npm install --silent --no-audit --no-fund --prefix "$cache" oauth2-mock-server@8.2.3 jose@6.2.18
    touch "$cache/ready"
fi

work=$(mktemp -d)
pids=()
cleanup() {
    status=$?
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    if [ "$status" -ne 0 ]; then
        for log in "$work/node.err" "$work/node.out" "$work/daemon.log"; do
            [ -s "$log" ] && { echo "--- $(basename "$log")"; tail -n 20 "$log"; }
        done
    fi
    rm -rf "$work"
    exit "$status"
}
trap cleanup EXIT

fail() { echo "FAIL: $*"; exit 1; }

# wait_until SECONDS WHAT COMMAND...: polls instead of sleeping and hoping.
wait_until() {
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || fail "$what"
        sleep 0.05
    done
}

# --- The authorization server and the receiver -----------------------------------------------------------------------
export CLIENT_ID=postrider CLIENT_SECRET="canary-$(head -c 12 /dev/urandom | od -An -tx1 | tr -d ' \n')"
NODE_PATH="$cache/node_modules" node "$here/oauth.js" >"$work/node.out" 2>"$work/node.err" &
pids+=($!)
wait_until 20 "the authorization server does not start" test -s "$work/node.out"
port() { head -n1 "$work/node.out" | python3 -c "import json, sys; print(json.load(sys.stdin)['$1'])"; }
server=http://127.0.0.1:$(port server) receiver=http://127.0.0.1:$(port receiver)

# --- The daemon ------------------------------------------------------------------------------------------------------
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
[log]
level = "trace"
CONFIG
export POSTRIDER_CONFIG=$work/postrider.toml POSTRIDER_STATE_DIR=$work/state POSTRIDER_SOCKET=$work/admin.sock
"$binary" serve >"$work/daemon.log" 2>&1 &
pids+=($!)
wait_until 20 "the daemon does not start" "$binary" status --json
listen=$("$binary" status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["ingest"]["listen"])')
token=$(cat "$work/state/ingest.token")

# What an operator enters: the header as RFC 6749 section 2.3.1 wants it, and the form of section 4.4.2.
printf 'Basic %s' "$(printf '%s:%s' "$CLIENT_ID" "$CLIENT_SECRET" | base64 -w0)" >"$work/basic"
printf 'Basic %s' "$(printf '%s:%s' "$CLIENT_ID" wrong | base64 -w0)" >"$work/wrong"
printf %s 'grant_type=client_credentials&scope=deliveries' >"$work/form"
printf %s '{"grant_type": "client_credentials", "scope": "deliveries"}' >"$work/json"

create() { # NAME TOKEN-FILE REQUEST-FILE
    "$binary" --quiet webhook create --name "$1" --url "$receiver/$1" --event-type '*' --retry-count 0 --timeout 3s \
        --oauth-endpoint "$server/token?case=$1" --oauth-token-file "$2" --oauth-request-file "$3" --inactive >/dev/null
}

# post NAME: one event for this webhook alone; waits until its delivery has ended.
post() {
    "$binary" webhook enable "$1" >/dev/null
    local answer
    answer=$(curl -sS --max-time 10 -w '\n%{http_code}' -H "Authorization: Bearer $token" \
        -H 'Content-Type: application/json' --data-binary '{}' "http://$listen/v1/events/SOS_REPORT")
    [ "${answer##*$'\n'}" = 202 ] || fail "$answer"
    wait_until 20 "$1 does not end" ended "$1" "$(grep -o 'evt_[0-9A-Za-z]*' <<<"$answer")"
    "$binary" webhook disable "$1" >/dev/null
}
ended() { # NAME EVENT-ID
    "$binary" delivery list --webhook "$1" --json | grep "\"event_id\": *\"$2\"" |
        grep -qE '"state": *"(delivered|failed)"'
}

# is NAME STATE CODE ERROR: what the newest delivery came to, in one attempt.
is() {
    "$binary" --quiet delivery list --webhook "$1" --limit 1 --json | python3 -c '
import json, sys
one = json.loads(sys.stdin.readline())
found = [one["state"], str(one["last_code"]), one["last_error"] or "-", str(one["attempts_made"])]
sys.exit(0 if found == sys.argv[1:] + ["1"] else f"expected {sys.argv[1:]}, found {found}")' "$2" "$3" "$4" ||
        fail "$1: not $2 with code $3 and error $4"
}
# counts NAME FIELD VALUE: token requests ("asked") or deliveries ("delivered") that ended so.
counts() { grep "\"case\":\"$1\"" "$work/node.out" | grep -c "\"$2\":$3" || true; }
equals() { [ "$1" = "$2" ] || fail "$3: $1 instead of $2"; }

# --- Client credentials, as a form and as JSON -----------------------------------------------------------------------
for kind in form json; do
    create "$kind" "$work/basic" "$work/$kind"
    for _ in 1 2 3; do post "$kind"; is "$kind" delivered 200 -; done
    equals "$(counts "$kind" asked 200)" 1 "$kind: token requests for 3 deliveries"
    equals "$(counts "$kind" delivered 200)" 3 "$kind: deliveries whose token verified"
    grep "\"case\":\"$kind\",\"asked\"" "$work/node.out" | grep -q '"scope":"deliveries"' || fail "$kind: the scope is lost"
done
echo "ok: a client credentials grant, by form and JSON; tokens verified with the server's keys, and kept"

# --- Expiry ----------------------------------------------------------------------------------------------------------
create short "$work/basic" "$work/form"
post short
wait_for=$((SECONDS + 4))
wait_until 10 "time stands still" eval "[ \$SECONDS -ge $wait_for ]"
post short
is short delivered 200 -
equals "$(counts short asked 200)" 2 "token requests over an expiry"
equals "$(counts short delivered 401)" 0 "expired tokens shown"
echo "ok: an expired token is replaced before it is shown"

# --- What goes wrong -------------------------------------------------------------------------------------------------
create refused "$work/wrong" "$work/form"
create huge "$work/basic" "$work/form"
create bare "$work/basic" "$work/form"
create slow "$work/basic" "$work/form"
for kind in refused huge bare slow; do
    post "$kind"
    is "$kind" failed 0 oauth
    equals "$(counts "$kind" delivered '.*')" 0 "$kind: deliveries without a token"
done
equals "$(counts refused asked 401)" 1 "refused token requests"
for words in 'answered 401' 'larger than 64 KiB' 'no access_token' 'no answer of the authorization server'; do
    grep -q "no access token.*$words" "$work/daemon.log" || fail "the log does not say: $words"
done
echo "ok: a refusal, 10 MB, no token and slowness are attempts with kind oauth, and the log says which"

create once "$work/basic" "$work/form"
post once
is once delivered 200 -
equals "$(counts once asked 200) $(counts once delivered 401) $(counts once delivered 200)" "2 1 1" "after one 401"
create never "$work/basic" "$work/form"
post never
is never failed 401 -
equals "$(counts never asked 200) $(counts never delivered 401)" "2 2" "after two 401s"
echo "ok: a 401 of the receiver brings one fresh token, and only one"

# --- What must not be seen -------------------------------------------------------------------------------------------
for secret in "$CLIENT_SECRET" "$(cut -d' ' -f2 "$work/basic")" eyJ; do
    ! grep -qF "$secret" "$work/daemon.log" || fail "a secret is in the log"
done
echo "oauth interop passed"

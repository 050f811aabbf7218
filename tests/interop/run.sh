#!/usr/bin/env bash
# Checks the release binary against programs that we did not write: two Standard Webhooks libraries, the Debian
# package `webhook` as a receiver with HMAC rules, two CloudEvents SDKs, an authorization server, a mail server,
# a proxy, the OpenTelemetry SDK, and curl.
#
#   tests/interop/run.sh [BINARY]
#
# Needs curl, openssl, a C compiler, python3 with venv, node with npm, `webhook`, `socat` and `tinyproxy`. Exit code 77 and a reason when something is missing,
# so that a skipped run never looks like a good one.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
binary=$(realpath "${1:-$root/target/release/postrider}")
cache=${INTEROP_CACHE:-$root/target/interop}

for tool in curl openssl cc python3 node npm webhook socat tinyproxy; do
    command -v "$tool" >/dev/null || { echo "SKIP: needs $tool"; exit 77; }
done
[ -x "$binary" ] || { echo "SKIP: no binary at $binary"; exit 77; }

# Pinned: a new release of somebody else's library must not turn our CI red by surprise.
mkdir -p "$cache"
if [ ! -e "$cache/python-2.ready" ]; then
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/pip" install --quiet --disable-pip-version-check standardwebhooks==1.1.0 cloudevents==2.2.0 \
        opentelemetry-sdk==1.45.2 opentelemetry-proto==1.45.2
    touch "$cache/python-2.ready"
fi
if [ ! -e "$cache/mail.ready" ]; then
    python3 -m venv "$cache/mail-venv"
    "$cache/mail-venv/bin/pip" install --quiet --disable-pip-version-check aiosmtpd==1.4.6
    touch "$cache/mail.ready"
fi
if [ ! -e "$cache/schemathesis.ready" ]; then
    python3 -m venv "$cache/schemathesis-venv"
    "$cache/schemathesis-venv/bin/pip" install --quiet --disable-pip-version-check schemathesis==4.32.5
    touch "$cache/schemathesis.ready"
fi
if [ ! -e "$cache/node.ready" ]; then
    npm install --silent --no-audit --no-fund --prefix "$cache" standardwebhooks@1.1.1 cloudevents@10.0.0
    touch "$cache/node.ready"
fi
python="$cache/venv/bin/python"

work=$(mktemp -d)
pids=()
cleanup() {
    status=$?
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    if [ "$status" -ne 0 ]; then
        for log in "$work"/*.err "$work/daemon.log"; do
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

# --- The receivers ---------------------------------------------------------------------------------------------------
whsec="whsec_$(head -c 32 /dev/urandom | base64 -w0)"
plain="interop-plain-key-$(head -c 12 /dev/urandom | od -An -tx1 | tr -d ' \n')"
printf %s "$whsec" >"$work/whsec"
printf %s "$plain" >"$work/plain"

WHSEC=$whsec "$python" "$here/verify.py" >"$work/python.out" 2>"$work/python.err" &
pids+=($!)
# The module is looked up from where the package was installed, not from where the script lies.
WHSEC=$whsec NODE_PATH="$cache/node_modules" node "$here/verify.js" >"$work/node.out" 2>"$work/node.err" &
pids+=($!)
wait_until 10 "the python receiver does not start" test -s "$work/python.out"
wait_until 10 "the node receiver does not start" test -s "$work/node.out"

mkdir "$work/kept"
cat >"$work/hooks.json" <<HOOKS
[{"id": "interop", "execute-command": "$here/keep.sh", "command-working-directory": "$work",
  "include-command-output-in-response": true,
  "pass-arguments-to-command": [{"source": "header", "name": "Webhook-Id"}],
  "pass-environment-to-command": [{"source": "raw-request-body", "envname": "BODY"},
                                  {"source": "string", "name": "$work/kept", "envname": "KEEP_DIR"}],
  "trigger-rule-mismatch-http-response-code": 401,
  "trigger-rule": {"match": {"type": "payload-hmac-sha256", "secret": "$plain",
                             "parameter": {"source": "header", "name": "Idenfy-Signature"}}}}]
HOOKS
# It can not be told to take any free port and say which.
hook_port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
webhook -hooks "$work/hooks.json" -ip 127.0.0.1 -port "$hook_port" -verbose >"$work/webhook.err" 2>&1 &
pids+=($!)
wait_until 10 "the webhook receiver does not start" curl -s "http://127.0.0.1:$hook_port/"

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
CONFIG
export POSTRIDER_CONFIG=$work/postrider.toml POSTRIDER_STATE_DIR=$work/state POSTRIDER_SOCKET=$work/admin.sock
"$binary" serve >"$work/daemon.log" 2>&1 &
pids+=($!)
wait_until 20 "the daemon does not start" "$binary" status --json
listen=$("$binary" status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["ingest"]["listen"])')
token=$(cat "$work/state/ingest.token")

create() { # NAME URL KEY-FILE
    "$binary" webhook create --name "$1" --url "$2" --event-type '*' --signing-key-file "$3" >/dev/null
}
create python "http://127.0.0.1:$(head -n1 "$work/python.out")/" "$work/whsec"
create node "http://127.0.0.1:$(head -n1 "$work/node.out")/" "$work/whsec"
create debian "http://127.0.0.1:$hook_port/hooks/interop" "$work/plain"

# --- The example payloads, as a shell script of an app would post them -----------------------------------------------
count=0
declare -A event_of
for file in "$root"/src/catalog/examples/*.json; do
    type=$(basename "$file" .json)
    answer=$(curl -sS --max-time 10 -w '\n%{http_code}' -H "Authorization: Bearer $token" \
        -H 'Content-Type: application/json' --data-binary "@$file" "http://$listen/v1/events/$type")
    [ "${answer##*$'\n'}" = 202 ] || fail "$type: $answer"
    event_of[$type]=$(printf %s "${answer%$'\n'*}" | python3 -c 'import json, sys; print(json.load(sys.stdin)["id"])')
    count=$((count + 1))
done
[ "$count" -eq 20 ] || fail "$count examples instead of 20"

for type in "${!event_of[@]}"; do
    id=${event_of[$type]}
    file=$root/src/catalog/examples/$type.json
    wait_until 20 "$type ($id) did not reach the Debian receiver" cmp -s "$file" "$work/kept/$id"
    sum=$(sha256sum "$file" | cut -d' ' -f1)
    for library in python node; do
        line="\"id\": *\"$id\", *\"verified\": *true, *\"sha256\": *\"$sum\""
        wait_until 20 "$type ($id) did not verify with the $library library" grep -q "$line" "$work/$library.out"
    done
done
echo "ok: $count example payloads, byte for byte, at 3 receivers; signatures accepted by 3 verifiers"

# found REFERENCE EVENT-ID: whether `delivery list --ref` shows a delivery of this event.
found() { "$binary" delivery list --ref "$1" --limit 200 --json | grep -q "\"event_id\": *\"$2\""; }

looked_up=0
for type in "${!event_of[@]}"; do
    while read -r reference; do
        [ -n "$reference" ] || continue
        wait_until 10 "$type is not found by $reference" found "$reference" "${event_of[$type]}"
        looked_up=$((looked_up + 1))
    done < <(python3 "$here/references.py" "$root/src/catalog/examples/$type.json")
done
echo "ok: found again by $looked_up references"

# --- CloudEvents -----------------------------------------------------------------------------------------------------
ids=$(INGEST="http://$listen" TOKEN=$token "$python" "$here/post_cloudevents.py" 2>"$work/cloudevents.err") ||
    fail "CloudEvents: $(cat "$work/cloudevents.err")"
for id in $ids; do
    wait_until 20 "CloudEvent $id did not reach the python receiver" grep -q "\"$id\", \"verified\": true" "$work/python.out"
done
wait_until 10 "a CloudEvent is not found by its scanRef" found ce-structured "$(head -n1 <<<"$ids")"
ids_node=$(INGEST="http://$listen" TOKEN=$token NODE_PATH="$cache/node_modules" node "$here/post_cloudevents.js" \
    2>"$work/cloudevents-node.err") || fail "CloudEvents of npm: $(cat "$work/cloudevents-node.err")"
for id in $ids_node; do
    wait_until 20 "CloudEvent $id did not reach the node receiver" grep -q "\"id\": *\"$id\", *\"verified\": *true" "$work/node.out"
done
wait_until 10 "a CloudEvent is not found by its scanRef" found ce-node-binary "$(sed -n 2p <<<"$ids_node")"
echo "ok: $(wc -w <<<"$ids_node") CloudEvents from the SDK of npm"
echo "ok: $(wc -w <<<"$ids") CloudEvents from the SDK: structured, binary, batch; the same one twice is one event"

! grep -q '"verified": *false' "$work"/python.out "$work"/node.out || fail "a request did not verify"
bash "$here/oauth.sh" "$binary"
# The one mostly waits, so the other goes beside it.
export POSTRIDER_BIN=$binary
bash "$here/mail_time.sh" &
time_pid=$!
pids+=("$time_pid")
mail=0 over_time=0
bash "$here/mail.sh" || mail=$?
wait "$time_pid" || over_time=$?
[ "$mail" -eq 0 ] || exit "$mail"
[ "$over_time" -eq 0 ] || exit "$over_time"
bash "$here/story.sh" "$binary"
bash "$here/snippets.sh" "$binary"
bash "$here/around.sh" "$binary" "$python"
described=0
bash "$here/schemathesis.sh" "$binary" "$cache/schemathesis-venv/bin/schemathesis" >"$work/schemathesis.log" 2>&1 || described=$?
tail -n 1 "$work/schemathesis.log"
# Without root there is no network of its own.
[ "$described" -eq 0 ] || [ "$described" -eq 77 ] || { tail -n 80 "$work/schemathesis.log"; fail "answers are not as docs/openapi.json says"; }
echo "interop passed"

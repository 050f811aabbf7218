#!/usr/bin/env bash
# What stands around the daemon, none of it written by us: a proxy (the Debian package `tinyproxy`) that deliveries go through, and an
# application, a receiver and a collector that are made with the OpenTelemetry SDK of PyPI.
#
#     bash tests/interop/around.sh BINARY PYTHON
set -euo pipefail
unset "${!POSTRIDER_@}"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
binary=$(realpath "$1") python=$2
command -v tinyproxy >/dev/null || { echo "SKIP: needs tinyproxy"; exit 77; }
work=$(mktemp -d)
pids=()
cleanup() {
    local status=$?
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    if [ "$status" -ne 0 ]; then
        for log in "$work/log" "$work/seen" "$work/proxy.log"; do
            [ -s "$log" ] && { echo "--- $(basename "$log")"; tail -n 30 "$log"; }
        done
    fi
    rm -rf "$work"
    exit "$status"
}
trap cleanup EXIT
fail() { echo "FAIL: $*"; exit 1; }
wait_until() { # SECONDS WHAT COMMAND...
    local deadline=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || fail "$what"
        sleep 0.05
    done
}
of() { python3 -c "import json, sys; print(json.load(sys.stdin)$1)"; }

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
    -addext basicConstraints=critical,CA:FALSE -keyout "$work/key.pem" -out "$work/certificate.pem" 2>/dev/null
"$python" "$here/around.py" serve "$work/certificate.pem" "$work/key.pem" >"$work/seen" 2>"$work/seen.err" &
pids+=($!)
wait_until 20 "the receivers do not start" test -s "$work/seen"
port() { head -n 1 "$work/seen" | of "['$1']"; }

# It can not be told to take any free port and say which.
proxy=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat >"$work/tinyproxy.conf" <<CONF
Port $proxy
Listen 127.0.0.1
LogFile "$work/proxy.log"
LogLevel Connect
BasicAuth joe hunter2-canary
ConnectPort $(port https)
CONF
tinyproxy -d -c "$work/tinyproxy.conf" >/dev/null 2>&1 &
pids+=($!)
wait_until 10 "the proxy does not start" curl -s "http://127.0.0.1:$proxy/"

mkdir -m 700 "$work/state"
configure() { # PASSWORD
    cat >"$work/postrider.toml" <<CONF
[ingest]
listen = "127.0.0.1:0"
[egress]
proxy = "http://joe:$1@127.0.0.1:$proxy"
ca_file = "$work/certificate.pem"
[email]
smtp = ""
[tracing]
collector = "http://127.0.0.1:$(port collector)"
CONF
    chmod 600 "$work/postrider.toml"
}
configure hunter2-canary
"$binary" --config "$work/postrider.toml" --state-dir "$work/state" serve >/dev/null 2>"$work/log" &
daemon=$!
pids+=("$daemon")
pr() { "$binary" --state-dir "$work/state" "$@"; }
wait_until 20 "the daemon does not start" pr status --quiet
token=$(cat "$work/state/ingest.token")
ingest="http://$(pr status --json | of "['ingest']['listen']")"

# Names of receivers are the proxy's to resolve: of ours, localhost would be refused.
for scheme in http https; do
    pr webhook create --name "$scheme" --url "$scheme://localhost:$(port $scheme)/hook?secret=canary" --event-type AML_MONITORING --quiet >/dev/null
done
posted=$("$python" "$here/around.py" post "$ingest/v1/events/AML_MONITORING" "$token" around-1)
both() { [ "$(grep -c '"kind": "delivery".*around-1' "$work/seen")" -eq 2 ]; }
wait_until 20 "not both deliveries came" both
grep -q 'CONNECT localhost:' "$work/proxy.log" || fail "no tunnel was made"
grep -q 'POST http://localhost:' "$work/proxy.log" || fail "no request was handed on"
echo "ok: an https and an http receiver are reached by way of tinyproxy, with user and password"

spans() { [ "$(grep -c '"kind": "span"' "$work/seen")" -ge 3 ]; }
wait_until 20 "the collector got no spans" spans
POSTED=$posted python3 - "$work/seen" <<'PYTHON' || fail "the trace is not one"
import json, os, sys
posted = json.loads(os.environ["POSTED"])
seen = [json.loads(line) for line in open(sys.argv[1])][1:]
spans = {one["span"]: one for one in seen if one["kind"] == "span" and one["trace"] == posted["trace"]}
accepted = [one for one in spans.values() if one["name"] == "accept event"]
assert len(accepted) == 1 and accepted[0]["parent"] == posted["span"], "what is accepted is below the application's span"
deliveries = [one for one in seen if one["kind"] == "delivery"]
assert len(deliveries) == 2
for one in deliveries:
    assert one["trace"] == posted["trace"]
    attempt = spans[one["span"]]
    assert attempt["parent"] == accepted[0]["span"], "an attempt is below what was accepted"
    assert attempt["name"] == f"deliver to {one['scheme']}" and attempt["attributes"]["http.response.status_code"] == 200
    # Of the https receiver the proxy saw nothing, and the receiver nothing of the proxy's password.
    assert bool(one["via"]) == (one["scheme"] == "http") and not one["proxy_authorization"], one
assert "canary" not in json.dumps(list(spans.values())), "nothing of a URL but host and port"
PYTHON
echo "ok: application, postrider and receivers are one trace, as the OpenTelemetry SDK sees it"

configure wrong
kill -HUP "$daemon"
wait_until 10 "the new configuration is not read" grep -q "the configuration was read again" "$work/log"
pr webhook test https --json >"$work/test.json" 2>/dev/null || true
grep -q "the proxy wants a user and a password that it knows" "$work/test.json" || { cat "$work/test.json"; fail "the test does not say what the proxy wants"; }
! grep -rq "hunter2-canary" "$work/log" "$work/state" || fail "the proxy's password is in the log or the store"
echo "ok: what the proxy refuses is told by a test; its password is in no log"
echo "around passed"

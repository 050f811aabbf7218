#!/usr/bin/env bash
# The snippets of docs/snippets against real deliveries: each says "valid" to what was sent, and "INVALID" to the same with one
# byte, the key or the time changed. A language whose runtime is not here is named and left out.
#
#     bash tests/interop/snippets.sh BINARY
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
binary=$(realpath "$1")
snippets=$here/../../docs/snippets
# Whoever calls this may have a daemon of their own.
unset "${!POSTRIDER_@}"
work=$(mktemp -d)
pids=()
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done; wait 2>/dev/null; rm -rf "$work"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

cat >"$work/sink.py" <<'PYTHON'
import base64, http.server, json, sys
class Sink(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        json.dump({"headers": headers, "body": base64.b64encode(body).decode()}, open(sys.argv[1] + ".new", "w"))
        __import__("os").rename(sys.argv[1] + ".new", sys.argv[1])
        self.send_response(204)
        self.end_headers()
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Sink)
print(server.server_port, flush=True)
server.serve_forever()
PYTHON
python3 "$work/sink.py" "$work/request" >"$work/port" &
pids+=($!)
mkdir "$work/state"
chmod 700 "$work/state"
printf '[ingest]\nlisten = "127.0.0.1:0"\n[egress]\nallow = ["127.0.0.0/8"]\n[email]\nsmtp = ""\n' >"$work/postrider.toml"
"$binary" --config "$work/postrider.toml" --state-dir "$work/state" serve >/dev/null 2>"$work/log" &
pids+=($!)
pr() { "$binary" --state-dir "$work/state" "$@"; }
for _ in $(seq 100); do [ -s "$work/port" ] && pr status --quiet >/dev/null 2>&1 && break; sleep 0.1; done

ran=0
# tried LANGUAGE COMMAND...: whether a snippet tells what is valid.
tried() {
    local language=$1
    shift
    if ! command -v "$1" >/dev/null; then
        echo "left out: $language ($1 is not here)"
        return 0
    fi
    local kind said expected
    for kind in whole body key old signature; do
        python3 - "$work/request" "$work/key" "$kind" "$language" >"$work/input" <<'PYTHON'
import base64, json, sys
request, kind = json.load(open(sys.argv[1])), sys.argv[3]
key, body, headers = open(sys.argv[2]).read(), base64.b64decode(request["body"]), request["headers"]
if kind == "body": body = body[:-1] + b" "
if kind == "key": key = "whsec_" + base64.b64encode(b"another key").decode()
if kind == "old": headers["webhook-timestamp"] = str(int(headers["webhook-timestamp"]) - 3600)
if kind == "signature": headers["idenfy-signature"] = "0" * 64
body = base64.b64encode(body).decode()
if sys.argv[4] == "Java":
    print(key, *(f"{name}: {value}" for name, value in headers.items()), "", body, sep="\n")
else:
    json.dump({"key": key, "headers": headers, "body": body}, sys.stdout)
PYTHON
        said=$("$@" <"$work/input") || fail "$language ($kind) does not run"
        expected=INVALID
        [ "$kind" != whole ] || expected=valid
        [ "$said" = "$expected" ] || fail "$language says $said to $kind"
    done
    ran=$((ran + 1))
    echo "ok: $language tells what is valid from what is not ($1)"
}

printf 'whsec_%s' "$(printf 'a key for the snippets, of 32 b.' | base64)" >"$work/key"
pr webhook create --name snippets --url "http://127.0.0.1:$(cat "$work/port")/" --event-type AML_MONITORING --signing-key-file "$work/key" --quiet >/dev/null
curl -sS -o /dev/null "http://$(pr status --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["ingest"]["listen"])')/v1/events/AML_MONITORING" \
    -H "Authorization: Bearer $(cat "$work/state/ingest.token")" -H 'Content-Type: application/json' --data-binary $'{"scanRef": "s-1",\n "name": "ü \\u0000"}'
for _ in $(seq 100); do [ -s "$work/request" ] && break; sleep 0.1; done
[ -s "$work/request" ] || { cat "$work/log"; fail "nothing was delivered"; }

tried Python python3 "$snippets/verify.py"
tried Node.js node "$snippets/verify.js"
tried PHP php "$snippets/verify.php"
tried Ruby ruby "$snippets/verify.rb"
tried Java java "$snippets/Verify.java"
tried Go go run "$snippets/verify.go"
[ "$ran" -ge 2 ] || fail "hardly any runtime is here"
echo "snippets passed ($ran languages)"

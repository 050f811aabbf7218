#!/usr/bin/env bash
# Mail about failures over long times: a mail server (aiosmtpd) that is down for a day, and a receiver that refuses
# 10,000 deliveries within an hour. The daemon's clocks, wall and monotonic, are stepped on (step_clock.c).
#
#   POSTRIDER_BIN=target/release/postrider tests/interop/mail_time.sh
#
# Needs python3 with venv, openssl, curl and a C compiler. Exit code 77 and a reason when something is missing. Takes
# about a minute and a half.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
binary=$(realpath "${POSTRIDER_BIN:-$root/target/release/postrider}")
cache=${INTEROP_CACHE:-$root/target/interop}

for tool in curl openssl python3 cc; do
    command -v "$tool" >/dev/null || { echo "SKIP: needs $tool"; exit 77; }
done
[ -x "$binary" ] || { echo "SKIP: no binary at $binary"; exit 77; }

mkdir -p "$cache"
if [ ! -e "$cache/mail.ready" ]; then
    python3 -m venv "$cache/mail-venv"
    "$cache/mail-venv/bin/pip" install --quiet --disable-pip-version-check aiosmtpd==1.4.6
    touch "$cache/mail.ready"
fi
python="$cache/mail-venv/bin/python"

# Whoever calls this may have told its own daemon where things are.
unset POSTRIDER_CONFIG POSTRIDER_STATE_DIR POSTRIDER_SOCKET

work=$(mktemp -d)
pids=()
cleanup() {
    status=$?
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    wait 2>/dev/null || true
    if [ "$status" -ne 0 ]; then
        for log in "$work"/*.err "$work"/*/daemon.log; do
            [ -s "$log" ] && { echo "--- $log"; tail -n 20 "$log"; }
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

cc -O2 -Wall -Werror -shared -fPIC -o "$work/step_clock.so" "$here/step_clock.c"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
"$python" "$here/refuse.py" >"$work/refuse.port" 2>"$work/refuse.err" &
pids+=($!)
wait_until 10 "the receiver does not start" test -s "$work/refuse.port"
receiver=http://127.0.0.1:$(cat "$work/refuse.port")/

# A port that nobody listens on yet.
free_port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

pr() { local name=$1; shift; "$binary" --state-dir "$work/$name/state" "$@"; }

# status NAME EXPRESSION: whether a python expression over `status` holds.
status() { pr "$1" status --json | "$python" -c 'import json, sys; status = json.load(sys.stdin); sys.exit(not eval(sys.argv[1]))' "$2"; }

# soon NAME EXPRESSION: the same, after an event that nobody wants. Threads that wait for a moment of the stepped clock
# wait for ever, because the kernel knows nothing of it; the journal's, which lets facts gather for 50 ms, goes on when
# something is to be written that somebody waits for.
soon() { post 1 AML_MONITORING && status "$@"; }

# step NAME SECONDS: the daemon's clocks are now so far ahead.
step() { "$python" -c 'import os, struct, sys
file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT, 0o600)
os.pwrite(file, struct.pack("=q", int(sys.argv[2])), 0)' "$work/$1/ahead" "$2"; }

# accounted NAME FAILURES: so many are held, or were told by a mail that was sent.
accounted() {
    local sent
    sent=$(grep -o 'mail was sent.* failures=[0-9]*' "$work/$1/daemon.log" | sed 's/.*=//' | paste -sd+ | sed 's/^$/0/')
    soon "$1" "status['email']['held_failures'] + $((sent)) == $2"
}

serve_mail() { # NAME PORT
    "$python" "$here/mail_sink.py" plain "$work/cert.pem" "$work/key.pem" "$work/$1/mails" "$2" \
        >"$work/$1/port" 2>"$work/$1.err" &
    pids+=($!)
    wait_until 10 "the mail server does not start ($1)" test -s "$work/$1/port"
}

# serve NAME PORT WEBHOOK: a daemon whose time can be stepped, with one webhook that is always refused.
serve() {
    local folder=$work/$1
    cat >"$folder/postrider.toml" <<CONFIG
[ingest]
listen = "127.0.0.1:0"
[egress]
allow = ["127.0.0.0/8"]
[retention]
min_free_bytes = 16777216
min_free_percent = 1
[email]
smtp = "smtp://localhost:$2"
starttls = "off"
from = "postrider@example.org"
CONFIG
    step "$1" 0
    LD_PRELOAD=$work/step_clock.so STEP_CLOCK=$folder/ahead \
        "$binary" serve --config "$folder/postrider.toml" --state-dir "$folder/state" >"$folder/daemon.log" 2>&1 &
    daemon=$!
    pids+=("$daemon")
    wait_until 20 "the daemon does not start ($1)" pr "$1" status
    "$python" -c 'import json, sys; print(json.dumps({"name": sys.argv[1], "url": sys.argv[2], "event_types": ["SOS_REPORT"],
        "retry": {"count": 0, "interval_seconds": 1}, "failure_email": {"to": ["ops@example.com"]}}))' "$3" "$receiver" |
        curl -sS --fail --unix-socket "$folder/state/admin.sock" -o /dev/null \
            -H 'Content-Type: application/json' --data-binary @- http://x/v1/webhooks
    listen=$(pr "$1" status --json | "$python" -c 'import json, sys; print(json.load(sys.stdin)["ingest"]["listen"])')
    token=$(cat "$folder/state/ingest.token")
}

# post COUNT [TYPE]: so many events, in one request.
# A request that is under way when the clock is stepped is late at once, and its connection closed: the same again, by its keys.
batch=0
post() {
    local code number
    batch=$((batch + 1))
    code=$(for number in $(seq "$1"); do
        echo '{"type":"'"${2:-SOS_REPORT}"'","payload":{"scanRef":"x"},"id":"'"$batch-$number"'"}'
    done | curl -sS --retry 5 --retry-all-errors --retry-delay 1 -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $token" \
        -H 'Content-Type: application/x-ndjson' --data-binary @- "http://$listen/v1/events/batch")
    [ "$code" = 202 ] || fail "a batch was answered $code"
}

# told NAME MAILS-MAX FAILURES [EXPRESSION]: in so many mails at most, every failure is listed or counted, none is
# listed twice, and each mail has the headers that it should have.
told() {
    "$python" - "$work/$1/mails" "$2" "$3" "${4:-True}" <<'PYTHON'
import email, email.policy, json, re, sys
path, most, failures, expression = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
mails, listed, counted = [], [], 0
for line in open(path, encoding="utf-8"):
    message = email.message_from_string(json.loads(line)["message"], policy=email.policy.default)
    text = message.get_body(("plain",)).get_content().replace("\r\n", "\n")
    own = re.findall(r"^  (dlv_\w+)$", text, re.M)
    more = re.search(r"^  … and (\d+) more$", text, re.M)
    listed += own
    counted += len(own) + (int(more[1]) if more else 0)
    mails.append(message)
names = {name.lower() for mail in mails for name in mail.keys()}
expected = {"from", "to", "subject", "date", "message-id", "auto-submitted", "mime-version", "content-type",
            "content-transfer-encoding"}
subject = mails[0]["subject"]
problems = [text for text, wrong in [
    (f"{len(mails)} mails", len(mails) > most), (f"{counted} failures told", counted != failures),
    ("a delivery is listed twice", len(set(listed)) != len(listed)), (f"odd headers: {names - expected}", names - expected),
    (f"not as expected: {subject!r}", not eval(expression)),
    ("defects", any(mail.defects for mail in mails)),
] if wrong]
sys.exit("; ".join(problems) or 0)
PYTHON
}

# --- A mail server that is down for a day ----------------------------------------------------------------------------
mkdir "$work/day"
port=$(free_port)
# A name that would be more than a name, if mail were written carelessly.
serve day "$port" '=?utf-8?q?=0d=0aBcc:_x@example.net?= <y@example.net>, "ünï"'
for hour in $(seq 0 23); do
    step day $((hour * 3600))
    post 10
    wait_until 20 "deliveries wait for mail (hour $hour)" soon day 'status["pending"] == 0'
    wait_until 20 "not every failure is held (hour $hour)" soon day "status['email']['held_failures'] == ($hour + 1) * 10"
done
status day 'status["email"]["failing"] and status["email"]["waiting"] == 1' || fail "the status does not tell of the day"
tries=$(grep -c 'the mail server can not be used' "$work/day/daemon.log")
[ "$tries" -ge 12 ] && [ "$tries" -le 60 ] || fail "$tries tries within a day"
serve_mail day "$port"
step day $((26 * 3600))
wait_until 20 "mail does not get out after the day" soon day \
    'status["email"]["held_failures"] == 0 and status["email"]["waiting"] == 0 and not status["email"]["failing"]'
told day 2 240 'subject.startswith("[postrider] =") and "Bcc:_x@example.net" in subject and "ünï" in subject'
kill "$daemon"
echo "ok: a mail server that is down for a day costs no failure its mail, and no delivery its time ($tries tries)"

# --- 10,000 failures in an hour --------------------------------------------------------------------------------------
mkdir "$work/storm"
serve_mail storm 0
serve storm "$(cat "$work/storm/port")" storm
for minute in $(seq 0 59); do
    step storm $((minute * 60))
    post 167
    wait_until 60 "deliveries do not end (minute $minute)" soon storm 'status["pending"] == 0'
done
failures=$((60 * 167))
wait_until 20 "a failure was not noted" accounted storm "$failures"
# Far enough that the last digest is due however late the ones before it were, and not the one after it.
step storm $((70 * 60))
wait_until 20 "not every failure is told" soon storm 'status["email"]["held_failures"] == 0 and status["email"]["waiting"] == 0'
told storm 5 "$failures"
echo "ok: $failures failures in an hour are $(wc -l <"$work/storm/mails") mails, and each is listed or counted"
echo "mail over time passed"

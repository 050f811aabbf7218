#!/usr/bin/env bash
# Mail about failures, taken by a mail server that we did not write (aiosmtpd): in the open with a login, after STARTTLS,
# with SMTPS, greylisting, refusing one recipient, and dropping the connection after DATA.
#
#   POSTRIDER_BIN=target/release/postrider tests/interop/mail.sh
#
# Needs python3 with venv, openssl and curl. Exit code 77 and a reason when something is missing. Takes some two minutes:
# greylisting and a lost connection are tried again after one.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
binary=$(realpath "${POSTRIDER_BIN:-$root/target/release/postrider}")
cache=${INTEROP_CACHE:-$root/target/interop}

for tool in curl openssl python3; do
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

# A certificate that vouches for itself and is no authority: what a small mail server has.
printf '%s\n' '[req]' 'distinguished_name = name' 'x509_extensions = more' 'prompt = no' '[name]' 'CN = localhost' \
    '[more]' 'subjectAltName = DNS:localhost' 'basicConstraints = critical, CA:FALSE' >"$work/openssl.cnf"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -config "$work/openssl.cnf" -keyout "$work/key.pem" \
    -out "$work/cert.pem" 2>/dev/null
printf 'interop-password\n' >"$work/password"

# start MOOD SMTP-URL-SCHEME EXTRA-CONFIG: a sink in this mood, a daemon that uses it, one failed delivery.
start() {
    local mood=$1 scheme=$2 extra=$3 folder=$work/$1
    mkdir "$folder"
    "$python" "$here/mail_sink.py" "$mood" "$work/cert.pem" "$work/key.pem" "$folder/mails" \
        >"$folder/port" 2>"$work/$mood.err" &
    pids+=($!)
    wait_until 10 "the mail server does not start ($mood)" test -s "$folder/port"
    cat >"$folder/postrider.toml" <<CONFIG
[ingest]
listen = "127.0.0.1:0"
[egress]
allow = ["127.0.0.0/8"]
ca_file = "$work/cert.pem"
[retention]
min_free_bytes = 16777216
min_free_percent = 1
[email]
smtp = "$scheme://localhost:$(cat "$folder/port")"
from = "postrider@example.org"
$extra
CONFIG
    "$binary" serve --config "$folder/postrider.toml" --state-dir "$folder/state" >"$folder/daemon.log" 2>&1 &
    pids+=($!)
    wait_until 20 "the daemon does not start ($mood)" pr "$mood" status
    printf '%s' '{"name":"interop","url":"http://127.0.0.1:9/","event_types":["*"],"retry":{"count":0,"interval_seconds":1},
        "failure_email":{"to":["ops@example.com","gone@example.com"],"include_body":true}}' |
        curl -sS --fail --unix-socket "$folder/state/admin.sock" -o /dev/null \
            -H 'Content-Type: application/json' --data-binary @- http://x/v1/webhooks
    local listen
    listen=$(pr "$mood" status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["ingest"]["listen"])')
    curl -sS --fail -o /dev/null -H "Authorization: Bearer $(cat "$folder/state/ingest.token")" \
        -H 'Content-Type: application/json' -d '{"scanRef":"interop-1"}' "http://$listen/v1/events/SOS_REPORT"
}

pr() { local mood=$1; shift; "$binary" --state-dir "$work/$mood/state" "$@"; }

# took MOOD COUNT: so many mails were taken.
took() { [ "$(wc -l <"$work/$1/mails")" -ge "$2" ]; }

# check MOOD EXPRESSION: a python expression over `mails`, each with its parsed `message`.
check() {
    python3 - "$work/$1/mails" "$2" <<'PYTHON' || fail "$1: $2"
import email, email.policy, json, sys
mails = [json.loads(line) for line in open(sys.argv[1], encoding="utf-8")]
for mail in mails:
    mail["message"] = email.message_from_string(mail["message"], policy=email.policy.default)
    mail["text"] = mail["message"].get_body(("plain",)).get_content()
    mail["attached"] = [part.get_content() for part in mail["message"].iter_attachments()]
if not eval(sys.argv[2]):
    print(json.dumps([{"to": m["to"], "tls": m["tls"], "head": m["message"].items(), "text": m["text"]} for m in mails], indent=1))
    sys.exit(1)
PYTHON
}

login='username = "postrider"
password_file = "'$work/password'"'

start auth smtp "$login
starttls = \"off\""
start starttls smtp "$login
starttls = \"opportunistic\""
start smtps smtps "$login"
start greylist smtp ""
start refuse smtp ""
start drop smtp ""

for mood in auth starttls smtps; do
    wait_until 20 "no mail arrives ($mood)" took "$mood" 1
    check "$mood" 'mails[0]["user"] == "postrider" and mails[0]["to"] == ["ops@example.com", "gone@example.com"]'
    check "$mood" '"[postrider] interop: 1 delivery failed (refused)" == mails[0]["message"]["subject"]'
    check "$mood" '"scanRef interop-1" in mails[0]["text"] and "postrider delivery resend dlv_" in mails[0]["text"]'
    check "$mood" 'mails[0]["attached"][0] in (b"{\"scanRef\":\"interop-1\"}", "{\"scanRef\":\"interop-1\"}")'
    check "$mood" 'mails[0]["message"]["auto-submitted"] == "auto-generated" and not mails[0]["message"].defects'
done
check starttls 'mails[0]["tls"]'
echo "ok: mail with a login, in the open, after STARTTLS, and with SMTPS"

wait_until 20 "no mail arrives (refuse)" took refuse 1
check refuse 'mails[0]["to"] == ["ops@example.com"]'
wait_until 10 "the refusal is not told" sh -c "'$binary' --state-dir '$work/refuse/state' status | grep -q 'nobody of that name'"
echo "ok: one refused recipient costs the other nothing"

wait_until 120 "no mail arrives (greylist)" took greylist 1
check greylist 'mails[0]["to"] == ["ops@example.com", "gone@example.com"]'
wait_until 120 "the mail does not come again (drop)" took drop 2
check drop 'mails[0]["message"]["message-id"] == mails[1]["message"]["message-id"]'
echo "ok: greylisting is waited out; after a lost end the mail comes again with its Message-ID"

for mood in auth starttls smtps greylist refuse drop; do
    ! grep -rq interop-password "$work/$mood/state" "$work/$mood/daemon.log" || fail "$mood: the password was kept"
done
echo "mail passed"

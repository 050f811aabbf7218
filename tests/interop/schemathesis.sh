#!/usr/bin/env bash
# Every call that docs/openapi.json describes, with thousands of requests that fit the description and that do not: no answer is a
# server's fault, and each is as described. Run by schemathesis (PyPI), in a network of its own, because webhooks that it
# makes up may lead anywhere.
#
#     bash tests/interop/schemathesis.sh BINARY SCHEMATHESIS
set -euo pipefail
if [ "${POSTRIDER_ALONE:-}" != 1 ]; then
    [ "$(id -u)" -eq 0 ] || { echo "SKIP schemathesis: needs root for a network of its own"; exit 77; }
    POSTRIDER_ALONE=1 exec unshare --net bash "$0" "$@"
fi
# Whoever calls this may have a daemon of their own.
unset "${!POSTRIDER_@}"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
binary=$(realpath "$1") schemathesis=$2
work=$(mktemp -d)
pids=()
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done; wait 2>/dev/null; rm -rf "$work"' EXIT
ip link set lo up
mkdir -m 700 "$work/state"
printf '[ingest]\nlisten = "127.0.0.1:7780"\n[email]\nsmtp = ""\n[log]\nlevel = "warn"\n' >"$work/postrider.toml"
"$binary" --config "$work/postrider.toml" --state-dir "$work/state" serve >/dev/null 2>"$work/log" &
daemon=$!
pids+=("$daemon")
for _ in $(seq 100); do "$binary" --state-dir "$work/state" status --quiet >/dev/null 2>&1 && break; sleep 0.1; done
socat TCP-LISTEN:7790,bind=127.0.0.1,fork,reuseaddr UNIX-CONNECT:"$work/state/admin.sock" 2>/dev/null &
pids+=($!)
token=$(cat "$work/state/ingest.token")
"$binary" --state-dir "$work/state" webhook create --name one --url https://receiver.example.com/ --event-type AML_MONITORING --quiet >/dev/null
"$binary" --state-dir "$work/state" event send AML_MONITORING --example --quiet >/dev/null

cd "$work"
common=(--max-examples "${EXAMPLES:-25}" --seed 7 --generation-database none --phases examples,coverage,fuzzing --no-color --continue-on-failure
    --request-timeout 30 --suppress-health-check all)
# What fits the description can still be refused for what it means: a name that is taken, a URL that leads nowhere permitted. And
# what does not fit can still be taken: a parameter that is empty counts as not sent.
# Both servers have the path /v1/events, each with methods of its own.
checks=(--exclude-checks "positive_data_acceptance,unsupported_method,negative_data_rejection,allow_header_conformance")
status=0
"$schemathesis" run "$here/../../docs/openapi.json" --url http://127.0.0.1:7780 --include-tag ingest --exclude-path /v1/events/batch --header "Authorization: Bearer $token" \
    "${common[@]}" "${checks[@]}" || status=$?
# A backup is a large answer, and whoever waits for a change waits.
"$schemathesis" run "$here/../../docs/openapi.json" --url http://127.0.0.1:7790 --include-tag admin --exclude-path /v1/backup --exclude-path /v1/changes \
    "${common[@]}" "${checks[@]}" || status=$?
kill -0 "$daemon" || { cat "$work/log"; echo "FAILED: the daemon is gone"; exit 1; }
! grep -i panick "$work/log" || { echo "FAILED: something panicked"; exit 1; }
[ "$status" -eq 0 ] || exit "$status"
echo "schemathesis passed"

#!/usr/bin/env bash
# The Debian package as its users meet it, on a bare system that was just made (debootstrap) and booted (systemd-nspawn): install,
# start, create a webhook, post, receive, look at it in the UI, scrape it, upgrade it while it is used, remove, purge.
#
#     bash tests/packages/install.sh FIRST.deb SECOND.deb SUITE RPM
#
# SECOND is the same program with a higher revision. SUITE is the program of the black-box suite: its scenarios are run against the
# installed daemon, confined as the unit confines it. RPM is installed on the same system after all that, by rpm, without its
# dependencies. As root; ends with 77, and says why, where it can not run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

first=$(realpath "$1") second=$(realpath "$2") suite_program=$(realpath "$3") rpm=$(realpath "$4")
skip() { echo "SKIP packages: $*"; exit 77; }
[ "$(id -u)" -eq 0 ] || skip "needs root"
for tool in debootstrap systemd-nspawn nsenter tmux ip prometheus promtool; do
    command -v "$tool" >/dev/null || skip "needs $tool"
done

work=$(mktemp -d /var/tmp/postrider-packages.XXXXXX)
net=postrider-packages-$$
pids=()
clean_up() {
    local status=$?
    [ ! -s "$work/dashboard.log" ] || cat "$work/dashboard.log"
    if [ "$status" -ne 0 ] && [ -n "${init:-}" ]; then
        echo "--- the daemon's log"
        inside journalctl -u postrider --no-pager -n 60 || true
    fi
    tmux kill-session -t "$net" 2>/dev/null || true
    for pid in "${pids[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
    # The system in it goes down with its first process.
    [ -z "${init:-}" ] || kill -KILL "$init" 2>/dev/null || true
    [ -z "${container:-}" ] || kill -KILL "$container" 2>/dev/null || true
    wait 2>/dev/null || true
    ip netns delete "$net" 2>/dev/null || true
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }
ok() { echo "ok: $*"; }
# wait_until SECONDS WHAT COMMAND...: until the command succeeds.
wait_until() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || fail "$what"
        sleep 0.2
    done
}

# --- a bare system

# From wherever this machine has its own packages.
mirror=$(apt-get indextargets --format '$(SITE) $(CODENAME)' 'Created-By: Packages' | awk '$2 !~ /security|updates|backports/ {print $1, $2; exit}')
[ -n "$mirror" ] || skip "apt knows no mirror"
read -r site suite <<<"$mirror"
debootstrap --variant=minbase --include=systemd,systemd-sysv,ca-certificates,curl,rpm "$suite" "$work/system" "$site" >"$work/debootstrap.log" 2>&1 \
    || { tail -5 "$work/debootstrap.log"; skip "debootstrap did not get through"; }
cp "$first" "$work/system/first.deb"
cp "$second" "$work/system/second.deb"
cp "$rpm" "$work/system/package.rpm"
ip netns add "$net"
ip -n "$net" link set lo up
systemd-nspawn --quiet --directory="$work/system" --register=no --keep-unit --network-namespace-path="/run/netns/$net" \
    --boot --console=pipe </dev/null >"$work/boot.log" 2>&1 &
container=$!
booted() { init=$(pgrep -P "$container" | head -1) && [ -n "$init" ]; }
wait_until 30 "the system does not start" booted
inside() { nsenter --target "$init" --all --root -- env -i -C / PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/ LANG=C.UTF-8 TERM=xterm-256color "$@"; }
running() { inside systemctl is-system-running --quiet 2>/dev/null || [ "$(inside systemctl is-system-running 2>/dev/null)" = degraded ]; }
wait_until 60 "the system does not get up" running
ok "a bare $suite is up"

# --- install

inside dpkg -i /first.deb >"$work/install.log" 2>&1 || { cat "$work/install.log"; fail "dpkg does not install it"; }
inside getent passwd postrider >/dev/null || fail "there is no user postrider"
[ "$(inside systemctl is-enabled postrider)" = enabled ] || fail "it is not enabled"
[ "$(inside systemctl is-active postrider || true)" = inactive ] || fail "it was started although it is not configured"
for file in /etc/postrider/postrider.toml /usr/share/man/man8/postrider.8.gz /usr/share/bash-completion/completions/postrider; do
    [ -e "$work/system$file" ] || fail "$file is not there"
done
inside postrider check-config --quiet || fail "the configuration that comes with it is refused"
ok "installed: user, unit, configuration; not started"

# --- start, in the sandbox of its unit

mkdir -p "$work/system/etc/postrider/conf.d"
cat >"$work/system/etc/postrider/conf.d/test.toml" <<'TOML'
[egress]
allow = ["127.0.0.0/8"]
[metrics]
listen = "127.0.0.1:9464"
[email]
smtp = ""
TOML
inside systemctl start postrider || fail "it does not start"
[ "$(inside systemctl show -p User --value postrider)" = postrider ] || fail "it does not run as its user"
inside systemctl status postrider | grep -q 'Status: ' || fail "there is no status line"
pid=$(inside systemctl show -p MainPID --value postrider)
inside grep -q '^Seccomp:[[:space:]]*2' "/proc/$pid/status" || fail "no system call is filtered"
inside journalctl -u postrider MESSAGE_ID=5b0d0c6f3a7e4c41a5f2f5b1d8a3c001 --no-pager -o cat | grep -q 'is ready' || fail "the journal has no message of the start by its id"
score=$(inside systemd-analyze security postrider --no-pager | tail -1 | grep -o '[0-9]\+\.[0-9]' | head -1)
python3 -c 'import sys; sys.exit(float(sys.argv[1]) > 1.5)' "$score" || fail "systemd-analyze security says $score"
ok "started, confined (systemd-analyze security: $score), in the journal with fields"

# --- whoever is in the group may use it, nobody else

inside useradd --create-home alice
inside useradd --create-home bob
inside usermod -aG postrider alice
inside runuser -u alice -- postrider status --quiet >/dev/null || fail "a member of the group may not look"
inside runuser -u bob -- postrider status >/dev/null 2>&1 && fail "anybody may look" || [ $? -eq 77 ] || fail "not the code for permissions"
inside runuser -u bob -- cat /var/lib/postrider/ingest.token >/dev/null 2>&1 && fail "anybody may read the token"
inside runuser -u alice -- cat /var/lib/postrider/ingest.token >/dev/null || fail "the group may not read the token"
ok "the group may use it, others may not"

# --- create, post, receive

inside sh -c 'printf %s whsec_c2lnbmluZyBrZXkgZm9yIHRoZSBwYWNrYWdlIHRlc3Q= >/srv/key; chmod 600 /srv/key'
inside postrider listen --port 8080 --key-file /srv/key --body --json >"$work/received" 2>"$work/listen.err" &
pids+=($!)
listens() { ip netns exec "$net" bash -c 'exec 3<>/dev/tcp/127.0.0.1/8080' 2>/dev/null; }
wait_until 10 "the receiver does not start" listens
inside runuser -u alice -- sh -c 'cat >/tmp/key; postrider webhook create --name aml --url http://127.0.0.1:8080/hook --event-type AML_MONITORING --retry-interval 1 --retry-count 20 --signing-key-file /tmp/key' <"$work/system/srv/key" >/dev/null \
    || fail "no webhook can be made"
post() { # REFERENCE
    inside sh -c 'curl -sS --max-time 30 -o /dev/null -w "%{http_code}" http://127.0.0.1:7780/v1/events/AML_MONITORING -H "Authorization: Bearer $(cat /var/lib/postrider/ingest.token)" -H "Content-Type: application/json" -H "Idempotency-Key: $1" -d "{\"scanRef\":\"$1\"}"' - "$1"
}
[ "$(post first-1)" = 202 ] || fail "an event is not accepted"
state() { inside postrider delivery list --ref "$1" --json | python3 -c 'import json,sys; print(json.loads(sys.stdin.readline() or "{}").get("state"))'; }
delivered() { [ "$(state "$1")" = delivered ]; }
wait_until 15 "an event is not delivered" delivered first-1
wait_until 5 "the receiver has not told of it" grep -q first-1 "$work/received"
grep first-1 "$work/received" | grep -qi '"verified":true\|"ok"\|valid' || { head -2 "$work/received"; fail "the signature was not verified"; }
ok "created, posted, delivered, verified"

# --- the UI

tmux new-session -d -s "$net" -x 80 -y 24 "nsenter --target $init --all --root -- env -i -C / PATH=/usr/bin:/bin HOME=/ LANG=C.UTF-8 TERM=xterm-256color postrider"
seen() { tmux capture-pane -p -t "$net" | grep -q "$1"; }
wait_until 10 "the UI does not come" seen Overview
tmux send-keys -t "$net" 2
wait_until 10 "the UI does not show the webhook" seen aml
tmux send-keys -t "$net" 3
wait_until 10 "the UI does not show the delivery" seen first-1
tmux kill-session -t "$net"
ok "seen in the UI at 80x24"

# --- doctor, monitoring, metrics

inside postrider doctor >"$work/doctor" || { cat "$work/doctor"; fail "doctor finds faults"; }
grep -q '^ok *confinement' "$work/doctor" || { cat "$work/doctor"; fail "doctor does not see the sandbox"; }
inside postrider status --check | grep -q '^POSTRIDER OK' || fail "status --check is not OK"
cat >"$work/prometheus.yml" <<YAML
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [$PWD/packaging/prometheus/alerts.yml]
scrape_configs:
  - job_name: postrider
    static_configs: [{targets: ["127.0.0.1:9464"]}]
YAML
promtool check config "$work/prometheus.yml" >"$work/promtool.log" 2>&1 || { cat "$work/promtool.log"; fail "Prometheus refuses the rules"; }
ip netns exec "$net" curl -sS http://127.0.0.1:9464/metrics | promtool check metrics >"$work/promtool.log" 2>&1 || { cat "$work/promtool.log"; fail "promtool finds faults in the metrics"; }
ip netns exec "$net" prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/tsdb" --web.listen-address=127.0.0.1:9090 --log.level=warn >"$work/prometheus.log" 2>&1 &
pids+=($!)
asks() { ip netns exec "$net" curl -sS "http://127.0.0.1:9090/api/v1/query" --data-urlencode "query=$1" 2>/dev/null | grep -q '"value":\[[0-9.]*,"1"\]'; }
wait_until 30 "Prometheus has no sample of an attempt that succeeded" asks 'postrider_attempts_total{webhook="aml",class="2xx"}'
wait_until 10 "Prometheus does not see that events are accepted" asks 'postrider_accepting'
cat >"$work/dashboard.py" <<'PYTHON'
import json, sys, urllib.parse, urllib.request
dashboard, silent = json.load(open(sys.argv[1])), []
questions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
for question in questions:
    asked = question.replace("$instance", ".*").replace("$webhook", ".*").replace("$__rate_interval", "30s")
    address = "http://127.0.0.1:9090/api/v1/query?" + urllib.parse.urlencode({"query": asked})
    answer = json.load(urllib.request.urlopen(address))
    if answer["status"] != "success" or not answer["data"]["result"]:
        silent.append(question)
assert len(questions) > 10 and not silent, f"no answer to {silent}"
PYTHON
# Errors are only told of when there were some.
inside postrider webhook create --name dead --url http://127.0.0.1:9/ --event-type AML_MONITORING --retry-count 1 --retry-interval 1 --quiet >/dev/null
[ "$(post dead-1)" = 202 ] || fail "an event is not accepted"
answers() { ip netns exec "$net" python3 "$work/dashboard.py" packaging/grafana/postrider.json >"$work/dashboard.log" 2>&1; }
wait_until 30 "Prometheus does not answer what the dashboard asks" answers
rm "$work/dashboard.log"
inside postrider webhook delete dead --yes --quiet >/dev/null
ok "doctor, status --check; scraped by Prometheus, its rules load, and it answers what the dashboard asks"

# --- reload: a bad file changes nothing

echo 'listen = 5' >"$work/system/etc/postrider/conf.d/zz-bad.toml"
inside systemctl reload postrider >/dev/null 2>&1 && fail "a bad file is taken"
[ "$(post reload-1)" = 202 ] || fail "after a refused reload nothing is accepted"
rm "$work/system/etc/postrider/conf.d/zz-bad.toml"
inside systemctl reload postrider || fail "a good file is refused"
ok "a bad file is refused by reload, a good one taken"

# --- what it does in its sandbox besides: backup, verify, resend, a kill

inside sh -c 'umask 077; postrider backup /srv/store.backup --quiet' || fail "no backup"
inside postrider verify --quiet >/dev/null || fail "the store does not check out"
id=$(inside postrider delivery list --ref first-1 --json | python3 -c 'import json,sys; print(json.loads(sys.stdin.readline())["id"])')
inside postrider delivery resend "$id" --quiet || fail "no resend"
twice() { [ "$(grep -c first-1 "$work/received")" -ge 2 ]; }
wait_until 10 "the resend does not arrive" twice
inside systemctl kill -s KILL postrider
restarted() { [ "$(inside systemctl is-active postrider)" = active ] && [ "$(inside systemctl show -p MainPID --value postrider)" != "$pid" ]; }
wait_until 15 "it is not started again after a kill" restarted
[ "$(post killed-1)" = 202 ] || fail "after a kill nothing is accepted"
wait_until 15 "after a kill nothing is delivered" delivered killed-1
ok "backup, verify, resend, kill -9"

# --- the black-box suite, in the sandbox of the unit

cp "$suite_program" "$work/system/srv/suite"
{
    printf '[Service]\nType=oneshot\nTimeoutStartSec=600\n'
    # What systemd made for the service is not for the daemons of the suite. Load for its own sake is not what is asked here, and the
    # stores of earlier versions are not there.
    printf 'ExecStart=/usr/bin/env -u STATE_DIRECTORY -u RUNTIME_DIRECTORY -u CONFIGURATION_DIRECTORY /srv/suite --skip soak --skip flat_out --skip stores_of\n'
    printf 'Environment=POSTRIDER_BIN=/usr/bin/postrider TMPDIR=/tmp HOME=/tmp\n'
    printf 'StandardOutput=append:/srv/suite.log\nStandardError=inherit\n'
    # Every line that confines: from the user on, without those that concern files of the service.
    sed -n '/^User=/,/^\[Install\]/p' packaging/systemd/postrider.service | grep -v '^#\|^$\|^\[\|^\(Runtime\|State\|Configuration\)Directory'
} >"$work/system/etc/systemd/system/suite.service"
grep -q '^SystemCallFilter=' "$work/system/etc/systemd/system/suite.service" || fail "the suite would not be confined"
inside systemctl daemon-reload
inside systemctl start suite || { cat "$work/system/srv/suite.log"; fail "the suite fails in the sandbox of the unit"; }
passed=$(grep -c ' PASS ' "$work/system/srv/suite.log" || true)
[ "$passed" -ge 15 ] || { cat "$work/system/srv/suite.log"; fail "hardly anything of the suite was run"; }
ok "$passed scenarios of the black-box suite pass in the sandbox of the unit"

# --- the watchdog bites when the daemon hangs

mkdir -p "$work/system/etc/systemd/system/postrider.service.d"
printf '[Service]\nWatchdogSec=4s\n' >"$work/system/etc/systemd/system/postrider.service.d/watchdog.conf"
inside systemctl daemon-reload
inside systemctl restart postrider
pid=$(inside systemctl show -p MainPID --value postrider)
inside sh -c 'kill -STOP "$1"' - "$pid"
wait_until 30 "a daemon that hangs is not started again" restarted
rm -r "$work/system/etc/systemd/system/postrider.service.d"
inside systemctl daemon-reload
inside systemctl restart postrider
ok "a daemon that hangs is killed by the watchdog and started again"

# --- upgrade with a full store, while it is used

inside systemctl stop postrider
inside systemctl enable --now --quiet postrider.socket
inside systemctl start postrider
inside postrider webhook pause aml --quiet
for number in $(seq 200); do
    [ "$(post "before-$number")" = 202 ] || fail "not accepted: before-$number"
done
pid=$(inside systemctl show -p MainPID --value postrider)
(
    number=0
    while [ ! -e "$work/upgraded" ]; do
        number=$((number + 1))
        echo "$number $(post "during-$number" 2>&1)"
    done
) >"$work/during" &
poster=$!
inside dpkg -i /second.deb >"$work/upgrade.log" 2>&1 || { cat "$work/upgrade.log"; fail "dpkg does not upgrade it"; }
wait_until 20 "it is not restarted by the upgrade" restarted
sleep 1
touch "$work/upgraded"
wait "$poster"
refused=$(grep -vc ' 202$' "$work/during" || true)
[ "$refused" -eq 0 ] || { grep -v ' 202$' "$work/during" | head -3; fail "$refused of $(wc -l <"$work/during") posts during the upgrade were refused"; }
posted=$(($(wc -l <"$work/during") + 200))
inside postrider webhook resume aml --quiet
all_delivered() { [ "$(inside postrider status --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["pending"])')" -eq 0 ]; }
wait_until 60 "not everything is delivered after the upgrade" all_delivered
arrived=$(grep -o '\(before\|during\)-[0-9]*' "$work/received" | sort -u | wc -l)
[ "$arrived" -eq "$posted" ] || fail "$posted events were accepted around the upgrade, $arrived arrived"
[ "$(inside postrider webhook list --json | wc -l)" -eq 1 ] || fail "the webhook is gone after the upgrade"
ok "upgraded while posting: $posted accepted, $arrived delivered, none refused"

# --- remove keeps the store, purge does not

inside dpkg -r postrider >"$work/remove.log" 2>&1 || { cat "$work/remove.log"; fail "dpkg does not remove it"; }
[ "$(inside systemctl is-active postrider || true)" != active ] || fail "it runs on after it was removed"
[ -d "$work/system/var/lib/postrider/journal" ] && [ -e "$work/system/etc/postrider/postrider.toml" ] || fail "removing it took the store"
inside dpkg -i /second.deb >"$work/again.log" 2>&1 || { cat "$work/again.log"; fail "it can not be installed again"; }
inside systemctl start postrider || fail "it does not start with the store that was kept"
[ "$(inside postrider webhook list --json | wc -l)" -eq 1 ] || fail "the store was not kept"
rm -r "$work/system/etc/postrider/conf.d"
inside dpkg -P postrider >"$work/purge.log" 2>&1 || { cat "$work/purge.log"; fail "dpkg does not purge it"; }
for left in /var/lib/postrider /etc/postrider /usr/bin/postrider; do
    [ ! -e "$work/system$left" ] || fail "$left is left after purging"
done
ok "removed with its store kept, installed again, purged without a trace"

# --- the .rpm, its scripts and its files, on the same system

# A user that is left would hide that none is made.
inside userdel postrider 2>/dev/null || true
inside rpm --install --nodeps /package.rpm >"$work/rpm.log" 2>&1 || { cat "$work/rpm.log"; fail "rpm does not install it"; }
! grep -qi 'error\|fail\|warning\|not found' "$work/rpm.log" || { cat "$work/rpm.log"; fail "rpm has something to say"; }
inside getent passwd postrider >/dev/null || fail "the .rpm makes no user"
inside postrider check-config --quiet || fail "the configuration of the .rpm is refused"
[ "$(inside systemctl is-active postrider || true)" = inactive ] || fail "the .rpm starts it"
inside systemctl start postrider || fail "it does not start from the .rpm"
rpm_post() { inside sh -c 'curl -sS --max-time 30 -o /dev/null -w "%{http_code}" http://127.0.0.1:7780/v1/events/AML_MONITORING -H "Authorization: Bearer $(cat /var/lib/postrider/ingest.token)" -H "Content-Type: application/json" -d "{}"'; }
[ "$(rpm_post)" = 202 ] || fail "an event is not accepted after the .rpm was installed"
echo '# kept' >>"$work/system/etc/postrider/postrider.toml"
pid=$(inside systemctl show -p MainPID --value postrider)
inside rpm --upgrade --force --nodeps /package.rpm >"$work/rpm.log" 2>&1 || { cat "$work/rpm.log"; fail "rpm does not upgrade it"; }
wait_until 20 "it is not restarted by an upgrade of the .rpm" restarted
[ "$(rpm_post)" = 202 ] || fail "an event is not accepted after the .rpm was upgraded"
grep -q '^# kept' "$work/system/etc/postrider/postrider.toml" || fail "an upgrade of the .rpm took the configuration"
inside rpm --erase postrider >"$work/rpm.log" 2>&1 || { cat "$work/rpm.log"; fail "rpm does not remove it"; }
[ "$(inside systemctl is-active postrider || true)" != active ] || fail "it runs on after the .rpm was removed"
[ -d "$work/system/var/lib/postrider/journal" ] || fail "removing the .rpm took the store"
[ ! -e "$work/system/usr/bin/postrider" ] || fail "the program is left after the .rpm was removed"
ok "the .rpm: installed, started, upgraded with its configuration kept, removed with its store kept"
echo "packages passed"

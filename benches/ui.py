#!/usr/bin/env python3
"""What the terminal UI costs: start, idle, keys under load, memory. Prints what it measured, next to what a bare start
of the same program takes in the same run. Needs Linux and Python 3; everything happens on loopback and in a temporary folder.

    benches/ui.py [BINARY] [DELIVERIES]        target/release/postrider, 100000
"""

import fcntl, http.client, json, os, pty, select, struct, subprocess, sys, tempfile, termios, threading, time

binary = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "target/release/postrider")
wanted = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
folder = tempfile.TemporaryDirectory()
config = os.path.join(folder.name, "postrider.toml")
with open(config, "w") as file:
    file.write('[ingest]\nlisten = "127.0.0.1:0"\n[egress]\nallow = ["127.0.0.0/8"]\n[email]\nsmtp = ""\n')
env = dict(os.environ, POSTRIDER_CONFIG=config, POSTRIDER_STATE_DIR=os.path.join(folder.name, "state"),
           POSTRIDER_SOCKET=os.path.join(folder.name, "admin.sock"), TERM="xterm-256color", LANG="C.UTF-8",
           HOME=folder.name)
env.pop("NO_COLOR", None)
daemon = subprocess.Popen([binary, "serve"], env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def call(*arguments):
    return subprocess.run([binary, *arguments], env=env, capture_output=True, text=True)


def start():
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(binary, [binary, "tui"], env)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    return pid, terminal


def read(terminal, seconds):
    """Everything that is written within so many seconds."""
    out, end = b"", time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if select.select([terminal], [], [], left)[0]:
            out += os.read(terminal, 65536)
    return out


def quit(pid, terminal):
    os.write(terminal, b"Q")
    read_until_gone(terminal)
    os.waitpid(pid, 0)
    os.close(terminal)


def read_until_gone(terminal):
    try:
        while os.read(terminal, 65536):
            pass
    except OSError:
        pass


def memory(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))


def ticks(pid):
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def told(name, figure, unit, beside=""):
    print(f"{name:<58} {figure:>10} {unit:<8} {beside}")


def middle(values):
    return sorted(values)[len(values) // 2]


for _ in range(200):
    if call("status", "--json").returncode == 0:
        break
    time.sleep(0.05)
host = json.loads(call("status", "--json").stdout)["ingest"]["listen"]
with open(os.path.join(folder.name, "state", "ingest.token")) as file:
    token = file.read().strip()

# --- Start and idle -----------------------------------------------------------------------------------------------
bare, first, full = [], [], []
for _ in range(15):
    began = time.monotonic()
    call("--version")
    bare.append((time.monotonic() - began) * 1000)
    began = time.monotonic()
    pid, terminal = start()
    out, seen = b"", None
    while b"as of" not in out:
        out += os.read(terminal, 65536)
        if seen is None and b"System" in out:
            seen = (time.monotonic() - began) * 1000
    first.append(seen)
    full.append((time.monotonic() - began) * 1000)
    quit(pid, terminal)
told("exec to first frame, median of 15", f"{middle(first):.1f}", "ms", f"--version alone: {middle(bare):.1f} ms")
told("exec to first frame with data", f"{middle(full):.1f}", "ms")
pid, terminal = start()
read(terminal, 3)
before = ticks(pid)
idle = len(read(terminal, 30))
told("idle for 30 s: bytes to the terminal", idle, "bytes")
told("idle for 30 s: CPU", (ticks(pid) - before) * 1000 // os.sysconf("SC_CLK_TCK"), "ms")
told("memory of the idle UI", f"{memory(pid):.1f}", "MiB")
quit(pid, terminal)

# --- A long log, and events that keep coming ------------------------------------------------------------------------
call("webhook", "create", "--name", "bench", "--url", "http://127.0.0.1:9/", "--event-type", "*")
call("webhook", "pause", "bench")
made = 0


def batch(count):
    global made
    lines = []
    for number in range(made, made + count):
        payload = {"scanRef": f"ref-{number:08}", "filler": "y" * 200}
        lines.append(json.dumps({"type": "SOS_REPORT", "payload": payload}))
    connection = http.client.HTTPConnection(host)
    connection.request("POST", "/v1/events/batch", "\n".join(lines),
                       {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"})
    if connection.getresponse().status == 202:
        made += count
    else:
        time.sleep(0.2)
    connection.close()


while made < wanted:
    batch(500)
while json.loads(call("delivery", "list", "--ref", f"ref-{made - 1:08}", "--json").stdout or "{}") == {}:
    time.sleep(0.2)
pid, terminal = start()
read(terminal, 2)
os.write(terminal, b"3")
read(terminal, 2)
began = time.monotonic()
os.write(terminal, b"G")
out = b""
while b"ref-0000" not in out:
    out += os.read(terminal, 65536)
told(f"G: to the oldest of {made}", f"{(time.monotonic() - began) * 1000:.1f}", "ms")
for _ in range(100):
    os.write(terminal, b"\x1b[5~")
    read(terminal, 0.03)
told("memory after that and 100 pages up", f"{memory(pid):.1f}", "MiB")
going = True


def load():
    while going:
        began = time.monotonic()
        batch(100)
        time.sleep(max(0, 0.1 - (time.monotonic() - began)))


loading = threading.Thread(target=load)
loading.start()
os.write(terminal, b"g")
read(terminal, 1)
told("1,000 events/s arrive, the list is live", f"{len(read(terminal, 5)) / 5:.0f}", "bytes/s")
for name, keys in [("a live list", [b"4", b"3"]), ("a held list", [b"j", b"j"])]:
    took = []
    for number in range(100):
        began = time.monotonic()
        os.write(terminal, keys[number % 2])
        select.select([terminal], [], [], 2)
        took.append((time.monotonic() - began) * 1000)
        read(terminal, 0.04)
    took.sort()
    told(f"key to screen meanwhile, {name}, p50", f"{took[50]:.1f}", "ms", f"p99 {took[98]:.1f} ms")
told("memory meanwhile", f"{memory(pid):.1f}", "MiB")
going = False
loading.join()
quit(pid, terminal)
daemon.terminate()
daemon.wait()

#!/usr/bin/env python3
"""How many instructions one event takes the daemon, from post to delivery, as callgrind counts them.

Times of a shared machine say little about a change; instructions of the same binary with the same input are the same within a few per
cent wherever they run. Start and stop do not count, nor do the kernel's.

    python3 benches/instructions.py [--record] [BINARY]

Without --record, fails when it is more than 5 % above what benches/instructions.json holds for this compiler; with it, writes that file.
All traffic stays on 127.0.0.1.
"""

import http.client
import http.server
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
KEPT = HERE / "instructions.json"
WARM_UP, COUNTED = 500, 3000
ALLOWED = 0.05
PATIENCE = 300


class Receiver(http.server.BaseHTTPRequestHandler):
    """Takes everything, and keeps its connections."""

    protocol_version = "HTTP/1.1"
    taken = 0

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()
        Receiver.taken += 1

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def until(what, condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"not {what} within {PATIENCE} s")
        time.sleep(0.002)


def control(what, daemon):
    """Has callgrind do something with the daemon."""
    subprocess.run(["callgrind_control", what, str(daemon.pid)], check=True, capture_output=True)


def instructions(binary, receiver_port):
    """Instructions of a daemon that has warmed up, while it takes events and delivers them.

    Neither its start nor its stop is counted: the threads of the index's library turn idly there, for as long as chance has it.
    """
    with tempfile.TemporaryDirectory(prefix="postrider-instructions-") as folder:
        folder = pathlib.Path(folder)
        port, out = free_port(), folder / "callgrind.out"
        (folder / "postrider.toml").write_text(
            f'[ingest]\nlisten = "127.0.0.1:{port}"\nschema = "off"\n[egress]\nallow = ["127.0.0.0/8"]\n'
            "[retention]\nmin_free_bytes = 16777216\nmin_free_percent = 1\n"
        )
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("POSTRIDER_")},
            "POSTRIDER_CONFIG": str(folder / "postrider.toml"),
            "POSTRIDER_STATE_DIR": str(folder / "state"),
            "POSTRIDER_SOCKET": str(folder / "admin.sock"),
            # Threads that take work from each other do so by chance.
            "TOKIO_WORKER_THREADS": "1",
        }
        command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}", str(binary), "serve"]
        log = open(folder / "log", "wb")
        daemon = subprocess.Popen(command, env=environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            token = folder / "state" / "ingest.token"

            def healthy():
                if daemon.poll() is not None:
                    sys.exit((folder / "log").read_text())
                try:
                    asked = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                    asked.request("GET", "/healthz")
                    return asked.getresponse().status == 200 and token.exists()
                except OSError:
                    return False

            until("accepting", healthy)
            key = folder / "key"
            key.write_text("whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
            create = ["webhook", "create", "--name", "one", "--url", f"http://127.0.0.1:{receiver_port}/", "--event-type", "*"]

            def created():
                # The daemon is slow here, and the command line does not wait for ever.
                quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
                return subprocess.run([binary, *create, "--signing-key-file", key], env=environment, **quiet).returncode == 0

            until("created", created)
            Receiver.taken = 0

            headers = {"Authorization": f"Bearer {token.read_text().strip()}", "Content-Type": "application/json"}
            poster = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
            for number in range(WARM_UP + COUNTED):
                if number == WARM_UP:
                    until("delivered", lambda: Receiver.taken == number)
                    # The index comes after, a tenth of a second later and slowly here.
                    time.sleep(3)
                    poster.close()
                    control("--instr=on", daemon)
                body = json.dumps({"scanRef": f"one-{number:08}", "pad": "x" * 980})
                poster.request("POST", "/v1/events/AML_MONITORING", body, headers)
                answer = poster.getresponse()
                answer.read()
                if answer.status != 202:
                    sys.exit(f"{answer.status} for event {number}")
                # Not too far ahead of the deliveries: what is done together would depend on who is faster.
                until("delivered", lambda: Receiver.taken + 20 > number)
            until("all delivered", lambda: Receiver.taken == WARM_UP + COUNTED)
            time.sleep(5)
            control("--dump", daemon)
            daemon.send_signal(signal.SIGTERM)
            daemon.wait(PATIENCE)
        finally:
            daemon.kill()
            log.close()
        # The part that was written when it was over; the one beside it belongs to the stop.
        part = folder / "callgrind.out.1"
        return int(re.search(r"^(?:summary|totals): (\d+)", part.read_text(), re.M)[1])


def main():
    arguments = [argument for argument in sys.argv[1:] if argument != "--record"]
    binary = pathlib.Path(arguments[0] if arguments else HERE.parent / "target/release/postrider").resolve()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    each = instructions(binary, server.server_port) / COUNTED
    compiler = subprocess.run(["rustc", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    print(f"{each:,.0f} instructions for an event, posted and delivered ({compiler})")
    if "--record" in sys.argv:
        KEPT.write_text(json.dumps({"compiler": compiler, "instructions": round(each)}, indent=2) + "\n")
        return
    kept = json.loads(KEPT.read_text())
    change = each / kept["instructions"] - 1
    print(f"{change:+.1%} next to {kept['instructions']:,} that are noted")
    if kept["compiler"] != compiler:
        print(f"noted with another compiler ({kept['compiler']}): nothing is held against it")
    elif change > ALLOWED:
        sys.exit(f"more than {ALLOWED:.0%} above what is noted: find out why, or note it anew with --record")


main()

"""A receiver that verifies every request with the PyPI package `standardwebhooks`.

Prints its port, then one JSON line per request: the id, whether the signature held, and the body's SHA-256.
"""
import hashlib
import http.server
import json
import os
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

WEBHOOK = Webhook(os.environ["WHSEC"])


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            WEBHOOK.verify(body, headers)
            verified = True
        except WebhookVerificationError as error:
            print(error, file=sys.stderr)
            verified = False
        # A changed body must not verify, or the check above proves nothing.
        try:
            WEBHOOK.verify(body + b" ", headers)
            verified = False
        except WebhookVerificationError:
            pass
        line = {"id": headers.get("webhook-id"), "verified": verified, "sha256": hashlib.sha256(body).hexdigest()}
        print(json.dumps(line), flush=True)
        self.send_response(200 if verified else 401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_address[1], flush=True)
server.serve_forever()

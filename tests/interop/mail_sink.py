"""A mail server for mail.sh: aiosmtpd, in one of several moods.

Usage: mail_sink.py MOOD CERTIFICATE KEY OUTPUT [PORT]
Prints its port. Appends one JSON line for each mail it took: {"to": [...], "tls": bool, "user": ..., "message": "..."}.

It does not judge what it takes; mail.sh does.
"""

import asyncio
import json
import ssl
import sys

from aiosmtpd.smtp import AuthResult, SMTP

mood, certificate, key, output = sys.argv[1:5]
port = int(sys.argv[5]) if len(sys.argv) > 5 else 0
seen = set()


class Sink:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if mood == "refuse" and address.startswith("gone@"):
            return "550 5.1.1 nobody of that name"
        if mood == "greylist" and address not in seen:
            seen.add(address)
            return "450 4.7.1 greylisted, try again later"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 fine"

    async def handle_DATA(self, server, session, envelope):
        with open(output, "a", encoding="utf-8") as file:
            message = envelope.content.decode("utf-8", "replace")
            user = session.auth_data.decode() if session.auth_data else None
            line = {"to": envelope.rcpt_tos, "tls": session.ssl is not None, "user": user, "message": message}
            file.write(json.dumps(line) + "\n")
        if mood == "drop" and "drop" not in seen:
            seen.add("drop")
            server.transport.abort()
        return "250 2.0.0 taken"


def authenticate(server, session, envelope, mechanism, data):
    good = getattr(data, "login", None) == b"postrider" and getattr(data, "password", None) == b"interop-password"
    return AuthResult(success=good, handled=False, auth_data=data.login if good else None)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
smtps = mood == "smtps"
login = mood in ("auth", "starttls", "smtps")


def factory():
    return SMTP(
        Sink(),
        hostname="localhost",
        tls_context=context if mood == "starttls" else None,
        require_starttls=mood == "starttls",
        authenticator=authenticate if login else None,
        auth_required=login,
        auth_require_tls=mood == "starttls",
    )


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(factory, "127.0.0.1", port, ssl=context if smtps else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())

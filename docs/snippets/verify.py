"""Verifies what postrider delivers. Needs nothing but Python 3."""
import base64
import hashlib
import hmac
import time


def body_signature_is_valid(key: str, headers: dict, body: bytes) -> bool:
    """Idenfy-Signature: hex of HMAC-SHA256 over the body."""
    expected = hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(expected, headers.get("idenfy-signature", ""))


def standard_signature_is_valid(key: str, headers: dict, body: bytes, tolerance: int = 300) -> bool:
    """webhook-signature (Standard Webhooks): also tells when it was sent, so that it cannot be replayed later."""
    secret = base64.b64decode(key.removeprefix("whsec_")) if key.startswith("whsec_") else key.encode()
    identity, sent = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not sent.isdigit() or abs(time.time() - int(sent)) > tolerance:
        return False
    expected = base64.b64encode(hmac.new(secret, f"{identity}.{sent}.".encode() + body, hashlib.sha256).digest()).decode()
    # Several while a key is being replaced.
    signatures = [one.removeprefix("v1,") for one in headers.get("webhook-signature", "").split(" ")]
    return any(hmac.compare_digest(expected, one) for one in signatures)


if __name__ == "__main__":
    import json
    import sys
    request = json.load(sys.stdin)
    body = base64.b64decode(request["body"])
    ok = (body_signature_is_valid(request["key"], request["headers"], body)
          and standard_signature_is_valid(request["key"], request["headers"], body))
    print("valid" if ok else "INVALID")

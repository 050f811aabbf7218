<?php
// Verifies what postrider delivers. Needs nothing but PHP 8. The body of a request is file_get_contents('php://input').

// Idenfy-Signature: hex of HMAC-SHA256 over the body.
function body_signature_is_valid(string $key, array $headers, string $body): bool
{
    return hash_equals(hash_hmac('sha256', $body, $key), $headers['idenfy-signature'] ?? '');
}

// webhook-signature (Standard Webhooks): also tells when it was sent, so that it cannot be replayed later.
function standard_signature_is_valid(string $key, array $headers, string $body, int $tolerance = 300): bool
{
    $secret = str_starts_with($key, 'whsec_') ? base64_decode(substr($key, 6)) : $key;
    $id = $headers['webhook-id'] ?? '';
    $sent = $headers['webhook-timestamp'] ?? '';
    if (!ctype_digit($sent) || abs(time() - (int) $sent) > $tolerance) {
        return false;
    }
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$sent.$body", $secret, true));
    // Several while a key is being replaced.
    foreach (explode(' ', $headers['webhook-signature'] ?? '') as $one) {
        if (hash_equals($expected, $one)) {
            return true;
        }
    }
    return false;
}

if (PHP_SAPI === 'cli' && realpath($argv[0]) === __FILE__) {
    $request = json_decode(file_get_contents('php://stdin'), true);
    $body = base64_decode($request['body']);
    $ok = body_signature_is_valid($request['key'], $request['headers'], $body)
        && standard_signature_is_valid($request['key'], $request['headers'], $body);
    echo $ok ? "valid\n" : "INVALID\n";
}

// Verifies what postrider delivers. Needs nothing but Node.js.
const { createHmac, timingSafeEqual } = require('node:crypto');

const same = (a, b) => a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));

// Idenfy-Signature: hex of HMAC-SHA256 over the body (a Buffer, as it came: not parsed, not printed anew).
function bodySignatureIsValid(key, headers, body) {
  const expected = createHmac('sha256', key).update(body).digest('hex');
  return same(expected, headers['idenfy-signature'] ?? '');
}

// webhook-signature (Standard Webhooks): also tells when it was sent, so that it cannot be replayed later.
function standardSignatureIsValid(key, headers, body, tolerance = 300) {
  const secret = key.startsWith('whsec_') ? Buffer.from(key.slice(6), 'base64') : key;
  const id = headers['webhook-id'] ?? '';
  const sent = Number(headers['webhook-timestamp']);
  if (!Number.isInteger(sent) || Math.abs(Date.now() / 1000 - sent) > tolerance) return false;
  const expected = createHmac('sha256', secret).update(`${id}.${sent}.`).update(body).digest('base64');
  // Several while a key is being replaced.
  return (headers['webhook-signature'] ?? '').split(' ').some((one) => same(`v1,${expected}`, one));
}

module.exports = { bodySignatureIsValid, standardSignatureIsValid };

if (require.main === module) {
  const request = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
  const body = Buffer.from(request.body, 'base64');
  const ok = bodySignatureIsValid(request.key, request.headers, body)
    && standardSignatureIsValid(request.key, request.headers, body);
  console.log(ok ? 'valid' : 'INVALID');
}

# Verifies what postrider delivers. Needs nothing but Ruby 3.
require 'base64'
require 'json'
require 'openssl'

def same?(expected, given)
  expected.bytesize == given.bytesize && OpenSSL.fixed_length_secure_compare(expected, given)
end

# Idenfy-Signature: hex of HMAC-SHA256 over the body.
def body_signature_valid?(key, headers, body)
  same?(OpenSSL::HMAC.hexdigest('SHA256', key, body), headers.fetch('idenfy-signature', ''))
end

# webhook-signature (Standard Webhooks): also tells when it was sent, so that it cannot be replayed later.
def standard_signature_valid?(key, headers, body, tolerance: 300)
  secret = key.start_with?('whsec_') ? Base64.decode64(key.delete_prefix('whsec_')) : key
  id = headers.fetch('webhook-id', '')
  sent = headers.fetch('webhook-timestamp', '')
  return false unless sent.match?(/\A\d+\z/) && (Time.now.to_i - sent.to_i).abs <= tolerance

  expected = 'v1,' + Base64.strict_encode64(OpenSSL::HMAC.digest('SHA256', secret, "#{id}.#{sent}.".b + body.b))
  # Several while a key is being replaced.
  headers.fetch('webhook-signature', '').split(' ').any? { |one| same?(expected, one) }
end

if $PROGRAM_NAME == __FILE__
  request = JSON.parse($stdin.read)
  body = Base64.decode64(request['body'])
  ok = body_signature_valid?(request['key'], request['headers'], body) &&
       standard_signature_valid?(request['key'], request['headers'], body)
  puts(ok ? 'valid' : 'INVALID')
end

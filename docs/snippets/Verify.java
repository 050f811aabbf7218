// Verifies what postrider delivers. Needs nothing but Java 17: java Verify.java < request
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.time.Instant;
import java.util.Base64;
import java.util.HexFormat;
import java.util.Map;
import java.util.Scanner;
import java.util.TreeMap;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

public class Verify {
    static byte[] hmac(byte[] key, byte[]... parts) throws Exception {
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        for (byte[] part : parts) {
            mac.update(part);
        }
        return mac.doFinal();
    }

    static boolean same(String expected, String given) {
        return MessageDigest.isEqual(expected.getBytes(StandardCharsets.UTF_8), given.getBytes(StandardCharsets.UTF_8));
    }

    /** Idenfy-Signature: hex of HMAC-SHA256 over the body. */
    static boolean bodySignatureIsValid(String key, Map<String, String> headers, byte[] body) throws Exception {
        String expected = HexFormat.of().formatHex(hmac(key.getBytes(StandardCharsets.UTF_8), body));
        return same(expected, headers.getOrDefault("idenfy-signature", ""));
    }

    /** webhook-signature (Standard Webhooks): also tells when it was sent, so that it cannot be replayed later. */
    static boolean standardSignatureIsValid(String key, Map<String, String> headers, byte[] body, long tolerance)
            throws Exception {
        byte[] secret = key.startsWith("whsec_")
                ? Base64.getDecoder().decode(key.substring(6))
                : key.getBytes(StandardCharsets.UTF_8);
        String id = headers.getOrDefault("webhook-id", "");
        String sent = headers.getOrDefault("webhook-timestamp", "");
        if (!sent.matches("\\d{1,18}") || Math.abs(Instant.now().getEpochSecond() - Long.parseLong(sent)) > tolerance) {
            return false;
        }
        byte[] before = (id + "." + sent + ".").getBytes(StandardCharsets.UTF_8);
        String expected = "v1," + Base64.getEncoder().encodeToString(hmac(secret, before, body));
        boolean valid = false;
        // Several while a key is being replaced.
        for (String one : headers.getOrDefault("webhook-signature", "").split(" ")) {
            valid |= same(expected, one);
        }
        return valid;
    }

    /** Reads lines: the key, `name: value` of each header, an empty line, the body in base64. */
    public static void main(String[] arguments) throws Exception {
        Scanner lines = new Scanner(System.in, StandardCharsets.UTF_8);
        String key = lines.nextLine();
        Map<String, String> headers = new TreeMap<>();
        for (String line = lines.nextLine(); !line.isEmpty(); line = lines.nextLine()) {
            String[] parts = line.split(": ", 2);
            headers.put(parts[0].toLowerCase(), parts[1]);
        }
        byte[] body = Base64.getDecoder().decode(lines.nextLine());
        boolean ok = bodySignatureIsValid(key, headers, body) && standardSignatureIsValid(key, headers, body, 300);
        System.out.println(ok ? "valid" : "INVALID");
    }
}

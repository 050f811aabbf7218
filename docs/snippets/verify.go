// Verifies what postrider delivers. Needs nothing but Go.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

func sum(key []byte, parts ...[]byte) []byte {
	mac := hmac.New(sha256.New, key)
	for _, part := range parts {
		mac.Write(part)
	}
	return mac.Sum(nil)
}

// BodySignatureIsValid checks Idenfy-Signature: hex of HMAC-SHA256 over the body.
func BodySignatureIsValid(key string, headers map[string]string, body []byte) bool {
	given, err := hex.DecodeString(headers["idenfy-signature"])
	return err == nil && hmac.Equal(sum([]byte(key), body), given)
}

// StandardSignatureIsValid checks webhook-signature (Standard Webhooks), which also tells when it was sent, so that it cannot be
// replayed later.
func StandardSignatureIsValid(key string, headers map[string]string, body []byte, tolerance time.Duration) bool {
	secret := []byte(key)
	if strings.HasPrefix(key, "whsec_") {
		decoded, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(key, "whsec_"))
		if err != nil {
			return false
		}
		secret = decoded
	}
	id, sent := headers["webhook-id"], headers["webhook-timestamp"]
	seconds, err := strconv.ParseInt(sent, 10, 64)
	if err != nil || time.Since(time.Unix(seconds, 0)).Abs() > tolerance {
		return false
	}
	expected := sum(secret, []byte(id+"."+sent+"."), body)
	// Several while a key is being replaced.
	for _, one := range strings.Split(headers["webhook-signature"], " ") {
		given, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(one, "v1,"))
		if err == nil && hmac.Equal(expected, given) {
			return true
		}
	}
	return false
}

func main() {
	var request struct {
		Key     string
		Headers map[string]string
		Body    []byte // base64 in JSON
	}
	if err := json.NewDecoder(os.Stdin).Decode(&request); err != nil {
		panic(err)
	}
	if BodySignatureIsValid(request.Key, request.Headers, request.Body) &&
		StandardSignatureIsValid(request.Key, request.Headers, request.Body, 5*time.Minute) {
		fmt.Println("valid")
	} else {
		fmt.Println("INVALID")
	}
}

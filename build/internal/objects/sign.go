package objects

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

const (
	signAlgorithm = "AWS4-HMAC-SHA256"
	signTime      = "20060102T150405Z"
	signDay       = "20060102"
	// nothingSum is the SHA-256 of no bytes.
	nothingSum = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

// keys are the credentials of a user of S3.
type keys struct{ id, secret, token string }

// signer signs requests by version 4 of AWS's signatures:
// https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html
type signer struct {
	keys
	region string
	now    func() time.Time
}

// sign adds the signature of all headers that the request has by now; sum is the SHA-256 of its body. Without keys the
// request stays without a signature.
func (s signer) sign(req *http.Request, sum string) error {
	if s.id == "" {
		return nil
	}
	sum = cmp.Or(sum, nothingSum)
	now := s.now().UTC()
	req.Header.Set("X-Amz-Date", now.Format(signTime))
	req.Header.Set("X-Amz-Content-Sha256", sum)
	if s.token != "" {
		req.Header.Set("X-Amz-Security-Token", s.token)
	}
	headers := map[string]string{"host": cmp.Or(req.Host, req.URL.Host)}
	for name, values := range req.Header {
		if name = strings.ToLower(name); name == "user-agent" {
			continue // proxies may change it
		}
		headers[name] = strings.Join(strings.Fields(strings.Join(values, ",")), " ")
	}
	var names, lines []string
	for name := range headers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		lines = append(lines, name+":"+headers[name]+"\n")
	}
	signed := strings.Join(names, ";")
	text := strings.Join([]string{req.Method, escape(req.URL.Path, true), query(req.URL.Query()), strings.Join(lines, ""),
		signed, sum}, "\n")
	scope := strings.Join([]string{now.Format(signDay), s.region, "s3", "aws4_request"}, "/")
	whole := sha256.Sum256([]byte(text))
	toSign := strings.Join([]string{signAlgorithm, now.Format(signTime), scope, hex.EncodeToString(whole[:])}, "\n")
	key := []byte("AWS4" + s.secret)
	for _, part := range append(strings.Split(scope, "/"), toSign) {
		mac := hmac.New(sha256.New, key)
		mac.Write([]byte(part))
		key = mac.Sum(nil)
	}
	req.Header.Set("Authorization", signAlgorithm+" Credential="+s.id+"/"+scope+", SignedHeaders="+signed+
		", Signature="+hex.EncodeToString(key))
	return nil
}

// query are the values of a query in the form that is signed.
func query(values url.Values) string {
	var all []string
	for name, list := range values {
		for _, value := range list {
			all = append(all, escape(name, false)+"="+escape(value, false))
		}
	}
	slices.Sort(all)
	return strings.Join(all, "&")
}

// escape writes all bytes but letters, digits, "-", ".", "_", "~" and, in a path, "/" as %XX, which S3 does before it
// signs; the packages of Go leave more characters as they are.
func escape(text string, path bool) string {
	const digits = "0123456789ABCDEF"
	var b strings.Builder
	for _, c := range []byte(text) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("-._~", c) >= 0,
			path && c == '/':
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

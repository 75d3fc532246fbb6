package web

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
)

// explain says in plain words what net/http reports, without repeating the URL.
func explain(err error) error {
	if e := new(url.Error); errors.As(err, &e) {
		err = e.Err
	}
	var (
		dns       *net.DNSError
		authority x509.UnknownAuthorityError
		wrongHost x509.HostnameError
		invalid   x509.CertificateInvalidError
		verify    *tls.CertificateVerificationError
	)
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		return fmt.Errorf("the host %s is not known: %w", dns.Name, err)
	case errors.As(err, &authority):
		return fmt.Errorf("the certificate is not trusted: %w\nhint: SSL_CERT_FILE can name a file with further certificates",
			err)
	case errors.As(err, &wrongHost), errors.As(err, &invalid), errors.As(err, &verify):
		return fmt.Errorf("the certificate is not valid: %w", err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the connection ended before the file did: %w", err)
	}
	return err
}

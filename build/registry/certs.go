package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.podman.io/storage/pkg/configfile"
	"go.podman.io/storage/pkg/unshare"
)

// certDir is the directory with certificates for a host: the one named, or the first of the user's, the system's and
// Docker's that exists. See containers-certs.d(5).
func certDir(named, host string) (string, error) {
	if named != "" {
		return named, nil
	}
	paths, err := configfile.GetSearchPaths(&configfile.File{
		Name: "certs", Extension: "d", DoNotUseExtensionForConfigName: true, UserId: unshare.GetRootlessUID(),
	})
	if err != nil {
		return "", fmt.Errorf("find certificates: %w", err)
	}
	for _, base := range append(paths.DropInDirectories, "/etc/docker/certs.d") {
		dir := filepath.Join(base, host)
		switch _, err := os.Stat(dir); {
		case err == nil:
			return dir, nil
		case !errors.Is(err, os.ErrNotExist) && !errors.Is(err, os.ErrPermission):
			return "", fmt.Errorf("find certificates: %w", err)
		}
	}
	return "", nil
}

// tlsConfig trusts the authorities in *.crt besides those of the system, and shows the certificates in *.cert with *.key.
func tlsConfig(dir string, insecure bool) (*tls.Config, error) {
	c := &tls.Config{InsecureSkipVerify: insecure, MinVersion: tls.VersionTLS12} //nolint:gosec // the user has asked for it
	if dir == "" {
		return c, nil
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrPermission) {
		return c, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch filepath.Ext(path) {
		case ".crt":
			if err := addAuthority(c, path); err != nil {
				return nil, err
			}
		case ".cert":
			pair, err := tls.LoadX509KeyPair(path, strings.TrimSuffix(path, ".cert")+".key")
			if err != nil {
				return nil, fmt.Errorf("client certificate %s: %w", path, err)
			}
			c.Certificates = append(c.Certificates, pair)
		case ".key":
			if _, err := os.Stat(strings.TrimSuffix(path, ".key") + ".cert"); err != nil {
				return nil, fmt.Errorf("key %s has no certificate beside it: %w", path, err)
			}
		}
	}
	return c, nil
}

func addAuthority(c *tls.Config, path string) error {
	if c.RootCAs == nil {
		var err error
		if c.RootCAs, err = x509.SystemCertPool(); err != nil {
			return fmt.Errorf("read the system's certificates: %w", err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read certificate: %w", err)
	}
	if !c.RootCAs.AppendCertsFromPEM(text) {
		return fmt.Errorf("%s has no certificate in it", path)
	}
	return nil
}

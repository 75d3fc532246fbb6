package conf

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"go.podman.io/image/v5/pkg/tlsclientconfig"
	"go.podman.io/storage/pkg/configfile"
	"go.podman.io/storage/pkg/unshare"
)

// CertDir is the directory with certificates for a host: the one named, or the first of the user's, the system's and
// Docker's that exists. See containers-certs.d(5).
func CertDir(named, host string) (string, error) {
	if named != "" {
		_, err := os.Stat(named)
		return named, err
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
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission):
			return "", fmt.Errorf("find certificates: %w", err)
		}
	}
	return "", nil
}

// TLS trusts the authorities in *.crt besides those of the system, and shows the certificates in *.cert with
// *.key.
func TLS(dir string, insecure bool) (*tls.Config, error) {
	//nolint:gosec // the user has asked for it
	c := &tls.Config{InsecureSkipVerify: insecure, MinVersion: tls.VersionTLS12}
	if dir == "" {
		return c, nil
	}
	if err := tlsclientconfig.SetupCertificates(dir, c); err != nil {
		return nil, fmt.Errorf("certificates in %s: %w", dir, err)
	}
	return c, nil
}

package build

import (
	"context"

	"github.com/cooperbuild/cooper/build/registry"
)

// CredentialFile says where credentials are kept; see registry.CredentialFile.
type CredentialFile = registry.CredentialFile

// LoginKey is what credentials for a registry are kept under; see registry.LoginKey.
func LoginKey(text string) (string, error) { return registry.LoginKey(text) }

// LoginRequest says who is to be known to which registry.
type LoginRequest struct {
	// Key is the registry; see LoginKey.
	Key, Username, Password string
	File                    CredentialFile
	Registry                RegistryOptions
}

// Login asks the registry whether it knows the user, keeps the credentials and says where.
func Login(ctx context.Context, req LoginRequest) (where string, err error) {
	o := registry.Options{Insecure: req.Registry.Insecure, CertDir: req.Registry.CertDir, Username: req.Username,
		Password: req.Password}
	if err := registry.CheckLogin(ctx, o, req.Key); err != nil {
		return "", err
	}
	return registry.SaveLogin(ctx, req.File, req.Key, req.Username, req.Password)
}

// ForgetLogin removes the credentials for a registry, or those for all if the key is empty.
func ForgetLogin(ctx context.Context, f CredentialFile, key string) error {
	return registry.ForgetLogin(ctx, f, key)
}

// KnownLogin is the user name that is kept for a registry; empty: none.
func KnownLogin(ctx context.Context, f CredentialFile, key string) (string, error) {
	return registry.KnownLogin(ctx, f, key)
}

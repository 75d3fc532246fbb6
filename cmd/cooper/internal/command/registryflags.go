package command

import (
	"bufio"
	"context"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/internal/terminal"
)

// RegistryFlags say how registries are spoken to, as the flags are written.
type RegistryFlags struct {
	tlsVerify                bool
	authFile, certDir, creds string
	signaturePolicy          string
	retry                    int
	retryDelay               time.Duration
}

// Add declares the flags but those of AddRetries.
func (r *RegistryFlags) Add(f *pflag.FlagSet) {
	r.retry = UsualRetries
	f.StringVar(&r.creds, "creds", "",
		"USER, whose password is asked for, or USER:PASSWORD, which others of this machine "+
			"see: cooper login is better")
	f.BoolVar(&r.tlsVerify, "tls-verify", true, "require HTTPS and a valid certificate of registries")
	f.StringVar(&r.authFile, "authfile", "", "file with registry credentials")
	f.StringVar(&r.certDir, "cert-dir", "", "directory with certificates for registries")
	f.StringVar(&r.signaturePolicy, "signature-policy", "", "policy.json in place of the usual one")
	f.Lookup("signature-policy").Hidden = true
}

// AddRetries declares the flags about what is tried again, such as to pull.
func (r *RegistryFlags) AddRetries(f *pflag.FlagSet, what string) {
	f.IntVar(&r.retry, "retry", UsualRetries, "how often "+what+" once more what has failed for a reason that may pass")
	f.DurationVar(&r.retryDelay, "retry-delay", 0, "time to wait before that (default 1s, twice as long each time)")
}

// Check refuses what is wrong with the flags, which every error is about. It is called before Enter, and Options
// after it.
func (r *RegistryFlags) Check(env Env) error {
	if r.retry < 0 || r.retryDelay < 0 {
		return Usagef("--retry=%d, --retry-delay=%s: must not be negative", r.retry, r.retryDelay)
	}
	if r.signaturePolicy != "" {
		// The process in the namespace has the same command line.
		if err := os.Setenv("CONTAINERS_POLICY_JSON", r.signaturePolicy); err != nil {
			return Usagef("--signature-policy: %w", err)
		}
	}
	user, _, whole := strings.Cut(r.creds, ":")
	switch {
	case r.creds != "" && user == "":
		return Usagef("--creds: must be USER:PASSWORD, or USER\nhint: cooper login asks for the password")
	case r.creds != "" && !whole && !terminal.Is(env.Stdin):
		return Usagef("--creds=%s: standard input is no terminal to ask for the password on\n"+
			"hint: cooper login --password-stdin keeps one that standard input has", r.creds)
	}
	return nil
}

// Options are what the flags say. A password that they don't have is asked for on the terminal.
func (r *RegistryFlags) Options(ctx context.Context, env Env) (build.RegistryOptions, error) {
	o := build.RegistryOptions{
		Insecure: !r.tlsVerify, AuthFile: r.authFile, CertDir: r.certDir,
		Retries: build.Retries{Times: r.retry, Delay: r.retryDelay},
	}
	var whole bool
	if o.Username, o.Password, whole = strings.Cut(r.creds, ":"); whole || r.creds == "" {
		return o, nil
	}
	var err error
	o.Password, err = AskPassword(ctx, env, bufio.NewReader(env.Stdin))
	return o, err
}

// Enter is the package's Enter for a verb that speaks with registries, and gives what its flags say of them.
func (r *RegistryFlags) Enter(ctx context.Context, env Env) (o build.RegistryOptions, err error) {
	if err := r.Check(env); err != nil {
		return o, err
	}
	if err := Enter(ctx, env); err != nil {
		return o, err
	}
	return r.Options(ctx, env)
}

package logincmd

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/build/registry/credentials"
	"github.com/cooperbuild/cooper/internal/terminal"
)

// hubKey is the registry that is meant where none is named.
const hubKey = "docker.io"

// loginOptions are the flags of login and logout.
type loginOptions struct {
	username, password                 string
	passwordStdin, getLogin, tlsVerify bool
	all                                bool
	certDir                            string
	file                               credentials.File
}

// addFile adds the flags that say where credentials are kept.
func (o *loginOptions) addFile(f *pflag.FlagSet) {
	f.StringVar(&o.file.Path, "authfile", "", "file with registry credentials (default $REGISTRY_AUTH_FILE, or podman's)")
	f.StringVar(&o.file.DockerPath, "compat-auth-file", "", "the same in docker's form, such as ~/.docker/config.json")
}

// key is the registry that the arguments name.
func (o *loginOptions) key(args []string) (string, error) {
	if o.file.Path != "" && o.file.DockerPath != "" {
		return "", command.Usagef("--authfile and --compat-auth-file exclude each other")
	}
	switch len(args) {
	case 0:
		return hubKey, nil
	case 1:
		key, err := credentials.Key(args[0])
		if err != nil {
			return "", command.Usage(err)
		}
		return key, nil
	}
	return "", command.Usagef("one registry at a time, got %d", len(args))
}

func newLoginCmd(env command.Env) *cobra.Command {
	var o loginOptions
	cmd := &cobra.Command{
		Use:   "login [flags] [REGISTRY]",
		Short: "Log in to a registry",
		Long: `Log in to a registry: ask it whether it knows the user name and the password, and keep them where cooper, podman,
buildah and skopeo find them, in auth.json or by a credential helper.

REGISTRY is HOST[:PORT], with a namespace behind it if the credentials are for that only; without it docker.io is meant.
The password is asked for on the terminal, or read from standard input with --password-stdin.`,
		Example: `  cooper login registry.example.com
  cooper login -u ci --password-stdin registry.example.com <password`,
		RunE: func(cmd *cobra.Command, args []string) error { return runLogin(cmd.Context(), env, &o, args) },
	}
	f := cmd.Flags()
	f.StringVarP(&o.username, "username", "u", "", "user name (default: it is asked for)")
	f.BoolVar(&o.passwordStdin, "password-stdin", false, "read the password from standard input")
	f.StringVarP(&o.password, "password", "p", "", "others of this machine see it, which one line says")
	f.Lookup("password").Hidden = true // a script may have it, and nobody shall learn it here
	command.Accept(f, "the place of the credentials is always told", "verbose,v")
	command.Refuse(f, "cooper reads no secrets of podman's\nhint: --password-stdin reads the password from standard input",
		"secret")
	f.BoolVar(&o.getLogin, "get-login", false, "print the user name that is kept for the registry")
	f.BoolVar(&o.tlsVerify, "tls-verify", true, "require HTTPS and a valid certificate of the registry")
	f.StringVar(&o.certDir, "cert-dir", "", "directory with certificates for registries")
	o.addFile(f)
	return cmd
}

func newLogoutCmd(env command.Env) *cobra.Command {
	var o loginOptions
	cmd := &cobra.Command{
		Use:   "logout [flags] [REGISTRY]",
		Short: "Forget the credentials for a registry",
		Long: `Forget the credentials for a registry, in the file where cooper login and podman login keep them or with their
credential helper. Without REGISTRY docker.io is meant.`,
		Example: `  cooper logout registry.example.com
  cooper logout --all`,
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := o.key(args)
			if err != nil {
				return err
			}
			if o.all && len(args) > 0 {
				return command.Usagef("--all takes no registry")
			}
			if o.all {
				if err := credentials.Forget(cmd.Context(), o.file, ""); err != nil {
					return err
				}
				_, err = fmt.Fprintln(env.Out(), "Removed the credentials for all registries")
				return err
			}
			if err := credentials.Forget(cmd.Context(), o.file, key); err != nil {
				return err
			}
			_, err = fmt.Fprintf(env.Out(), "Removed the credentials for %s\n", key)
			return err
		},
	}
	f := cmd.Flags()
	f.BoolVarP(&o.all, "all", "a", false, "forget the credentials for all registries")
	o.addFile(f)
	return cmd
}

func runLogin(ctx context.Context, env command.Env, o *loginOptions, args []string) error {
	key, err := o.key(args)
	if err != nil {
		return err
	}
	if o.getLogin {
		name, err := credentials.KnownUser(ctx, o.file, key)
		if err == nil && name == "" {
			err = fmt.Errorf("not logged in to %s", key)
		}
		if err == nil {
			_, err = fmt.Fprintln(env.Out(), name)
		}
		return err
	}
	password, err := o.credentials(ctx, env, key)
	if err != nil {
		return err
	}
	where, err := registry.Login(ctx, registry.Options{
		Insecure: !o.tlsVerify, CertDir: o.certDir, Username: o.username, Password: password,
	}, o.file, key)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(env.Out(), "Logged in to %s as %s; the credentials are in %s\n", key, o.username, where)
	return err
}

// credentials reads the password, and asks for the user name if the flags don't have it.
func (o *loginOptions) credentials(ctx context.Context, env command.Env, key string) (password string, err error) {
	if o.password != "" {
		if o.passwordStdin {
			return "", command.Usagef("--password and --password-stdin: give the latter only")
		}
		if o.username == "" {
			return "", command.Usagef("--password wants --username, too")
		}
		fmt.Fprintln(env.Errs(), "cooper: --password shows the password to all who see the machine's list of processes\n"+
			"hint: --password-stdin reads it from standard input")
		return command.CheckPassword(o.password)
	}
	if o.passwordStdin {
		if o.username == "" {
			return "", command.Usagef("--password-stdin wants --username, too: standard input has the password")
		}
		text, err := io.ReadAll(io.LimitReader(env.Stdin, command.MaxPassword+1))
		if err != nil {
			return "", fmt.Errorf("read the password: %w", err)
		}
		return command.CheckPassword(strings.TrimRight(string(text), "\r\n"))
	}
	if !terminal.Is(env.Stdin) {
		return "", command.Usagef(
			"standard input is no terminal to ask for a password on\nhint: --password-stdin reads it from there")
	}
	lines := bufio.NewReader(env.Stdin)
	if o.username == "" {
		if o.username, err = command.Ask(ctx, env, lines, "Username for "+key+": "); err != nil {
			return "", err
		}
	}
	return command.AskPassword(ctx, env, lines)
}

package stepflags

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/secretcmd"
)

// envSecretFiles hands the open files of secrets over to the process in the namespace: there, some files that the user
// may read can't be opened any more, because the groups are gone. It has their descriptors, separated by commas.
const envSecretFiles = "_COOPER_SECRET_FILES"

// secretSpec is a --secret.
type secretSpec struct{ id, file, env, command string }

// SecretFiles are the secrets of the command line, with the files among them open.
type SecretFiles struct {
	specs []secretSpec
	files []*os.File // one for each spec that has a file, and the way to it for each that has a command
	// Notes are what is to be said about the secrets.
	Notes []string
}

// parseSecret reads id=ID[,src=FILE|,env=VARIABLE|,cmd=COMMAND][,type=file|env]. Without a source it is the variable
// ID, if there is one, or the file ID.
func parseSecret(text string) (secretSpec, error) {
	var s secretSpec
	words := csv.NewReader(strings.NewReader(text))
	words.LazyQuotes = true // a command may have quotes of its own
	fields, err := words.Read()
	if err != nil {
		return s, command.Usagef("--secret %q: must be id=ID,src=FILE or id=ID,env=VARIABLE", text)
	}
	kind := ""
	for _, field := range fields {
		key, value, ok := strings.Cut(field, "=")
		switch key = strings.ToLower(key); {
		case !ok:
			return s, command.Usagef("--secret %q: %q must be KEY=VALUE", text, field)
		case key == "type" && (value == "file" || value == "env"):
			kind = value
		case key == "type":
			return s, command.Usagef("--secret %q: type=%s: must be file or env", text, value)
		case key == "id":
			s.id = value
		case key == "src" || key == "source":
			s.file = value
		case key == "env":
			s.env = value
		case key == "cmd" || key == "command":
			s.command = value
		default:
			return s, command.Usagef("--secret %q: there is no %s=: the keys are id, src, env, cmd and type", text, key)
		}
	}
	if s.id == "" {
		return s, command.Usagef("--secret %q: has no id=ID", text)
	}
	return s.settled(text, kind)
}

// settled checks what the parts of a secret are together, and finds its source; kind is its type.
func (s secretSpec) settled(text, kind string) (secretSpec, error) {
	if s.command != "" {
		if s.env != "" || s.file != "" || kind != "" {
			return s, command.Usagef("--secret %q: cmd is for secrets without another source or type", text)
		}
		return s, nil
	}
	if kind == "env" && s.env == "" && s.file != "" { // the source is the variable's name
		s.env, s.file = s.file, ""
	}
	if s.env != "" && (kind == "file" || s.file != "") {
		return s, command.Usagef("--secret %q: is either a file or a variable", text)
	}
	return s.withSource(kind), nil
}

// withSource finds the source of a secret that is given none.
func (s secretSpec) withSource(kind string) secretSpec {
	_, inEnv := os.LookupEnv(s.id)
	switch {
	case s.file != "" || s.env != "":
	case kind == "env", kind == "" && inEnv:
		s.env = s.id
	default:
		s.file = s.id
	}
	return s
}

// OpenSecrets reads --secret and opens the files, or finds those that the process outside the namespace has opened.
func (r *Run) OpenSecrets(env command.Env) (*SecretFiles, error) {
	s := &SecretFiles{}
	inherited := strings.Split(os.Getenv(envSecretFiles), ",")
	if err := os.Unsetenv(envSecretFiles); err != nil {
		return nil, err
	}
	for _, text := range r.Secrets {
		spec, err := parseSecret(text)
		if err != nil {
			return nil, err
		}
		s.specs = append(s.specs, spec)
		if spec.env != "" {
			if _, set := os.LookupEnv(spec.env); !set {
				s.Notes = append(s.Notes, fmt.Sprintf("--secret id=%s: the variable %s is not set, so the secret is empty", spec.id,
					spec.env))
			}
			continue
		}
		var f *os.File
		if n := len(s.files); env.Inside && n < len(inherited) && inherited[n] != "" {
			f, err = inheritedFile(inherited[n], spec.file)
		} else if spec.command != "" {
			f, err = secretcmd.Start(spec.command)
		} else {
			f, err = openSecret(spec.file)
		}
		if err != nil {
			return nil, command.Usagef("--secret id=%s: %w", spec.id, err)
		}
		s.files = append(s.files, f)
	}
	return s, nil
}

func inheritedFile(number, name string) (*os.File, error) {
	fd, err := strconv.Atoi(number)
	if err != nil {
		return nil, fmt.Errorf("%s=%s: %w", envSecretFiles, number, err)
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), name), nil
}

func openSecret(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case info.IsDir():
		err = fmt.Errorf("%s is a directory", path)
	case info.Size() > build.MaxSecret:
		err = fmt.Errorf("%s is larger than %d KiB", path, build.MaxSecret>>10)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// HandOver makes the files ones that the process in the namespace inherits, and gives the variable that names them.
func (s *SecretFiles) HandOver(env command.Env) []string {
	if len(s.files) == 0 || env.Stays() {
		return nil
	}
	numbers := make([]string, 0, len(s.files))
	for _, f := range s.files {
		fd := int(f.Fd())
		if err := command.Inherit(fd); err != nil {
			return nil // it opens them itself
		}
		numbers = append(numbers, strconv.Itoa(fd))
	}
	return []string{envSecretFiles + "=" + strings.Join(numbers, ",")}
}

// Take takes the first n secrets away, for one of several builds.
func (s *SecretFiles) Take(n int) *SecretFiles {
	taken := &SecretFiles{specs: s.specs[:n]}
	s.specs = s.specs[n:]
	for _, spec := range taken.specs {
		if spec.env == "" {
			taken.files, s.files = append(taken.files, s.files[0]), s.files[1:]
		}
	}
	return taken
}

// Read gives a build the secrets, once.
func (s *SecretFiles) Read(into *build.RunOptions) error {
	secrets := map[string]build.Secret{}
	into.Secrets, into.SecretCommands = secrets, map[string]func(context.Context) (build.Secret, error){}
	files := s.files
	for _, spec := range s.specs {
		if spec.command != "" {
			fetch, err := secretcmd.New(files[0])
			if err != nil {
				return fmt.Errorf("--secret id=%s: %w", spec.id, err)
			}
			into.SecretCommands[spec.id], files = fetch, files[1:]
		} else if spec.env != "" {
			secrets[spec.id] = build.Secret(os.Getenv(spec.env))
		} else {
			text, err := io.ReadAll(io.LimitReader(files[0], build.MaxSecret+1))
			if err = errors.Join(err, files[0].Close()); err != nil {
				return fmt.Errorf("--secret id=%s: %w", spec.id, err)
			}
			files = files[1:]
			secrets[spec.id] = text
		}
		if len(secrets[spec.id]) > build.MaxSecret {
			return command.Usagef("--secret id=%s: larger than %d KiB", spec.id, build.MaxSecret>>10)
		}
	}
	return nil
}

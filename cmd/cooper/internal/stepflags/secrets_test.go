package stepflags

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

func TestSecretsAreReadInBothSpellings(t *testing.T) {
	t.Setenv("IN_ENV", "x")
	for text, want := range map[string]secretSpec{
		"id=a,src=f":                 {"a", "f", "", ""},
		"id=a,source=f,type=file":    {"a", "f", "", ""},
		"type=file,id=a":             {"a", "a", "", ""},
		"id=a,env=V":                 {"a", "", "V", ""},
		"id=a,type=env,src=V":        {"a", "", "V", ""},
		"id=a,type=env,env=V":        {"a", "", "V", ""},
		"id=IN_ENV":                  {"IN_ENV", "", "IN_ENV", ""},
		"id=IN_ENV,type=file":        {"IN_ENV", "IN_ENV", "", ""},
		"id=not-set":                 {"not-set", "not-set", "", ""},
		"id=not-set,type=env":        {"not-set", "", "not-set", ""},
		"id=IN_ENV,cmd=echo x":       {"IN_ENV", "", "", "echo x"},
		`id=a,"cmd=echo a,b"`:        {"a", "", "", "echo a,b"},
		`id=a,cmd=echo "x" y`:        {"a", "", "", `echo "x" y`},
		"id=a,cmd=x,src=f":           {},
		"id=a,cmd=x,type=env":        {},
		`ID=a,"src=with,comma"`:      {"a", "with,comma", "", ""},
		"":                           {},
		"id":                         {},
		"src=f":                      {},
		"id=a,src=f,env=V":           {},
		"id=a,type=file,env=V":       {},
		"id=a,type=nothing":          {},
		"id=a,mode=0400":             {},
		"id=a,type=env,src=f,env=V":  {},
		"id=a,src=f\nid=b,src=other": {"a", "f", "", ""},
	} {
		got, err := parseSecret(text)
		if got != want && err == nil || (err != nil) != (want == secretSpec{}) {
			t.Errorf("%q: %+v %v, want %+v", text, got, err, want)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"": 0, "1": 1, "10b": 10, "4k": 4096, "64m": 64 << 20, "64MB": 64 << 20, "2g": 2 << 30,
		"x": -1, "0": -1, "-1": -1, "1t": -1, "9999999999g": -1, "m": -1, "1.5m": -1,
	} {
		got, err := ParseSize(text)
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q: %d %v", text, got, err)
		}
	}
}

func TestSecretsAreReadOnceFromFilesAndVariables(t *testing.T) {
	dir := contextDir(t, map[string]string{"a": "of a file\n", "large": strings.Repeat("x", build.MaxSecret+1),
		"most": strings.Repeat("x", build.MaxSecret)})
	t.Setenv("TOKEN", "of a variable")
	file := func(name string) string { return filepath.Join(dir, name) }
	open := func(texts ...string) (*SecretFiles, error) {
		return (&Run{Secrets: texts}).OpenSecrets(command.Env{})
	}
	s, err := open("id=a,src="+file("a"), "id=b,env=TOKEN", "id=c,src="+file("most"), "id=d,env=NOT_SET_ANYWHERE")
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Notes) != 1 ||
		s.Notes[0] != "--secret id=d: the variable NOT_SET_ANYWHERE is not set, so the secret is empty" {
		t.Errorf("it notes %q", s.Notes)
	}
	// What is opened is what is read, whatever becomes of the name.
	if err := os.Rename(file("most"), file("a")); err != nil {
		t.Fatal(err)
	}
	secrets, err := readAll(s)
	if err != nil || string(secrets["a"]) != "of a file\n" || string(secrets["b"]) != "of a variable" ||
		len(secrets["c"]) != build.MaxSecret || len(secrets["d"]) != 0 || len(secrets) != 4 {
		t.Errorf("%d of them, %v", len(secrets), err)
	}
	for _, f := range s.files {
		if _, err := f.Stat(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s is still open: %v", f.Name(), err)
		}
	}
	for text, want := range map[string]string{
		"id=x,src=" + file("large"): "is larger than 500 KiB", "id=x,src=" + dir: "is a directory",
		"id=x,src=" + file("none"): "no such file",
	} {
		if _, err := open(text); err == nil || !strings.Contains(err.Error(), want) ||
			!strings.HasPrefix(err.Error(), "--secret id=x: ") || !errors.As(err, new(command.UsageError)) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestASecretThatGrowsIsRefused(t *testing.T) {
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = io.Copy(write, io.LimitReader(zeros{}, build.MaxSecret+1))
		_ = write.Close()
	}()
	s, err := (&Run{Secrets: []string{"id=x,src=/proc/self/fd/" + strconv.Itoa(int(read.Fd()))}}).OpenSecrets(
		command.Env{})
	if err != nil {
		t.Fatal(err)
	}
	_ = read.Close()
	if _, err := readAll(s); err == nil || !strings.Contains(err.Error(), "--secret id=x: larger than 500 KiB") {
		t.Errorf("got %v", err)
	}
	t.Setenv("LONG", strings.Repeat("x", 1000))
	s, err = (&Run{Secrets: []string{"id=y,env=LONG"}}).OpenSecrets(command.Env{})
	if err != nil {
		t.Fatal(err)
	}
	if secrets, err := readAll(s); err != nil || len(secrets["y"]) != 1000 {
		t.Errorf("%d bytes, %v", len(secrets["y"]), err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func TestSecretsAreInheritedByDescriptor(t *testing.T) {
	dir := contextDir(t, map[string]string{"a": "first", "b": "second"})
	texts := []string{"id=a,src=" + filepath.Join(dir, "a"), "id=e,env=HOME", "id=b,src=" + filepath.Join(dir, "b")}
	outer, err := (&Run{Secrets: texts}).OpenSecrets(command.Env{})
	if err != nil {
		t.Fatal(err)
	}
	if env := outer.HandOver(command.Env{Inside: true}); env != nil {
		t.Errorf("a process that stays hands over %q", env)
	}
	if env := (&SecretFiles{}).HandOver(command.Env{}); env != nil {
		t.Errorf("without files it hands over %q", env)
	}
	var numbers []string
	for _, f := range outer.files {
		fd, err := unix.Dup(int(f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		numbers = append(numbers, strconv.Itoa(fd))
	}
	if err := os.RemoveAll(dir); err != nil { // inside, nothing can be opened by its name
		t.Fatal(err)
	}
	t.Setenv(envSecretFiles, strings.Join(numbers, ","))
	inner, err := (&Run{Secrets: texts}).OpenSecrets(command.Env{Inside: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := os.LookupEnv(envSecretFiles); ok {
		t.Error("the variable is left to what is started")
	}
	for _, f := range inner.files {
		if flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
			t.Errorf("%s is left to what is started: %v", f.Name(), err)
		}
	}
	if secrets, err := readAll(inner); err != nil || string(secrets["a"]) != "first" || string(secrets["b"]) != "second" {
		t.Errorf("%q, %q, %v", string(secrets["a"]), string(secrets["b"]), err)
	}
	t.Setenv(envSecretFiles, "x")
	if _, err := (&Run{Secrets: texts}).OpenSecrets(command.Env{Inside: true}); err == nil ||
		!strings.Contains(err.Error(), envSecretFiles+"=x") {
		t.Errorf("a number that is none: %v", err)
	}
	t.Setenv(envSecretFiles, "0,0") // outside, somebody's variable counts for nothing
	if _, err := (&Run{Secrets: texts}).OpenSecrets(command.Env{}); err == nil ||
		!strings.Contains(err.Error(), "no such file") {
		t.Errorf("outside: %v", err)
	}
}

// contextDir is a context with these files.
func contextDir(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func readAll(s *SecretFiles) (map[string]build.Secret, error) {
	var o build.RunOptions
	err := s.Read(&o)
	return o.Secrets, err
}

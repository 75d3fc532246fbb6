package shared_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cooperbuild/cooper/build/internal/objects/objectstest"
	"github.com/cooperbuild/cooper/build/internal/shared"
	"github.com/cooperbuild/cooper/build/internal/store/uses"
	"github.com/cooperbuild/cooper/build/registry/registrytest"
	"github.com/cooperbuild/cooper/internal/flock"
)

// mounts are the cache mounts of a store.
type mounts struct{ dir string }

func (m mounts) open(_ context.Context, key, number, _ string) (string, *os.File, error) {
	dir := filepath.Join(m.dir, key, number)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	lock, err := os.OpenFile(dir+uses.LockSuffix, os.O_RDWR|os.O_CREATE, 0o600)
	return dir, lock, err
}

// used has a step of the machine use a mount with a file in it, and saves.
func (m *light) used(t *testing.T, id, text string) error {
	t.Helper()
	store := mounts{t.TempDir()}
	dir, lock, err := store.open(t.Context(), string(lightKey(id)), "0", id)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	registrytest.Write(t, filepath.Join(dir, "file"), text)
	if err := uses.WriteMade(dir, uses.Made{Key: string(lightKey(id))}); err != nil {
		t.Fatal(err)
	}
	m.room.Mounts().Used(lightKey(id), lightKey(id), "0", id)
	return m.room.Save(t.Context(), m.saving(store))
}

func (m *light) saving(store mounts) shared.SaveOptions {
	return shared.SaveOptions{Records: m.records, Keep: m.kept.For, OpenMount: store.open,
		Secrets: [][]byte{[]byte("the secret")}}
}

// fills is the file of a mount that a place has; empty: it has none.
func (m *light) fills(t *testing.T, id string) string {
	t.Helper()
	dir := t.TempDir()
	if !m.room.Mounts().Fill(t.Context(), lightKey(id), id, dir) {
		return ""
	}
	text, err := os.ReadFile(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestACacheMountTravelsToAnyPlace(t *testing.T) {
	registrytest.Home(t, "")
	server, dir := registrytest.New(t), t.TempDir()
	type place struct{ from, to string }
	all := []place{{"type=registry,registry.insecure=true,ref=" + server.Host() + "/app:c", ""},
		{"type=local,src=" + dir, "type=local,dest=" + dir}}
	for _, s := range objectstest.All(t) {
		all = append(all, place{s.Place(""), ""})
	}
	for _, p := range all {
		if p.to == "" {
			p.to = p.from
		}
		first := newLight(t, places{to: []string{p.to + ",mounts=one,two"}}, 0)
		for _, id := range []string{"one", "other"} {
			if err := first.used(t, id, "content of "+id); err != nil {
				t.Fatal(p.to, err)
			}
		}
		next := newLight(t, places{from: []string{p.from}, to: []string{p.to + ",mounts=all"}}, 0)
		if got, none := next.fills(t, "one"), next.fills(t, "other"); got != "content of one" || none != "" {
			t.Errorf("%s: %q, %q\n%s", p.from, got, none, next.notes.Text())
		}
		if err := next.used(t, "two", "more"); err != nil {
			t.Fatal(p.to, err)
		}
		last := newLight(t, places{from: []string{p.from}}, 0)
		if got := last.fills(t, "one") + last.fills(t, "two"); got != "content of onemore" {
			t.Errorf("%s: with another one: %q", p.from, got)
		}
	}
}

func TestADamagedCacheMountBeginsEmpty(t *testing.T) {
	t.Parallel()
	for what, change := range map[string]func([]byte) []byte{
		"lost":      func([]byte) []byte { return nil },
		"changed":   func(old []byte) []byte { return append(bytes.Clone(old[:len(old)-1]), 'x') },
		"truncated": func(old []byte) []byte { return old[:len(old)/2] },
	} {
		for _, server := range objectstest.All(t) {
			if err := newLight(t, places{to: []string{server.Place(",mounts=all")}}, 0).used(t, "one", "content"); err != nil {
				t.Fatal(err)
			}
			server.Change("", func(old []byte) []byte {
				if bytes.HasPrefix(old, []byte{0x28, 0xb5, 0x2f, 0xfd}) { // zstd
					return change(old)
				}
				return old
			})
			m := newLight(t, places{from: []string{server.Place("")}, to: []string{server.Place(",mounts=all")}}, 0)
			if got := m.fills(t, "one"); got != "" {
				t.Errorf("%s: %s: %q", server.Kind, what, got)
			}
			m.says(t, "the cache mount id=one begins empty")
			if err := m.used(t, "one", "content anew"); err != nil {
				t.Error(server.Kind, what, err)
			}
		}
	}
}

func TestACacheMountInUseIsNotRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := newLight(t, places{to: []string{"type=local,mounts=all,dest=" + dir}}, 50*time.Millisecond)
	store := mounts{t.TempDir()}
	_, lock, err := store.open(t.Context(), string(lightKey("one")), "0", "one")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if got, err := flock.Try(lock, flock.Shared); err != nil || !got {
		t.Fatal(got, err)
	}
	m.room.Mounts().Used(lightKey("one"), lightKey("one"), "0", "one")
	if err := m.room.Save(t.Context(), m.saving(store)); err != nil {
		t.Fatal(err)
	}
	m.says(t, "the cache mount id=one is not kept in "+dir+": another build uses it")
}

func TestSecretsStayHere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	m := newLight(t, places{to: []string{"type=local,mounts=all,dest=" + dir}}, 0)
	if err := m.used(t, "one", "with the secret in it"); err != nil {
		t.Fatal(err)
	}
	m.says(t, `the cache mount id=one: left out: 1 files with a secret in them, such as ["file"]`)
	next, to := newLight(t, places{from: []string{"type=local,src=" + dir}}, 0), t.TempDir()
	if !next.room.Mounts().Fill(t.Context(), lightKey("one"), "one", to) {
		t.Error(next.notes.Text())
	}
	if entries, err := os.ReadDir(to); err != nil || len(entries) > 0 {
		t.Error(entries, err)
	}
}

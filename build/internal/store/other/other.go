package other

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"go.podman.io/storage"
	"go.podman.io/storage/pkg/unshare"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/internal/store/internal/library"
	"github.com/cooperbuild/cooper/internal/fsys"
)

// A Store is a store with another driver, in the same directory as the user's own, that podman and buildah have or
// would make. They don't see what is in the user's own store, and cooper doesn't see what is in theirs.
type Store struct {
	// Problem says for people that there are two stores, and Fix what to do so that there is one.
	Problem, Fix string
}

// otherDriver is what podman and buildah of some years ago take for an ordinary user where no driver is configured.
const otherDriver = "vfs"

// Find looks for another store beside the user's own. With ask, programs that would make one are looked for as
// well, which means to run them; else only what lies on the disk counts.
func Find(ctx context.Context, o store.Options, ask bool) (Store, bool) {
	if !unshare.IsRootless() || o.Root != "" {
		return Store{}, false
	}
	opts, err := storage.DefaultStoreOptions()
	if err != nil {
		return Store{}, false
	}

	configured := opts.GraphDriverName != "" || len(opts.GraphDriverPriority) > 0
	remembered := remembers(opts.GraphRoot)
	there := fsys.Exists(filepath.Join(opts.GraphRoot, otherDriver+"-images"))
	store.Apply(&opts, o)
	if opts.GraphDriverName != library.Overlay || configured && !remembered {
		return Store{}, false
	}

	who := "podman"
	if !remembered && !there {
		if !ask {
			return Store{}, false
		}
		if who = oldProgram(ctx); who == "" {
			return Store{}, false
		}
	}

	other := Store{Problem: fmt.Sprintf(
		"%s keeps images in %s with the driver %s, and cooper with overlay: neither sees the other's",
		who, opts.GraphRoot, otherDriver)}
	if !configured {
		other.Fix = configLine()
	}
	if remembered {
		if other.Fix != "" {
			other.Fix += "; then, for podman goes by the driver in its data base: "
		}
		other.Fix += "rm -r " + filepath.Join(opts.GraphRoot, "libpod") + " (it forgets its containers and volumes)"
	}

	return other, true
}

// configLine says what to type so that a driver is configured.
func configLine() string {
	conf := os.Getenv("CONTAINERS_STORAGE_CONF")
	if conf == "" {
		home := cmp.Or(os.Getenv("XDG_CONFIG_HOME"), filepath.Join(os.Getenv("HOME"), ".config"))
		conf = filepath.Join(home, "containers", "storage.conf")
	}
	if fsys.Exists(conf) {
		return `have driver = "overlay" below [storage] in ` + conf
	}
	return fmt.Sprintf(`mkdir -p %s && printf '[storage]\ndriver = "overlay"\n' >%s`, filepath.Dir(conf), conf)
}

// remembers tells whether podman's data base of containers says that the store's driver is the other one: that
// overrules storage.conf.
func remembers(root string) bool {
	const most = 64 << 20 // bytes that are read; the data base has some kilobytes for each container
	path := filepath.Join(root, "libpod", "bolt_state.db")
	info, err := os.Lstat(path)
	if err != nil || !info.Mode().IsRegular() || info.Size() > most {
		return false
	}
	text, err := os.ReadFile(path)
	return err == nil && bytes.Contains(text, []byte("graph-driver-name"+otherDriver))
}

// oldProgram is the first of podman and buildah in PATH that is old enough to take the other driver, with its version;
// "" if none is.
func oldProgram(ctx context.Context) string {
	const patience = 5 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, p := range []struct {
		name         string
		major, minor int // the first version that takes the driver overlay
	}{{"podman", 5, 0}, {"buildah", 1, 35}} {
		out, err := exec.CommandContext(ctx, p.name, "--version").Output()
		if err != nil {
			continue
		}
		rest, found := strings.CutPrefix(string(out), p.name+" version ")
		version, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		var major, minor int
		if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); !found || err != nil {
			continue
		}
		if major < p.major || major == p.major && minor < p.minor {
			return p.name + " " + version
		}
	}
	return ""
}

const (
	// toldFile is there once the user was told of another store. askedFile is there if no program would have made one
	// when they were last asked.
	toldFile  = "told-of-other-store"
	askedFile = "asked-for-other-store"
)

// Tell tells the user once that there is another store than s, which was opened with these options.
func Tell(ctx context.Context, s *store.Store, o store.Options) error {
	told, asked := filepath.Join(s.Paths().Own, toldFile), filepath.Join(s.Paths().Own, askedFile)
	trusted := library.Of(s.Parts().Library).Layout.Marks == library.TrustedMarks
	if o.Tell == nil || trusted || o.Root != "" || s.Driver() != library.Overlay || fsys.Exists(told) {
		return nil
	}
	ask := !fsys.Exists(asked)
	if !ask && !fsys.Exists(filepath.Join(s.Paths().Root, otherDriver+"-images")) {
		return nil
	}
	other, ok := Find(ctx, o, ask)
	switch {
	case ok:
		o.Tell(other.Problem + "; for one store: " + other.Fix)
		return os.WriteFile(told, nil, 0o600)
	case ask && ctx.Err() == nil:
		return os.WriteFile(asked, nil, 0o600)
	}
	return nil
}

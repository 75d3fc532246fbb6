package web

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/fetch/shelf"
	"github.com/cooperbuild/cooper/imagebuilder/remote"
)

// unnamed is the name of a downloaded file if neither the server nor the URL gives one.
const unnamed = "download"

// metaFile is the name of the file with the meta of a URL, in the entry of the URL.
const metaFile = "meta.json"

// meta is what is noted of a URL or a checksum: which of its files belongs to it.
type meta struct {
	// Entry and Name give the path of the file on the shelf: files/Entry/Name.
	Entry, Name string
	// URL is where the file came from last, without credentials.
	URL          string `json:",omitempty"`
	Digest       digest.Digest
	Size         int64
	ModTime      time.Time
	ETag         string `json:",omitempty"`
	LastModified string `json:",omitempty"`
}

func (m meta) path(c *shelf.Dir) string { return filepath.Join(c.Entry(shelf.Files, m.Entry), m.Name) }

// Get downloads a file, or takes it from the shelf. Errors name the URL, without credentials; a file that doesn't
// match the checksum of the request is shelf.ErrChecksum. The caller releases the file.
func (s *Room) Get(ctx context.Context, r Request) (*File, error) {
	d, err := s.newDownload(r)
	if err != nil {
		return nil, err
	}
	f, err := d.file(ctx)
	if err != nil {
		return nil, fmt.Errorf("download %s: %w", d.shown, remote.RedactError(err))
	}
	return f, nil
}

// download is one request under way.
type download struct {
	room *Room
	kept *shelf.Dir
	r    Request
	url  *url.URL
	// auth is the Authorization header for the URL's own host.
	auth  string
	shown string
}

func (s *Room) newDownload(r Request) (*download, error) {
	d := &download{room: s, kept: s.kept, r: r, shown: remote.Redact(r.URL)}
	u, err := url.Parse(r.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%s: not a valid http or https URL", d.shown)
	}
	if r.Checksum != "" {
		if err := remote.CheckDigest(string(r.Checksum)); err != nil {
			return nil, err
		}
	}
	d.auth = authorization(u, r.Secrets)
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	d.url = u
	return d, nil
}

// authorization is the header for a URL: from the secrets, or else from the URL itself.
func authorization(u *url.URL, secrets func(id string) (value []byte, ok bool)) string {
	if secrets != nil {
		if v, ok := secrets("HTTP_AUTH_TOKEN_" + u.Hostname()); ok {
			return "Bearer " + strings.TrimSpace(string(v))
		}
		if v, ok := secrets("HTTP_AUTH_HEADER_" + u.Hostname()); ok {
			return strings.TrimSpace(string(v))
		}
	}
	if u.User == nil {
		return ""
	}
	password, _ := u.User.Password()
	return basicAuth(u.User.Username(), password)
}

// errNotKept says that the shelf doesn't have a file.
var errNotKept = errors.New("not kept")

// file finds the file on the shelf or downloads it.
func (d *download) file(ctx context.Context) (*File, error) {
	if f, err := d.pinned(ctx); !errors.Is(err, errNotKept) {
		return f, err
	}
	entry := d.kept.Entry(shelf.URLs, shelf.Key(d.r.URL, d.r.Name))
	lock, err := d.kept.Own(ctx, entry)
	if err != nil {
		return nil, err
	}
	defer lock.Release() //nolint:errcheck // closing a lock
	// Another process may have had the lock because it downloaded the same file.
	if f, err := d.pinned(ctx); !errors.Is(err, errNotKept) {
		return f, err
	}
	path := filepath.Join(entry, metaFile)
	var last meta
	var kept *File
	if shelf.ReadJSON(path, &last) == nil && d.r.Checksum == "" {
		if kept, err = d.open(ctx, last); err != nil && !errors.Is(err, errNotKept) {
			return nil, err
		}
	}
	now, err := d.transfer(ctx, last, kept)
	if errors.Is(err, errUnchanged) {
		return kept, nil
	}
	if kept != nil {
		err = errors.Join(err, kept.Release())
	}
	if err == nil {
		err = d.kept.WriteJSON(path, now)
	}
	if err != nil {
		return nil, err
	}
	return d.open(ctx, now)
}

// pinned opens the file of the shelf that has the checksum of the request.
func (d *download) pinned(ctx context.Context) (*File, error) {
	var m meta
	if d.r.Checksum == "" || shelf.ReadJSON(d.room.sumPath(d.r.Checksum), &m) != nil {
		return nil, errNotKept
	}
	if name := d.name(nil); m.Name != name {
		return d.renamed(ctx, m, name)
	}
	return d.open(ctx, m)
}

// renamed gives a file of the shelf another name.
func (d *download) renamed(ctx context.Context, m meta, name string) (f *File, err error) {
	old, err := d.open(ctx, m)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, old.Release()) }()
	m.Entry, m.Name = shelf.Key(m.Digest.String(), name, m.ModTime.String()), name
	dir, remove, err := d.kept.Temp()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	whole := filepath.Join(dir, "entry")
	if err := os.Mkdir(whole, 0o700); err != nil {
		return nil, err
	}
	if err := os.Link(old.Path, filepath.Join(whole, name)); err != nil {
		return nil, err
	}
	if err := d.kept.Publish(ctx, whole, d.kept.Entry(shelf.Files, m.Entry)); err != nil {
		return nil, err
	}
	return d.open(ctx, m)
}

// open opens a file of the shelf and holds its entry.
func (d *download) open(ctx context.Context, m meta) (*File, error) {
	if m.Entry == "" || m.Name == "" || m.Name != filepath.Base(m.Name) || m.Entry != filepath.Base(m.Entry) {
		return nil, errNotKept
	}
	h, err := d.kept.Hold(ctx, d.kept.Entry(shelf.Files, m.Entry))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errNotKept
	}
	if err != nil {
		return nil, err
	}
	info, err := os.Lstat(m.path(d.kept))
	if err != nil || info.Size() != m.Size || !info.Mode().IsRegular() {
		return nil, errors.Join(errNotKept, h.Release())
	}
	return &File{Path: m.path(d.kept), Name: m.Name, Digest: m.Digest, Size: m.Size, ModTime: m.ModTime, hold: h}, nil
}

// name chooses the file's name from the request, the server's answer and the URL.
func (d *download) name(resp *http.Response) string {
	if d.r.Name != "" {
		return d.r.Name
	}
	if resp != nil {
		_, params, err := mime.ParseMediaType(resp.Header.Get("Content-Disposition"))
		if n := remote.SafeName(params["filename"]); err == nil && n != "" && !strings.HasSuffix(params["filename"], "/") {
			return n
		}
	}
	if n := remote.FileName(d.r.URL); n != "" {
		return n
	}
	return unnamed
}

func (s *Room) sumPath(sum digest.Digest) string {
	return s.kept.Entry(shelf.Sums, sum.Algorithm().String()+"-"+sum.Encoded())
}

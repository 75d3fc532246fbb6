package source

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"github.com/zeebo/blake3"
	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/internal/fsys"
)

// DigestOptions says what Digest digests. Root must be set.
type DigestOptions struct {
	// Root is the open directory that Query selects from. The caller closes it.
	Root *os.File
	// Query says which files.
	Query
	// WithOwner makes owners and ACLs part of the digest, as they must be if the copy keeps them.
	WithOwner bool
	// Cache remembers the digests of files; nil: every file is read. It isn't used together with WithOwner. It has no use
	// for an overlay mount, which has a new device number each time.
	Cache *StatCache
	// Known holds digests of files that were read before; nil: none.
	Known *Known
	// SkipFrom is the size in bytes of the smallest regular file that isn't read if neither Cache nor Known has it. Digest
	// then digests all other files, so that Cache has them, and returns ErrSkipped. 0: every file is read.
	SkipFrom int64
	// Owners, if not nil, is told the owner of each file, by one goroutine at a time. Only Fingerprint does so.
	Owners func(uid, gid uint32)
	// Listing, if not nil, keeps what is digested. Only Digest fills it, and only when it succeeds.
	Listing *Listing
	// Contents, if not nil, keeps what the files below directories hold. Only Digest fills it.
	Contents *Contents
	// Print, if not nil, gets what Fingerprint would have given of the files as Digest saw them. Only Digest sets it.
	Print *digest.Digest
	// Workers limits concurrency; 0 means one for each CPU, but 2 to 8.
	Workers int
}

// Digest gives the content digest of the files that the patterns select. For each source in turn it covers the names
// below it, types, permission bits with setuid, setgid and sticky, targets of symlinks, device numbers, capabilities
// and user.* attributes, and content. It leaves out times, hard links, owners unless WithOwner is set, and the name and
// attributes of a directory that is itself a source, which aren't copied either. Errors are those of Select, or say
// which file couldn't be read.
//
// The algorithm is BLAKE3, which package digest doesn't know: the result is for keys that stay on this machine.
func Digest(ctx context.Context, o DigestOptions) (digest.Digest, error) {
	sel, err := Select(o.Root, o.Query)
	if err != nil {
		return "", err
	}
	// Close closes only descriptors of directories: no data can be lost.
	defer func() { _ = sel.Close() }()
	if o.WithOwner {
		o.Cache = nil
	}

	d := &digester{options: o, ended: func() error { return context.Cause(ctx) }}
	if o.Print != nil {
		d.prints = new(prints)
	}
	top := &dirHash{}
	var tops []listedTop
	for n, item := range sel.Items {
		if err := d.ended(); err != nil {
			return "", err
		}
		d.prints.add("", item.Path, &item.Stat)
		entry, err := d.item(ctx, item)
		if err != nil {
			return "", err
		}
		if entry != nil {
			if o.Listing != nil {
				tops = append(tops, listedTop{item.Path, *entry})
			}
			// The name begins with the source's number, since the order counts: a later source replaces files of an earlier one.
			entry.name = fmt.Sprintf("%08x/%s", n, entry.name)
			top.entries = append(top.entries, *entry)
		}
	}

	if d.skipped.Load() {
		return "", ErrSkipped
	}
	if o.Listing != nil {
		o.Listing.tops = tops
	}
	if o.Print != nil {
		*o.Print = d.prints.digest()
	}
	sum := top.sum()
	return digest.Digest("blake3:" + hex.EncodeToString(sum[:])), nil
}

// hashSum is a BLAKE3 digest.
type hashSum [32]byte

// hashEntry is one name in a directory, with the attributes and the content digest that are part of the directory's
// digest.
type hashEntry struct {
	name string
	kind uint8
	mode uint32
	uid  uint32
	gid  uint32
	sum  hashSum
	mark contentMark
	// dir is the directory itself, if a Listing keeps it.
	dir *dirHash
}

// dirHash collects the entries of a directory until it can be digested.
type dirHash struct {
	parent *dirHash
	// path is that of the directory below the root.
	path string
	// self is the directory's entry in its parent; its sum is set when the directory is done.
	self hashEntry
	// optional tells that the directory counts only if an entry in it does: the filter hides the directory itself.
	optional bool
	xattrs   []Xattr

	mu      sync.Mutex
	entries []hashEntry
}

func (d *dirHash) add(e hashEntry) {
	d.mu.Lock()
	d.entries = append(d.entries, e)
	d.mu.Unlock()
}

// sum digests attributes and entries, in the order of names.
func (d *dirHash) sum() hashSum {
	slices.SortFunc(d.entries, func(a, b hashEntry) int { return strings.Compare(a.name, b.name) })
	h := blake3.New()
	buf := appendXattrs(nil, d.xattrs)
	for _, e := range d.entries {
		buf = appendText(buf, e.name)
		buf = append(buf, e.kind)
		buf = binary.BigEndian.AppendUint32(buf, e.mode)
		buf = binary.BigEndian.AppendUint32(buf, e.uid)
		buf = binary.BigEndian.AppendUint32(buf, e.gid)
		buf = append(buf, e.sum[:]...)
		if len(buf) > 32<<10 {
			_, _ = h.Write(buf)
			buf = buf[:0]
		}
	}
	_, _ = h.Write(buf)
	return sumOf(h)
}

func appendText(buf []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint32(buf, uint32(len(text))), text...)
}

func appendXattrs(buf []byte, xattrs []Xattr) []byte {
	buf = binary.BigEndian.AppendUint32(buf, uint32(len(xattrs)))
	for _, x := range xattrs {
		buf = appendText(appendText(buf, x.Name), string(x.Value))
	}
	return buf
}

func sumOf(h *blake3.Hasher) (sum hashSum) {
	h.Sum(sum[:0])
	return sum
}

// digester is the Visitor that digests files and directories.
type digester struct {
	options DigestOptions
	// ended gives the reason why Digest must end, nil while there is none. It is called before each part of a large file.
	ended   func() error
	states  sync.Pool
	skipped atomic.Bool
	// prints makes DigestOptions.Print; nil: nobody wants it.
	prints *prints
}

var (
	_ Visitor[*dirHash]  = (*digester)(nil)
	_ expecter[*dirHash] = (*digester)(nil)
)

// expect makes room for entries.
func (*digester) expect(dir *dirHash, count int) {
	dir.mu.Lock()
	dir.entries = slices.Grow(dir.entries, count)
	dir.mu.Unlock()
}

// item digests one source; nil if none of it would be copied.
func (d *digester) item(ctx context.Context, item Selected) (*hashEntry, error) {
	if !item.IsDir() {
		entry, err := d.entry(item.Entry(), new(unix.Stat_t))
		if entry != nil {
			entry.name = item.Name
		}
		return entry, err
	}
	top := &dirHash{path: item.Path}
	tree := TreeOf(item, d.options.Filter, top)
	tree.Workers = d.options.Workers
	if err := Walk(ctx, tree, d); err != nil {
		return nil, err
	}
	self := &hashEntry{kind: unix.DT_DIR, sum: top.sum()}
	d.kept(self, top)
	return self, nil
}

// Enter implements Visitor.
func (d *digester) Enter(parent *dirHash, e Entry, fd int) (*dirHash, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("stat %s: %w", e.Path(), err)
	}
	xattrs, err := Xattrs(fd, d.options.WithOwner)
	if err != nil {
		return nil, fmt.Errorf("read attributes of %s: %w", e.Path(), err)
	}
	d.prints.add(e.dirPath, e.Name, &st)
	self := hashEntry{name: e.Name, kind: unix.DT_DIR}
	d.attributes(&self, &st)
	return &dirHash{parent: parent, path: e.Path(), self: self, optional: e.Excluded, xattrs: xattrs}, nil
}

// Visit implements Visitor.
func (d *digester) Visit(dir *dirHash, e Entry) error {
	var st unix.Stat_t
	entry, err := d.entry(e, &st)
	if errors.Is(err, unix.ENOENT) {
		// The file vanished, so it counts as not listed.
		return nil
	}
	if err != nil || entry == nil {
		return err
	}
	d.prints.add(e.dirPath, e.Name, &st)
	dir.add(*entry)
	return nil
}

// Leave implements Visitor.
func (d *digester) Leave(dir *dirHash, complete bool) error {
	if !complete || dir.optional && len(dir.entries) == 0 {
		return nil
	}
	dir.self.sum = dir.sum()
	d.kept(&dir.self, dir)
	dir.parent.add(dir.self)
	return nil
}

// kept keeps a directory that is done for the listing.
func (d *digester) kept(self *hashEntry, dir *dirHash) {
	d.options.Contents.keep(dir)
	if l := d.options.Listing; l != nil {
		l.keep(dir)
		self.dir = dir
	}
}

// attributes sets the mode and, with WithOwner, the owner.
func (d *digester) attributes(e *hashEntry, st *unix.Stat_t) {
	e.mode = st.Mode & 0o7777
	if d.options.WithOwner {
		e.uid, e.gid = st.Uid, st.Gid
	}
}

// entry digests a file that isn't a directory; nil if such a file isn't copied. It sets st to the attributes of a file
// that it looks at, and of all others if there are prints to make.
func (d *digester) entry(e Entry, st *unix.Stat_t) (*hashEntry, error) {
	out := &hashEntry{name: e.Name, kind: e.Type}
	var err error
	switch e.Type {
	case unix.DT_REG:
		err = d.file(out, e, st)
	case unix.DT_LNK:
		err = d.symlink(out, e, st)
	default:
		err = d.special(out, e, st)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", e.Path(), err)
	}
	return out, nil
}

func (d *digester) symlink(out *hashEntry, e Entry, st *unix.Stat_t) error {
	target, err := fsys.ReadLinkAt(e.Dir, e.Name)
	if err != nil {
		return err
	}
	out.sum = blake3.Sum256([]byte(target))
	if d.prints == nil && !d.options.WithOwner {
		return nil
	}
	if *st, err = fsys.LstatAt(e.Dir, e.Name); d.options.WithOwner {
		out.uid, out.gid = st.Uid, st.Gid
	}
	return err
}

func (d *digester) special(out *hashEntry, e Entry, st *unix.Stat_t) (err error) {
	if *st, err = fsys.LstatAt(e.Dir, e.Name); err != nil {
		return err
	}
	d.attributes(out, st)
	switch out.kind = uint8(st.Mode & unix.S_IFMT >> 12); out.kind {
	case unix.DT_FIFO:
	case unix.DT_SOCK:
		// COPY makes an empty file of it.
		out.kind, out.sum = unix.DT_REG, blake3.Sum256(nil)
	default:
		binary.BigEndian.PutUint64(out.sum[:], st.Rdev)
	}
	return nil
}

package tests_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// A layout is an OCI image layout, an archive or a directory, read without any code of cooper.
type layout struct {
	read   func(name string) (io.ReadCloser, error)
	config []byte
	image  ocispec.Image
	layers []ocispec.Descriptor
}

// openLayout reads the image in an OCI archive or directory, checking the digest of each blob it reads.
func openLayout(path string) (*layout, error) {
	l := &layout{read: func(name string) (io.ReadCloser, error) { return os.Open(filepath.Join(path, name)) }}
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.IsDir() {
		l.read = func(name string) (io.ReadCloser, error) { return openMember(path, name) }
	}
	var index ocispec.Index
	if err := l.decode("index.json", &index); err != nil {
		return nil, err
	}
	if len(index.Manifests) != 1 {
		return nil, fmt.Errorf("%s: %d manifests, not 1", path, len(index.Manifests))
	}
	var manifest ocispec.Manifest
	text, err := l.blob(index.Manifests[0])
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &manifest); err != nil {
		return nil, err
	}
	l.layers = manifest.Layers
	if l.config, err = l.blob(manifest.Config); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(l.config, &l.image); err != nil {
		return nil, err
	}
	if a, b := len(l.layers), len(l.image.RootFS.DiffIDs); a != b {
		return nil, fmt.Errorf("%s: %d layers and %d diff IDs", path, a, b)
	}
	return l, nil
}

// openMember opens a file in a tar archive.
func openMember(path, name string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s in %s: %w", name, path, err), f.Close())
		}
		if h.Name == name {
			return struct {
				io.Reader
				io.Closer
			}{r, f}, nil
		}
	}
}

func (l *layout) decode(name string, to any) error {
	r, err := l.read(name)
	if err != nil {
		return err
	}
	return errors.Join(json.NewDecoder(r).Decode(to), r.Close())
}

func blobName(d digest.Digest) string { return "blobs/" + d.Algorithm().String() + "/" + d.Encoded() }

func (l *layout) blob(d ocispec.Descriptor) ([]byte, error) {
	r, err := l.read(blobName(d.Digest))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return nil, err
	}
	if digest.FromBytes(text) != d.Digest || int64(len(text)) != d.Size {
		return nil, fmt.Errorf("blob %s: content doesn't fit its descriptor", d.Digest)
	}
	return text, nil
}

// An entry is one file of a layer.
type entry struct {
	Layer  int
	Header *tar.Header
	// Content is the digest of a file's bytes, and Head the bytes of a short one.
	Content digest.Digest
	Head    string
}

// entries reads the layers, checking their digests, compressed and not.
func (l *layout) entries() ([]entry, error) {
	var all []entry
	for i, d := range l.layers {
		part, err := l.layer(i, d)
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", i, err)
		}
		all = append(all, part...)
	}
	return all, nil
}

func (l *layout) layer(i int, d ocispec.Descriptor) ([]entry, error) {
	blob, err := l.read(blobName(d.Digest))
	if err != nil {
		return nil, err
	}
	defer blob.Close()
	whole := d.Digest.Verifier()
	packed := io.TeeReader(blob, whole)
	plain := packed
	switch {
	case strings.HasSuffix(d.MediaType, "+gzip"):
		z, err := gzip.NewReader(packed)
		if err != nil {
			return nil, err
		}
		plain = z
	case strings.HasSuffix(d.MediaType, "+zstd"):
		z, err := zstd.NewReader(packed)
		if err != nil {
			return nil, err
		}
		defer z.Close()
		plain = z
	}
	diff := l.image.RootFS.DiffIDs[i].Verifier()
	plain = io.TeeReader(plain, diff)
	found, err := tarEntries(i, plain)
	if err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, plain); err != nil {
		return nil, err
	}
	if _, err := io.Copy(io.Discard, packed); err != nil {
		return nil, err
	}
	if !whole.Verified() || !diff.Verified() {
		return nil, fmt.Errorf("digest is wrong (blob right: %t, diff ID right: %t)", whole.Verified(), diff.Verified())
	}
	return found, nil
}

func tarEntries(layer int, r io.Reader) ([]entry, error) {
	var found []entry
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		e := entry{Layer: layer, Header: h}
		if h.Typeflag == tar.TypeReg {
			const short = 100
			sum := digest.Canonical.Digester()
			var head bytes.Buffer
			if _, err := io.CopyN(io.MultiWriter(sum.Hash(), &head), t, min(h.Size, short)); err != nil {
				return nil, err
			}
			if h.Size <= short {
				e.Head = head.String()
			}
			if _, err := io.Copy(sum.Hash(), t); err != nil {
				return nil, err
			}
			e.Content = sum.Digest()
		}
		found = append(found, e)
	}
}

// String is `layer type mode uid:gid size name [-> link] [xattr=value]`, with names that are not printable text quoted.
func (e entry) String() string {
	h := e.Header
	kind := map[byte]string{
		tar.TypeReg: "f", tar.TypeDir: "d", tar.TypeSymlink: "l", tar.TypeLink: "h", tar.TypeChar: "c", tar.TypeBlock: "b",
		tar.TypeFifo: "p",
	}[h.Typeflag]
	line := fmt.Sprintf("%d %s %04o %d:%d %d %s", e.Layer, kind, h.Mode&0o7777, h.Uid, h.Gid, h.Size, printable(h.Name))
	if h.Linkname != "" {
		line += " -> " + printable(h.Linkname)
	}
	for _, key := range slices.Sorted(maps.Keys(h.PAXRecords)) {
		if name, ok := strings.CutPrefix(key, "SCHILY.xattr."); ok {
			line += fmt.Sprintf(" %s=%x", name, h.PAXRecords[key])
		}
	}
	if kind == "c" || kind == "b" {
		line += fmt.Sprintf(" %d,%d", h.Devmajor, h.Devminor)
	}
	return line
}

func printable(name string) string {
	if quoted := fmt.Sprintf("%q", name); quoted != `"`+name+`"` {
		return quoted
	}
	return name
}

// listing has a line for each entry of each layer.
func (l *layout) listing() (string, error) {
	all, err := l.entries()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, e := range all {
		fmt.Fprintln(&b, e)
	}
	return b.String(), nil
}

// configText is the config with sorted keys and without times, which differ from build to build.
func (l *layout) configText() (string, error) {
	var config map[string]any
	if err := json.Unmarshal(l.config, &config); err != nil {
		return "", err
	}
	dropTimes(config)
	if rootfs, ok := config["rootfs"].(map[string]any); ok {
		if ids, ok := rootfs["diff_ids"].([]any); ok {
			rootfs["diff_ids"] = len(ids)
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(config)
	return b.String(), err
}

func dropTimes(v any) {
	switch v := v.(type) {
	case map[string]any:
		delete(v, "created")
		for _, x := range v {
			dropTimes(x)
		}
	case []any:
		for _, x := range v {
			dropTimes(x)
		}
	}
}

// files is what a container of the image sees: the layers put on top of each other.
func (l *layout) files() (map[string]entry, error) {
	all, err := l.entries()
	if err != nil {
		return nil, err
	}
	seen := map[string]entry{}
	below := func(dir string) {
		for name, e := range seen {
			_ = e
			if dir == "" || strings.HasPrefix(name, dir+"/") {
				delete(seen, name)
			}
		}
	}
	// Whiteouts of a layer hide what is in the layers below, wherever in the layer they stand.
	for start := 0; start < len(all); {
		end := start
		for ; end < len(all) && all[end].Layer == all[start].Layer; end++ {
			name := strings.Trim(strings.TrimPrefix(all[end].Header.Name, "./"), "/")
			dir, base := filepath.Split(name)
			if base == ".wh..wh..opq" {
				below(strings.TrimSuffix(dir, "/"))
			} else if gone, ok := strings.CutPrefix(base, ".wh."); ok {
				delete(seen, dir+gone)
				below(dir + gone)
			}
		}
		for _, e := range all[start:end] {
			name := strings.Trim(strings.TrimPrefix(e.Header.Name, "./"), "/")
			if strings.HasPrefix(filepath.Base(name), ".wh.") {
				continue
			}
			if old, ok := seen[name]; ok && old.Header.Typeflag == tar.TypeDir && e.Header.Typeflag != tar.TypeDir {
				below(name)
			}
			seen[name] = e
		}
		start = end
	}
	return seen, nil
}

func mustLayout(t *testing.T, path string) *layout {
	t.Helper()
	l, err := openLayout(path)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustFiles(t *testing.T, path string) map[string]entry {
	t.Helper()
	files, err := mustLayout(t, path).files()
	if err != nil {
		t.Fatal(err)
	}
	return files
}

package export

import (
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/cooperbuild/cooper/imagebuilder"
	"github.com/cooperbuild/cooper/imagebuilder/annotation"
)

// Type is a kind of output.
type Type string

// The types that can be written.
const (
	// TypeOCI is an OCI image layout.
	TypeOCI Type = "oci"
	// TypeDocker is an archive for "docker load" and "podman load"; its layers are not compressed, but for those of a base
	// image that came in gzip.
	TypeDocker Type = "docker"
	// TypeTar is an archive of the image's files, with its owners; there is no config.
	TypeTar Type = "tar"
	// TypeLocal is a directory with the image's files, which all belong to the user.
	TypeLocal Type = "local"
	// TypeImage is the image in the store under more names, and in their registries if it is pushed.
	TypeImage Type = "image"
	// TypeRegistry is TypeImage with push=true.
	TypeRegistry Type = "registry"
	// TypeCacheOnly is nothing but what the cache keeps: the image gets no name.
	TypeCacheOnly Type = "cacheonly"
	// TypeDir is a directory of skopeo's dir: transport, with a manifest of Docker's format; ParseSpec doesn't know it.
	TypeDir Type = "dir"
)

// Compression is how layers are compressed.
type Compression string

// The compressions.
const (
	Gzip         Compression = "gzip"
	Zstd         Compression = "zstd"
	Uncompressed Compression = "uncompressed"
	// ZstdChunked is zstd with a table of the files in it, of which podman and cooper fetch only those that they lack.
	ZstdChunked Compression = "zstd:chunked"
	// EStargz is gzip with a table of the files in it, with which containerd's stargz snapshotter mounts layers before
	// they have come. The layers and the config are other ones than those of the image in the store.
	EStargz Compression = "estargz"
)

// Stdout is the value of Spec.Dest that means standard output.
const Stdout = "-"

// Spec is one --output.
type Spec struct {
	Type Type
	// Dest is the file, for TypeLocal and an OCI layout with Directory set the directory, or Stdout.
	Dest string
	// Source is the directory of the image whose files a TypeLocal or TypeTar has; empty: the root.
	Source string
	// Delete removes from the directory of a TypeLocal what isn't in the image.
	Delete bool
	// Split says whether a TypeLocal has a directory for each platform; nil: if there are several.
	Split *bool
	// Directory asks for a directory instead of an archive (tar=false).
	Directory bool
	// Compression of the layers; empty means Gzip for TypeOCI. TypeDocker is always Uncompressed.
	Compression Compression
	// Level is 1 to 9 for gzip and estargz and 1 to 22 for zstd; 0 means the default, 6 and 3.
	Level int
	// Force has layers of base images compressed anew that came otherwise. Else such a layer is the blob that it was
	// pulled as.
	Force bool
	// Names, if there are any, are used instead of the image's.
	Names []string
	// Annotations are added to those of the images.
	Annotations annotation.Set
	// Push says how a TypeImage is pushed; nil: it isn't pushed.
	Push *PushSpec
	// Load asks for a TypeImage in docker's engine, too, where there is one.
	Load bool
}

// ErrSpec is what every error of ParseSpec wraps: the command line is wrong.
var ErrSpec = errors.New("invalid --output")

// HoldsFiles tells whether the output is the image's files instead of the image: [WriteTar] or [WriteDir] writes it,
// not [Write].
func (s Spec) HoldsFiles() bool { return s.Type == TypeTar || s.Type == TypeLocal }

// IsImage tells whether the output is the image in the store or a registry, which [Write] doesn't write.
func (s Spec) IsImage() bool {
	return s.Type == TypeImage || s.Type == TypeRegistry || s.Type == TypeCacheOnly
}

const (
	supported = "supported types are cacheonly, docker, image, local, oci, registry and tar"
	usage     = `write for example "type=oci,dest=app.tar"`
)

// ParseSpec reads the value of --output: a line of CSV with fields KEY=VALUE, as in
// "type=oci,dest=app.tar,compression=zstd". A value without "=" is a directory for TypeLocal, "-" TypeTar on standard
// output. Fields are
//
//	type               oci, docker, image, registry, local, tar or cacheonly
//	dest               the file or directory; "-" is standard output; docker: without it the store, and docker's engine
//	                   if there is one
//	src                local and tar: the directory of the image that is written
//	mode               local: copy, or delete, which removes from dest what the image doesn't have
//	platform-split     local, tar: whether there is a directory for each platform
//	tar                oci only: false writes a directory
//	rewrite-timestamp  not local and tar: true, which it always is
//	compression        oci, image and registry: gzip, zstd, zstd:chunked, estargz or uncompressed
//	compression-level  oci, image and registry: 1 to 9 for gzip and estargz, 1 to 22 for zstd
//	name               a name for the image instead of --tag's; may be repeated
//	oci-mediatypes     oci: true, which it always is; image and registry: false is Docker's format
//	annotation.KEY     oci, image and registry: an annotation of the manifest; annotation[PLATFORM].KEY: of that for a
//	                   platform; annotation-index.KEY, annotation-manifest-descriptor.KEY and
//	                   annotation-index-descriptor.KEY: of the index, and of the entries in indexes
//	force-compression  true compresses a base image's layers anew that came otherwise; not local and tar
//	push, push-by-digest, registry.insecure
//	                   image and registry: see [PushSpec]
//
// What isn't supported is an error that names it. Every error is ErrSpec.
func ParseSpec(s string) (Spec, error) {
	spec, err := parseSpec(s)
	if err != nil {
		return Spec{}, fmt.Errorf("%w %q: %w", ErrSpec, s, err)
	}
	return spec, nil
}

func parseSpec(s string) (Spec, error) {
	switch {
	case s == "":
		return Spec{}, errors.New("it is empty; " + usage)
	case s == Stdout:
		return Spec{Type: TypeTar, Dest: Stdout}, nil
	case !strings.Contains(s, "="):
		return Spec{Type: TypeLocal, Dest: s}, nil
	}

	r := csv.NewReader(strings.NewReader(s))
	fields, err := r.Read()
	if err != nil {
		return Spec{}, fmt.Errorf("read fields: %w", err)
	}
	if r.InputOffset() != int64(len(s)) {
		return Spec{}, errors.New("it must be one line")
	}

	values := map[string]string{}
	var spec Spec
	for _, f := range fields {
		key, value, ok := strings.Cut(f, "=")
		key = strings.TrimSpace(key)
		if field, name, annotates := strings.Cut(key, "."); annotates && name != "" {
			key = strings.ToLower(field) + "." + name // the key of an annotation keeps its case
		} else {
			key = strings.ToLower(key)
		}
		if !ok {
			return Spec{}, fmt.Errorf("field %q isn't KEY=VALUE", f)
		}
		if key == "name" {
			spec.Names = append(spec.Names, strings.Split(value, ",")...)
			continue
		}
		if _, twice := values[key]; twice {
			return Spec{}, fmt.Errorf("key %q is there twice", key)
		}
		values[key] = value
	}

	return spec.fill(values)
}

// keys gives the fields that a type has.
func keys(t Type) []string {
	switch t {
	case TypeDocker:
		return []string{"dest", "force-compression", "name", "rewrite-timestamp", "type"}
	case TypeLocal:
		return []string{"dest", "mode", "platform-split", "src", "type"}
	case TypeTar:
		return []string{"dest", "platform-split", "src", "type"}
	case TypeCacheOnly:
		return []string{"type"}
	case TypeImage, TypeRegistry:
		return []string{"compression", "compression-level", "force-compression", "name", "oci-mediatypes", "push",
			"push-by-digest", "registry.insecure", "rewrite-timestamp", "type"}
	}
	return []string{"compression", "compression-level", "dest", "force-compression", "name", "oci-mediatypes",
		"rewrite-timestamp", "tar", "type"}
}

func (s Spec) fill(values map[string]string) (Spec, error) {
	switch t := Type(values["type"]); t {
	case TypeOCI, TypeDocker, TypeLocal, TypeTar, TypeImage, TypeRegistry, TypeCacheOnly:
		s.Type = t
		if t == TypeDocker && values["dest"] == "" {
			s.Type, s.Load = TypeImage, true
		}
	case "":
		return Spec{}, errors.New("key \"type\" is missing; " + supported)
	default:
		return Spec{}, fmt.Errorf("unknown type %q; %s", t, supported)
	}

	if s.HoldsFiles() && len(s.Names) > 0 {
		return Spec{}, fmt.Errorf("key \"name\" isn't one that type=%s has; those are %s", s.Type,
			strings.Join(keys(s.Type), ", "))
	}

	for _, key := range slices.Sorted(maps.Keys(values)) {
		a, is, err := annotation.OfField(key, values[key])
		if err != nil {
			return Spec{}, err
		}
		if is && s.hasManifest() {
			s.Annotations = append(s.Annotations, a)
		} else if !slices.Contains(keys(s.Type), key) {
			return Spec{}, fmt.Errorf("key %q isn't one that type=%s has; those are %s", key, s.Type,
				strings.Join(keys(s.Type), ", "))
		}
	}

	if s.IsImage() {
		if err := s.fillPush(values); err != nil {
			return Spec{}, err
		}
	}
	if err := errors.Join(s.fillLayout(values), s.fillFiles(values)); err != nil {
		return Spec{}, err
	}

	return s, s.Check()
}

func (s *Spec) fillLayout(values map[string]string) error {
	s.Dest = values["dest"]
	if v, ok := values["tar"]; ok {
		tar, err := strconv.ParseBool(v)
		if err != nil {
			return fmt.Errorf("tar=%s: must be true or false", v)
		}
		s.Directory = !tar
	}
	if v, ok := values["force-compression"]; ok {
		var err error
		if s.Force, err = strconv.ParseBool(v); err != nil {
			return fmt.Errorf("force-compression=%s: must be true or false", v)
		}
	}
	if v, ok := values["oci-mediatypes"]; ok && s.Type == TypeOCI {
		if is, err := strconv.ParseBool(v); err != nil || !is {
			return fmt.Errorf("oci-mediatypes=%s: must be true for type=oci; type=docker is the other", v)
		}
	}

	if v, ok := values["compression"]; ok {
		switch c := Compression(v); c {
		case Gzip, Zstd, ZstdChunked, EStargz, Uncompressed:
			s.Compression = c
		case "none":
			s.Compression = Uncompressed
		default:
			return fmt.Errorf("compression=%s: must be gzip, zstd, zstd:chunked, estargz or uncompressed", v)
		}
	}

	if v, ok := values["compression-level"]; ok {
		level, err := strconv.Atoi(v)
		if err != nil || level == 0 {
			return fmt.Errorf("compression-level=%s: must be a number from 1", v)
		}
		s.Level = level
	}

	return nil
}

// fillFiles sets the fields of outputs that hold files, and checks one that asks for what is always so.
func (s *Spec) fillFiles(values map[string]string) error {
	s.Source = values["src"]
	switch v, ok := values["mode"]; {
	case v == "delete":
		s.Delete = true
	case ok && v != "copy":
		return fmt.Errorf("mode=%s: must be copy or delete", v)
	}
	if v, ok := values["platform-split"]; ok {
		split, err := strconv.ParseBool(v)
		if err != nil {
			return fmt.Errorf("platform-split=%s: must be true or false", v)
		}
		s.Split = &split
	}
	if v, ok := values["rewrite-timestamp"]; ok {
		if is, err := strconv.ParseBool(v); err != nil || !is {
			return fmt.Errorf("rewrite-timestamp=%s: must be true, since SOURCE_DATE_EPOCH always limits the times of files", v)
		}
	}
	return nil
}

// Check refuses combinations of fields that can't be written; the fields needn't come from ParseSpec.
func (s Spec) Check() error {
	switch {
	case s.IsImage():
		return s.checkPush()
	case s.Type != TypeOCI && s.Type != TypeDocker && s.Type != TypeDir && !s.HoldsFiles():
		return fmt.Errorf("unknown type %q; %s", s.Type, supported)
	case s.Dest == "" && s.Type == TypeLocal:
		return errors.New(`key "dest" is missing; it is a directory`)
	case s.Dest == "":
		return errors.New(`key "dest" is missing; dest=- is standard output`)
	case s.Delete && path.Clean(s.Dest) == "/":
		return errors.New("mode=delete would remove all files of this machine: dest is /")
	case s.Dest == Stdout && s.Type == TypeLocal:
		return errors.New("dest=- can't be a directory; type=tar writes the same to standard output")
	case s.Dest == Stdout && (s.Directory || s.Type == TypeDir):
		return errors.New("dest=- can't be a directory; leave out tar=false")
	case s.HoldsFiles():
		return nil
	}
	if err := s.checkCompression(); err != nil {
		return err
	}
	_, err := parseNames(s.Names)
	return err
}

func (s Spec) checkCompression() error {
	switch c := s.compression(); {
	case s.Type == TypeDocker && (s.Directory || c != Uncompressed):
		return errors.New("type=docker is always an archive with uncompressed layers")
	case c == Uncompressed && s.Level != 0:
		return errors.New("compression-level has no meaning without compression")
	case (c == Gzip || c == EStargz) && (s.Level < 0 || s.Level > 9):
		return fmt.Errorf("compression-level=%d: must be 1 to 9 for %s", s.Level, c)
	case (c == Zstd || c == ZstdChunked) && (s.Level < 0 || s.Level > 22):
		return fmt.Errorf("compression-level=%d: must be 1 to 22 for zstd", s.Level)
	case c != Gzip && c != Zstd && c != ZstdChunked && c != EStargz && c != Uncompressed:
		return fmt.Errorf("unknown compression %q; it can be gzip, zstd, zstd:chunked, estargz or uncompressed", c)
	}
	return nil
}

// format gives the format of the manifest. An archive for docker has Docker's: podman load reads such an archive as an
// OCI layout, and keeps the format that the manifest in it has.
func (s Spec) format() imagebuilder.Format {
	if s.Type == TypeDocker || s.Type == TypeDir {
		return imagebuilder.Docker
	}
	return imagebuilder.OCI
}

func (s Spec) compression() Compression {
	switch {
	case s.Compression != "":
		return s.Compression
	case s.Type == TypeDocker, s.Type == TypeDir:
		return Uncompressed
	}
	return Gzip
}

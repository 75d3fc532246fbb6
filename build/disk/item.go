package disk

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/cooperbuild/cooper/imagebuilder/layer/usage"
)

// Kind is a kind of thing that a store holds.
type Kind string

// The kinds. All but Images are cooper's own.
const (
	// Images are those that stay: with a name, in use by a container, or another tool's. Their layers belong to them.
	Images Kind = "images"
	// Layers are those that only the cache holds.
	Layers Kind = "layers"
	// Shifted are copies of layers for an ID map.
	Shifted Kind = "shifted"
	// Mounts are the directories of cache mounts.
	Mounts Kind = "mounts"
	// Sources are downloaded files and repositories.
	Sources Kind = "sources"
	// Records are small files: which layer came of which step, images without a name, digests of context files.
	Records Kind = "records"
)

// Kinds are all kinds, Images first.
func Kinds() []Kind { return []Kind{Images, Layers, Shifted, Mounts, Sources, Records} }

// ParseKinds reads a list of kinds that can be given back, separated by commas.
func ParseKinds(list string) ([]Kind, error) {
	var kinds []Kind
	for name := range strings.SplitSeq(list, ",") {
		k := Kind(strings.TrimSpace(name))
		if !slices.Contains(Kinds()[1:], k) {
			return nil, fmt.Errorf("type %q: must be %s", name, kindNames())
		}
		kinds = append(kinds, k)
	}
	return kinds, nil
}

func kindNames() string {
	var names []string
	for _, k := range Kinds()[1:] {
		names = append(names, string(k))
	}
	last := len(names) - 1
	return strings.Join(names[:last], ", ") + " or " + names[last]
}

// Item is one thing that is kept on disk.
type Item struct {
	Kind Kind
	// ID names it within its kind, for those who keep it.
	ID string
	// Label names it for people; empty: the ID does.
	Label string
	// About says what it is; empty: nothing is known.
	About string
	Size  usage.Size
	// Project is the context of the build that has made it; empty: it is all projects' or nobody knows.
	Project string
	// LastUse is zero if nobody knows.
	LastUse time.Time
	// On is the layer without which it is of no use; empty: none.
	On string
	// Bound says that it goes with that layer, and never alone.
	Bound bool
	// InUse says that a running build may use it.
	InUse bool
	// Shared says that a build of an image that stays would use it.
	Shared bool
	// Useless says that nothing can use it any more.
	Useless bool
}

// Name is how the item is shown.
func (i Item) Name() string {
	if i.Label != "" {
		return i.Label
	}
	return i.ID
}

// InProject tells whether a context belongs to a project: to a directory, or to a URL, that it is or is below.
func InProject(context, project string) bool {
	rest, is := strings.CutPrefix(context, strings.TrimRight(project, "/"))
	return is && context != "" && (rest == "" || rest[0] == '/' || rest[0] == '#')
}

// Total is the size of items together.
func Total(items []Item) int64 {
	var total int64
	for _, i := range items {
		total += i.Size.Bytes
	}
	return total
}

// Freed is what removing items gives back.
func Freed(items []Item) int64 {
	sizes := make([]usage.Size, len(items))
	for n, i := range items {
		sizes[n] = i.Size
	}
	return usage.Freed(sizes...)
}

// maxSize is more than any disk has, in bytes.
const maxSize = 1 << 60

// ParseSize reads a number of bytes as docker writes it: 512mb, 10GB (a thousand million bytes each G), 2GiB (2^30).
func ParseSize(text string) (int64, error) {
	parse := units.FromHumanSize
	if strings.HasSuffix(strings.ToLower(text), "ib") {
		parse = units.RAMInBytes
	}
	n, err := parse(text)
	if err == nil && (n < 0 || n > maxSize) {
		err = errors.New("too large")
	}
	if err != nil {
		return 0, fmt.Errorf("size %q: must be a number of bytes that isn't negative, such as 512MB, 10GB or 2GiB", text)
	}
	return n, nil
}

// FormatSize writes a number of bytes in units of powers of ten, as docker does.
func FormatSize(bytes int64) string { return units.HumanSize(float64(bytes)) }

package catalog

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/store/images"
	"github.com/cooperbuild/cooper/build/session"
)

// Image is one image of a list. The names are those of podman's JSON.
type Image struct {
	ID string `json:"Id"`
	// ParentID is always empty: no record says which image another was built on.
	ParentID    string   `json:"ParentId"`
	RepoTags    []string `json:"RepoTags"`
	RepoDigests []string `json:"RepoDigests"`
	// Size and VirtualSize are the same: the bytes of layers, contents and records. SharedSize is the part of them that is
	// in layers which other images have, too; those that only the cache needs don't count.
	Size        int64             `json:"Size"`
	SharedSize  int64             `json:"SharedSize"`
	VirtualSize int64             `json:"VirtualSize"`
	Labels      map[string]string `json:"Labels"`
	// Containers is the number of containers that use the image.
	Containers int           `json:"Containers"`
	ReadOnly   bool          `json:"ReadOnly,omitempty"`
	Dangling   bool          `json:"Dangling,omitempty"`
	Names      []string      `json:"Names"`
	Digest     digest.Digest `json:"Digest"`
	// History are all names that the image has ever had.
	History []string `json:"History"`
	// Created is the time when the image was made, in seconds since 1970.
	Created   int64     `json:"Created"`
	CreatedAt time.Time `json:"CreatedAt"`
}

// ListOptions say which images are listed. With the zero value, images that All and Cached add are left out.
type ListOptions struct {
	// All adds the images without a name that others were built on.
	All bool
	// Cached adds the images that only cooper's cache needs.
	Cached  bool
	Filters Filters
}

// List lists the images of the session's store, newest first.
func List(ctx context.Context, s *session.Session, o ListOptions) (list []Image, err error) {
	d, err := s.Existing(ctx)
	if err != nil || d == nil {
		return nil, err
	}
	defer func() { err = s.Explain(err) }()
	all, err := d.Images.List()
	if err != nil {
		return nil, err
	}
	keep, err := o.Filters.bind(d.Images, all)
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		if l.Cached && !o.Cached || l.Intermediate && !l.Cached && !o.All {
			continue
		}
		if names, listed := keep(l); listed {
			l.Names = names
			list = append(list, imageOf(l))
		}
	}
	return list, nil
}

func imageOf(l images.Listed) Image {
	return Image{
		ID: l.ID, RepoTags: l.Names, RepoDigests: l.RepoDigests(), Size: l.Size, VirtualSize: l.Size, SharedSize: l.Shared,
		Labels: l.Image.Config.Labels, Containers: len(l.Containers), ReadOnly: l.ReadOnly, Dangling: l.Dangling(),
		Names: l.Names, Digest: l.Digest, History: l.OldNames, Created: l.Created.Unix(), CreatedAt: l.Created.UTC(),
	}
}

// Row is a line of a table: an image by one of its names. Both parts are "<none>" if it has none.
type Row struct {
	Image
	Repository, Tag string
}

// A SortKey names the column that a table is sorted by.
type SortKey string

// SortKeys are all valid sort keys.
func SortKeys() []string { return []string{"created", "id", "repository", "size", "tag"} }

// Rows makes a line for each name and sorts them; the newest first by time, the smallest first by all others.
func Rows(list []Image, by SortKey) (rows []Row) {
	for _, i := range list {
		for _, name := range i.Names {
			repository, tag := splitName(name)
			rows = append(rows, Row{i, repository, tag})
		}
		if len(i.Names) == 0 {
			rows = append(rows, Row{i, none, none})
		}
	}
	slices.SortStableFunc(rows, func(a, b Row) int {
		switch by {
		case "id":
			return cmp.Compare(a.ID, b.ID)
		case "repository":
			return cmp.Or(cmp.Compare(a.Repository, b.Repository), cmp.Compare(a.Tag, b.Tag))
		case "size":
			return cmp.Compare(a.Size, b.Size)
		case "tag":
			return cmp.Or(cmp.Compare(a.Tag, b.Tag), cmp.Compare(a.Repository, b.Repository))
		}
		return b.CreatedAt.Compare(a.CreatedAt)
	})
	return rows
}

package workcmd

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/archives"
	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/build/working"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// pullFlag takes policies and, as buildah does, true and false.
type pullFlag build.PullPolicy

var _ pflag.Value = (*pullFlag)(nil)

// Set reads a policy.
func (p *pullFlag) Set(text string) error {
	if on, err := strconv.ParseBool(text); err == nil {
		*p = pullFlag(build.PullMissing)
		if on {
			*p = pullFlag(build.PullNewer)
		}
		return nil
	}
	text = strings.TrimPrefix(strings.ToLower(text), "if")
	switch policy := build.PullPolicy(text); policy {
	case build.PullAlways, build.PullMissing, build.PullNewer, build.PullNever:
		*p = pullFlag(policy)
		return nil
	}
	return errors.New("must be always, missing, newer, never, true or false")
}

func (p *pullFlag) String() string { return string(*p) }

// Type is what help shows for the value.
func (*pullFlag) Type() string { return "policy" }

// find says how the image is found.
func (o *fromOptions) find() (find working.Find, err error) {
	find.Pull = build.PullPolicy(o.pull)
	switch {
	case o.pullAlways && o.pullNever:
		return find, command.Usagef("--pull-always and --pull-never contradict each other")
	case o.pullAlways:
		find.Pull = build.PullAlways
	case o.pullNever:
		find.Pull = build.PullNever
	}
	text := o.platform
	if o.os+o.arch+o.variant != "" {
		if text != "" {
			return find, command.Usagef("--platform and --os, --arch or --variant say the same: give one of them")
		}
		text = platformOf(o.os, o.arch, o.variant)
	}
	if text == "" {
		return find, nil
	}
	all, err := build.ParsePlatforms([]string{text})
	switch {
	case err != nil:
		return find, command.Usage(err)
	case len(all) != 1:
		return find, command.Usagef("--platform=%s: a container is for one platform", text)
	}
	find.Platform = &all[0]
	return find, nil
}

// platformOf puts the parts of a platform together; what isn't said is this machine's.
func platformOf(system, arch, variant string) string {
	here := working.MachinePlatform()
	if system == "" {
		system = here.OS
	}
	if arch == "" {
		arch = here.Architecture
	}
	text := system + "/" + arch
	if variant != "" {
		text += "/" + variant
	}
	return text
}

// fileTransports are those of images in files and directories.
func fileTransports() []string { return []string{"docker-archive:", "oci-archive:", "oci:", "dir:"} }

// load brings the image of a file into the store, and names it by its ID from then on.
func (o *fromOptions) load(ctx context.Context, s *build.Session, to progress.Sink, req *working.FromRequest) error {
	for _, t := range fileTransports() {
		path, is := strings.CutPrefix(req.Image, t)
		if !is {
			continue
		}
		load := archives.LoadRequest{Path: path, Progress: to, Platform: req.Platform,
			Loaded: func(l archives.Loaded) { req.Image = l.ID }}
		if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
			if at := strings.IndexByte(path, ':'); at > 0 {
				load.Path, load.Only = path[:at], path[at+1:]
			}
		}
		req.Pull = build.PullNever
		return archives.Load(ctx, s, load)
	}
	req.Image = strings.TrimPrefix(req.Image, "containers-storage:")
	return nil
}

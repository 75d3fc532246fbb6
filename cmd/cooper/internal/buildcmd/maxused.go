package buildcmd

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/build/why"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/settings"
)

// envMaxUsedSpace is what --max-used-space of build is without the flag.
const envMaxUsedSpace = "COOPER_MAX_USED_SPACE"

// takeSpace sets the limits of disk space, of which flag is the value of --max-used-space.
func takeSpace(req *build.Request, flag string) error {
	set, err := command.Settings()
	if err == nil {
		req.MaxUsedSpace, err = maxUsedSpace(flag, set)
	}
	if err == nil {
		req.Share, err = shareOf(req.Context, set)
	}
	return err
}

// maxUsedSpace is the limit of a build: the flag's, or else the environment's, or else that of the configuration; no
// bytes are none.
func maxUsedSpace(flag string, set settings.Settings) (build.DiskLimit, error) {
	name, text := "--max-used-space", flag
	if text == "" {
		name, text = envMaxUsedSpace, os.Getenv(envMaxUsedSpace)
	}
	if text == "" {
		v := set.Value(settings.DiskMaxUsed)
		name, text = v.Where(), v.Value
	}
	if text == "" {
		return build.DiskLimit{}, nil
	}
	n, err := disk.ParseSize(text)
	if err != nil {
		return build.DiskLimit{}, command.Usagef("%s: %w", name, err)
	}
	return build.DiskLimit{Bytes: n, By: name}, nil
}

// shareOf is the share of disk space of the project that a context belongs to: of the directory that the
// configuration names and that is nearest to it.
func shareOf(context string, set settings.Settings) (share build.DiskShare, err error) {
	project := why.ProjectOf(context, "", "").Dir
	for name, v := range set.Below(settings.DiskProjects) {
		if !filepath.IsAbs(name) && !strings.Contains(name, "://") {
			return share, command.Usagef("%s: the key must be the absolute path of a directory, or a URL", v.Where())
		}
		if disk.InProject(project, name) && len(name) > len(share.Project) {
			n, err := disk.ParseSize(v.Value)
			if err != nil {
				return share, command.Usagef("%s: %w", v.Where(), err)
			}
			share = build.DiskShare{Project: name, Limit: build.DiskLimit{Bytes: n, By: v.Where()}}
		}
	}
	return share, nil
}

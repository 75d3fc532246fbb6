package buildcmd

import (
	"os"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/disk"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// envMaxUsedSpace is what --max-used-space of build is without the flag.
const envMaxUsedSpace = "COOPER_MAX_USED_SPACE"

// maxUsedSpace is the limit of a build: the flag's, or else the environment's; 0 is none.
func maxUsedSpace(flag string) (build.DiskLimit, error) {
	name := "--max-used-space"
	if flag == "" {
		if name, flag = envMaxUsedSpace, os.Getenv(envMaxUsedSpace); flag == "" {
			return build.DiskLimit{}, nil
		}
	}
	n, err := disk.ParseSize(flag)
	if err != nil {
		return build.DiskLimit{}, command.Usagef("%s: %w", name, err)
	}
	return build.DiskLimit{Bytes: n, By: name}, nil
}

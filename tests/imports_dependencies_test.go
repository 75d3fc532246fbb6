package tests_test

// A dependencyRule keeps a module of others, or a part of it, to the packages that were made to deal with it.
type dependencyRule struct {
	// path is an import path; everything below it counts too.
	path string
	// only is a list of package paths below this module, separated by spaces.
	only string
}

func dependencyTable() []dependencyRule {
	return []dependencyRule{
		{
			path: "go.podman.io",
			only: "build/export build/registry/conf build/registry/credentials build/internal/store build/internal/store/containers build/internal/store/durable build/internal/store/idranges build/internal/store/images " +
				"build/internal/store/internal/library build/internal/store/mend build/internal/store/other build/internal/store/pull " +
				"build/internal/store/removal build/internal/store/snapshot",
		},
		{path: "go.podman.io/image", only: "build/registry/conf build/registry/credentials"},
		{path: "github.com/docker/docker-credential-helpers", only: "build/registry/credentials"},
		{path: "github.com/docker/buildx", only: "cmd/cooper-bake"},
		{path: "github.com/moby/buildkit", only: "imagebuilder/dockerfile imagebuilder build/plan"},
		{path: "github.com/moby/patternmatcher", only: "build/internal/source"},
		{path: "github.com/vbatts/tar-split", only: "build/internal/parcel build/internal/store build/internal/store/partial build/internal/store/pull"},
		{path: "github.com/moby/profiles", only: "executor/internal/seccomp"},
		{path: "github.com/opencontainers/runtime-spec", only: "executor/spec executor/internal/seccomp"},
		{path: "github.com/spf13/cobra", only: "cmd/cooper cmd/cooper/internal/bakecmd cmd/cooper/internal/buildcmd cmd/cooper/internal/buildxcmd cmd/cooper/internal/cachecmd cmd/cooper/internal/cli cmd/cooper/internal/command cmd/cooper/internal/diskcmd cmd/cooper/internal/imagecmd cmd/cooper/internal/imagenames cmd/cooper/internal/logincmd cmd/cooper/internal/manifestcmd cmd/cooper/internal/manual cmd/cooper/internal/runcmd cmd/cooper/internal/usernscmd cmd/cooper/internal/workcmd"},
	}
}

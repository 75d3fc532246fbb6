package tests_test

import "slices"

// An importRule names what one package may import of this module. Imports flow one way: commands at the top, user
// namespaces at the bottom. A package without a row fails the test, and so does a row without a package, unless
// planned.
type importRule struct {
	pkg string
	// job is what the package is for, in Markdown, for the table in docs/architecture.md.
	job string
	// mayImport is the list of the package paths below the module that it imports, separated by spaces. It has no slack: a
	// path that isn't imported fails the test.
	mayImport string
	// pure packages work on values: they open no file, start no process and make no system call.
	pure    bool
	planned bool
}

func importTable() []importRule {
	return slices.Concat(commandRows(), innerRows(), lowerRows())
}

// commandRows are those of the commands and of what builds.
func commandRows() []importRule {
	return []importRule{
		{
			pkg:       "cmd/cooper",
			job:       "hands the process over to the command line, and names what it may be started for",
			mayImport: "build cmd/cooper/internal/cli cmd/cooper/internal/command network userns/reexec",
		},
		{
			pkg: "cmd/cooper/internal/cli",
			job: "the tree of commands, command lines of other tools, error to exit status",
			mayImport: "build build/doctor cmd/cooper/internal/bakecmd cmd/cooper/internal/buildcmd " +
				"cmd/cooper/internal/buildxcmd cmd/cooper/internal/cachecmd cmd/cooper/internal/command " +
				"cmd/cooper/internal/containersconf cmd/cooper/internal/dialect cmd/cooper/internal/diskcmd " +
				"cmd/cooper/internal/imagecmd cmd/cooper/internal/kaniko cmd/cooper/internal/logincmd " +
				"cmd/cooper/internal/manifestcmd cmd/cooper/internal/runcmd cmd/cooper/internal/settings " +
				"cmd/cooper/internal/usernscmd cmd/cooper/internal/workcmd internal/fsys internal/guard " +
				"userns userns/reexec",
		},
		{
			pkg: "cmd/cooper/internal/manual", job: "writes the man pages and the reference of the command line",
			mayImport: "cmd/cooper/internal/cli cmd/cooper/internal/command cmd/cooper/internal/dialect " +
				"cmd/cooper/internal/settings",
		},
		{
			pkg: "cmd/cooper/internal/command",
			job: "what commands share: streams, errors, the way into the namespace, store flags, formats",
			mayImport: "build build/progress build/progress/lines cmd/cooper/internal/dialect " +
				"cmd/cooper/internal/settings internal/guard internal/printable internal/terminal userns " +
				"userns/reexec",
		},
		{
			pkg: "cmd/cooper/internal/imagecmd", job: "the verbs for images, a file each: flags to request",
			mayImport: "build build/archives build/catalog build/compare build/export build/outfile build/progress " +
				"build/progress/show build/pullimage build/working cmd/cooper/internal/buildflags " +
				"cmd/cooper/internal/command cmd/cooper/internal/imagenames cmd/cooper/internal/workcmd " +
				"imagebuilder/reference internal/terminal",
		},
		{
			pkg: "cmd/cooper/internal/logincmd", job: "login and logout",
			mayImport: "build/registry build/registry/credentials cmd/cooper/internal/command internal/terminal",
		},
		{
			pkg:       "cmd/cooper/internal/dialect",
			job:       "what the command lines of docker, buildx, podman and buildah say, and what becomes of their flags",
			mayImport: "cmd/cooper/internal/given",
		},
		{
			pkg: "cmd/cooper/internal/bakecmd",
			job: "cooper bake: flags to question, reading, handing over, the targets in their order",
			mayImport: "build build/export build/plan build/progress build/progress/show " +
				"cmd/cooper/internal/buildcmd cmd/cooper/internal/command cmd/cooper/internal/engineload " +
				"internal/bakefile internal/guard",
		},
		{
			pkg:       "cmd/cooper/internal/buildxcmd",
			job:       "the verbs of docker buildx about builders, and what docker asks of a plugin",
			mayImport: "cmd/cooper/internal/command cmd/cooper/internal/dialect",
		},
		{
			pkg: "cmd/cooper/internal/kaniko", job: "the arguments of kaniko's executor as those of a build (pure)",
			mayImport: "cmd/cooper/internal/given",
		},
		{
			pkg: "cmd/cooper/internal/workcmd",
			job: "the verbs for working containers, a file each: flags to request",
			mayImport: "build build/archives build/export build/manifestlist build/outfile build/progress " +
				"build/progress/show build/working cmd/cooper/internal/command cmd/cooper/internal/dialect " +
				"cmd/cooper/internal/settings cmd/cooper/internal/stepflags cmd/cooper/internal/words " +
				"imagebuilder",
		},
		{
			pkg: "cmd/cooper/internal/diskcmd", job: "the verbs df, prune and top",
			mayImport: "build build/disk build/reclaim build/top cmd/cooper/internal/command internal/terminal " +
				"userns userns/reexec",
		},
		{
			pkg: "cmd/cooper/internal/stepflags",
			job: "flags about the commands of steps and containers: sandbox, secrets, user namespace",
			mayImport: "build cmd/cooper/internal/command cmd/cooper/internal/secretcmd " +
				"cmd/cooper/internal/settings executor/joined internal/size userns userns/reexec",
		},
		{
			pkg: "cmd/cooper/internal/usernscmd", job: "the verbs userns and unshare",
			mayImport: "build cmd/cooper/internal/command cmd/cooper/internal/stepflags " +
				"cmd/cooper/internal/workcmd executor/joined userns userns/reexec",
		},
		{
			pkg: "cmd/cooper/internal/runcmd", job: "cooper run: a command in a working container or an image",
			mayImport: "build build/progress build/progress/show build/tryout build/working " +
				"cmd/cooper/internal/command cmd/cooper/internal/stepflags cmd/cooper/internal/workcmd " +
				"internal/terminal",
		},
		{
			pkg:       "cmd/cooper/internal/settings",
			job:       "cooper.toml: the settings that files may have, and what is in force",
			mayImport: "cmd/cooper/internal/tomlfile",
		},
		{
			pkg: "cmd/cooper/internal/buildcmd",
			job: "cooper build, check and kaniko-args: flags to request, what is shown and written of the result",
			mayImport: "build build/disk build/export build/manifestlist build/outfile build/progress " +
				"build/progress/show build/sourcepolicy build/usage build/why " +
				"cmd/cooper/internal/buildflags cmd/cooper/internal/command cmd/cooper/internal/dialect " +
				"cmd/cooper/internal/engineload cmd/cooper/internal/kaniko cmd/cooper/internal/settings " +
				"cmd/cooper/internal/stepflags imagebuilder/remote internal/terminal",
		},
		{
			pkg: "cmd/cooper/internal/buildflags",
			job: "flags of a build about what it makes: arguments, image, dates, platforms, places, caches, log",
			mayImport: "build build/export build/progress build/sharedcache build/sourcedate " +
				"cmd/cooper/internal/command cmd/cooper/internal/dialect imagebuilder/annotation",
		},
		{
			pkg:       "cmd/cooper/internal/engineload",
			job:       "images into docker's engine, over a connection made outside of the namespace",
			mayImport: "build build/engine build/progress cmd/cooper/internal/command cmd/cooper/internal/dialect",
		},
		{
			pkg: "cmd/cooper/internal/manifestcmd", job: "the verbs for manifest lists: manifest and imagetools",
			mayImport: "build build/catalog build/export build/manifestlist build/progress/show build/pullimage " +
				"cmd/cooper/internal/command cmd/cooper/internal/imagecmd cmd/cooper/internal/imagenames",
		},
		{
			pkg:       "cmd/cooper/internal/imagenames",
			job:       "names of images on command lines: completion, and what was probably meant",
			mayImport: "build build/catalog cmd/cooper/internal/command",
		},
		{
			pkg: "cmd/cooper/internal/secretcmd", job: "secrets that commands fetch",
			mayImport: "build internal/guard",
		},
		{
			pkg: "cmd/cooper/internal/cachecmd", job: "the verbs below cache",
			mayImport: "build build/cachemounts build/disk build/progress/lines build/progress/show " +
				"build/sharedcache build/why cmd/cooper/internal/command",
		},
		{
			pkg:       "cmd/cooper/internal/containersconf",
			job:       "what containers.conf says of builds: the defaults of podman's and buildah's flags",
			mayImport: "cmd/cooper/internal/tomlfile",
		},
		{pkg: "cmd/cooper/internal/given", job: "what flags of other tools are given, word for word"},
		{pkg: "cmd/cooper/internal/words", job: "texts that are split into words as a shell does"},
		{pkg: "cmd/cooper/internal/tomlfile", job: "files of configuration in TOML"},
		{
			pkg: "cmd/cooper-bake", job: "reads bake files for cooper, with buildx's packages: a program of its own",
			mayImport: "internal/bakefile internal/guard",
		},
		{
			pkg: "build", job: "`Build(ctx, Request)`: the only place that wires the parts",
			mayImport: "build/export build/internal/attempts build/internal/bases build/internal/blobs " +
				"build/internal/cache build/internal/copystep build/internal/inputs build/internal/inspect " +
				"build/internal/outputs build/internal/rootfs build/internal/rootfs/together " +
				"build/internal/runstep build/internal/runtimes build/internal/sendimage " +
				"build/internal/shared build/internal/solve build/internal/source build/internal/sshagent " +
				"build/internal/stepinput build/internal/steps build/internal/store " +
				"build/internal/store/depot build/internal/store/images build/internal/store/snapshot " +
				"build/internal/store/uses build/outfile build/plan build/progress build/reclaim " +
				"build/registry build/session build/sharedcache build/sourcedate build/why imagebuilder " +
				"imagebuilder/dockerfile imagebuilder/layer imagebuilder/remote",
		},
		{
			pkg: "build/doctor", job: "what a build needs of the machine: facts by trying, findings from facts",
			mayImport: "build/internal/store build/internal/store/other build/internal/store/snapshot " +
				"build/registry executor executor/overlay internal/flock internal/fsys network userns " +
				"userns/reexec",
		},
		{
			pkg: "build/reclaim",
			job: "who keeps files in a store, how much they hold, what goes when space is wanted",
			mayImport: "build/disk build/internal/cache build/internal/fetch build/internal/source " +
				"build/internal/store build/internal/store/depot build/internal/store/removal " +
				"build/internal/store/scratch build/internal/store/shift build/progress build/session " +
				"imagebuilder/layer/usage internal/flock internal/guard",
		},
		{pkg: "internal/chmod", job: "the modes that --chmod gives, read and applied", pure: true},
		{
			pkg: "build/plan", job: "instructions to an immutable graph",
			mayImport: "imagebuilder imagebuilder/dockerfile imagebuilder/reference imagebuilder/remote " +
				"internal/chmod",
		},
		{
			pkg: "build/disk", job: "what goes first when disk space is given back",
			mayImport: "imagebuilder/layer/usage",
		},
		{pkg: "internal/patience", job: "when a download is given up", pure: true},
		{
			pkg: "build/registry", job: "images in registries: found, read and pushed",
			mayImport: "build/registry/conf build/registry/content build/registry/credentials " +
				"build/registry/internal/wire imagebuilder/reference internal/guard internal/patience " +
				"internal/printable",
		},
		{
			pkg:       "build/registry/conf",
			job:       "what the machine's files say of registries: mirrors, short names, certificates, policy",
			mayImport: "imagebuilder/reference",
		},
		{
			pkg:       "build/registry/credentials",
			job:       "credentials for registries: found, kept and forgotten, in files and by helpers",
			mayImport: "imagebuilder/reference internal/guard",
		},
		{
			pkg:       "build/registry/registrytest",
			job:       "for tests: a registry in memory, and a user whose files say how to reach it",
			mayImport: "imagebuilder/reference",
		},
		{
			pkg:       "build/registry/content",
			job:       "images by the descriptors of their parts, whoever has them, hostile; OCI layouts",
			mayImport: "imagebuilder internal/printable",
		},
		{
			pkg: "build/registry/internal/wire",
			job: "requests to registries: patience, trust in connections, logins, what refusals say",
			mayImport: "build/registry/conf build/registry/content build/registry/credentials internal/patience " +
				"internal/printable",
		},
		{
			pkg: "build/export", job: "OCI layouts and archives, directories",
			mayImport: "build/export/internal/estargz build/outfile imagebuilder imagebuilder/annotation " +
				"imagebuilder/reference internal/flock internal/guard internal/terminal",
		},
		{
			pkg:       "build/outfile",
			job:       "files and directories where the user says: written whole, no links of others followed",
			mayImport: "internal/flock internal/fsys",
		},
		{
			pkg: "build/progress", job: "events, and sinks that stand before others",
			mayImport: "build/progress/lines internal/guard network/policy",
		},
		{
			pkg: "build/progress/show", job: "the views of events: live, plain, quiet, as podman shows a build, JSON",
			mayImport: "build/progress build/progress/lines internal/guard internal/terminal",
		},
		{pkg: "build/progress/lines", job: "what others print: its lines, harmless to show"},
		{
			pkg: "build/top", job: "notes of running steps, and the processes in them",
			mayImport: "internal/flock internal/fsys internal/printable userns",
		},
		{
			pkg: "build/session",
			job: "what builds in one process share: the open store, how registries are reached, who calls",
			mayImport: "build/internal/store build/internal/store/depot build/internal/store/images build/registry " +
				"executor userns",
		},
		{
			pkg: "build/session/sessiontest", job: "sessions for tests, with stores and images",
			mayImport: "build/internal/store build/internal/store/depot build/internal/store/images build/session",
		},
		{
			pkg: "build/catalog", job: "the images of a store: lists, names, removal",
			mayImport: "build/internal/store build/internal/store/depot build/internal/store/images " +
				"build/internal/store/removal build/reclaim build/session imagebuilder " +
				"imagebuilder/reference",
		},
		{
			pkg: "build/archives", job: "images of a store to files and back",
			mayImport: "build/export build/internal/bases build/internal/blobs build/internal/cache " +
				"build/internal/imagetar build/internal/outputs build/internal/store/depot " +
				"build/internal/store/images build/internal/store/pull build/outfile build/progress " +
				"build/registry/content build/session imagebuilder imagebuilder/reference " +
				"internal/printable",
		},
		{
			pkg: "build/tryout", job: "a command in an image, run by hand: streams, a terminal, the image's settings",
			mayImport: "build/internal/bases build/internal/console build/internal/rootfs build/internal/runstep " +
				"build/internal/stepinput build/internal/stepnet build/internal/store/images build/plan " +
				"build/progress build/session executor imagebuilder",
		},
		{
			pkg: "build/pullimage", job: "images from registries into the store: of platforms, all tags",
			mayImport: "build/internal/bases build/internal/store/depot build/internal/store/images " +
				"build/internal/store/pull build/internal/store/snapshot build/plan build/progress " +
				"build/registry build/session imagebuilder imagebuilder/reference",
		},
		{
			pkg:       "build/sourcedate",
			job:       "the time that files and records have: of the user, the Dockerfile or the context",
			mayImport: "build/plan build/progress imagebuilder/layer",
		},
		{
			pkg: "build/manifestlist", job: "indexes of images in a store, made and edited",
			mayImport: "build/internal/store/depot build/internal/store/images build/session imagebuilder",
		},
		{
			pkg: "build/compare", job: "what differs between two images, and by which step",
			mayImport: "build/internal/store build/internal/store/images build/session",
		},
		{
			pkg: "build/sharedcache", job: "places for results of steps: what --cache-from and --cache-to mean",
			mayImport: "build/export build/registry/conf imagebuilder/reference",
		},
		{
			pkg: "build/engine", job: "gives images of a store to docker's engine",
			mayImport: "build/archives build/export build/progress build/session internal/guard",
		},
		{
			pkg: "build/working",
			job: "working containers: made, changed by commands and copies, committed; commands as steps of the cache",
			mayImport: "build/internal/bases build/internal/cache build/internal/console build/internal/copystep " +
				"build/internal/inputs build/internal/outputs build/internal/rootfs build/internal/runstep " +
				"build/internal/source build/internal/stepinput build/internal/stepnet " +
				"build/internal/store/containers build/internal/store/depot build/internal/store/images " +
				"build/internal/store/snapshot build/internal/workstate build/plan build/progress " +
				"build/session build/sourcedate executor imagebuilder imagebuilder/annotation " +
				"imagebuilder/layer internal/size internal/terminal",
		},
		{
			pkg: "build/sourcepolicy",
			job: "policies for sources: which images, repositories and URLs a build may take",
		},
		{
			pkg: "build/cachemounts",
			job: "the cache mounts of a store by hand: listed, removed, brought to places and back",
			mayImport: "build/disk build/internal/blobs build/internal/cache build/internal/shared " +
				"build/internal/store/depot build/internal/store/removal build/internal/store/uses " +
				"build/outfile build/progress build/session build/sharedcache",
		},
		{
			pkg: "build/why", job: "why each step of a build ran, or need not run: rows, recipes compared, sentences",
			mayImport: "build/internal/cache build/internal/rootfs/account build/internal/source/filelist " +
				"build/plan build/progress build/session",
		},
		{
			pkg: "build/usage", job: "what the steps of a build took of the machine, for people and for files",
			mayImport: "build/progress network/policy",
		},
		{
			pkg: "network", job: "networks of steps: a namespace for each, and one gateway process for a build",
			mayImport: "internal/guard network/internal/gateway network/internal/link network/policy",
		},
		{pkg: "network/policy", job: "which addresses steps reach", pure: true},
		{
			pkg: "network/internal/link", job: "network namespaces with one device, and the socket at its other end",
			mayImport: "executor/netns internal/thread",
		},
		{
			pkg:       "network/internal/gateway",
			job:       "connections of steps made outside: a TCP/IP stack and what answers it",
			mayImport: "internal/guard network/internal/link network/policy",
		},
		{
			pkg: "build/export/internal/estargz",
			job: "layers as eStargz: gzip with a table of the files, whose archive is another one for it",
		},
	}
}

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
	return slices.Concat(commandRows(), lowerRows())
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
			job: "the tree of commands, one file a verb: flags to request, error to exit status",
			mayImport: "build build/disk build/doctor build/engine build/export build/manifestlist build/outfile " +
				"build/plan build/progress build/reclaim build/sharedcache build/sourcedate " +
				"build/sourcepolicy build/top build/tryout build/working cmd/cooper/internal/bakecmd " +
				"cmd/cooper/internal/buildxcmd cmd/cooper/internal/command cmd/cooper/internal/dialect " +
				"cmd/cooper/internal/imagecmd cmd/cooper/internal/kaniko cmd/cooper/internal/logincmd " +
				"cmd/cooper/internal/workcmd executor/joined imagebuilder/annotation imagebuilder/remote " +
				"internal/bakefile internal/fsys internal/guard internal/terminal userns userns/reexec",
		},
		{
			pkg: "cmd/cooper/internal/manual", job: "writes the man pages and the reference of the command line",
			mayImport: "cmd/cooper/internal/cli cmd/cooper/internal/dialect",
		},
		{
			pkg: "cmd/cooper/internal/command",
			job: "what commands share: streams, errors, the way into the namespace, store flags, formats",
			mayImport: "build build/progress cmd/cooper/internal/dialect internal/guard internal/printable " +
				"internal/terminal userns userns/reexec",
		},
		{
			pkg: "cmd/cooper/internal/imagecmd", job: "the verbs for images, a file each: flags to request",
			mayImport: "build build/archives build/catalog build/compare build/export build/manifestlist " +
				"build/outfile build/progress build/pullimage build/working cmd/cooper/internal/command " +
				"cmd/cooper/internal/workcmd imagebuilder/reference internal/terminal",
		},
		{
			pkg: "cmd/cooper/internal/logincmd", job: "login and logout",
			mayImport: "build/registry build/registry/credentials cmd/cooper/internal/command internal/terminal",
		},
		{
			pkg: "cmd/cooper/internal/dialect",
			job: "what the command lines of docker, buildx, podman and buildah say, and what becomes of their flags",
		},
		{
			pkg:       "cmd/cooper/internal/bakecmd",
			job:       "what cooper bake does besides building: reading, handing over, the order of targets",
			mayImport: "cmd/cooper/internal/command internal/bakefile internal/guard",
		},
		{
			pkg:       "cmd/cooper/internal/buildxcmd",
			job:       "the verbs of docker buildx about builders, and what docker asks of a plugin",
			mayImport: "cmd/cooper/internal/command cmd/cooper/internal/dialect",
		},
		{pkg: "cmd/cooper/internal/kaniko", job: "the arguments of kaniko's executor as those of a build (pure)"},
		{
			pkg: "cmd/cooper/internal/workcmd",
			job: "the verbs for working containers, a file each: flags to request",
			mayImport: "build build/archives build/export build/manifestlist build/outfile build/progress " +
				"build/working cmd/cooper/internal/command cmd/cooper/internal/dialect imagebuilder",
		},
		{
			pkg: "cmd/cooper-bake", job: "reads bake files for cooper, with buildx's packages: a program of its own",
			mayImport: "internal/bakefile internal/guard",
		},
		{
			pkg: "build", job: "`Build(ctx, Request)`: the only place that wires the parts",
			mayImport: "build/export build/internal/attempts build/internal/bases build/internal/blobs " +
				"build/internal/cache build/internal/copystep build/internal/inputs build/internal/inspect " +
				"build/internal/outputs build/internal/rootfs build/internal/rootfs/together " +
				"build/internal/runstep build/internal/sendimage build/internal/shared build/internal/solve " +
				"build/internal/source build/internal/sshagent build/internal/stepinput " +
				"build/internal/steps build/internal/store build/internal/store/depot " +
				"build/internal/store/images build/internal/store/snapshot build/outfile build/plan " +
				"build/progress build/reclaim build/registry build/session build/sharedcache " +
				"build/sourcedate imagebuilder imagebuilder/dockerfile imagebuilder/layer " +
				"imagebuilder/remote",
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
			mayImport: "build/disk build/internal/cache build/internal/fetch build/internal/store " +
				"build/internal/store/depot build/internal/store/removal build/internal/store/shift " +
				"build/progress build/session internal/guard",
		},
		{pkg: "internal/chmod", job: "the modes that --chmod gives, read and applied", pure: true},
		{
			pkg: "build/plan", job: "instructions to an immutable graph",
			mayImport: "imagebuilder imagebuilder/dockerfile imagebuilder/reference imagebuilder/remote " +
				"internal/chmod",
		},
		{
			pkg: "build/internal/solve", job: "runs the graph",
			mayImport: "build/plan internal/guard",
		},
		{
			pkg: "build/internal/cache", job: "keys and records",
			mayImport: "build/disk imagebuilder/layer/usage internal/flock internal/fsys",
		},
		{
			pkg: "build/disk", job: "what goes first when disk space is given back",
			mayImport: "imagebuilder/layer/usage",
		},
		{
			pkg: "build/internal/source", job: "contexts, ignore rules, selection, content digests",
			mayImport: "internal/flock internal/fsys internal/guard",
		},
		{
			pkg:       "build/internal/fetch",
			job:       "what builds have from elsewhere, kept on disk: files, trees, compressed layers",
			mayImport: "build/disk build/internal/fetch/git build/internal/fetch/shelf build/internal/fetch/web",
		},
		{
			pkg:       "build/internal/fetch/shelf",
			job:       "entries on disk that processes share: made whole, held, listed, removed",
			mayImport: "build/disk imagebuilder/layer/usage internal/flock internal/fsys",
		},
		{
			pkg: "build/internal/fetch/web", job: "files from URLs",
			mayImport: "build/internal/fetch/shelf imagebuilder/remote internal/patience internal/printable",
		},
		{
			pkg: "build/internal/fetch/git", job: "trees from git repositories, by the program git",
			mayImport: "build/internal/fetch/shelf imagebuilder/remote internal/fsys internal/printable",
		},
		{
			pkg: "build/internal/fetch/fetchtest", job: "for tests: servers, and repositories to fetch from",
			mayImport: "build/internal/fetch/shelf",
		},
		{
			pkg: "build/internal/fileop", job: "COPY, ADD of local files, WORKDIR",
			mayImport: "build/internal/source imagebuilder/layer internal/chmod internal/decompress internal/fsys " +
				"userns/accounts",
		},
		{
			pkg: "build/internal/store", job: "the open store: its places and layers, and what all its rooms share",
			mayImport: "build/internal/store/durable build/internal/store/internal/library " +
				"build/internal/store/scratch build/internal/store/uses internal/flock internal/fsys " +
				"internal/guard userns",
		},
		{
			pkg:       "build/internal/store/internal/library",
			job:       "containers/storage without its panics, and layers renamed across mounts",
			mayImport: "internal/fsys internal/guard",
		},
		{
			pkg: "build/internal/store/uses", job: "what is written down of uses, running builds and removals",
			mayImport: "internal/flock internal/fsys",
		},
		{
			pkg: "build/internal/store/scratch", job: "temporary directories that outlive no process",
			mayImport: "internal/flock internal/fsys",
		},
		{
			pkg:       "build/internal/store/durable",
			job:       "what is on the disk for sure, and repair of what the library needs",
			mayImport: "build/internal/store/internal/library internal/flock internal/fsys",
		},
		{
			pkg: "build/internal/store/images", job: "the images of a store: find, record, name",
			mayImport: "build/internal/store build/internal/store/internal/library build/internal/store/uses " +
				"build/registry/conf build/registry/content imagebuilder imagebuilder/reference",
		},
		{
			pkg: "build/internal/store/pull", job: "images from registries and layouts into a store",
			mayImport: "build/internal/store build/internal/store/images build/internal/store/internal/library " +
				"build/internal/store/partial build/internal/store/scratch build/internal/store/unpack " +
				"build/registry build/registry/content imagebuilder/reference internal/decompress " +
				"internal/fsys internal/guard userns",
		},
		{
			pkg: "build/internal/store/removal", job: "what a store holds on disk, and giving it back",
			mayImport: "build/disk build/internal/store build/internal/store/images " +
				"build/internal/store/internal/library build/internal/store/scratch " +
				"build/internal/store/uses imagebuilder/layer/usage internal/fsys",
		},
		{
			pkg: "build/internal/store/mend", job: "what was lost when the disk was last stopped",
			mayImport: "build/disk build/internal/store build/internal/store/durable build/internal/store/images " +
				"build/internal/store/internal/library build/internal/store/removal " +
				"build/internal/store/uses internal/fsys internal/guard",
		},
		{
			pkg: "build/internal/store/other", job: "the store of another driver beside the own one",
			mayImport: "build/internal/store build/internal/store/internal/library internal/fsys",
		},
		{
			pkg: "build/internal/store/depot", job: "opens a store with its rooms",
			mayImport: "build/internal/store build/internal/store/idranges build/internal/store/images " +
				"build/internal/store/mend build/internal/store/other build/internal/store/pull " +
				"build/internal/store/removal build/internal/store/shift",
		},
		{
			pkg: "build/internal/store/storetest", job: "stores for tests",
			mayImport: "build/internal/store build/internal/store/depot build/internal/store/images " +
				"build/internal/store/snapshot imagebuilder/layer userns/usertest",
		},
		{
			pkg: "build/internal/store/snapshot",
			job: "root file systems made of a store's layers, and layers of what steps write to them, whatever the driver",
			mayImport: "build/internal/store build/internal/store/internal/library build/internal/store/scratch " +
				"build/internal/store/shift executor executor/joined executor/overlay imagebuilder/layer " +
				"imagebuilder/layer/merge imagebuilder/layer/owners internal/fsys internal/guard userns",
		},
		{
			pkg: "build/internal/store/shift",
			job: "who owns the files of layers, and copies of layers with other owners",
			mayImport: "build/internal/store build/internal/store/internal/library build/internal/store/uses " +
				"imagebuilder/layer/owners internal/flock internal/fsys userns",
		},
		{
			pkg: "build/internal/store/idranges", job: "ranges of IDs that one build has to itself",
			mayImport: "build/internal/store build/internal/store/internal/library build/internal/store/uses " +
				"internal/flock userns",
		},
		{
			pkg: "build/internal/store/unpack",
			job: "layers' archives: what is in them, and the directory that comes of one",
			mayImport: "build/disk imagebuilder/layer/owners internal/decompress internal/fsys internal/guard " +
				"internal/tarsplit",
		},
		{
			pkg:       "build/internal/store/partial",
			job:       "archives of layers of what the store has of them and parts of their blobs (zstd:chunked)",
			mayImport: "internal/fsys internal/guard",
		},
		{
			pkg:       "build/internal/store/containers",
			job:       "working containers of a store: records, files beside them, locks, mounts",
			mayImport: "build/internal/store build/internal/store/internal/library internal/flock internal/fsys",
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
			mayImport: "build/outfile imagebuilder imagebuilder/annotation imagebuilder/reference internal/flock " +
				"internal/guard internal/terminal",
		},
		{
			pkg:       "build/outfile",
			job:       "files and directories where the user says: written whole, no links of others followed",
			mayImport: "internal/flock internal/fsys",
		},
		{
			pkg: "build/progress", job: "events and renderers",
			mayImport: "internal/guard internal/terminal",
		},
		{pkg: "build/internal/sshagent", job: "what steps may ask of an SSH agent, and an agent for key files"},
		{
			pkg: "build/top", job: "notes of running steps, and the processes in them",
			mayImport: "internal/flock internal/fsys internal/printable userns",
		},
		{
			pkg: "build/internal/inputs", job: "what a build is made from: contexts, the Dockerfile, ignore files",
			mayImport: "build/internal/fetch build/internal/fetch/git build/internal/fetch/web " +
				"build/internal/fileop build/internal/source build/internal/store build/plan build/progress " +
				"imagebuilder/dockerfile imagebuilder/reference imagebuilder/remote internal/fsys " +
				"internal/guard",
		},
		{
			pkg: "build/internal/inspect", job: "looks at a Dockerfile without building it: lint, outline, targets",
			mayImport: "build/internal/inputs build/plan imagebuilder/dockerfile",
		},
		{
			pkg: "build/internal/rootfs",
			job: "root file systems: chains of layers that are made, looked up, committed and shown",
			mayImport: "build/internal/cache build/internal/fileop build/internal/rootfs/reading " +
				"build/internal/rootfs/together build/internal/store build/internal/store/idranges " +
				"build/internal/store/images build/internal/store/shift build/internal/store/snapshot " +
				"build/plan build/progress build/reclaim executor executor/joined executor/overlay " +
				"imagebuilder/layer internal/fsys internal/guard userns userns/accounts",
		},
		{
			pkg: "build/internal/rootfs/reading",
			job: "reads what a step wrote, shows how far it is, warns of sparse files",
			mayImport: "build/disk build/internal/store/snapshot build/plan build/progress imagebuilder/dockerfile " +
				"imagebuilder/layer",
		},
		{
			pkg: "build/internal/rootfs/roottest",
			job: "root file systems for tests: builds, and steps that write files",
			mayImport: "build/internal/cache build/internal/rootfs build/internal/store build/internal/store/depot " +
				"build/internal/store/storetest build/plan build/progress",
		},
		{pkg: "build/internal/rootfs/together", job: "builds that run at once do equal steps once"},
		{
			pkg: "build/internal/outputs",
			job: "images of what a build ends with: records, names, what else is written",
			mayImport: "build/export build/internal/blobs build/internal/cache build/internal/fileop " +
				"build/internal/push build/internal/rootfs build/internal/store build/internal/store/images " +
				"build/outfile build/plan build/progress build/registry build/registry/conf imagebuilder " +
				"imagebuilder/annotation imagebuilder/layer imagebuilder/reference internal/fsys " +
				"internal/guard",
		},
		{
			pkg:       "build/internal/stepinput",
			job:       "what a step takes files from: a context, a stage or an image, and the names of its content",
			mayImport: "build/internal/inputs build/internal/rootfs build/internal/source build/plan internal/fsys",
		},
		{
			pkg: "build/internal/stepinput/inputtest",
			job: "inputs of a build, files of a root and an SSH agent, for tests of steps",
			mayImport: "build/internal/cache build/internal/inputs build/internal/rootfs build/internal/source " +
				"build/internal/sshagent build/internal/stepinput build/internal/store build/plan " +
				"build/progress",
		},
		{
			pkg: "build/internal/runstep",
			job: "RUN steps: options, mounts, secrets, agents, other platforms, what runs them",
			mayImport: "build/internal/cache build/internal/fileop build/internal/rootfs build/internal/source " +
				"build/internal/sshagent build/internal/stepinput build/internal/store " +
				"build/internal/store/uses build/outfile build/plan build/progress build/top executor " +
				"executor/emulator executor/overlay internal/flock internal/fsys network network/policy " +
				"userns",
		},
		{
			pkg: "build/internal/copystep", job: "COPY, ADD and WORKDIR steps: keys by content, files from elsewhere",
			mayImport: "build/internal/cache build/internal/fetch/git build/internal/fetch/web " +
				"build/internal/fileop build/internal/rootfs build/internal/source build/internal/sshagent " +
				"build/internal/stepinput build/internal/store/snapshot build/plan build/progress " +
				"imagebuilder/layer internal/fsys internal/guard",
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
			pkg: "build/internal/bases",
			job: "how the name in a FROM becomes an image: the store, a registry, a layout, another build",
			mayImport: "build/internal/store build/internal/store/images build/internal/store/pull " +
				"build/internal/store/snapshot build/plan build/progress build/registry " +
				"build/registry/content build/session imagebuilder imagebuilder/dockerfile " +
				"imagebuilder/reference userns",
		},
		{
			pkg: "build/internal/steps",
			job: "each step of a plan to the room of its kind; where a step is, in errors and for people",
			mayImport: "build/internal/rootfs build/internal/runstep build/internal/store/images build/plan " +
				"build/progress imagebuilder/dockerfile",
		},
		{
			pkg: "build/internal/push", job: "images into registries: blobs once, tags last",
			mayImport: "build/export build/internal/cache build/registry build/registry/content imagebuilder " +
				"imagebuilder/annotation imagebuilder/reference internal/guard",
		},
		{
			pkg: "build/internal/sendimage", job: "pushes an image that the store has",
			mayImport: "build/export build/internal/blobs build/internal/cache build/internal/outputs " +
				"build/internal/push build/internal/store/depot build/internal/store/images build/outfile " +
				"build/progress build/registry/content build/session imagebuilder",
		},
		{
			pkg: "build/internal/blobs",
			job: "compressed layers: what became of layers, which blobs are kept, where they came from",
			mayImport: "build/export build/internal/cache build/internal/fetch build/registry " +
				"build/registry/content imagebuilder/reference",
		},
		{
			pkg: "build/internal/imagetar", job: "images in archives and directories: found, named and read",
			mayImport: "build/registry/content imagebuilder internal/decompress internal/fsys internal/printable",
		},
		{
			pkg: "build/internal/shared",
			job: "caches that other machines fill: an index of records and its blobs, in a registry or a directory",
			mayImport: "build/export build/internal/cache build/internal/outputs build/internal/push " +
				"build/internal/rootfs build/internal/store build/internal/store/pull build/plan " +
				"build/progress build/registry build/registry/content build/sharedcache " +
				"imagebuilder/reference internal/flock internal/fsys internal/guard internal/printable " +
				"userns",
		},
		{
			pkg:       "build/internal/workstate",
			job:       "what is known of a working container besides its files, as buildah writes it",
			mayImport: "imagebuilder",
		},
		{
			pkg:       "build/internal/console",
			job:       "connects a command with the streams or the terminal of who runs it by hand",
			mayImport: "build/progress executor internal/fsys internal/guard internal/terminal",
		},
		{
			pkg: "build/internal/attempts", job: "begins builds anew where others take away what they stand on",
			mayImport: "build/internal/rootfs build/progress",
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
				"build/internal/stepinput build/internal/store/images build/plan build/progress " +
				"build/session executor imagebuilder",
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
				"build/internal/source build/internal/stepinput build/internal/store/containers " +
				"build/internal/store/depot build/internal/store/images build/internal/store/snapshot " +
				"build/internal/workstate build/plan build/progress build/session build/sourcedate executor " +
				"imagebuilder imagebuilder/annotation imagebuilder/layer internal/terminal",
		},
		{
			pkg: "build/sourcepolicy",
			job: "policies for sources: which images, repositories and URLs a build may take",
		},
		{
			pkg: "network", job: "networks of steps: a namespace for each, and one gateway process for a build",
			mayImport: "internal/guard network/internal/gateway network/internal/link network/policy",
		},
		{pkg: "network/policy", job: "which addresses steps reach", pure: true},
		{
			pkg: "network/internal/link", job: "network namespaces with one device, and the socket at its other end",
			mayImport: "internal/thread",
		},
		{
			pkg:       "network/internal/gateway",
			job:       "connections of steps made outside: a TCP/IP stack and what answers it",
			mayImport: "internal/guard network/internal/link network/policy",
		},
	}
}

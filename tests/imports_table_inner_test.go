package tests_test

// innerRows are those of what only package build and its neighbours use.
func innerRows() []importRule {
	return []importRule{
		{
			pkg: "build/internal/solve", job: "runs the graph",
			mayImport: "build/plan internal/guard",
		},
		{
			pkg: "build/internal/cache", job: "keys and records",
			mayImport: "build/disk build/internal/source/filelist imagebuilder/layer/usage internal/flock " +
				"internal/fsys",
		},
		{
			pkg: "build/internal/source", job: "contexts, ignore rules, selection, content digests",
			mayImport: "build/internal/source/filelist internal/flock internal/fsys internal/guard",
		},
		{
			pkg: "build/internal/source/filelist",
			job: "lists of files that steps take, and what differs between two",
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
			mayImport: "internal/flock internal/fsys userns",
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
			mayImport: "build/internal/store build/internal/store/internal/library build/internal/store/scratch " +
				"build/internal/store/uses imagebuilder/layer/owners internal/flock internal/fsys userns",
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
		{pkg: "build/internal/sshagent", job: "what steps may ask of an SSH agent, and an agent for key files"},
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
			mayImport: "build/internal/cache build/internal/fileop build/internal/rootfs/account " +
				"build/internal/rootfs/builder build/internal/rootfs/flights build/internal/rootfs/reading " +
				"build/internal/rootfs/together build/internal/store build/internal/store/idranges " +
				"build/internal/store/images build/internal/store/shift build/internal/store/snapshot " +
				"build/plan build/progress build/reclaim executor executor/overlay imagebuilder/layer " +
				"internal/fsys internal/guard userns userns/accounts",
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
			pkg:       "build/internal/rootfs/flights",
			job:       "builds that run at once, in whatever processes, run equal steps once",
			mayImport: "build/internal/cache internal/flock internal/guard",
		},
		{
			pkg:       "build/internal/rootfs/directories",
			job:       "directories that WORKDIR makes, and working directories that an image lacks",
			mayImport: "build/internal/fileop build/internal/rootfs",
		},
		{
			pkg: "build/internal/rootfs/builder",
			job: "who builds, in which user namespaces, and what to do about IDs that these leave out",
			mayImport: "build/internal/fileop build/internal/store/shift build/internal/store/snapshot " +
				"executor/joined userns",
		},
		{
			pkg: "build/internal/rootfs/account", job: "what those are told who account for the steps of a build",
			mayImport: "build/internal/cache build/plan",
		},
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
			mayImport: "build/internal/cache build/internal/confine build/internal/fileop build/internal/leak " +
				"build/internal/lent build/internal/loglimit build/internal/rootfs " +
				"build/internal/rootfs/directories build/internal/source build/internal/sshagent " +
				"build/internal/stepinput build/internal/stepnet build/internal/store " +
				"build/internal/store/uses build/outfile build/plan build/progress build/top executor " +
				"executor/emulator executor/overlay executor/step internal/flock internal/fsys userns",
		},
		{
			pkg: "build/internal/copystep", job: "COPY, ADD and WORKDIR steps: keys by content, files from elsewhere",
			mayImport: "build/internal/cache build/internal/fetch/git build/internal/fetch/web " +
				"build/internal/fileop build/internal/rootfs build/internal/rootfs/directories " +
				"build/internal/source build/internal/sshagent build/internal/stepinput " +
				"build/internal/store/snapshot build/plan build/progress imagebuilder/layer internal/fsys " +
				"internal/guard",
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
			mayImport: "build/export build/internal/cache build/internal/objects build/internal/outputs " +
				"build/internal/parcel build/internal/push build/internal/rootfs " +
				"build/internal/shared/index build/internal/store build/internal/store/pull " +
				"build/internal/store/uses build/plan build/progress build/registry build/registry/content " +
				"build/sharedcache imagebuilder/reference internal/flock internal/fsys internal/guard " +
				"internal/printable userns",
		},
		{
			pkg:       "build/internal/shared/index",
			job:       "what a place with results of steps knows: records, their layers, cache mounts and blobs",
			mayImport: "build/internal/cache build/internal/parcel build/registry/content internal/printable",
		},
		{
			pkg:       "build/internal/workstate",
			job:       "what is known of a working container besides its files, as buildah writes it",
			mayImport: "imagebuilder",
		},
		{
			pkg:       "build/internal/console",
			job:       "connects a command with the streams or the terminal of who runs it by hand",
			mayImport: "build/progress/lines executor internal/fsys internal/guard internal/terminal",
		},
		{
			pkg: "build/internal/attempts", job: "begins builds anew where others take away what they stand on",
			mayImport: "build/internal/rootfs build/progress",
		},
		{
			pkg:       "build/internal/objects",
			job:       "blobs by their digests and one head, in stores that speak HTTP: plain ones, S3, the cache of GitHub Actions",
			mayImport: "build/registry/content build/sharedcache internal/printable",
		},
		{
			pkg: "build/internal/objects/objectstest",
			job: "for tests: stores of objects in memory that fail when asked to",
		},
		{
			pkg:       "build/internal/confine",
			job:       "what --security-opt says of RUN steps: filters of system calls, profiles, labels",
			mayImport: "executor",
		},
		{
			pkg:       "build/internal/stepnet",
			job:       "which network a step has, what it is connected with, and what leads nowhere in it",
			mayImport: "build/internal/store build/plan build/progress executor network network/policy",
		},
		{
			pkg:       "build/internal/parcel",
			job:       "directories in blobs and back: how the content of a cache mount travels",
			mayImport: "build/internal/store/unpack build/registry/content imagebuilder/layer internal/guard",
		},
		{
			pkg:       "build/internal/devices",
			job:       "the devices that steps are given: nodes of the host, and what CDI files say",
			mayImport: "executor",
		},
		{pkg: "build/internal/leak", job: "finds secrets that a step has written into its layer"},
		{
			pkg:       "build/internal/runtimes",
			job:       "OCI runtimes that steps are given to: found, and their names checked",
			mayImport: "build/internal/store executor",
		},
		{pkg: "build/internal/loglimit", job: "how much of a step's output is handed on"},
		{
			pkg: "build/internal/lent", job: "what steps are lent of the host: devices, namespaces, groups, names",
			mayImport: "build/internal/cache build/internal/devices build/internal/hooks build/internal/runtimes " +
				"build/plan executor",
		},
		{
			pkg:       "build/internal/hooks",
			job:       "which programs an OCI runtime is to run beside which containers: the files of oci-hooks(5)",
			mayImport: "executor",
		},
	}
}

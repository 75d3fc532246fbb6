package tests_test

// lowerRows are those of images, executors, the kernel and user namespaces, which what builds stands on.
func lowerRows() []importRule {
	return []importRule{
		{pkg: "imagebuilder", job: "image config, history", pure: true},
		{
			pkg: "imagebuilder/dockerfile", job: "parse, locate, explain, lint",
			mayImport: "imagebuilder/remote",
		},
		{
			pkg: "imagebuilder/layer", job: "directory to layer tar: whiteouts, digests, tar-split",
			mayImport: "imagebuilder/layer/internal/tree imagebuilder/layer/usage internal/fsys internal/guard " +
				"internal/tarsplit",
		},
		{
			pkg:       "imagebuilder/layer/internal/tree",
			job:       "directories of layers: walked, and attributes of their files read",
			mayImport: "internal/fsys",
		},
		{
			pkg: "imagebuilder/layer/internal/treetest", job: "for tests: trees of files, made and looked at",
			mayImport: "imagebuilder/layer/internal/tree userns/asroot",
		},
		{
			pkg: "imagebuilder/layer/merge", job: "a stack of diff directories as one, hard-linked",
			mayImport: "imagebuilder/layer/internal/tree internal/fsys",
		},
		{
			pkg: "imagebuilder/layer/owners", job: "IDs in a tree: found, and translated in place or in a copy",
			mayImport: "imagebuilder/layer/internal/tree internal/fsys internal/guard",
		},
		{
			pkg: "imagebuilder/layer/usage", job: "what trees take on disk",
			mayImport: "imagebuilder/layer/internal/tree",
		},
		{pkg: "imagebuilder/reference", job: "image names", pure: true},
		{pkg: "imagebuilder/annotation", job: "which annotations an image gets, and where", pure: true},
		{pkg: "imagebuilder/remote", job: "names of remote sources: git references, URLs", pure: true},
		{
			pkg: "executor", job: "`Run(ctx, Step)`: one command in its container; by itself or by an OCI runtime",
			mayImport: "executor/internal/cgroup executor/internal/container executor/internal/native " +
				"executor/internal/oci executor/internal/rawproc executor/internal/scope " +
				"executor/internal/script executor/internal/seccomp executor/internal/streams " +
				"executor/internal/tree executor/step internal/fsys internal/guard internal/headroom userns",
		},
		{
			pkg:       "executor/overlay",
			job:       "detached overlay mounts: the kernel's, ID-mapped, and those of mount programs",
			mayImport: "executor/internal/rawproc internal/fsys internal/thread userns userns/reexec",
		},
		{
			pkg:       "executor/internal/rawproc",
			job:       "a program of raw system calls, which a child runs without the Go runtime",
			mayImport: "internal/fsys",
		},
		{
			pkg: "executor/internal/inroot", job: "files and mount points below a hostile root",
			mayImport: "internal/fsys",
		},
		{pkg: "executor/internal/seccomp", job: "the system call filter, for the kernel and for OCI runtimes"},
		{
			pkg: "executor/internal/container",
			job: "a step's container, ready but for its namespaces; the kernel's file systems and names in it",
			mayImport: "executor/internal/ids executor/internal/inroot executor/internal/memfs " +
				"executor/internal/mounts executor/internal/seccomp executor/internal/steproot " +
				"executor/overlay executor/step",
		},
		{
			pkg:       "executor/internal/script",
			job:       "what a step's first process does, in system calls; what their failures mean",
			mayImport: "executor/internal/container executor/internal/ids executor/internal/rawproc executor/step",
		},
		{
			pkg: "executor/internal/streams", job: "a step's standard streams",
			mayImport: "executor/overlay internal/guard",
		},
		{
			pkg: "executor/internal/native", job: "the back end that runs a step by itself",
			mayImport: "executor/internal/container executor/internal/inroot executor/internal/memfs " +
				"executor/internal/mounts executor/internal/rawproc executor/internal/script " +
				"executor/internal/streams executor/step",
		},
		{
			pkg: "executor/internal/oci", job: "the back end that has an OCI runtime run a step",
			mayImport: "executor/emulator executor/internal/container executor/internal/inroot " +
				"executor/internal/mounts executor/internal/rawproc executor/internal/script " +
				"executor/internal/streams executor/overlay executor/spec executor/step userns",
		},
		{
			pkg:       "executor/internal/ids",
			job:       "a step's user namespace, its capabilities, and who owns a file as seen from where",
			mayImport: "executor/emulator executor/joined executor/overlay executor/step userns",
		},
		{
			pkg: "executor/internal/memfs", job: "the memory file system with a step's /dev, small files and sockets",
			mayImport: "executor/internal/ids executor/internal/inroot executor/overlay executor/step " +
				"internal/guard",
		},
		{
			pkg: "executor/internal/steproot", job: "a step's root, with mount points that leave no trace",
			mayImport: "executor/internal/ids executor/internal/inroot executor/internal/rawproc executor/overlay " +
				"executor/step",
		},
		{
			pkg: "executor/internal/mounts", job: "what is mounted where in a step's root, and in which order",
			mayImport: "executor/internal/ids executor/internal/inroot executor/internal/memfs " +
				"executor/internal/rawproc executor/internal/steproot executor/overlay executor/step",
		},
		{
			pkg: "executor/internal/cgroup", job: "control groups of a step, of both versions: made, entered, read",
			mayImport: "executor/step",
		},
		{pkg: "executor/internal/scope", job: "asks systemd for a control group that an ordinary user may divide"},
		{pkg: "executor/internal/tree", job: "what a process and all below it take, as /proc shows it"},
		{
			pkg: "executor/spec", job: "a step as the OCI runtime specification's config.json",
			mayImport: "userns",
		},
		{
			pkg:       "executor/emulator",
			job:       "what executes programs of other architectures: which the machine does, where emulators lie",
			mayImport: "executor/internal/rawproc",
		},
		{
			pkg:       "executor/joined",
			job:       "user namespaces that somebody else has made: opened for steps, and their maps read",
			mayImport: "executor/internal/rawproc userns",
		},
		{
			pkg: "executor/step", job: "what a step of a build is, as plain values, and how it can fail",
			mayImport: "executor/emulator executor/internal/seccomp executor/joined userns userns/accounts",
		},
		{
			pkg: "executor/netns", job: "network namespaces for who may not set up networks, too",
			mayImport: "executor/internal/rawproc",
		},
		{pkg: "internal/guard", job: "panics become errors"},
		{
			pkg:       "internal/fsys",
			job:       "the ground floor: system calls on files below a hostile root, listings, copies of data, replacement of a file",
			mayImport: "internal/guard",
		},
		{
			pkg: "internal/flock", job: "locks of files, whose wait can be interrupted",
			mayImport: "internal/fsys",
		},
		{pkg: "internal/terminal", job: "whether a file is a terminal, and how large it is"},
		{pkg: "internal/decompress", job: "streams compressed with gzip, bzip2, xz or zstd, in bounded memory"},
		{pkg: "internal/tarsplit", job: "the records by which a layer gives its archive again; their checksum"},
		{pkg: "internal/printable", job: "texts of others, fit for a line of a terminal or of a message"},
		{pkg: "internal/bakefile", job: "what cooper and cooper-bake say to each other"},
		{
			pkg: "internal/thread", job: "functions on threads that end with them",
			mayImport: "internal/guard",
		},
		{
			pkg: "internal/headroom",
			job: "how many processes the user can still start, and how many commands of others may have",
		},
		{pkg: "internal/size", job: "numbers of bytes as command lines give them"},
		{pkg: "userns", job: "ID maps, subuid and subgid look-up"},
		{
			pkg: "userns/accounts", job: "an image's /etc/passwd and /etc/group, hostile",
			mayImport: "internal/fsys",
		},
		{
			pkg: "userns/reexec", job: "enter the namespace",
			mayImport: "internal/fsys internal/headroom userns",
		},
		{
			pkg:       "userns/asroot",
			job:       "for tests: those that only the machine's root can run are not started by others",
			mayImport: "userns",
		},
		{
			pkg: "userns/usertest", job: "for tests: run a package's as root of the user's namespace",
			mayImport: "userns userns/asroot userns/reexec",
		},
		{
			pkg: "tests/bench", job: "measures builds beside limit programs and other tools",
			mayImport: "build/export internal/guard",
		},
		{pkg: "contrib/examples/hello", job: "the program of the demo"},
	}
}

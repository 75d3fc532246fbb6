package doctor

import "github.com/cooperbuild/cooper/userns/reexec"

// Outcome is what became of an attempt. It went well if it was Tried and has no Problem.
type Outcome struct {
	Tried   bool
	Problem string // what is wrong, one line
	Fix     string // what to type or to change; "" if nobody knows
}

// OK reports that the attempt was made and went well.
func (o Outcome) OK() bool { return o.Tried && o.Problem == "" }

// Facts are what was seen of the machine. IDs are those of the caller's own user namespace.
type Facts struct {
	User string // login name; "" if it has none
	UID  uint32
	Root bool // root's builds stay in the namespace that they are started in
	// Nests says that the caller is root and may not mount: builds make a namespace below this one, with the same IDs.
	Nests bool
	// Nested says that this is a user namespace that something else has made, and the caller its root: RUN steps stay in
	// it.
	Nested bool

	Helpers []reexec.Helper // newuidmap and newgidmap
	Ranges  Ranges
	// Bare is a user namespace of the caller's ID alone, with a mount namespace in it; for root, one with the IDs of RUN
	// steps.
	Bare Outcome
	// Mapped is the namespace that a build enters, with all of the user's IDs. Not tried for root, which builds where it
	// is.
	Mapped Outcome
	// UIDMap and GIDMap are the maps of RUN steps, in the form of /proc/PID/uid_map.
	UIDMap, GIDMap string
	// Inside was seen from where a build runs; for a user who can't get there, from the bare namespace. Nil: there is none
	// at all.
	Inside *Inside

	// Sockets says whether steps can be kept from the machine's abstract Unix sockets.
	Sockets Outcome

	Surroundings Surroundings
	Fuse         Fuse
	// NetworkOptional says that steps have a private network only if somebody asks for it, or if it can be.
	NetworkOptional bool
	Network         []string // programs of PATH that connect containers without root: pasta, slirp4netns
	Files           []FileProblem
	Disk            Disk
	OtherStore      Outcome // that there is no store of another driver, in which other tools keep their images
}

// Ranges are the subordinate IDs of the user, or of root's RUN steps.
type Ranges struct {
	Outcome
	UIDs, GIDs uint64 // how many
	Broken     bool   // they are there, but can't be read or make no map: root doesn't go on without, either
}

// Inside is what was tried as root of a user namespace, or as real root.
type Inside struct {
	Setgroups Outcome
	Overlay   Outcome // an overlay that is written to, on the store's file system
	Volatile  Outcome // the same with the option volatile
	IDMap     Outcome // an ID-mapped mount of the store's file system
	Proc      Outcome // proc mounted in a new pid namespace
	Seccomp   Outcome
	Network   Outcome // a network namespace with a way out of it
	Store     Outcome // the store opened, or if there is none, another in the same place with the same driver
	Step      Outcome // a RUN step

	Driver  string // storage driver, if the store could be opened
	Renames bool   // layers are committed by renaming
	IDMapOn string // name of the file system that IDMap was tried on
}

// Surroundings are what the machine is.
type Surroundings struct {
	Container       string // "docker", "podman", "kubernetes"...; "" if it looks like none
	AppArmor        bool   // AppArmor keeps user namespaces to programs with a profile
	Cgroup          string // "v2", "v1", "hybrid" or "" for none
	CgroupWritable  bool
	UserNamespaces  string // user.max_user_namespaces; "" if it can't be read
	NoNewPrivileges bool
}

// Fuse is what fuse-overlayfs needs.
type Fuse struct {
	Device  Outcome // /dev/fuse opened
	Program string  // path of fuse-overlayfs; "" if it is not in PATH
}

// FileProblem is a configuration file that a pull would stumble over.
type FileProblem struct {
	Name    string // "registries.conf", "policy.json", "auth.json"
	Problem string
}

// Disk is the store's file system.
type Disk struct {
	Root       string // the store's directory
	Instead    string // why that isn't the system's store
	Exists     bool
	FileSystem string // "ext4", or its number in hexadecimal
	Size       uint64 // bytes; 0 if that is not limited
	Free       uint64 // bytes that the user may still write
	Inodes     uint64 // files that may exist; 0 if that is not limited
	FreeInodes uint64
	ReadOnly   bool
	Problem    string // why nothing of this is known
}

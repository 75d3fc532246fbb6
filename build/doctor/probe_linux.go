package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/build/internal/store"
	"github.com/cooperbuild/cooper/build/registry"
	"github.com/cooperbuild/cooper/executor"
	"github.com/cooperbuild/cooper/executor/overlay"
	"github.com/cooperbuild/cooper/userns"
	"github.com/cooperbuild/cooper/userns/reexec"
)

const socketsFix = "use Linux 6.12 or newer, with landlock in the kernel's list of security modules (lsm=); " +
	"until then keep steps from them with --network=none"

const networkFix = "load the kernel's module veth (modprobe veth), and see that user.max_net_namespaces isn't 0; " +
	"until then give builds --network=host, with which steps reach what listens on this machine, or allow that for all: " +
	"allow-host-when-impossible = true below [network] in cooper.toml"

// Options say what a build would be given.
type Options struct {
	// Process says who calls, and from which namespace.
	Process  userns.Process
	Stays    bool // builds stay in the namespace they are started in
	Store    store.Options
	AuthFile string
	// NetworkOptional is Facts.NetworkOptional.
	NetworkOptional bool
	// Enter runs this program once more, as root of the namespace that builds run in, with these variables, and gives its
	// status. The program must come to [RunTask] there.
	Enter func(ctx context.Context, stderr *os.File, env ...string) (int, error)
}

// Probe looks at the machine. It writes nothing that it doesn't remove, but for what opening the store makes in it.
func Probe(ctx context.Context, o Options) Facts {
	f := Facts{
		User: o.Process.Caller.Name, UID: o.Process.Caller.ID, Root: o.Stays, Nests: o.Process.Root && !o.Stays,
		Helpers:      reexec.Helpers(),
		Surroundings: surroundings("/"), Fuse: lookForFuse("/dev/fuse"),
		Disk: lookAtDisk(o.Store), OtherStore: otherStore(ctx, o.Store), Network: inPath("pasta", "slirp4netns"),
		Sockets: trySockets(), NetworkOptional: o.NetworkOptional,
	}
	for _, p := range registry.CheckFiles(o.AuthFile) {
		f.Files = append(f.Files, FileProblem{p.Name, oneLine(p.Err.Error())})
	}
	switch {
	case f.Root:
		f.probeAsRoot(ctx, o)
	case f.Nests:
		f.probeNesting(ctx, o)
	default:
		f.probeAsUser(ctx, o)
	}
	return f
}

// probeAsRoot tries what a build of root's does, in this very process as such a build does.
func (f *Facts) probeAsRoot(ctx context.Context, o Options) {
	if !o.Process.Initial {
		f.probeNested(ctx, o, o.Process.Mapping)
		return
	}
	whose, sub, err := rootRanges(ctx)
	var steps *userns.Mapping
	var m userns.Mapping
	if err == nil {
		m, err = userns.Finder{}.StepMap(whose, sub)
	}
	f.Ranges = newRanges(sub, err)
	if err == nil {
		steps = &m
		f.Ranges.Fix = longerRange(ctx, userns.Finder{}, userns.User{Name: "root"}, m)
	}
	sample := userns.Mapping{UIDs: userns.Map{{Host: 100000, Length: 1}}, GIDs: userns.Map{{Host: 100000, Length: 1}}}
	if steps != nil {
		sample = *steps
		f.UIDMap, f.GIDMap = steps.UIDs.String(), steps.GIDs.String()
	}
	f.Bare = tryNamespace(sample)
	in := lookInside(ctx, insideOptions{store: o.Store, steps: steps, sample: sample})
	f.Inside = &in
}

// probeNested is for root of a namespace that something else has made.
func (f *Facts) probeNested(ctx context.Context, o Options, own userns.Mapping) {
	f.Nested, f.UIDMap, f.GIDMap = true, own.UIDs.String(), own.GIDs.String()
	f.Ranges = givenRanges(own)
	sample := sampleOf(min(own.UIDs.Highest(), own.GIDs.Highest(), 1))
	f.Bare = tryNamespace(sample)
	in := lookInside(ctx, insideOptions{store: o.Store, sample: sample, userXattr: true})
	f.Inside = &in
}

// givenRanges are the IDs of a namespace that something else has made, which can have no others.
func givenRanges(own userns.Mapping) Ranges {
	return Ranges{
		Outcome: Outcome{Tried: true, Fix: "have what made this namespace, such as a container engine, give it 65536 IDs"},
		UIDs:    uint64(own.UIDs.Highest()) + 1, GIDs: uint64(own.GIDs.Highest()) + 1,
	}
}

// probeNesting is for root who may not mount.
func (f *Facts) probeNesting(ctx context.Context, o Options) {
	own := o.Process.Mapping
	f.UIDMap, f.GIDMap = own.Nested().UIDs.String(), own.Nested().GIDs.String()
	f.Ranges = givenRanges(own)
	if f.Inside, f.Mapped = enter(ctx, o); f.Mapped.OK() {
		f.Bare.Tried = true
		return
	}
	if !reexec.MayMap() { // nor a single ID
		f.Bare.Problem = "it needs an ID map"
		return
	}
	bare, said := runBare(ctx, taskBare)
	if f.Bare = said; !said.OK() {
		f.Mapped = Outcome{Problem: "it needs a user namespace"}
	}
	if bare {
		f.Inside = insideBare(ctx)
	}
}

func tryNamespace(m userns.Mapping) Outcome {
	ns, err := overlay.NewUserNS(m)
	if err != nil {
		return outcome(diagnosed(err))
	}
	ns.Close()
	return Outcome{Tried: true}
}

// rootRanges are those that root's RUN steps get.
func rootRanges(ctx context.Context) (whose userns.User, sub userns.SubIDs, err error) {
	whose, sub, err = userns.Finder{}.FindRoot(ctx)
	if !errors.Is(err, userns.ErrNoSubIDs) {
		return whose, sub, err
	}
	return whose, sub, &reexec.MachineError{
		Problem: "neither root nor containers has a line in /etc/subuid",
		Remedy:  "usermod --add-subuids 1000000-1065535 --add-subgids 1000000-1065535 root", Err: err,
	}
}

func (f *Facts) probeAsUser(ctx context.Context, o Options) {
	m, sub, err := o.Process.Enters(ctx)
	if nobody := reexec.CheckIDs(); nobody != nil {
		err, f.Helpers = nobody, nil
	}
	f.Ranges = newRanges(sub, err)
	bare, said := runBare(ctx, taskBare)
	f.Bare = said
	if err == nil {
		f.UIDMap, f.GIDMap = m.UIDs.String(), m.GIDs.String()
		f.Ranges.Fix = longerRange(ctx, o.Process.Finder(), o.Process.Caller, m)
	}
	f.Mapped.Problem = "it needs a user namespace and subordinate IDs"
	if f.Bare.OK() && err == nil {
		f.Inside, f.Mapped = enter(ctx, o)
	}
	if f.Inside == nil && bare {
		// Some of it can be tried with a single ID.
		f.Inside = insideBare(ctx)
	}
}

// longerRange is what gives an owner all the IDs that images are made for; "" if it has them.
func longerRange(ctx context.Context, finder userns.Finder, owner userns.User, m userns.Mapping) string {
	last := []uint32{usualRange - 1}
	return outcome(finder.Check(ctx, owner, m, userns.IDs{UIDs: last, GIDs: last})).Fix
}

func newRanges(sub userns.SubIDs, err error) Ranges {
	r := Ranges{Outcome: outcome(err), Broken: err != nil && !errors.Is(err, userns.ErrNoSubIDs)}
	for _, s := range sub.UIDs {
		r.UIDs += uint64(s.Count)
	}
	for _, s := range sub.GIDs {
		r.GIDs += uint64(s.Count)
	}
	return r
}

// signalled plus a signal's number is the status of a process that it has ended.
const signalled = 128

// enter has the namespace of a build looked at from inside.
func enter(ctx context.Context, o Options) (*Inside, Outcome) {
	answer, err := newPipe()
	if err != nil {
		return nil, outcome(err)
	}
	words, err := newPipe()
	if err != nil {
		answer.close()
		return nil, outcome(err)
	}
	if err := answer.inherit(); err != nil {
		answer.close()
		words.close()
		return nil, outcome(err)
	}
	code, err := o.Enter(ctx, words.w, envTask+"="+taskInside+":"+strconv.Itoa(int(answer.w.Fd())))
	text, errs := answer.end(), words.end()
	if err != nil {
		return nil, outcome(err)
	}
	in := new(Inside)
	if code > signalled && errs == "" {
		return nil, Outcome{Tried: true, Problem: fmt.Sprintf("its process was ended by a signal: %s",
			syscall.Signal(code-signalled)), Fix: "try again"}
	}
	if code != 0 || json.Unmarshal([]byte(text), in) != nil {
		return nil, said(errs)
	}
	return in, Outcome{Tried: true}
}

// maxWords is how much of what a child writes counts, in bytes.
const maxWords = 1 << 20

// pipe collects what a child writes. Both ends are read and closed by end.
type pipe struct {
	r, w *os.File
	text chan string
}

func newPipe() (*pipe, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p := &pipe{r, w, make(chan string, 1)}
	go func() {
		text, _ := io.ReadAll(io.LimitReader(r, maxWords)) // what can't be read is as good as not said
		_, _ = io.Copy(io.Discard, r)                      // or who says more would wait forever
		p.text <- string(text)
	}()
	return p, nil
}

// inherit has the next child get the write end, under the same number.
func (p *pipe) inherit() error {
	_, err := unix.FcntlInt(p.w.Fd(), unix.F_SETFD, 0)
	return err
}

func (p *pipe) end() string {
	p.w.Close()
	text := <-p.text
	p.r.Close()
	return text
}

func (p *pipe) close() { _ = p.end() }

// runBare makes a namespace of the caller's ID alone and runs a task in it; made says that there is one.
func runBare(ctx context.Context, task string) (made bool, o Outcome) {
	cmd := again(ctx, task)
	cmd.SysProcAttr = bareNamespace()
	out, err := cmd.Output()
	exit := new(exec.ExitError)
	switch {
	case errors.As(err, &exit):
		return true, said(string(exit.Stderr))
	case err != nil:
		return false, outcome(diagnosed(cause(err)))
	}
	return true, Outcome{Tried: true, Problem: oneLine(string(out))}
}

// bareNamespace has a process start in a namespace of this process's own IDs alone.
func bareNamespace() *syscall.SysProcAttr {
	uid, gid := userns.OwnIDs()
	ids := func(id uint32) []syscall.SysProcIDMap { return []syscall.SysProcIDMap{{HostID: int(id), Size: 1}} }
	return &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS, UidMappings: ids(uid), GidMappings: ids(gid),
		Pdeathsig: unix.SIGKILL,
	}
}

// cause takes the path, which is this program's or one of its making and so no help, off an error.
func cause(err error) error {
	if at := new(os.PathError); errors.As(err, &at) {
		return at.Err
	}
	return err
}

// insideBare looks at what a namespace of one ID allows.
func insideBare(ctx context.Context) *Inside {
	answer, err := newPipe()
	if err != nil {
		return nil
	}
	cmd := again(ctx, taskBareInside+":3")
	cmd.ExtraFiles = []*os.File{answer.w}
	cmd.SysProcAttr = bareNamespace()
	err = cmd.Run()
	in, text := new(Inside), answer.end()
	if err != nil || json.Unmarshal([]byte(text), in) != nil {
		return nil
	}
	return in
}

// again prepares this program to be run once more, with the same arguments, for a task.
func again(ctx context.Context, task string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), envTask+"="+task)
	return cmd
}

func trySockets() Outcome {
	ok, err := executor.ScopesSockets()
	switch {
	case err != nil:
		return outcome(fmt.Errorf("landlock can't be used (%w)", err)).orFix(socketsFix)
	case !ok:
		return Outcome{Tried: true, Problem: "this kernel's landlock knows nothing of sockets", Fix: socketsFix}
	}
	return Outcome{Tried: true}
}

func inPath(programs ...string) []string {
	return slices.DeleteFunc(programs, func(p string) bool {
		_, err := exec.LookPath(p)
		return err != nil
	})
}

// lookForFuse opens the device as fuse-overlayfs would.
func lookForFuse(device string) Fuse {
	var f Fuse
	if path, err := exec.LookPath("fuse-overlayfs"); err == nil {
		f.Program = path
	}
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(fd)
		var st unix.Stat_t
		if err = unix.Fstat(fd, &st); err == nil && st.Mode&unix.S_IFMT != unix.S_IFCHR {
			err = unix.ENODEV
		}
	}
	if err != nil {
		f.Device = Outcome{Tried: true, Problem: fmt.Sprintf("%s can't be opened (%v)", device, err),
			Fix: fmt.Sprintf("run as root: modprobe fuse; chmod 666 %s; "+
				"in a container, start it with --device %[1]s", device)}
		return f
	}
	f.Device.Tried = true
	return f
}

func contains(text, field, value string) bool {
	for line := range strings.Lines(text) {
		if name, rest, ok := strings.Cut(line, ":"); ok && name == field {
			return strings.TrimSpace(rest) == value
		}
	}
	return false
}

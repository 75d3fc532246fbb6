package tests_test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// engineCaps are the capabilities that container engines give.
const engineCaps = "chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,net_raw,sys_chroot,mknod,audit_write,setfcap"

// podID is the first ID on the machine of a pod's root.
const podID = 700000000

// A pod is a place like a container: root with an engine's capabilities and no_new_privs, in a namespace that cooper
// has not made.
type pod struct {
	// ids are the IDs of its user namespace. None: those of the machine, and no user namespace.
	ids []syscall.SysProcIDMap
	// borrowed says that the mount namespace is the machine's, and all capabilities are there.
	borrowed bool
	// caps are the capabilities; "" are engineCaps.
	caps string
	// script is run as its root before it loses capabilities.
	script string
	// denials are a filter of system calls.
	denials []denial
}

// podIDs are those that Kubernetes gives a pod with hostUsers: false, in ranges of these lengths.
func podIDs(lengths ...int) []syscall.SysProcIDMap {
	var ids []syscall.SysProcIDMap
	next := 0
	for i, n := range lengths {
		ids = append(ids, syscall.SysProcIDMap{ContainerID: next, HostID: podID + next + i*1000, Size: n})
		next += n
	}
	return ids
}

// newPod makes a site that belongs to the root of a pod, without any configuration of a store.
func newPod(t *testing.T, p pod) *site {
	t.Helper()
	m := mode{Name: "pod", User: "root"}
	if len(p.ids) > 0 {
		m.UID, m.GID = p.ids[0].HostID, p.ids[0].HostID
	}
	s := newSite(t, m)
	if err := os.RemoveAll(s.path("home/.config")); err != nil {
		t.Fatal(err)
	}
	for i, v := range s.env {
		if strings.HasPrefix(v, "CONTAINERS_STORAGE_CONF=") {
			s.env = append(s.env[:i], s.env[i+1:]...)
			break
		}
	}
	return s
}

// inPod runs a shell script in a pod; cooper is $COOPER there.
func (s *site) inPod(t *testing.T, p pod, script string) result {
	t.Helper()
	caps := p.caps
	if caps == "" {
		caps = engineCaps
	}
	command := []string{"sh", "-ec", script}
	if !p.borrowed {
		command = append([]string{"setpriv", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all,+" +
			strings.ReplaceAll(caps, ",", ",+"), "--"}, command...)
	}
	if len(p.denials) > 0 {
		command = filtered(t, p.denials, command)
	}
	setup := p.script + "\nexec \"$@\""
	attr := &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	if !p.borrowed {
		setup = "mount --make-rprivate /\nmount -t proc proc /proc\n" + setup
		attr.Cloneflags = unix.CLONE_NEWNS | unix.CLONE_NEWPID
	}
	if len(p.ids) > 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings, attr.GidMappings, attr.GidMappingsEnableSetgroups = p.ids, p.ids, true
		attr.Credential = &syscall.Credential{}
	}
	cmd := exec.Command("sh", append([]string{"-ec", setup, "sh"}, command...)...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = s.dir, append(s.env, "COOPER="+suite.cooper, "SOURCE_DATE_EPOCH=1000000000"), attr
	return runCommand(t, cmd)
}

// owners is a Containerfile whose layers have many owners.
const owners = busyboxfile + `RUN mkdir -p /d/e && touch /d/f && chown 33:50 /d && chown 65534:65534 /d/f && chmod 4755 /d/f
RUN rm -r /d/e && mkdir /d/e && touch /d/e/g
USER alice
RUN test "$(id -u)" = 1000 && touch /tmp/alice
`

// TestAsRootNamespaceOfAllIDs builds as root of a namespace that has all IDs, like the machine's, and may mount:
// overlay's marks are those of users there, for only the machine's root can set the others.
func TestAsRootNamespaceOfAllIDs(t *testing.T) {
	t.Parallel()
	other := newSite(t, ordinary(t))
	if err := other.makeBusybox(); err != nil {
		t.Fatal(err)
	}
	other.write(t, "busybox/Owners", owners)
	other.env = append(other.env, "SOURCE_DATE_EPOCH=1000000000")
	want := other.build(t, "-f", "busybox/Owners", "busybox")
	p := pod{ids: []syscall.SysProcIDMap{{Size: 1<<32 - 1}}, caps: engineCaps + ",sys_admin"}
	s := newPod(t, p)
	if err := s.makeBusybox(); err != nil {
		t.Fatal(err)
	}
	s.write(t, "busybox/Owners", owners)
	r := s.inPod(t, p, "$COOPER build -f busybox/Owners busybox")
	if r.Code != 0 || strings.TrimSpace(r.Stdout) != want || strings.Contains(r.Stderr, "level=") {
		t.Errorf("status %d, image %q, want %q\n%s", r.Code, r.Stdout, want, tail(r.Stderr))
	}
}

// TestAsRootContainersWithoutTheRightToMountBuild builds in the places where root has no right to mount: every verb
// works, and the image is that of other builders.
func TestAsRootContainersWithoutTheRightToMountBuild(t *testing.T) {
	t.Parallel()
	other := newSite(t, ordinary(t))
	if err := other.makeBusybox(); err != nil {
		t.Fatal(err)
	}
	other.write(t, "busybox/Owners", owners)
	other.env = append(other.env, "SOURCE_DATE_EPOCH=1000000000")
	want := other.build(t, "-f", "busybox/Owners", "busybox")
	const volume = "mount -t tmpfs -o mode=755 none /var/lib/containers\n"
	for name, test := range map[string]struct {
		pod
		store, stepMap string
	}{
		"hostUsers false":   {pod{ids: podIDs(65536)}, "home/.local/share", "0 0 65536"},
		"a volume":          {pod{ids: podIDs(65536), script: volume}, "/var/lib/containers/storage (tmpfs", "0 0 65536"},
		"two ranges":        {pod{ids: podIDs(1000, 64536)}, "home/.local/share", "0 0 1000 1000 1000 64536"},
		"the machine's IDs": {pod{}, "home/.local/share", "0 0 4294967294"},
		"another's mounts":  {pod{ids: podIDs(65536), borrowed: true}, "home/.local/share", "0 0 65536"},
		"a finer filter": {pod{ids: podIDs(65536), denials: deny(unix.EPERM, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN)},
			"home/.local/share", "0 0 65536"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newPod(t, test.pod)
			if err := s.makeBusybox(); err != nil {
				t.Fatal(err)
			}
			s.write(t, "busybox/Owners", owners)
			s.mkdir(t, "volume")
			s.write(t, "busybox/Slow", busyboxfile+"RUN while [ ! -e /v/stop ]; do sleep 0.1; done\n")
			d := s.inPod(t, test.pod, "$COOPER doctor --json").diagnose(t)
			if !d.Works || d.Mode != "nests" || strings.Contains(fmt.Sprint(d.Checks), "--privileged") {
				t.Errorf("%+v", d)
			}
			d.has(t, "store", "ok", test.store)
			// Each place lasts as long as its script, and so does a volume.
			r := s.inPod(t, test.pod, `
$COOPER build -t app -f busybox/Owners busybox
$COOPER build -q --userns=keep-id:uid=200,gid=200 -f busybox/Owners busybox
$COOPER build -q --uidmap 0:1:65535 -f busybox/Owners busybox
for runtime in crun runc; do $COOPER build -q --no-cache --runtime=$runtime -f busybox/Owners busybox; done
$COOPER df | grep '^images *1 ' >&2
$COOPER unshare stat -c %u:%g home >&2
echo map: $($COOPER unshare cat /proc/self/uid_map) >&2
echo shown: $($COOPER unshare --map | grep uid) >&2
$COOPER build -q -v $PWD/volume:/v -f busybox/Slow busybox >&2 &
for i in $(seq 6000); do if $COOPER top | grep 'sleep 0.1' >&2; then break; fi; sleep 0.1; done
touch volume/stop
wait $!
$COOPER prune -af | grep Total >&2
`)
			if r.Code != 0 || r.Stdout != strings.Repeat(want+"\n", 5) {
				t.Errorf("status %d, image %q, want %q\n%s", r.Code, r.Stdout, want, tail(r.Stderr))
			}
			for _, text := range []string{"map: " + test.stepMap, "shown: uid 0 0 ", "\n0:0\n", "sleep 0.1", "Total"} {
				if !strings.Contains(r.Stderr, text) {
					t.Errorf("no %q in\n%s", text, tail(r.Stderr))
				}
			}
			s.checkNoLeftovers(t)
		})
	}
}

// TestAsRootStepsInANamespaceOfAllIDsAreConfinedToo: such a place has the IDs of the machine and its mounts are its
// own, but it isn't the machine.
func TestAsRootStepsInANamespaceOfAllIDsAreConfinedToo(t *testing.T) {
	t.Parallel()
	place := pod{ids: []syscall.SysProcIDMap{{Size: 1<<32 - 1}}, caps: "all",
		script: "mount -t tmpfs -o mode=755 none /var/lib/containers\n"}
	s := newPod(t, pod{})
	if err := s.makeBusybox(); err != nil {
		t.Fatal(err)
	}
	const show = "readlink /proc/self/ns/user >&2"
	s.write(t, "busybox/Insecure", busyboxfile+"RUN "+show+"\nRUN --security=insecure "+show+"\n")
	r := s.inPod(t, place,
		show+"\nexec $COOPER --storage-driver vfs build --no-cache --progress=plain --allow security.insecure -f busybox/Insecure busybox")
	seen := regexp.MustCompile(`user:\[\d+\]`).FindAllString(r.Stderr, -1)
	if r.Code != 0 || len(seen) != 3 || seen[1] != seen[0] || seen[2] == seen[0] {
		t.Errorf("status %d, namespaces of the place, the step and the insecure step: %v\n%s", r.Code, seen, tail(r.Stderr))
	}
}

// TestAsRootContainersThatKeepFromBuildingSayWhy: one sentence names the line that is missing, and doctor's check has
// it, too.
func TestAsRootContainersThatKeepFromBuildingSayWhy(t *testing.T) {
	t.Parallel()
	ids := podIDs(65536)
	for name, test := range map[string]struct {
		pod
		check string
		want  []string
	}{
		"an engine's filter": {pod{ids: ids, denials: engineProfile()}, "user-namespace",
			[]string{"seccomp filter", "seccompProfile.type: Unconfined"}},
		"the machine's IDs": {pod{denials: engineProfile()}, "user-namespace",
			[]string{"seccomp filter", "--security-opt seccomp=unconfined"}},
		"parts of proc hidden": {pod{ids: ids, script: "mount --bind /dev/null /proc/timer_list\n"}, "proc",
			[]string{"procMount: Unmasked"}},
		"no right to map": {pod{ids: ids, caps: "chown,dac_override,kill"}, "id-map",
			[]string{"SETUID", "capabilities.add: [SETUID, SETGID, SETFCAP]"}},
		"no right to map root": {pod{ids: ids, caps: "chown,dac_override,setuid,setgid"}, "id-map", []string{"SETFCAP"}},
		"no namespaces at all": {pod{ids: ids, script: "echo 0 >/proc/sys/user/max_user_namespaces\n"}, "user-namespace",
			[]string{"max_user_namespaces"}},
		"mounts are restricted": {pod{ids: ids, denials: deny(unix.EPERM, unix.SYS_MOUNT)}, "user-namespace",
			[]string{"mounts in them", "Unconfined"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newPod(t, test.pod)
			if err := s.makeBusybox(); err != nil {
				t.Fatal(err)
			}
			r := s.inPod(t, test.pod, "exec $COOPER build -q busybox")
			r.fails(t, 125, test.want...)
			if strings.Contains(r.Stderr, "--privileged") {
				t.Errorf("it asks for too much: %s", r.Stderr)
			}
			d := s.inPod(t, test.pod, "exec $COOPER doctor --json").diagnose(t)
			d.has(t, test.check, "fail", test.want...)
			if d.Works || strings.Contains(fmt.Sprint(d.Checks), "--privileged") {
				t.Errorf("%+v", d)
			}
		})
	}
}

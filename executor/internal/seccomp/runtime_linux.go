package seccomp

import (
	"slices"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// clone is the call whose conditions are left to runtimes, which make namespaces themselves.
const clone = "clone"

// forRuntimes writes a filter down for OCI runtimes. Their library knows no order of rules, and takes one about socket
// for one about socketcall whatever the socket, so that no rules of it can say what those with conditions say here:
// they are left to ahead. What no rule names and the machine knows gets EPERM by a rule, and the rest ENOSYS: the
// library has no such rule for calls that are newer than it.
func (r rules) forRuntimes(on []abi) *specs.LinuxSeccomp {
	out := *r.profile
	if r.deny == nil {
		return &out
	}
	ahead := r.decidedAhead()
	out.Syscalls = []specs.LinuxSyscall{{Names: ahead, Action: specs.ActAllow}}
	for _, rule := range r.profile.Syscalls {
		if rule.Names = without(rule.Names, ahead); len(rule.Names) > 0 {
			out.Syscalls = append(out.Syscalls, rule)
		}
	}
	nosys := uint(unix.ENOSYS)
	out.DefaultErrnoRet = &nosys
	if rest := unnamed(r.profile, on); len(rest) > 0 {
		out.Syscalls = append(out.Syscalls, errnoRule(rest, unix.EPERM))
	}
	if !conditional(r.profile, clone) {
		return &out
	}
	for bit := uint32(1); bit != 0; bit <<= 1 {
		if newNamespaces&bit != 0 {
			rule := errnoRule([]string{clone}, unix.EPERM)
			rule.Args = []specs.LinuxSeccompArg{{Value: uint64(bit), ValueTwo: uint64(bit), Op: specs.OpMaskedEqual}}
			out.Syscalls = append(out.Syscalls, rule)
		}
	}
	return &out
}

// ahead gives the program that decides about the calls that are left to it, and allows all others; nil: there is none.
func (r rules) ahead(on []abi) ([]unix.SockFilter, error) {
	if r.deny == nil {
		return nil, nil
	}
	calls := r.decidedAhead()
	p := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: archs(on)}
	for _, rule := range r.profile.Syscalls {
		rule.Names = slices.DeleteFunc(slices.Clone(rule.Names),
			func(name string) bool { return !slices.Contains(calls, name) })
		if len(rule.Names) > 0 {
			p.Syscalls = append(p.Syscalls, rule)
		}
	}
	p.Syscalls = append(p.Syscalls, errnoRule(calls, unix.EPERM)) // if no other rule decides
	return rules{profile: p, deny: r.deny}.assemble(on)
}

// decidedAhead are the calls whose arguments count, but for clone.
func (r rules) decidedAhead() []string {
	var calls []string
	for _, rule := range r.profile.Syscalls {
		if len(rule.Args) > 0 {
			calls = append(calls, without(rule.Names, []string{clone})...)
		}
	}
	for _, d := range r.deny {
		calls = append(calls, d.call)
	}
	slices.Sort(calls)
	return slices.Compact(calls)
}

// conditional tells whether rules with conditions name the call. Then these say what is allowed.
func conditional(p *specs.LinuxSeccomp, call string) bool {
	return slices.ContainsFunc(p.Syscalls, func(r specs.LinuxSyscall) bool {
		return len(r.Args) > 0 && slices.Contains(r.Names, call)
	})
}

func errnoRule(calls []string, errno unix.Errno) specs.LinuxSyscall {
	number := uint(errno)
	return specs.LinuxSyscall{Names: calls, Action: specs.ActErrno, ErrnoRet: &number}
}

// unnamed gives the calls of the machine that no rule names, and which aren't newer than those that are named.
func unnamed(p *specs.LinuxSeccomp, on []abi) []string {
	named := map[string]bool{}
	for _, r := range p.Syscalls {
		for _, name := range r.Names {
			named[name] = true
		}
	}
	var rest []string
	for _, a := range on {
		newest := a.newest(p)
		for name, nr := range a.calls {
			if !named[name] && nr <= newest {
				rest = append(rest, name)
			}
		}
	}
	slices.Sort(rest)
	return slices.Compact(rest)
}

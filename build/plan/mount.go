package plan

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

const (
	// The modes of a new cache directory, a secret and an agent's socket.
	cacheMode  = 0o755
	secretMode = 0o400
	socketMode = 0o600

	secretsDir    = "/run/secrets"
	agentSocket   = "/run/buildkit/ssh_agent." // and a number
	agentVariable = "SSH_AUTH_SOCK"
	defaultAgent  = "default"
	// hiddenSecret is shown in place of a secret's value.
	hiddenSecret = "****"
)

func (x running) mounts(c *instructions.RunCommand) ([]Mount, error) {
	if err := c.Expand(x.word); err != nil {
		message, hint := dockerfile.Explain("run", err)
		return nil, &hinted{message, hint}
	}

	var mounts []Mount
	agents := 0
	for n, m := range instructions.GetMounts(c) {
		mount, err := x.mount(m, x.in.origins[n])
		if err != nil {
			return nil, err
		}
		if mount.Type == MountSSH {
			if m.Target == "" {
				mount.Target = agentSocket + strconv.Itoa(agents)
			}
			agents++
		}
		if mount.Target == "/" {
			return nil, &hinted{fmt.Sprintf("the mount target %q is the root directory", m.Target),
				"give the mount a target=PATH"}
		}
		mounts = append(mounts, mount)
	}

	return mounts, nil
}

// mount plans one --mount, with its values expanded.
func (x running) mount(m *instructions.Mount, from origin) (out Mount, err error) {
	out = Mount{ReadOnly: m.ReadOnly, Required: m.Required}
	out.Target = path.Clean(m.Target)
	if !path.IsAbs(m.Target) {
		out.Target = path.Join(x.stage.image.Dir(), m.Target)
	}

	switch m.Type {
	case instructions.MountTypeBind:
		out.Type, out.Source = MountBind, path.Join("/", m.Source)
		out.From = Input{Kind: InputContext}
		if from.kind != originNone {
			out.From = x.steps.input(from)
		}
	case instructions.MountTypeCache:
		out.Type, out.Source = MountCache, path.Join("/", m.Source)
		out.From = x.steps.input(from)
		out.cache(m)
		out.ID = path.Join(x.args.cacheNamespace(), out.ID)
	case instructions.MountTypeTmpfs:
		out.Type, out.Source = MountTmpfs, path.Join("/", m.Source)
		out.SizeBytes = max(0, m.SizeLimit)
	case instructions.MountTypeSecret:
		err = out.secret(m)
	case instructions.MountTypeSSH:
		err = out.ssh(m)
	default:
		return Mount{}, refuse("RUN --mount=type="+string(m.Type), "the types are bind, cache, secret, ssh and tmpfs")
	}

	return out, err
}

// cache sets the fields that only a cache mount has.
func (m *Mount) cache(from *instructions.Mount) {
	m.ID = from.CacheID
	if m.ID == "" {
		m.ID = path.Clean(from.Target)
	}
	m.Sharing = SharingShared
	if from.CacheSharing != "" {
		m.Sharing = Sharing(from.CacheSharing)
	}
	m.own(from, cacheMode)
}

// own sets owner and mode; mode is the default.
func (m *Mount) own(from *instructions.Mount, mode uint32) {
	m.Owned = from.Mode != nil || from.UID != nil || from.GID != nil
	m.Mode = mode
	if from.Mode != nil {
		m.Mode = uint32(*from.Mode & 0o7777)
	}
	if from.UID != nil {
		m.UID = uint32(min(*from.UID, math.MaxUint32))
	}
	if from.GID != nil {
		m.GID = uint32(min(*from.GID, math.MaxUint32))
	}
}

// secret sets the fields of a secret mount, which gives a step a file, an environment variable, or both.
func (m *Mount) secret(from *instructions.Mount) error {
	m.Type = MountSecret
	m.ID = from.CacheID
	if from.Source != "" {
		m.ID = from.Source
	}
	if m.ID == "" {
		m.ID = path.Base(from.Target)
	}

	switch {
	case from.Target == "" && from.Env == nil:
		m.Target = path.Join(secretsDir, path.Base(m.ID))
	case from.Target == "":
		m.Target = ""
	}

	if m.Target == secretsDir {
		return &hinted{fmt.Sprintf("the secret %q has no file name", m.ID), "give the mount a target=PATH"}
	}
	if from.Env != nil {
		if m.Env = *from.Env; m.Env == "" || strings.ContainsAny(m.Env, "=\x00") {
			return &hinted{fmt.Sprintf("env=%s is not the name of a variable", m.Env),
				"such as --mount=type=secret,id=TOKEN,env=TOKEN"}
		}
	}

	m.own(from, secretMode)
	return nil
}

// ssh sets the fields of an SSH mount, which gives a step the socket of an agent.
func (m *Mount) ssh(from *instructions.Mount) error {
	m.Type = MountSSH
	switch {
	case from.Source != "":
		return &hinted{"an ssh mount takes no source", "id=ID says which agent of --ssh it is"}
	case from.From != "":
		return &hinted{"an ssh mount takes no from", "id=ID says which agent of --ssh it is"}
	case from.Env != nil:
		return &hinted{"an ssh mount takes no env", agentVariable + " names the socket of a step's first ssh mount"}
	}
	if m.ID = from.CacheID; m.ID == "" {
		m.ID = defaultAgent
	}
	m.own(from, socketMode)
	return nil
}

// withAgent adds SSH_AUTH_SOCK with the socket of the first SSH mount to an environment, unless it is set already.
func withAgent(env []string, mounts []Mount) []string {
	first := slices.IndexFunc(mounts, func(m Mount) bool { return m.Type == MountSSH })
	set := slices.ContainsFunc(env, func(entry string) bool { return strings.HasPrefix(entry, agentVariable+"=") })
	if first < 0 || set {
		return env
	}
	return append(env, agentVariable+"="+mounts[first].Target)
}

// hideSecrets gives env with the variables that a RUN takes from secrets, marked as hidden: the plan doesn't know their
// values.
func hideSecrets(c *instructions.RunCommand, env *variables) *variables {
	hidden := env
	for _, m := range instructions.GetMounts(c) {
		if m.Type != instructions.MountTypeSecret || m.Env == nil {
			continue
		}
		if hidden == env {
			hidden = &variables{names: env.names, entries: env.entries, hidden: map[string]bool{}}
		}
		hidden.hidden[*m.Env] = true
	}
	return hidden
}

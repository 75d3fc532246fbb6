package plan

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"

	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

const (
	// scriptDir is where heredoc scripts with a #! line are shown to their step.
	scriptDir  = "/dev/pipes"
	scriptMode = 0o755
	// cacheMode is the mode of a new cache directory.
	cacheMode = 0o755
)

// run plans RUN.
func (x expanding) run(c *instructions.RunCommand) error {
	if err := x.checkRunFlags(c); err != nil {
		return err
	}
	args, files, err := x.runArgs(c)
	if err != nil {
		return err
	}
	mounts, err := x.mounts(c)
	if err != nil {
		return err
	}
	op := &Run{
		Args: args, Files: files, Mounts: mounts,
		Env: x.runEnv(), ProxyEnv: x.proxyEnv(x.stage.env),
		Cwd: x.stage.image.Dir(), User: x.stage.image.Config.User,
		Network: instructions.GetNetwork(c),
	}
	createdBy := "RUN " + x.withArgs(args)
	x.step(op, createdBy, true)
	return x.grow(len(op.Env) + len(createdBy)/bytesPerEntry)
}

func (x expanding) checkRunFlags(c *instructions.RunCommand) error {
	if instructions.GetSecurity(c) != instructions.SecuritySandbox {
		return refuse("RUN --security="+instructions.GetSecurity(c), "leave --security out: the step runs in its own namespaces")
	}
	if len(instructions.GetDevices(c)) > 0 {
		return refuse("RUN --device", "")
	}
	return nil
}

// runArgs is the argument vector of RUN. A heredoc that is the whole command is run by the shell, or as a program of its
// own if it has a #! line; any other heredoc is given back to the shell with the command.
func (x expanding) runArgs(c *instructions.RunCommand) (args []string, files []InlineFile, err error) {
	args = c.CmdLine
	if len(c.Files) > 0 {
		if len(args) != 1 || !c.PrependShell {
			return nil, nil, &hinted{"a heredoc can't be used with the exec form", "write RUN <<EOF or RUN COMMAND <<EOF"}
		}
		if parser.MustParseHeredoc(args[0]) != nil {
			script, name := c.Files[0].Data, c.Files[0].Name
			if c.Files[0].Chomp {
				script = parser.ChompHeredocContent(script)
			}
			if strings.HasPrefix(script, "#!") {
				if err := checkFileName(name); err != nil {
					return nil, nil, err
				}
				file := InlineFile{Path: path.Join(scriptDir, name), Mode: scriptMode, Data: []byte(script)}
				return append(x.stage.image.Shell(), file.Path), []InlineFile{file}, nil
			}
			args = []string{script}
		} else {
			args = []string{withHeredocs(args[0], c.Files)}
		}
	}
	if c.PrependShell {
		return append(x.stage.image.Shell(), strings.Join(args, " ")), nil, nil
	}
	if len(args) == 0 {
		return nil, nil, &hinted{"RUN [] has no command", `usage: RUN ["PROGRAM","ARGUMENT"...] or RUN COMMAND`}
	}
	return args, nil, nil
}

func withHeredocs(command string, files []instructions.ShellInlineFile) string {
	var b strings.Builder
	b.WriteString(command)
	for _, f := range files {
		b.WriteString("\n" + f.Data + f.Name)
	}
	return b.String()
}

// checkFileName refuses heredoc names that would lead elsewhere.
func checkFileName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") {
		return &hinted{fmt.Sprintf("the heredoc name %q is not a plain file name", name), "use letters and digits, such as <<EOF"}
	}
	return nil
}

// runEnv is the image's environment with the values that hold now, then the build arguments.
func (x expanding) runEnv() []string {
	env := make([]string, 0, len(x.stage.env.names))
	inImage := map[string]bool{}
	for _, entry := range x.stage.image.Config.Env {
		name, _, _ := strings.Cut(entry, "=")
		inImage[name] = true
		env = append(env, x.stage.env.entries[name])
	}
	for _, name := range x.stage.env.names {
		if !inImage[name] {
			env = append(env, x.stage.env.entries[name])
		}
	}
	return env
}

// withArgs is the history text of a command: "|N NAME=VALUE... ARGUMENTS" if there are build arguments.
func (x expanding) withArgs(args []string) string {
	var texts []string
	place := map[string]int{}
	for _, a := range x.stage.args {
		value, ok := x.stage.env.Get(a.name)
		if !ok {
			value = a.value
		}
		text := a.name + "=" + value
		if n, again := place[a.name]; again {
			texts[n] = text
			continue
		}
		place[a.name] = len(texts)
		texts = append(texts, text)
	}
	if len(texts) > 0 {
		texts = slices.Insert(texts, 0, fmt.Sprintf("|%d", len(texts)))
	}
	return strings.Join(append(texts, args...), " ")
}

func (x expanding) mounts(c *instructions.RunCommand) ([]Mount, error) {
	if err := c.Expand(x.word); err != nil {
		message, hint := dockerfile.Explain("run", err)
		return nil, &hinted{message, hint}
	}
	var mounts []Mount
	for n, m := range instructions.GetMounts(c) {
		mount, err := x.mount(m, x.in.origins[n])
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, mount)
	}
	return mounts, nil
}

// mount plans one --mount, with its values expanded.
func (x expanding) mount(m *instructions.Mount, from origin) (Mount, error) {
	out := Mount{Source: path.Join("/", m.Source), ReadOnly: m.ReadOnly}
	out.Target = path.Clean(m.Target)
	if !path.IsAbs(m.Target) {
		out.Target = path.Join(x.stage.image.Dir(), m.Target)
	}
	switch m.Type {
	case instructions.MountTypeBind:
		out.Type = MountBind
		out.From = Input{Kind: InputContext}
		if from.kind != originNone {
			out.From = x.input(from)
		}
	case instructions.MountTypeCache:
		out.Type = MountCache
		out.From = x.input(from)
		out.cache(m)
		out.CacheID = path.Join(x.cacheNamespace(), out.CacheID)
	case instructions.MountTypeTmpfs:
		out.Type = MountTmpfs
		out.SizeBytes = max(0, m.SizeLimit)
	default:
		return Mount{}, refuse("RUN --mount=type="+string(m.Type), "the types are bind, cache and tmpfs")
	}
	if out.Target == "/" {
		return Mount{}, &hinted{fmt.Sprintf("the mount target %q is the root directory", m.Target), "give the mount a target=PATH"}
	}
	return out, nil
}

// cache fills in what a cache mount has beyond the others.
func (m *Mount) cache(from *instructions.Mount) {
	m.CacheID = from.CacheID
	if m.CacheID == "" {
		m.CacheID = path.Clean(from.Target)
	}
	m.Sharing = SharingShared
	if from.CacheSharing != "" {
		m.Sharing = Sharing(from.CacheSharing)
	}
	m.Mode = cacheMode
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

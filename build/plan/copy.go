package plan

import (
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/linter"

	"github.com/cooperbuild/cooper/imagebuilder/remote"
	"github.com/cooperbuild/cooper/internal/chmod"
)

const heredocMode = 0o644

// copying is the planning of COPY or ADD.
type copying struct {
	expanding
	// fetched are the flags of ADD for remote sources; nil for COPY, which takes none.
	fetched *fetchFlags
}

// copyFiles plans COPY.
func (x copying) copyFiles(c *instructions.CopyCommand) error {
	op := &Copy{From: Input{Kind: InputContext}, Link: c.Link, Parents: c.Parents, Excludes: c.ExcludePatterns}
	if len(x.in.origins) > 0 {
		op.From = x.steps.input(x.in.origins[0])
	}
	return x.transfer("COPY", op, c.SourcesAndDest, [2]string{c.Chown, c.Chmod})
}

// addFiles plans ADD.
func (x copying) addFiles(c *instructions.AddCommand) error {
	op := &Copy{
		From: Input{Kind: InputContext}, Unpack: c.Unpack == nil || *c.Unpack, Link: c.Link, Excludes: c.ExcludePatterns,
	}
	x.text = remote.Redact(x.text)
	x.fetched = &fetchFlags{checksum: c.Checksum, keepGitDir: c.KeepGitDir, unpack: c.Unpack != nil && *c.Unpack}
	return x.transfer("ADD", op, c.SourcesAndDest, [2]string{c.Chown, c.Chmod})
}

// transfer adds the step of a COPY or ADD; name is the instruction's. op has the fields that only one of the two has;
// transfer sets the others. owner holds --chown and --chmod as written.
func (x copying) transfer(name string, op *Copy, files instructions.SourcesAndDest, owner [2]string) (err error) {
	if op.Chown, err = x.word(owner[0]); err != nil {
		return err
	}
	if op.Chmod, err = x.word(owner[1]); err != nil {
		return err
	}
	if err := checkMode(op.Chmod); err != nil {
		return err
	}

	if err := checkExcludes(op.Excludes); err != nil {
		return err
	}
	if err := op.settleLink(); err != nil {
		return err
	}
	if op.Sources, err = x.words(files.SourcePaths); err != nil {
		return err
	}

	dest, err := x.word(files.DestPath)
	if err != nil {
		return err
	}

	op.Dest = x.destination(dest)
	if err := x.takeRemotes(op); err != nil {
		return err
	}

	x.lintSources(name, op)
	if op.Files, err = x.heredocs(files.SourceContents); err != nil {
		return err
	}
	createdBy := copyText(name, op, dest)
	x.step(op, createdBy, true)
	return x.budget.hold(len(createdBy))
}

// settleLink refuses a --chown by name together with --link, whose layer has no /etc/passwd below it to look the name
// up in. As in docker, --chmod switches --link off: a linked layer would also give the mode to directories that exist
// below.
func (op *Copy) settleLink() error {
	if op.Link && namesOwner(op.Chown) {
		return &hinted{
			fmt.Sprintf("--chown=%s: with --link there is no /etc/passwd or /etc/group to look names up in", op.Chown),
			"give numbers, such as --chown=1000:1000, or leave --link out",
		}
	}
	op.Link = op.Link && op.Chmod == ""
	return nil
}

// namesOwner reports whether --chown has a name that must be looked up in the image. "root" needn't: it is 0
// everywhere.
func namesOwner(chown string) bool {
	user, group, _ := strings.Cut(chown, ":")
	for _, name := range []string{user, group} {
		_, err := strconv.ParseUint(name, 10, 32)
		if name != "" && name != "root" && err != nil {
			return true
		}
	}
	return false
}

// checkExcludes refuses patterns that could never match.
func checkExcludes(patterns []string) error {
	for _, p := range patterns {
		text := strings.TrimSpace(p)
		switch _, err := path.Match(strings.ReplaceAll(text, "**", "*"), ""); {
		case text == "" || text == "!":
			return &hinted{fmt.Sprintf("--exclude=%s names nothing", p), "give a path or pattern, such as --exclude=**/*.log"}
		case err != nil:
			return &hinted{fmt.Sprintf("--exclude=%s is not a pattern", p), `a [ needs its ], or a \ before it`}
		}
	}
	return nil
}

// copyText gives the created_by text for the history: sources and destination as written, after expansion. It leaves
// out --link, --exclude and --unpack, as docker does.
func copyText(name string, op *Copy, dest string) string {
	text := name
	if op.Parents {
		text += " --parents"
	}
	if op.Chown != "" {
		text += " --chown=" + op.Chown
	}
	if op.Chmod != "" {
		text += " --chmod=" + op.Chmod
	}
	for _, src := range op.written() {
		text += " " + src
	}
	for _, f := range op.Files {
		text += " <<" + f.Path
	}
	return text + " " + dest
}

// destination gives the absolute, clean destination; it ends in a slash if dest was written as a directory.
func (x copying) destination(dest string) string {
	isDir := dest == "" || dest == "." || dest == ".." || strings.HasSuffix(dest, "/") || strings.HasSuffix(dest, "/.") ||
		strings.HasSuffix(dest, "/..")
	abs := path.Clean(dest)
	if !path.IsAbs(dest) {
		abs = path.Join(x.stage.image.Dir(), dest)
	}
	if isDir && abs != "/" {
		abs += "/"
	}
	return abs
}

// heredocs gives the heredocs of COPY or ADD, with variables expanded unless the heredoc's name was quoted.
func (x copying) heredocs(contents []instructions.SourceContent) ([]InlineFile, error) {
	var files []InlineFile
	for _, content := range contents {
		if err := checkFileName(content.Path); err != nil {
			return nil, err
		}
		data := content.Data
		if content.Expand {
			e, err := run(x.expand.raw, data, x.stage.env)
			if err != nil {
				return nil, fmt.Errorf("cannot expand the heredoc %s: %w", content.Path, err)
			}
			x.lint.undefined(x.in.Location(), e.missing, x.stage.env, x.stage.args)
			data = e.text
		}
		files = append(files, InlineFile{Path: content.Path, Mode: heredocMode, Data: []byte(data)})
	}
	return files, nil
}

func checkMode(mode string) error {
	if _, err := chmod.Parse(mode); err == nil {
		return nil
	}

	return &hinted{fmt.Sprintf("--chmod=%s is not a mode", mode),
		"a mode is octal up to 7777, such as 0755, or symbolic, such as u=rwX,go=rX"}
}

// lintSources reports sources of COPY and ADD that the ignore file hides.
func (x copying) lintSources(name string, op *Copy) {
	if x.opts.Ignore == nil || op.From.Kind != InputContext || op.From.Name != "" {
		return
	}
	verb := name[:1] + strings.ToLower(name[1:])
	for _, src := range op.Sources {
		if x.opts.Ignore.HidesSource(src) {
			rule := &linter.RuleCopyIgnoredFile
			x.lint.Run(rule, x.in.Location(), rule.Format(verb, path.Clean(src)))
		}
	}
}

package plan

import (
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
)

const heredocMode = 0o644

// copyFiles plans COPY.
func (x expanding) copyFiles(c *instructions.CopyCommand) error {
	switch {
	case c.Link:
		return refuse("COPY --link", "leave --link out: the files are the same without it")
	case c.Parents:
		return refuse("COPY --parents", "copy into the directories by name")
	case len(c.ExcludePatterns) > 0:
		return refuse("COPY --exclude", "put the pattern into .dockerignore")
	}
	op := &Copy{From: Input{Kind: InputContext}}
	if len(x.in.origins) > 0 {
		op.From = x.input(x.in.origins[0])
	}
	return x.transfer("COPY", op, c.SourcesAndDest, [2]string{c.Chown, c.Chmod})
}

// addFiles plans ADD of local files.
func (x expanding) addFiles(c *instructions.AddCommand) error {
	switch {
	case c.Link:
		return refuse("ADD --link", "leave --link out: the files are the same without it")
	case len(c.ExcludePatterns) > 0:
		return refuse("ADD --exclude", "put the pattern into .dockerignore")
	case c.Checksum != "":
		return refuse("ADD --checksum", "")
	case c.KeepGitDir != nil && *c.KeepGitDir:
		return refuse("ADD --keep-git-dir", "")
	}
	op := &Copy{From: Input{Kind: InputContext}, Add: c.Unpack == nil || *c.Unpack}
	return x.transfer("ADD", op, c.SourcesAndDest, [2]string{c.Chown, c.Chmod})
}

// transfer expands what COPY and ADD have in common; owner is --chown and --chmod.
func (x expanding) transfer(name string, op *Copy, files instructions.SourcesAndDest, owner [2]string) (err error) {
	if op.Chown, err = x.word(owner[0]); err != nil {
		return err
	}
	if op.Chmod, err = x.word(owner[1]); err != nil {
		return err
	}
	if err := checkMode(op.Chmod); err != nil {
		return err
	}
	if op.Sources, err = x.words(files.SourcePaths); err != nil {
		return err
	}
	if err := checkSources(name, op.Sources); err != nil {
		return err
	}
	x.lintSources(name, op)
	dest, err := x.word(files.DestPath)
	if err != nil {
		return err
	}
	op.Dest = x.destination(dest)
	if op.Files, err = x.heredocs(files.SourceContents); err != nil {
		return err
	}
	createdBy := copyText(name, op, dest)
	x.step(op, createdBy, true)
	return x.grow(len(createdBy) / bytesPerEntry)
}

// copyText is the history text: sources and destination as written, after expansion.
func copyText(name string, op *Copy, dest string) string {
	text := name
	if op.Chown != "" {
		text += " --chown=" + op.Chown
	}
	if op.Chmod != "" {
		text += " --chmod=" + op.Chmod
	}
	for _, src := range op.Sources {
		text += " " + src
	}
	for _, f := range op.Files {
		text += " <<" + f.Path
	}
	return text + " " + dest
}

// destination is absolute and clean; it ends in a slash if it was written as a directory.
func (x expanding) destination(dest string) string {
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

// heredocs are the inline files of COPY and ADD, with variables filled in unless the name was quoted.
func (x expanding) heredocs(contents []instructions.SourceContent) ([]InlineFile, error) {
	var files []InlineFile
	for _, content := range contents {
		if err := checkFileName(content.Path); err != nil {
			return nil, err
		}
		data := content.Data
		if content.Expand {
			e, err := run(x.planner.expand.raw, data, x.stage.env)
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
	if mode == "" {
		return nil
	}
	if n, err := strconv.ParseUint(mode, 8, 32); err == nil && n <= 0o7777 {
		return nil
	}
	clause := `[ugoa]*([-+=]([rwxXst]*|[ugo]))+`
	if regexp.MustCompile(`^` + clause + `(,` + clause + `)*$`).MatchString(mode) {
		return nil
	}
	return &hinted{fmt.Sprintf("--chmod=%s is not a mode", mode), "a mode is octal up to 7777, such as 0755, or symbolic, such as u=rwX,go=rX"}
}

// checkSources refuses sources that are not local files.
func checkSources(name string, sources []string) error {
	for _, src := range sources {
		kind := remoteKind(src)
		if kind == "" {
			continue
		}
		if name == "COPY" {
			return &hinted{fmt.Sprintf("COPY takes no URL: %s", src), "fetch it with RUN, in a stage of its own"}
		}
		return refuse(fmt.Sprintf("ADD of %s: %s", kind, src), "fetch it with RUN, in a stage of its own")
	}
	return nil
}

// remoteKind says what a source that is not a local file is; "" for a local file.
func remoteKind(src string) string {
	for _, scheme := range []string{"http://", "https://"} {
		if strings.HasPrefix(src, scheme) {
			return "a URL"
		}
	}
	for _, scheme := range []string{"git://", "ssh://"} {
		if strings.HasPrefix(src, scheme) {
			return "a git repository"
		}
	}
	// USER@HOST:PATH is git over ssh.
	user, rest, isRemote := strings.Cut(src, "@")
	host, _, hasPath := strings.Cut(rest, ":")
	if isRemote && hasPath && user != "" && host != "" && !strings.ContainsAny(user+host, "/\\*?[ ") {
		return "a git repository"
	}
	return ""
}

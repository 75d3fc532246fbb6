package plan

import (
	"strings"

	"github.com/cooperbuild/cooper/imagebuilder/reference"
	"github.com/cooperbuild/cooper/imagebuilder/remote"
)

// imageSource begins the names of images among the sources.
const imageSource = "docker-image://"

// sourceOf is the image that is used for the one that a Dockerfile names. Layouts, inner builds and IDs are no sources
// that a policy could be about.
func sourceOf(s Sources, ref string) (string, error) {
	if s == nil || strings.HasPrefix(ref, LayoutRef) || strings.HasPrefix(ref, TargetRef) || reference.IsID(ref) {
		return ref, nil
	}
	name, err := reference.Parse(ref)
	if err != nil {
		return "", err
	}
	full := imageSource + name.WithLatest().String()
	got, err := s.Source(full)
	if err != nil || got == full {
		return ref, err
	}
	return strings.TrimPrefix(got, imageSource), nil
}

// GitSource is the repository that is used for another one.
func GitSource(s Sources, ref remote.Git) (remote.Git, error) {
	if s == nil {
		return ref, nil
	}
	_, at, found := strings.Cut(ref.Remote, "://")
	if !found { // USER@HOST:PATH
		at = strings.Replace(ref.Remote, ":", "/", 1)
	}
	host, path, _ := strings.Cut(at, "/")
	name := "git://" + host[strings.LastIndexByte(host, '@')+1:] + "/" + path // a user may be followed by a password
	if ref.Ref != "" {
		name += "#" + ref.Ref
	}
	got, err := s.Source(name)
	if err != nil || got == name {
		return ref, err
	}
	to, _, err := remote.ParseGit(got)
	to.KeepGitDir, to.Submodules, to.CommitTimes, to.Subdir = ref.KeepGitDir, ref.Submodules, ref.CommitTimes, ref.Subdir
	return to, err
}

// URLSource is the URL that is used for another one.
func URLSource(s Sources, url string) (string, error) {
	if s == nil {
		return url, nil
	}
	return s.Source(url)
}

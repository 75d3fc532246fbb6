package inputs

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/containerd/platforms"

	"github.com/cooperbuild/cooper/build/plan"
	"github.com/cooperbuild/cooper/imagebuilder/reference"
	"github.com/cooperbuild/cooper/imagebuilder/remote"
)

// ParseContext reads a named context, NAME=VALUE. The name is an image or stage name, with ::PLATFORM if it is for one
// platform only; it comes back as the key of Request.Contexts. Values are those of docker and podman: a directory or
// archive, docker-image://, container-image:// or docker:// with an image name, oci-layout://DIR[:TAG][@DIGEST], the
// URL of a git repository or of a file, target:DIR[#STAGE].
func ParseContext(text string) (key string, c plan.NamedContext, err error) {
	shown := remote.Redact(text)
	name, value, ok := strings.Cut(text, "=")
	if !ok || name == "" || value == "" {
		return "", c, fmt.Errorf("%q: must be NAME=VALUE", shown)
	}
	key = strings.ToLower(name)
	bare, platform, hasPlatform := strings.Cut(key, "::")
	if _, err := reference.Parse(bare); err != nil {
		return "", c, fmt.Errorf("%q: the name must be one that FROM or --from can have: %w", shown, err)
	}
	if hasPlatform {
		if _, err := platforms.Parse(platform); err != nil {
			return "", c, fmt.Errorf("%q: what follows :: must be a platform, such as linux/amd64", shown)
		}
	}
	c, err = parseContextValue(value)
	if err != nil {
		return "", c, fmt.Errorf("%s: %w", shown, err)
	}
	return key, c, nil
}

func parseContextValue(value string) (plan.NamedContext, error) {
	for _, p := range []struct {
		prefix string
		kind   plan.ContextKind
	}{
		{"docker-image://", plan.ContextImage}, {"container-image://", plan.ContextImage}, {"docker://", plan.ContextImage},
		{"oci-layout://", plan.ContextLayout}, {"target:", plan.ContextTarget},
	} {
		ref, ok := strings.CutPrefix(value, p.prefix)
		if !ok {
			continue
		}
		if ref == "" {
			return plan.NamedContext{}, fmt.Errorf("nothing follows %s", p.prefix)
		}
		return plan.NamedContext{Kind: p.kind, Ref: ref}, nil
	}

	git, isGit, err := remote.ParseGit(value)
	if err != nil {
		return plan.NamedContext{}, err
	}
	if isGit && git.LikeLocal {
		_, err := os.Stat(value)
		isGit = err != nil
	}

	switch {
	case isGit:
		return plan.NamedContext{Kind: plan.ContextGit, Ref: value}, nil
	case remote.IsHTTP(value):
		return plan.NamedContext{Kind: plan.ContextHTTP, Ref: value}, nil
	case strings.Contains(value, "://"):
		return plan.NamedContext{},
			errors.New("the value must be a directory, docker-image://IMAGE, oci-layout://DIR, a URL that starts with " +
				"https://, http://, git:// or ssh://, or target:DIR[#STAGE]")
	}

	return plan.NamedContext{Kind: plan.ContextDirectory, Ref: value}, nil
}

package build

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cooperbuild/cooper/build/source"
	"github.com/cooperbuild/cooper/imagebuilder/dockerfile"
)

// maxDockerfile limits a Dockerfile's size; the largest in use are far below a megabyte.
const maxDockerfile = 16 << 20

// readDockerfile reads and parses the Dockerfile, and the ignore file that goes with it (nil if there is none).
func readDockerfile(req *Request) (*dockerfile.File, *source.Ignore, error) {
	info, err := os.Stat(req.ContextDir)
	if err != nil {
		return nil, nil, fmt.Errorf("open build context: %w", err)
	}
	if !info.IsDir() {
		return nil, nil, fmt.Errorf("open build context: %s is not a directory\nhint: the last argument names the directory to build from; -f names the Dockerfile", req.ContextDir)
	}
	name, text, err := findDockerfile(req)
	if err != nil {
		return nil, nil, err
	}
	file, err := dockerfile.Parse(name, text)
	if err != nil {
		return nil, nil, err
	}
	ignore, err := source.FindIgnore(name, req.ContextDir)
	if err != nil {
		return nil, nil, err
	}
	return file, ignore, nil
}

func findDockerfile(req *Request) (name string, text []byte, err error) {
	switch req.Dockerfile {
	case "-":
		return "-", req.Stdin, nil
	case "":
		for _, name := range []string{"Containerfile", "Dockerfile"} {
			path := filepath.Join(req.ContextDir, name)
			text, err := readLimited(path)
			if !errors.Is(err, os.ErrNotExist) {
				return path, text, err
			}
		}
		return "", nil, fmt.Errorf("find Dockerfile: %s has neither Containerfile nor Dockerfile\nhint: name it with -f FILE", req.ContextDir)
	}
	text, err = readLimited(req.Dockerfile)
	if errors.Is(err, os.ErrNotExist) && !filepath.IsAbs(req.Dockerfile) {
		// podman looks below the context as well.
		inContext := filepath.Join(req.ContextDir, req.Dockerfile)
		if text, err2 := readLimited(inContext); !errors.Is(err2, os.ErrNotExist) {
			return inContext, text, err2
		}
	}
	return req.Dockerfile, text, err
}

func readLimited(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read Dockerfile: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, fmt.Errorf("read Dockerfile: %s is a directory\nhint: -f names the file, the last argument the context directory", path)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxDockerfile+1))
	if err != nil {
		return nil, fmt.Errorf("read Dockerfile: %w", err)
	}
	if len(text) > maxDockerfile {
		return nil, fmt.Errorf("read Dockerfile: %s is larger than %d MiB", path, maxDockerfile>>20)
	}
	return text, nil
}

// machinePlatform is what this machine runs.
func machinePlatform() ocispec.Platform {
	p := ocispec.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH}
	switch p.Architecture {
	case "arm64":
		p.Variant = "v8"
	case "arm":
		p.Variant = "v7"
	}
	return p
}

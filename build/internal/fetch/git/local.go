package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// localPath is the directory of a file:// repository. If dirs isn't nil the repository must lie below one of them, with
// everything that belongs to it: git would follow symbolic links and references to other repositories.
func localPath(remote string, dirs []string) (string, error) {
	u, err := url.Parse(remote)
	if err != nil || !filepath.IsAbs(u.Path) {
		return "", errors.New("file:// takes an absolute path")
	}
	path, err := filepath.EvalSymlinks(u.Path)
	if err != nil {
		return "", err
	}
	if dirs != nil && !isBelowAny(path, dirs) {
		return "", fmt.Errorf("the build may not read %s\nhint: --allow=fs.read=%s permits it", path, path)
	}
	if dirs != nil {
		err = checkLocal(dotGit(path))
	}
	return path, err
}

// dotGit is the directory of a repository's own files.
func dotGit(path string) string {
	if _, err := os.Lstat(filepath.Join(path, ".git")); err == nil {
		return filepath.Join(path, ".git")
	}
	return path
}

// checkConfig refuses a local repository whose configuration could make the git that reads it run programs or fetch
// what is missing: git trusts a repository of the user, but this one may have come from anywhere.
func (s *repo) checkConfig(ctx context.Context) error {
	if s.path == "" {
		return nil
	}
	for _, name := range []string{"config", "config.worktree"} {
		file := filepath.Join(dotGit(s.path), name)
		if _, err := os.Lstat(file); err != nil {
			continue // without a configuration file git itself says what is wrong with the repository
		}
		out, err := s.git(ctx, "config", "--null", "--list", "--no-includes", "--name-only", "--file", file)
		if err != nil {
			return err
		}
		for key := range strings.SplitSeq(out, "\x00") {
			isRemote := strings.HasPrefix(key, "remote.") &&
				(strings.HasSuffix(key, ".promisor") || strings.HasSuffix(key, ".partialclonefilter"))
			switch {
			case isRemote, key == "extensions.partialclone":
				return fmt.Errorf("%s: a partial clone is refused (%s)", file, key)
			case s.r.LocalDirs != nil && strings.HasPrefix(key, "include"):
				return fmt.Errorf("%s: a configuration that includes others is refused (%s)", file, key)
			}
		}
	}
	return nil
}

func isBelowAny(path string, dirs []string) bool {
	for _, dir := range dirs {
		dir, err := filepath.Abs(dir)
		if err != nil {
			continue
		}
		if dir, err = filepath.EvalSymlinks(dir); err != nil {
			continue
		}
		if rel, err := filepath.Rel(dir, path); err == nil && rel != ".." && !strings.HasPrefix(rel, "../") {
			return true
		}
	}
	return false
}

// checkLocal refuses a repository that reaches outside of its directory.
func checkLocal(gitDir string) error {
	if info, err := os.Lstat(gitDir); err != nil || !info.IsDir() {
		return fmt.Errorf("%s is not a directory: a repository that is kept elsewhere is refused", gitDir)
	}
	return filepath.WalkDir(gitDir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(gitDir, path)
		if err != nil {
			return err
		}
		if e.Type()&fs.ModeSymlink != 0 {
			return fmt.Errorf("%s is a symbolic link: a repository that is kept elsewhere is refused", path)
		}
		switch rel {
		case "hooks", "modules", "worktrees":
			return fs.SkipDir // git reads nothing below this directory
		case "commondir", "objects/info/alternates", "objects/info/http-alternates":
			return fmt.Errorf("%s: a repository that refers to another one is refused", path)
		}
		return nil
	})
}

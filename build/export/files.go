package export

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cooperbuild/cooper/build/outfile"
)

// WriteTar calls write with the file dest, or with stdout if dest is Stdout. After an error there is no file dest, or
// still the old one.
func WriteTar(ctx context.Context, dest string, stdout io.Writer, write func(io.Writer) error) error {
	out, file, err := openFile(ctx, dest, stdout)
	if err != nil {
		return err
	}
	if file == nil {
		return write(out)
	}
	defer file.Abort()
	if err := write(out); err != nil {
		return err
	}
	return file.Commit()
}

// WriteDir calls fill to make files in a new directory, and then renames that to dest. If dest exists, the files are
// moved into it: they replace files and symbolic links of the same name, directories of the same name are merged, and
// all other files of dest stay. Links in dest are never followed. A file that has the name of a directory in dest is an
// error, which is found before anything in dest changes. With remove all other files of dest go.
func WriteDir(dest string, remove bool, fill func(dir string) error) error {
	d, err := outfile.OpenDir(dest, true)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := fill(d.Temp()); err != nil {
		return err
	}
	if !d.There() {
		return d.Commit()
	}
	root, err := os.OpenRoot(d.Path())
	if err != nil {
		return fmt.Errorf("open %s: %w", dest, cause(err))
	}
	m := merger{root, d.TempName()}
	if remove {
		err = m.prune(".")
	}
	if err == nil {
		err = m.each(".", m.check)
	}
	if err == nil {
		err = m.each(".", m.move)
	}
	return wrap("write to "+dest, errors.Join(err, root.Close()))
}

// merger moves the tree of a directory in root, temp, into root.
type merger struct {
	root *os.Root
	temp string
}

// each calls f for every name in a directory of the tree.
func (m merger) each(dir string, f func(path string, is fs.FileInfo) error) error {
	d, err := m.root.Open(filepath.Join(m.temp, dir))
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	if err = errors.Join(err, d.Close()); err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		is, err := m.root.Lstat(filepath.Join(m.temp, path))
		if err == nil {
			err = f(path, is)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// prune removes from a directory of root what the tree doesn't have there, and whatever would be in its way.
func (m merger) prune(dir string) error {
	d, err := m.root.Open(dir)
	if err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	if err = errors.Join(err, d.Close()); err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(dir, name)
		if path == m.temp {
			continue
		}
		was, err := m.root.Lstat(path)
		if err != nil {
			return err
		}
		is, err := m.root.Lstat(filepath.Join(m.temp, path))
		switch {
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return err
		case err == nil && is.IsDir() && was.IsDir():
			err = m.prune(path)
		case err != nil || is.IsDir() != was.IsDir():
			err = m.root.RemoveAll(path)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// there gives the file of the root at a path; nil if there is none.
func (m merger) there(path string) (fs.FileInfo, error) {
	is, err := m.root.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return is, err
}

// check refuses a file that would have to replace a directory and all files in it.
func (m merger) check(path string, is fs.FileInfo) error {
	was, err := m.there(path)
	switch {
	case err != nil || was == nil || !was.IsDir():
		return err
	case !is.IsDir():
		return fmt.Errorf("%q is a directory there, and a file in the image: remove it, or give another directory", path)
	}
	return m.each(path, m.check)
}

func (m merger) move(path string, is fs.FileInfo) error {
	was, err := m.there(path)
	if err != nil {
		return err
	}
	if was != nil && was.IsDir() && is.IsDir() {
		if err := m.each(path, m.move); err != nil {
			return err
		}
		return errors.Join(m.root.Chmod(path, is.Mode()), m.root.Chtimes(path, is.ModTime(), is.ModTime()))
	}
	if was != nil && is.IsDir() { // rename puts no directory in the place of a file
		if err := m.root.Remove(path); err != nil {
			return err
		}
	}
	return m.root.Rename(filepath.Join(m.temp, path), path)
}

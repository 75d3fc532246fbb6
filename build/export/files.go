package export

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cooperbuild/cooper/build/outfile"
)

// WriteTar has write fill the file dest, or stdout if dest is Stdout. After an error there is no file, or the one that
// was there before.
func WriteTar(dest string, stdout io.Writer, write func(io.Writer) error) error {
	out, file, err := openFile(dest, stdout)
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

// WriteDir has fill make files in a new directory, and gives that the name dest. If there is a directory already, the
// files go into it: they replace files and symbolic links of their names, directories of one name become one, all else
// stays. Links in dest are never followed. A file where dest has a directory is an error; until all the files are
// there, and this is looked for, nothing in dest changes.
func WriteDir(dest string, fill func(dir string) error) error {
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
	if err = m.each(".", m.check); err == nil {
		err = m.each(".", m.move)
	}
	return wrap("write to "+dest, errors.Join(err, root.Close()))
}

// merger moves the tree of a directory in root, temp, into root.
type merger struct {
	root *os.Root
	temp string
}

// each calls f for what a directory of the tree holds.
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

// there tells what the root has at a path; nil if nothing.
func (m merger) there(path string) (fs.FileInfo, error) {
	is, err := m.root.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return is, err
}

// check refuses a file that would have to replace a directory, with all that is in it.
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

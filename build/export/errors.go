package export

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// cause gives an error without the system call and the temporary name in front, which mean nothing to the user.
func cause(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		return link.Err
	}
	return err
}

// wrap is fmt.Errorf("what: %w", err) that leaves nil alone.
func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

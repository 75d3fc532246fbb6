package mounts

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/internal/inroot"
	"github.com/cooperbuild/cooper/executor/internal/memfs"
	"github.com/cooperbuild/cooper/executor/internal/rawproc"
	"github.com/cooperbuild/cooper/executor/step"
)

// AddStandard adds the files of name resolution (standard files), by their names in the root: it puts them into the
// memory file system, in directories of the same names, which it makes.
//
// They come from the executor while the step runs, but changes that the step makes to them belong in the layer. So on
// an overlay they aren't mounted, but put into the upper directory (planted), where the step may change or replace
// them, and removed at the end if the step didn't. On other roots they are mounted, and Keep writes the step's changes
// to the root at the end.
func (p *Plan) AddStandard(texts map[string][]byte) error {
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		if err := p.memory.Parents(".", name); err != nil {
			return err
		}
		if err := p.memory.Write(name, texts[name], 0o644); err != nil {
			return err
		}
		text := append([]byte{}, texts[name]...) // not nil
		p.List = append(p.List, Attachment{Point: inroot.Point{Name: name}, Memory: name, standard: text})
	}
	return nil
}

// IsAtPlace tells whether a file of the step is put into the /dev of the memory file system, where the step sees it
// without a mount. In /dev/shm it is mounted, since it would take part of the step's ShmSize.
func IsAtPlace(target string) bool {
	return inroot.Within(target, "dev") && !inroot.Within(target, memfs.ShmDir)
}

// AddFiles puts the step's files into the memory file system.
func (p *Plan) AddFiles(files []step.File) error {
	for i, f := range files {
		target, err := CleanTarget(f.Path)
		if err != nil {
			return err
		}

		owner, err := p.ids.InMemory(f.UID, f.GID)
		if err != nil {
			return fmt.Errorf("file %s: %w", f.Path, err)
		}

		name := "file" + strconv.Itoa(i)
		if IsAtPlace(target) {
			if err := p.memory.Parents("dev", strings.TrimPrefix(target, "dev/")); err != nil {
				return err
			}
			name = target
		} else {
			p.List = append(p.List, Attachment{Point: inroot.Point{Name: target}, Memory: name, ReadOnly: true})
		}

		if err := p.memory.Write(name, f.Data, f.Mode); err != nil {
			return err
		}
		if err := p.memory.GiveTo(name, owner, f.Mode); err != nil {
			return err
		}
	}

	return nil
}

// AddSockets makes the step's sockets in the memory file system, which listen from now on. The step reaches them only
// by the paths at which they are mounted, and can't replace them, since they are mounts.
func (p *Plan) AddSockets(sockets []step.Socket) error {
	for i, s := range sockets {
		if err := p.addSocket(s, "socket"+strconv.Itoa(i)); err != nil {
			return fmt.Errorf("socket %s: %w", s.Path, err)
		}
	}
	return nil
}

func (p *Plan) addSocket(s step.Socket, name string) error {
	target, err := CleanTarget(s.Path)
	if err != nil {
		return err
	}
	owner, err := p.ids.InMemory(s.UID, s.GID)
	if err != nil {
		return err
	}
	p.List = append(p.List, Attachment{Point: inroot.Point{Name: target}, Memory: name, ReadOnly: true})
	return p.memory.Listen(name, s, owner)
}

// maxStandard is the size in bytes of the largest standard file that is written back to the root.
const maxStandard = 1 << 20

// Keep writes the step's changes to mounted standard files to the root.
func (p *Plan) Keep() error {
	for _, a := range p.List {
		if !a.writeBack {
			continue
		}
		if err := rawproc.WithoutFork(func() error { return p.keep(a) }); err != nil {
			return fmt.Errorf("keep what the step has written to /%s: %w", a.Name, err)
		}
	}
	return nil
}

// keep writes the standard file a to the root if it isn't any more what AddStandard has put into it.
func (p *Plan) keep(a Attachment) error {
	from, err := inroot.OpenPlain(p.memory.Dir, a.Memory, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer from.Close()
	data, err := io.ReadAll(io.LimitReader(from, maxStandard+1))
	switch {
	case err != nil:
		return err
	case bytes.Equal(data, a.standard):
		return nil
	case len(data) > maxStandard:
		return errors.New("it is larger than " + strconv.Itoa(maxStandard>>10) + " KiB")
	}
	return p.root.Overwrite(a.Name, data)
}

package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cooperbuild/cooper/executor/spec"
)

// hidden is shown in place of a secret.
const hidden = "[secret]"

// keep writes to the step's KeepBundle what the runtime gets: the configuration, without secrets, and the command line.
func (o *BackEnd) keep(config spec.Container) error {
	dir := o.c.Step.KeepBundle
	if dir == "" {
		return nil
	}

	config.Env = slices.Clone(config.Env)
	for i, e := range config.Env {
		if name, _, _ := strings.Cut(e, "="); slices.Contains(o.c.Step.SecretEnv, name) {
			config.Env[i] = name + "=" + hidden
		}
	}

	data, err := encode(config)
	if err != nil {
		return fmt.Errorf("keep bundle: %w", err)
	}

	rt := o.runtime
	command := strings.Join(append(globalArgs(rt), "run", "--bundle", o.bundle.at, "step"), " ")
	if err = os.MkdirAll(filepath.Dir(dir), 0o700); err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err == nil {
		err = errors.Join(keepFile(dir, configFile, data), keepFile(dir, "command", []byte(command+"\n")))
	}
	if err != nil {
		return fmt.Errorf("keep bundle: %w", err)
	}

	return nil
}

// keepFile writes a new file. It fails if the name exists by now, even as a link.
func keepFile(dir, name string, data []byte) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Close())
}

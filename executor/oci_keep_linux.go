package executor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/cooperbuild/cooper/executor/spec"
)

// hidden is shown in place of a secret.
const hidden = "[secret]"

// keep writes what the runtime is given to the step's KeepBundle: the configuration, without secrets, and the command.
func (c *container) keep(config spec.Container) error {
	dir := c.step.KeepBundle
	if dir == "" {
		return nil
	}
	config.Env = slices.Clone(config.Env)
	for i, e := range config.Env {
		if name, _, _ := strings.Cut(e, "="); slices.Contains(c.step.SecretEnv, name) {
			config.Env[i] = name + "=" + hidden
		}
	}
	data, err := encode(config)
	if err != nil {
		return fmt.Errorf("keep bundle: %w", err)
	}
	rt := c.step.Runtime
	command := strings.Join(append(rt.globalArgs(), "run", "--bundle", c.bundle.at, "step"), " ")
	err = errors.Join(
		os.MkdirAll(dir, 0o700),
		os.WriteFile(filepath.Join(dir, configFile), data, 0o600),
		os.WriteFile(filepath.Join(dir, "command"), []byte(command+"\n"), 0o600),
	)
	if err != nil {
		return fmt.Errorf("keep bundle: %w", err)
	}
	return nil
}

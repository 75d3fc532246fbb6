package runcmd

import (
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// runFlagError explains flags that only a container manager has.
func runFlagError(cmd *cobra.Command, err error) error {
	unknown := new(pflag.NotExistError)
	if errors.As(err, &unknown) && slices.Contains(managers(), unknown.GetSpecifiedName()) {
		return command.Usagef(
			"%w: cooper is no container manager\nhint: podman run makes containers of the images in this store", err)
	}
	return cmd.Parent().FlagErrorFunc()(cmd, err)
}

// managers are the flags of docker run and podman run, and their short names, that say what a container is called, how
// others reach it and what becomes of it when nobody looks, or that describe it to a manager.
func managers() []string {
	return strings.Fields("a d l p P " +
		"annotation attach blkio-weight-device cgroup-conf cgroups chrootdirs cidfile conmon-pidfile cpu-count " +
		"cpu-percent cpu-rt-period cpu-rt-runtime detach detach-keys device-cgroup-rule domainname env-host env-merge " +
		"expose gpus health-cmd health-interval health-on-failure health-retries health-start-interval " +
		"health-start-period health-timeout hostuser http-proxy image-volume init init-path io-maxbandwidth " +
		"io-maxiops ip ip6 kernel-memory label label-file link link-local-ip log-driver log-opt mac-address " +
		"memory-reservation memory-swappiness name network-alias no-healthcheck oom-kill-disable oom-score-adj passwd " +
		"passwd-entry personality pidfile pod pod-id-file preserve-fds privileged publish publish-all read-only-tmpfs " +
		"replace requires restart rmi rootfs sdnotify seccomp-policy secret stop-signal stop-timeout sysctl systemd " +
		"timeout tmpfs tz umask unsetenv unsetenv-all use-api-socket volume-driver volumes-from")
}

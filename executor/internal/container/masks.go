package container

// MaskedFiles are files that a step must not see, because no namespace makes them the step's own.
func MaskedFiles() []string {
	return []string{"proc/kcore", "proc/keys", "proc/latency_stats", "proc/timer_list", "proc/timer_stats",
		"proc/sched_debug", "proc/interrupts"}
}

// MaskedDirs are directories that a step must not see, for the same reason.
func MaskedDirs() []string {
	return []string{"proc/acpi", "proc/asound", "proc/scsi", "sys/firmware", "sys/devices/virtual/powercap",
		ControlGroupDir}
}

// ReadOnlyPaths are files and directories that a step may read but must not write, for the same reason.
func ReadOnlyPaths() []string {
	return []string{"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"}
}

package settings

import (
	"fmt"
	"strings"
)

// Page is the document about the files and all settings.
func Page() string {
	var b strings.Builder
	b.WriteString("# Configuration: cooper.toml\n\n" +
		"What a flag says, or a variable of the [environment](environment.md), goes before this file; it stands for what they don't say. No file is needed.\n\n" +
		"| file | |\n|---|---|\n" +
		"| `" + System + "` | the machine's |\n" +
		"| `$XDG_CONFIG_HOME/" + userFile + "`, `~/.config/" + userFile + "` without the variable | the user's, root's too: its settings go before the machine's one by one |\n" +
		"| `$" + Variable + "` | if the variable is set, the only file that is read; it must be there |\n\n" +
		"    [network]\n    default = \"host\"\n\n" +
		"The files are TOML 1.0, and read strictly: an unknown key or a value that can't be is an error with file, line and what may stand there, and nothing is\n" +
		"built. `cooper info` shows the settings that are in force, and the file that each comes from.\n\n" +
		"## Settings\n\n| key | value | by default | |\n|---|---|---|---|\n")
	for _, r := range rows() {
		what := r.kind.what
		if r.kind.isTable {
			what = "a table; each value is " + what
		}
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s |\n", r.key, what, r.usual, r.about)
	}
	b.WriteString("\n`network.default` is the key `default` in the table `[network]`.\n\n" + containersConf +
		"This page is written from the table in the code (`make reference`); the man page `cooper.toml`(5) is, too.\n")
	return b.String()
}

// containersConf is the part of the page about the file of podman and buildah.
const containersConf = "## containers.conf\n\n" +
	"In podman's and buildah's [dialect](flags.md#the-name-of-the-program) their `containers.conf` counts, too: `/usr/share/containers/containers.conf`, " +
	"`/etc/containers/containers.conf`\n" +
	"and the user's `~/.config/containers/containers.conf`, each with the files of `containers.conf.d` beside it; `CONTAINERS_CONF` names the only one, " +
	"`CONTAINERS_CONF_OVERRIDE`\n" +
	"one that is read last. A flag goes before a variable of the environment, that before the file. Of the keys, these have an effect on `build`, `from`, `pull` and `push`:\n\n" +
	"| key | stands for |\n|---|---|\n" +
	"| `containers.default_capabilities` | the capabilities that `--cap-add` and `--cap-drop` change |\n" +
	"| `containers.default_ulimits`, `devices`, `volumes` | `--ulimit`, `--device`, `--volume` before those that are given |\n" +
	"| `containers.dns_servers`, `dns_searches`, `dns_options` | `--dns`, `--dns-search`, `--dns-option` |\n" +
	"| `containers.seccomp_profile`, `shm_size` | `--security-opt seccomp=`, `--shm-size` |\n" +
	"| `engine.retry`, `retry_delay`, `compression_format` | `--retry`, `--retry-delay`, and `push --compression-format` |\n" +
	"| `engine.runtime`, `runtimes` | `--runtime`, with `--isolation=oci` |\n" +
	"| `engine.cdi_spec_dirs` | `--cdi-config-dir` |\n" +
	"| `engine.env` | variables of the environment that aren't set |\n\n" +
	"All others are about running containers, or ask for what a build has in any case.\n\n"

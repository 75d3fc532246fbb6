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
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s |\n", r.key, r.kind.what, r.usual, r.about)
	}
	b.WriteString("\n`network.default` is the key `default` in the table `[network]`.\n\n" +
		"This page is written from the table in the code (`make reference`); the man page `cooper.toml`(5) is, too.\n")
	return b.String()
}

package dialect

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// A VerbFlag is a flag that another verb than build takes for the sake of other tools.
type VerbFlag struct {
	Verb, Name, Short string
	Text              string
	// Refused says that it is refused, and Vain that it changes nothing: Text has the reason.
	Refused, Vain bool
}

// Page is the document about all flags and options of the tools; own are cooper's flags of build, and others what the
// other verbs take that isn't in their help.
func Page(own *pflag.FlagSet, others []VerbFlag) string {
	var b strings.Builder
	b.WriteString(`# The flags of docker, podman and buildah

` + "`cooper build`" + ` takes the flags of ` + "`docker buildx build`" + `, of docker's classic builder, of ` + "`podman build`" +
		` and of ` + "`buildah build`" + `. This
page is written from the table in the code (` + "`make reference`" + `), and a test compares that with the manuals of
` + fmt.Sprintf("buildx %s, docker %s, podman %s and buildah %s", BuildxVersion, DockerVersion, PodmanVersion, BuildahVersion) +
		`. X says who has a flag, ` + "`x`" + ` who has it outside of the manual.

| in cooper | means |
|---|---|
| as there | the flag has its meaning; what differs is said |
| always so | it is accepted silently, for it is always so; of another value one line says that it has no effect |
| no effect | it is accepted, and one line says so: the image is the same, or lacks what the line names |
| refused | the build doesn't begin, and the error says what works instead |

## Build flags

| flag | buildx | docker | podman | buildah | in cooper | |
|---|---|---|---|---|---|---|
`)
	for _, f := range Flags() {
		kind, text := [...]string{"as there", "always so", "no effect", "refused"}[f.Kind], f.Text
		switch {
		case f.Kind == Own && strings.HasPrefix(text, "refused: "):
			kind, text = "refused", strings.TrimPrefix(text, "refused: ")
		case f.Kind == Own && text == "" && own.Lookup(f.Name) != nil:
			text = usageOf(own.Lookup(f.Name))
		case f.Kind == Refused:
			text += "; " + f.Way
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", names(f.Name, f.Short), marks(f.Tools, f.Unlisted), kind, cell(text))
	}
	writeOthers(&b, others)
	b.WriteString(`
## Options before the verb

| option | docker | podman | buildah | in cooper |
|---|---|---|---|---|
`)
	for _, g := range Globals() {
		text := "no effect: " + g.Text
		switch {
		case g.Here:
			text = "as there"
		case g.Flag != "":
			text = "--" + g.Flag + " of the verb"
		case g.Variable != "":
			text = "$" + g.Variable
		case g.Remote:
			text = "refused: " + g.Text
		}
		_, tools, _ := strings.Cut(marks(g.Tools, g.Unlisted), " | ")
		fmt.Fprintf(&b, "| %s | %s | %s |\n", names(g.Name, g.Short), tools, cell(text))
	}
	b.WriteString(`
## The name of the program

A link to cooper that is named ` + "`buildah`, `podman` or `docker`" + `, or the variable ` + "`" + Variable + "`" + ` with one of these words,
chooses the defaults and messages of that tool.

| | cooper | docker | podman | buildah |
|---|---|---|---|---|
| without a context | directory of -f, or . | refused | directory of -f, or . | directory of -f, or . |
| several -f | one after the other | the last, with a line | one after the other; also FILE,FILE | as podman |
| --pull=false | missing | missing | never | never |
| --layers | on | on | on | off: one layer a build |
| --squash | one layer of the new ones | as cooper | as cooper | one layer of all |
| --http-proxy, --inherit-annotations, --created-annotation, --identity-label | off | off | on | on |
| label of --identity-label | io.cooper.version | io.cooper.version | io.buildah.version | io.buildah.version |
| annotations org.opencontainers.image.base.name and .digest | no | no | yes | yes |
| progress | live view or lines | as cooper | STEP n/m: on standard output, what steps write as it is | as podman |
| image ID on standard output | sha256:... | with -q: sha256:... | without sha256: | without sha256: |
| exit status of a failed step | 1 | 1 | that of its command, or 125 | as podman |
| exit status of any other failure | 1, 2 (command line) or 125 (machine) | 1 or 125 | 125 | 125 |
| --version | cooper ... | Docker version ... | podman version ... | buildah version ... |

Steps come from the cache in every dialect unless ` + "`--no-cache`" + ` is given, where buildah without ` + "`--layers`" + ` runs them again.
`)
	return b.String()
}

// writeOthers writes the table of the flags of other verbs than build.
func writeOthers(b *strings.Builder, others []VerbFlag) {
	b.WriteString(`
## Flags of the other verbs

` + "`images`, `rmi`, `tag`, `untag`, `inspect`, `history`, `diff`, `pull`, `push`, `login`, `logout`, `save`, `load`, `run` and `manifest`" + `
have all flags that docker 28.2 and podman 4.3 to 6.0 have for them, with the same short names; a test holds the verbs
against the manuals. They are as there, but for the following. Of ` + "`run`" + ` what only a container manager does, such as
` + "`--detach`, `--name` and `--publish`" + `, is refused, too.

| flag | in cooper | |
|---|---|---|
`)
	for _, f := range others {
		kind := "as there"
		switch {
		case f.Refused:
			kind = "refused"
		case f.Vain:
			kind = "always so"
		}
		fmt.Fprintf(b, "| `%s` %s | %s | %s |\n", f.Verb, names(f.Name, f.Short), kind,
			cell(strings.ReplaceAll(f.Text, "\nhint: ", "; ")))
	}
}

// usageOf is the text of the help of a flag.
func usageOf(f *pflag.Flag) string {
	_, text := pflag.UnquoteUsage(f)
	return text
}

// names are a flag's long and short name.
func names(long, short string) string {
	if short != "" {
		return "`--" + long + "`, `-" + short + "`"
	}
	return "`--" + long + "`"
}

// marks are the cells that say which tools have a flag.
func marks(tools Tools, unlisted bool) string {
	var cells []string
	for _, tool := range []Tools{OfBuildx, OfDocker, OfPodman, OfBuildah} {
		switch {
		case tools&tool == 0:
			cells = append(cells, "")
		case unlisted:
			cells = append(cells, "x")
		default:
			cells = append(cells, "X")
		}
	}
	return strings.Join(cells, " | ")
}

// cell is a text that can stand in a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }

package cli

import (
	"io"
	"strings"
	"testing"

	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

func TestWrongWordsAreNamedWithWhatWasMeant(t *testing.T) {
	for line, want := range map[string]string{
		"biuld --layers .": `unknown command "biuld"` + "\n" + `hint: did you mean "build"?`,
		"buil":             `unknown command "buil"` + "\n" + `hint: did you mean "build"?`,
		"docter -x":        `unknown command "docter"` + "\n" + `hint: did you mean "doctor"?`,
		"compl bash":       `unknown command "compl"` + "\n" + `hint: did you mean "completion"?`,
		"xyz":              `unknown command "xyz"` + "\nhint: cooper --help lists the commands",
		"exec x": `unknown command "exec"` +
			"\nhint: podman exec is for containers that are run; cooper containers lists those that images are made from",
		"tree a": `unknown command "tree"` +
			"\nhint: podman tree works on the images of the same store",
		"sign --tls-verify=false a": `unknown command "sign"` + "\nhint: podman sign works on the images of the same store",
		"system prune -af": `unknown command "system"` +
			"\nhint: cooper df shows what takes disk space, cooper prune gives it back",
		"userns shw --uidmap 0:0:1": `unknown command "shw" of userns` + "\n" + `hint: did you mean "show"?`,
		"userns ps":                 `unknown command "ps" of userns` + "\nhint: cooper userns --help lists the commands",
		"help biuld":                `unknown command "biuld"` + "\n" + `hint: did you mean "build"?`,
		"--no-cache build .":        "unknown flag: --no-cache\nhint: flags follow the command: cooper build [flags]",
		"build --no-cahce .":        "unknown flag: --no-cahce\nhint: did you mean --no-cache?",
		"build --build-args A=1 .":  "unknown flag: --build-args\nhint: did you mean --build-arg?",
		"build --tga x .":           "unknown flag: --tga\nhint: did you mean --tag?",
		"build --metadata x .":      "unknown flag: --metadata\nhint: did you mean --metadata-file?",
		"build --xyz .":             "unknown flag: --xyz\nhint: cooper build --help lists the flags",
		"build -Z .":                "unknown shorthand flag: 'Z' in -Z\nhint: cooper build --help lists the flags",
		"login --secret hunter2 x": "--secret: cooper reads no secrets of podman's\n" +
			"hint: --password-stdin reads the password from standard input",
		"inspect -l": "--latest: no container is the latest\nhint: cooper containers lists working containers",
		"build --jobs=many .": `invalid argument "many" for "--jobs" flag: invalid syntax` +
			"\nhint: cooper build --help lists the flags",
		"--tag=x":                     "unknown flag: --tag\nhint: cooper --help lists the flags",
		"userns show --usrns=keep-id": "unknown flag: --usrns\nhint: did you mean --userns?",
	} {
		args := strings.Fields(line)
		root := newRootCmd(command.Env{Args: args}, io.Discard)
		root.SetArgs(args)
		root.SetErr(io.Discard)
		if err := root.ExecuteContext(t.Context()); err == nil || err.Error() != want {
			t.Errorf("cooper %s:\n%v\nwant:\n%s", line, err, want)
		}
	}
}

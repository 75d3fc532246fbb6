package show

import (
	"fmt"
	"os"
	"strings"

	"github.com/cooperbuild/cooper/build/progress"
	"github.com/cooperbuild/cooper/internal/terminal"
)

// Mode is a kind of view. The zero value is ModeAuto.
type Mode string

// The modes.
const (
	// ModeAuto is ModeTTY on a terminal, else ModePlain.
	ModeAuto  Mode = "auto"
	ModeTTY   Mode = "tty"
	ModePlain Mode = "plain"
	ModeQuiet Mode = "quiet"
	ModeJSON  Mode = "json"
	// ModeRawJSON is what docker's tools read.
	ModeRawJSON Mode = "rawjson"
)

// ParseMode reads the value of --progress; empty is auto.
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case "":
		return ModeAuto, nil
	case "none": // docker's word
		return ModeQuiet, nil
	case ModeAuto, ModeTTY, ModePlain, ModeQuiet, ModeJSON, ModeRawJSON:
		return m, nil
	}
	all := []string{string(ModeAuto), string(ModeTTY), string(ModePlain), string(ModeQuiet), string(ModeJSON),
		string(ModeRawJSON)}
	return "", fmt.Errorf("progress mode %q: must be one of %s", s, strings.Join(all, ", "))
}

// New makes the renderer that shows events on out, which is not closed. Where the live view is impossible (out is no
// terminal, TERM is "dumb" or empty) ModeTTY is ModePlain; NO_COLOR in the environment takes the colours out. An
// unknown mode is ModeAuto.
func New(mode Mode, out *os.File) progress.Renderer {
	switch mode {
	case ModeQuiet:
		return newQuiet(out)
	case ModeJSON:
		return newJSON(out)
	case ModeRawJSON:
		return newSolveStatuses(out)
	case ModePlain:
		return newPlain(out)
	}
	term := os.Getenv("TERM")
	if _, err := terminal.SizeOf(out); err != nil || term == "" || term == "dumb" {
		return newPlain(out)
	}
	return newTTY(ttyOptions{
		out:   out,
		size:  func() (terminal.Size, error) { return terminal.SizeOf(out) },
		color: os.Getenv("NO_COLOR") == "",
	})
}

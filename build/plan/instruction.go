package plan

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"

	"github.com/cooperbuild/cooper/imagebuilder"
)

// expanding is one instruction that is being expanded.
type expanding struct {
	*staging
	stage *stage
	lint  lint
	in    instruction
	// text is the instruction as progress shows it, with the variables as they were before it.
	text string
}

// step adds the instruction's step, with the config as it is now. Consecutive Config steps share one config, which has
// the changes of all of them.
func (x expanding) step(op Op, createdBy string, counted bool) {
	st := x.stage
	s := &Step{Stage: st.out, Location: x.file.Location(x.in.Location()), Text: x.text, CreatedBy: createdBy, Op: op}
	if _, isConfig := op.(*Config); isConfig {
		if st.changing == nil {
			st.changing = new(imagebuilder.Image)
		}
		*st.changing = st.image.Image
		s.Image = st.changing
	} else {
		s.Image = st.share()
	}
	x.steps.add(st, s, counted)
}

// share gives a copy of the config as it is now, for a step to keep.
func (st *stage) share() *imagebuilder.Image {
	st.changing = nil
	image := st.image.Share()
	return &image
}

// show gives the instruction with its name in upper case and the variables that are set filled in.
func (x expanding) show() string {
	text := x.in.Name()
	if s, ok := x.in.Command.(fmt.Stringer); ok {
		text = s.String()
	}
	if c, ok := x.in.Command.(*instructions.RunCommand); ok && len(c.Files) > 0 {
		text += heredocSummary(c.Files[0].Data)
	}
	env := x.stage.env
	if c, ok := x.in.Command.(*instructions.RunCommand); ok {
		env = hideSecrets(c, env)
	}
	if filled, err := run(x.expand.shown, text, env); err == nil {
		text = filled.text
	}
	if end := strings.IndexFunc(text, unicode.IsSpace); end >= 0 {
		text = strings.ToUpper(text[:end]) + text[end:]
	} else {
		text = strings.ToUpper(text)
	}
	if x.in.onBuild {
		text = "ONBUILD " + text
	}
	return text
}

// heredocSummary gives the first line of a heredoc script, in brackets, for progress.
func heredocSummary(script string) string {
	first, rest, _ := strings.Cut(strings.TrimSpace(script), "\n")
	if strings.TrimSpace(rest) != "" {
		first = strings.TrimSuffix(first, "\r") + "..."
	}
	return " (" + first + ")"
}

// word expands one word of the instruction.
func (x expanding) word(text string) (string, error) {
	e, err := run(x.expand.word, text, x.stage.env)
	if err != nil {
		return "", fmt.Errorf("cannot expand %s: %w", quoted(text), err)
	}
	x.lint.undefined(x.in.Location(), e.missing, x.stage.env, x.stage.args)
	return e.text, x.budget.hold(len(e.text))
}

func (x expanding) words(texts []string) ([]string, error) {
	out := make([]string, 0, len(texts))
	for _, text := range texts {
		word, err := x.word(text)
		if err != nil {
			return nil, err
		}
		out = append(out, word)
	}
	return out, nil
}

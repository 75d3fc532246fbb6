package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cooperbuild/cooper/internal/guard"
	"github.com/cooperbuild/cooper/internal/terminal"
)

// MaxPassword bounds what is read as a password, in bytes.
const MaxPassword = 64 << 10

// AskPassword asks for a password on the terminal that standard input is, which doesn't show what is typed meanwhile.
func AskPassword(ctx context.Context, env Env, lines *bufio.Reader) (password string, err error) {
	restore, err := terminal.Hide(env.Stdin)
	if err != nil {
		return "", err
	}
	password, err = Ask(ctx, env, lines, "Password: ")
	fmt.Fprintln(env.Errs())
	if err = errors.Join(err, restore()); err != nil {
		return "", err
	}
	return CheckPassword(password)
}

// CheckPassword refuses what can't be a password.
func CheckPassword(text string) (string, error) {
	switch {
	case text == "":
		return "", Usagef("the password is empty")
	case len(text) > MaxPassword, strings.ContainsAny(text, "\r\n\x00"):
		return "", Usagef("the password must be one line of at most %d bytes", MaxPassword)
	}
	return text, nil
}

// Ask asks a question on standard error and reads a line.
func Ask(ctx context.Context, env Env, lines *bufio.Reader, question string) (string, error) {
	fmt.Fprint(env.Errs(), question)
	type read struct {
		line string
		err  error
	}
	answer := make(chan read, 1)
	go func() {
		var line string
		err := guard.Call(func() (err error) {
			line, err = lines.ReadString('\n')
			return err
		})
		answer <- read{strings.TrimRight(line, "\r\n"), err}
	}()
	select {
	case <-ctx.Done():
		return "", context.Cause(ctx)
	case a := <-answer:
		if a.err != nil && a.line == "" {
			return "", fmt.Errorf("read the answer: %w", a.err)
		}
		return a.line, nil
	}
}

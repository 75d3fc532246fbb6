// Package logincmd has the commands for credentials of registries: login and logout.
package logincmd

import (
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
)

// Verbs are the verbs for logins.
func Verbs() []command.Verb {
	return []command.Verb{{Name: "login", New: newLoginCmd}, {Name: "logout", New: newLogoutCmd}}
}

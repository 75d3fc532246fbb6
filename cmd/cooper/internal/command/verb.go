package command

import "github.com/spf13/cobra"

// A Verb is a command that isn't made yet: to register the flags of all verbs takes as long as the steps of a cached
// build.
type Verb struct {
	// Name is the command's first word, by which it is found before it is made.
	Name string
	New  func(env Env) *cobra.Command
}

// Make makes the commands of the verbs that a command line may be about: the one that its first word names, or all
// where that is none of their names.
func Make(verbs []Verb, env Env) []*cobra.Command {
	if len(env.Args) > 0 {
		for _, v := range verbs {
			if v.Name == env.Args[0] {
				return []*cobra.Command{v.New(env)}
			}
		}
	}
	all := make([]*cobra.Command, len(verbs))
	for i, v := range verbs {
		all[i] = v.New(env)
	}
	return all
}

package progress

// ShowsNotes tells whether a sink shows notes. One that shows none has a method of this name that says so, and one that
// hands events on has one that asks where they go.
func ShowsNotes(to Sink) bool {
	says, ok := to.(interface{ ShowsNotes() bool })
	return !ok || says.ShowsNotes()
}

// Tell gives a function that shows a text as a note. It is nil if the sink shows no notes, so that the caller needn't
// look for reasons to call it.
func Tell(to Sink) func(text string) {
	if !ShowsNotes(to) {
		return nil
	}
	return func(text string) { to.Emit(Note{Text: "WARNING: " + text}) }
}

package emulator

// HandledIn is Handled for a list that is mounted elsewhere.
var HandledIn = handledIn

// Probes are the programs that Executes tries, by architecture.
func Probes() map[string][]byte { return map[string][]byte{"386": probe("386"), "arm": probe("arm")} }

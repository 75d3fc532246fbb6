package executor

// HandledIn is Handled for a list that is mounted elsewhere.
var HandledIn = handledIn

// Probes are the programs that Executes tries, by architecture.
func Probes() map[string][]byte { return map[string][]byte{"386": probe("386"), "arm": probe("arm")} }

// SettleEmpty is what makeEmpty does with what it has made.
func SettleEmpty(dirfd int, name string, dir bool) error {
	_, err := settleEmpty(dirfd, name, emptyMode(dir))
	return err
}

// ErrSwapped is its error about anything that isn't as new.
var ErrSwapped = errSwapped

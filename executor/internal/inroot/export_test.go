package inroot

// SettleEmpty is what MakeEmpty does with what it has made.
func SettleEmpty(dirfd int, name string, dir bool) error {
	_, err := settleEmpty(dirfd, name, emptyMode(dir))
	return err
}

// ErrSwapped is its error about anything that isn't as new.
var ErrSwapped = errSwapped

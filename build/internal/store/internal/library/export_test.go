package library

import "errors"

// Between has f called once ApplyStagedLayer has seen that a layer isn't there, and before the library is asked for it.
func (l *Library) Between(f func()) {
	l.rename.one = func() (*oneMount, error) {
		f()
		return nil, errors.ErrUnsupported // the call goes on without a mount of its own
	}
}

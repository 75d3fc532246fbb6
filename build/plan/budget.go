package plan

import "fmt"

// errTooLarge is the error of hold for a plan that exceeds maxHeld.
var errTooLarge = fmt.Errorf("the image configs and their history are larger than %d MiB", maxHeld>>20)

const (
	// maxHeld is how many bytes a plan may hold: the texts of the history, and what is copied of the config for each step
	// that runs or copies something. It is enough for thousands of variables and labels, but not for a thousand
	// instructions that each expose all ports.
	maxHeld = 32 << 20
	// stringBytes is how many bytes an entry of a list takes besides its text.
	stringBytes = 16
	// variableBytes is how many bytes an entry in a stage's variables takes besides its text.
	variableBytes = 100
)

// budget bounds what a plan holds.
type budget struct {
	// held is about how many bytes the plan takes so far.
	held int
}

// hold adds to the bytes that the plan takes. The error is errTooLarge if there are too many.
func (b *budget) hold(bytes int) error {
	b.held += bytes
	if b.held > maxHeld {
		return errTooLarge
	}

	return nil
}

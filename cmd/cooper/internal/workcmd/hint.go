package workcmd

import "fmt"

// hinted adds a hint to an error.
func hinted(err error, hint string) error { return fmt.Errorf("%w\nhint: %s", err, hint) }

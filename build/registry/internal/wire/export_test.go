package wire

// RefuseOwn is refuseOwn.
func RefuseOwn(address string) error { return refuseOwn("tcp", address, nil) }

// Challenge is challenge.
func Challenge(headers []string) (scheme string, params map[string]string) { return challenge(headers) }

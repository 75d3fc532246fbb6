package library

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
)

// RandomID gives an ID that no layer or image has.
func RandomID() (string, error) {
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("make an ID: %w", err)
	}
	return hex.EncodeToString(b), nil
}

package step

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Check gives an error for addresses, domains and options that can't stand in a resolv.conf, or for which there is none
// to stand in.
func (d DNS) Check() error {
	if d.None && len(d.Servers)+len(d.Search)+len(d.Options) > 0 {
		return errors.New("--dns=none: can't be used with other --dns flags")
	}
	for _, s := range d.Servers {
		if _, err := netip.ParseAddr(s); err != nil {
			return fmt.Errorf("DNS server %q: must be an address", s)
		}
	}
	for _, s := range slices.Concat(d.Search, d.Options) {
		if s == "" || strings.ContainsAny(s, " \t\r\n#;\x00") {
			return fmt.Errorf("DNS search domain or option %q: must be one word", s)
		}
	}
	return nil
}

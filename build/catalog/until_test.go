package catalog

import (
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cooperbuild/cooper/build/internal/store/images"
)

// TestATimeIsADateADurationOrSeconds in the time zone of the user where it names none.
func TestATimeIsADateADurationOrSeconds(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("here", 2*3600)
	now := time.Date(2026, 1, 31, 12, 0, 0, 0, zone)
	for text, want := range map[string]time.Time{
		"24h": now.Add(-24 * time.Hour), "1h30m": now.Add(-90 * time.Minute), "0s": now, "-1h": now.Add(time.Hour),
		"24": time.Unix(24, 0), "-5": time.Unix(-5, 0),
		"2026-01-02":                time.Date(2026, 1, 2, 0, 0, 0, 0, zone),
		"2026-01-02T03:04":          time.Date(2026, 1, 2, 3, 4, 0, 0, zone),
		"2026-01-02T03:04:05":       time.Date(2026, 1, 2, 3, 4, 5, 0, zone),
		"2026-01-02T03:04:05Z":      time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		"2026-01-02T03:04:05-05:00": time.Date(2026, 1, 2, 8, 4, 5, 0, time.UTC),
		"2026-01-02T03:04:05.5Z":    time.Date(2026, 1, 2, 3, 4, 5, 500_000_000, time.UTC),
	} {
		if got, err := untilTime(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "yesterday", "1.5", "2026-13-01", "2026-01-02 03:04", "99999999999999999999",
		"1e400h"} {
		got, err := untilTime(text, now)
		if err == nil || !strings.HasPrefix(err.Error(), "must be a date such as 2026-01-31") {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

// TestAFilterLeavesTheDigestsOfAnImageAsTheyAre: it has them for itself alone.
func TestAFilterLeavesTheDigestsOfAnImageAsTheyAre(t *testing.T) {
	t.Parallel()
	all := []digest.Digest{"sha256:11", "sha256:22"}
	l := images.Listed{Digests: all[:1], Digest: "sha256:33"}
	test, err := testOf("digest", "33", time.Now())
	if err != nil || !test(l) {
		t.Errorf("it isn't found, %v", err)
	}
	if all[1] != "sha256:22" {
		t.Errorf("what lies behind them is %s", all[1])
	}
}

package layer

import (
	"strconv"
	"time"
)

// Date is the time that an image's files and records have instead of the real one, so that the same build at another
// time gives the same bytes. Nil is a valid Date, which changes no time.
type Date struct {
	// Time counts in whole seconds.
	Time time.Time
	// Exact tells that all files and records have this time; otherwise those that are older keep theirs
	// (SOURCE_DATE_EPOCH).
	Exact bool
}

// Seconds is the modification time of a file whose real one is given, both in seconds since 1970.
func (d *Date) Seconds(mtime int64) int64 {
	switch {
	case d == nil:
		return mtime
	case d.Exact:
		return d.Time.Unix()
	}
	return min(mtime, d.Time.Unix())
}

// Record is the time that a record has which is made at the time now.
func (d *Date) Record(now time.Time) time.Time {
	if d != nil && (d.Exact || d.Time.Before(now)) {
		now = d.Time
	}
	return now.UTC()
}

// Key is a text that two dates share if they give all files the same times; "" for nil.
func (d *Date) Key() string {
	if d == nil {
		return ""
	}
	text := strconv.FormatInt(d.Time.Unix(), 10)
	if d.Exact {
		text = "exactly " + text
	}
	return text
}

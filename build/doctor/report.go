package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
)

// Status says whether a check is in a build's way.
type Status string

// The statuses. Only StatusFail keeps a build from working.
const (
	StatusOK   Status = "ok"
	StatusWarn Status = "warn"
	StatusFail Status = "fail"
	// StatusSkip is for what could not be tried because of something that failed.
	StatusSkip Status = "skip"
)

// Check is one line of a report.
type Check struct {
	Name   string `json:"name"`
	Status Status `json:"status"`
	Detail string `json:"detail"`
	// Fix is the command or file that would help; "" if the check is ok.
	Fix string `json:"fix,omitempty"`
}

// Report is what is known of a machine. Its JSON names are stable: names may be added, none is changed.
type Report struct {
	// Works says that a build can work.
	Works bool `json:"works"`
	// Mode is "rootless", "nested" (root of a namespace that something else has made), "nests" (root who may not mount, in
	// a namespace below), "root" (steps in a user namespace) or "root-unmapped"; "" if no build can work.
	Mode string `json:"mode"`
	// Driver is the storage driver, Commit how layers come into being: "rename" or "driver"; "" if no build can work.
	Driver string `json:"driver"`
	Commit string `json:"commit"`
	// Summary is a sentence that begins with "a build will".
	Summary string  `json:"summary"`
	Checks  []Check `json:"checks"`
}

// WriteJSON writes the report as one JSON object.
func (r Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteText writes a line for each check, below it what would help, and the summary last.
func (r Report) WriteText(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range r.Checks {
		fmt.Fprintf(t, "%s\t%s\t%s\n", c.Status, c.Name, c.Detail)
		if c.Fix != "" {
			fmt.Fprintf(t, "\t\tfix: %s\n", c.Fix)
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\n%s\n", r.Summary)
	return err
}

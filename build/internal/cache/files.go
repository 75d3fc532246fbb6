package cache

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// Files says which files a layer has, so that the next step of its shape need not write again what has not changed.
type Files struct {
	Layer Layer
	// Step is the step's text, for people.
	Step string
	// From and Into are directories: whence the files come, and where in the layer they are.
	From, Into string
	// List is what package source says of the files.
	List []byte
}

// filesHead is the first line of a file with Files; the list follows. It can be read as a Record, too.
type filesHead struct {
	Record
	From string `json:"filesFrom"`
	Into string `json:"filesInto"`
}

// PutFiles keeps what the last step of a shape has made.
func (c *Cache) PutFiles(shape Key, f Files) error {
	head, err := json.Marshal(filesHead{Record{Layer: &f.Layer, Created: time.Now(), Step: f.Step}, f.From, f.Into})
	if err != nil {
		return fmt.Errorf("write cache record: %w", err)
	}
	return writeFile(c.path(files, shape), append(append(head, '\n'), f.List...))
}

// Files gives what the last step of a shape has made; ok is false if nobody knows.
func (c *Cache) Files(shape Key) (f Files, ok bool) {
	raw, err := os.ReadFile(c.path(files, shape))
	if err != nil {
		return f, false
	}
	head, list, found := bytes.Cut(raw, []byte{'\n'})
	var h filesHead
	if !found || json.Unmarshal(head, &h) != nil || h.Layer == nil {
		return f, false
	}
	noteUse(c.path(files, shape))
	return Files{Layer: *h.Layer, Step: h.Step, From: h.From, Into: h.Into, List: list}, true
}

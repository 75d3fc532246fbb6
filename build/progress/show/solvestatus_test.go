package show

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/cooperbuild/cooper/build/progress"
)

// read decodes the lines as docker's tools do: vertexes are known by their digests.
func readSolve(t *testing.T, text string) (vertexes map[string][]vertex, all []solveStatus) {
	t.Helper()
	vertexes = map[string][]vertex{}
	for line := range strings.Lines(text) {
		var s solveStatus
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&s); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, s)
		for _, v := range s.Vertexes {
			vertexes[v.Name] = append(vertexes[v.Name], v)
		}
	}
	return vertexes, all
}

func TestRawJSONIsAStreamOfBuildKitsSolveStatuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		r := newSolveStatuses(&out)
		r.Emit(progress.StepStarted{ID: 1, Name: "[a 1/2]", Text: "RUN x"})
		r.Emit(progress.StepOutput{ID: 1, Data: []byte("hello\n\xff"), Stderr: true})
		r.Emit(progress.Transfer{ID: 1, What: "context", Done: 3, Total: 3})
		r.Emit(progress.StepDone{ID: 1, Cached: true})
		r.Emit(progress.StepStarted{ID: 2, Name: "[a 2/2]", Text: "RUN y"})
		r.Emit(progress.StepDone{ID: 2, Err: errors.New("exit status 1\nhint: none")})
		r.Emit(progress.Warning{File: "Dockerfile", Line: 3, Rule: "StageNameCasing", Message: "bad", URL: "https://a"})
		r.Emit(progress.Note{Text: "a note"})
		closed(t, r)

		vertexes, all := readSolve(t, out.String())
		first := vertexes["[a 1/2] RUN x"]
		if len(first) != 2 || first[0].Started == nil || first[0].Completed != nil || first[1].Completed == nil ||
			!first[1].Cached || first[0].Digest != first[1].Digest || first[0].Digest.Validate() != nil {
			t.Errorf("the first step is %+v", first)
		}
		if second := vertexes["[a 2/2] RUN y"]; len(second) != 2 || second[1].Error != "exit status 1" ||
			second[1].Digest == first[0].Digest {
			t.Errorf("the second step is %+v", second)
		}
		if note := vertexes["a note"]; len(note) != 1 || note[0].Completed == nil {
			t.Errorf("the note is %+v", note)
		}
		var logs []vertexLog
		var statuses []vertexStatus
		var warnings []vertexWarning
		for _, s := range all {
			logs, statuses = append(logs, s.Logs...), append(statuses, s.Statuses...)
			warnings = append(warnings, s.Warnings...)
		}
		if len(logs) != 1 || logs[0].Stream != 2 || string(logs[0].Data) != "hello\n\xff" ||
			logs[0].Vertex != first[0].Digest {
			t.Errorf("the output is %+v", logs)
		}
		if len(statuses) != 1 || statuses[0].ID != "context" || statuses[0].Current != 3 || statuses[0].Completed == nil {
			t.Errorf("the transfer is %+v", statuses)
		}
		at := position{Line: 3}
		want := []vertexWarning{{
			Vertex: vertexes["[internal] load build definition"][0].Digest, Level: 1, Short: []byte("StageNameCasing: bad"),
			URL: "https://a", SourceInfo: &sourceInfo{Filename: "Dockerfile"}, Range: []lineRange{{at, at}},
		}}
		if diff := cmp.Diff(want, warnings); diff != "" {
			t.Error(diff)
		}
	})
}

package fileop

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestFilesThatHaveNotChangedAreLinkedFromTheEarlierLayer if nothing would tell the link from a copy.
func TestFilesThatHaveNotChangedAreLinkedFromTheEarlierLayer(t *testing.T) {
	for name, c := range map[string]struct {
		// change changes the source, or the copy, before it is made again.
		change func(t *testing.T, s stage, o *CopyOptions)
		linked bool
	}{
		"as it was": {func(*testing.T, stage, *CopyOptions) {}, true},
		"another content": {func(_ *testing.T, _ stage, o *CopyOptions) {
			o.Earlier.Same = func(path string) bool { return path != "d/f" }
		}, false},
		"another time": {func(t *testing.T, s stage, _ *CopyOptions) {
			check(t, os.Chtimes(filepath.Join(s.context, "d/f"), time.Time{}, time.Unix(7, 7)))
		}, false},
		"another mode": {func(t *testing.T, s stage, _ *CopyOptions) {
			check(t, os.Chmod(filepath.Join(s.context, "d/f"), 0o600))
		}, false},
		"another size": {func(t *testing.T, s stage, _ *CopyOptions) {
			was := statOf(t, filepath.Join(s.context, "d/f"))
			check(t, os.WriteFile(filepath.Join(s.context, "d/f"), []byte("longer than before"), 0o644))
			check(t, os.Chtimes(filepath.Join(s.context, "d/f"), time.Time{}, time.Unix(was.Mtim.Unix())))
		}, false},
		"several names": {func(t *testing.T, s stage, _ *CopyOptions) {
			check(t, os.Link(filepath.Join(s.context, "d/f"), filepath.Join(s.context, "d/again")))
		}, false},
		"another owner":      {func(_ *testing.T, _ stage, o *CopyOptions) { o.Chown = &Owner{7, 8} }, false},
		"another mode asked": {func(_ *testing.T, _ stage, o *CopyOptions) { o.Chmod = "0600" }, false},
		"a layer for any root": {func(_ *testing.T, _ stage, o *CopyOptions) {
			o.Shared.AnyBelow = true
		}, false},
		"the earlier layer below": {func(_ *testing.T, _ stage, o *CopyOptions) {
			o.Shared.Below = []*os.File{o.Earlier.Dir}
		}, false},
		"another layer below": {func(t *testing.T, _ stage, o *CopyOptions) {
			o.Shared.Below = []*os.File{openRoot(t, layers(t, files{"x": "file x"})[0])}
		}, true},
		"one below that has the file": {func(t *testing.T, s stage, o *CopyOptions) {
			dir := t.TempDir()
			check(t, os.Link(filepath.Join(s.layer, "e/f"), filepath.Join(dir, "elsewhere")))
			o.Shared.Below = []*os.File{openRoot(t, dir)}
		}, false},
		"one elsewhere that has it": {func(t *testing.T, s stage, _ *CopyOptions) {
			check(t, os.Link(filepath.Join(s.layer, "e/f"), filepath.Join(t.TempDir(), "elsewhere")))
		}, true},
		"another place":         {func(_ *testing.T, _ stage, o *CopyOptions) { o.Dest = "/other/" }, false},
		"a second source":       {func(_ *testing.T, _ stage, o *CopyOptions) { o.Sources = append(o.Sources, "g") }, false},
		"a file of the text":    {func(_ *testing.T, _ stage, o *CopyOptions) { o.Files = []InlineFile{{Path: "f"}} }, false},
		"another source":        {func(_ *testing.T, _ stage, o *CopyOptions) { o.Earlier.From = "elsewhere" }, false},
		"a layer without files": {func(_ *testing.T, s stage, _ *CopyOptions) { _ = os.RemoveAll(s.layer + "/e") }, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first := newStage(t)
			plant(t, first.context, files{"d/f": "file f", "d/sub/deep": "file deep", "d/empty": "file ", "g": "file g"})
			res, err := Copy(context.Background(), first.options(t, []string{"d"}, "/e/"))
			check(t, err)
			if !res.Alone || res.From != "d" || res.Into != "e" {
				t.Fatalf("the copy is %+v", res)
			}

			second := newStage(t)
			o := second.options(t, []string{"d"}, "/e/")
			o.Source = openRoot(t, first.context)
			o.Earlier = &Earlier{Dir: openRoot(t, first.layer), From: res.From, Into: res.Into,
				Same: func(string) bool { return true }}
			was := statOf(t, first.layer+"/e/f")
			c.change(t, first, &o)
			_, err = Copy(context.Background(), o)
			check(t, err)
			made := statOf(t, filepath.Join(second.layer, o.Dest, "f"))
			if linked := made.Ino == was.Ino; linked != c.linked {
				t.Errorf("it is linked: %v", linked)
			}
			if c.linked {
				deep := statOf(t, second.layer+"/e/sub/deep")
				if deep.Ino != statOf(t, first.layer+"/e/sub/deep").Ino {
					t.Error("a file deeper down isn't linked")
				}
			}
		})
	}
}

package buildcmd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/cooperbuild/cooper/build"
	"github.com/cooperbuild/cooper/build/outfile"
	"github.com/cooperbuild/cooper/build/why"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/command"
	"github.com/cooperbuild/cooper/cmd/cooper/internal/dialect"
)

// report prints the image ID and writes the files that were asked for.
func (o *Options) report(ctx context.Context, env command.Env, res build.Result) error {
	if o.iidFile != "" {
		if err := outfile.WriteFile(ctx, o.iidFile, []byte(res.ImageID.String())); err != nil {
			return fmt.Errorf("--iidfile: %w", err)
		}
	}
	if o.iidFileRaw != "" {
		if err := outfile.WriteFile(ctx, o.iidFileRaw, []byte(res.ImageID.Encoded())); err != nil {
			return fmt.Errorf("--iidfile-raw: %w", err)
		}
	}
	if o.usageFile != "" {
		if err := outfile.WriteFile(ctx, o.usageFile, []byte(o.used.Text())); err != nil {
			return fmt.Errorf("--rusage-logfile: %w", err)
		}
	}
	if o.metadataFile != "" {
		meta := Metadata(res)
		if taken := o.used.Taken(); len(taken) > 0 {
			meta["cooper.usage"] = taken
		}
		if err := o.writeMetadata(ctx, meta); err != nil {
			return err
		}
	}
	if o.built != nil {
		if err := o.built(ctx, res); err != nil {
			return err
		}
	}
	if o.writesToStdout() {
		return nil // standard output holds the archive
	}
	if o.speaks == dialect.Docker && !o.quiet {
		return nil // docker prints the ID with -q only
	}
	id := res.ImageID.String()
	if o.speaks.Containers() {
		id = res.ImageID.Encoded()
	}
	_, err := fmt.Fprintln(env.Out(), id)
	return err
}

// Metadata is what is written of a build, under docker's keys where it has one.
func Metadata(res build.Result) map[string]any {
	meta := map[string]any{
		"containerimage.config.digest": res.ImageID, "containerimage.digest": res.Manifest,
		"cooper.steps": res.Steps, "cooper.cached": res.Cached, "cooper.seconds": res.Took.Seconds(),
	}
	if len(res.Why) > 0 {
		meta["cooper.why"] = res.Why
	}
	if len(res.Names) > 0 {
		meta["image.name"] = strings.Join(res.Names, ",")
	}
	return meta
}

// writeFailure puts a failed step into the metadata file: its own exit status is there, cooper's says only that the
// build failed. The reasons are those of the steps so far.
func (o *Options) writeFailure(ctx context.Context, err error, reasons []why.Step) error {
	failed := new(build.StepError)
	if o.metadataFile == "" || !errors.As(err, &failed) {
		return nil
	}
	meta := map[string]any{"cooper.error": map[string]any{
		"stage": failed.Stage, "step": failed.Step, "file": failed.Location.File, "line": failed.Location.StartLine,
		"instruction": failed.Text, "exitCode": failed.ExitCode, "message": failed.Err.Error(),
	}}
	if len(reasons) > 0 {
		meta["cooper.why"] = reasons
	}
	return o.writeMetadata(ctx, meta)
}

func (o *Options) writeMetadata(ctx context.Context, meta map[string]any) error {
	if err := WriteJSON(ctx, o.metadataFile, meta); err != nil {
		return fmt.Errorf("--metadata-file: %w", err)
	}
	return nil
}

// WriteJSON writes a file for people and programs.
func WriteJSON(ctx context.Context, path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return outfile.WriteFile(ctx, path, append(text, '\n'))
}

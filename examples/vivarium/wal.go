package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/vivarium-go/vivarium/wal"
)

// dumpBytesMax is how much of a payload wal dump shows.
const dumpBytesMax = 64

// walTool looks at a log that no process has open: check says whether it is
// whole, dump prints its records.
func walTool(ctx context.Context, args []string, stdout, _ io.Writer) error {
	if len(args) != 2 || args[0] != "check" && args[0] != "dump" {
		return fmt.Errorf("%w: wal check|dump DIR", errUsage)
	}
	if args[0] == "check" {
		report, err := wal.Check(nil, args[1])
		if err != nil {
			return err
		}
		fmt.Fprint(stdout, report)
		return report.Err()
	}
	l, err := wal.Open(args[1], wal.Config{ReadOnly: true})
	if err != nil {
		return err
	}
	for r, readErr := range l.All(0) {
		if err = errors.Join(readErr, ctx.Err()); err != nil {
			break
		}
		shown, more := r.Payload, ""
		if len(shown) > dumpBytesMax {
			shown, more = shown[:dumpBytesMax], "…"
		}
		fmt.Fprintf(stdout, "%#x %d %s%s\n", r.Key, len(r.Payload), strconv.Quote(string(shown)), more)
	}
	return errors.Join(err, l.Close())
}

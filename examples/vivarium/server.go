package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/vivarium-go/vivarium/zk"
)

// initializeFile in dataDir says, as for Apache ZooKeeper, that the ensemble is
// new and that an empty directory is no lost disk.
const initializeFile = "initialize"

// server runs one ZooKeeper server of a zoo.cfg in the foreground.
func server(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	set := newFlags("zk")
	path := set.String("config", "", "the zoo.cfg")
	isNew := set.Bool("new", false, "for the first start of each server of a new ensemble, and never again: it may vote though its data directory is empty (the file initialize in dataDir says the same, and is removed)")
	var from source
	set.StringVar(&from.apache, "import", "", "make the data directory of this dataDir of a stopped Apache ZooKeeper, and end")
	set.StringVar(&from.apacheLogs, "import-logs", "", "the dataLogDir that goes with -import, if it is another")
	set.StringVar(&from.snapshot, "restore", "", "make the data directory of this file, a snapshot of the admin server, and end")
	if err := parseFlags(set, args, stderr); err != nil {
		return err
	}
	if *path == "" {
		return fmt.Errorf("%w: zk needs -config", errUsage)
	}
	if from.apache != "" && from.snapshot != "" {
		return fmt.Errorf("%w: -import or -restore, not both", errUsage)
	}
	log := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	file, err := zk.LoadConfig(*path)
	if err != nil {
		return err
	}
	cfg, err := file.ServerConfig()
	if err != nil {
		return err
	}
	for _, w := range file.Warnings {
		log.Warn(*path, "warning", w)
	}
	cfg.Logger = log
	if from != (source{}) {
		return from.seed(cfg, stdout)
	}
	mark := filepath.Join(file.DataDir, initializeFile)
	_, err = os.Stat(mark)
	marked := err == nil
	cfg.Bootstrap = *isNew || marked || len(cfg.Servers) == 1
	if !cfg.Bootstrap && isEmpty(cfg.DataDir) {
		log.Warn(hintNew(file.DataDir))
	}
	s, err := zk.StartServer(ctx, cfg)
	if err != nil {
		return err
	}
	if marked {
		if err := os.Remove(mark); err != nil {
			log.Warn("mark of a new ensemble not removed", "err", err)
		}
	}
	stop, err := serveAdmin(ctx, s, file, log)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	defer stop()
	if !cfg.Bootstrap {
		hint := time.AfterFunc(hintDelay, func() {
			if s.Health() != nil {
				log.Warn("no leader yet: is a majority of the servers running? " + hintNew(file.DataDir))
			}
		})
		defer hint.Stop()
	}
	return serve(ctx, s, stdout, log)
}

// hintDelay is how long a server looks for a leader before it says what may be wrong.
const hintDelay = 10 * time.Second

func hintNew(dataDir string) string {
	return "a server without data gets its state from the others before it votes; if the whole ensemble is new, stop its servers and start each of them once with -new, or make the file " +
		filepath.Join(dataDir, initializeFile)
}

// source is where the data directory of a server to be comes from.
type source struct{ apache, apacheLogs, snapshot string }

// seed makes the data directory and prints what is in it.
func (src source) seed(cfg zk.Config, stdout io.Writer) (err error) {
	var got zk.Imported
	if src.snapshot != "" {
		f, err := os.Open(src.snapshot)
		if err != nil {
			return err
		}
		defer f.Close()
		if got, err = zk.Restore(cfg, f); err != nil {
			return fmt.Errorf("%s: %w", src.snapshot, err)
		}
	} else if got, err = zk.Import(cfg, src.apache, src.apacheLogs); err != nil {
		return err
	}
	fmt.Fprintf(stdout, "imported zxid=0x%x znodes=%d sessions=%d into %s\n", got.Zxid, got.Znodes, got.Sessions, cfg.DataDir)
	return nil
}

// serve says when the server serves, and stops it when ctx ends.
func serve(ctx context.Context, s *zk.Server, stdout io.Writer, log *slog.Logger) error {
	err := s.Ready(ctx)
	if err == nil {
		var addrs []string
		for _, a := range s.Addrs() {
			addrs = append(addrs, a.String())
		}
		fmt.Fprintf(stdout, "ready zookeeper=%s\n", strings.Join(addrs, ","))
		select {
		case <-ctx.Done():
		case <-s.Done():
		}
	}
	if ctx.Err() == nil {
		return errors.Join(s.Err(), s.Close())
	}
	log.Info("stopping")
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	return s.Shutdown(stopCtx)
}

func isEmpty(dir string) bool {
	names, err := os.ReadDir(dir)
	return errors.Is(err, fs.ErrNotExist) || err == nil && len(names) == 0
}

// newFlags returns a set of flags that prints nothing by itself.
func newFlags(verb string) *flag.FlagSet {
	set := flag.NewFlagSet(verb, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	return set
}

// parseFlags parses flags and nothing else; -h prints them to stderr.
func parseFlags(set *flag.FlagSet, args []string, stderr io.Writer) error {
	err := set.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		set.SetOutput(stderr)
		set.Usage()
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", errUsage, err)
	case set.NArg() > 0:
		return fmt.Errorf("%w: %s takes no argument %q", errUsage, set.Name(), set.Arg(0))
	}
	return nil
}

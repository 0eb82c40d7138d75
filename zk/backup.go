package zk

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/vivarium-go/vivarium/zk/internal/apache"
	"github.com/vivarium-go/vivarium/zk/internal/tree"
	"github.com/vivarium-go/vivarium/zk/internal/txnlog"
	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

// Imported says what a data directory was made of.
type Imported struct {
	Zxid     int64 // of the last transaction
	Znodes   int   // the special ones included
	Sessions int
}

// WriteSnapshot writes the server's state to w and returns the zxid that it is
// as of, while the server goes on. What it writes is for Restore. An error of w
// ends it; so does ctx, between two writes.
func (s *Server) WriteSnapshot(ctx context.Context, w io.Writer) (zxid int64, err error) {
	offer := newSnapshotOffer()
	s.inbox.push(event{kind: eventCall, call: func() { offer.take(s.tree.Load()) }})
	select {
	case h := <-offer.taken:
		if err := h.writeTo(&contextWriter{ctx, w}); err != nil {
			return 0, fmt.Errorf("zk: snapshot: %w", err)
		}
		return int64(h.Zxid()), nil
	case <-s.ctx.Done():
		return 0, fmt.Errorf("zk: snapshot: %w", s.Err())
	case <-ctx.Done():
		offer.giveUp()
		return 0, fmt.Errorf("zk: snapshot: %w", context.Cause(ctx))
	}
}

// snapshotOffer is a snapshot on its way from the loop to one who may have gone:
// either the loop takes one, or it was given up before and none is taken.
type snapshotOffer struct {
	taken   chan *snapshotHandle
	decided atomic.Bool
}

func newSnapshotOffer() *snapshotOffer { return &snapshotOffer{taken: make(chan *snapshotHandle, 1)} }

// take is the loop's.
func (o *snapshotOffer) take(t *tree.Tree) {
	if o.decided.CompareAndSwap(false, true) {
		o.taken <- &snapshotHandle{snap: t.Snapshot()}
	}
}

// giveUp is for who has not received from taken, and will not.
func (o *snapshotOffer) giveUp() {
	if !o.decided.CompareAndSwap(false, true) {
		(<-o.taken).release() // nobody else lets go of the versions that it pins
	}
}

// contextWriter writes until its context ends.
type contextWriter struct {
	ctx context.Context
	w   io.Writer
}

func (c *contextWriter) Write(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.w.Write(p)
}

// Restore makes cfg.DataDir, which must be empty or not be there, the data
// directory of server cfg.ID with the state that Server.WriteSnapshot wrote. Do so
// for every server of a new ensemble before any of them starts, with the same
// bytes: each will vote as one that knows all there is. Sessions are kept, and
// expire unless their clients come back.
func Restore(cfg Config, r io.Reader) (Imported, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return Imported{}, err
	}
	loader := tree.NewLoader(tree.Config{Schemes: cfg.schemes()})
	if _, err := io.Copy(loader, bufio.NewReaderSize(r, snapChunkBytes)); err != nil {
		return Imported{}, fmt.Errorf("zk: restore: %w", err)
	}
	t, err := loader.Finish()
	if err != nil {
		return Imported{}, fmt.Errorf("zk: restore: %w", err)
	}
	return seed(cfg, t)
}

// Import makes cfg.DataDir, which must be empty or not be there, the data
// directory of server cfg.ID with the state that a server of Apache ZooKeeper, of
// release 3.4 to 3.9, has left in its dataDir and, if that is another, its
// dataLogDir: its own or their version-2, plain directories of the operating
// system. That server must not be running, and nothing there is changed.
//
// Do so for every server of the new ensemble before any of them starts, from one
// directory: that of the server with the newest zxid. What lies in
// /zookeeper/config is left behind, since it names the old servers. Ephemeral
// znodes go when their sessions expire, which no client can take over.
func Import(cfg Config, dataDir, dataLogDir string) (Imported, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return Imported{}, err
	}
	if dataLogDir == "" {
		dataLogDir = dataDir
	}
	snapshots, err := version2(dataDir)
	if err != nil {
		return Imported{}, err
	}
	logs, err := version2(dataLogDir)
	if err != nil {
		return Imported{}, err
	}
	image, err := apache.Load(snapshots, logs)
	if err != nil {
		return Imported{}, fmt.Errorf("zk: import of %s: %w", dataDir, err)
	}
	t, err := plantImage(image, tree.Config{Schemes: cfg.schemes()})
	if err != nil {
		return Imported{}, fmt.Errorf("zk: import of %s: %w", dataDir, err)
	}
	return seed(cfg, t)
}

// version2 is where a server of Apache ZooKeeper keeps the files of dir.
func version2(dir string) (fs.FS, error) {
	if inner := filepath.Join(dir, "version-2"); isDir(inner) {
		dir = inner
	}
	if !isDir(dir) {
		return nil, fmt.Errorf("zk: import: %s: not a directory", dir)
	}
	return os.DirFS(dir), nil
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

func plantImage(im *apache.Image, cfg tree.Config) (*tree.Tree, error) {
	b := tree.NewBuilder(cfg, im.Zxid)
	for id, timeout := range im.Sessions {
		if err := b.Session(id, timeout); err != nil {
			return nil, err
		}
	}
	for _, path := range im.Paths() {
		if path == tree.ConfigPath {
			continue
		}
		n := im.Nodes[path]
		z := tree.Znode{
			Path: path, Data: n.Data, ACL: n.ACL, Czxid: n.Czxid, Mzxid: n.Mzxid, Pzxid: n.Pzxid, Ctime: n.Ctime, Mtime: n.Mtime,
			Version: n.Version, Creates: n.Cversion, Aver: n.Aversion,
		}
		switch kind, value := n.Kind(); kind {
		case apache.Ephemeral:
			z.Session = value
		case apache.Container:
			z.Container = true
		case apache.TTL:
			z.TTL = value
		case apache.Persistent:
		}
		if err := b.Znode(&z); err != nil {
			return nil, err
		}
	}
	return b.Finish()
}

// seed makes cfg.DataDir a data directory with the state of t.
func seed(cfg Config, t *tree.Tree) (Imported, error) {
	snap := &snapshotHandle{snap: t.Snapshot()}
	err := txnlog.Seed(txnlog.Config{FS: cfg.FS, Dir: cfg.DataDir, ID: zab.ServerID(cfg.ID), Logger: cfg.Logger}, snap.Zxid(), snap.writeTo)
	if err != nil {
		return Imported{}, fmt.Errorf("zk: new data directory: %w", err)
	}
	stats := t.Stats()
	return Imported{Zxid: t.Applied(), Znodes: int(stats.Znodes), Sessions: int(stats.Sessions)}, nil
}

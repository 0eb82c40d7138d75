package zk

import (
	"io"
	"sync"

	"github.com/vivarium-go/vivarium/zk/internal/tree"
	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

// snapshotHandle is a snapshot of this server's tree, on its way to a learner
// or to disk. One goroutine reads it; release may come from any, any number of
// times. A nil handle is no snapshot.
type snapshotHandle struct {
	snap    *tree.Snapshot
	members *zab.Membership // as of then; may be nil
	once    sync.Once
	sent    bool // a link has it; the loop's
}

// releaseUnsent lets go of the snapshots that no message bore, and returns none.
func releaseUnsent(hs []*snapshotHandle) []*snapshotHandle {
	for _, h := range hs {
		if !h.sent {
			h.release()
		}
	}
	return hs[:0]
}

func (h *snapshotHandle) Zxid() zab.Zxid { return zab.Zxid(h.snap.Zxid()) }

// Membership returns the configuration as of the snapshot.
func (h *snapshotHandle) Membership() *zab.Membership { return h.members }

// append adds the next chunk, of about size bytes, and says whether more follow.
func (h *snapshotHandle) append(dst []byte, size int) ([]byte, bool) { return h.snap.Append(dst, size) }

func (h *snapshotHandle) release() {
	if h != nil {
		h.once.Do(h.snap.Close)
	}
}

// writeTo streams the snapshot and releases it.
func (h *snapshotHandle) writeTo(w io.Writer) error {
	defer h.release()
	var chunk []byte
	for more := true; more; {
		chunk, more = h.append(chunk[:0], snapChunkBytes)
		if _, err := w.Write(chunk); err != nil {
			return err
		}
	}
	return nil
}

// installedSnapshot is a leader's snapshot, as the tree that was built of it.
type installedSnapshot struct {
	tree    *tree.Tree
	members *zab.Membership // may be nil
}

func (i *installedSnapshot) Membership() *zab.Membership { return i.members }

func (i *installedSnapshot) Zxid() zab.Zxid { return zab.Zxid(i.tree.Applied()) }

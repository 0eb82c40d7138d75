package zk_test

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/zktest"
)

// slowDisk holds back the syncs of one server's directory.
type slowDisk struct {
	mu   sync.Mutex
	dir  string
	free chan struct{}
}

func (d *slowDisk) hold(dir string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dir, d.free = dir, make(chan struct{})
}

func (d *slowDisk) hook(op vfs.Op) error {
	d.mu.Lock()
	held, free := d.dir != "" && strings.Contains(op.Name, d.dir) && op.Kind == vfs.OpSync, d.free
	d.mu.Unlock()
	if held {
		<-free
	}
	return nil
}

// The followers alone commit a new session while the leader's disk is slow. Its
// client moves to the other follower before the leader has applied it: the
// session lives, and must not be refused.
func TestAttachAheadOfTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &slowDisk{}
		e := zktest.Start(t, zk.EnsembleConfig{DataDir: "d", FS: vfs.Inject(vfs.NewMem(), disk.hook)})
		leader := e.Leader()
		var followers []int64
		for _, id := range e.IDs() {
			if id != leader {
				followers = append(followers, id)
			}
		}
		disk.hold(zktest.Host(leader))
		first := newSession(t, e, followers[0])
		moved := dialWire(t, e, followers[1])
		moved.raw(frame((&jute.ConnectRequest{Timeout: 10_000, SessionID: first.session, Password: first.password, HasReadOnly: true}).Append(nil)))
		synctest.Wait() // the leader has been asked
		close(disk.free)
		r := jute.NewReader(moved.frame())
		var p jute.ConnectResponse
		p.Decode(&r)
		require.Equal(t, first.session, p.SessionID)
		require.NoError(t, moved.Close())
		require.NoError(t, first.Close())
		require.NoError(t, e.Close())
	})
}

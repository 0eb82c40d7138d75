package zk

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/internal/tree"
)

// The leader gets another address while a follower's work is on its way to it: what
// the old connection had not delivered is lost, and the follower finds out.
func TestLeaderMovesWhileWorkIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlock(t, nil)
		for id := int64(1); id <= 3; id++ {
			f.start(id, true, specs(1, 2, 3)...)
		}
		f.ready(1, 2, 3)
		leader := f.leader()
		s := f.servers[leader%3+1]
		moved := flockSpec(leader)
		moved.More = []PeerAddress{{Peer: moved.Peer}}
		done := make(chan outcome, 1)
		require.True(t, s.onLoop(t.Context(), func() {
			s.onRequest(&submission{kind: workWrite, done: func(o outcome) { done <- o }, txn: tree.AppendTxn(nil, &tree.Txn{
				Kind: tree.KindSetProperty, Features: tree.FeatureInternal, Name: "p",
			})})
			s.connect(moved, true)
		}))
		select {
		case o := <-done:
			require.Equal(t, jute.CodeOK, o.code)
		case <-time.After(time.Minute):
			require.Fail(t, "the work is lost, and nobody knows")
		}
	})
}

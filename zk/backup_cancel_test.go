package zk

import (
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
	"github.com/vivarium-go/vivarium/zk/internal/tree"
)

// Whoever gives a snapshot up leaves none pinned, whether the loop takes it
// before, after, or at the same time.
func TestSnapshotGivenUp(t *testing.T) {
	tr := tree.New(tree.Config{})
	before := newSnapshotOffer()
	before.giveUp()
	before.take(tr)
	require.Empty(t, before.taken, "nobody would let go of it")

	after := newSnapshotOffer()
	after.take(tr)
	h := <-after.taken
	after.taken <- h
	after.giveUp()
	require.Panics(t, func() { h.append(nil, 1) }, "it is closed")

	for range 100 {
		o := newSnapshotOffer()
		var wg sync.WaitGroup
		wg.Go(func() { o.take(tr) })
		wg.Go(o.giveUp)
		wg.Wait()
		require.Empty(t, o.taken)
	}
}

// cancelingWriter ends the context of who writes to it, at the first write.
type cancelingWriter struct {
	cancel context.CancelCauseFunc
	writes int
}

var errEnough = errors.New("enough")

func (w *cancelingWriter) Write(p []byte) (int, error) {
	w.writes++
	w.cancel(errEnough)
	return len(p), nil
}

// A context that ends while the loop is busy ends WriteSnapshot at once, and one
// that ends between two writes ends it there. The server goes on.
func TestWriteSnapshotIsCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := alone(t, Config{}, vfs.NewMem(), nothing)
		busy, free := make(chan struct{}), make(chan struct{})
		s.inbox.push(event{kind: eventCall, call: func() { close(busy); <-free }})
		<-busy
		ctx, cancel := context.WithCancelCause(t.Context())
		ended := make(chan error, 1)
		go func() {
			_, err := s.WriteSnapshot(ctx, io.Discard)
			ended <- err
		}()
		synctest.Wait() // for the loop, which is busy
		cancel(errEnough)
		require.ErrorIs(t, <-ended, errEnough)
		close(free)

		value := tree.AppendTxn(nil, &tree.Txn{Kind: tree.KindSetProperty, Features: tree.FeatureInternal, Name: "p", Value: make([]byte, 2*snapChunkBytes)})
		for range 4 {
			_, ok := s.ask(t.Context(), &submission{kind: workWrite, txn: value})
			require.True(t, ok)
		}
		ctx, cancel = context.WithCancelCause(t.Context())
		w := &cancelingWriter{cancel: cancel}
		_, err := s.WriteSnapshot(ctx, w)
		require.ErrorIs(t, err, errEnough)
		require.Equal(t, 1, w.writes)
		z, err := s.WriteSnapshot(t.Context(), io.Discard)
		require.NoError(t, err)
		require.Positive(t, z)
		require.NoError(t, s.Close())
		_, err = s.WriteSnapshot(t.Context(), io.Discard)
		require.ErrorIs(t, err, ErrServerClosed)
	})
}

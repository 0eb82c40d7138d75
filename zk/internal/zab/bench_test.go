package zab

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkCommit proposes at a leader and delivers at all of three peers in one goroutine, without encoding, sockets and disks: what the
// protocol itself costs. An op is one entry, through all three peers; "batch" is how many are proposed before the peers are drained.
func BenchmarkCommit(b *testing.B) {
	for _, batch := range []int{1, 8, 64, 512} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			c := newTrio(b, 3, nil)
			l := c.leader()
			require.NotNil(b, l)
			data := make([]byte, 100)
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if _, err := l.Propose(data); err != nil {
					b.Fatal(err)
				}
				if n++; n%batch == 0 {
					c.settle()
				}
			}
			c.settle()
			require.Equal(b, n, c.applied[0])
		})
	}
}

// BenchmarkFailover kills the leader of three peers and measures until another is established.
func BenchmarkFailover(b *testing.B) {
	c := newTrio(b, 3, nil)
	for b.Loop() {
		l := c.leader()
		for _, p := range c.peers {
			if p != l {
				p.Unreachable(l.cfg.ID)
			}
		}
		l.look()
		c.settle()
		for c.leader() == nil {
			for _, p := range c.peers {
				p.Tick()
			}
			c.settle()
		}
	}
}

func BenchmarkCodec(b *testing.B) {
	m := Message{Type: MsgProposal, From: 3, To: 2, Session: 1 << 60, Epoch: 3, Prev: MakeZxid(3, 4), Commit: MakeZxid(3, 3)}
	for _, e := range testEntries(3, 64) {
		e.Data = make([]byte, 100)
		m.Entries = append(m.Entries, e)
	}
	b.Run("append", func(b *testing.B) {
		var buf []byte
		b.ReportAllocs()
		for b.Loop() {
			buf = AppendMessage(buf[:0], &m)
		}
		b.SetBytes(int64(len(buf)))
	})
	b.Run("decode", func(b *testing.B) {
		buf := AppendMessage(nil, &m)
		b.SetBytes(int64(len(buf)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := DecodeMessage(buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}

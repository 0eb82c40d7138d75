package zk

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// When an epoch's counters are used up its leader stands down in good order:
// clients keep their connections and sessions, and no write is lost or repeated (R7, Z20).
func TestRollover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlock(t, func(c *Config) { c.counterMax = 40 })
		for id := int64(1); id <= 3; id++ {
			f.start(id, true, specs(1, 2, 3)...)
		}
		f.ready(1, 2, 3)
		c := f.connect(f.leader())
		epochs := make(map[int64]bool)
		lost := 0
		stop := c.WatchState(func(s State) {
			if s != StateConnected {
				lost++
			}
		})
		defer stop()
		session := c.SessionID()
		for i := range 200 {
			st, err := c.Do(t.Context(), CreateOp("/n-", nil, PersistentSequential))
			require.NoError(t, err, "write %d", i)
			require.LessOrEqual(t, uint32(st.Stat.Czxid), uint32(40))
			epochs[st.Stat.Czxid>>32] = true
		}
		require.Greater(t, len(epochs), 4)
		require.Equal(t, session, c.SessionID())
		require.Zero(t, lost, "the connection lasts")
		names, _, err := c.Children(t.Context(), "/")
		require.NoError(t, err)
		require.Len(t, names, 201)
		require.NoError(t, c.Close())
	})
}

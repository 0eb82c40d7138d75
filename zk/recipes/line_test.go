package recipes

import (
	"context"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/zktest"
)

func TestParseEntry(t *testing.T) {
	for _, c := range []struct {
		name string
		want entry
		ok   bool
	}{
		{"_c_6ba7b810-9dad-41d1-80b4-00c04fd430c8-lock-0000000017", entry{kind: "lock-", seq: 17}, true},
		{"lock-0000000000", entry{kind: "lock-", seq: 0}, true}, // without protection
		{"_c_x-lock-2147483647", entry{kind: "lock-", seq: math.MaxInt32}, true},
		{"_c_x-lock--2147483648", entry{kind: "lock-", seq: math.MinInt32}, true},
		{"_c_x-lock--000000001", entry{kind: "lock-", seq: -1}, true},
		{"_c_x-__WRIT__0000000002", entry{kind: "__WRIT__", seq: 2}, true},
		{"_c_x-lock-2147483648", entry{}, false},
		{"_c_x-lock-17", entry{}, false},
		{"_c_x-lock-+000000017", entry{}, false},
		{"_c_x-lock-", entry{}, false},
		{"_c_x-lease-0000000001", entry{}, false},
		{"config", entry{}, false},
		{"", entry{}, false},
	} {
		got, ok := parseEntry(c.name, "lock-", "__WRIT__")
		require.Equal(t, c.ok, ok, c.name)
		if ok {
			c.want.name = c.name
			require.Equal(t, c.want, got)
		}
	}
}

// The line goes on in the order of creates when the sequence wraps to negative
// numbers, whose text sorts before all others.
func TestSequenceWraps(t *testing.T) {
	inOrder := []string{
		"_c_z-lock-2147483645", "_c_y-lock-2147483647", "_c_x-lock--2147483648", "_c_a-lock--2147483647",
	}
	es := sortEntries([]string{inOrder[2], inOrder[0], "other", inOrder[3], inOrder[1]}, kindLock)
	require.Len(t, es, 4)
	for i, e := range es {
		require.Equal(t, inOrder[i], e.name)
	}
	es = sortEntries([]string{"_c_a-lock-0000000001", "_c_b-lock--000000001", "_c_c-lock-0000000000"}, kindLock)
	require.Equal(t, "_c_b-lock--000000001", es[0].name)
	require.Equal(t, "_c_a-lock-0000000001", es[2].name)

	require.Equal(t, []queued{{"_c_a-item-7fffffffffffffff-0000000003", -1, 3}, {"_c_a-item-8000000000000000--2147483648", 0, math.MinInt32}},
		order([]string{"_c_a-item-8000000000000000--2147483648", "_c_a-item-7fffffffffffffff-0000000003", "_c_b-item-7fffffffffffffff-0000000004"},
			[]string{"_c_b-item-7fffffffffffffff-0000000004"}))
}

func TestTagsAreUUIDs(t *testing.T) {
	a, b := newTag(), newTag()
	require.NotEqual(t, a, b)
	require.Regexp(t, `^_c_[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}-$`, a)
}

// An entry with our tag that belongs to another session, about to end, is not
// taken for ours (CURATOR-498, CURATOR-604).
func TestFindIgnoresOtherSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		old, c := e.Connect(), e.Connect()
		tag := newTag()
		require.NoError(t, c.EnsurePath(ctx, "/m"))
		theirs, err := old.Create(ctx, "/m/"+tag+kindLock, nil, zk.EphemeralSequential)
		require.NoError(t, err)
		l := newLine(c, "/m")
		_, err = l.find(ctx, tag, true)
		require.ErrorIs(t, err, zk.ErrNoNode)
		ours, err := c.Do(ctx, zk.CreateOp("/m/"+tag+kindLock, nil, zk.EphemeralSequential))
		require.NoError(t, err)
		n, err := l.find(ctx, tag, true)
		require.NoError(t, err)
		require.Equal(t, node{ours.Path, ours.Stat.Czxid}, n)
		require.NotEqual(t, theirs, n.path)
	})
}

// A claim is ours if it has our tag and our session made it.
func TestClaimOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		c, d := e.Connect(), e.Connect()
		q := newQueue(c, "/q")
		for path, ours := range map[string]bool{"/none": false, "/theirs": false, "/earlier": false, "/ours": true} {
			tag, owner := "tag", c
			switch path {
			case "/none":
				owner = nil
			case "/theirs":
				tag = "other"
			case "/earlier":
				owner = d
			}
			if owner != nil {
				_, err := owner.Create(ctx, path, []byte(tag), zk.Ephemeral)
				require.NoError(t, err)
			}
			require.NoError(t, c.Sync(ctx, path))
			got, err := q.isOurs(ctx, path, "tag")
			require.NoError(t, err)
			require.Equal(t, ours, got, path)
		}
	})
}

// A create that a server had held is executed late, after we have given it up:
// the stray is swept all the same.
func TestSweepOfLateCreate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		c := e.ConnectConfig(zk.ClientConfig{SessionTimeout: 4 * time.Second})
		require.NoError(t, c.EnsurePath(ctx, "/m"))
		tag := newTag()
		l := newLine(c, "/m")
		l.sweep(tag, "")
		time.Sleep(3 * time.Second)
		path, err := c.Create(ctx, "/m/"+tag+kindLock, nil, zk.EphemeralSequential)
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(path, "/m/"+tag))
		time.Sleep(4 * time.Second)
		_, err = c.Exists(ctx, path)
		require.ErrorIs(t, err, zk.ErrNoNode)
	})
}

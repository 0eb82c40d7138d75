package zk

import (
	"cmp"
	"runtime"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// boundedBy fails if f allocates more than a multiple of the bytes that it was
// given; what the test itself allocates is in the constant.
func boundedBy(t *testing.T, input int, f func()) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	require.LessOrEqual(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20+256*input))
}

// FuzzParseMembership reads configurations, which come from clients and peers:
// no panic, bounded allocation, and what is accepted is written as what reads the same.
func FuzzParseMembership(f *testing.F) {
	f.Add("server.1=a:1:2:participant;0.0.0.0:3\nserver.2=[::1]:1:2\nserver.3=c:1:2|d:1:2:observer;c:3\ngroup.1=1\ngroup.2=2\nweight.2=5\nversion=100000002")
	f.Add("server.1=a:1:2,server.2=b:1:2;3,# comment,,version=ffffffff00000001")
	f.Add("server.2=b:1:2\r\nserver.1=a:1:2;[::1%eth0]:3\nversion=-1")
	f.Add("server.1=a[b:1:2")
	f.Add("server.1=a:1:2\ngroup.0=1\nweight.1=7")
	f.Fuzz(func(t *testing.T, text string) {
		var m Membership
		var err error
		boundedBy(t, len(text), func() { m, err = ParseMembership(text) })
		if err != nil {
			return
		}
		slices.SortFunc(m.Servers, func(a, b ServerSpec) int { return cmp.Compare(a.ID, b.ID) })
		again, err := ParseMembership(m.String())
		require.NoError(t, err, "%q", m.String())
		require.Equal(t, m, again)
	})
}

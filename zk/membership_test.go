package zk

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What String writes ParseMembership reads, groups and weights included.
func TestParseMembership(t *testing.T) {
	const text = "server.1=a:1:2:participant;0.0.0.0:3\nserver.2=[::1]:1:2:participant\nserver.3=c:1:2|d:1:2:observer;c:3\n" +
		"group.1=1\ngroup.2=2\nweight.2=5\nversion=100000002"
	m, err := ParseMembership(text)
	require.NoError(t, err)
	require.Equal(t, int64(0x100000002), m.Version)
	require.Equal(t, ServerSpec{ID: 2, Peer: "[::1]:1", Election: "[::1]:2", Group: 2, Weight: 5}, m.Servers[1])
	require.True(t, m.Servers[2].Observer)
	again, err := ParseMembership(m.String())
	require.NoError(t, err)
	require.Equal(t, m, again)
	commas, err := ParseMembership(strings.ReplaceAll(text, "\n", ","))
	require.NoError(t, err)
	require.Equal(t, m, commas)
}

func TestParseMembershipRefuses(t *testing.T) {
	for _, text := range []string{
		"", "nonsense", "server.1", "server.x=a:1:2", "server.0=a:1:2", "server.1=a:1:2\nserver.1=a:1:2", "server.1=a:1",
		"server.1=a:1:2:observer", "server.1=a:1:2\nversion=xyz", "server.1=a:1:2\ngroup.1=1:1", "server.1=a:1:2\ngroup.1=x",
		"server.1=a:1:2\ngroup.1=1\nweight.1=-1", "server.1=a:1:2\ncolour.1=red", "server.1=a:1:2\ngroup.0=1", "server.1=a[b:1:2", "server.1=a:1:2;b]:3", strings.Repeat("#", membershipBytesMax+1),
	} {
		_, err := ParseMembership(text)
		require.Error(t, err, "%.50q", text)
	}
}

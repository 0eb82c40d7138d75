package vfs_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

func TestInMemory(t *testing.T) {
	pass := func(vfs.Op) error { return nil }
	require.True(t, vfs.InMemory(vfs.NewMem()))
	require.True(t, vfs.InMemory(vfs.Inject(vfs.Inject(vfs.NewMem(), pass), pass)))
	require.False(t, vfs.InMemory(vfs.Inject(vfs.OS, pass)))
}

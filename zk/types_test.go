package zk

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
)

func TestCreateModes(t *testing.T) {
	for _, c := range []struct {
		mode                  CreateMode
		flags                 int32
		ttl                   int64
		sequential, ephemeral bool
	}{
		{Persistent, jute.FlagPersistent, 0, false, false},
		{Ephemeral, jute.FlagEphemeral, 0, false, true},
		{PersistentSequential, jute.FlagPersistentSequential, 0, true, false},
		{EphemeralSequential, jute.FlagEphemeralSequential, 0, true, true},
		{Container, jute.FlagContainer, 0, false, false},
		{PersistentTTL(time.Second), jute.FlagTTL, 1000, false, false},
		{PersistentSequentialTTL(34 * 365 * 24 * time.Hour), jute.FlagPersistentSequentialTTL, 34 * 365 * 86_400_000, true, false},
	} {
		require.Equal(t, c.flags, c.mode.flags())
		require.Equal(t, c.ttl, c.mode.ttl())
		require.Equal(t, c.sequential, c.mode.Sequential())
		require.Equal(t, c.ephemeral, c.mode.Ephemeral())
	}
}

func TestStrings(t *testing.T) {
	require.Equal(t, "world:anyone:cdrwa", WorldACL(PermAll).String())
	require.Equal(t, "digest:ann:7RJfAeIvrl4zdj6sS2fXrQHDvHM=:r", DigestACL(PermRead, "ann", "secret").String())
	require.Equal(t, "data changed /a", Event{Type: EventDataChanged, Path: "/a"}.String())
	require.Equal(t, "session expired: /a", Event{Type: EventSession, State: StateExpired, Path: "/a"}.String())
	require.Equal(t, "event type 9", EventType(9).String())
	require.Equal(t, "state 9", State(9).String())
	require.Equal(t, "error code -9", Error(-9).Error())
}

// TestErrorCodes compares the codes with those of the wire.
func TestErrorCodes(t *testing.T) {
	for code, text := range errorText {
		require.NotContains(t, jute.Code(code).String(), "Code", "%s has no name there", text)
	}
}

func TestOpError(t *testing.T) {
	var err error = &OpError{Op: "set", Path: "/a", Err: ErrBadVersion}
	require.EqualError(t, err, "zk: set /a: version conflict")
	require.ErrorIs(t, err, ErrBadVersion)
	require.NotErrorIs(t, err, ErrConnectionLoss)
	err = fmt.Errorf("wrapped: %w", &OpError{Op: "set", Path: "/a", Err: context.Canceled, Unknown: true})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, ErrConnectionLoss)
	e, ok := errors.AsType[*OpError](err)
	require.True(t, ok)
	require.Equal(t, "/a", e.Path)
}

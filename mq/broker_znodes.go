package mq

import (
	"context"
	"errors"
	"time"

	"github.com/vivarium-go/vivarium/mq/internal/layout"
	"github.com/vivarium-go/vivarium/zk"
)

// zkOps turns operations of the cores into a multi.
func zkOps(ops []layout.Op) []zk.Op {
	out := make([]zk.Op, len(ops))
	for i, op := range ops {
		switch op.Type {
		case layout.OpCheck:
			out[i] = zk.CheckOp(op.Path, op.Version)
		case layout.OpCreate:
			mode := zk.Persistent
			if op.Ephemeral {
				mode = zk.Ephemeral
			}
			out[i] = zk.CreateOp(op.Path, op.Data, mode)
		case layout.OpSet:
			out[i] = zk.SetOp(op.Path, op.Data, op.Version)
		case layout.OpDelete:
			out[i] = zk.DeleteOp(op.Path, op.Version)
		}
	}
	return out
}

// outcomeOf says what became of a write. Only an answer of the ensemble makes it Refused.
func outcomeOf(err error) layout.Outcome {
	var code zk.Error
	switch {
	case err == nil:
		return layout.Committed
	case errors.Is(err, zk.ErrConnectionLoss), errors.Is(err, zk.ErrSessionExpired), errors.Is(err, zk.ErrSessionMoved),
		errors.Is(err, zk.ErrOperationTimeout), errors.Is(err, zk.ErrRequestTimeout):
		return layout.Unknown
	case errors.As(err, &code), errors.Is(err, zk.ErrTooLarge):
		return layout.Refused
	}
	return layout.Unknown
}

// lastSetVersion is the data version that the last operation of a committed multi left.
func lastSetVersion(results []zk.OpResult) int32 {
	if len(results) == 0 {
		return -1
	}
	return results[len(results)-1].Stat.Version
}

// prepareEnsemble creates the znodes that every cluster needs, and returns the cluster's id, which the first broker chooses.
func prepareEnsemble(ctx context.Context, c *zk.Client, newID func() layout.ID) (string, error) {
	if err := c.EnsurePath(ctx, "/"); err != nil {
		return "", err
	}
	missing := make(chan error, len(layout.RootPaths()))
	for _, p := range layout.RootPaths() {
		c.Go(ctx, zk.CreateOp(p, nil, zk.Persistent), func(r zk.OpResult) { missing <- r.Err })
	}
	for range layout.RootPaths() {
		if err := <-missing; err != nil && !errors.Is(err, zk.ErrNodeExists) {
			return "", err
		}
	}
	for {
		data, _, err := c.Get(ctx, layout.ClusterIDPath)
		if err == nil {
			return layout.DecodeClusterID(data)
		}
		if !errors.Is(err, zk.ErrNoNode) {
			return "", err
		}
		_, err = c.Create(ctx, layout.ClusterIDPath, layout.EncodeClusterID(newID().String()), zk.Persistent)
		if err != nil && !errors.Is(err, zk.ErrNodeExists) && !errors.Is(err, zk.ErrConnectionLoss) {
			return "", err
		}
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
	}
}

// multi carries out a multi to its end: after an unknown outcome decided says whether it took effect.
func multi(ctx context.Context, c *zk.Client, ops []layout.Op, decided func() (bool, error)) error {
	for {
		_, err := c.Multi(ctx, zkOps(ops)...)
		if outcomeOf(err) != layout.Unknown || ctx.Err() != nil || c.Err() != nil {
			return err
		}
		done, derr := decided()
		if derr != nil {
			return errors.Join(err, derr)
		}
		if done {
			return nil
		}
		pause(ctx, zkRetryPause)
	}
}

// within is how long one call of the ensemble may take in the background: calls without an answer are given up and tried again.
const within = 30 * time.Second

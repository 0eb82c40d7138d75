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

// within is how long one call of the ensemble may take in the background: calls without an answer are given up and tried again.
const within = 30 * time.Second

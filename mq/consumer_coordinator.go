package mq

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// groupClient finds a group's coordinator and sends requests to it.
type groupClient struct {
	c     *Client
	group string
	lane  int32
	mu    struct {
		sync.Mutex
		known  bool
		broker int32
		addr   string
	}
}

// find returns the coordinator's address, asking the cluster if it is not known. One attempt.
func (k *groupClient) find(ctx context.Context) (string, error) {
	k.mu.Lock()
	known, addr := k.mu.known, k.mu.addr
	k.mu.Unlock()
	if known {
		return addr, nil
	}
	resp, err := k.c.requestAny(ctx, func() kmsg.Request {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorKey = k.group
		return req
	})
	if err != nil {
		return "", err
	}
	r := resp.(*kmsg.FindCoordinatorResponse)
	if err := codeError(r.ErrorCode); err != nil {
		return "", err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.known, k.mu.broker, k.mu.addr = true, r.NodeID, joinAddr(r.Host, r.Port)
	return k.mu.addr, nil
}

// forget makes the next request ask again.
func (k *groupClient) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.mu.known = false
}

// once sends req to the coordinator in one attempt. Wait is how long the coordinator is asked to hold the answer back. After a failure the coordinator is looked for anew.
func (k *groupClient) once(ctx context.Context, wait time.Duration, req kmsg.Request, check func(kmsg.Response) error) error {
	addr, err := k.find(ctx)
	if err != nil {
		return &notSentError{err}
	}
	resp, err := k.c.requestAddr(ctx, addr, k.lane, req, wait)
	if err == nil {
		err = check(resp)
	}
	if err != nil && lostCoordinator(err) {
		k.forget()
	}
	return err
}

// do sends req until the coordinator has answered with something that is not temporary, or ctx ends.
func (k *groupClient) do(ctx context.Context, req kmsg.Request, check func(kmsg.Response) error) error {
	sent := false
	err := k.c.retry(ctx, func() error {
		err := k.once(ctx, 0, req, check)
		_, answered := errors.AsType[Error](err)
		sent = err != nil && (sent || !answered && wasSent(err))
		return err
	})
	if err != nil && sent && ctx.Err() != nil {
		err = unknownOutcome(err)
	}
	return err
}

// lostCoordinator reports whether another broker may be the coordinator by now.
func lostCoordinator(err error) bool {
	code, answered := errors.AsType[Error](err)
	if !answered {
		return true
	}
	return code == ErrNotCoordinator || code == ErrCoordinatorNotAvailable || code == ErrBrokerNotAvailable
}

package mq

import (
	"context"
	"math"
	"sync"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// producerIdentity is the producer id that the cluster gave (KIP-98). Partitions count sequences for themselves, and may raise the
// epoch for themselves, since brokers keep both for each partition.
type producerIdentity struct {
	turn chan struct{} // holds a value while nobody asks the cluster

	mu    sync.Mutex
	known bool
	id    int64
	epoch int16
}

func (i *producerIdentity) init() {
	i.turn = make(chan struct{}, 1)
	i.turn <- struct{}{}
}

// cached returns the identity if there is one.
func (i *producerIdentity) cached() (id int64, epoch int16, ok bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.id, i.epoch, i.known
}

// renew forgets the identity if it is still the given one.
func (i *producerIdentity) renew(id int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.id == id {
		i.known = false
	}
}

// obtain returns the identity, asking the cluster if there is none; it retries until ctx ends.
func (i *producerIdentity) obtain(ctx context.Context, c *Client) (int64, int16, error) {
	if id, epoch, ok := i.cached(); ok {
		return id, epoch, nil
	}
	select {
	case <-i.turn:
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	defer func() { i.turn <- struct{}{} }()
	if id, epoch, ok := i.cached(); ok {
		return id, epoch, nil
	}
	build := func() kmsg.Request {
		req := kmsg.NewPtrInitProducerIDRequest()
		req.TransactionTimeoutMillis = math.MaxInt32
		return req
	}
	err := c.retry(ctx, func() error {
		resp, err := c.requestAny(ctx, build)
		if err != nil {
			return err
		}
		r := resp.(*kmsg.InitProducerIDResponse)
		if err := codeError(r.ErrorCode); err != nil {
			return err
		}
		i.mu.Lock()
		defer i.mu.Unlock()
		i.known, i.id, i.epoch = true, r.ProducerID, r.ProducerEpoch
		return nil
	})
	if err != nil {
		return 0, 0, &OpError{Op: "obtain a producer id", Err: err}
	}
	id, epoch, _ := i.cached()
	return id, epoch, nil
}

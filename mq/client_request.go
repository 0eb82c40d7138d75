package mq

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// versionRange is what a peer or this client speaks of one request.
type versionRange struct{ min, max int16 }

// clientVersions are the versions this client speaks. The highest ones are those of Kafka 2.8, which every broker since
// understands; the lowest are those that need record batches of format 2.
var clientVersions = map[kmsg.Key]versionRange{
	kmsg.Produce:                 {3, 9},
	kmsg.Fetch:                   {4, 12},
	kmsg.ListOffsets:             {1, 6},
	kmsg.Metadata:                {1, 11},
	kmsg.OffsetCommit:            {2, 8},
	kmsg.OffsetFetch:             {1, 7},
	kmsg.FindCoordinator:         {0, 3},
	kmsg.JoinGroup:               {0, 7},
	kmsg.Heartbeat:               {0, 4},
	kmsg.LeaveGroup:              {0, 4},
	kmsg.SyncGroup:               {0, 5},
	kmsg.DescribeGroups:          {0, 5},
	kmsg.ListGroups:              {0, 4},
	kmsg.CreateTopics:            {0, 6},
	kmsg.DeleteTopics:            {0, 5},
	kmsg.DeleteRecords:           {0, 2},
	kmsg.InitProducerID:          {0, 4},
	kmsg.OffsetForLeaderEpoch:    {2, 3},
	kmsg.DescribeConfigs:         {0, 4},
	kmsg.IncrementalAlterConfigs: {0, 1},
	kmsg.CreatePartitions:        {0, 3},
	kmsg.DeleteGroups:            {0, 2},
}

// setVersion gives req the highest version that the broker and this client know.
func (c *clientConn) setVersion(req kmsg.Request) error {
	ours, ok := clientVersions[kmsg.Key(req.Key())]
	theirs, known := c.versions[req.Key()]
	version := min(ours.max, theirs.max)
	if !ok || !known || version < max(ours.min, theirs.min) {
		return fmt.Errorf("%w: %s has %s %d-%d, this client %d-%d",
			ErrVersion, c.addr, kmsg.NameForKey(req.Key()), theirs.min, theirs.max, ours.min, ours.max)
	}
	req.SetVersion(version)
	return nil
}

// roundTripBytes sends req as it is and returns the body of the answer.
func (c *clientConn) roundTripBytes(ctx context.Context, req kmsg.Request, expected, timeout time.Duration) ([]byte, error) {
	type answer struct {
		body []byte
		err  error
	}
	answers := make(chan answer, 1)
	f := newFrame()
	f.b = appendRequest(f.b, req, c.clientID)
	if err := c.send(f, expected, timeout, func(body []byte, err error) { answers <- answer{body, err} }); err != nil {
		return nil, &notSentError{err}
	}
	select {
	case a := <-answers:
		return a.body, a.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// roundTrip sends req in the best common version and decodes the answer. Errors before anything was sent are *notSentError.
func (c *clientConn) roundTrip(ctx context.Context, req kmsg.Request, expected, timeout time.Duration) (kmsg.Response, error) {
	if err := c.setVersion(req); err != nil {
		return nil, &notSentError{err}
	}
	body, err := c.roundTripBytes(ctx, req, expected, timeout)
	if err != nil {
		return nil, err
	}
	return decodeResponse(req, body, false)
}

// notSentError marks errors of requests that certainly had no effect, because they were not sent.
type notSentError struct{ err error }

func (e *notSentError) Error() string { return e.err.Error() }
func (e *notSentError) Unwrap() error { return e.err }

// wasSent reports whether the request that ended with err may have reached a broker.
func wasSent(err error) bool {
	_, notSent := errors.AsType[*notSentError](err)
	return !notSent
}

// requestAddr sends req to the broker at addr, over the lane's connection. wait is how long the broker is asked to hold the answer back.
func (c *Client) requestAddr(ctx context.Context, addr string, lane int32, req kmsg.Request, wait time.Duration) (kmsg.Response, error) {
	conn, err := c.pool.get(ctx, addr, lane)
	if err != nil {
		return nil, &notSentError{err}
	}
	return conn.roundTrip(ctx, req, wait+slowAfter, wait+c.cfg.RequestTimeout)
}

// requestBroker is requestAddr for the broker with the given id.
func (c *Client) requestBroker(ctx context.Context, id, lane int32, req kmsg.Request, wait time.Duration) (kmsg.Response, error) {
	addr, ok := c.meta.current().addr(id)
	if !ok {
		return nil, &notSentError{fmt.Errorf("mq: broker %d is not known: %w", id, ErrBrokerNotAvailable)}
	}
	return c.requestAddr(ctx, addr, lane, req, wait)
}

// requestAny sends a request to some broker. If one fails or takes longer than hedgeAfter the next is asked too; the first answer counts.
// Each broker is asked once at most. Build returns the request, once for each broker.
func (c *Client) requestAny(ctx context.Context, build func() kmsg.Request) (kmsg.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.RequestTimeout)
	defer cancel()
	type answer struct {
		resp kmsg.Response
		err  error
	}
	addrs := c.meta.candidates()
	answers := make(chan answer, len(addrs))
	ask := func(addr string) bool {
		return c.pool.spawn(func() {
			resp, err := c.requestAddr(ctx, addr, quickLane, build(), 0)
			answers <- answer{resp, err}
		})
	}
	hedge := time.NewTicker(hedgeAfter)
	defer hedge.Stop()
	last := error(ErrBrokerNotAvailable)
	for asked, failed := 0, 0; failed < len(addrs); {
		if asked < len(addrs) {
			if !ask(addrs[asked]) {
				return nil, ErrClosed
			}
			asked++
		}
		select {
		case a := <-answers:
			if a.err == nil {
				return a.resp, nil
			}
			last = a.err
			failed++
		case <-hedge.C:
		case <-ctx.Done():
			if failed == 0 {
				last = ctx.Err()
			}
			return nil, last
		}
	}
	return nil, last
}

// hedgeAfter is how long a broker is waited for before the next one is asked as well.
const hedgeAfter = 200 * time.Millisecond

// sleep waits; it returns early with the error if ctx or the client ends.
func (c *Client) sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-c.pool.ctx.Done():
		return ErrClosed
	}
}

// retry calls op until it returns nil, an error that is not temporary, or ctx ends; the last error is then returned, and the
// context's with it.
func (c *Client) retry(ctx context.Context, op func() error) error {
	for failures := 1; ; failures++ {
		err := op()
		if f, ok := errors.AsType[*finalError](err); ok {
			return f.err
		}
		if err == nil || !temporary(err) {
			return err
		}
		if ctx.Err() != nil {
			return err
		}
		if serr := c.sleep(ctx, c.pool.backoff(failures, c.cfg.RetryBackoffMax)); serr != nil {
			return fmt.Errorf("%w; last error: %w", serr, err)
		}
	}
}

// temporary reports whether trying again may help: a retriable code, or any failure to talk to a broker.
func temporary(err error) bool {
	if code, ok := errors.AsType[Error](err); ok {
		return code.Retriable() || code == ErrBrokerNotAvailable
	}
	return !errors.Is(err, ErrClosed) && !errors.Is(err, ErrVersion) && !errors.Is(err, ErrProtocol)
}

// finalError ends Client.retry.
type finalError struct{ err error }

func (e *finalError) Error() string { return e.err.Error() }

// final makes an error final.
func final(err error) error {
	if err == nil {
		return nil
	}
	return &finalError{err}
}

package mq

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/api"
	"github.com/vivarium-go/vivarium/mq/internal/wire"
)

const (
	// peerDialTimeout bounds connecting to another broker.
	peerDialTimeout = 3 * time.Second
	// peerResponseSlack is added to what a replica fetch may ask for when its response's size is checked.
	peerResponseSlack = 4 << 20
)

// peerConn is a connection to another broker. One goroutine uses it at a time, except close.
type peerConn struct {
	nc       net.Conn
	clientID string
	corr     int32
	out      []byte
	in       []byte
	bytesMax int
}

// dialPeer connects to another broker.
func dialPeer(ctx context.Context, nw Network, addr, clientID string, bytesMax int) (*peerConn, error) {
	ctx, cancel := context.WithTimeout(ctx, peerDialTimeout)
	defer cancel()
	nc, err := nw.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &peerConn{nc: nc, clientID: clientID, bytesMax: bytesMax}, nil
}

func (c *peerConn) close() { _ = c.nc.Close() }

// send writes a request.
func (c *peerConn) send(req kmsg.Request) error {
	c.corr++
	f := kmsg.NewRequestFormatter(kmsg.FormatterClientID(c.clientID))
	c.out = f.AppendRequest(c.out[:0], req, c.corr)
	_, err := c.nc.Write(c.out)
	return err
}

// receive reads the response of the request sent with the correlation id. Its byte slices, and strings of a fetch, are valid until the next
// receive.
func (c *peerConn) receive(req kmsg.Request, corr int32) (kmsg.Response, error) {
	var head [4]byte
	if _, err := io.ReadFull(c.nc, head[:]); err != nil {
		return nil, err
	}
	size := int(int32(binary.BigEndian.Uint32(head[:])))
	if size < 4 || size > c.bytesMax {
		return nil, fmt.Errorf("mq: broker's response has %d bytes, want 4 to %d", size, c.bytesMax)
	}
	if cap(c.in) < size {
		c.in = make([]byte, size)
	}
	c.in = c.in[:size]
	if _, err := io.ReadFull(c.nc, c.in); err != nil {
		return nil, err
	}
	if got := int32(binary.BigEndian.Uint32(c.in)); got != corr {
		return nil, fmt.Errorf("mq: broker answered request %d, want %d", got, corr)
	}
	body := c.in[4:]
	resp := req.ResponseKind()
	resp.SetVersion(req.GetVersion())
	if resp.IsFlexible() && resp.Key() != int16(kmsg.ApiVersions) {
		rest, err := wire.SkipTags(body)
		if err != nil {
			return nil, fmt.Errorf("mq: header of broker's response: %w", err)
		}
		body = rest
	}
	decode := wire.Decode
	if resp.Key() == int16(kmsg.Fetch) {
		decode = wire.DecodeAlias
	}
	if err := decode(resp, body); err != nil {
		return nil, fmt.Errorf("mq: broker's response: %w", err)
	}
	return resp, nil
}

// askPeer sends one request on a connection of its own, and returns the answer.
func askPeer(ctx context.Context, nw Network, addr string, req kmsg.Request) (kmsg.Response, error) {
	c, err := dialPeer(ctx, nw, addr, api.ForwardClientID, 64<<20)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	defer c.close()
	if err := c.send(req); err != nil {
		return nil, err
	}
	return c.receive(req, c.corr)
}

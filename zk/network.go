package zk

import (
	"context"
	"net"
)

// Network is how the parties of an ensemble reach one another: servers their
// peers, clients their servers. The zero value of a configuration means TCP.
//
// mq.Network has the same method set, so one value serves both. A pointer to
//
//	struct {
//		net.Dialer
//		net.ListenConfig
//	}
//
// is a Network as it is; NewMemoryNetwork returns one that lives in this
// process. Implementations are safe for concurrent use, honour ctx while they
// connect, and fail as package net does: net.ErrClosed, os.ErrDeadlineExceeded,
// io.EOF.
type Network interface {
	// Listen announces address on network ("tcp"); port 0 picks a free one.
	Listen(ctx context.Context, network, address string) (net.Listener, error)
	// DialContext connects to address on network ("tcp").
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

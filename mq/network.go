package mq

import (
	"context"
	"net"
)

// Network is how the parties of a cluster reach one another: brokers listen on it, clients and other brokers dial over it.
// It has the same method set as the Network of package zk, so one value serves both.
//
// A struct{ net.Dialer; net.ListenConfig } satisfies it as it is, and speaks TCP. Implementations must be safe for
// concurrent use, must return the network errors of package net (net.ErrClosed, os.ErrDeadlineExceeded, io.EOF) and must
// support port 0 in Listen.
type Network interface {
	// Listen announces on address. network is "tcp" for every call this package makes.
	Listen(ctx context.Context, network, address string) (net.Listener, error)
	// DialContext connects to address.
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// tcpNetwork is the Network a zero configuration means.
type tcpNetwork struct {
	net.Dialer
	net.ListenConfig
}

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

const wordTimeout = 5 * time.Second

// status prints what zkServer.sh status prints.
func status(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	set := newFlags("status")
	server := set.String("server", "127.0.0.1:2181", "host:port for clients")
	if err := parseFlags(set, args, stderr); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(*server)
	if err != nil {
		return fmt.Errorf("%w: -server: %w", errUsage, err)
	}
	fmt.Fprintf(stdout, "Client port found: %s. Client address: %s. Client SSL: false.\n", port, host)
	text, err := word(ctx, *server, "srvr")
	if err != nil {
		fmt.Fprintln(stdout, "Error contacting service. It is probably not running.")
		return err
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "Mode: ") {
			_, err := io.WriteString(stdout, line)
			return err
		}
	}
	fmt.Fprintln(stdout, "Error contacting service. It is probably not running.")
	return errors.New(strings.TrimSpace(text))
}

// word sends a four-letter word and returns the answer.
func word(ctx context.Context, server, word string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, wordTimeout)
	defer cancel()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", server)
	if err != nil {
		return "", err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	if _, err := io.WriteString(c, word); err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(bufio.NewReader(c), 16<<20))
	return string(text), err
}

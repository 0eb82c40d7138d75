package zk

import (
	"context"
	"fmt"
	"io"
	"time"
)

// writableFoundError ends a read-only connection: there is a better server.
type writableFoundError struct{ server string }

func (e *writableFoundError) Error() string {
	return fmt.Sprintf("server %s has a quorum", e.server)
}

// Pauses between the questions of a prober, doubling.
const (
	probeMin = 100 * time.Millisecond
	probeMax = time.Minute
)

// probe is the prober goroutine of a connection to a read-only server: it asks
// the servers in turn whether they have a quorum, by the four-letter word isro.
func (cn *clientConn) probe() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	servers := cn.c.cfg.Servers
	pause := probeMin
	t := time.NewTimer(pause)
	defer t.Stop()
	for i := 0; ; i++ {
		select {
		case <-cn.stop:
			return
		case <-t.C:
		}
		server := servers[i%len(servers)]
		if cn.isWritable(ctx, server) {
			cn.fail(&writableFoundError{server})
			return
		}
		pause = min(2*pause, probeMax)
		t.Reset(pause)
	}
}

// isWritable asks one server. It gives up when the connection ends.
func (cn *clientConn) isWritable(ctx context.Context, server string) bool {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	asked := make(chan struct{})
	defer close(asked)
	cn.goroutines.Go(func() {
		select {
		case <-cn.stop:
			cancel()
		case <-asked:
		}
	})
	nc, err := cn.c.dial(ctx, server)
	if err != nil {
		return false
	}
	defer nc.Close()
	defer context.AfterFunc(ctx, func() { nc.Close() })()
	if _, err := io.WriteString(nc, "isro"); err != nil {
		return false
	}
	answer, err := io.ReadAll(io.LimitReader(nc, 16))
	return err == nil && string(answer) == "rw"
}

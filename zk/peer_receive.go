package zk

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/vivarium-go/vivarium/zk/internal/tree"
	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

const (
	peerHelloTimeout = 10 * time.Second
	peerReadBytes    = 64 << 10
	receiversMax     = 1024 // connections to the peer port
)

// receivers are the incoming connections, at most one from each peer: a newer
// one takes the place of an older.
type receivers struct {
	mu    sync.Mutex
	conns map[zab.ServerID]net.Conn
	all   map[net.Conn]struct{}
	done  bool
}

// add registers a connection before its hello; false if the server stops or
// there are too many, which are no peers.
func (r *receivers) add(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done || len(r.all) >= receiversMax {
		return false
	}
	r.all[c] = struct{}{}
	return true
}

// identify makes a connection its peer's, and says whether it takes the place of
// an older one.
func (r *receivers) identify(from zab.ServerID, c net.Conn) (replaced bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.conns[from]
	if old != nil {
		_ = old.Close()
	}
	r.conns[from] = c
	return old != nil
}

// remove forgets a connection and says whether it was still its peer's.
func (r *receivers) remove(from zab.ServerID, c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.all, c)
	if r.conns[from] != c {
		return false
	}
	delete(r.conns, from)
	return true
}

func (r *receivers) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done = true
	for c := range r.all {
		_ = c.Close()
	}
}

// acceptPeers is a goroutine: it accepts until the listener closes.
func (s *Server) acceptPeers(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || s.ctx.Err() != nil {
				return
			}
			s.log.Warn("accepting a peer", "err", err)
			if !s.pause(acceptBackoff) {
				return
			}
			continue
		}
		if !s.receivers.add(conn) {
			_ = conn.Close()
			continue
		}
		s.goroutines.Go(func() { s.receive(conn) })
	}
}

// receive is the goroutine of one incoming connection: it reads frames and
// hands them to the loop.
func (s *Server) receive(conn net.Conn) {
	var from zab.ServerID
	err := s.receiveFrom(conn, &from)
	_ = conn.Close()
	if s.receivers.remove(from, conn) {
		s.log.Debug("connection from peer ended", "peer", from, "err", err)
		s.peerDown(from)
	} else if from == 0 && s.ctx.Err() == nil {
		s.log.Warn("connection to the peer port refused", "remote", conn.RemoteAddr().String(), "err", err)
	}
}

func (s *Server) receiveFrom(raw net.Conn, from *zab.ServerID) error {
	conn, id, err := s.hearHello(raw)
	if err != nil {
		return err
	}
	*from = id
	if s.receivers.identify(id, raw) {
		s.peerDown(id) // what the older connection had not delivered is lost
	}
	r := bufio.NewReaderSize(conn, peerReadBytes)
	for {
		kind, body, err := readPeerFrame(r)
		if err != nil {
			return err
		}
		if err := s.receiveFrame(r, id, kind, body); err != nil {
			return err
		}
	}
}

// readPeerFrame reads one frame into memory of its own: entries keep it.
func readPeerFrame(r *bufio.Reader) (kind byte, body []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n < 1 || n > peerFrameBytesMax {
		return 0, nil, fmt.Errorf("%w: length %d", errPeerFrame, n)
	}
	body, err = readGrowing(r, int(n)-1)
	return head[4], body, err
}

// readGrowing reads n bytes into memory that grows as they arrive, so that a
// length alone allocates little.
func readGrowing(r io.Reader, n int) ([]byte, error) {
	const step = 1 << 20
	body := make([]byte, min(n, step))
	for at := 0; ; {
		if _, err := io.ReadFull(r, body[at:]); err != nil {
			return nil, err
		}
		at = len(body)
		if at == n {
			return body, nil
		}
		body = append(body, make([]byte, min(n-at, at))...)
	}
}

func (s *Server) receiveFrame(r *bufio.Reader, from zab.ServerID, kind byte, body []byte) error {
	switch kind {
	case frameZab, frameSnap:
		m, err := zab.DecodeMessage(body)
		if err != nil {
			return err
		}
		if m.From != from || m.To != zab.ServerID(s.cfg.ID) {
			return fmt.Errorf("%w: %v from %d to %d on a connection from %d", errPeerFrame, m.Type, m.From, m.To, from)
		}
		if kind == frameSnap {
			if m.Snapshot, err = s.receiveSnapshot(r, from, m.Zxid); err != nil {
				return err
			}
		}
		s.inbox.push(event{kind: eventMessage, peer: from, message: &m})
	case frameWork:
		w, err := decodeWork(body)
		if err != nil {
			return err
		}
		s.inbox.push(event{kind: eventWork, peer: from, work: &w})
	default:
		return fmt.Errorf("%w: kind %d", errPeerFrame, kind)
	}
	return nil
}

// receiveSnapshot builds a tree from the chunks that follow a SNAP message.
func (s *Server) receiveSnapshot(r *bufio.Reader, from zab.ServerID, z zab.Zxid) (zab.Snapshot, error) {
	loader := tree.NewLoader(s.treeConfig())
	for {
		kind, chunk, err := readPeerFrame(r)
		if err != nil {
			return nil, err
		}
		if kind != frameChunk {
			return nil, fmt.Errorf("%w: kind %d in a snapshot", errPeerFrame, kind)
		}
		if len(chunk) == 0 {
			break
		}
		if _, err := loader.Write(chunk); err != nil {
			return nil, err
		}
		s.peerMoving(from)
	}
	t, err := loader.Finish()
	if err != nil {
		return nil, err
	}
	if t.Applied() != int64(z) {
		return nil, fmt.Errorf("%w: snapshot at %v announced as %v", errPeerFrame, zab.Zxid(t.Applied()), z)
	}
	return &installedSnapshot{tree: t, members: s.treeMembership(t)}, nil
}

func (s *Server) peerDown(id zab.ServerID)   { s.inbox.push(event{kind: eventUnreachable, peer: id}) }
func (s *Server) peerMoving(id zab.ServerID) { s.inbox.push(event{kind: eventHeard, peer: id}) }

// pause waits, and says whether the server still runs.
func (s *Server) pause(d time.Duration) bool {
	ctx, cancel := context.WithTimeout(s.ctx, d)
	defer cancel()
	<-ctx.Done()
	return s.ctx.Err() == nil
}

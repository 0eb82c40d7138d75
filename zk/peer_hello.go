package zk

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"time"

	"github.com/vivarium-go/vivarium/zk/internal/zab"
)

// A connection between servers begins, inside TLS if PeerTLS is set, with
//
//	→ "VVZB" version=2 flags(1) from(8) to(8) nonce(16) length(1) address   flags: 1 a secret is there
//	← nonce(16) mac(32)                                                     with a secret only
//	→ mac(32)                                                               with a secret only
//
// where address is the sender's for its peers, so that a server that is not in
// the configuration can be answered. A mac is HMAC-SHA256 under the secret of who
// makes it and all that both have said, so none can be used twice or sent back.
// Nothing but these few bytes is read, and no room made for more, before the
// other side is known. Frames themselves bear no mac: who fears more than
// strangers uses TLS.
const (
	peerMagic      = 0x56565a42 // "VVZB"
	peerVersion    = 2
	peerNonceBytes = 16
	helloBytes     = 4 + 1 + 1 + 8 + 8 + peerNonceBytes + 1
	helloAddressAt = helloBytes

	helloHasSecret = 1

	macDialer   = "vivarium zk peer dialer"
	macAcceptor = "vivarium zk peer acceptor"
)

var errPeerRefused = errors.New("zk: peer refused")

// peerHello is what the dialing side says first.
type peerHello struct {
	flags    byte
	from, to zab.ServerID
	nonce    [peerNonceBytes]byte
	address  string
}

func (h *peerHello) append(dst []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, peerMagic)
	dst = append(dst, peerVersion, h.flags)
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.from))
	dst = binary.BigEndian.AppendUint64(dst, uint64(h.to))
	dst = append(dst, h.nonce[:]...)
	address := h.address[:min(len(h.address), 255)]
	return append(append(dst, byte(len(address))), address...)
}

// readHello reads one, and no byte more.
func readHello(r io.Reader) (h peerHello, err error) {
	var b [helloBytes + 255]byte
	if _, err := io.ReadFull(r, b[:helloBytes]); err != nil {
		return h, err
	}
	if binary.BigEndian.Uint32(b[:]) != peerMagic {
		return h, fmt.Errorf("%w: not a hello: %x", errPeerFrame, b[:8])
	}
	if b[4] != peerVersion {
		return h, fmt.Errorf("%w: version %d, not %d", errPeerFrame, b[4], peerVersion)
	}
	if h.flags = b[5]; h.flags&^helloHasSecret != 0 {
		return h, fmt.Errorf("%w: flags %x", errPeerFrame, h.flags)
	}
	h.from, h.to = zab.ServerID(binary.BigEndian.Uint64(b[6:])), zab.ServerID(binary.BigEndian.Uint64(b[14:]))
	copy(h.nonce[:], b[22:])
	n := int(b[helloBytes-1])
	if _, err := io.ReadFull(r, b[helloAddressAt:helloAddressAt+n]); err != nil {
		return h, err
	}
	h.address = string(b[helloAddressAt : helloAddressAt+n])
	return h, nil
}

// mac proves the secret to who sent the other nonce.
func (s *Server) mac(who string, h *peerHello, answer []byte) []byte {
	m := hmac.New(sha256.New, s.cfg.PeerSecret)
	_, _ = m.Write(h.append([]byte(who))) // never fails
	_, _ = m.Write(answer)
	return m.Sum(nil)
}

// sayHello begins a connection that this server has dialed.
func (s *Server) sayHello(ctx context.Context, conn net.Conn, to zab.ServerID, address string) (net.Conn, error) {
	if err := conn.SetDeadline(time.Now().Add(peerDialTimeout)); err != nil {
		return nil, err
	}
	if s.cfg.PeerTLS != nil {
		cfg := s.cfg.PeerTLS.Clone()
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		cfg.ServerName = host
		cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
		t := tls.Client(conn, cfg)
		if err := t.HandshakeContext(ctx); err != nil {
			return nil, err
		}
		conn = t
	}
	h := peerHello{from: zab.ServerID(s.cfg.ID), to: to, address: s.ownPeerAddress()}
	copy(h.nonce[:], s.randomBytes(peerNonceBytes))
	if len(s.cfg.PeerSecret) > 0 {
		h.flags = helloHasSecret
	}
	if _, err := conn.Write(h.append(nil)); err != nil {
		return nil, err
	}
	if len(s.cfg.PeerSecret) > 0 {
		var answer [peerNonceBytes + sha256.Size]byte
		if _, err := io.ReadFull(conn, answer[:]); err != nil {
			return nil, err
		}
		nonce := answer[:peerNonceBytes]
		if !hmac.Equal(answer[peerNonceBytes:], s.mac(macAcceptor, &h, nonce)) {
			return nil, fmt.Errorf("%w: server %d at %s does not know the secret", errPeerRefused, to, address)
		}
		if _, err := conn.Write(s.mac(macDialer, &h, nonce)); err != nil {
			return nil, err
		}
	}
	return conn, conn.SetDeadline(time.Time{})
}

// hearHello finds out who has dialed, and whether it may.
func (s *Server) hearHello(conn net.Conn) (net.Conn, zab.ServerID, error) {
	if err := conn.SetDeadline(time.Now().Add(peerHelloTimeout)); err != nil {
		return nil, 0, err
	}
	var shown *tls.Conn
	if s.cfg.PeerTLS != nil {
		cfg := s.cfg.PeerTLS.Clone()
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
		cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
		shown = tls.Server(conn, cfg)
		if err := shown.HandshakeContext(s.ctx); err != nil {
			return nil, 0, err
		}
		conn = shown
	}
	h, err := readHello(conn)
	if err != nil {
		return nil, 0, err
	}
	spec, err := s.mayJoin(&h)
	if err != nil {
		return nil, 0, err
	}
	if shown != nil {
		if err := checkCertificate(shown, spec); err != nil {
			return nil, 0, fmt.Errorf("%w: server %d: %w", errPeerRefused, h.from, err)
		}
	}
	if err := s.demandSecret(conn, &h); err != nil {
		return nil, 0, err
	}
	s.connect(spec, false)
	return conn, h.from, conn.SetDeadline(time.Time{})
}

// mayJoin says who the other side claims to be: a server of the configuration
// or, if that may change, one that wants to get into it.
func (s *Server) mayJoin(h *peerHello) (ServerSpec, error) {
	if h.to != zab.ServerID(s.cfg.ID) || h.from == h.to || h.from < 1 || h.from > serverIDMax {
		return ServerSpec{}, fmt.Errorf("%w: hello from server %d to server %d, this is %d", errPeerRefused, h.from, h.to, s.cfg.ID)
	}
	for _, m := range []*Membership{s.active.Load(), &s.initial} {
		if spec, ok := m.member(int64(h.from)); ok {
			return spec, nil
		}
	}
	if l := s.link(h.from); l != nil && l.member {
		return ServerSpec{ID: int64(h.from), Peer: l.addresses[0]}, nil
	}
	_, _, err := net.SplitHostPort(h.address)
	if !s.cfg.ReconfigEnabled || err != nil {
		return ServerSpec{}, fmt.Errorf("%w: server %d is not in the configuration", errPeerRefused, h.from)
	}
	return ServerSpec{ID: int64(h.from), Peer: h.address, Observer: true}, nil
}

// checkCertificate demands that it names a host of the server's addresses.
func checkCertificate(conn *tls.Conn, spec ServerSpec) error {
	certs := conn.ConnectionState().PeerCertificates
	if len(certs) == 0 {
		return errors.New("no certificate")
	}
	var err error
	for _, a := range peerAddresses(spec) {
		host, _, splitErr := net.SplitHostPort(a)
		if err = splitErr; err == nil {
			err = certs[0].VerifyHostname(host)
		}
		if err == nil {
			return nil
		}
	}
	return err
}

// demandSecret proves the secret to the other side and has it do the same.
func (s *Server) demandSecret(conn net.Conn, h *peerHello) error {
	if has := h.flags&helloHasSecret != 0; has != (len(s.cfg.PeerSecret) > 0) {
		return fmt.Errorf("%w: server %d has a secret: %t, this one: %t", errPeerRefused, h.from, has, !has)
	}
	if len(s.cfg.PeerSecret) == 0 {
		return nil
	}
	nonce := s.randomBytes(peerNonceBytes)
	if _, err := conn.Write(append(nonce, s.mac(macAcceptor, h, nonce)...)); err != nil {
		return err
	}
	var mac [sha256.Size]byte
	if _, err := io.ReadFull(conn, mac[:]); err != nil {
		return err
	}
	if !hmac.Equal(mac[:], s.mac(macDialer, h, nonce[:peerNonceBytes])) {
		return fmt.Errorf("%w: server %d does not know the secret", errPeerRefused, h.from)
	}
	return nil
}

func (s *Server) ownPeerAddress() string {
	for _, m := range []*Membership{s.active.Load(), &s.initial} {
		if spec, ok := m.member(s.cfg.ID); ok {
			return spec.Peer
		}
	}
	return ""
}

func peerAddresses(spec ServerSpec) []string {
	as := []string{spec.Peer}
	for _, more := range spec.More {
		as = append(as, more.Peer)
	}
	return as
}

// link returns the sending side towards a server, nil if that is not known.
func (s *Server) link(id zab.ServerID) *link { return (*s.links.Load())[id] }

// connect sees to it that there is a link to a server. The addresses of a member
// take the place of those that a server claims.
func (s *Server) connect(spec ServerSpec, member bool) {
	id := zab.ServerID(spec.ID)
	if spec.ID == s.cfg.ID {
		return
	}
	s.linksMu.Lock()
	defer s.linksMu.Unlock()
	old := s.link(id)
	if old != nil && (slices.Equal(old.addresses, peerAddresses(spec)) || old.member && !member) {
		return
	}
	l := newLink(s, spec)
	l.member = member
	ctx, stop := context.WithCancel(s.ctx)
	l.stop = stop
	links := maps.Clone(*s.links.Load())
	links[id] = l
	s.links.Store(&links)
	if old != nil {
		old.stop()
		s.peerDown(id) // what it had not delivered is lost
	}
	s.goroutines.Go(func() { defer stop(); l.run(ctx) })
}

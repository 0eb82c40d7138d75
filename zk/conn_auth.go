package zk

import (
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/internal/tree"
)

const (
	identitiesMax      = 64 // of one connection: every write carries them
	identitiesBytesMax = 16 << 10
	authRefusedPause   = 250 * time.Millisecond // before who guesses hears that it was wrong
)

var (
	errAuthRefused    = errors.New("zk: credential refused")
	errIdentitiesMany = errors.New("zk: client has too many identities")
)

// startTLS does the TLS handshake of a connection to an endpoint that has TLS. A
// verified certificate is an identity of the scheme x509: its subject, as
// X500Principal.getName writes it.
func (c *conn) startTLS(cfg *tls.Config) error {
	if cfg == nil {
		return nil
	}
	t := tls.Server(c.net, cfg)
	if err := t.HandshakeContext(c.ctx); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	state := t.ConnectionState()
	c.net, c.tls = t, &state
	if len(state.VerifiedChains) == 0 {
		return nil
	}
	subject, err := subjectName(state.PeerCertificates[0])
	if err != nil {
		return err
	}
	if super := c.s.cfg.X509SuperUser; super != "" && subject == super {
		c.addIdentity(jute.ID{Scheme: tree.SchemeSuper, ID: subject})
	}
	if !c.addIdentity(jute.ID{Scheme: "x509", ID: subject}) {
		return errIdentitiesMany
	}
	return nil
}

// subjectName is a certificate's subject by RFC 2253, in the certificate's own
// order of names.
func subjectName(cert *x509.Certificate) (string, error) {
	var names pkix.RDNSequence
	if _, err := asn1.Unmarshal(cert.RawSubject, &names); err != nil {
		return "", fmt.Errorf("zk: subject of a certificate: %w", err)
	}
	return names.String(), nil
}

// auth adds identities, or ends the connection.
func (q *requestReader) auth(h *jute.RequestHeader, body *jute.Reader) error {
	var a jute.AuthRequest
	a.Decode(body)
	if body.Err() != nil {
		return body.Err()
	}
	ids, err := q.c.authenticate(strings.Clone(a.Scheme), a.Auth)
	if err != nil {
		return q.c.refuseAuth(h, err)
	}
	for _, id := range ids {
		if !q.c.addIdentity(id) {
			return q.c.refuseAuth(h, errIdentitiesMany)
		}
	}
	q.c.replyAt(0, h.Xid, jute.CodeOK, nil)
	return nil
}

// authenticate returns who a credential makes of the client.
func (c *conn) authenticate(scheme string, credential []byte) ([]jute.ID, error) {
	cfg := &c.s.cfg
	switch scheme {
	case "digest":
		id := digestID(cfg.DigestAlgorithm, credential)
		ids := []jute.ID{{Scheme: scheme, ID: id}}
		if cfg.SuperDigest != "" && subtle.ConstantTimeCompare([]byte(id), []byte(cfg.SuperDigest)) == 1 {
			ids = append(ids, jute.ID{Scheme: tree.SchemeSuper})
		}
		return ids, nil
	case "ip":
		return nil, nil // it has its own already
	case "x509":
		if c.tls != nil && len(c.tls.VerifiedChains) > 0 {
			return nil, nil // likewise
		}
		return nil, fmt.Errorf("%w: no verified certificate", errAuthRefused)
	}
	own, known := cfg.AuthSchemes[scheme]
	if !known || own.Authenticate == nil {
		return nil, fmt.Errorf("%w: scheme %.40q is not known", errAuthRefused, scheme)
	}
	names, err := own.Authenticate(AuthPeer{Addr: c.net.RemoteAddr(), TLS: c.tls}, credential)
	if err != nil {
		return nil, fmt.Errorf("%w: scheme %q: %w", errAuthRefused, scheme, err)
	}
	ids := make([]jute.ID, 0, len(names))
	for _, name := range names {
		ids = append(ids, jute.ID{Scheme: scheme, ID: name})
	}
	return ids, nil
}

// refuseAuth ends the connection with an answer, for the reason why.
func (c *conn) refuseAuth(h *jute.RequestHeader, why error) error {
	c.pauseRefused()
	c.replyAt(0, h.Xid, jute.CodeAuthFailed, nil)
	c.finishOutput()
	return why
}

// pauseRefused slows down who guesses passwords. Memory is this process.
func (c *conn) pauseRefused() {
	if remoteIP(c.net) == nil {
		return
	}
	t := time.NewTimer(authRefusedPause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.ctx.Done():
	}
}

// addIdentity says no to more identities than entries of the history can carry.
func (c *conn) addIdentity(id jute.ID) bool {
	ids := c.identity()
	if slices.Contains(ids, id) {
		return true
	}
	bytes := 0
	for _, have := range ids {
		bytes += len(have.Scheme) + len(have.ID)
	}
	if len(ids) >= identitiesMax || bytes+len(id.Scheme)+len(id.ID) > identitiesBytesMax {
		return false
	}
	c.ids.Store(new(append(slices.Clone(ids), id)))
	return true
}

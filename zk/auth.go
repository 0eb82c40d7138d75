package zk

import (
	"crypto"
	_ "crypto/sha1" //nolint:gosec // the digest scheme of ZooKeeper is SHA-1
	_ "crypto/sha256"
	_ "crypto/sha3"
	_ "crypto/sha512"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/vivarium-go/vivarium/zk/internal/tree"
)

// AuthScheme is an authentication scheme of one's own: how clients prove who they
// are, and what the ids of the scheme mean in an ACL. It must be the same on
// every server of an ensemble. Its functions may run on several goroutines at once;
// Valid and Matches must be pure, because every server applies every write.
type AuthScheme struct {
	// Authenticate checks a credential (Client.AddAuth) and returns the ids that the
	// client has under this scheme from then on; an error refuses it and ends the
	// connection. It must not keep credential, and holds up the client's connection
	// while it runs, nobody else's. Nil: no credential is accepted.
	Authenticate func(from AuthPeer, credential []byte) (ids []string, err error)
	// Valid says whether an id may stand in an ACL. Nil: any but the empty one.
	Valid func(id string) bool
	// Matches says whether a client's id is one that an ACL's entry means. Nil:
	// equality.
	Matches func(clientID, entryID string) bool
}

// AuthPeer is the other end of a connection whose client shows a credential.
type AuthPeer struct {
	Addr net.Addr
	TLS  *tls.ConnectionState // nil without TLS
}

// builtinSchemes have a meaning that no AuthScheme can take.
var builtinSchemes = []string{"", "world", "auth", "digest", "ip", "x509", tree.SchemeSuper}

// digestAlgorithms are the names of hash functions as zoo.cfg and Java spell them.
var digestAlgorithms = map[string]crypto.Hash{
	"SHA1": crypto.SHA1, "SHA-1": crypto.SHA1, "SHA-256": crypto.SHA256, "SHA-384": crypto.SHA384, "SHA-512": crypto.SHA512,
	"SHA3-256": crypto.SHA3_256, "SHA3-512": crypto.SHA3_512,
}

// digestID is the id that the digest scheme makes of user:password.
func digestID(algorithm string, credential []byte) string {
	h := digestAlgorithms[algorithm].New()
	_, _ = h.Write(credential) // a hash does not fail
	user, _, _ := strings.Cut(string(credential), ":")
	return user + ":" + base64.StdEncoding.EncodeToString(h.Sum(nil))
}

// schemes is what the tree knows of authentication.
func (c *Config) schemes() map[string]tree.Scheme {
	schemes := tree.DefaultSchemes()
	for name, s := range c.AuthSchemes {
		schemes[name] = tree.Scheme{Authenticated: true, Valid: s.Valid, Matches: s.Matches}
	}
	return schemes
}

// validateAuth reports what is wrong with who may do what.
func (c *Config) validateAuth(fail func(format string, args ...any)) {
	for name := range c.AuthSchemes {
		if slices.Contains(builtinSchemes, name) {
			fail("AuthSchemes: the scheme %q is built in", name)
		}
	}
	if user, hash, found := strings.Cut(c.SuperDigest, ":"); c.SuperDigest != "" && (!found || user == "" || hash == "") {
		fail("SuperDigest is not of the form user:digest") // it is not repeated: it may be a password
	}
	if h, known := digestAlgorithms[c.DigestAlgorithm]; !known || !h.Available() {
		fail("DigestAlgorithm %q is not known", c.DigestAlgorithm)
	}
	for _, e := range c.Clients {
		if err := validateTLS(e.TLS); err != nil {
			fail("client address %q: %w", e.Address, err)
		}
	}
}

func validateTLS(t *tls.Config) error {
	switch {
	case t == nil:
	case len(t.Certificates) == 0 && t.GetCertificate == nil && t.GetConfigForClient == nil:
		return errors.New("TLS without a certificate")
	case t.MinVersion != 0 && t.MinVersion < tls.VersionTLS12:
		return fmt.Errorf("%s is too old: TLS 1.2 at least", tls.VersionName(t.MinVersion))
	}
	return nil
}

// authenticatesClients says whether nobody gets in without a certificate.
func authenticatesClients(t *tls.Config) bool {
	return t != nil && t.ClientAuth == tls.RequireAndVerifyClientCert
}

package zk_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
	"github.com/vivarium-go/vivarium/zk/internal/jute"
	"github.com/vivarium-go/vivarium/zk/zktest"
)

// authority signs certificates for a test.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

func (a *authority) sign(c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(1), time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), signer)
	require.NoError(a.t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(a.t, err)
	return cert, key
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// certificate is one for a subject, and a server's for host names.
func (a *authority) certificate(subject pkix.Name, hosts ...string) tls.Certificate {
	cert, key := a.sign(&x509.Certificate{Subject: subject, DNSNames: hosts})
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key, Leaf: cert}
}

// secured is an ensemble of one server, whose endpoint "tls" wants certificates.
func secured(t *testing.T, a *authority, auth tls.ClientAuthType, server zk.Config) *zktest.Ensemble {
	memory := zk.NewMemoryNetwork()
	server.AllowInsecure = true
	return zktest.Start(t, zk.EnsembleConfig{Servers: 1, Network: memory, Server: server, Clients: func(int64) []zk.Endpoint {
		return []zk.Endpoint{{Network: memory, Address: "zk-1:2181"}, {Network: memory, Address: "tls:2281", TLS: &tls.Config{
			Certificates: []tls.Certificate{a.certificate(pkix.Name{CommonName: "server"}, "tls")}, ClientAuth: auth, ClientCAs: a.pool(),
		}}}
	}})
}

func (a *authority) client(t *testing.T, e *zktest.Ensemble, cert *tls.Certificate) (*zk.Client, error) {
	cfg := e.ClientConfig()
	cfg.Servers, cfg.TLS = []string{"tls:2281"}, &tls.Config{RootCAs: a.pool()}
	if cert != nil {
		cfg.TLS.Certificates = []tls.Certificate{*cert}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := zk.Connect(ctx, cfg)
	if err == nil {
		t.Cleanup(func() { _ = c.Close() })
	}
	return c, err
}

// A client's certificate is its identity under x509: the subject as Java writes
// it. It stands in ACLs, expands auth, and one may be the super user.
func TestX509(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		e := secured(t, a, tls.RequireAndVerifyClientCert, zk.Config{X509SuperUser: "CN=root"})
		ann := a.certificate(pkix.Name{CommonName: "ann, \"A\"", Organization: []string{"Zoo"}, Country: []string{"FR"}})
		c, err := a.client(t, e, &ann)
		require.NoError(t, err)
		ids, err := c.WhoAmI(t.Context())
		require.NoError(t, err)
		const subject = `CN=ann\, \"A\",O=Zoo,C=FR`
		require.Contains(t, ids, zk.ID{Scheme: "x509", ID: subject})
		_, err = c.Create(t.Context(), "/hers", []byte("x"), zk.Persistent, zk.AuthACL(zk.PermAll))
		require.NoError(t, err)
		acl, _, err := c.ACL(t.Context(), "/hers")
		require.NoError(t, err)
		require.Equal(t, []zk.ACL{{Perms: zk.PermAll, ID: zk.ID{Scheme: "x509", ID: subject}}}, acl)
		require.NoError(t, c.AddAuth(t.Context(), zk.Auth{Scheme: "x509"}))

		plain := e.ConnectTo(1)
		_, _, err = plain.Get(t.Context(), "/hers")
		require.ErrorIs(t, err, zk.ErrNoAuth)
		require.ErrorIs(t, plain.AddAuth(t.Context(), zk.Auth{Scheme: "x509"}), zk.ErrAuthFailed, "it has no certificate")

		root := a.certificate(pkix.Name{CommonName: "root"})
		super, err := a.client(t, e, &root)
		require.NoError(t, err)
		_, _, err = super.Get(t.Context(), "/hers")
		require.NoError(t, err)
	})
}

// Who has no certificate, or one that another authority signed, does not get in
// where one is required; where it is optional, it is no identity.
func TestCertificatesAreVerified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, other := newAuthority(t), newAuthority(t)
		forged := other.certificate(pkix.Name{CommonName: "root"})
		required := secured(t, a, tls.RequireAndVerifyClientCert, zk.Config{X509SuperUser: "CN=root"})
		for _, cert := range []*tls.Certificate{nil, &forged} {
			_, err := a.client(t, required, cert)
			require.Error(t, err)
		}
		for _, mode := range []tls.ClientAuthType{tls.RequestClientCert, tls.RequireAnyClientCert} {
			e := secured(t, a, mode, zk.Config{X509SuperUser: "CN=root"})
			c, err := a.client(t, e, &forged)
			require.NoError(t, err)
			ids, err := c.WhoAmI(t.Context())
			require.NoError(t, err)
			require.Equal(t, []zk.ID{{Scheme: "ip", ID: "127.0.0.1"}}, ids, "not verified: nobody")
			require.ErrorIs(t, c.AddAuth(t.Context(), zk.Auth{Scheme: "x509"}), zk.ErrAuthFailed)
		}
		plain := zk.ClientConfig{Servers: []string{"tls:2281"}, Network: required.Memory}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := zk.Connect(ctx, plain)
		require.Error(t, err)
	})
}

// The super user is off unless configured, passes every ACL, and cannot stand in
// one.
func TestSuperUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const digest = "super:lK75jTNcA+U9vtVEw5vB51mj/w4=" // super:secret
		for _, configured := range []string{"", digest} {
			e := zktest.Start(t, zk.EnsembleConfig{Servers: 1, Server: zk.Config{SuperDigest: configured}})
			owner, super, other := e.Connect(), e.Connect(), e.Connect()
			ctx := t.Context()
			_, err := owner.Create(ctx, "/locked", nil, zk.Persistent, zk.DigestACL(zk.PermAll, "ann", "pw"))
			require.NoError(t, err)
			require.NoError(t, super.AddAuth(ctx, zk.DigestAuth("super", "secret")))
			require.NoError(t, other.AddAuth(ctx, zk.DigestAuth("super", "guess")))
			_, _, err = other.Get(ctx, "/locked")
			require.ErrorIs(t, err, zk.ErrNoAuth)
			_, _, err = super.Get(ctx, "/locked")
			_, setErr := super.Set(ctx, "/locked", []byte("x"), zk.AnyVersion)
			ids, idsErr := super.WhoAmI(ctx)
			require.NoError(t, idsErr)
			_, aclErr := super.Create(ctx, "/s", nil, zk.Persistent, zk.ACL{Perms: zk.PermAll, ID: zk.ID{Scheme: "super", ID: "super"}})
			require.ErrorIs(t, aclErr, zk.ErrInvalidACL)
			if configured == "" {
				require.ErrorIs(t, err, zk.ErrNoAuth)
				require.ErrorIs(t, setErr, zk.ErrNoAuth)
				require.NotContains(t, ids, zk.ID{Scheme: "super"})
				continue
			}
			require.NoError(t, err)
			require.NoError(t, setErr)
			require.Contains(t, ids, zk.ID{Scheme: "super"})
			acl, _, err := super.ACL(ctx, "/locked")
			require.NoError(t, err)
			require.NotContains(t, acl[0].ID.ID, ":x", "not masked")
		}
	})
}

// A scheme of the host program's own: who a token makes, what matches in an ACL,
// and what auth expands to.
func TestOwnScheme(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wrong := errors.New("no such token")
		scheme := zk.AuthScheme{
			Authenticate: func(from zk.AuthPeer, token []byte) ([]string, error) {
				if from.Addr == nil || string(token) != "t0ken" {
					return nil, wrong
				}
				return []string{"ann", "group/keepers"}, nil
			},
			Valid:   func(id string) bool { return id != "" && id[0] != '!' },
			Matches: func(client, entry string) bool { return client == entry || entry == "*" },
		}
		e := zktest.Start(t, zk.EnsembleConfig{Server: zk.Config{AuthSchemes: map[string]zk.AuthScheme{"token": scheme}}})
		c, other := e.Connect(), e.Connect()
		ctx := t.Context()
		entry := func(id string) zk.ACL { return zk.ACL{Perms: zk.PermAll, ID: zk.ID{Scheme: "token", ID: id}} }
		require.NoError(t, c.AddAuth(ctx, zk.Auth{Scheme: "token", Data: []byte("t0ken")}))
		require.ErrorIs(t, other.AddAuth(ctx, zk.Auth{Scheme: "token", Data: []byte("guess")}), zk.ErrAuthFailed)
		_, err := c.Create(ctx, "/bad", nil, zk.Persistent, entry("!x"))
		require.ErrorIs(t, err, zk.ErrInvalidACL)
		_, err = c.Create(ctx, "/auth", nil, zk.Persistent, zk.AuthACL(zk.PermAll))
		require.NoError(t, err)
		acl, _, err := c.ACL(ctx, "/auth")
		require.NoError(t, err)
		require.Equal(t, []zk.ACL{entry("ann"), entry("group/keepers")}, acl)
		_, err = c.Create(ctx, "/any", nil, zk.Persistent, entry("*"))
		require.NoError(t, err)
		third := e.Connect()
		for _, path := range []string{"/auth", "/any"} {
			_, err = c.Set(ctx, path, []byte("x"), zk.AnyVersion)
			require.NoError(t, err)
			require.NoError(t, third.Sync(ctx, path))
			_, _, err = third.Get(ctx, path)
			require.ErrorIs(t, err, zk.ErrNoAuth)
		}
	})
}

// What is wrong with who may do what is said at the start, without secrets.
func TestAuthConfigErrors(t *testing.T) {
	for want, cfg := range map[string]zk.Config{
		"built in":              {AuthSchemes: map[string]zk.AuthScheme{"digest": {}}},
		"user:digest":           {SuperDigest: "hunter2"},
		`"MD5" is not known`:    {DigestAlgorithm: "MD5"},
		"without a certificate": {Clients: []zk.Endpoint{{Address: "127.0.0.1:0", TLS: &tls.Config{}}}},
		"without TLS":           {Clients: []zk.Endpoint{{Address: "0.0.0.0:0"}}},
	} {
		cfg.ID, cfg.Servers = 1, []zk.ServerSpec{{ID: 1, Peer: "127.0.0.1:1"}}
		_, err := zk.StartServer(t.Context(), cfg)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

// Every operation, alone and in a multi, looks at the ACL (S14).
func TestEveryOperationChecksACL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := zktest.Start(t, zk.EnsembleConfig{Servers: 1})
		owner := newSession(t, e, 1)
		owner.raw(request(jute.XidAuth, jute.OpAuth, &jute.AuthRequest{Scheme: "digest", Auth: []byte("ann:pw")}))
		owner.reply()
		mine := []jute.ACL{{Perms: jute.PermAll, ID: jute.ID{Scheme: "auth"}}}
		for i, path := range []string{"/p", "/p/x"} {
			owner.raw(request(int32(i), jute.OpCreate, &jute.CreateRequest{Path: path, Data: []byte("secret"), ACL: mine}))
			h, _ := owner.reply()
			require.Equal(t, jute.CodeOK, h.Err)
		}
		w := newSession(t, e, 1)
		create := jute.CreateRequest{Path: "/p/y", ACL: openACL}
		for op, body := range map[jute.OpCode]jute.Record{
			jute.OpCreate:               &create,
			jute.OpCreate2:              &create,
			jute.OpCreateContainer:      &create,
			jute.OpDelete:               &jute.PathVersionRequest{Path: "/p/x", Version: -1},
			jute.OpExists:               &jute.PathWatchRequest{Path: "/p"},
			jute.OpGetData:              &jute.PathWatchRequest{Path: "/p"},
			jute.OpSetData:              &jute.SetDataRequest{Path: "/p", Version: -1},
			jute.OpGetACL:               &jute.PathRequest{Path: "/p"},
			jute.OpSetACL:               &jute.SetACLRequest{Path: "/p", ACL: openACL, Version: -1},
			jute.OpGetChildren:          &jute.PathWatchRequest{Path: "/p"},
			jute.OpGetChildren2:         &jute.PathWatchRequest{Path: "/p"},
			jute.OpGetAllChildrenNumber: &jute.PathRequest{Path: "/p"},
		} {
			w.raw(request(int32(op), op, body))
			h, rest := w.reply()
			require.Equal(t, jute.CodeNoAuth, h.Err, op.String())
			require.Empty(t, rest.Rest(), "an error has no body")
		}
		for _, op := range []jute.Op{
			{Type: jute.OpCreate, Path: "/p/y", ACL: openACL},
			{Type: jute.OpCreate2, Path: "/p/y", ACL: openACL},
			{Type: jute.OpDelete, Path: "/p/x", Version: -1},
			{Type: jute.OpSetData, Path: "/p", Version: -1},
			{Type: jute.OpCheck, Path: "/p", Version: -1},
			{Type: jute.OpGetData, Path: "/p"},
			{Type: jute.OpGetChildren, Path: "/p"},
		} {
			typ, read := jute.OpMulti, op.Type == jute.OpGetData || op.Type == jute.OpGetChildren
			if read {
				typ = jute.OpMultiRead
			}
			w.raw(request(int32(op.Type), typ, &jute.MultiRequest{Read: read, Ops: []jute.Op{op}}))
			h, rest := w.reply()
			require.Equal(t, jute.CodeOK, h.Err)
			var p jute.MultiResponse
			p.Decode(&rest)
			require.Equal(t, jute.CodeNoAuth, p.Results[0].Err, op.Type.String())
		}
	})
}

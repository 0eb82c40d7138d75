package zk

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// authority signs certificates of servers.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &authority{t: t, cert: cert, key: key}
}

// config is that of a server whose certificate names host.
func (a *authority) config(host string) *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{host},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	require.NoError(a.t, err)
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, RootCAs: pool, ClientCAs: pool,
	}
}

// Servers that prove who they are form an ensemble; one that cannot is no part of
// it, and its attempts harm nobody (S2, S3).
func TestPeersKnowEachOther(t *testing.T) {
	for _, c := range []struct {
		name string
		edit func(a *authority, cfg *Config, host string)
		last func(a *authority, cfg *Config) // makes the third one a stranger
	}{
		{
			"secret",
			func(_ *authority, cfg *Config, _ string) { cfg.PeerSecret = []byte("right") },
			func(_ *authority, cfg *Config) { cfg.PeerSecret = []byte("wrong") },
		}, {
			"no-secret",
			func(_ *authority, cfg *Config, _ string) { cfg.PeerSecret = []byte("right") },
			func(_ *authority, cfg *Config) { cfg.PeerSecret = nil },
		}, {
			"tls-other-host",
			func(a *authority, cfg *Config, host string) { cfg.PeerTLS = a.config(host) },
			func(a *authority, cfg *Config) { cfg.PeerTLS = a.config("zk-2") },
		}, {
			"tls-other-authority",
			func(a *authority, cfg *Config, host string) { cfg.PeerTLS = a.config(host) },
			func(a *authority, cfg *Config) { cfg.PeerTLS = newAuthority(a.t).config("zk-3") },
		}, {
			"tls-none",
			func(a *authority, cfg *Config, host string) { cfg.PeerTLS = a.config(host) },
			func(_ *authority, cfg *Config) { cfg.PeerTLS = nil },
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAuthority(t)
				stranger := true
				f := newFlock(t, func(cfg *Config) {
					host, _, err := net.SplitHostPort(cfg.Clients[0].Address)
					require.NoError(t, err)
					c.edit(a, cfg, host)
					if cfg.ID == 3 && stranger {
						c.last(a, cfg)
					}
				})
				for id := int64(1); id <= 3; id++ {
					f.start(id, true, specs(1, 2, 3)...)
				}
				f.ready(1, 2)
				epoch := f.servers[f.leader()].Status().Epoch
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
				defer cancel()
				require.Error(t, f.servers[3].Ready(ctx))
				require.Equal(t, epoch, f.servers[f.leader()].Status().Epoch, "no election because of it")
				require.NoError(t, f.servers[3].Close())
				stranger = false
				f.start(3, false, specs(1, 2, 3)...)
				f.ready(3)
			})
		})
	}
}

// A server with a certificate of its own cannot say that it is another one, nor
// can bytes of an earlier conversation prove the secret.
func TestPeerCannotPose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		f := newFlock(t, func(cfg *Config) {
			host, _, err := net.SplitHostPort(cfg.Clients[0].Address)
			require.NoError(t, err)
			cfg.PeerTLS, cfg.PeerSecret = a.config(host), []byte("secret")
		})
		for id := int64(1); id <= 3; id++ {
			f.start(id, true, specs(1, 2, 3)...)
		}
		f.ready(1, 2, 3)
		say := func(host string, h peerHello, more []byte) []byte {
			raw, err := f.memory.DialContext(t.Context(), "tcp", "zk-1:2888")
			require.NoError(t, err)
			cfg := a.config(host)
			cfg.ServerName = "zk-1"
			conn := tls.Client(raw, cfg)
			require.NoError(t, conn.Handshake())
			_, err = conn.Write(append(h.append(nil), more...))
			require.NoError(t, err)
			answer, _ := io.ReadAll(conn) // until it hangs up
			require.NoError(t, raw.Close())
			return answer
		}
		require.Empty(t, say("zk-3", peerHello{flags: helloHasSecret, from: 2, to: 1}, nil), "the certificate is another server's")
		require.Empty(t, say("zk-3", peerHello{flags: helloHasSecret, from: 3, to: 2}, nil), "not for this server")
		require.Empty(t, say("zk-9", peerHello{flags: helloHasSecret, from: 9, to: 1, address: "zk-3:2888"}, nil), "an address of somebody else")
		require.Empty(t, say("zk-3", peerHello{from: 3, to: 1}, nil), "no secret")
		challenge := say("zk-3", peerHello{flags: helloHasSecret, from: 3, to: 1}, make([]byte, 32))
		require.Len(t, challenge, peerNonceBytes+32)
		again := say("zk-3", peerHello{flags: helloHasSecret, from: 3, to: 1}, challenge[peerNonceBytes:])
		require.Len(t, again, peerNonceBytes+32)
		require.NotEqual(t, challenge, again, "no challenge comes twice")
		f.ready(1, 2, 3)
	})
}

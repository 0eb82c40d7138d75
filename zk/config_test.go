package zk_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
)

// A zoo.cfg as people write them, with what Java's properties allow.
const zooCfg = `# a comment
! another
tickTime=2000
initLimit : 10
syncLimit 5
dataDir=/var/lib/\
    zookeeper
dataLogDir=/var/log/zookeeper
clientPort=2181
maxClientCnxns=0
minSessionTimeout=-1
maxSessionTimeout=60000
autopurge.purgeInterval=24
autopurge.snapRetainCount=1
4lw.commands.whitelist=mntr, stat ,nope
zookeeper.snapCount=5000
globalOutstandingLimit=100
jute.maxbuffer=0x200000
zookeeper.extendedTypesEnabled=true
znode.container.checkIntervalMs=1000
zookeeper.DigestAuthenticationProvider.superDigest=super:abc=
enforceQuota=true
admin.serverPort=8081
admin.serverAddress=127.0.0.1
metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider
metricsProvider.httpPort=7070
my.own\u003dkey=a value
server.1=zoo1.example:2888:3888
server.2=zoo2.example:2888:3888:participant;2181
server.3=[2001:db8::3]:2888:3888|10.0.0.3:2889:3889:observer;[::1]:2182
group.1=1:2
weight.2=3
`

func TestParseConfig(t *testing.T) {
	f, err := zk.ParseConfig("zoo.cfg", strings.NewReader(zooCfg))
	require.NoError(t, err)
	require.Equal(t, 2*time.Second, f.Server.TickTime)
	require.Equal(t, 10, f.Server.InitLimit)
	require.Equal(t, 5, f.Server.SyncLimit)
	require.Equal(t, "/var/lib/zookeeper", f.DataDir)
	require.Equal(t, "/var/log/zookeeper", f.DataLogDir)
	require.Equal(t, 2181, f.ClientPort)
	require.Equal(t, -1, f.Server.ClientCnxnsMax)
	require.Zero(t, f.Server.MinSessionTimeout)
	require.Equal(t, time.Minute, f.Server.MaxSessionTimeout)
	require.Equal(t, 24*time.Hour, f.Server.PurgeInterval)
	require.Equal(t, 3, f.Server.SnapRetainCount)
	require.Equal(t, []string{"mntr", "stat"}, f.Server.FourLetterWords)
	require.Equal(t, 5000, f.Server.SnapCount)
	require.Equal(t, 100, f.Server.OutstandingMax)
	require.Equal(t, 2<<20, f.Server.FrameBytesMax)
	require.True(t, f.Server.ExtendedTypes)
	require.True(t, f.Server.EnforceQuota)
	require.Equal(t, "super:abc=", f.Server.SuperDigest)
	require.Equal(t, time.Second, f.Server.ContainerCheckInterval)
	require.Equal(t, zk.AdminConfig{Port: 8081, Address: "127.0.0.1", Explicit: true}, f.Admin)
	require.Equal(t, zk.MetricsConfig{Enabled: true, Port: 7070}, f.Metrics)
	require.Equal(t, "a value", f.Properties["zookeeper.my.own=key"])
	require.Equal(t, "5000", f.Properties["zookeeper.snapCount"])
	require.Equal(t, []zk.ServerSpec{
		{ID: 1, Peer: "zoo1.example:2888", Election: "zoo1.example:3888", Group: 1, Weight: 1},
		{ID: 2, Peer: "zoo2.example:2888", Election: "zoo2.example:3888", Client: "0.0.0.0:2181", Group: 1, Weight: 3},
		{
			ID: 3, Peer: "[2001:db8::3]:2888", Election: "[2001:db8::3]:3888", More: []zk.PeerAddress{{Peer: "10.0.0.3:2889", Election: "10.0.0.3:3889"}},
			Observer: true, Client: "[::1]:2182",
		},
	}, f.Members)
	require.Contains(t, strings.Join(f.Warnings, "\n"), `no command "nope"`)

	f.MyID = 2
	c, err := f.ServerConfig()
	require.NoError(t, err)
	require.EqualValues(t, 2, c.ID)
	require.Equal(t, "/var/lib/zookeeper/vivarium", c.DataDir)
	require.Equal(t, "/var/log/zookeeper/vivarium", c.DataLogDir)
	require.Equal(t, 4*time.Second, c.MinSessionTimeout)
	require.True(t, c.Standalone)
	require.Equal(t, []zk.Endpoint{{Address: "0.0.0.0:2181"}}, c.Clients)
	require.Contains(t, strings.Join(f.Warnings, "\n"), "all interfaces")
}

// Each wrong value is an error that names file, line and key, all at once.
func TestParseConfigErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"tickTime=abc", `zk: zoo.cfg:1: tickTime: "abc" is not a whole number`},
		{"\n\ntickTime=0", "zoo.cfg:3: tickTime: 0 is not between 1"},
		{"clientPort=70000", "clientPort: 70000 is not between"},
		{"a=1\\\n2\nstandaloneEnabled=maybe", "zoo.cfg:3: standaloneEnabled: \"maybe\" is neither"},
		{"clientPortAddress=127.0.0.1", "clientPortAddress: is set, but clientPort is not"},
		{"server.x=a:1:2", "server.x: server id \"x\" is not a number"},
		{"server.300=a:1:2", "server id 300 is not between 1 and 254"},
		{"server.1=a:1", `address "a:1" is not host:port:port`},
		{"server.1=a:1:2:king", `role "king" is neither`},
		{"server.1=a:1:99999", `port "99999"`},
		{"server.1=[::1:1:2", "no closing bracket"},
		{"server.1=[zz]:1:2", "not an IPv6 address"},
		{"server.1=a:1:2;x:y:z", "client address"},
		{"server.1=a:1:2:observer", "no server is a participant"},
		{"server.1=a:1:2\ngroup.1=1:9", "zoo.cfg:2: group.1: there is no server.9"},
		{"server.1=a:1:2\nweight.1=-1", "weight.1: \"-1\" is not a weight"},
		{"minSessionTimeout=100\nmaxSessionTimeout=10", "minSessionTimeout: is above"},
		{"electionAlg=0", "electionAlg: 0 is not supported"},
		{"peerType=king", "peerType:"},
		{`k=\u12`, `zoo.cfg:1: k: escape`},
		{`k=\uzzzz`, "four hexadecimal digits"},
		{"ssl.clientAuth=perhaps", "ssl.clientAuth:"},
		{"ssl.keyStore.type=JKS", "only PEM is supported"},
		{"ssl.enabledProtocols=TLSv1", "not safe"},
		{"ssl.ciphersuites=TLS_NULL", "cipher suite"},
		{"quorum.auth.enableSasl=true", "not supported"},
		{"forceSync=no", "always synced"},
		{"admin.commandURL=x", "slash"},
	} {
		_, err := zk.ParseConfig("zoo.cfg", strings.NewReader(c.text))
		require.ErrorContains(t, err, c.want, c.text)
		var ce *zk.ConfigError
		require.ErrorAs(t, err, &ce, c.text)
		require.Equal(t, "zoo.cfg", ce.File)
	}
	_, err := zk.ParseConfig("zoo.cfg", strings.NewReader("tickTime=a\nsyncLimit=b"))
	require.ErrorContains(t, err, "zoo.cfg:1: tickTime")
	require.ErrorContains(t, err, "zoo.cfg:2: syncLimit")
	_, err = zk.ParseConfig("zoo.cfg", strings.NewReader(strings.Repeat("#", 1<<20+1)))
	require.ErrorContains(t, err, "more than")
	_, err = zk.ParseConfig("zoo.cfg", failingReader{})
	require.ErrorIs(t, err, os.ErrPermission)
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, os.ErrPermission }

func TestServerConfigErrors(t *testing.T) {
	for _, c := range []struct {
		text, want string
		myid       int64
	}{
		{"clientPort=1", "dataDir: is not set", 1},
		{"dataDir=/d", "clientPort: is not set", 1},
		{"dataDir=/d\nclientPort=1\nserver.1=a:1:2\nserver.2=b:1:2", "initLimit: is not set", 1},
		{"dataDir=/d\nclientPort=1\nserver.1=a:1:2", "there is no server.7", 7},
		{"dataDir=/d\nclientPort=1\nserver.1=a:1:2;2", "clientPort: is 1, and server.1 says 2", 1},
		{"dataDir=/d\nsecureClientPort=1", "secureClientPort: is set, but no key ssl.*", 1},
		{"dataDir=/d\nsecureClientPort=1\nssl.clientAuth=none", "ssl.keyStore.location is missing", 1},
		{"dataDir=/d\nclientPort=1\ntickTime=1000\nminSessionTimeout=90000", "minSessionTimeout", 1},
	} {
		f, err := zk.ParseConfig("zoo.cfg", strings.NewReader(c.text))
		require.NoError(t, err, c.text)
		f.MyID = c.myid
		_, err = f.ServerConfig()
		require.ErrorContains(t, err, c.want, c.text)
	}
}

func TestLoadConfig(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	dynamic := write("zoo.cfg.dynamic", "server.5=localhost:1:2:participant;127.0.0.1:3\nversion=100000003\n")
	path := write("zoo.cfg", "dataDir="+dir+"\ndynamicConfigFile="+dynamic+"\n")
	_, err := zk.LoadConfig(path)
	require.ErrorContains(t, err, "myid")
	write("myid", "5\n")
	f, err := zk.LoadConfig(path)
	require.NoError(t, err)
	require.EqualValues(t, 5, f.MyID)
	require.EqualValues(t, 0x100000003, f.Version)
	c, err := f.ServerConfig()
	require.NoError(t, err)
	require.Equal(t, "127.0.0.1:3", c.Clients[0].Address)

	write("myid", "five")
	_, err = zk.LoadConfig(path)
	require.ErrorContains(t, err, filepath.Join(dir, "myid")+":1")
	_, err = zk.LoadConfig(write("both.cfg", "dataDir="+dir+"\nserver.1=a:1:2\ndynamicConfigFile="+dynamic))
	require.ErrorContains(t, err, "both.cfg:2: server.1: must be in the dynamic")
	_, err = zk.LoadConfig(write("gone.cfg", "dynamicConfigFile="+dir+"/none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = zk.LoadConfig(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	write("zoo.cfg.dynamic", "tickTime=1\n")
	_, err = zk.LoadConfig(path)
	require.ErrorContains(t, err, "zoo.cfg.dynamic:1: tickTime: not a key")
}

// What a dynamic configuration says is written as it was read.
func TestMembersRoundTrip(t *testing.T) {
	f, err := zk.ParseConfig("zoo.cfg", strings.NewReader(zooCfg))
	require.NoError(t, err)
	text := zk.FormatMembers(f.Members, 0x100000000)
	require.Equal(t, strings.Join([]string{
		"server.1=zoo1.example:2888:3888:participant",
		"server.2=zoo2.example:2888:3888:participant;0.0.0.0:2181",
		"server.3=[2001:db8::3]:2888:3888|10.0.0.3:2889:3889:observer;[::1]:2182",
		"group.1=1:2", "weight.2=3", "version=100000000",
	}, "\n"), text)
	dir := t.TempDir()
	path := filepath.Join(dir, "dynamic")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	cfg := filepath.Join(dir, "zoo.cfg")
	require.NoError(t, os.WriteFile(cfg, []byte("dynamicConfigFile="+path), 0o600))
	g, err := zk.LoadConfig(cfg)
	require.NoError(t, err)
	require.Equal(t, f.Members, g.Members)
	require.EqualValues(t, 0x100000000, g.Version)
}

func TestConfigTLS(t *testing.T) {
	dir := t.TempDir()
	store, trust := writeCertificate(t, dir)
	parse := func(lines ...string) (*tls.Config, error) {
		f, err := zk.ParseConfig("zoo.cfg", strings.NewReader(strings.Join(lines, "\n")))
		if err != nil {
			return nil, err
		}
		return f.ClientTLS()
	}
	c, err := parse("ssl.keyStore.location="+store, "zookeeper.ssl.trustStore.location="+trust, "ssl.clientAuth=want", "ssl.enabledProtocols=TLSv1.2,TLSv1.3",
		"ssl.ciphersuites=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256")
	require.NoError(t, err)
	require.Len(t, c.Certificates, 1)
	require.Equal(t, tls.VerifyClientCertIfGiven, c.ClientAuth)
	require.EqualValues(t, tls.VersionTLS12, c.MinVersion)
	require.EqualValues(t, tls.VersionTLS13, c.MaxVersion)
	require.Equal(t, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, c.CipherSuites)

	f, err := zk.ParseConfig("zoo.cfg", strings.NewReader("sslQuorum=true\nssl.quorum.keyStore.location="+store+"\nssl.quorum.trustStore.location="+trust))
	require.NoError(t, err)
	c, err = f.PeerTLS()
	require.NoError(t, err)
	require.NotNil(t, c.RootCAs)

	jks := filepath.Join(dir, "store")
	require.NoError(t, os.WriteFile(jks, []byte("\xfe\xed\xfe\xed and more"), 0o600))
	_, err = parse("ssl.clientAuth=none", "ssl.keyStore.location="+jks)
	require.ErrorContains(t, err, "is a Java key store: only PEM")
	_, err = parse("ssl.keyStore.location=" + dir + "/x.p12")
	require.ErrorContains(t, err, "PKCS12")
	_, err = parse("ssl.keyStore.location=" + store)
	require.ErrorContains(t, err, "ssl.trustStore.location is missing")
	_, err = parse("ssl.keyStore.location="+store, "ssl.trustStore.location="+dir+"/none.pem")
	require.ErrorIs(t, err, os.ErrNotExist)
	encrypted := filepath.Join(dir, "enc.pem")
	require.NoError(t, os.WriteFile(encrypted, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")}), 0o600))
	_, err = parse("ssl.keyStore.location=" + encrypted)
	require.ErrorContains(t, err, "encrypted")
}

// A server of a file with secureClientPort and sslQuorum=true speaks TLS to
// clients and to its peers, and refuses who shows no certificate.
func TestConfigSecureEnsemble(t *testing.T) {
	dir := t.TempDir()
	store, trust := writeCertificate(t, dir)
	var members strings.Builder
	for id := range 3 {
		fmt.Fprintf(&members, "server.%d=localhost:%d:1\n", id+1, freePort(t, 500*id))
	}
	var addrs []string
	for id := range 3 {
		data := filepath.Join(dir, strconv.Itoa(id))
		require.NoError(t, os.MkdirAll(data, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(data, "myid"), []byte(strconv.Itoa(id+1)), 0o600))
		file := filepath.Join(data, "zoo.cfg")
		require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, "tickTime=200\ninitLimit=50\nsyncLimit=50\ndataDir=%s\nsecureClientPort=0\nsecureClientPortAddress=127.0.0.1\nsslQuorum=true\n"+
			"ssl.keyStore.location=%[2]s\nssl.trustStore.location=%[3]s\nssl.quorum.keyStore.location=%[2]s\nssl.quorum.trustStore.location=%[3]s\n%[4]s", data, store, trust, &members), 0o600))
		f, err := zk.LoadConfig(file)
		require.NoError(t, err)
		c, err := f.ServerConfig()
		require.NoError(t, err)
		c.Bootstrap = true
		s, err := zk.StartServer(t.Context(), c)
		require.NoError(t, err)
		defer s.Close()
		addrs = append(addrs, s.Addrs()[0].String())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	pair, err := tls.LoadX509KeyPair(store, store)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	text, err := os.ReadFile(trust)
	require.NoError(t, err)
	require.True(t, roots.AppendCertsFromPEM(text))
	c, err := zk.Connect(ctx, zk.ClientConfig{Servers: addrs, TLS: &tls.Config{RootCAs: roots, ServerName: "localhost", Certificates: []tls.Certificate{pair}}})
	require.NoError(t, err)
	_, err = c.Create(ctx, "/a", nil, zk.Persistent)
	require.NoError(t, err)
	require.NoError(t, c.Close())
	short, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	_, err = zk.Connect(short, zk.ClientConfig{Servers: addrs, TLS: &tls.Config{RootCAs: roots, ServerName: "localhost"}})
	require.Error(t, err)
	_, err = zk.Connect(short, zk.ClientConfig{Servers: addrs})
	require.Error(t, err)
}

// freePort returns a port that was free a moment ago, below those that systems
// hand out by themselves: nobody else takes it meanwhile by accident.
func freePort(t *testing.T, salt int) int {
	const first, last = 15_000, 32_000
	for port := first + (os.Getpid()*37+salt)%(last-first); ; port = max(first, (port+1)%last) {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			require.NoError(t, l.Close())
			return port
		}
	}
}

// writeCertificate makes a self-signed certificate: a store with its key, and one without.
func writeCertificate(t *testing.T, dir string) (store, trust string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(rand.Reader, &template, &template, &key.PublicKey, key)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	store, trust = filepath.Join(dir, "store.pem"), filepath.Join(dir, "trust.pem")
	require.NoError(t, os.WriteFile(store, append(certPEM, keyPEM...), 0o600))
	require.NoError(t, os.WriteFile(trust, certPEM, 0o600))
	return store, trust
}

func FuzzParseConfig(f *testing.F) {
	f.Add(zooCfg)
	f.Add("a\\\\\\\n b: c\\u0041\\q\nserver.1=[::1]:1:2|[::2]:3:4:observer;[::]:5\n\\")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := zk.ParseConfig("zoo.cfg", strings.NewReader(text))
		if err != nil {
			var ce *zk.ConfigError
			require.True(t, errors.As(err, &ce), err)
			return
		}
		_, _ = c.ServerConfig()
		for _, m := range c.Members {
			again, err := zk.ParseServerSpec(m.ID, m.String())
			require.NoError(t, err)
			again.Group, again.Weight = m.Group, m.Weight
			require.Equal(t, m, again)
		}
	})
}

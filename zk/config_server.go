package zk

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"time"
)

// vivariumDir is where a server keeps its state below dataDir, as Apache
// ZooKeeper does in version-2: both can lie side by side.
const vivariumDir = "vivarium"

// fileTickTime is the tickTime of a zoo.cfg that does not say it.
const fileTickTime = 3 * time.Second

// ServerConfig returns the configuration of the server that the file is about:
// the one of Members with the id MyID, or one alone. Defaults that differ between
// a zoo.cfg and a Config are the file's here (tickTime 3 s, maxSessionTimeout 20
// ticks). Addresses are open to other machines where the file says so, which a
// Warning repeats. FS, Bootstrap and Logger are left to the caller.
func (f *FileConfig) ServerConfig() (Config, error) {
	c := f.Server
	var errs []error
	fail := func(key, format string, args ...any) {
		errs = append(errs, &ConfigError{File: f.File, Line: f.lines[key], Key: key, Err: fmt.Errorf(format, args...)})
	}
	if f.DataDir == "" {
		fail("dataDir", "is not set")
	}
	c.DataDir = filepath.Join(f.DataDir, vivariumDir)
	if f.DataLogDir != "" && f.DataLogDir != f.DataDir {
		c.DataLogDir = filepath.Join(f.DataLogDir, vivariumDir)
	}
	setDefault(&c.TickTime, fileTickTime)
	setDefault(&c.MinSessionTimeout, 2*c.TickTime)
	setDefault(&c.MaxSessionTimeout, 20*c.TickTime)
	if c.MinSessionTimeout > c.MaxSessionTimeout {
		fail("minSessionTimeout", "%v is above maxSessionTimeout %v", c.MinSessionTimeout, c.MaxSessionTimeout)
	}
	if _, said := f.lines["standaloneEnabled"]; !said {
		c.Standalone = true
	}
	c.AllowInsecure = true // the file says where
	errs = append(errs, f.identity(&c), f.clients(&c))
	var err error
	if c.PeerTLS, err = f.PeerTLS(); err != nil {
		errs = append(errs, err)
	}
	return c, errors.Join(errs...)
}

// identity fills in who the server is and who the others are.
func (f *FileConfig) identity(c *Config) error {
	fail := func(key, format string, args ...any) error {
		return &ConfigError{File: f.File, Line: f.lines[key], Key: key, Err: fmt.Errorf(format, args...)}
	}
	if len(f.Members) == 0 {
		c.ID = max(f.MyID, 1)
		c.Servers = []ServerSpec{{ID: c.ID, Peer: "127.0.0.1:0"}}
		return nil
	}
	c.ID, c.Servers = f.MyID, slices.Clone(f.Members)
	var errs []error
	if len(f.Members) > 1 {
		for _, key := range []string{"initLimit", "syncLimit"} {
			if f.lines[key] == 0 {
				errs = append(errs, fail(key, "is not set"))
			}
		}
	}
	i := slices.IndexFunc(f.Members, func(m ServerSpec) bool { return m.ID == f.MyID })
	if i < 0 {
		return errors.Join(append(errs, fail("", "there is no server.%d, which the file myid says this is", f.MyID))...)
	}
	self := f.Members[i]
	if f.Observer != self.Observer && f.lines["peerType"] != 0 {
		f.warn("peerType differs from the role in server.%d, which counts", self.ID)
	}
	if f.ListenOnAll {
		_, port, err := net.SplitHostPort(self.Peer)
		errs = append(errs, err)
		c.PeerListen = net.JoinHostPort("", port)
		f.warn("quorumListenOnAllIPs: peers are heard on all interfaces")
	}
	return errors.Join(errs...)
}

// clients fills in where clients are heard.
func (f *FileConfig) clients(c *Config) error {
	var errs []error
	fail := func(key, format string, args ...any) {
		errs = append(errs, &ConfigError{File: f.File, Line: f.lines[key], Key: key, Err: fmt.Errorf(format, args...)})
	}
	plain := ""
	if f.ClientPort != 0 || f.lines["clientPort"] != 0 {
		plain = address(f.ClientAddress, f.ClientPort)
		if f.ClientAddress == "" {
			f.warn("clientPort %d without clientPortAddress: clients are heard on all interfaces, without TLS", f.ClientPort)
		}
	}
	for _, m := range c.Servers {
		if m.ID != c.ID || m.Client == "" {
			continue
		}
		host, port, err := net.SplitHostPort(m.Client)
		errs = append(errs, err)
		if _, static, _ := net.SplitHostPort(plain); plain != "" && static != port {
			fail("clientPort", "is %s, and server.%d says %s", static, m.ID, port)
		}
		if plain == "" && (host == "0.0.0.0" || host == "::") {
			f.warn("client port %s of server.%d has no address: clients are heard on all interfaces, without TLS", port, m.ID)
		}
		if plain == "" || f.ClientAddress == "" {
			plain = m.Client
		}
	}
	if plain != "" {
		c.Clients = append(c.Clients, Endpoint{Address: plain})
	}
	if f.SecureClientPort != 0 || f.lines["secureClientPort"] != 0 {
		t, err := f.ClientTLS()
		if err == nil && t == nil {
			fail("secureClientPort", "is set, but no key ssl.*")
		}
		errs = append(errs, err)
		c.Clients = append(c.Clients, Endpoint{Address: address(f.SecureAddress, f.SecureClientPort), TLS: t})
	}
	if len(c.Clients) == 0 {
		fail("clientPort", "is not set, nor is secureClientPort")
	}
	return errors.Join(errs...)
}

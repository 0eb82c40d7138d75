package zk

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// configBytesMax bounds a configuration file.
const configBytesMax = 1 << 20

// FileConfig is what a zoo.cfg says. ParseConfig and LoadConfig make it;
// ServerConfig turns it into the Config of one server. Its fields may be changed
// before that.
type FileConfig struct {
	File string // where it was read, for messages

	// Server has the fields that keys of the file set, and no others: what the file
	// does not say is zero, for example to be the Server of an EnsembleConfig. Its
	// identity, addresses and directories are set by ServerConfig.
	Server Config

	MyID       int64        // of the file myid; 0: there is none
	Members    []ServerSpec // server.N, with group.N and weight.N; empty: one server alone
	Version    int64        // of the dynamic configuration; 0: not said
	DataDir    string       // dataDir, in which Apache ZooKeeper has version-2 and we vivarium
	DataLogDir string       // dataLogDir; empty: as DataDir

	ClientPort        int    // 0: a free one if the file says so, else none
	ClientAddress     string // clientPortAddress; empty: all interfaces
	SecureClientPort  int    // 0: none
	SecureAddress     string // secureClientPortAddress; empty: all interfaces
	ListenOnAll       bool   // quorumListenOnAllIPs
	Observer          bool   // peerType=observer
	DynamicConfigFile string // already read by LoadConfig

	Admin   AdminConfig   // admin.*
	Metrics MetricsConfig // metricsProvider.*

	// Properties are the keys that Apache ZooKeeper hands on as Java system
	// properties, all those that it does not know among them, under their full
	// names. Most mean nothing here.
	Properties map[string]string
	// Warnings are for the operator: what is legal and perhaps not meant.
	Warnings []string

	tls, peerTLS tlsKeys
	sslQuorum    bool
	lines        map[string]int // of each key
	groups       map[string]string
	errs         []error
}

// AdminConfig is where the AdminServer's commands are served (Server.AdminHandler).
type AdminConfig struct {
	Disabled   bool   // admin.enableServer=false
	Address    string // admin.serverAddress; empty: loopback, where Apache ZooKeeper takes all interfaces
	Port       int    // admin.serverPort; 0: 8080
	CommandURL string // admin.commandURL; empty: /commands
	Explicit   bool   // the file names the port
}

// MetricsConfig is where metrics are served (Server.MetricsHandler).
type MetricsConfig struct {
	Enabled bool   // metricsProvider.className is the one of Prometheus
	Host    string // metricsProvider.httpHost; empty: all interfaces
	Port    int    // metricsProvider.httpPort; 0: 7000
}

// ParseConfig reads the text of a zoo.cfg. Keys that Apache ZooKeeper takes as
// system properties may have their "zookeeper." prefix or not; keys that it does
// not know are kept in Properties, as it does. The error joins a *ConfigError
// for each wrong value, with file, line and key. ParseConfig opens no file:
// neither myid nor dynamicConfigFile nor certificates (see LoadConfig).
func ParseConfig(file string, r io.Reader) (*FileConfig, error) {
	f := &FileConfig{File: file, Properties: make(map[string]string), lines: make(map[string]int), groups: make(map[string]string)}
	if err := f.read(file, r, false); err != nil {
		return nil, err
	}
	f.applyGroups()
	f.check()
	if len(f.errs) > 0 {
		return nil, errors.Join(f.errs...)
	}
	return f, nil
}

// LoadConfig reads a zoo.cfg, the dynamic configuration file that it names, and
// the file myid in its data directory. The error is as ParseConfig's, or that of
// a file that cannot be read.
func LoadConfig(path string) (*FileConfig, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("zk: %w", err)
	}
	defer file.Close()
	f := &FileConfig{File: path, Properties: make(map[string]string), lines: make(map[string]int), groups: make(map[string]string)}
	if err := f.read(path, file, false); err != nil {
		return nil, err
	}
	if f.DynamicConfigFile != "" {
		if err := f.readDynamic(); err != nil {
			return nil, err
		}
	}
	f.applyGroups()
	f.check()
	if err := f.readMyID(); err != nil {
		f.errs = append(f.errs, err)
	}
	if len(f.errs) > 0 {
		return nil, errors.Join(f.errs...)
	}
	return f, nil
}

// read takes every key of a file. Errors of values are gathered in errs.
func (f *FileConfig) read(file string, r io.Reader, dynamic bool) error {
	text, err := io.ReadAll(io.LimitReader(r, configBytesMax+1))
	if err != nil {
		return fmt.Errorf("zk: %s: %w", file, err)
	}
	if len(text) > configBytesMax {
		return &ConfigError{File: file, Err: fmt.Errorf("more than %d bytes", configBytesMax)}
	}
	props, err := parseProperties(string(text))
	if ce := (*ConfigError)(nil); errors.As(err, &ce) {
		ce.File = file
	}
	if err != nil {
		return err
	}
	last := make(map[string]property, len(props))
	for _, p := range props {
		last[p.key] = p // the last one counts
	}
	for _, p := range slices.SortedFunc(maps.Values(last), func(a, b property) int { return a.line - b.line }) {
		f.lines[p.key] = p.line
		if err := f.take(p.key, strings.TrimSpace(p.value), dynamic); err != nil {
			f.errs = append(f.errs, &ConfigError{File: file, Line: p.line, Key: p.key, Err: err})
		}
	}
	return nil
}

// take takes one key.
func (f *FileConfig) take(key, value string, dynamic bool) error {
	switch kind, number, dotted := strings.Cut(key, "."); {
	case dotted && kind == "server":
		id, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return fmt.Errorf("server id %q is not a number", number)
		}
		spec, err := ParseServerSpec(id, value)
		if err != nil {
			return err
		}
		f.Members = append(f.Members, spec)
		return nil
	case dotted && (kind == "group" || kind == "weight"):
		f.groups[key] = value
		return nil
	case dynamic && key == "version":
		v, err := strconv.ParseUint(value, 16, 64)
		f.Version = int64(v)
		return numberError(value, err)
	case dynamic:
		return errors.New("not a key of the dynamic configuration")
	}
	name := strings.TrimPrefix(key, "zookeeper.")
	if strings.HasPrefix(name, "ssl.") {
		f.Properties["zookeeper."+name] = value
		return f.takeTLS(strings.TrimPrefix(name, "ssl."), value)
	}
	if set := configKeys[name]; set != nil {
		if name != key || isProperty(name) {
			f.Properties[propertyName(name)] = value
		}
		return set(f, value)
	}
	f.Properties[propertyName(name)] = value
	return nil
}

// propertyName is what a system property of a key is called.
func propertyName(key string) string {
	if key == "jute.maxbuffer" || key == "readonlymode.enabled" || strings.HasPrefix(key, "java.") {
		return key
	}
	return "zookeeper." + key
}

// numberError turns strconv's error into one that names the value.
func numberError(value string, err error) error {
	if err != nil {
		return fmt.Errorf("%q is not a number that fits", value)
	}
	return nil
}

// applyGroups puts group.N=a:b:c and weight.N=w where they belong.
func (f *FileConfig) applyGroups() {
	fail := func(key string, format string, args ...any) {
		f.errs = append(f.errs, &ConfigError{File: f.File, Line: f.lines[key], Key: key, Err: fmt.Errorf(format, args...)})
	}
	index := make(map[string]int)
	for i := range f.Members {
		index[strconv.FormatInt(f.Members[i].ID, 10)] = i
	}
	keys := slices.Sorted(maps.Keys(f.groups)) // group before weight
	for _, key := range keys {
		kind, number, _ := strings.Cut(key, ".")
		n, err := strconv.ParseInt(number, 10, 32)
		if err != nil || n < 1 {
			fail(key, "%q is not a number from 1", number)
			continue
		}
		if kind == "weight" {
			i, known := index[number]
			w, err := strconv.ParseInt(f.groups[key], 10, 32)
			switch {
			case err != nil || w < 0:
				fail(key, "%q is not a weight", f.groups[key])
			case !known:
				fail(key, "there is no server.%s", number)
			default:
				f.Members[i].Weight = w
			}
			continue
		}
		for member := range strings.SplitSeq(f.groups[key], ":") {
			i, known := index[strings.TrimSpace(member)]
			switch {
			case !known:
				fail(key, "there is no server.%s", member)
			case f.Members[i].Group != 0:
				fail(key, "server.%s is in another group, too", member)
			default:
				f.Members[i].Group, f.Members[i].Weight = n, 1
			}
		}
	}
}

// check finds what no single key is to blame for.
func (f *FileConfig) check() {
	fail := func(key string, format string, args ...any) {
		f.errs = append(f.errs, &ConfigError{File: f.File, Line: f.lines[key], Key: key, Err: fmt.Errorf(format, args...)})
	}
	if f.DynamicConfigFile != "" {
		for key := range f.lines {
			if strings.HasPrefix(key, "server.") && f.Version == 0 && len(f.Members) > 0 {
				fail(key, "must be in the dynamic configuration file %s", f.DynamicConfigFile)
			}
		}
	}
	if f.lines["clientPort"] == 0 && f.ClientAddress != "" {
		fail("clientPortAddress", "is set, but clientPort is not")
	}
	if f.lines["secureClientPort"] == 0 && f.SecureAddress != "" {
		fail("secureClientPortAddress", "is set, but secureClientPort is not")
	}
	if f.ClientPort != 0 && f.ClientPort == f.SecureClientPort && f.ClientAddress == f.SecureAddress {
		fail("secureClientPort", "is clientPort, too")
	}
	c := &f.Server
	if c.MinSessionTimeout != 0 && c.MaxSessionTimeout != 0 && c.MinSessionTimeout > c.MaxSessionTimeout {
		fail("minSessionTimeout", "is above maxSessionTimeout")
	}
	voters := 0
	for _, m := range f.Members {
		if !m.Observer {
			voters++
		}
	}
	switch {
	case len(f.Members) > 0 && voters == 0:
		fail("", "no server is a participant")
	case len(f.Members) > 1 && voters == 2:
		f.warn("two participants: the ensemble stops when either does")
	case voters > 2 && voters%2 == 0:
		f.warn("%d participants: an odd number tolerates as many failures", voters)
	}
}

func (f *FileConfig) warn(format string, args ...any) {
	f.Warnings = append(f.Warnings, fmt.Sprintf(format, args...))
}

// readDynamic reads the members from the file that dynamicConfigFile names.
func (f *FileConfig) readDynamic() error {
	if len(f.Members)+len(f.groups) > 0 {
		for _, key := range slices.Sorted(maps.Keys(f.lines)) {
			if kind, _, dotted := strings.Cut(key, "."); dotted && (kind == "server" || kind == "group" || kind == "weight") {
				f.errs = append(f.errs, &ConfigError{File: f.File, Line: f.lines[key], Key: key, Err: errors.New("must be in the dynamic configuration file")})
			}
		}
		return errors.Join(f.errs...)
	}
	path := f.DynamicConfigFile
	file, err := os.Open(path)
	if err != nil {
		return &ConfigError{File: f.File, Line: f.lines["dynamicConfigFile"], Key: "dynamicConfigFile", Err: err}
	}
	defer file.Close()
	return f.read(path, file, true)
}

// readMyID reads the file myid, which an ensemble must have.
func (f *FileConfig) readMyID() error {
	if f.DataDir == "" {
		return nil
	}
	path := filepath.Join(f.DataDir, "myid")
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && len(f.Members) == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("zk: myid: %w", err)
	}
	text := strings.TrimSpace(string(b))
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 || id > serverIDMax {
		return &ConfigError{File: path, Line: 1, Err: fmt.Errorf("%.40q is not a number between 1 and %d", text, serverIDMax)}
	}
	f.MyID = id
	return nil
}

// address joins a host, empty for all interfaces, and a port.
func address(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

package zk

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// tlsKeys are the ssl.* keys of one side, without their prefix. The zero value
// has none.
type tlsKeys map[string]string

// takeTLS takes a key of ssl.* or ssl.quorum.*. The files that they name are
// opened by tls.
func (f *FileConfig) takeTLS(key, value string) error {
	side := &f.tls
	if quorum, ok := strings.CutPrefix(key, "quorum."); ok {
		side, key = &f.peerTLS, quorum
	}
	if *side == nil {
		*side = make(tlsKeys)
	}
	(*side)[key] = value
	switch key {
	case "clientAuth":
		_, err := clientAuth(value)
		return err
	case "protocol", "enabledProtocols":
		_, _, err := tlsVersions(value)
		return err
	case "ciphersuites":
		_, err := cipherSuites(value)
		return err
	case "crl", "ocsp":
		return forbidden("true", "revocation of certificates is not looked up")(f, value)
	case "clientHostnameVerification":
		if side == &f.tls {
			return forbidden("true", "clients are known by their certificates, not by their addresses")(f, value)
		}
	case "hostnameVerification":
		if on, err := parseBool(value); err != nil || on {
			return err
		}
		f.warn("ssl.%s=false: the other servers' names are verified all the same", key)
	case "context.supplier.class":
		return errors.New("is a Java class")
	case "fips-mode":
		return checkedBool(f, value)
	case "keyStore.type", "trustStore.type":
		return storeType(value, "")
	}
	return nil
}

// config builds what the keys describe. Every file named is read now.
func (k tlsKeys) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	var err error
	if c.Certificates, err = k.certificates(); err != nil {
		return nil, err
	}
	if c.ClientCAs, err = k.trusted(); err != nil {
		return nil, err
	}
	c.RootCAs = c.ClientCAs
	if c.ClientAuth, err = clientAuth(k["clientAuth"]); err != nil {
		return nil, err
	}
	if c.ClientAuth != tls.NoClientCert && c.ClientCAs == nil {
		return nil, errors.New("ssl.trustStore.location is missing, by which clients' certificates are verified (or say ssl.clientAuth=none)")
	}
	versions := k["enabledProtocols"]
	if versions == "" {
		versions = k["protocol"]
	}
	if versions != "" {
		if c.MinVersion, c.MaxVersion, err = tlsVersions(versions); err != nil {
			return nil, err
		}
	}
	c.CipherSuites, err = cipherSuites(k["ciphersuites"])
	return c, err
}

func (k tlsKeys) certificates() ([]tls.Certificate, error) {
	text, err := k.store("keyStore")
	if err != nil {
		return nil, err
	}
	if text == nil {
		return nil, errors.New("ssl.keyStore.location is missing, the server's certificate and key")
	}
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
			return nil, fmt.Errorf("%s: its private key is encrypted, which is not supported: decrypt it with openssl pkey and protect the file", k["keyStore.location"])
		}
	}
	cert, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k["keyStore.location"], err)
	}
	return []tls.Certificate{cert}, nil
}

func (k tlsKeys) trusted() (*x509.CertPool, error) {
	text, err := k.store("trustStore")
	if err != nil || text == nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s: no certificate in it", k["trustStore.location"])
	}
	return pool, nil
}

// store reads a key store or trust store, which must be PEM; nil if none is named.
func (k tlsKeys) store(kind string) ([]byte, error) {
	path := k[kind+".location"]
	if path == "" {
		return nil, nil
	}
	if err := storeType(k[kind+".type"], path); err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > configBytesMax {
		return nil, fmt.Errorf("%s: more than %d bytes", path, configBytesMax)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if bytes.HasPrefix(text, []byte{0xfe, 0xed, 0xfe, 0xed}) {
		return nil, fmt.Errorf("%s is a Java key store: %w", path, errNotPEM)
	}
	if block, _ := pem.Decode(text); block == nil {
		return nil, fmt.Errorf("%s: %w", path, errNotPEM)
	}
	return text, nil
}

var errNotPEM = errors.New("only PEM is supported; convert it (keytool -importkeystore … -deststoretype PKCS12, then openssl pkcs12 -nodes)")

// storeType refuses stores of Java by their type, or by the end of their name.
func storeType(typ, path string) error {
	if typ == "" {
		typ = strings.TrimPrefix(filepath.Ext(path), ".")
	}
	switch strings.ToUpper(typ) {
	case "JKS", "PKCS12", "P12", "PFX", "BCFKS":
		return fmt.Errorf("a key store of type %s: %w", strings.ToUpper(typ), errNotPEM)
	}
	return nil
}

func clientAuth(v string) (tls.ClientAuthType, error) {
	switch strings.ToLower(v) {
	case "", "need":
		return tls.RequireAndVerifyClientCert, nil
	case "want":
		return tls.VerifyClientCertIfGiven, nil
	case "none":
		return tls.NoClientCert, nil
	}
	return 0, fmt.Errorf("%.60q is not none, want or need", v)
}

// tlsVersions returns the least and the greatest of a list of protocols.
func tlsVersions(list string) (least, most uint16, err error) {
	for v := range strings.SplitSeq(list, ",") {
		var n uint16
		switch strings.TrimSpace(v) {
		case "TLSv1.2":
			n = tls.VersionTLS12
		case "TLSv1.3":
			n = tls.VersionTLS13
		case "TLS", "":
			continue
		case "TLSv1", "TLSv1.1":
			return 0, 0, fmt.Errorf("%s is not supported: it is not safe", v)
		default:
			return 0, 0, fmt.Errorf("%.60q is not a protocol", v)
		}
		if least == 0 || n < least {
			least = n
		}
		most = max(most, n)
	}
	if least == 0 {
		least = tls.VersionTLS12
	}
	return least, most, nil
}

func cipherSuites(list string) (ids []uint16, err error) {
	known := make(map[string]uint16)
	for _, s := range tls.CipherSuites() {
		known[s.Name] = s.ID
	}
	for name := range strings.SplitSeq(list, ",") {
		name = strings.TrimSpace(name)
		if name == "" {
			continue
		}
		id, ok := known[name]
		if !ok {
			return nil, fmt.Errorf("cipher suite %.60q is not known, or not safe", name)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// ClientTLS returns what the keys ssl.* say of clients' connections to
// secureClientPort, nil if there are none. It reads the files that they name, in
// PEM.
func (f *FileConfig) ClientTLS() (*tls.Config, error) { return f.buildTLS(f.tls, "ssl.") }

// PeerTLS returns what the keys ssl.quorum.* say of connections between servers,
// nil without sslQuorum=true. Where they say nothing the keys ssl.* do not count.
func (f *FileConfig) PeerTLS() (*tls.Config, error) {
	if !f.sslQuorum {
		return nil, nil
	}
	return f.buildTLS(f.peerTLS, "ssl.quorum.")
}

func (f *FileConfig) buildTLS(keys tlsKeys, prefix string) (*tls.Config, error) {
	if keys == nil && prefix == "ssl." {
		return nil, nil
	}
	c, err := keys.config()
	if err != nil {
		key := prefix + "keyStore.location"
		return nil, &ConfigError{File: f.File, Line: f.lines[key], Key: strings.TrimSuffix(prefix, "."), Err: err}
	}
	return c, nil
}

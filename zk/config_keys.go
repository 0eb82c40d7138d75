package zk

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// configKey takes the value of a key, without blanks around it.
type configKey func(f *FileConfig, value string) error

// configKeys are the keys of zoo.cfg and the system properties that mean
// something here, without their "zookeeper." prefix.
var configKeys = map[string]configKey{
	"tickTime":          millisKey(func(f *FileConfig) *time.Duration { return &f.Server.TickTime }, 1),
	"initLimit":         intKey(func(f *FileConfig) *int { return &f.Server.InitLimit }, 1, math.MaxInt32),
	"syncLimit":         intKey(func(f *FileConfig) *int { return &f.Server.SyncLimit }, 1, math.MaxInt32),
	"minSessionTimeout": millisKey(func(f *FileConfig) *time.Duration { return &f.Server.MinSessionTimeout }, -1),
	"maxSessionTimeout": millisKey(func(f *FileConfig) *time.Duration { return &f.Server.MaxSessionTimeout }, -1),

	"dataDir":           textKey(func(f *FileConfig) *string { return &f.DataDir }),
	"dataLogDir":        textKey(func(f *FileConfig) *string { return &f.DataLogDir }),
	"dynamicConfigFile": textKey(func(f *FileConfig) *string { return &f.DynamicConfigFile }),

	"clientPort":              intKey(func(f *FileConfig) *int { return &f.ClientPort }, 0, math.MaxUint16),
	"clientPortAddress":       textKey(func(f *FileConfig) *string { return &f.ClientAddress }),
	"secureClientPort":        intKey(func(f *FileConfig) *int { return &f.SecureClientPort }, 0, math.MaxUint16),
	"secureClientPortAddress": textKey(func(f *FileConfig) *string { return &f.SecureAddress }),
	"quorumListenOnAllIPs":    boolKey(func(f *FileConfig) *bool { return &f.ListenOnAll }),
	"peerType":                peerTypeKey,
	"electionAlg":             electionKey,
	"standaloneEnabled":       boolKey(func(f *FileConfig) *bool { return &f.Server.Standalone }),
	"reconfigEnabled":         boolKey(func(f *FileConfig) *bool { return &f.Server.ReconfigEnabled }),

	"maxClientCnxns":         cnxnsKey,
	"maxCnxns":               intKey(func(f *FileConfig) *int { return &f.Server.ConnectionsMax }, 0, math.MaxInt32),
	"globalOutstandingLimit": intKey(func(f *FileConfig) *int { return &f.Server.OutstandingMax }, 1, math.MaxInt32),
	"jute.maxbuffer":         intKey(func(f *FileConfig) *int { return &f.Server.FrameBytesMax }, 1, frameBytesMaxAtMost),
	"snapCount":              intKey(func(f *FileConfig) *int { return &f.Server.SnapCount }, 2, math.MaxInt32),
	"snapSizeLimitInKb":      kilobytesKey(func(f *FileConfig) *int { return &f.Server.SnapBytes }),

	"autopurge.snapRetainCount": retainKey,
	"autopurge.purgeInterval":   purgeKey,
	"purgeInterval":             purgeKey,

	"extendedTypesEnabled": boolKey(func(f *FileConfig) *bool { return &f.Server.ExtendedTypes }),
	"skipACL": func(f *FileConfig, v string) error {
		f.Server.SkipACL = v == "yes"
		return oneOfKey("yes", "no")(f, v)
	},
	"enforceQuota": boolKey(func(f *FileConfig) *bool { return &f.Server.EnforceQuota }),
	"DigestAuthenticationProvider.superDigest": textKey(func(f *FileConfig) *string { return &f.Server.SuperDigest }),
	"DigestAuthenticationProvider.digestAlg":   textKey(func(f *FileConfig) *string { return &f.Server.DigestAlgorithm }),
	"X509AuthenticationProvider.superUser":     textKey(func(f *FileConfig) *string { return &f.Server.X509SuperUser }),
	"znode.container.checkIntervalMs":          checkIntervalKey,
	"znode.container.maxNeverUsedIntervalMs":   millisKey(func(f *FileConfig) *time.Duration { return &f.Server.ContainerNeverUsedMax }, 0),
	"znode.container.maxPerMinute":             intKey(func(f *FileConfig) *int { return &f.Server.ContainersPerMinute }, 1, math.MaxInt32),

	"4lw.commands.whitelist":        wordsKey,
	"localSessionsEnabled":          boolKey(func(f *FileConfig) *bool { return &f.Server.LocalSessions }),
	"localSessionsUpgradingEnabled": boolKey(func(f *FileConfig) *bool { return &f.Server.LocalSessionsUpgrading }),

	"readonlymode.enabled": boolKey(func(f *FileConfig) *bool { return &f.Server.ReadOnlyMode }),

	"admin.enableServer":   adminEnabledKey,
	"admin.serverPort":     adminPortKey,
	"admin.serverAddress":  textKey(func(f *FileConfig) *string { return &f.Admin.Address }),
	"admin.commandURL":     commandURLKey,
	"admin.forceHttps":     forbidden("true", "the AdminServer speaks HTTP only"),
	"admin.needClientAuth": forbidden("true", "the AdminServer speaks HTTP only"),
	"metricsProvider.className": func(f *FileConfig, v string) error {
		f.Metrics.Enabled = strings.HasSuffix(v, "PrometheusMetricsProvider")
		return nil
	},
	"metricsProvider.httpPort": intKey(func(f *FileConfig) *int { return &f.Metrics.Port }, 1, math.MaxUint16),
	"metricsProvider.httpHost": textKey(func(f *FileConfig) *string { return &f.Metrics.Host }),

	"sslQuorum":              boolKey(func(f *FileConfig) *bool { return &f.sslQuorum }),
	"portUnification":        forbidden("true", "one port is either with TLS or without"),
	"client.portUnification": forbidden("true", "one port is either with TLS or without"),

	// What would make a server less strict than its operator believes is an error.
	"quorum.auth.enableSasl":         forbidden("true", "peers authenticate by TLS (sslQuorum)"),
	"quorum.auth.serverRequireSasl":  forbidden("true", "peers authenticate by TLS (sslQuorum)"),
	"quorum.auth.learnerRequireSasl": forbidden("true", "peers authenticate by TLS (sslQuorum)"),
	"sessionRequireClientSASLAuth":   forbidden("true", "there is no SASL; use secureClientPort with ssl.clientAuth=need"),
	"requireClientAuthScheme":        forbidden("sasl", "there is no SASL; use secureClientPort with ssl.clientAuth=need"),
	"enforce.auth.enabled":           forbidden("true", "there is no SASL; use secureClientPort with ssl.clientAuth=need"),
	"forceSync":                      forbidden("no", "what is acknowledged is always synced"),

	// Known to ZooKeeper, checked, and of no effect here.
	"connectToLearnerMasterLimit": checkedInt, "clientPortListenBacklog": checkedInt, "observerMasterPort": checkedInt,
	"syncEnabled": checkedBool, "cnxTimeout": checkedInt, "electionPortBindRetry": checkedInt, "commitLogCount": checkedInt,
	"preAllocSize": checkedInt, "fsync.warningthresholdms": checkedInt, "maxResponseCacheSize": checkedInt,
	"multiAddress.enabled": checkedBool, "sslQuorumReloadCertFiles": checkedBool, "digest.enabled": checkedBool,
	"flushDelay": checkedInt, "maxBatchSize": checkedInt, "jvm.pause.monitor": checkedBool, "admin.idleTimeout": checkedInt,
	"metricsProvider.exportJvmInfo": checkedBool, "leaderServes": oneOfKey("yes", "no"),
}

// isProperty says whether Apache ZooKeeper takes a key as a system property
// rather than as one of zoo.cfg itself.
func isProperty(name string) bool {
	switch name {
	case "maxCnxns", "globalOutstandingLimit", "jute.maxbuffer", "snapCount", "snapSizeLimitInKb", "readonlymode.enabled", "skipACL", "forceSync",
		"extendedTypesEnabled", "enforceQuota", "leaderServes", "cnxTimeout", "commitLogCount", "preAllocSize", "maxResponseCacheSize", "superUser",
		"digest.enabled", "flushDelay", "maxBatchSize", "requireClientAuthScheme", "sessionRequireClientSASLAuth", "electionPortBindRetry":
		return true
	}
	for _, prefix := range []string{"4lw.", "admin.", "fsync.", "DigestAuthenticationProvider.", "znode.", "X509AuthenticationProvider.", "client.", "enforce."} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

func parseInt(v string, least, most int64) (int64, error) {
	n, err := strconv.ParseInt(v, 10, 64)
	if h, isHex := strings.CutPrefix(v, "0x"); isHex { // as Java's Integer.getInteger reads it
		n, err = strconv.ParseInt(h, 16, 64)
	}
	if err != nil {
		return 0, fmt.Errorf("%.60q is not a whole number", v)
	}
	if n < least || n > most {
		return 0, fmt.Errorf("%d is not between %d and %d", n, least, most)
	}
	return n, nil
}

func parseBool(v string) (bool, error) {
	switch strings.ToLower(v) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("%.60q is neither true nor false", v)
}

func intKey(field func(*FileConfig) *int, least, most int64) configKey {
	return func(f *FileConfig, v string) error {
		n, err := parseInt(v, least, most)
		*field(f) = int(n)
		return err
	}
}

func boolKey(field func(*FileConfig) *bool) configKey {
	return func(f *FileConfig, v string) (err error) {
		*field(f), err = parseBool(v)
		return err
	}
}

func textKey(field func(*FileConfig) *string) configKey {
	return func(f *FileConfig, v string) error {
		if strings.ContainsRune(v, 0) {
			return errors.New("has a NUL in it")
		}
		*field(f) = v
		return nil
	}
}

// millisKey is a duration in ms. With least -1 that stands for the default.
func millisKey(field func(*FileConfig) *time.Duration, least int64) configKey {
	return func(f *FileConfig, v string) error {
		n, err := parseInt(v, least, math.MaxInt32)
		*field(f) = time.Duration(max(n, 0)) * time.Millisecond
		return err
	}
}

func kilobytesKey(field func(*FileConfig) *int) configKey {
	return func(f *FileConfig, v string) error {
		n, err := parseInt(v, -1, math.MaxInt32)
		if n > 0 {
			*field(f) = int(min(n<<10, defaultSnapBytes)) // recovery reads as much into memory
		}
		return err
	}
}

func checkedInt(_ *FileConfig, v string) error {
	_, err := parseInt(v, math.MinInt32, math.MaxInt64)
	return err
}

func checkedBool(_ *FileConfig, v string) error {
	_, err := parseBool(v)
	return err
}

func oneOfKey(values ...string) configKey {
	return func(_ *FileConfig, v string) error {
		if slices.Contains(values, v) {
			return nil
		}
		return fmt.Errorf("%.60q is not one of %s", v, strings.Join(values, ", "))
	}
}

// forbidden is a key that may not have a value.
func forbidden(value, why string) configKey {
	return func(_ *FileConfig, v string) error {
		if strings.EqualFold(v, value) {
			return fmt.Errorf("%s is not supported: %s", v, why)
		}
		return nil
	}
}

func peerTypeKey(f *FileConfig, v string) error {
	f.Observer = strings.EqualFold(v, "observer")
	if !f.Observer && !strings.EqualFold(v, "participant") {
		return fmt.Errorf("%.60q is neither participant nor observer", v)
	}
	return nil
}

func electionKey(_ *FileConfig, v string) error {
	n, err := parseInt(v, 0, math.MaxInt32)
	if err == nil && n != 3 {
		err = fmt.Errorf("%d is not supported: there is only 3", n)
	}
	return err
}

func cnxnsKey(f *FileConfig, v string) error {
	n, err := parseInt(v, 0, math.MaxInt32)
	f.Server.ClientCnxnsMax = int(n)
	if n == 0 {
		f.Server.ClientCnxnsMax = -1 // no limit
	}
	return err
}

func retainKey(f *FileConfig, v string) error {
	n, err := parseInt(v, math.MinInt32, math.MaxInt32)
	f.Server.SnapRetainCount = int(max(n, 3)) // as there
	if err == nil && n < 3 {
		f.warn("autopurge.snapRetainCount %d is taken as 3", n)
	}
	return err
}

func purgeKey(f *FileConfig, v string) error {
	n, err := parseInt(v, 0, math.MaxInt32)
	f.Server.PurgeInterval = time.Duration(n) * time.Hour
	if n == 0 {
		f.Server.PurgeInterval = -1
	}
	return err
}

// checkIntervalKey is in ms; 0 turns the look for containers off.
func checkIntervalKey(f *FileConfig, v string) error {
	n, err := parseInt(v, 0, math.MaxInt32)
	f.Server.ContainerCheckInterval = time.Duration(n) * time.Millisecond
	if n == 0 {
		f.Server.ContainerCheckInterval = -1
	}
	return err
}

func wordsKey(f *FileConfig, v string) error {
	f.Server.FourLetterWords = []string{}
	for word := range strings.SplitSeq(v, ",") {
		word = strings.TrimSpace(word)
		switch {
		case word == "":
		case word == "*" || slices.Contains(fourLetterNames, word):
			f.Server.FourLetterWords = append(f.Server.FourLetterWords, word)
		default:
			f.warn("4lw.commands.whitelist: there is no command %.20q", word)
		}
	}
	return nil
}

func adminEnabledKey(f *FileConfig, v string) error {
	on, err := parseBool(v)
	f.Admin.Disabled = !on
	return err
}

func adminPortKey(f *FileConfig, v string) error {
	n, err := parseInt(v, 0, math.MaxUint16)
	f.Admin.Port, f.Admin.Explicit = int(n), true
	return err
}

func commandURLKey(f *FileConfig, v string) error {
	if !strings.HasPrefix(v, "/") {
		return fmt.Errorf("%.60q does not begin with a slash", v)
	}
	f.Admin.CommandURL = strings.TrimRight(v, "/")
	return nil
}

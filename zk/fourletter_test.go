package zk_test

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/zk"
)

// startAllWords starts an ensemble that answers every word.
func startAllWords(t *testing.T, servers int) (*zk.Ensemble, *zk.Client) {
	e, err := zk.StartEnsemble(t.Context(), zk.EnsembleConfig{Servers: servers, Server: zk.Config{FourLetterWords: []string{"*"}}})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	leader := e.Leader()
	c, err := zk.Connect(t.Context(), zk.ClientConfig{Servers: e.Addrs()[leader-1 : leader], Network: e.Network()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return e, c
}

// ask sends a word to a server of the ensemble and returns the answer.
func ask(t *testing.T, e *zk.Ensemble, id int64, word string) string {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	nc, err := e.Network().DialContext(ctx, "tcp", e.Addrs()[id-1])
	require.NoError(t, err)
	defer nc.Close()
	_, err = io.WriteString(nc, word)
	require.NoError(t, err)
	if half, ok := nc.(interface{ CloseWrite() error }); ok { // as zkServer.sh and nc do
		require.NoError(t, half.CloseWrite())
	}
	b, err := io.ReadAll(nc)
	require.NoError(t, err)
	return string(b)
}

// normalize puts N for numbers and so on, so that answers can be compared.
func normalize(text string) string {
	for _, r := range []struct{ re, to string }{
		{`zk_version\t.*`, "zk_version\tV"},
		{`Zookeeper version: .*`, "Zookeeper version: V"},
		{`server\.\d+=[^:]+:`, "server.N=HOST:"},
		{`expire at .*:`, "expire at T:"},
		{`/(127\.0\.0\.1:\d+|[\w.-]+:\d+)`, "/ADDR"},
		{`0x[0-9a-f]+`, "0xN"},
		{`version=[0-9a-f]+`, "version=N"},
		{`-?\d+\.\d+`, "F"},
		{`(^|[\t =/(:])-?\d+`, "${1}N"},
		{`(^|[\t =/(:])-?\d+`, "${1}N"},
		{`dir=.*`, "dir=D"},
		{`Dir=.*`, "Dir=D"},
	} {
		text = regexp.MustCompile(`(?m)`+r.re).ReplaceAllString(text, r.to)
	}
	return text
}

// What a leader, a follower and a server alone say is what Apache ZooKeeper's
// said (testdata/words, from release 3.9.5), numbers aside.
func TestWordsAsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, c := startAllWords(t, 3)
		alone, c1 := startAllWords(t, 1)
		require.NoError(t, c.Close())
		require.NoError(t, c1.Close())
		leader := e.Leader()
		follower := leader%3 + 1
		for _, who := range []struct {
			role string
			e    *zk.Ensemble
			id   int64
		}{{"leader", e, leader}, {"follower", e, follower}, {"standalone", alone, 1}} {
			files, err := filepath.Glob("testdata/words/" + who.role + "-*.txt")
			require.NoError(t, err)
			require.NotEmpty(t, files)
			for _, file := range files {
				word := strings.TrimSuffix(file[strings.LastIndexByte(file, '-')+1:], ".txt")
				want, err := os.ReadFile(file)
				require.NoError(t, err)
				synctest.Wait() // who has asked is gone
				got := ask(t, who.e, who.id, word)
				if word == "mntr" {
					require.Equal(t, mntrNames(string(want)), mntrNames(got), file)
				} else {
					require.Equal(t, normalize(string(want)), normalize(got), file)
				}
			}
		}
	})
}

// mntrNames are the names that a mntr tells, without those that bear the name of
// a server or of a znode.
func mntrNames(text string) (names []string) {
	for line := range strings.Lines(text) {
		name, _, _ := strings.Cut(line, "\t")
		if !strings.Contains(name, "learner_handler_qp") && !strings.Contains(name, "_per_namespace") {
			names = append(names, name)
		}
	}
	return names
}

func TestWordsTellState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e, c := startAllWords(t, 3)
		id := e.Leader()
		_, err := c.Create(t.Context(), "/eph", []byte("x"), zk.Ephemeral)
		require.NoError(t, err)
		_, _, err = c.Get(t.Context(), "/eph", zk.Watch(func(zk.Event) {}))
		require.NoError(t, err)
		_, _, err = c.Children(t.Context(), "/", zk.Watch(func(zk.Event) {}))
		require.NoError(t, err)

		require.Equal(t, "2 paths", ask(t, e, id, "wchs")[len("1 connections watching "):][:len("2 paths")])
		require.Regexp(t, `^0x[0-9a-f]+\n\t/\n\t/eph\n\n$`, ask(t, e, id, "wchc"))
		require.Regexp(t, `^/\n\t0x[0-9a-f]+\n/eph\n\t0x[0-9a-f]+\n\n$`, ask(t, e, id, "wchp"))
		require.Regexp(t, `sid=0x[0-9a-f]+,lop=[A-Z]+,est=\d+,to=\d+,lcxid=0x[0-9a-f]+,lzxid=0x[0-9a-f]+,lresp=\d+,llat=\d+,minlat=\d+,avglat=\d+,maxlat=\d+\)`, ask(t, e, id, "cons"))
		dump := ask(t, e, id, "dump")
		require.Regexp(t, `Session Sets \(\d+\)/\(1\):\n1 expire at [A-Z][a-z]{2} [A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d UTC \d{4}:\n\t0x[0-9a-f]+\n`, dump)
		require.Regexp(t, `Sessions with Ephemerals \(1\):\n0x[0-9a-f]+:\n\t/eph\n`, dump)
		time.Sleep(time.Second) // a tick: the others have heard of the session, the leader of them
		require.Contains(t, ask(t, e, id%3+1, "dump"), "Global Sessions(1):\n0x")
		require.Contains(t, ask(t, e, id, "mntr"), "zk_synced_followers\t2\n")
		require.Regexp(t, `(?m)^zk_ephemerals_count\t1$`, ask(t, e, id, "mntr"))
		require.Regexp(t, `(?m)^zookeeper\.version=3\.9\.`, ask(t, e, id, "envi"))
		require.Equal(t, "Server stats reset.\n", ask(t, e, id, "srst"))
		require.Equal(t, "Connection stats reset.\n", ask(t, e, id, "crst"))
		require.Regexp(t, `^datadir_size: \d+\nlogdir_size: \d+\n$`, ask(t, e, id, "dirs"))
		require.Regexp(t, `^[0-9a-f]+/[0-9a-f]+\n`, ask(t, e, id, "hash"))
		require.Equal(t, "rw", ask(t, e, id, "isro"))
		require.Equal(t, "306", ask(t, e, id, "gtmk"))
		require.Equal(t, "512", ask(t, e, id, "stmk"+string(binary.BigEndian.AppendUint64(nil, 512))))
		require.Equal(t, "512", ask(t, e, id, "gtmk"))

		// The parsers of others: go-zookeeper's for srvr, and that of exporters.
		require.Regexp(t, `^Zookeeper version: [A-Za-z0-9.-]+, built on \d\d/\d\d/\d{4} \d\d:\d\d [A-Z]+\nLatency min/avg/max: \d+/[0-9.]+/\d+\nReceived: \d+\nSent: \d+\nConnections: \d+\nOutstanding: \d+\nZxid: 0x[0-9a-f]+\nMode: leader\nNode count: \d+\n`,
			ask(t, e, id, "srvr"))
		for line := range strings.Lines(ask(t, e, id, "mntr")) {
			require.Regexp(t, `^zk_[a-z0-9_]+\t.+\n$`, line)
		}
	})
}

func TestWhitelist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, c := range []struct {
			list    []string
			answers string
		}{{nil, "srvr ruok"}, {[]string{}, "srvr"}, {[]string{"mntr"}, "srvr mntr"}} {
			e, err := zk.StartEnsemble(t.Context(), zk.EnsembleConfig{Servers: 1, Server: zk.Config{FourLetterWords: c.list}})
			require.NoError(t, err)
			for _, word := range []string{"srvr", "ruok", "mntr", "conf", "kill"} {
				refused := ask(t, e, 1, word) == word+" is not executed because it is not in the whitelist.\n"
				require.Equal(t, !strings.Contains(c.answers, word), refused, word)
			}
			require.NoError(t, e.Close())
		}
	})
}

// A server without a quorum says so, and that it lives.
func TestWordsWithoutQuorum(t *testing.T) {
	s, err := zk.StartServer(t.Context(), zk.Config{
		ID: 1, Servers: []zk.ServerSpec{{ID: 1, Peer: "127.0.0.1:0"}, {ID: 2, Peer: "127.0.0.1:1"}, {ID: 3, Peer: "127.0.0.1:1"}},
		Clients: []zk.Endpoint{{Address: "127.0.0.1:0"}}, Bootstrap: true, FourLetterWords: []string{"*"},
	})
	require.NoError(t, err)
	defer s.Close()
	for word, want := range map[string]string{
		"ruok": "imok", "isro": "null", "srvr": "This ZooKeeper instance is not currently serving requests\n", "mntr": "This ZooKeeper instance is not currently serving requests\n",
	} {
		nc, err := net.Dial("tcp", s.Addrs()[0].String())
		require.NoError(t, err)
		_, err = io.WriteString(nc, word)
		require.NoError(t, err)
		b, err := io.ReadAll(nc)
		require.NoError(t, err)
		require.Equal(t, want, string(b))
		require.NoError(t, nc.Close())
	}
}

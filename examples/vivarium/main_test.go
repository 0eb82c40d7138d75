package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/mq"
	"github.com/vivarium-go/vivarium/zk"
)

var readyLine = regexp.MustCompile(`^ready zookeeper=(127\.0\.0\.1:\d+(?:,127\.0\.0\.1:\d+)*) kafka=(127\.0\.0\.1:\d+(?:,127\.0\.0\.1:\d+)*)\n$`)

// up says where it is, in one line, serves clients there, and stops cleanly;
// started again on the same directory it still has what it had.
func TestUp(t *testing.T) {
	dir := t.TempDir()
	for round := range 2 {
		ctx, stop := context.WithTimeout(t.Context(), time.Minute)
		out, in := io.Pipe()
		ended := make(chan int, 1)
		var log bytes.Buffer
		go func() {
			code := run(ctx, []string{"up", "-zk-port", "0", "-kafka-port", "0", "-data", dir}, in, &log)
			_ = in.Close()
			ended <- code
		}()
		r := bufio.NewReader(out)
		line, err := r.ReadString('\n')
		require.NoError(t, err)
		m := readyLine.FindStringSubmatch(line)
		require.NotNil(t, m, line)
		zc, err := zk.Connect(ctx, zk.ClientConfig{Servers: strings.Split(m[1], ",")})
		require.NoError(t, err)
		mc, err := mq.Connect(ctx, mq.ClientConfig{Seeds: strings.Split(m[2], ",")})
		require.NoError(t, err)
		if round == 0 {
			_, err = zc.Create(ctx, "/kept", nil, zk.Persistent)
			require.NoError(t, err)
			require.NoError(t, mc.CreateTopic(ctx, mq.TopicSpec{Name: "kept", Partitions: 2, Replicas: 3}))
			p, err := mc.NewProducer(mq.ProducerConfig{AutoCreateTopics: true})
			require.NoError(t, err)
			require.NoError(t, p.SendSync(ctx, &mq.Record{Topic: "nobody-made-it", Value: []byte("x")}))
			require.NoError(t, p.Close())
		}
		_, err = zc.Exists(ctx, "/kept")
		require.NoError(t, err)
		info, err := mc.DescribeTopic(ctx, "kept")
		require.NoError(t, err)
		require.Len(t, info.Partitions, 2)
		mc.Close()
		require.NoError(t, zc.Close())
		stop()
		require.Zero(t, <-ended)
		rest, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Empty(t, rest)
	}
}

func TestWrongUse(t *testing.T) {
	for _, args := range [][]string{{}, {"down"}, {"up", "-servers", "0"}, {"up", "-brokers", "x"}, {"up", "-zk-port", "70000"}, {"up", "extra"}, {"up", "-nope"}, {"zk"}, {"zk", "-config", "x", "y"}, {"status", "-server", "nowhere"}} {
		var out, errs bytes.Buffer
		require.Equal(t, 2, run(t.Context(), args, &out, &errs), args)
		require.Equal(t, 1, strings.Count(errs.String(), "\n"), errs.String())
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	var out, errs bytes.Buffer
	require.Equal(t, 1, run(t.Context(), []string{"up", "-servers", "1", "-brokers", "1", "-zk-port", port, "-kafka-port", "0"}, &out, &errs))
	require.Contains(t, errs.String(), "127.0.0.1:"+port)
	require.Empty(t, out.String())
}

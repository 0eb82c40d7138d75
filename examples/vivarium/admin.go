package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/vivarium-go/vivarium/zk"
)

const (
	adminPort    = 8080 // as Apache ZooKeeper's
	metricsPort  = 7000
	httpTimeout  = 10 * time.Second
	headerKBytes = 16
)

// serveAdmin serves a server's commands and metrics where its zoo.cfg says, each
// on a port of its own, until stop is called. A port that the file does not name
// and that is taken is no error: as there, the server runs without.
func serveAdmin(ctx context.Context, s *zk.Server, file *zk.FileConfig, log *slog.Logger) (stop func(), err error) {
	var servers []*http.Server
	stop = func() {
		for _, h := range servers {
			_ = h.Close()
		}
	}
	open := func(what, host string, port int, handler http.Handler, must bool) error {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
		if err != nil && !must {
			log.Warn("not served", "what", what, "err", err)
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		h := &http.Server{Handler: handler, ReadTimeout: httpTimeout, WriteTimeout: httpTimeout, IdleTimeout: httpTimeout, MaxHeaderBytes: headerKBytes << 10}
		servers = append(servers, h)
		go func() { _ = h.Serve(l) }() // ended by stop
		log.Info("serving", "what", what, "address", l.Addr().String())
		return nil
	}
	if a := file.Admin; !a.Disabled {
		host, port, url := a.Address, a.Port, a.CommandURL
		if host == "" {
			host = "127.0.0.1"
		}
		if port == 0 && !a.Explicit {
			port = adminPort
		}
		if url == "" {
			url = "/commands"
		}
		mux := http.NewServeMux()
		mux.Handle(url, s.AdminHandler())
		mux.Handle(url+"/", s.AdminHandler())
		if err := open("AdminServer", host, port, mux, a.Explicit); err != nil {
			stop()
			return nil, err
		}
	}
	if m := file.Metrics; m.Enabled {
		port := m.Port
		if port == 0 {
			port = metricsPort
		}
		mux := http.NewServeMux()
		mux.Handle("/metrics", s.MetricsHandler())
		if err := open("metrics", m.Host, port, mux, true); err != nil {
			stop()
			return nil, err
		}
	}
	return stop, nil
}

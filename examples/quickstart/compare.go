package main

import (
	"context"
	"fmt"
	"hash/fnv"
	"path"
	"time"

	"github.com/vivarium-go/vivarium/zk"
)

// settleTime is how long copies may take to become equal once nothing changes.
const settleTime = 20 * time.Second

// settle asks until the answer is empty, which means equal, or time is up.
func settle(ctx context.Context, ask func(context.Context) string) string {
	ctx, cancel := context.WithTimeout(ctx, settleTime)
	defer cancel()
	for {
		difference := ask(ctx)
		if difference == "" {
			return ""
		}
		select {
		case <-ctx.Done():
			return difference
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// compareBrokers checks that every replica of each partition holds the same bytes.
func (d *driver) compareBrokers(ctx context.Context) string {
	d.p.event("comparing what the brokers hold")
	return settle(ctx, func(context.Context) string {
		type copyOf struct {
			broker     int32
			start, end int64
			sum        uint32
		}
		copies := make(map[int32][]copyOf)
		for _, id := range d.cluster.IDs() {
			held, err := d.cluster.Broker(id).Replicas(topic)
			if err != nil {
				return err.Error()
			}
			for _, r := range held {
				copies[r.Partition] = append(copies[r.Partition], copyOf{id, r.LogStart, r.LogEnd, r.Checksum})
			}
		}
		for p := range int32(partitions) {
			if len(copies[p]) != replicas {
				return fmt.Sprintf("partition %d has %d replicas", p, len(copies[p]))
			}
			for _, c := range copies[p][1:] {
				if first := copies[p][0]; c.start != first.start || c.end != first.end || c.sum != first.sum {
					return fmt.Sprintf("partition %d: broker %d holds %d-%d (%08x), broker %d holds %d-%d (%08x)",
						p, first.broker, first.start, first.end, first.sum, c.broker, c.start, c.end, c.sum)
				}
			}
		}
		return ""
	})
}

// compareServers checks that every server shows the same znodes.
func (d *driver) compareServers(ctx context.Context) string {
	d.p.event("comparing what the servers hold")
	return settle(ctx, func(ctx context.Context) string {
		var first uint64
		for i, addr := range d.cluster.Ensemble().Addrs() {
			cfg := d.cluster.Ensemble().ClientConfig()
			cfg.Servers = []string{addr}
			sum, err := treeSum(ctx, cfg)
			if err != nil {
				return fmt.Sprintf("server at %s: %v", addr, err)
			}
			if i > 0 && sum != first {
				return fmt.Sprintf("server at %s holds another tree: %016x, not %016x", addr, sum, first)
			}
			first = sum
		}
		return ""
	})
}

// treeSum hashes every znode that one server shows: path, data and Stat.
func treeSum(ctx context.Context, cfg zk.ClientConfig) (uint64, error) {
	c, err := zk.Connect(ctx, cfg)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if err := c.Sync(ctx, "/"); err != nil {
		return 0, err
	}
	h := fnv.New64a()
	var visit func(at string) error
	visit = func(at string) error {
		data, stat, err := c.Get(ctx, at)
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%q %x %+v\n", at, data, stat)
		names, _, err := c.Children(ctx, at)
		if err != nil {
			return err
		}
		for _, n := range names {
			if err := visit(path.Join(at, n)); err != nil {
				return err
			}
		}
		return nil
	}
	err = visit("/")
	return h.Sum64(), err
}

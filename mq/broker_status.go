package mq

import (
	"cmp"
	"fmt"
	"hash/crc32"
	"slices"
)

// ReplicaStatus is what a broker holds of one partition.
type ReplicaStatus struct {
	Topic     string
	Partition int32
	// Leader is the partition's leader as this replica knows it, -1 for none; LeaderEpoch the epoch of that.
	Leader      int32
	LeaderEpoch int32
	// ISR are the in-sync replicas as this replica knows them.
	ISR []int32
	// The log holds the offsets from LogStart up to, but without, LogEnd. Consumers see what is below HighWatermark.
	LogStart, HighWatermark, LogEnd int64
	// Checksum is the CRC-32C of the record batches from LogStart to LogEnd as they are stored: replicas that hold the same
	// have the same.
	Checksum uint32
}

// checksumChunk is how much of a log is read at a time.
const checksumChunk = 1 << 20

// Replicas returns what the broker holds of a topic's partitions, ascending; of all topics if topic is empty. It reads the logs.
// It is an error if a log cannot be read, or if there is no such replica.
func (b *Broker) Replicas(topic string) ([]ReplicaStatus, error) {
	if b.ctx.Err() != nil {
		return nil, ErrClosed
	}
	var out []ReplicaStatus
	for _, p := range b.host.partitions() {
		if topic != "" && p.topic != topic {
			continue
		}
		s, err := p.status()
		if err != nil {
			return nil, &OpError{Op: "read replica", Subject: fmt.Sprintf("%s-%d", p.topic, p.key.index), Err: err}
		}
		out = append(out, s)
	}
	if topic != "" && len(out) == 0 {
		return nil, &OpError{Op: "read replica", Subject: topic, Err: fmt.Errorf("broker %d has no replica of it", b.cfg.BrokerID)}
	}
	slices.SortFunc(out, func(a, b ReplicaStatus) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return out, nil
}

// status describes the replica and sums up its log.
func (p *hostedPartition) status() (ReplicaStatus, error) {
	p.mu.Lock()
	role := p.mu.core.Role()
	state, _ := p.mu.core.State()
	hw, _ := p.mu.core.HighWatermark()
	isr := slices.Clone(state.ISR)
	p.mu.Unlock()
	s := ReplicaStatus{
		Topic: p.topic, Partition: p.key.index, Leader: role.Leader, LeaderEpoch: role.Epoch, ISR: isr,
		LogStart: p.log.LogStart(), HighWatermark: hw, LogEnd: p.log.LEO(),
	}
	table := crc32.MakeTable(crc32.Castagnoli)
	var buf []byte
	for next := s.LogStart; next < s.LogEnd; {
		var err error
		if buf, err = p.log.Read(buf[:0], next, checksumChunk, s.LogEnd); err != nil {
			return s, err
		}
		after, err := eachBatch(buf, next)
		if err != nil {
			return s, err
		}
		if after == next {
			break
		}
		s.Checksum = crc32.Update(s.Checksum, table, buf)
		next = after
	}
	return s, nil
}

package mq

import (
	"errors"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// locate finds out where to fetch for those of the broker's partitions for which that is not known: what the earliest or latest offset
// is, and after a change of leader whether the new one has what was consumed. It returns true if it did something.
func (f *consumerFetcher) locate() bool {
	c := f.c
	var search, validate []fetchItem
	epochs := make(map[*consumerPartition]int32)
	now := time.Now()
	c.mu.Lock()
	for _, pp := range c.mu.partitions {
		if pp.leader != f.broker || pp.held || pp.stuck || pp.revoked.Load() || now.Before(pp.notBefore) {
			continue
		}
		switch {
		case pp.next == OffsetEarliest || pp.next == OffsetLatest:
			search = append(search, fetchItem{pp, pp.version, pp.next})
		case pp.validate && pp.next >= 0 && pp.nextEpoch >= 0:
			validate = append(validate, fetchItem{pp, pp.version, pp.next})
			epochs[pp] = pp.nextEpoch
		case pp.validate:
			pp.validate = false
		}
	}
	c.mu.Unlock()
	if len(search)+len(validate) == 0 {
		return false
	}
	var err error
	if len(search) > 0 {
		err = f.search(search)
	}
	if err == nil && len(validate) > 0 {
		err = f.validate(validate, epochs)
	}
	if err != nil {
		c.mu.Lock()
		for _, it := range slices.Concat(search, validate) {
			c.backOffLocked(it.pp)
		}
		c.mu.Unlock()
		c.c.meta.kick()
	}
	return true
}

// search asks for the earliest or latest offsets.
func (f *consumerFetcher) search(items []fetchItem) error {
	c := f.c
	req := kmsg.NewPtrListOffsetsRequest()
	req.IsolationLevel = int8(c.cfg.Isolation)
	for _, it := range items {
		i := slices.IndexFunc(req.Topics, func(t kmsg.ListOffsetsRequestTopic) bool { return t.Topic == it.pp.tp.Topic })
		if i < 0 {
			t := kmsg.NewListOffsetsRequestTopic()
			t.Topic = it.pp.tp.Topic
			req.Topics = append(req.Topics, t)
			i = len(req.Topics) - 1
		}
		rp := kmsg.NewListOffsetsRequestTopicPartition()
		rp.Partition, rp.Timestamp = it.pp.tp.Partition, it.offset // the meanings of -1 and -2 are the protocol's
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, rp)
	}
	resp, err := f.request(req, 0, false)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range resp.(*kmsg.ListOffsetsResponse).Topics {
		for _, part := range t.Partitions {
			pp := f.answeredLocked(items, t.Topic, part.Partition, part.ErrorCode)
			if pp == nil {
				continue
			}
			pp.next, pp.nextEpoch = part.Offset, part.LeaderEpoch
			pp.validate = false
			pp.position.CompareAndSwap(OffsetEarliest, part.Offset)
			pp.position.CompareAndSwap(OffsetLatest, part.Offset)
		}
	}
	return nil
}

// validate asks where the leader's log ends for the epoch of the last record before the position (KIP-320).
func (f *consumerFetcher) validate(items []fetchItem, epochs map[*consumerPartition]int32) error {
	c := f.c
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.ReplicaID = -1
	for _, it := range items {
		i := slices.IndexFunc(req.Topics, func(t kmsg.OffsetForLeaderEpochRequestTopic) bool { return t.Topic == it.pp.tp.Topic })
		if i < 0 {
			t := kmsg.NewOffsetForLeaderEpochRequestTopic()
			t.Topic = it.pp.tp.Topic
			req.Topics = append(req.Topics, t)
			i = len(req.Topics) - 1
		}
		rp := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
		rp.Partition, rp.LeaderEpoch = it.pp.tp.Partition, epochs[it.pp]
		rp.CurrentLeaderEpoch = -1
		req.Topics[i].Partitions = append(req.Topics[i].Partitions, rp)
	}
	resp, err := f.request(req, 0, false)
	if err != nil && !errors.Is(err, ErrVersion) {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil { // the broker is too old to be asked
		for _, it := range items {
			it.pp.validate = false
		}
		return nil
	}
	for _, t := range resp.(*kmsg.OffsetForLeaderEpochResponse).Topics {
		for _, part := range t.Partitions {
			if pp := f.answeredLocked(items, t.Topic, part.Partition, part.ErrorCode); pp != nil {
				pp.validate = false
				if part.EndOffset >= 0 { // else the leader has no epochs that old: there is nothing to compare
					c.truncatedLocked(pp, part.EndOffset)
				}
			}
		}
	}
	return nil
}

// answeredLocked returns the partition that a part of an answer is about, if that still matters and is no error.
func (f *consumerFetcher) answeredLocked(items []fetchItem, topic string, partition int32, code int16) *consumerPartition {
	i := slices.IndexFunc(items, func(it fetchItem) bool {
		return it.pp.tp.Partition == partition && it.pp.tp.Topic == topic
	})
	if i < 0 || items[i].pp.version != items[i].version || items[i].pp.revoked.Load() {
		return nil
	}
	pp := items[i].pp
	if err := Error(code); err != 0 {
		f.c.backOffLocked(pp)
		if !err.Retriable() {
			f.c.reportLocked(&OpError{Op: "find an offset of", Subject: pp.tp.String(), Err: err})
		}
		f.c.c.meta.kick()
		return nil
	}
	pp.failures = 0
	return pp
}

package api

import (
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// produceOp is a Produce request whose partitions answer one by one.
type produceOp struct {
	cl   *call
	resp *kmsg.ProduceResponse

	mu      sync.Mutex
	left    int  // partitions without an answer, and one for the handler itself
	replied bool // by the timeout
	timer   *time.Timer
}

// pendingCode marks a partition that has not answered. It is no code of the protocol.
const pendingCode = 1<<15 - 1

// produceTimeoutMax bounds how long a client may have its answer waited for.
const produceTimeoutMax = 10 * time.Minute

// produce answers Produce: every partition's batches are appended at once, in order; the answer goes when all of them are
// replicated as acks asks, or when the request's time is over. acks=0 has no answer; if it fails, the connection is closed, as
// Kafka does, so that the client notices.
func (s *Server) produce(cl *call) {
	req := cl.req.(*kmsg.ProduceRequest)
	op := &produceOp{cl: cl, resp: response[*kmsg.ProduceResponse](cl), left: 1}
	cl.inline = false
	refuse := None
	switch {
	case req.TransactionID != nil:
		refuse = UnsupportedForMessageFormat
	case req.Acks < -1 || req.Acks > 1:
		refuse = InvalidRequiredAcks
	}
	op.resp.Topics = make([]kmsg.ProduceResponseTopic, len(req.Topics))
	for i := range req.Topics {
		rt, out := &req.Topics[i], &op.resp.Topics[i]
		*out = kmsg.NewProduceResponseTopic()
		out.Topic = strings.Clone(rt.Topic) // the frame is reused before the answer is written
		out.Partitions = make([]kmsg.ProduceResponseTopicPartition, len(rt.Partitions))
		op.left += len(rt.Partitions)
	}
	for i := range req.Topics {
		rt, out := &req.Topics[i], &op.resp.Topics[i]
		for j := range rt.Partitions {
			op.append(s, out.Topic, &rt.Partitions[j], &out.Partitions[j], req.Acks, refuse)
		}
	}
	op.mu.Lock()
	op.left--
	if op.left == 0 {
		op.mu.Unlock()
		cl.inline = true
		op.answer(req.Acks)
		return
	}
	timeout := min(time.Duration(max(req.TimeoutMillis, 0))*time.Millisecond, produceTimeoutMax)
	op.timer = time.AfterFunc(timeout, op.expire)
	op.mu.Unlock()
}

// append has one partition append its batches.
func (op *produceOp) append(s *Server, topic string, rp *kmsg.ProduceRequestTopicPartition, out *kmsg.ProduceResponseTopicPartition, acks int16, refuse Code) {
	*out = kmsg.NewProduceResponseTopicPartition()
	out.Partition, out.ErrorCode = rp.Partition, pendingCode
	done := func(r AppendResult) { op.done(out, r, acks) }
	if refuse != None {
		done(AppendResult{Code: refuse, BaseOffset: -1, LogAppendTime: -1, LogStart: -1})
		return
	}
	p, code := s.backend.Logs.Find(topic, rp.Partition)
	if p == nil {
		done(AppendResult{Code: code, BaseOffset: -1, LogAppendTime: -1, LogStart: -1})
		return
	}
	p.Append(rp.Records, acks, done)
}

// done takes one partition's answer.
func (op *produceOp) done(out *kmsg.ProduceResponseTopicPartition, r AppendResult, acks int16) {
	op.mu.Lock()
	if op.replied {
		op.mu.Unlock()
		return
	}
	out.ErrorCode, out.BaseOffset, out.LogAppendTime, out.LogStartOffset = int16(r.Code), r.BaseOffset, r.LogAppendTime, r.LogStart
	if r.Message != "" {
		out.ErrorMessage = &r.Message
	}
	if r.Code != None {
		out.BaseOffset = -1
	}
	op.left--
	last := op.left == 0
	timer := op.timer
	op.mu.Unlock()
	if last {
		if timer != nil {
			timer.Stop()
		}
		op.answer(acks)
	}
}

// expire answers for the partitions that have not: their batches may or may not be replicated yet.
func (op *produceOp) expire() {
	op.mu.Lock()
	if op.left == 0 {
		op.mu.Unlock()
		return
	}
	op.replied = true
	for i := range op.resp.Topics {
		for j := range op.resp.Topics[i].Partitions {
			if p := &op.resp.Topics[i].Partitions[j]; p.ErrorCode == pendingCode {
				p.ErrorCode, p.BaseOffset = int16(RequestTimedOut), -1
			}
		}
	}
	op.mu.Unlock()
	op.answer(-1)
}

// answer sends the response. Nobody else touches it any more.
func (op *produceOp) answer(acks int16) {
	if acks != 0 {
		op.cl.reply(op.resp)
		return
	}
	for i := range op.resp.Topics {
		for j := range op.resp.Topics[i].Partitions {
			if code := op.resp.Topics[i].Partitions[j].ErrorCode; code != 0 {
				op.cl.c.close()
			}
		}
	}
	op.cl.replyNothing()
}

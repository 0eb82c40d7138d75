package api

import (
	"context"
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// adminTimeout is how long a change of the cluster is waited for, as the client asks, within bounds.
func adminTimeout(millis int32) time.Duration {
	return min(max(time.Duration(millis)*time.Millisecond, time.Second), 5*time.Minute)
}

// forward has the controller answer a request if this broker is not the controller. It reports false if it is.
func (s *Server) forward(ctx context.Context, cl *call, fail func(Code)) bool {
	if s.backend.Admin.Controls() {
		return false
	}
	if cl.clientID == ForwardClientID {
		fail(NotController)
		return true
	}
	resp, err := s.backend.Admin.Forward(ctx, cl.req)
	if errors.Is(err, ErrControls) {
		return false
	}
	if err != nil {
		s.cfg.Logger.Info("forwarding to the controller failed", "key", cl.key, "err", err)
		fail(NotController)
		return true
	}
	cl.reply(resp)
	return true
}

// ErrControls is returned by Admin.Forward when this broker has become the controller.
var ErrControls = errors.New("this broker is the controller")

// ForwardClientID is the client id of requests that one broker forwards to another; they are not forwarded again.
const ForwardClientID = "vivarium-forward"

// createTopics answers CreateTopics when the topics' leaders are elected, or why they are not created.
func (s *Server) createTopics(cl *call) {
	req := cl.req.(*kmsg.CreateTopicsRequest)
	cl.background(func() {
		ctx, cancel := context.WithTimeout(s.ctx, adminTimeout(req.TimeoutMillis))
		defer cancel()
		fail := func(code Code) {
			resp := response[*kmsg.CreateTopicsResponse](cl)
			for i := range req.Topics {
				t := kmsg.NewCreateTopicsResponseTopic()
				t.Topic, t.ErrorCode = req.Topics[i].Topic, int16(code)
				resp.Topics = append(resp.Topics, t)
			}
			cl.reply(resp)
		}
		if s.forward(ctx, cl, fail) {
			return
		}
		resp := response[*kmsg.CreateTopicsResponse](cl)
		names := map[string]int{}
		for i := range req.Topics {
			names[req.Topics[i].Topic]++
		}
		for i := range req.Topics {
			t := &req.Topics[i]
			out := Outcome{Code: InvalidRequest, Text: "the topic is named twice in the request"}
			if names[t.Topic] == 1 {
				out = s.createTopic(ctx, t, req.ValidateOnly)
			}
			resp.Topics = append(resp.Topics, s.createdTopic(t, out))
		}
		cl.reply(resp)
	})
}

// createTopic creates one topic of a request.
func (s *Server) createTopic(ctx context.Context, t *kmsg.CreateTopicsRequestTopic, validateOnly bool) Outcome {
	if why := CheckTopicName(t.Topic); why != "" {
		return Outcome{Code: InvalidTopic, Text: why}
	}
	n := NewTopic{Name: t.Topic, Partitions: t.NumPartitions, Replicas: t.ReplicationFactor, Config: map[string]string{}, ValidateOnly: validateOnly}
	for i := range t.Configs {
		if t.Configs[i].Value == nil {
			return Outcome{Code: InvalidConfig, Text: "configuration " + t.Configs[i].Name + " has no value"}
		}
		n.Config[t.Configs[i].Name] = *t.Configs[i].Value
	}
	if len(t.ReplicaAssignment) > 0 {
		if t.NumPartitions != -1 || t.ReplicationFactor != -1 {
			return Outcome{Code: InvalidRequest, Text: "with an assignment, partitions and replication factor must be -1"}
		}
		n.Assignment = make([][]int32, len(t.ReplicaAssignment))
		for i := range t.ReplicaAssignment {
			a := &t.ReplicaAssignment[i]
			if a.Partition < 0 || int(a.Partition) >= len(n.Assignment) || n.Assignment[a.Partition] != nil {
				return Outcome{Code: 39, Text: "the assigned partitions are not numbered from 0 without a gap"}
			}
			n.Assignment[a.Partition] = append([]int32{}, a.Replicas...)
		}
	}
	return s.backend.Admin.CreateTopic(ctx, n)
}

// createdTopic describes a created topic. From version 5 on its configuration is part of the answer; Java's admin client fails
// without.
func (s *Server) createdTopic(t *kmsg.CreateTopicsRequestTopic, out Outcome) kmsg.CreateTopicsResponseTopic {
	r := kmsg.NewCreateTopicsResponseTopic()
	r.Topic, r.ErrorCode, r.ErrorMessage = t.Topic, int16(out.Code), optional(out.Text)
	if out.Code != None {
		return r
	}
	r.TopicID, r.NumPartitions = out.ID, int32(len(out.Replicas))
	if len(out.Replicas) > 0 {
		r.ReplicationFactor = int16(len(out.Replicas[0]))
	}
	own := map[string]string{}
	for i := range t.Configs {
		own[t.Configs[i].Name] = text(t.Configs[i].Value)
	}
	for _, d := range s.backend.Metadata.TopicDefaults(int(r.ReplicationFactor)) {
		c := kmsg.NewCreateTopicsResponseTopicConfig()
		c.Name, c.Value, c.Source = d.Name, &d.Value, int8(kmsg.ConfigSourceDefaultConfig)
		if v, ok := own[d.Name]; ok {
			c.Value, c.Source = &v, int8(kmsg.ConfigSourceDynamicTopicConfig)
		}
		r.Configs = append(r.Configs, c)
	}
	return r
}

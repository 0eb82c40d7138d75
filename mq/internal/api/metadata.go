package api

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/layout"
	"github.com/vivarium-go/vivarium/mq/internal/meta"
)

// metadata answers Metadata from the broker's image.
func (s *Server) metadata(cl *call) {
	req := cl.req.(*kmsg.MetadataRequest)
	resp := response[*kmsg.MetadataResponse](cl)
	img := s.backend.Metadata.Image()
	resp.ControllerID = img.Controller
	if img.ClusterID != "" {
		resp.ClusterID = &img.ClusterID
	}
	for _, id := range img.BrokerIDs() {
		if b, ok := brokerFor(img.Brokers[id], cl.c.listener); ok {
			resp.Brokers = append(resp.Brokers, b)
		}
	}
	all := req.Topics == nil || (cl.version == 0 && len(req.Topics) == 0)
	if all {
		for _, name := range img.TopicNames() {
			resp.Topics = append(resp.Topics, topicFor(img, img.Topics[name], cl.c.listener))
		}
	}
	create := req.AllowAutoTopicCreation || cl.version < 4
	for i := range req.Topics {
		resp.Topics = append(resp.Topics, s.requestedTopic(img, &req.Topics[i], create, cl.c.listener))
	}
	cl.reply(resp)
}

// requestedTopic describes one topic asked for by name or id.
func (s *Server) requestedTopic(img *meta.Image, req *kmsg.MetadataRequestTopic, create bool, listener string) kmsg.MetadataResponseTopic {
	if id := layout.ID(req.TopicID); req.Topic == nil && !id.IsZero() {
		if t := img.TopicByID(id); t != nil {
			return topicFor(img, t, listener)
		}
		return unknownTopic(nil, req.TopicID, UnknownTopicID)
	}
	if req.Topic == nil {
		return unknownTopic(nil, req.TopicID, InvalidTopic)
	}
	name := *req.Topic
	if t := img.Topics[name]; t != nil {
		return topicFor(img, t, listener)
	}
	code := UnknownTopicOrPartition
	if CheckTopicName(name) != "" {
		code = InvalidTopic
	} else if create && s.backend.Admin.AutoCreate(name) {
		code = LeaderNotAvailable
	}
	return unknownTopic(req.Topic, req.TopicID, code)
}

func unknownTopic(name *string, id [16]byte, code Code) kmsg.MetadataResponseTopic {
	t := kmsg.NewMetadataResponseTopic()
	t.ErrorCode, t.Topic, t.TopicID = int16(code), name, id
	return t
}

// brokerFor is a live broker as clients of a listener see it; false if it has no such listener.
func brokerFor(b *meta.Broker, listener string) (kmsg.MetadataResponseBroker, bool) {
	r := kmsg.NewMetadataResponseBroker()
	e, ok := b.Endpoint(listener)
	if !ok {
		return r, false
	}
	r.NodeID, r.Host, r.Port = b.ID, e.Host, e.Port
	if b.Rack != "" {
		r.Rack = &b.Rack
	}
	return r, true
}

// topicFor describes a topic with its partitions.
func topicFor(img *meta.Image, t *meta.Topic, listener string) kmsg.MetadataResponseTopic {
	r := kmsg.NewMetadataResponseTopic()
	r.Topic, r.TopicID, r.IsInternal = &t.Name, t.ID, internalTopic(t.Name)
	r.Partitions = make([]kmsg.MetadataResponseTopicPartition, len(t.Partitions))
	for i := range t.Partitions {
		p, out := &t.Partitions[i], &r.Partitions[i]
		*out = kmsg.NewMetadataResponseTopicPartition()
		out.Partition, out.Replicas, out.ISR = int32(i), p.Replicas, p.State.ISR
		out.Leader, out.LeaderEpoch = img.Leader(p), p.State.LeaderEpoch
		if p.Version < 0 {
			out.LeaderEpoch = -1
		}
		for _, id := range p.Replicas {
			if img.Brokers[id] == nil {
				out.OfflineReplicas = append(out.OfflineReplicas, id)
			}
		}
		switch leader := img.Brokers[out.Leader]; {
		case leader == nil:
			out.ErrorCode, out.Leader = int16(LeaderNotAvailable), layout.NoLeader
		default:
			if _, ok := leader.Endpoint(listener); !ok {
				out.ErrorCode = int16(ListenerNotFound)
			}
		}
	}
	return r
}

// OffsetsTopic is the name of the topic that holds the state of groups.
const OffsetsTopic = "__consumer_offsets"

// internalTopic says whether the cluster itself owns the topic.
func internalTopic(name string) bool { return name == OffsetsTopic || name == "__transaction_state" }

// topicNameMax is the longest name of a topic, in bytes.
const topicNameMax = 249

// CheckTopicName says what is wrong with a topic's name; empty if nothing is.
func CheckTopicName(name string) string {
	switch {
	case name == "":
		return "the topic name is empty"
	case name == "." || name == "..":
		return "the topic name cannot be . or .."
	case len(name) > topicNameMax:
		return "the topic name is longer than 249 characters"
	}
	for i := range len(name) {
		switch ch := name[i]; {
		case 'a' <= ch && ch <= 'z', 'A' <= ch && ch <= 'Z', '0' <= ch && ch <= '9', ch == '.', ch == '_', ch == '-':
		default:
			return "the topic name has a character other than letters, digits, '.', '_' and '-'"
		}
	}
	return ""
}

package api

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/layout"
)

// deleteTopics answers DeleteTopics when the topics are gone for clients; their data goes later.
func (s *Server) deleteTopics(cl *call) {
	req := cl.req.(*kmsg.DeleteTopicsRequest)
	cl.background(func() {
		ctx, cancel := context.WithTimeout(s.ctx, adminTimeout(req.TimeoutMillis))
		defer cancel()
		topics := req.Topics
		if cl.version < 6 {
			for _, name := range req.TopicNames {
				t := kmsg.NewDeleteTopicsRequestTopic()
				t.Topic = &name
				topics = append(topics, t)
			}
		}
		resp := response[*kmsg.DeleteTopicsResponse](cl)
		one := func(t *kmsg.DeleteTopicsRequestTopic, out Outcome) {
			r := kmsg.NewDeleteTopicsResponseTopic()
			r.Topic, r.TopicID, r.ErrorCode, r.ErrorMessage = t.Topic, t.TopicID, int16(out.Code), optional(out.Text)
			resp.Topics = append(resp.Topics, r)
		}
		fail := func(code Code) {
			for i := range topics {
				one(&topics[i], Outcome{Code: code})
			}
			cl.reply(resp)
		}
		if s.forward(ctx, cl, fail) {
			return
		}
		for i := range topics {
			one(&topics[i], s.deleteTopic(ctx, &topics[i]))
		}
		cl.reply(resp)
	})
}

// deleteTopic deletes one topic, named or by id; the answer carries both.
func (s *Server) deleteTopic(ctx context.Context, t *kmsg.DeleteTopicsRequestTopic) Outcome {
	img := s.backend.Metadata.Image()
	if t.Topic == nil {
		known := img.TopicByID(layout.ID(t.TopicID))
		if known == nil {
			return Outcome{Code: UnknownTopicID}
		}
		t.Topic = &known.Name
	} else if known := img.Topics[*t.Topic]; known != nil {
		t.TopicID = known.ID
	}
	if internalTopic(*t.Topic) {
		return Outcome{Code: InvalidRequest, Text: "the topic is internal"}
	}
	return s.backend.Admin.DeleteTopic(ctx, *t.Topic)
}

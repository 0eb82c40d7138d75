package mq

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// adminTimeoutMillis is how long a broker may work on a change before it answers.
func (c *Client) adminTimeoutMillis() int32 { return int32(c.cfg.RequestTimeout / time.Millisecond) }

// CreateTopic creates a topic and returns when the cluster shows all its partitions with leaders.
// Errors: ErrTopicAlreadyExists, ErrInvalidTopicException, ErrInvalidPartitions, ErrInvalidReplicationFactor, ErrInvalidConfig, …
func (c *Client) CreateTopic(ctx context.Context, spec TopicSpec) error {
	return c.CreateTopics(ctx, spec)
}

// CreateTopics creates topics in one request and returns when the cluster shows all their partitions with leaders. Each topic succeeds or fails for itself; the
// errors are joined, each an *OpError that names its topic.
func (c *Client) CreateTopics(ctx context.Context, specs ...TopicSpec) error {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = c.adminTimeoutMillis()
	var names []string
	for _, s := range specs {
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = s.Name, -1, -1
		if s.Partitions != 0 {
			t.NumPartitions = int32(s.Partitions)
		}
		if s.Replicas != 0 {
			t.ReplicationFactor = int16(s.Replicas)
		}
		for i, replicas := range s.Assignment {
			a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
			a.Partition, a.Replicas = int32(i), replicas
			t.ReplicaAssignment = append(t.ReplicaAssignment, a)
			t.NumPartitions, t.ReplicationFactor = -1, -1
		}
		for _, name := range slices.Sorted(maps.Keys(s.Configs)) {
			conf := kmsg.NewCreateTopicsRequestTopicConfig()
			conf.Name, conf.Value = name, new(s.Configs[name])
			t.Configs = append(t.Configs, conf)
		}
		req.Topics = append(req.Topics, t)
	}
	results := func(resp kmsg.Response) (errs []error) {
		names = nil
		for _, t := range resp.(*kmsg.CreateTopicsResponse).Topics {
			if err := codeError(t.ErrorCode); err != nil {
				errs = append(errs, &OpError{Op: "create topic", Subject: t.Topic, Detail: deref(t.ErrorMessage), Err: err})
			} else {
				names = append(names, t.Topic)
			}
		}
		return errs
	}
	err := c.controllerChange(ctx, "create topics", req, results)
	return errors.Join(err, c.awaitTopics(ctx, names))
}

// DeleteTopics deletes topics. Each succeeds or fails for itself; the errors are joined. Error: ErrUnknownTopicOrPartition.
func (c *Client) DeleteTopics(ctx context.Context, names ...string) error {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.TimeoutMillis = c.adminTimeoutMillis()
	req.TopicNames = names
	return c.controllerChange(ctx, "delete topics", req, func(resp kmsg.Response) (errs []error) {
		for _, t := range resp.(*kmsg.DeleteTopicsResponse).Topics {
			if err := codeError(t.ErrorCode); err != nil {
				errs = append(errs, &OpError{Op: "delete topic", Subject: deref(t.Topic), Detail: deref(t.ErrorMessage), Err: err})
			}
		}
		return errs
	})
}

// CreatePartitions makes a topic have count partitions, which must be more than it has.
func (c *Client) CreatePartitions(ctx context.Context, topic string, count int) error {
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.TimeoutMillis = c.adminTimeoutMillis()
	t := kmsg.NewCreatePartitionsRequestTopic()
	t.Topic, t.Count = topic, int32(count)
	req.Topics = append(req.Topics, t)
	err := c.controllerChange(ctx, "create partitions", req, func(resp kmsg.Response) (errs []error) {
		for _, t := range resp.(*kmsg.CreatePartitionsResponse).Topics {
			if err := codeError(t.ErrorCode); err != nil {
				errs = append(errs, &OpError{Op: "create partitions of", Subject: t.Topic, Detail: deref(t.ErrorMessage), Err: err})
			}
		}
		return errs
	})
	if err != nil {
		return err
	}
	return c.awaitTopics(ctx, []string{topic})
}

// controllerChange sends a change to the controller. Results returns the errors of an answer; one that is NOT_CONTROLLER or a like code
// for all is tried again, since then nothing was done.
func (c *Client) controllerChange(ctx context.Context, op string, req kmsg.Request, results func(kmsg.Response) []error) error {
	err := c.retry(ctx, func() error {
		v := c.meta.current()
		if _, ok := v.addr(v.controller); !ok {
			if err := c.meta.refresh(ctx); err != nil {
				return err
			}
			v = c.meta.current()
		}
		resp, err := c.requestBroker(ctx, v.controller, produceLane, req, c.cfg.RequestTimeout)
		if err != nil {
			c.meta.kick()
			if wasSent(err) {
				return final(unknownOutcome(err))
			}
			return err
		}
		errs := results(resp)
		for _, err := range errs {
			if !errors.Is(err, ErrNotController) {
				return final(errors.Join(errs...))
			}
		}
		if len(errs) > 0 {
			if err := c.meta.refresh(ctx); err != nil {
				return err
			}
			return ErrNotController
		}
		return nil
	})
	if _, ok := errors.AsType[*OpError](err); err == nil || ok {
		return err
	}
	return &OpError{Op: op, Err: err}
}

// awaitTopics waits until the cluster shows all partitions of the topics with leaders.
func (c *Client) awaitTopics(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	err := c.retry(ctx, func() error {
		infos, err := c.Topics(ctx, names...)
		if err != nil {
			return err
		}
		for _, info := range infos {
			for _, p := range info.Partitions {
				if p.Leader < 0 {
					return ErrLeaderNotAvailable
				}
			}
		}
		return nil
	})
	if err != nil {
		return &OpError{Op: "wait for the leaders of", Subject: names[0], Err: err}
	}
	return nil
}

// Topics describes the given topics, or without names all of them, in order of their names. Error: ErrUnknownTopicOrPartition if one
// is not there.
func (c *Client) Topics(ctx context.Context, names ...string) ([]TopicInfo, error) {
	resp, err := c.metadataNow(ctx, names, len(names) == 0)
	if err != nil {
		return nil, &OpError{Op: "list topics", Err: err}
	}
	infos := make([]TopicInfo, 0, len(resp.Topics))
	for i := range resp.Topics {
		t := &resp.Topics[i]
		if err := codeError(t.ErrorCode); err != nil && (len(names) > 0 || len(t.Partitions) == 0) {
			return nil, &OpError{Op: "describe topic", Subject: deref(t.Topic), Err: err}
		}
		info := TopicInfo{Name: deref(t.Topic), ID: t.TopicID, Internal: t.IsInternal}
		for _, p := range mergeTopic(nil, t).partitions {
			info.Partitions = append(info.Partitions, p.PartitionInfo)
		}
		infos = append(infos, info)
	}
	slices.SortFunc(infos, func(a, b TopicInfo) int {
		return compareTopicPartitions(TopicPartition{Topic: a.Name}, TopicPartition{Topic: b.Name})
	})
	return infos, nil
}

// DescribeTopic describes one topic. Error: ErrUnknownTopicOrPartition.
func (c *Client) DescribeTopic(ctx context.Context, name string) (TopicInfo, error) {
	infos, err := c.Topics(ctx, name)
	if err != nil {
		return TopicInfo{}, err
	}
	if len(infos) != 1 {
		return TopicInfo{}, &OpError{Op: "describe topic", Subject: name, Err: ErrUnknownTopicOrPartition}
	}
	return infos[0], nil
}

// Cluster describes the cluster as the broker that was asked sees it at the moment.
func (c *Client) Cluster(ctx context.Context) (ClusterInfo, error) {
	resp, err := c.metadataNow(ctx, nil, false)
	if err != nil {
		return ClusterInfo{}, &OpError{Op: "describe cluster", Err: err}
	}
	info := ClusterInfo{ID: deref(resp.ClusterID), Controller: resp.ControllerID}
	v := mergeMetadata(&clusterView{}, resp)
	for _, id := range slices.Sorted(maps.Keys(v.brokers)) {
		info.Brokers = append(info.Brokers, v.brokers[id])
	}
	return info, nil
}

// metadataNow asks some broker for metadata. Codes of topics are left to the caller, but for those that a retry may cure.
func (c *Client) metadataNow(ctx context.Context, topics []string, all bool) (*kmsg.MetadataResponse, error) {
	var resp *kmsg.MetadataResponse
	err := c.retry(ctx, func() error {
		r, err := c.requestAny(ctx, func() kmsg.Request { return metadataRequest(topics, all) })
		if err != nil {
			return err
		}
		resp = r.(*kmsg.MetadataResponse)
		for _, t := range resp.Topics {
			if err := codeError(t.ErrorCode); temporaryTopicError(err) && len(t.Partitions) == 0 {
				return err
			}
		}
		return nil
	})
	return resp, err
}

// deref returns what s points to, or nothing.
func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

package mq

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/vivarium-go/vivarium/mq/internal/api"
	"github.com/vivarium-go/vivarium/mq/internal/controller"
	"github.com/vivarium-go/vivarium/mq/internal/layout"
	"github.com/vivarium-go/vivarium/mq/internal/meta"
	"github.com/vivarium-go/vivarium/zk"
)

// imageLag is how long a change of the cluster may take to show in this broker's own image before it is answered anyway.
const imageLag = 2 * time.Second

// brokerAdmin is the broker as package api sees it where the cluster is concerned: api.Metadata and api.Admin.
type brokerAdmin struct {
	b *Broker

	mu sync.Mutex
	// creating are the topics that this broker is creating by itself.
	creating map[string]bool
}

// Image implements api.Metadata.
func (a *brokerAdmin) Image() *meta.Image { return a.b.image.Load() }

// Self implements api.Metadata.
func (a *brokerAdmin) Self() int32 { return a.b.cfg.BrokerID }

// TopicDefaults implements api.Metadata.
func (a *brokerAdmin) TopicDefaults(replicas int) []api.ConfigValue {
	return a.b.cfg.topicDefaults(replicas)
}

// BrokerConfigs implements api.Metadata.
func (a *brokerAdmin) BrokerConfigs() []api.ConfigValue { return a.b.cfg.brokerConfigs() }

// Controls implements api.Admin.
func (a *brokerAdmin) Controls() bool {
	life := a.b.live.Load()
	return life != nil && life.ctrl.active()
}

// Forward implements api.Admin: it asks the controller, whoever that is by now, and waits until this broker's image shows what
// was changed.
func (a *brokerAdmin) Forward(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	for {
		if a.Controls() {
			return nil, api.ErrControls
		}
		resp, err := a.forwardOnce(ctx, req)
		if err == nil || ctx.Err() != nil {
			return resp, err
		}
		var gone *noControllerError
		if !errors.As(err, &gone) {
			return nil, err
		}
		pause(ctx, zkRetryPause)
	}
}

// noControllerError says that there is no controller to ask, for the moment.
type noControllerError struct{ controller int32 }

func (e *noControllerError) Error() string {
	return fmt.Sprintf("mq: no controller to ask (the last known is %d)", e.controller)
}

func (a *brokerAdmin) forwardOnce(ctx context.Context, req kmsg.Request) (kmsg.Response, error) {
	img := a.Image()
	c := img.Brokers[img.Controller]
	if c == nil || c.ID == a.b.cfg.BrokerID {
		return nil, &noControllerError{img.Controller}
	}
	e, ok := c.Endpoint(a.b.cfg.InterBrokerListenerName)
	if !ok {
		return nil, fmt.Errorf("mq: broker %d has no listener %s", c.ID, a.b.cfg.InterBrokerListenerName)
	}
	resp, err := askPeer(ctx, a.b.cfg.Network, hostPort(e.Host, e.Port), req)
	if err != nil {
		return nil, err
	}
	a.awaitChange(ctx, resp)
	return resp, nil
}

// awaitChange waits until the image shows what a forwarded request changed.
func (a *brokerAdmin) awaitChange(ctx context.Context, resp kmsg.Response) {
	switch r := resp.(type) {
	case *kmsg.CreateTopicsResponse:
		for i := range r.Topics {
			if r.Topics[i].ErrorCode == 0 {
				a.awaitTopic(ctx, r.Topics[i].Topic, true)
			}
		}
	case *kmsg.DeleteTopicsResponse:
		for i := range r.Topics {
			if r.Topics[i].ErrorCode == 0 && r.Topics[i].Topic != nil {
				a.awaitTopic(ctx, *r.Topics[i].Topic, false)
			}
		}
	}
}

// awaitTopic waits until the image has a topic with all its leaders, or has it no more.
func (a *brokerAdmin) awaitTopic(ctx context.Context, name string, there bool) {
	ctx, cancel := context.WithTimeout(ctx, imageLag)
	defer cancel()
	_ = a.b.awaitImage(ctx, func(img *meta.Image) bool {
		t := img.Topics[name]
		if t == nil || !there {
			return (t != nil) == there
		}
		for i := range t.Partitions {
			if t.Partitions[i].Version < 0 {
				return false
			}
		}
		return true
	})
}

// replicationFactor is factor, or the default for the brokers that are alive.
func (a *brokerAdmin) replicationFactor(factor, configured int16) int {
	switch {
	case factor > 0:
		return int(factor)
	case configured > 0:
		return int(configured)
	}
	return max(min(defaultReplicas, len(a.Image().Brokers)), 1)
}

// CreateTopic implements api.Topics.
func (a *brokerAdmin) CreateTopic(ctx context.Context, t api.NewTopic) api.Outcome {
	if err := checkTopicConfig(t.Config); err != nil {
		return api.Outcome{Code: api.InvalidConfig, Text: err.Error()}
	}
	life := a.b.live.Load()
	if life == nil {
		return api.Outcome{Code: api.NotController}
	}
	spec := controller.TopicSpec{
		Name: t.Name, Partitions: int(t.Partitions), Replicas: int(t.Replicas), Assignment: t.Assignment,
		Config: t.Config, ValidateOnly: t.ValidateOnly,
	}
	if t.Partitions == -1 {
		spec.Partitions = int(a.b.cfg.NumPartitions)
	}
	if t.Replicas == -1 {
		spec.Replicas = a.replicationFactor(-1, a.b.cfg.DefaultReplicationFactor)
	}
	out := outcome(life.ctrl.ask(ctx, func(c *controller.Controller, token uint64) { c.CreateTopic(token, spec) }))
	if out.Code == api.None && !t.ValidateOnly {
		a.awaitTopic(ctx, t.Name, true)
	}
	return out
}

// CreatePartitions implements api.Topics.
func (a *brokerAdmin) CreatePartitions(ctx context.Context, topic string, total int, assignment [][]int32, validateOnly bool) api.Outcome {
	life := a.b.live.Load()
	if life == nil {
		return api.Outcome{Code: api.NotController}
	}
	return outcome(life.ctrl.ask(ctx, func(c *controller.Controller, token uint64) {
		c.CreatePartitions(token, topic, total, assignment, validateOnly)
	}))
}

// DeleteTopic implements api.Topics.
func (a *brokerAdmin) DeleteTopic(ctx context.Context, topic string) api.Outcome {
	life := a.b.live.Load()
	if life == nil {
		return api.Outcome{Code: api.NotController}
	}
	out := outcome(life.ctrl.ask(ctx, func(c *controller.Controller, token uint64) { c.DeleteTopic(token, topic) }))
	if out.Code == api.None {
		a.awaitTopic(ctx, topic, false)
	}
	return out
}

// AlterConfig implements api.Topics: a conditional write of the topic's configuration, by whichever broker is asked.
func (a *brokerAdmin) AlterConfig(ctx context.Context, topic string, changes map[string]*string, replace, validateOnly bool) api.Outcome {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	life := a.b.live.Load()
	if life == nil {
		return api.Outcome{Code: api.NotController}
	}
	path := layout.TopicConfigPath(topic)
	if a.Image().Topics[topic] == nil { // perhaps only not yet: another broker may have just created it
		if err := life.zk.Sync(ctx, path); err != nil {
			return api.Outcome{Code: api.RequestTimedOut, Text: err.Error()}
		}
	}
	for {
		data, st, err := life.zk.Get(ctx, path)
		if errors.Is(err, zk.ErrNoNode) {
			return api.Outcome{Code: api.UnknownTopicOrPartition}
		}
		var config map[string]string
		if err == nil {
			config, err = layout.DecodeConfig(data)
		}
		if err != nil {
			return api.Outcome{Code: api.UnknownServerError, Text: err.Error()}
		}
		next := maps.Clone(config)
		if replace {
			next = map[string]string{}
		}
		for name, v := range changes {
			if v == nil {
				delete(next, name)
			} else {
				next[name] = *v
			}
		}
		if err := checkTopicConfig(next); err != nil {
			return api.Outcome{Code: api.InvalidConfig, Text: err.Error()}
		}
		if validateOnly || maps.Equal(config, next) {
			return api.Outcome{}
		}
		_, err = life.zk.Multi(ctx, zk.SetOp(path, layout.EncodeConfig(next), st.Version),
			zk.CreateOp(layout.ConfigChangePrefix, layout.EncodeConfigChange(layout.ConfigChange{EntityPath: "topics/" + topic}), zk.PersistentSequential))
		switch {
		case err == nil:
			a.awaitConfig(ctx, topic, next)
			return api.Outcome{}
		case outcomeOf(err) == layout.Unknown && ctx.Err() == nil && life.zk.Err() == nil, errors.Is(err, zk.ErrBadVersion):
			pause(ctx, zkRetryPause) // read again: it may have taken effect, or somebody else's has
		default:
			return api.Outcome{Code: api.RequestTimedOut, Text: err.Error()}
		}
	}
}

// awaitConfig waits until the image shows a topic's configuration.
func (a *brokerAdmin) awaitConfig(ctx context.Context, topic string, want map[string]string) {
	ctx, cancel := context.WithTimeout(ctx, imageLag)
	defer cancel()
	_ = a.b.awaitImage(ctx, func(img *meta.Image) bool {
		t := img.Topics[topic]
		return t != nil && maps.Equal(t.Config, want)
	})
}

// AutoCreate implements api.Topics.
func (a *brokerAdmin) AutoCreate(topic string) bool {
	if !a.b.cfg.AutoCreateTopicsEnable || topic == api.OffsetsTopic {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.creating[topic] {
		return true
	}
	if len(a.creating) >= autoCreateMax {
		return false
	}
	a.creating[topic] = true
	a.b.host.spawn(func() {
		ctx, cancel := context.WithTimeout(a.b.ctx, within)
		defer cancel()
		if code := a.ensureTopic(ctx, topic, -1, -1, nil); code != api.None {
			a.b.cfg.Logger.Info("creating a topic by itself failed", "topic", topic, "code", int(code))
		}
		a.mu.Lock()
		delete(a.creating, topic)
		a.mu.Unlock()
	})
	return true
}

// autoCreateMax bounds the topics that are being created because clients asked about them.
const autoCreateMax = 100

// ensureTopic creates a topic through the controller, unless it exists.
func (a *brokerAdmin) ensureTopic(ctx context.Context, name string, partitions int32, replicas int16, config map[string]string) api.Code {
	for a.Image().Topics[name] == nil {
		if a.Controls() {
			out := a.CreateTopic(ctx, api.NewTopic{Name: name, Partitions: partitions, Replicas: replicas, Config: config})
			if out.Code != api.None && out.Code != api.TopicAlreadyExists {
				return out.Code
			}
			return api.None
		}
		req := kmsg.NewPtrCreateTopicsRequest()
		req.SetVersion(apiCreateTopicsVersion)
		req.TimeoutMillis = int32(within.Milliseconds())
		t := kmsg.NewCreateTopicsRequestTopic()
		t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, replicas
		for k, v := range config {
			c := kmsg.NewCreateTopicsRequestTopicConfig()
			c.Name, c.Value = k, &v
			t.Configs = append(t.Configs, c)
		}
		req.Topics = append(req.Topics, t)
		resp, err := a.Forward(ctx, req)
		if err != nil {
			if ctx.Err() != nil {
				return api.RequestTimedOut
			}
			pause(ctx, zkRetryPause)
			continue
		}
		code := api.Code(resp.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode)
		switch code {
		case api.None, api.TopicAlreadyExists:
			a.awaitTopic(ctx, name, true)
			return api.None
		case api.NotController:
			pause(ctx, zkRetryPause)
		default:
			return code
		}
		if ctx.Err() != nil {
			return api.RequestTimedOut
		}
	}
	return api.None
}

// apiCreateTopicsVersion is the version of CreateTopics that brokers speak among themselves.
const apiCreateTopicsVersion = 5

// ControlledShutdown implements api.Admin.
func (a *brokerAdmin) ControlledShutdown(ctx context.Context, broker int32, incarnation int64) (int, api.Code) {
	life := a.b.live.Load()
	if life == nil {
		return 0, api.NotController
	}
	r := life.ctrl.ask(ctx, func(c *controller.Controller, token uint64) { c.ShutDown(token, broker, incarnation) })
	return len(r.Remaining), api.Code(r.Code)
}

// producerIDs hands out producer ids from a block of the cluster's.
type producerIDs struct {
	gate      chan struct{} // held by who takes an id; whoever finds the block used up fetches the next for all
	next, end int64         // [next, end)
}

// producerIDBlock is how many ids a broker takes at a time.
const producerIDBlock = 1000

// ProducerID implements api.Admin.
func (a *brokerAdmin) ProducerID(ctx context.Context) (int64, error) {
	p := &a.b.pids
	select {
	case p.gate <- struct{}{}:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	defer func() { <-p.gate }()
	if p.next == p.end {
		start, err := a.takeProducerIDs(ctx)
		if err != nil {
			return 0, err
		}
		p.next, p.end = start, start+producerIDBlock
	}
	p.next++
	return p.next - 1, nil
}

// takeProducerIDs takes the next block for this broker by a conditional write. A block whose write has an unknown outcome is
// left alone.
func (a *brokerAdmin) takeProducerIDs(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	life := a.b.live.Load()
	if life == nil {
		return 0, errors.New("mq: no session with the ensemble")
	}
	for {
		block := layout.ProducerIDBlock{Broker: a.b.cfg.BrokerID, Start: 0, End: producerIDBlock - 1}
		data, st, err := life.zk.Get(ctx, layout.ProducerIDPath)
		switch {
		case errors.Is(err, zk.ErrNoNode):
			_, err = life.zk.Create(ctx, layout.ProducerIDPath, layout.EncodeProducerIDBlock(block), zk.Persistent)
		case err == nil:
			last, derr := layout.DecodeProducerIDBlock(data)
			if derr != nil {
				return 0, derr
			}
			block.Start, block.End = last.End+1, last.End+producerIDBlock
			_, err = life.zk.Set(ctx, layout.ProducerIDPath, layout.EncodeProducerIDBlock(block), st.Version)
		}
		if err == nil {
			return block.Start, nil
		}
		if ctx.Err() != nil || life.zk.Err() != nil {
			return 0, err
		}
		pause(ctx, zkRetryPause)
	}
}

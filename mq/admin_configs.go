package mq

import (
	"context"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeTopicConfigs returns the configurations of a topic, in the broker's order. Error: ErrUnknownTopicOrPartition.
func (c *Client) DescribeTopicConfigs(ctx context.Context, topic string) ([]ConfigEntry, error) {
	return c.describeConfigs(ctx, kmsg.ConfigResourceTypeTopic, topic, func(build func() kmsg.Request) (kmsg.Response, error) {
		return c.requestAny(ctx, build)
	})
}

// DescribeBrokerConfigs returns the configurations of a broker.
func (c *Client) DescribeBrokerConfigs(ctx context.Context, broker int32) ([]ConfigEntry, error) {
	name := strconv.Itoa(int(broker))
	return c.describeConfigs(ctx, kmsg.ConfigResourceTypeBroker, name, func(build func() kmsg.Request) (kmsg.Response, error) {
		return c.requestBroker(ctx, broker, quickLane, build(), 0)
	})
}

func (c *Client) describeConfigs(ctx context.Context, kind kmsg.ConfigResourceType, name string, ask func(func() kmsg.Request) (kmsg.Response, error)) ([]ConfigEntry, error) {
	build := func() kmsg.Request {
		req := kmsg.NewPtrDescribeConfigsRequest()
		res := kmsg.NewDescribeConfigsRequestResource()
		res.ResourceType, res.ResourceName = kind, name
		req.Resources = append(req.Resources, res)
		return req
	}
	var entries []ConfigEntry
	err := c.retry(ctx, func() error {
		resp, err := ask(build)
		if err != nil {
			return err
		}
		entries = nil
		for _, r := range resp.(*kmsg.DescribeConfigsResponse).Resources {
			if err := codeError(r.ErrorCode); err != nil {
				return final(&OpError{Op: "describe configs of", Subject: name, Detail: deref(r.ErrorMessage), Err: err})
			}
			for _, e := range r.Configs {
				entries = append(entries, ConfigEntry{
					Name: e.Name, Value: deref(e.Value), IsNull: e.Value == nil, ReadOnly: e.ReadOnly, Sensitive: e.IsSensitive,
					Default: e.IsDefault || e.Source == kmsg.ConfigSourceDefaultConfig, Source: configSource(e.Source),
				})
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return entries, nil
}

func configSource(s kmsg.ConfigSource) string {
	switch s {
	case kmsg.ConfigSourceDynamicTopicConfig:
		return "DYNAMIC_TOPIC"
	case kmsg.ConfigSourceDynamicBrokerConfig:
		return "DYNAMIC_BROKER"
	case kmsg.ConfigSourceDynamicDefaultBrokerConfig:
		return "DYNAMIC_DEFAULT_BROKER"
	case kmsg.ConfigSourceStaticBrokerConfig:
		return "STATIC_BROKER"
	case kmsg.ConfigSourceDefaultConfig:
		return "DEFAULT"
	}
	return "UNKNOWN"
}

// AlterTopicConfigs changes configurations of a topic (KIP-339), all or none of them. Errors: ErrInvalidConfig, ErrUnknownTopicOrPartition.
func (c *Client) AlterTopicConfigs(ctx context.Context, topic string, changes ...ConfigChange) error {
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	res := kmsg.NewIncrementalAlterConfigsRequestResource()
	res.ResourceType, res.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	for _, ch := range changes {
		conf := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		conf.Name, conf.Op, conf.Value = ch.Name, kmsg.IncrementalAlterConfigOpSet, new(ch.Value)
		if ch.Delete {
			conf.Op, conf.Value = kmsg.IncrementalAlterConfigOpDelete, nil
		}
		res.Configs = append(res.Configs, conf)
	}
	req.Resources = append(req.Resources, res)
	return c.controllerChange(ctx, "alter configs", req, func(resp kmsg.Response) (errs []error) {
		for _, r := range resp.(*kmsg.IncrementalAlterConfigsResponse).Resources {
			if err := codeError(r.ErrorCode); err != nil {
				errs = append(errs, &OpError{Op: "alter configs of", Subject: r.ResourceName, Detail: deref(r.ErrorMessage), Err: err})
			}
		}
		return errs
	})
}

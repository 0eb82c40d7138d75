package mq_test

import (
	"context"
	"fmt"

	"github.com/vivarium-go/vivarium/mq"
)

func Example() {
	ctx := context.Background()
	cluster, err := mq.StartCluster(ctx, mq.ClusterConfig{}) // three brokers, three ZooKeeper servers, in memory
	if err != nil {
		panic(err)
	}
	defer cluster.Close()
	client, err := cluster.Connect(ctx) // or mq.Connect(ctx, mq.ClientConfig{Seeds: …}): any Kafka
	if err != nil {
		panic(err)
	}
	defer client.Close()
	err = client.CreateTopic(ctx, mq.TopicSpec{Name: "orders", Partitions: 6, Replicas: 3})
	fmt.Println("created:", err)
	producer, err := client.NewProducer(mq.ProducerConfig{}) // idempotent, acks=all
	fmt.Println("producer:", err)
	err = producer.SendSync(ctx, &mq.Record{Topic: "orders", Key: []byte("ann"), Value: []byte("one tea")})
	fmt.Println("sent:", err)
	consumer, err := client.NewConsumer(mq.ConsumerConfig{Group: "billing", Topics: []string{"orders"}})
	fmt.Println("consumer:", err)
	for record, err := range consumer.Records(ctx) {
		fmt.Printf("%s ordered %s (%v)\n", record.Key, record.Value, err)
		break
	}
	// Output:
	// created: <nil>
	// producer: <nil>
	// sent: <nil>
	// consumer: <nil>
	// ann ordered one tea (<nil>)
}

// Send does not wait; Flush does.
func ExampleProducer_Send() {
	ctx := context.Background()
	client, stop := start(ctx)
	defer stop()
	producer, err := client.NewProducer(mq.ProducerConfig{Compression: mq.CompressionZstd})
	if err != nil {
		panic(err)
	}
	written := 0
	for i := range 1000 {
		r := &mq.Record{Topic: "numbers", Value: fmt.Append(nil, i)}
		if err := producer.Send(ctx, r, func(_ *mq.Record, err error) {
			if err == nil {
				written++ // callbacks run one after the other
			}
		}); err != nil {
			panic(err)
		}
	}
	if err := producer.Shutdown(ctx); err != nil { // flushes first
		panic(err)
	}
	fmt.Println(written, "written")
	// Output: 1000 written
}

// Commit covers the records whose loop body has ended.
func ExampleConsumer_Commit() {
	ctx := context.Background()
	client, stop := start(ctx)
	defer stop()
	producer, err := client.NewProducer(mq.ProducerConfig{})
	if err != nil {
		panic(err)
	}
	for _, word := range []string{"one", "two", "three"} {
		if err := producer.SendSync(ctx, &mq.Record{Topic: "numbers", Key: []byte("k"), Value: []byte(word)}); err != nil {
			panic(err)
		}
	}
	for range 2 { // a member that leaves after two records, and one that comes after it
		consumer, err := client.NewConsumer(mq.ConsumerConfig{Group: "g", Topics: []string{"numbers"}})
		if err != nil {
			panic(err)
		}
		for r, err := range consumer.Records(ctx) {
			fmt.Println(string(r.Value), err)
			if string(r.Value) != "one" {
				break
			}
		}
		fmt.Println("committed:", consumer.Commit(ctx))
		consumer.Close()
	}
	// Output:
	// one <nil>
	// two <nil>
	// committed: <nil>
	// three <nil>
	// committed: <nil>
}

// start gives a cluster of one broker with the topic numbers, and a client.
func start(ctx context.Context) (*mq.Client, func()) {
	cluster, err := mq.StartCluster(ctx, mq.ClusterConfig{Brokers: 1, Servers: 1})
	if err != nil {
		panic(err)
	}
	client, err := cluster.Connect(ctx)
	if err != nil {
		panic(err)
	}
	if err := client.CreateTopic(ctx, mq.TopicSpec{Name: "numbers", Partitions: 1, Replicas: 1}); err != nil {
		panic(err)
	}
	return client, func() {
		client.Close()
		cluster.Close()
	}
}

package layout

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func testID(t testing.TB, s string) ID {
	id, err := ParseID(s)
	require.NoError(t, err)
	return id
}

// Golden values: what Apache Kafka 2.8 writes, and ours, byte for byte.
func TestEncode(t *testing.T) {
	id := testID(t, "yzCBLrNzQ_6jDLqZ-JcS8g")
	for _, c := range []struct {
		name, want string
		got        []byte
	}{
		{
			"broker", `{"version":5,"host":"127.0.0.1","port":9092,"endpoints":["PLAINTEXT://127.0.0.1:9092","INTERNAL://[::1]:9093"],` +
				`"listener_security_protocol_map":{"INTERNAL":"SSL","PLAINTEXT":"PLAINTEXT"},"rack":"r1","jmx_port":-1,"timestamp":"1600000000000","features":{},"incarnation":7}`,
			EncodeBroker(Broker{Rack: "r1", Timestamp: 1600000000000, Incarnation: 7, Endpoints: []Endpoint{
				{"PLAINTEXT", "127.0.0.1", 9092, "PLAINTEXT"}, {"INTERNAL", "::1", 9093, "SSL"},
			}}),
		},
		{
			"broker without plaintext", `{"version":5,"host":null,"port":-1,"endpoints":["SSL://h:1"],"listener_security_protocol_map":{"SSL":"SSL"},` +
				`"jmx_port":-1,"timestamp":"0","features":{}}`,
			EncodeBroker(Broker{Incarnation: NoIncarnation, Endpoints: []Endpoint{{"SSL", "h", 1, "SSL"}}}),
		},
		{"incarnation", `{"version":1,"directories":[{"id":"yzCBLrNzQ_6jDLqZ-JcS8g"}]}`, EncodeIncarnation(Incarnation{[]Directory{{id}}})},
		{"no directories", `{"version":1,"directories":[]}`, EncodeIncarnation(Incarnation{})},
		{
			"topic", `{"version":3,"topic_id":"yzCBLrNzQ_6jDLqZ-JcS8g","partitions":{"0":[1,2],"1":[2,1]},"adding_replicas":{},"removing_replicas":{"1":[1]}}`,
			EncodeTopic(Topic{ID: id, Replicas: [][]int32{{1, 2}, {2, 1}}, Removing: map[int32][]int32{1: {1}}}),
		},
		{"topic without id", `{"version":2,"partitions":{"0":[1]},"adding_replicas":{},"removing_replicas":{}}`, EncodeTopic(Topic{Replicas: [][]int32{{1}}})},
		{
			"state", `{"version":1,"controller_epoch":1,"leader":1,"leader_epoch":0,"isr":[1,2,3],"leader_incarnation":4}`,
			EncodeState(PartitionState{ControllerEpoch: 1, Leader: 1, ISR: []int32{1, 2, 3}, LeaderIncarnation: 4}),
		},
		{
			"offline", `{"version":1,"controller_epoch":1,"leader":-1,"leader_epoch":2,"isr":[1],"suspect":[1]}`,
			EncodeState(PartitionState{ControllerEpoch: 1, Leader: NoLeader, LeaderEpoch: 2, ISR: []int32{1}, LeaderIncarnation: NoIncarnation, Suspect: []int32{1}}),
		},
		{
			"controller", `{"version":1,"brokerid":1,"timestamp":"5","controller_epoch":2,"controller_epoch_zk_version":1}`,
			EncodeController(ControllerEntry{Broker: 1, Timestamp: 5, Epoch: 2, EpochVersion: 1}),
		},
		{"controller epoch", `7`, EncodeControllerEpoch(7)},
		{
			"tombstone", `{"version":1,"topic":"t","topic_id":"yzCBLrNzQ_6jDLqZ-JcS8g","partitions":{"0":[1,2]}}`,
			EncodeTombstone(Tombstone{Topic: "t", ID: id, Replicas: [][]int32{{1, 2}}}),
		},
		{"config", `{"version":1,"config":{"a":"<&>","retention.ms":"1000"}}`, EncodeConfig(map[string]string{"retention.ms": "1000", "a": "<&>"})},
		{"no config", `{"version":1,"config":{}}`, EncodeConfig(nil)},
		{"config change", `{"version":2,"entity_path":"topics/t"}`, EncodeConfigChange(ConfigChange{"topics/t"})},
		{"cluster id", `{"version":"1","id":"abc"}`, EncodeClusterID("abc")},
		{"producer ids", `{"version":1,"broker":1,"block_start":"0","block_end":"999"}`, EncodeProducerIDBlock(ProducerIDBlock{1, 0, 999})},
	} {
		require.Equal(t, c.want, string(c.got), c.name)
	}
}

// What Apache Kafka 2.7 and older, and its tools, write.
func TestDecodeOthers(t *testing.T) {
	b, err := DecodeBroker([]byte(`{"listener_security_protocol_map":{"PLAINTEXT":"PLAINTEXT"},"endpoints":["PLAINTEXT://host.name:9092"],"jmx_port":-1,"features":{},"host":"host.name","timestamp":"1600000000000","port":9092,"version":5,"tags":["x"]}`))
	require.NoError(t, err)
	require.Equal(t, Broker{Timestamp: 1600000000000, Incarnation: NoIncarnation, Endpoints: []Endpoint{{"PLAINTEXT", "host.name", 9092, "PLAINTEXT"}}}, b)
	b, err = DecodeBroker([]byte(`{"jmx_port":-1,"timestamp":1416974968782,"host":"localhost","version":1,"port":9092}`))
	require.NoError(t, err)
	require.Equal(t, []Endpoint{{"PLAINTEXT", "localhost", 9092, "PLAINTEXT"}}, b.Endpoints)
	b, err = DecodeBroker([]byte(`{"version":4,"endpoints":["CLIENT://:9092"],"host":null,"port":-1,"timestamp":"1","listener_security_protocol_map":{"CLIENT":"SASL_SSL"}}`))
	require.NoError(t, err)
	require.Equal(t, []Endpoint{{"CLIENT", "", 9092, "SASL_SSL"}}, b.Endpoints)

	topic, err := DecodeTopic([]byte(`{"version":1,"partitions":{"1":[2],"0":[1]}}`))
	require.NoError(t, err)
	require.Equal(t, Topic{Replicas: [][]int32{{1}, {2}}}, topic)

	s, err := DecodeState([]byte(`{"controller_epoch":1,"leader":1,"version":1,"leader_epoch":0,"isr":[1,2,3]}`))
	require.NoError(t, err)
	require.Equal(t, PartitionState{ControllerEpoch: 1, Leader: 1, ISR: []int32{1, 2, 3}, LeaderIncarnation: NoIncarnation}, s)

	c, err := DecodeController([]byte(`{"version":1,"brokerid":3,"timestamp":"1600000000000"}`))
	require.NoError(t, err)
	require.Equal(t, ControllerEntry{Broker: 3, Timestamp: 1600000000000, Epoch: -1, EpochVersion: -1}, c)

	ch, err := DecodeConfigChange([]byte(`{"version":1,"entity_type":"topics","entity_name":"t"}`))
	require.NoError(t, err)
	require.Equal(t, "topics/t", ch.EntityPath)

	config, err := DecodeConfig(nil)
	require.NoError(t, err)
	require.Empty(t, config)
}

func TestDecodeRefuses(t *testing.T) {
	for name, fn := range map[string]func([]byte) error{
		"broker":      func(b []byte) error { _, err := DecodeBroker(b); return err },
		"incarnation": func(b []byte) error { _, err := DecodeIncarnation(b); return err },
		"topic":       func(b []byte) error { _, err := DecodeTopic(b); return err },
		"state":       func(b []byte) error { _, err := DecodeState(b); return err },
		"controller":  func(b []byte) error { _, err := DecodeController(b); return err },
		"epoch":       func(b []byte) error { _, err := DecodeControllerEpoch(b); return err },
		"tombstone":   func(b []byte) error { _, err := DecodeTombstone(b); return err },
		"config":      func(b []byte) error { _, err := DecodeConfig(append(b, ' ')); return err },
		"change":      func(b []byte) error { _, err := DecodeConfigChange(b); return err },
		"cluster":     func(b []byte) error { _, err := DecodeClusterID(b); return err },
		"producer":    func(b []byte) error { _, err := DecodeProducerIDBlock(b); return err },
	} {
		for _, bad := range []string{"", "null x", "[]", `"a"`, "{", "\x00"} {
			require.Error(t, fn([]byte(bad)), "%s of %q", name, bad)
		}
	}
	for _, bad := range []string{
		`{"version":3,"partitions":{"0":[1,1]}}`, `{"version":3,"partitions":{"0":[-1]}}`, `{"version":3,"partitions":{"2":[1]}}`,
		`{"version":3,"partitions":{"00":[1]}}`, `{"version":3,"topic_id":"short","partitions":{}}`, `{"partitions":{"0":[1]}}`,
		`{"version":3,"partitions":{"999999999":[1]}}`,
	} {
		_, err := DecodeTopic([]byte(bad))
		require.Error(t, err, bad)
	}
	for _, bad := range []string{`{"version":5,"endpoints":["nothing"]}`, `{"version":5,"endpoints":["A://h:99999"]}`} {
		_, err := DecodeBroker([]byte(bad))
		require.Error(t, err, bad)
	}
	_, err := DecodeControllerEpoch([]byte("-3"))
	require.ErrorContains(t, err, `controller epoch "-3"`)
}

func TestPaths(t *testing.T) {
	id := testID(t, "yzCBLrNzQ_6jDLqZ-JcS8g")
	for path, want := range map[string]Ref{
		ControllerPath:                             {Kind: KindController},
		ControllerEpochPath:                        {Kind: KindControllerEpoch},
		ClusterIDPath:                              {Kind: KindClusterID},
		ProducerIDPath:                             {Kind: KindProducerID},
		BrokerPath(12):                             {Kind: KindBroker, Broker: 12},
		IncarnationPath(0):                         {Kind: KindIncarnation},
		TopicPath("t.x"):                           {Kind: KindTopic, Topic: "t.x"},
		TopicMarkPath("t", id):                     {Kind: KindTopicMark, Topic: "t", ID: id},
		PartitionsPath("t"):                        {Kind: KindPartitions, Topic: "t"},
		PartitionPath("t", 3):                      {Kind: KindPartition, Topic: "t", Partition: 3},
		StatePath("t", 2147483647):                 {Kind: KindState, Topic: "t", Partition: 2147483647},
		TombstonePath(id):                          {Kind: KindTombstone, ID: id},
		TombstoneConfirmPath(id, 2):                {Kind: KindTombstoneConfirm, ID: id, Broker: 2},
		DeleteTopicPath("t"):                       {Kind: KindDeleteTopic, Topic: "t"},
		TopicConfigPath("t"):                       {Kind: KindTopicConfig, Topic: "t"},
		BrokerConfigPath(DefaultEntity):            {Kind: KindBrokerConfig, Entity: DefaultEntity},
		ConfigChangePrefix + "0000000001":          {Kind: KindConfigChange, Entity: "config_change_0000000001"},
		"/":                                        {},
		"/brokers/ids":                             {},
		"/brokers/ids/":                            {},
		"/brokers/ids/01":                          {},
		"/brokers/ids/x":                           {},
		"/brokers/ids/1/x":                         {},
		"/brokers/topics/":                         {},
		"/brokers/topics/t/partitions/0/state/x":   {},
		"/brokers/topics/t/partitions/2147483648":  {},
		"/brokers/topics/t/other":                  {},
		"/brokers/topics/t/id-nothing":             {},
		"/brokers/tombstones/x":                    {},
		"/brokers/idsx/1":                          {},
		"/config/topics/a/b":                       {},
		"/brokers/topics/t/partitions/99999999999": {},
	} {
		require.Equal(t, want, ParsePath(path), path)
	}
	for i, p := range RootPaths() {
		up := p[:strings.LastIndexByte(p, '/')]
		require.True(t, up == "" || strings.Contains(strings.Join(RootPaths()[:i], " ")+" ", up+" "), "%s comes before its parent", p)
	}
	path := StatePath("orders", 17)
	require.Zero(t, testing.AllocsPerRun(100, func() { ParsePath(path) }))
}

func TestID(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	seen := map[ID]bool{}
	for range 2000 {
		id := NewID(rng)
		require.False(t, seen[id] || id.IsZero())
		seen[id] = true
		require.NotEqual(t, byte('-'), id.String()[0])
		require.Equal(t, id, testID(t, id.String()))
	}
	for _, bad := range []string{"", "AAAAAAAAAAAAAAAAAAAAAA=", "AAAAAAAAAAAAAAAAAAAAA!", "AAAAAAAAAAAAAAAAAAAAAB"} {
		_, err := ParseID(bad)
		require.Error(t, err, bad)
	}
}

// Whatever a decoder takes, its encoder writes back, and both never panic.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"version":5,"host":"h","port":1,"endpoints":["A://h:1"],"listener_security_protocol_map":{"A":"SSL"},"timestamp":"1","incarnation":3}`,
		`{"version":3,"topic_id":"yzCBLrNzQ_6jDLqZ-JcS8g","partitions":{"0":[1,2]},"adding_replicas":{"0":[1]},"removing_replicas":{}}`,
		`{"version":1,"controller_epoch":1,"leader":1,"leader_epoch":0,"isr":[1,2,3],"leader_incarnation":4,"suspect":[2]}`,
		`{"version":1,"brokerid":1,"timestamp":"5","controller_epoch":2,"controller_epoch_zk_version":1}`, `7`,
		`{"version":1,"topic":"t","topic_id":"yzCBLrNzQ_6jDLqZ-JcS8g","partitions":{"0":[1,2]}}`, `{"version":1,"config":{"a":"b"}}`,
		`{"version":2,"entity_path":"topics/t"}`, `{"version":"1","id":"abc"}`, `{"version":1,"broker":1,"block_start":"0","block_end":"999"}`,
		`{"version":1,"directories":[{"id":"yzCBLrNzQ_6jDLqZ-JcS8g"}]}`,
		`{"version":1,"host":"h","port":1}`, `{"version":1,"host":"h","port":65536}`, `{"version":1,"host":"[::1","port":1}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		again(t, b, DecodeBroker, EncodeBroker)
		again(t, b, DecodeIncarnation, EncodeIncarnation)
		again(t, b, DecodeTopic, EncodeTopic)
		again(t, b, DecodeState, EncodeState)
		again(t, b, DecodeController, EncodeController)
		again(t, b, DecodeControllerEpoch, EncodeControllerEpoch)
		again(t, b, DecodeTombstone, EncodeTombstone)
		again(t, b, DecodeConfig, EncodeConfig)
		again(t, b, DecodeConfigChange, EncodeConfigChange)
		again(t, b, DecodeClusterID, EncodeClusterID)
		again(t, b, DecodeProducerIDBlock, EncodeProducerIDBlock)
		ParsePath(string(b))
	})
}

func again[T any](t *testing.T, b []byte, decode func([]byte) (T, error), encode func(T) []byte) {
	v, err := decode(b)
	if err != nil {
		return
	}
	once := encode(v)
	w, err := decode(once)
	require.NoError(t, err, "%s", once)
	require.Equal(t, string(once), string(encode(w)))
}

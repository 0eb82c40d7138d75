package layout

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// errUnversioned answers a value that Kafka's decoders would not take for one either.
var errUnversioned = errors.New("has no version")

type brokerJSON struct {
	Version     int               `json:"version"`
	Host        *string           `json:"host"`
	Port        int32             `json:"port"`
	Endpoints   []string          `json:"endpoints,omitempty"`
	Protocols   map[string]string `json:"listener_security_protocol_map,omitempty"`
	Rack        string            `json:"rack,omitempty"`
	JMXPort     int32             `json:"jmx_port"`
	Timestamp   string            `json:"timestamp"`
	Features    struct{}          `json:"features"`
	Incarnation *int64            `json:"incarnation,omitempty"`
}

// EncodeBroker returns the value of /brokers/ids/N, version 5.
func EncodeBroker(b Broker) []byte {
	v := brokerJSON{Version: 5, Port: -1, JMXPort: -1, Timestamp: strconv.FormatInt(b.Timestamp, 10), Rack: b.Rack}
	v.Protocols = make(map[string]string, len(b.Endpoints))
	for _, e := range b.Endpoints {
		if v.Host == nil && e.Protocol == "PLAINTEXT" {
			v.Host, v.Port = &e.Host, e.Port
		}
		v.Endpoints = append(v.Endpoints, e.Listener+"://"+joinHostPort(e.Host, e.Port))
		v.Protocols[e.Listener] = e.Protocol
	}
	if b.Incarnation >= 0 {
		v.Incarnation = &b.Incarnation
	}
	return marshal(v)
}

// DecodeBroker reads the value of /brokers/ids/N, any version.
func DecodeBroker(data []byte) (Broker, error) {
	var v struct {
		brokerJSON
		Timestamp any `json:"timestamp"` // a string, or a number from other writers
		Features  any `json:"features"`
	}
	if err := unmarshal("broker", data, &v); err != nil {
		return Broker{}, err
	}
	if v.Version < 1 {
		return Broker{}, decodeError("broker", data, errUnversioned)
	}
	b := Broker{Rack: v.Rack, Incarnation: NoIncarnation, Timestamp: looseInt(v.Timestamp)}
	if v.Incarnation != nil && *v.Incarnation >= 0 && *v.Incarnation <= math.MaxInt32 {
		b.Incarnation = *v.Incarnation
	}
	for _, text := range v.Endpoints {
		e, err := parseEndpoint(text)
		if err != nil {
			return Broker{}, decodeError("broker", data, err)
		}
		if e.Protocol = v.Protocols[e.Listener]; e.Protocol == "" {
			e.Protocol = e.Listener
		}
		b.Endpoints = append(b.Endpoints, e)
	}
	if len(b.Endpoints) == 0 && v.Host != nil {
		if v.Port < 0 || v.Port > math.MaxUint16 {
			return Broker{}, decodeError("broker", data, fmt.Errorf("port %d of host %q is none", v.Port, *v.Host))
		}
		b.Endpoints = []Endpoint{{Listener: "PLAINTEXT", Host: *v.Host, Port: v.Port, Protocol: "PLAINTEXT"}}
	}
	return b, nil
}

func joinHostPort(host string, port int32) string {
	if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
		host = "[" + host + "]"
	}
	return host + ":" + itoa(port)
}

func parseEndpoint(text string) (Endpoint, error) {
	listener, rest, ok := strings.Cut(text, "://")
	i := strings.LastIndexByte(rest, ':')
	if !ok || i < 0 {
		return Endpoint{}, fmt.Errorf("endpoint %q is not LISTENER://host:port", text)
	}
	port, ok := atoi(rest[i+1:])
	if !ok || port > math.MaxUint16 {
		return Endpoint{}, fmt.Errorf("endpoint %q has no port", text)
	}
	host := rest[:i]
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	return Endpoint{Listener: listener, Host: host, Port: port}, nil
}

// looseInt reads a number that some writers put in quotes; 0 if it is none.
func looseInt(v any) int64 {
	switch v := v.(type) {
	case string:
		n, _ := strconv.ParseInt(v, 10, 64)
		return n
	case float64:
		if v >= -1<<53 && v <= 1<<53 {
			return int64(v)
		}
	}
	return 0
}

type incarnationJSON struct {
	Version     int         `json:"version"`
	Directories []Directory `json:"directories"`
}

// EncodeIncarnation returns the value of /brokers/incarnations/N.
func EncodeIncarnation(v Incarnation) []byte {
	d := v.Directories
	if d == nil {
		d = []Directory{}
	}
	return marshal(incarnationJSON{Version: 1, Directories: d})
}

// DecodeIncarnation reads the value of /brokers/incarnations/N.
func DecodeIncarnation(data []byte) (Incarnation, error) {
	var v incarnationJSON
	if err := unmarshal("incarnation", data, &v); err != nil {
		return Incarnation{}, err
	}
	if v.Version < 1 {
		return Incarnation{}, decodeError("incarnation", data, errUnversioned)
	}
	return Incarnation{Directories: v.Directories}, nil
}

type topicJSON struct {
	Version    int                `json:"version"`
	TopicID    string             `json:"topic_id,omitempty"`
	Partitions map[string][]int32 `json:"partitions"`
	Adding     map[string][]int32 `json:"adding_replicas"`
	Removing   map[string][]int32 `json:"removing_replicas"`
}

// EncodeTopic returns the value of /brokers/topics/T: version 3, or 2 for a topic without an id.
func EncodeTopic(t Topic) []byte {
	v := topicJSON{Version: 3, TopicID: t.ID.String()}
	if t.ID.IsZero() {
		v.Version, v.TopicID = 2, ""
	}
	v.Partitions, v.Adding, v.Removing = byName(t.Replicas), byNumber(t.Adding), byNumber(t.Removing)
	return marshal(v)
}

// DecodeTopic reads the value of /brokers/topics/T, versions 1 to 3. Partitions must be numbered from 0 without a gap.
func DecodeTopic(data []byte) (Topic, error) {
	var v topicJSON
	if err := unmarshal("topic", data, &v); err != nil {
		return Topic{}, err
	}
	if v.Version < 1 {
		return Topic{}, decodeError("topic", data, errUnversioned)
	}
	var t Topic
	var err error
	if v.TopicID != "" {
		if t.ID, err = ParseID(v.TopicID); err != nil {
			return Topic{}, decodeError("topic", data, err)
		}
	}
	if t.Replicas, err = fromNames(v.Partitions); err != nil {
		return Topic{}, decodeError("topic", data, err)
	}
	if t.Adding, err = fromNumbers(v.Adding); err != nil {
		return Topic{}, decodeError("topic", data, err)
	}
	if t.Removing, err = fromNumbers(v.Removing); err != nil {
		return Topic{}, decodeError("topic", data, err)
	}
	return t, nil
}

func byName(replicas [][]int32) map[string][]int32 {
	m := make(map[string][]int32, len(replicas))
	for p, r := range replicas {
		m[strconv.Itoa(p)] = slices.Concat([]int32{}, r)
	}
	return m
}

func byNumber(replicas map[int32][]int32) map[string][]int32 {
	m := make(map[string][]int32, len(replicas))
	for p, r := range replicas {
		m[itoa(p)] = slices.Concat([]int32{}, r)
	}
	return m
}

func fromNames(m map[string][]int32) ([][]int32, error) {
	all := make([][]int32, len(m))
	for p := range all {
		r, ok := m[strconv.Itoa(p)]
		if !ok {
			return nil, fmt.Errorf("partition %d of %d is missing", p, len(m))
		}
		if err := checkReplicas(r); err != nil {
			return nil, fmt.Errorf("partition %d: %w", p, err)
		}
		all[p] = r
	}
	return all, nil
}

func fromNumbers(m map[string][]int32) (map[int32][]int32, error) {
	if len(m) == 0 {
		return nil, nil
	}
	all := make(map[int32][]int32, len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		p, ok := atoi(name)
		if !ok {
			return nil, fmt.Errorf("partition %.20q is no number", name)
		}
		all[p] = m[name]
	}
	return all, nil
}

// checkReplicas refuses a replica set that names a broker twice or names none that can exist.
func checkReplicas(r []int32) error {
	for i, b := range r {
		if b < 0 || slices.Contains(r[:i], b) {
			return fmt.Errorf("replicas %v are not distinct brokers", r)
		}
	}
	return nil
}

type stateJSON struct {
	Version           int     `json:"version"`
	ControllerEpoch   int32   `json:"controller_epoch"`
	Leader            *int32  `json:"leader"`
	LeaderEpoch       int32   `json:"leader_epoch"`
	ISR               []int32 `json:"isr"`
	LeaderIncarnation *int64  `json:"leader_incarnation,omitempty"`
	Suspect           []int32 `json:"suspect,omitempty"`
}

// EncodeState returns the value of a partition's state.
func EncodeState(s PartitionState) []byte {
	v := stateJSON{
		Version: 1, ControllerEpoch: s.ControllerEpoch, Leader: &s.Leader, LeaderEpoch: s.LeaderEpoch,
		ISR: slices.Concat([]int32{}, s.ISR), Suspect: s.Suspect,
	}
	if s.LeaderIncarnation >= 0 {
		v.LeaderIncarnation = &s.LeaderIncarnation
	}
	return marshal(v)
}

// DecodeState reads the value of a partition's state. A state of Apache Kafka has no leader incarnation: NoIncarnation.
func DecodeState(data []byte) (PartitionState, error) {
	var v stateJSON
	if err := unmarshal("partition state", data, &v); err != nil {
		return PartitionState{}, err
	}
	if v.Version < 1 || v.Leader == nil {
		return PartitionState{}, decodeError("partition state", data, errUnversioned)
	}
	if err := checkReplicas(v.ISR); err != nil {
		return PartitionState{}, decodeError("partition state", data, err)
	}
	s := PartitionState{
		ControllerEpoch: v.ControllerEpoch, Leader: *v.Leader, LeaderEpoch: v.LeaderEpoch, ISR: v.ISR,
		LeaderIncarnation: NoIncarnation, Suspect: v.Suspect,
	}
	if v.LeaderIncarnation != nil && *v.LeaderIncarnation >= 0 && *v.LeaderIncarnation <= math.MaxInt32 {
		s.LeaderIncarnation = *v.LeaderIncarnation
	}
	return s, nil
}

type controllerJSON struct {
	Version      int    `json:"version"`
	Broker       *int32 `json:"brokerid"`
	Timestamp    string `json:"timestamp"`
	Epoch        *int32 `json:"controller_epoch,omitempty"`
	EpochVersion *int32 `json:"controller_epoch_zk_version,omitempty"`
}

// EncodeController returns the value of /controller.
func EncodeController(c ControllerEntry) []byte {
	v := controllerJSON{Version: 1, Broker: &c.Broker, Timestamp: strconv.FormatInt(c.Timestamp, 10)}
	if c.Epoch >= 0 && c.EpochVersion >= 0 {
		v.Epoch, v.EpochVersion = &c.Epoch, &c.EpochVersion
	}
	return marshal(v)
}

// DecodeController reads the value of /controller.
func DecodeController(data []byte) (ControllerEntry, error) {
	var v struct {
		controllerJSON
		Timestamp any `json:"timestamp"`
	}
	if err := unmarshal("controller", data, &v); err != nil {
		return ControllerEntry{}, err
	}
	if v.Broker == nil {
		return ControllerEntry{}, decodeError("controller", data, errors.New("has no brokerid"))
	}
	c := ControllerEntry{Broker: *v.Broker, Timestamp: looseInt(v.Timestamp), Epoch: -1, EpochVersion: -1}
	if v.Epoch != nil && v.EpochVersion != nil && *v.Epoch >= 0 && *v.EpochVersion >= 0 {
		c.Epoch, c.EpochVersion = *v.Epoch, *v.EpochVersion
	}
	return c, nil
}

type tombstoneJSON struct {
	Version  int                `json:"version"`
	Topic    string             `json:"topic"`
	TopicID  ID                 `json:"topic_id"`
	Replicas map[string][]int32 `json:"partitions"`
}

// EncodeTombstone returns the value of /brokers/tombstones/ID.
func EncodeTombstone(t Tombstone) []byte {
	return marshal(tombstoneJSON{Version: 1, Topic: t.Topic, TopicID: t.ID, Replicas: byName(t.Replicas)})
}

// DecodeTombstone reads the value of /brokers/tombstones/ID.
func DecodeTombstone(data []byte) (Tombstone, error) {
	var v tombstoneJSON
	if err := unmarshal("tombstone", data, &v); err != nil {
		return Tombstone{}, err
	}
	if v.Version < 1 || v.TopicID.IsZero() {
		return Tombstone{}, decodeError("tombstone", data, errUnversioned)
	}
	r, err := fromNames(v.Replicas)
	if err != nil {
		return Tombstone{}, decodeError("tombstone", data, err)
	}
	return Tombstone{Topic: v.Topic, ID: v.TopicID, Replicas: r}, nil
}

type configJSON struct {
	Version int               `json:"version"`
	Config  map[string]string `json:"config"`
}

// EncodeConfig returns the value of /config/topics/T and its like.
func EncodeConfig(config map[string]string) []byte {
	if config == nil {
		config = map[string]string{}
	}
	return marshal(configJSON{Version: 1, Config: config})
}

// DecodeConfig reads the value of /config/topics/T and its like. The map is never nil.
func DecodeConfig(data []byte) (map[string]string, error) {
	if len(data) == 0 {
		return map[string]string{}, nil
	}
	var v configJSON
	if err := unmarshal("configuration", data, &v); err != nil {
		return nil, err
	}
	if v.Config == nil {
		v.Config = map[string]string{}
	}
	return v.Config, nil
}

// EncodeConfigChange returns the value of a /config/changes znode, version 2.
func EncodeConfigChange(c ConfigChange) []byte {
	return marshal(struct {
		Version    int    `json:"version"`
		EntityPath string `json:"entity_path"`
	}{2, c.EntityPath})
}

// DecodeConfigChange reads the value of a /config/changes znode, versions 1 and 2.
func DecodeConfigChange(data []byte) (ConfigChange, error) {
	var v struct {
		Version    int    `json:"version"`
		EntityPath string `json:"entity_path"`
		EntityType string `json:"entity_type"`
		EntityName string `json:"entity_name"`
	}
	if err := unmarshal("configuration change", data, &v); err != nil {
		return ConfigChange{}, err
	}
	switch {
	case v.Version == 1 && v.EntityType != "":
		return ConfigChange{EntityPath: v.EntityType + "/" + v.EntityName}, nil
	case v.Version == 2 && v.EntityPath != "":
		return ConfigChange{EntityPath: v.EntityPath}, nil
	}
	return ConfigChange{}, decodeError("configuration change", data, errUnversioned)
}

// EncodeClusterID returns the value of /cluster/id.
func EncodeClusterID(id string) []byte {
	return marshal(struct {
		Version string `json:"version"`
		ID      string `json:"id"`
	}{"1", id})
}

// DecodeClusterID reads the value of /cluster/id. The id is text: Kafka before 2.8 took any.
func DecodeClusterID(data []byte) (string, error) {
	var v struct {
		ID string `json:"id"`
	}
	if err := unmarshal("cluster id", data, &v); err != nil {
		return "", err
	}
	if v.ID == "" {
		return "", decodeError("cluster id", data, errors.New("has no id"))
	}
	return v.ID, nil
}

type producerIDJSON struct {
	Version int    `json:"version"`
	Broker  int32  `json:"broker"`
	Start   string `json:"block_start"`
	End     string `json:"block_end"`
}

// EncodeProducerIDBlock returns the value of /latest_producer_id_block.
func EncodeProducerIDBlock(b ProducerIDBlock) []byte {
	return marshal(producerIDJSON{1, b.Broker, strconv.FormatInt(b.Start, 10), strconv.FormatInt(b.End, 10)})
}

// DecodeProducerIDBlock reads the value of /latest_producer_id_block.
func DecodeProducerIDBlock(data []byte) (ProducerIDBlock, error) {
	var v producerIDJSON
	if err := unmarshal("producer id block", data, &v); err != nil {
		return ProducerIDBlock{}, err
	}
	start, err1 := strconv.ParseInt(v.Start, 10, 64)
	end, err2 := strconv.ParseInt(v.End, 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return ProducerIDBlock{}, decodeError("producer id block", data, err)
	}
	if start < 0 || end < start {
		return ProducerIDBlock{}, decodeError("producer id block", data, errors.New("ends before it starts"))
	}
	return ProducerIDBlock{Broker: v.Broker, Start: start, End: end}, nil
}

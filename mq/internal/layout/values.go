package layout

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

const (
	// NoLeader is the leader of a partition that has none.
	NoLeader int32 = -1
	// NoIncarnation is the incarnation of a registration that does not name one: Apache Kafka's.
	NoIncarnation int64 = -1
)

// Endpoint is one address at which a broker listens.
type Endpoint struct {
	Listener string // the listener's name: PLAINTEXT, INTERNAL
	Host     string
	Port     int32
	Protocol string // the security protocol: PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL
}

// Broker is the registration of a live broker, /brokers/ids/N.
type Broker struct {
	Endpoints   []Endpoint // the first one is also written in the old host and port fields, if its protocol is PLAINTEXT
	Rack        string     // empty: none
	Timestamp   int64      // milliseconds since 1970
	Incarnation int64      // data version of /brokers/incarnations/N after the multi that registered; NoIncarnation: unknown
}

// Directory is a data directory of a broker.
type Directory struct {
	ID ID `json:"id"`
}

// Incarnation is the value of /brokers/incarnations/N. The incarnation itself is the znode's data version, an int64
// everywhere else: only registering writes this znode, so the version grows with each life of the broker.
type Incarnation struct {
	Directories []Directory // as they were when the broker last finished rejoining
}

// Topic is the value of /brokers/topics/T.
type Topic struct {
	ID       ID                // zero: written by Apache Kafka before 2.8
	Replicas [][]int32         // by partition; the first replica is the preferred leader
	Adding   map[int32][]int32 // by partition: replicas that a reassignment adds
	Removing map[int32][]int32 // by partition: replicas that a reassignment removes
}

// PartitionState is the value of /brokers/topics/T/partitions/P/state.
type PartitionState struct {
	ControllerEpoch int32
	Leader          int32 // NoLeader: offline
	LeaderEpoch     int32 // grows by one with each election
	ISR             []int32
	// LeaderIncarnation is the life of the leader that was elected. A broker leads only in the life it was elected in: one
	// that comes back with its epoch unchanged would write other records under the epoch of those it lost.
	LeaderIncarnation int64
	// Suspect are members of the ISR whose data is not what it was when they joined: an unclean start without fsync, another
	// data directory. None of them is elected unless a person says so.
	Suspect []int32
}

// Clone returns a copy that shares nothing with s.
func (s PartitionState) Clone() PartitionState {
	s.ISR, s.Suspect = slices.Clone(s.ISR), slices.Clone(s.Suspect)
	return s
}

// Equal reports whether both states say the same.
func (s PartitionState) Equal(o PartitionState) bool {
	return s.ControllerEpoch == o.ControllerEpoch && s.Leader == o.Leader && s.LeaderEpoch == o.LeaderEpoch &&
		s.LeaderIncarnation == o.LeaderIncarnation && slices.Equal(s.ISR, o.ISR) && slices.Equal(s.Suspect, o.Suspect)
}

// ControllerEntry is the value of /controller.
type ControllerEntry struct {
	Broker    int32
	Timestamp int64 // milliseconds since 1970
	// Epoch and EpochVersion are the value and the data version that /controller_epoch got in the same multi: what the
	// controller's writes check. Both are -1 in an entry of Apache Kafka.
	Epoch        int32
	EpochVersion int32
}

// Tombstone is the value of /brokers/tombstones/ID.
type Tombstone struct {
	Topic    string
	ID       ID
	Replicas [][]int32 // by partition, as last assigned
}

// Brokers returns every broker that must confirm, ascending.
func (t Tombstone) Brokers() []int32 {
	var all []int32
	for _, r := range t.Replicas {
		all = append(all, r...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// ProducerIDBlock is the value of /latest_producer_id_block: the block last handed out, ends included.
type ProducerIDBlock struct {
	Broker int32
	Start  int64
	End    int64
}

// ConfigChange is the value of a /config/changes znode.
type ConfigChange struct {
	EntityPath string // topics/T, brokers/1
}

// decodeError says which kind of znode could not be read, and why.
func decodeError(what string, data []byte, err error) error {
	return fmt.Errorf("layout: %s %.80q: %w", what, data, err)
}

// unmarshal reads one JSON value and nothing behind it.
func unmarshal(what string, data []byte, v any) error {
	if err := json.Unmarshal(data, v); err != nil {
		return decodeError(what, data, err)
	}
	return nil
}

// marshal writes v in the order of its fields, without escaping what only HTML minds. Values of this package always encode.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// EncodeControllerEpoch returns the value of /controller_epoch.
func EncodeControllerEpoch(epoch int32) []byte { return strconv.AppendInt(nil, int64(epoch), 10) }

// DecodeControllerEpoch reads the value of /controller_epoch.
func DecodeControllerEpoch(data []byte) (int32, error) {
	n, err := strconv.ParseInt(string(data), 10, 32)
	if err != nil || n < 0 {
		return 0, decodeError("controller epoch", data, fmt.Errorf("not a number that fits"))
	}
	return int32(n), nil
}

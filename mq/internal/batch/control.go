package batch

import (
	"encoding/binary"
	"fmt"
)

// ControlType is the kind of a transaction marker.
type ControlType int16

// The markers that end a transaction.
const (
	Abort  ControlType = 0
	Commit ControlType = 1
)

// Marker is a transaction marker.
type Marker struct {
	Type             ControlType
	CoordinatorEpoch int32
	Timestamp        int64 // milliseconds
}

// AppendMarker appends to dst a control batch holding m, with the offset, leader
// epoch and producer of s (its BaseSequence is not used: a marker has none).
// Key: version int16, type int16; value: version int16, coordinator epoch int32.
func AppendMarker(dst []byte, s Spec, m Marker) []byte {
	var key [4]byte
	var value [6]byte
	binary.BigEndian.PutUint16(key[2:], uint16(m.Type))
	binary.BigEndian.PutUint32(value[2:], uint32(m.CoordinatorEpoch))
	at := len(dst)
	dst = append(dst, make([]byte, HeaderLen)...)
	dst = appendRecord(dst, 0, 0, key[:], value[:], nil)
	h := Header{
		BaseOffset: s.BaseOffset, LeaderEpoch: s.LeaderEpoch, Attributes: Transactional | Control,
		BaseTimestamp: m.Timestamp, MaxTimestamp: m.Timestamp,
		ProducerID: s.ProducerID, ProducerEpoch: s.ProducerEpoch, BaseSequence: NoSequence, Count: 1,
	}
	h.put(dst[at:])
	return dst
}

// ParseMarker reads the marker in the control batch b with header h.
func ParseMarker(h Header, b []byte) (Marker, error) {
	r := NewReader(h, Section(b))
	if !h.IsControl() || h.Codec() != None || h.Count != 1 || !r.Next() {
		return Marker{}, fmt.Errorf("%w: not a control batch of one record at offset %d", ErrCorrupt, h.BaseOffset)
	}
	rec := r.Record()
	if len(rec.Key) < 4 || len(rec.Value) < 6 {
		return Marker{}, fmt.Errorf("%w: control record with a key of %d and a value of %d bytes at offset %d",
			ErrCorrupt, len(rec.Key), len(rec.Value), h.BaseOffset)
	}
	return Marker{
		Type:             ControlType(binary.BigEndian.Uint16(rec.Key[2:])),
		CoordinatorEpoch: int32(binary.BigEndian.Uint32(rec.Value[2:])),
		Timestamp:        rec.Timestamp,
	}, nil
}

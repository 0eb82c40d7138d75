package api

import "encoding/binary"

// fetchWriter writes a Fetch response by hand, so that records go straight from the log into the answer. Versions 4 to 15:
//
//	throttle int32
//	error code int16, session id int32                                     version 7 and later
//	topics: name, or id from version 13; partitions:
//	    index int32, error int16, high watermark int64, last stable offset int64
//	    log start offset int64                                             version 5 and later
//	    aborted transactions (null)
//	    preferred read replica int32                                       version 11 and later
//	    records
//	    tags: 0 = diverging epoch (epoch int32, end offset int64)          version 12 and later, which are flexible
type fetchWriter struct {
	b       []byte
	version int16
}

func (w *fetchWriter) flexible() bool { return w.version >= 12 }

// count writes the length of an array.
func (w *fetchWriter) count(n int) {
	if w.flexible() {
		w.b = binary.AppendUvarint(w.b, uint64(n)+1)
	} else {
		w.b = binary.BigEndian.AppendUint32(w.b, uint32(n))
	}
}

// tags ends a structure that has no tagged fields.
func (w *fetchWriter) tags() {
	if w.flexible() {
		w.b = append(w.b, 0)
	}
}

// header begins the response.
func (w *fetchWriter) header(topics int) {
	w.b = binary.BigEndian.AppendUint32(w.b, 0)
	if w.version >= 7 {
		w.b = append(w.b, 0, 0, 0, 0, 0, 0) // no error, no session
	}
	w.count(topics)
}

// topic begins a topic.
func (w *fetchWriter) topic(name string, id [16]byte, partitions int) {
	switch {
	case w.version >= 13:
		w.b = append(w.b, id[:]...)
	case w.flexible():
		w.b = binary.AppendUvarint(w.b, uint64(len(name))+1)
		w.b = append(w.b, name...)
	default:
		w.b = binary.BigEndian.AppendUint16(w.b, uint16(len(name)))
		w.b = append(w.b, name...)
	}
	w.count(partitions)
}

// partition writes one partition with its records, at most room bytes of them, and returns how many bytes; first says that
// nothing was read for the request before, so that one batch may be longer than allowed. bad: it has an error or diverges.
func (w *fetchWriter) partition(part *fetchPart, index int32, room int, first bool) (n int, bad bool) {
	// Everything before the records has the same length whatever it says, so it is written after them.
	at := len(w.b)
	w.b = append(w.b, make([]byte, w.fixedBytes())...)
	start := len(w.b)
	res := ReadResult{Code: part.code, HighWatermark: -1, LastStable: -1, LogStart: -1, DivergingEpoch: -1}
	if part.p != nil {
		r := part.read
		r.MaxBytes = min(r.MaxBytes, room)
		r.Whole = first
		if room <= 0 && !first {
			r.MaxBytes = 0
		}
		w.b, res = part.p.Read(w.b, &r)
	}
	n = len(w.b) - start
	w.fixed(w.b[at:start], index, &res, n)
	if !w.flexible() {
		return n, res.Code != None
	}
	if res.DivergingEpoch < 0 {
		w.b = append(w.b, 0)
		return n, res.Code != None
	}
	w.b = append(w.b, 1, 0, 4+8+1) // one tag: number 0, its size, then the structure with no tags of its own
	w.b = binary.BigEndian.AppendUint32(w.b, uint32(res.DivergingEpoch))
	w.b = binary.BigEndian.AppendUint64(w.b, uint64(res.DivergingEnd))
	w.b = append(w.b, 0)
	return n, true
}

// lengthBytes is the width of a compact length that is written before it is known: a varint padded with empty groups.
const lengthBytes = 5

// fixedBytes is the size of a partition before its records.
func (w *fetchWriter) fixedBytes() int {
	n := 4 + 2 + 8 + 8
	if w.version >= 5 {
		n += 8
	}
	if w.version >= 11 {
		n += 4
	}
	if w.flexible() {
		return n + 1 + lengthBytes
	}
	return n + 4 + 4
}

// fixed writes a partition's fields before its n bytes of records.
func (w *fetchWriter) fixed(b []byte, index int32, res *ReadResult, n int) {
	be := binary.BigEndian
	be.PutUint32(b, uint32(index))
	be.PutUint16(b[4:], uint16(res.Code))
	be.PutUint64(b[6:], uint64(res.HighWatermark))
	be.PutUint64(b[14:], uint64(res.LastStable))
	b = b[22:]
	if w.version >= 5 {
		be.PutUint64(b, uint64(res.LogStart))
		b = b[8:]
	}
	if w.flexible() { // aborted transactions: null
		b[0] = 0
		b = b[1:]
	} else {
		be.PutUint32(b, 1<<32-1)
		b = b[4:]
	}
	if w.version >= 11 {
		be.PutUint32(b, 1<<32-1)
		b = b[4:]
	}
	if !w.flexible() {
		be.PutUint32(b, uint32(n))
		return
	}
	v := uint64(n) + 1
	for i := range lengthBytes - 1 {
		b[i] = byte(v) | 0x80
		v >>= 7
	}
	b[lengthBytes-1] = byte(v)
}

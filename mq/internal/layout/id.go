package layout

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
)

// ID is Kafka's Uuid: of a topic, a cluster or a data directory. The zero value stands for none.
type ID [16]byte

// NewID draws a version 4 UUID from rng. The text form never begins with '-', which command lines mistake for a flag.
func NewID(rng *rand.Rand) ID {
	for {
		var id ID
		hi, lo := rng.Uint64(), rng.Uint64()
		for i := range 8 {
			id[i], id[8+i] = byte(hi>>(8*i)), byte(lo>>(8*i))
		}
		id[6] = id[6]&0x0f | 0x40
		id[8] = id[8]&0x3f | 0x80
		if id.String()[0] != '-' {
			return id
		}
	}
}

// String returns the 22 characters that Kafka writes: URL-safe base64 without padding.
func (id ID) String() string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// IsZero reports whether id stands for none.
func (id ID) IsZero() bool { return id == ID{} }

// ParseID reads the 22 characters of String.
func ParseID(s string) (ID, error) {
	var id ID
	if len(s) != 22 {
		return id, fmt.Errorf("layout: id %.40q: has %d characters, not 22", s, len(s))
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(s)
	if err != nil {
		return id, fmt.Errorf("layout: id %q: %w", s, err)
	}
	copy(id[:], b)
	return id, nil
}

// MarshalText writes String's form; the zero value is written as well.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads String's form; empty text gives the zero value.
func (id *ID) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*id = ID{}
		return nil
	}
	v, err := ParseID(string(b))
	if err != nil {
		return err
	}
	*id = v
	return nil
}

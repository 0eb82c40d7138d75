package mq

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMurmur2 compares with the values of Kafka's own test (UtilsTest.testMurmur2).
func TestMurmur2(t *testing.T) {
	for key, want := range map[string]int32{
		"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971, "abc": 479470107,
	} {
		require.Equal(t, want, int32(murmur2([]byte(key))), key)
	}
}

func TestDefaultPartitioner(t *testing.T) {
	require.EqualValues(t, 3, DefaultPartitioner(&Record{}, 6, 3))
	require.EqualValues(t, int32(murmur2(nil)&0x7fffffff)%6, DefaultPartitioner(&Record{Key: []byte{}}, 6, 3), "an empty key is a key")
	require.EqualValues(t, 479470107%6, DefaultPartitioner(&Record{Key: []byte("abc")}, 6, 3))
	require.EqualValues(t, 5, ManualPartitioner(&Record{Partition: 5}, 6, 3))
}

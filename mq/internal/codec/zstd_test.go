package codec

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/stretchr/testify/require"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
)

// TestZstdStreamed decompresses frames that do not say their size, as librdkafka writes them, also where the result is many times
// larger than the first guess.
func TestZstdStreamed(t *testing.T) {
	for _, lines := range []int{1, 400, 4_000, 100_000} {
		var text, frame bytes.Buffer
		w, err := zstd.NewWriter(&frame)
		require.NoError(t, err)
		for i := range lines {
			fmt.Fprintf(&text, "k%d:value-%04d\n", i%7, i)
		}
		for b := text.Bytes(); len(b) > 0; b = b[min(len(b), 100_000):] {
			_, err = w.Write(b[:min(len(b), 100_000)])
			require.NoError(t, err)
			require.NoError(t, w.Flush())
		}
		require.NoError(t, w.Close())
		var h zstd.Header
		require.NoError(t, h.Decode(frame.Bytes()))
		require.False(t, h.HasFCS)
		got, err := Decompress(nil, frame.Bytes(), batch.Zstd, 0)
		require.NoError(t, err)
		require.Equal(t, text.Bytes(), got)
		if lines > 1 {
			_, err = Decompress(nil, frame.Bytes(), batch.Zstd, text.Len()-1)
			require.Error(t, err)
		}
	}
}

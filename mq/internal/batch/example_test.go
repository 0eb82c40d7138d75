package batch_test

import (
	"fmt"

	"github.com/vivarium-go/vivarium/mq/internal/batch"
)

func ExampleBuilder() {
	var b batch.Builder
	_ = b.Append(1700000000000, []byte("k"), []byte("first"), nil)
	_ = b.Append(1700000000005, []byte("k"), []byte("second"), nil)
	wire := b.Build(batch.NewSpec())

	batch.SetBaseOffset(wire, 100) // what a broker does
	h, err := batch.Check(wire)
	if err != nil {
		fmt.Println(err)
		return
	}
	r := batch.NewReader(h, batch.Section(wire))
	for r.Next() {
		rec := r.Record()
		fmt.Println(rec.Offset, rec.Timestamp, string(rec.Value))
	}
	// Output:
	// 100 1700000000000 first
	// 101 1700000000005 second
}

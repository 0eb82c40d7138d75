package vfs_test

import (
	"fmt"
	"log"
	"math/rand/v2"

	"github.com/vivarium-go/vivarium/wal/vfs"
)

// A crash is a value: the disk as it may be after power was lost.
func ExampleMem_CrashClone() {
	disk := vfs.NewMem()
	if err := vfs.WriteFile(disk, "epoch", []byte("7")); err != nil {
		log.Fatal(err)
	}
	after := disk.CrashClone(rand.New(rand.NewPCG(1, 2)))
	b, err := vfs.ReadFile(after, "epoch", 16)
	fmt.Printf("%s %v\n", b, err)
	// Output:
	// 7 <nil>
}

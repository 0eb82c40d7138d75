package mq

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"strconv"

	"github.com/vivarium-go/vivarium/mq/internal/layout"
	"github.com/vivarium-go/vivarium/mq/internal/partition"
	"github.com/vivarium-go/vivarium/wal"
	"github.com/vivarium-go/vivarium/wal/vfs"
)

// Names in a broker's data directory.
const (
	lockFile     = "lock"
	identityFile = "broker.json"
	cleanFile    = "clean"   // there while nothing runs, after a graceful end
	offsetsFile  = "offsets" // high watermarks
	topicsDir    = "topics"  // topics/<topic id>/<partition>
)

// identityBytesMax bounds the identity file when it is read.
const identityBytesMax = 64 << 10

// identity is whose data directory this is. It is written once; the cluster's id follows when it is known.
type identity struct {
	Version   int       `json:"version"`
	Broker    int32     `json:"broker"`
	Directory layout.ID `json:"directory"`
	Cluster   string    `json:"cluster,omitempty"`
}

// brokerDisk is a broker's data directory.
type brokerDisk struct {
	fs   vfs.FS
	dir  string
	lock io.Closer
	id   identity
	// clean says that the former life ended gracefully.
	clean   bool
	flusher *wal.Flusher
	// watermarks are the high watermarks of the former life.
	watermarks map[partitionKey]int64
}

// partitionKey names a partition of a topic by the topic's id.
type partitionKey struct {
	topic layout.ID
	index int32
}

// openDisk locks the directory and finds out whose it is; an empty one becomes this broker's.
func openDisk(cfg *Config, rng *rand.Rand) (*brokerDisk, error) {
	d := &brokerDisk{fs: cfg.FS, dir: cfg.DataDir, watermarks: map[partitionKey]int64{}}
	switch {
	case d.fs == nil && d.dir == "":
		d.fs = vfs.NewMem()
	case d.fs == nil:
		d.fs = vfs.OS
	}
	if d.dir == "" {
		d.dir = "broker"
	}
	if err := vfs.MakeDir(d.fs, d.dir); err != nil {
		return nil, fmt.Errorf("data directory %s: %w", d.dir, err)
	}
	lock, err := vfs.Lock(d.fs, d.name(lockFile))
	if err != nil {
		return nil, fmt.Errorf("data directory %s: %w", d.dir, err)
	}
	d.lock = lock
	if err := d.load(cfg.BrokerID, rng); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("data directory %s: %w", d.dir, err)
	}
	d.flusher = wal.NewFlusher(0)
	return d, nil
}

// name is the path of a file in the directory.
func (d *brokerDisk) name(elem ...string) string {
	return path.Join(append([]string{d.dir}, elem...)...)
}

// load reads the directory's own files. The clean mark goes at once: whatever ends this life but a graceful end leaves none.
func (d *brokerDisk) load(broker int32, rng *rand.Rand) error {
	data, err := vfs.ReadFile(d.fs, d.name(identityFile), identityBytesMax)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		d.id = identity{Version: 1, Broker: broker, Directory: layout.NewID(rng)}
		if err := d.saveIdentity(); err != nil {
			return err
		}
		d.clean = true // there is nothing to have lost
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(data, &d.id); err != nil {
			return fmt.Errorf("%s: %w", identityFile, err)
		}
		if d.id.Broker != broker {
			return fmt.Errorf("belongs to broker %d, not %d", d.id.Broker, broker)
		}
	}
	if err := d.fs.Remove(d.name(cleanFile)); err == nil {
		d.clean = true
		if err := d.fs.SyncDir(d.dir); err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	offsets, err := partition.LoadOffsets(d.fs, d.name(offsetsFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", offsetsFile, err)
	}
	for _, o := range offsets {
		d.watermarks[partitionKey{o.TopicID, o.Partition}] = o.Offset
	}
	return nil
}

// saveIdentity writes the identity file.
func (d *brokerDisk) saveIdentity() error {
	data, err := json.Marshal(d.id)
	if err != nil {
		return err
	}
	return vfs.WriteFile(d.fs, d.name(identityFile), data)
}

// joinCluster checks that the directory belongs to this cluster, or makes it so (R12).
func (d *brokerDisk) joinCluster(id string) error {
	switch d.id.Cluster {
	case id:
		return nil
	case "":
		d.id.Cluster = id
		return d.saveIdentity()
	}
	return fmt.Errorf("data directory %s belongs to cluster %s, but the ensemble's is %s: is this the right ensemble and chroot?", d.dir, d.id.Cluster, id)
}

// partitionDir is where a partition lives.
func (d *brokerDisk) partitionDir(k partitionKey) string {
	return d.name(topicsDir, k.topic.String(), strconv.Itoa(int(k.index)))
}

// close gives the directory back; clean says that every log is closed and the end graceful.
func (d *brokerDisk) close(clean bool) error {
	d.flusher.Close()
	var err error
	if clean {
		err = vfs.WriteFile(d.fs, d.name(cleanFile), nil)
	}
	return errors.Join(err, d.lock.Close())
}

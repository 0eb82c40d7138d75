package zab

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
)

// Defaults of Config.
const (
	DefaultPingTicks          = 1
	DefaultSyncLimitTicks     = 10
	DefaultInitLimitTicks     = 40
	DefaultFinalizeTicks      = 4
	DefaultResendTicks        = 4
	DefaultBatchBytesMax      = 1 << 20
	DefaultBatchEntriesMax    = 4096
	DefaultWindowEntriesMax   = 16384
	DefaultWindowBytesMax     = 64 << 20
	DefaultInFlightEntriesMax = 16384
	DefaultInFlightBytesMax   = 32 << 20
)

// Config says who a peer is and how patient. A tick is one call of Peer.Tick; its length is the shell's business.
type Config struct {
	// ID is this server.
	ID ServerID
	// Initial is the configuration at the beginning of the history, of Version 0. It counts until the history has
	// another. Whoever is not a member of it, or of what takes its place, has no vote, but may follow. A server that
	// was not there at the beginning must have no vote in it.
	Initial Membership
	// Membership returns the configuration that an entry's data stand for, nil for all other entries. It is a pure
	// function, called for every entry. The configuration's Version is z. Nil: there is none but Initial.
	Membership func(z Zxid, data []byte) *Membership
	// Rand is where session nonces come from. Required; the peer is its only user from now on. Two incarnations of one
	// server must not be given equal streams.
	Rand *rand.Rand

	// PingTicks is the time between two pings of a leader. 0: DefaultPingTicks.
	PingTicks int
	// SyncLimitTicks is how long a leader leads without hearing from a quorum, and a follower follows without hearing
	// from its leader. 0: DefaultSyncLimitTicks.
	SyncLimitTicks int
	// InitLimitTicks is how long discovery and synchronization may make no progress. 0: DefaultInitLimitTicks.
	InitLimitTicks int
	// FinalizeTicks is how long a looking server that sees a quorum for its vote waits for a better vote from those
	// voters that have neither voted nor are known to be unreachable. 0: DefaultFinalizeTicks.
	FinalizeTicks int
	// ResendTicks is the time between two notifications of a looking server, and between two attempts of a learner to
	// get an answer. 0: DefaultResendTicks.
	ResendTicks int

	// BatchBytesMax and BatchEntriesMax bound one PROPOSAL and one append; a single entry may exceed the former.
	// 0: DefaultBatchBytesMax, DefaultBatchEntriesMax.
	BatchBytesMax, BatchEntriesMax int
	// WindowEntriesMax and WindowBytesMax bound the delivered history kept in memory, from which learners are
	// synchronized by DIFF and TRUNC; who is further behind gets SNAP. 0: DefaultWindowEntriesMax, DefaultWindowBytesMax.
	WindowEntriesMax, WindowBytesMax int
	// InFlightEntriesMax and InFlightBytesMax bound what a leader has proposed and not seen committed; beyond, Propose
	// returns ErrFull. InFlightEntriesMax also bounds what a learner that lags behind has been sent and not
	// acknowledged. 0: DefaultInFlightEntriesMax, DefaultInFlightBytesMax.
	InFlightEntriesMax, InFlightBytesMax int
	// LogHistory says that the shell answers Ready.HistoryWanted. Unset: who needs more than the window gets SNAP.
	LogHistory bool
	// CounterMax is the last counter of an epoch; a leader that reached it stops proposing, waits until all is
	// committed and stands for a new epoch. 0: 0xffffffff, all that a zxid holds.
	CounterMax uint32
}

// Recovered is what a server finds on its disk. The zero value is a server with an empty disk that must not vote (R3).
type Recovered struct {
	// HasEpochs says that the epochs of a WriteCurrentEpoch or WriteAcceptedEpoch with Epochs.Voter set were read back.
	// Epochs whose Voter is false are those of a server that was wiped and not yet synchronized: pass the numbers, and
	// HasEpochs false.
	HasEpochs bool
	// Bootstrap is the explicit mark that this server is new in a new ensemble and may vote with an empty disk.
	// It is ignored if HasEpochs is set.
	Bootstrap bool
	// AcceptedEpoch and CurrentEpoch are the last durable ones; zero if none.
	AcceptedEpoch, CurrentEpoch uint32
	// Snapshot is the zxid of the state machine's state; zero for an empty one.
	Snapshot Zxid
	// Membership is the configuration as of Snapshot; nil: Config.Initial.
	Membership *Membership
	// Entries are the log's entries above Snapshot, committed or not, in order. The peer keeps the slice.
	Entries []Entry
}

// Errors of New, Propose, Barrier and of a Failed role.
var (
	// ErrNotLeader is returned by Propose and Barrier unless the peer is an established leader.
	ErrNotLeader = errors.New("zab: not an established leader")
	// ErrFull is returned by Propose when too much is proposed and not committed. Retry after the next commit.
	ErrFull = errors.New("zab: too many proposals in flight")
	// ErrRollover is returned by Propose when the epoch's counters are used up. The leader drains and stands for a new
	// epoch by itself; retry when a role is established again.
	ErrRollover = errors.New("zab: zxid counter used up, a new epoch is on its way")
	// ErrDiverged is wrapped by the error of a peer that was told to give up entries that it knows to be committed.
	ErrDiverged = errors.New("zab: leader's history lacks entries committed here")
	// ErrRecovered is wrapped by New when Recovered is no state that a peer could have left behind.
	ErrRecovered = errors.New("zab: recovered state is inconsistent")
	// ErrConfig is wrapped by New's complaints about Config.
	ErrConfig = errors.New("zab: invalid config")
)

func (c Config) withDefaults() Config {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.PingTicks, DefaultPingTicks)
	def(&c.SyncLimitTicks, DefaultSyncLimitTicks)
	def(&c.InitLimitTicks, DefaultInitLimitTicks)
	def(&c.FinalizeTicks, DefaultFinalizeTicks)
	def(&c.ResendTicks, DefaultResendTicks)
	def(&c.BatchBytesMax, DefaultBatchBytesMax)
	def(&c.BatchEntriesMax, DefaultBatchEntriesMax)
	def(&c.WindowEntriesMax, DefaultWindowEntriesMax)
	def(&c.WindowBytesMax, DefaultWindowBytesMax)
	def(&c.InFlightEntriesMax, DefaultInFlightEntriesMax)
	def(&c.InFlightBytesMax, DefaultInFlightBytesMax)
	if c.CounterMax == 0 {
		c.CounterMax = math.MaxUint32
	}
	return c
}

// validate reports every violation at once. It expects defaults.
func (c Config) validate() error {
	var errs []error
	bad := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...))
		}
	}
	bad(c.ID > 0, "ID %d is not positive", c.ID)
	if err := c.Initial.Validate(); err != nil {
		errs = append(errs, err)
	}
	bad(c.Initial.Version == 0, "initial membership has version %v", c.Initial.Version)
	bad(c.Rand != nil, "Rand is nil")
	for _, f := range []struct {
		name  string
		value int
	}{
		{"PingTicks", c.PingTicks},
		{"SyncLimitTicks", c.SyncLimitTicks},
		{"InitLimitTicks", c.InitLimitTicks},
		{"FinalizeTicks", c.FinalizeTicks},
		{"ResendTicks", c.ResendTicks},
		{"BatchBytesMax", c.BatchBytesMax},
		{"BatchEntriesMax", c.BatchEntriesMax},
		{"WindowEntriesMax", c.WindowEntriesMax},
		{"WindowBytesMax", c.WindowBytesMax},
		{"InFlightEntriesMax", c.InFlightEntriesMax},
		{"InFlightBytesMax", c.InFlightBytesMax},
	} {
		bad(f.value > 0, "%s %d is negative", f.name, f.value)
	}
	bad(c.SyncLimitTicks > c.PingTicks, "SyncLimitTicks %d is not above PingTicks %d", c.SyncLimitTicks, c.PingTicks)
	return errors.Join(errs...)
}

func (r Recovered) validate() error {
	last := r.Snapshot
	for i, e := range r.Entries {
		if !follows(last, e.Zxid) {
			return fmt.Errorf("%w: entry %d has zxid %v after %v", ErrRecovered, i, e.Zxid, last)
		}
		last = e.Zxid
	}
	if r.CurrentEpoch > r.AcceptedEpoch {
		return fmt.Errorf("%w: current epoch %d is above accepted epoch %d", ErrRecovered, r.CurrentEpoch, r.AcceptedEpoch)
	}
	if m := r.Membership; m != nil && (m.Version > r.Snapshot || m.Validate() != nil) {
		return fmt.Errorf("%w: membership of %v in a snapshot of %v", ErrRecovered, m.Version, r.Snapshot)
	}
	if last.Epoch() > r.AcceptedEpoch {
		return fmt.Errorf("%w: last zxid %v is above accepted epoch %d", ErrRecovered, last, r.AcceptedEpoch)
	}
	return nil
}

// follows reports whether an entry with zxid z may come directly after one with zxid prev: it is the next of the same
// epoch, or the first of a later one.
func follows(prev, z Zxid) bool {
	if z.Epoch() == prev.Epoch() {
		return z == prev+1 && z.Counter() != 0
	}
	return z.Epoch() > prev.Epoch() && z.Counter() == 1
}

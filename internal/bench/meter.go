package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Meter tells how busy others keep the machine (Linux; elsewhere it says 0).
type Meter struct {
	start    time.Time
	all, own float64 // CPU seconds at the start
}

// NewMeter begins to measure.
func NewMeter() *Meter {
	return &Meter{start: time.Now(), all: machineSeconds(), own: ownSeconds()}
}

// OtherCores is how many cores other processes, and a hypervisor that took them
// away, have used on average since NewMeter.
func (m *Meter) OtherCores() float64 {
	other := machineSeconds() - m.all - (ownSeconds() - m.own)
	return max(0, other/time.Since(m.start).Seconds())
}

const ticksPerSecond = 100 // USER_HZ, the same on every Linux

// machineSeconds is the CPU time of everything since boot.
func machineSeconds() float64 {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(b), "\n")
	total := 0.0
	for i, f := range strings.Fields(line) {
		// cpu user nice system idle iowait irq softirq steal guest…
		if i == 0 || i == 4 || i == 5 || i > 8 {
			continue
		}
		v, _ := strconv.ParseFloat(f, 64)
		total += v / ticksPerSecond
	}
	return total
}

// children are processes that subjects started, which count as our own.
var children struct {
	sync.Mutex
	pids map[int]bool
}

func adopt(pid int) {
	children.Lock()
	defer children.Unlock()
	if children.pids == nil {
		children.pids = make(map[int]bool)
	}
	children.pids[pid] = true
}

// disown is for a child that was waited for: the system counts it from then on.
func disown(pid int) {
	children.Lock()
	defer children.Unlock()
	delete(children.pids, pid)
}

func ownSeconds() float64 {
	total := 0.0
	for _, who := range []int{syscall.RUSAGE_SELF, syscall.RUSAGE_CHILDREN} {
		var u syscall.Rusage
		if syscall.Getrusage(who, &u) == nil {
			total += float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
		}
	}
	children.Lock()
	defer children.Unlock()
	for pid := range children.pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue
		}
		_, rest, _ := strings.Cut(string(b), ") ")
		f := strings.Fields(rest)
		if len(f) < 13 {
			continue
		}
		for _, s := range f[11:13] { // utime, stime
			v, _ := strconv.ParseFloat(s, 64)
			total += v / ticksPerSecond
		}
	}
	return total
}

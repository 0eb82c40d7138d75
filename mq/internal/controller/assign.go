package controller

import (
	"fmt"
	"math/rand/v2"
	"slices"
)

// assignSpec says how replicas are spread over brokers.
type assignSpec struct {
	brokers    []int32 // ascending
	partitions int
	replicas   int
	start      int // index of the broker that leads the first partition; negative: drawn, and the shift as well
	first      int // number of the first partition
}

// assign spreads replicas round robin as Kafka's AdminUtils does where racks do not matter: the first replica of each partition
// goes from broker to broker, the others follow at a shift that grows with each round.
func assign(spec assignSpec, rng *rand.Rand) [][]int32 {
	n := len(spec.brokers)
	start, shift := spec.start, spec.start
	if start < 0 {
		start, shift = rng.IntN(n), rng.IntN(n)
	}
	all := make([][]int32, 0, spec.partitions)
	for p := spec.first; p < spec.first+spec.partitions; p++ {
		if p > 0 && p%n == 0 {
			shift++
		}
		lead := (p + start) % n
		replicas := append(make([]int32, 0, spec.replicas), spec.brokers[lead])
		for j := range spec.replicas - 1 {
			replicas = append(replicas, spec.brokers[(lead+1+(shift+j)%(n-1))%n])
		}
		all = append(all, replicas)
	}
	return all
}

// checkAssignment checks an assignment given by a client, of partitions that follow one another from first on.
func checkAssignment(assignment [][]int32, replicas int, live func(int32) bool) (Code, string) {
	for p, r := range assignment {
		switch {
		case len(r) == 0:
			return InvalidReplicaAssignment, fmt.Sprintf("partition %d has no replica", p)
		case len(r) != replicas:
			return InvalidReplicaAssignment, fmt.Sprintf("partition %d has %d replicas, another %d", p, len(r), replicas)
		}
		for i, b := range r {
			if slices.Contains(r[:i], b) {
				return InvalidReplicaAssignment, fmt.Sprintf("partition %d names broker %d twice", p, b)
			}
			if !live(b) {
				return InvalidReplicaAssignment, fmt.Sprintf("partition %d names broker %d, which is not there", p, b)
			}
		}
	}
	return OK, ""
}

// checkName checks a topic's name as Kafka's Topic.validate does.
func checkName(name string) string {
	switch {
	case name == "":
		return "topic name is empty"
	case name == "." || name == "..":
		return fmt.Sprintf("topic name %q is a directory's", name)
	case len(name) > 249:
		return fmt.Sprintf("topic name %.40q… has %d characters, more than 249", name, len(name))
	}
	for i := range len(name) {
		switch b := name[i]; {
		case 'a' <= b && b <= 'z', 'A' <= b && b <= 'Z', '0' <= b && b <= '9', b == '.', b == '_', b == '-':
		default:
			return fmt.Sprintf("topic name %.80q has a character outside [a-zA-Z0-9._-]", name)
		}
	}
	return ""
}

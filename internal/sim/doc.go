// Package sim runs pure state machines against each other on virtual time: one
// goroutine, one seed, and from the seed everything follows.
//
// An Engine is a heap of events. A Net carries messages between numbered nodes
// and loses, delays, duplicates and cuts them; a Nemesis draws, for each seed,
// which faults exist at all and how often each strikes (swarm testing). What
// seldom happens is counted by Engine.Mark. A Batch runs a range of seeds,
// prints what was counted, and fails if a mark that it requires was never
// reached, or if a seed fails, with the command that replays that seed alone.
//
// The usual life of one seed:
//
//	e := s.Engine
//	net := sim.NewNet[message](e, nodes, sim.DrawNetFaults(e.Rand("swarm")), cluster)
//	nem := sim.NewNemesis(e, chaos, 12, []sim.Fault{{Name: "crash", Mean: time.Second, Do: …}})
//	e.RunUntil(chaos, check)          // phase 1: chaos, with requests
//	nem.Stop(); net.Calm(); …restart  // phase 2: heal a majority; it must converge
//	e.RunUntil(chaos+heal, check)
//	return cluster.finalCheck()       // phase 3: logs equal, nothing lost
//
// Rules for what is simulated: randomness only from Engine.Rand, time only from
// Engine.Now, no goroutines, and no map order that reaches a decision.
//
// An Engine and all that hangs on it belong to one goroutine.
package sim

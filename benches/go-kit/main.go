// Picks of go-kit's balancers, which `./run bench --go-kit` prints beside the toolkit's.
//
// Each line of the input asks for a measure: "RoundRobin 10 2 100000" for 100,000 picks among 10 endpoints on each
// of 2 threads, which share the balancer. The answer is a line with the nanoseconds of processor time of a pick:
// the mean of the threads, as the toolkit's picks are measured.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"

	"github.com/go-kit/kit/endpoint"
	"github.com/go-kit/kit/sd"
	"github.com/go-kit/kit/sd/lb"
	"github.com/go-kit/log"
	"golang.org/x/sys/unix"
)

type question struct {
	balancer           string
	endpoints, threads int
}

func main() {
	balancers := map[question]lb.Balancer{}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var asked question
		var picks int
		if _, err := fmt.Sscan(lines.Text(), &asked.balancer, &asked.endpoints, &asked.threads, &picks); err != nil {
			fmt.Fprintf(os.Stderr, "%q: %v\n", lines.Text(), err)
			os.Exit(2)
		}
		if balancers[asked] == nil {
			balancers[asked] = balancer(asked)
		}
		fmt.Println(measure(balancers[asked], asked.threads, picks))
	}
}

func balancer(asked question) lb.Balancer {
	addresses := make([]string, asked.endpoints)
	for n := range addresses {
		addresses[n] = fmt.Sprintf("10.0.%d.%d:80", n/256, n%256)
	}
	factory := func(string) (endpoint.Endpoint, io.Closer, error) { return endpoint.Nop, nil, nil }
	endpointer := sd.NewEndpointer(sd.FixedInstancer(addresses), factory, log.NewNopLogger())
	for known := 0; known < asked.endpoints; runtime.Gosched() {
		all, _ := endpointer.Endpoints()
		known = len(all)
	}
	if asked.balancer == "Random" {
		return lb.NewRandom(endpointer, 1)
	}
	return lb.NewRoundRobin(endpointer)
}

// The nanoseconds of a pick, the mean of the threads. All of them pick at the same time.
func measure(balancer lb.Balancer, threads, picks int) float64 {
	nanoseconds := make([]float64, threads)
	begin := make(chan struct{})
	var done sync.WaitGroup
	for n := range nanoseconds {
		done.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			<-begin
			began := threadTime()
			made := 0
			for made < picks {
				made += pick(balancer, picks-made)
			}
			nanoseconds[n] = (threadTime() - began) / float64(picks)
		})
	}
	close(begin)
	done.Wait()
	sum := 0.0
	for _, each := range nanoseconds {
		sum += each
	}
	return sum / float64(threads)
}

// Picks so many times, or until a pick panics, as those of a Random that threads share do. Returns how many picks
// there were.
func pick(balancer lb.Balancer, picks int) (made int) {
	defer func() {
		if recover() != nil {
			made++
		}
	}()
	for ; made < picks; made++ {
		if _, err := balancer.Endpoint(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	return made
}

// The processor time of this thread, in nanoseconds.
func threadTime() float64 {
	var time unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &time); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return float64(time.Nano())
}

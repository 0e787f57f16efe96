package wasm

// callGraph has a node for every function and one for every signature that call_indirect names: an indirect
// call may reach every function of that signature whose address is taken anywhere in the module.
type callGraph struct {
	m        *module
	calls    [][]int           // successors of each function's node
	indirect map[signature]int // node of a signature
	slots    []int             // locals of each function
}

func newCallGraph(m *module) *callGraph {
	return &callGraph{
		m:        m,
		calls:    make([][]int, len(m.functions)),
		indirect: map[signature]int{},
		slots:    make([]int, len(m.functions)),
	}
}

func (g *callGraph) call(from int, to uint32) { g.calls[from] = append(g.calls[from], int(to)) }

func (g *callGraph) callIndirect(from int, s signature) {
	node, ok := g.indirect[s]
	if !ok {
		node = len(g.m.functions) + len(g.indirect)
		g.indirect[s] = node
	}
	g.calls[from] = append(g.calls[from], node)
}

// successors returns the edges of all nodes, signatures last.
func (g *callGraph) successors() [][]int {
	all := append([][]int(nil), g.calls...)
	targets := make([][]int, len(g.indirect))
	for f, taken := range g.m.taken {
		if !taken {
			continue
		}
		if node, ok := g.indirect[g.m.types[g.m.functions[f]]]; ok {
			targets[node-len(g.m.functions)] = append(targets[node-len(g.m.functions)], f)
		}
	}
	return append(all, targets...)
}

// deepest returns the number of functions and of locals on the longest chains of calls, or ErrRecursion when a
// chain never ends. It takes nodes away that nobody calls any more until none is left.
func (g *callGraph) deepest() (depth, slots int, err error) {
	next := g.successors()
	callers := make([]int, len(next))
	for _, edges := range next {
		for _, to := range edges {
			callers[to]++
		}
	}
	var free []int
	for node, n := range callers {
		if n == 0 {
			free = append(free, node)
		}
	}
	depths, sums := make([]int, len(next)), make([]int, len(next)) // of the callers' chains
	seen := 0
	for ; len(free) > 0; seen++ {
		node := free[len(free)-1]
		free = free[:len(free)-1]
		if node < len(g.slots) {
			depths[node]++
			sums[node] += g.slots[node]
		}
		depth, slots = max(depth, depths[node]), max(slots, sums[node])
		for _, to := range next[node] {
			depths[to], sums[to] = max(depths[to], depths[node]), max(sums[to], sums[node])
			if callers[to]--; callers[to] == 0 {
				free = append(free, to)
			}
		}
	}
	if seen < len(next) {
		for node, n := range callers {
			if n > 0 && node < len(g.slots) {
				return 0, 0, refuse(ErrRecursion, g.m.bodies[node].at, "function %d is on or behind a cycle of calls", node)
			}
		}
		return 0, 0, refuse(ErrRecursion, -1, "")
	}
	return depth, slots, nil
}

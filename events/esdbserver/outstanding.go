package esdbserver

// outstanding knows which of the keys handed out, in rising order, are still to be settled, and so up to where all is.
type outstanding struct {
	items []item
	first uint64 // number of the first item; items are numbered as they come
	bound uint64 // all keys below were handed out or passed over
}

type item struct {
	key     uint64
	settled bool
}

// add hands out a key and returns its number.
func (o *outstanding) add(key uint64) (number uint64) {
	o.items = append(o.items, item{key: key})
	o.bound = max(o.bound, key+1)
	return o.first + uint64(len(o.items)) - 1
}

// settle marks a number once.
func (o *outstanding) settle(number uint64) {
	if number < o.first {
		return
	}
	o.items[number-o.first].settled = true
	n := 0
	for n < len(o.items) && o.items[n].settled {
		n++
	}
	o.items = o.items[n:]
	o.first += uint64(n)
}

// low is the first key that is not settled.
func (o *outstanding) low() uint64 {
	if len(o.items) == 0 {
		return o.bound
	}
	return o.items[0].key
}

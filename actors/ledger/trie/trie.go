// Package trie is a persistent sparse Merkle trie: a map from hashed keys to values whose root names its whole content.
//
// It promises that the root depends on the content alone, never on the order in which it came to be; that a changed trie
// leaves the old one as it was, so that speculation, rollback and snapshots are copies of a pointer; and that presence
// and absence of every key can be proved. Limits: it lives in memory, and keys must be hashes (Key makes them), so that
// nobody can choose how deep they lie.
//
// A leaf's hash is SHA-256 of 0x00, its key and the SHA-256 of its value; an inner node's is SHA-256 of 0x01 and the
// hashes of its two children; an empty child's is 32 zero bytes, and so is the root of an empty trie. A leaf lies at the
// first depth at which it is alone.
package trie

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"sort"
)

// Hash is a SHA-256.
type Hash = [sha256.Size]byte

// Key is where a thing of a kind lies: the SHA-256 of the kind, a zero byte and the thing's name. Kinds hold no zero byte.
func Key(kind string, name []byte) Hash {
	h := sha256.New()
	h.Write([]byte(kind))
	h.Write([]byte{0})
	h.Write(name)
	return Hash(h.Sum(nil))
}

// Trie is one version of the map. The zero Trie is empty. It is safe for concurrent use, because nothing changes it.
type Trie struct {
	root *node
	size int
}

// Change is a new value for a key. An empty value takes the key out.
type Change struct {
	Key   Hash
	Value []byte // not copied: it must not be changed any more
}

// Root is the hash of everything in the trie.
func (t Trie) Root() Hash { return t.root.sum() }

// Len is the number of keys.
func (t Trie) Len() int { return t.size }

// Get returns a key's value, or nil. It must not be changed.
func (t Trie) Get(key Hash) []byte {
	n := t.root
	for depth := 0; n != nil && !n.leaf(); depth++ {
		n, _ = n.step(&key, depth)
	}
	if n == nil || n.key != key {
		return nil
	}
	return n.value
}

// Update returns the trie with the changes made. Of several changes of one key the last one counts.
func (t Trie) Update(changes []Change) Trie {
	sorted := slices.Clone(changes)
	slices.SortStableFunc(sorted, func(a, b Change) int { return bytes.Compare(a.Key[:], b.Key[:]) })
	kept := sorted[:0]
	for _, c := range sorted {
		if n := len(kept); n > 0 && kept[n-1].Key == c.Key {
			kept[n-1] = c
			continue
		}
		kept = append(kept, c)
	}
	u := updater{size: t.size}
	return Trie{root: u.update(t.root, kept, 0), size: u.size}
}

// All yields keys and values in the order of the keys, from the given one on.
func (t Trie) All(from Hash) func(yield func(Hash, []byte) bool) {
	return func(yield func(Hash, []byte) bool) { t.root.walk(&from, 0, true, yield) }
}

// node is a leaf when it has no children. Nodes never change.
type node struct {
	hash        Hash
	left, right *node
	key         Hash
	value       []byte // never empty in a leaf
}

func (n *node) leaf() bool { return n.left == nil && n.right == nil }

func (n *node) sum() Hash {
	if n == nil {
		return Hash{}
	}
	return n.hash
}

// bit is the side on which a key lies at a depth: 0 is left.
func bit(key *Hash, depth int) byte { return key[depth>>3] >> (7 - depth&7) & 1 }

// step returns the child on the key's side, and the other one.
func (n *node) step(key *Hash, depth int) (on, off *node) {
	if bit(key, depth) == 0 {
		return n.left, n.right
	}
	return n.right, n.left
}

// walk visits leaves from a key on. edge says that the nodes above lie on the path to that key.
func (n *node) walk(from *Hash, depth int, edge bool, yield func(Hash, []byte) bool) bool {
	switch {
	case n == nil:
		return true
	case n.leaf():
		return edge && bytes.Compare(n.key[:], from[:]) < 0 || yield(n.key, n.value)
	}
	right := edge && bit(from, depth) == 1
	if !right && !n.left.walk(from, depth+1, edge, yield) {
		return false
	}
	return n.right.walk(from, depth+1, right, yield)
}

func newLeaf(c Change) *node {
	return &node{key: c.Key, value: c.Value, hash: leafHash(&c.Key, sha256.Sum256(c.Value))}
}

func leafHash(key *Hash, value Hash) Hash {
	var b [1 + 2*sha256.Size]byte
	copy(b[1:], key[:])
	copy(b[1+sha256.Size:], value[:])
	return sha256.Sum256(b[:])
}

func innerHash(left, right *Hash) Hash {
	var b [1 + 2*sha256.Size]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}

// updater makes changes and keeps count.
type updater struct{ size int }

// update returns the subtree with the changes made, which are sorted, have distinct keys and belong below it.
func (u *updater) update(n *node, changes []Change, depth int) *node {
	if len(changes) == 0 {
		return n
	}
	if n != nil && n.leaf() {
		changes = u.lift(n, changes)
		n = nil
	}
	if n == nil {
		if only, ok := alone(changes); ok {
			return u.plant(only)
		}
	}
	cut := sort.Search(len(changes), func(i int) bool { return bit(&changes[i].Key, depth) == 1 })
	var left, right *node
	if n != nil {
		left, right = n.left, n.right
	}
	return join(u.update(left, changes[:cut], depth+1), u.update(right, changes[cut:], depth+1))
}

// lift takes a leaf out and puts it among the changes, unless it is one of them.
func (u *updater) lift(n *node, changes []Change) []Change {
	u.size--
	i, found := slices.BinarySearchFunc(changes, n.key, func(c Change, k Hash) int { return bytes.Compare(c.Key[:], k[:]) })
	if found {
		return changes
	}
	return slices.Insert(slices.Clone(changes), i, Change{n.key, n.value})
}

// alone returns the only change that leaves a value behind; nil if there is none. ok is false if there are several.
func alone(changes []Change) (only *Change, ok bool) {
	for i := range changes {
		if len(changes[i].Value) == 0 {
			continue
		}
		if only != nil {
			return nil, false
		}
		only = &changes[i]
	}
	return only, true
}

func (u *updater) plant(c *Change) *node {
	if c == nil {
		return nil
	}
	u.size++
	return newLeaf(*c)
}

// join makes the node above two subtrees. A leaf that is alone moves up.
func join(left, right *node) *node {
	switch {
	case left == nil && right == nil:
		return nil
	case left == nil && right.leaf():
		return right
	case right == nil && left.leaf():
		return left
	}
	l, r := left.sum(), right.sum()
	return &node{left: left, right: right, hash: innerHash(&l, &r)}
}

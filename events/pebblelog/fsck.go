package pebblelog

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/shardy-network/orchestrator/events"
)

// Report is what Fsck has counted, up to the first damage.
type Report struct {
	Events  uint64
	Streams uint64
	Blobs   uint64
	Head    events.Position
	// Unsealed are events whose metadata is no envelope with a digest of the data: others than this system wrote them.
	Unsealed uint64
}

// Damage names what is wrong, and where. It is an events.ErrCorrupt.
type Damage struct {
	Stream string          // empty if not known
	Rev    uint64          // in the stream, if that is known
	Pos    events.Position // 0 if not known
	Blob   string          // in hex; for damaged blobs only
	What   string
	Err    error // what the engine says, if it found the damage
}

func (d *Damage) Error() string {
	s := "event log is damaged: " + d.What
	if d.Stream != "" {
		s += fmt.Sprintf(", stream %q revision %d", d.Stream, d.Rev)
	}
	if d.Pos != 0 {
		s += fmt.Sprintf(", position %d", d.Pos)
	}
	if d.Blob != "" {
		s += ", blob " + d.Blob
	}
	if d.Err != nil {
		s += ": " + d.Err.Error()
	}
	return s
}

// Is makes damage an ErrCorrupt.
func (d *Damage) Is(target error) bool { return target == events.ErrCorrupt }

// Unwrap returns what the engine says.
func (d *Damage) Unwrap() error { return d.Err }

// Fsck reads a whole log that is not open and holds it against its format: the checksum of every record, dense
// positions, dense revisions, streams and records naming each other one to one, digests in envelopes, blobs and their
// names. It changes nothing. The first damage is a *Damage; it fails with ErrLocked or ErrFormat before that.
func Fsck(dir string) (Report, error) {
	return fsck(dir, vfs.Default)
}

func fsck(dir string, fs vfs.FS) (rep Report, err error) {
	opts := Options{Logger: slog.New(slog.DiscardHandler), fs: fs}.withDefaults()
	db, lock, err := openDB(dir, opts, newDisk(fs, opts.Logger), true)
	if err != nil {
		if errors.Is(err, events.ErrCorrupt) {
			err = &Damage{What: "the engine cannot open it", Err: err}
		}
		return rep, err
	}
	defer func() { err = errors.Join(err, db.Close(), lock.Close()) }()
	v, closer, err := db.Get(keyFormat)
	if errors.Is(err, pebble.ErrNotFound) {
		return rep, ErrFormat
	}
	if err != nil {
		return rep, &Damage{What: "the format cannot be read", Err: err}
	}
	known := string(v) == string(formatValue)
	if err := closer.Close(); err != nil || !known {
		return rep, errors.Join(ErrFormat, err)
	}
	c := &checker{db: db, rep: &rep}
	for _, pass := range []func() error{c.events, c.streams, c.blobs, c.strangers} {
		if err := pass(); err != nil {
			return rep, err
		}
	}
	return rep, nil
}

type checker struct {
	db  *pebble.DB
	rep *Report
}

// each goes through a range of keys.
func (c *checker) each(lower, upper string, what string, f func(k, v []byte) error) error {
	bounds := &pebble.IterOptions{UpperBound: []byte(upper)}
	if lower != "" {
		bounds.LowerBound = []byte(lower)
	}
	it, err := c.db.NewIter(bounds)
	if err != nil {
		return &Damage{What: what + " cannot be read", Err: err}
	}
	defer it.Close()
	for more := it.First(); more; more = it.Next() {
		v, err := it.ValueAndErr()
		if err != nil {
			return &Damage{What: what + " cannot be read", Pos: c.rep.Head + 1, Err: err}
		}
		if err := f(it.Key(), v); err != nil {
			return err
		}
	}
	if err := it.Error(); err != nil {
		return &Damage{What: what + " cannot be read, behind", Pos: c.rep.Head, Err: err}
	}
	return nil
}

// events checks every record, and that its stream names it.
func (c *checker) events() error {
	return c.each(eventPrefix, eventsEnd, "a record", func(k, v []byte) error {
		pos, err := parseEventKey(k)
		if err != nil {
			return &Damage{What: fmt.Sprintf("key %q is not a position", k)}
		}
		if want := uint64(c.rep.Head) + 1; pos != want {
			return &Damage{What: "a record is missing", Pos: events.Position(want)}
		}
		r, err := parseRecord(pos, v)
		if err != nil {
			return c.unreadable(pos, err)
		}
		at := Damage{Stream: string(r.stream), Rev: r.rev, Pos: events.Position(pos)}
		if err := c.named(&at); err != nil {
			return err
		}
		if err := c.sealed(&r, &at); err != nil {
			return err
		}
		c.rep.Events++
		c.rep.Head = events.Position(pos)
		return nil
	})
}

// unreadable names the stream of a damaged record by the entry that points to it, for what the record says of itself
// cannot be believed.
func (c *checker) unreadable(pos uint64, cause error) error {
	d := &Damage{What: "a record is damaged", Pos: events.Position(pos), Err: cause}
	found := errors.New("found")
	err := c.each(streamPrefix, streamsEnd, "a stream", func(k, v []byte) error {
		stream, rev, err := parseStreamKey(k)
		if err != nil {
			return nil // the record's damage is told first
		}
		if p, _, err := parseStreamValue(rev, v); err == nil && p == pos {
			d.Stream, d.Rev = string(stream), rev
			return found
		}
		return nil
	})
	if err != nil && !errors.Is(err, found) {
		d.Err = errors.Join(cause, err)
	}
	return d
}

// named checks that a record's stream has an entry for it.
func (c *checker) named(at *Damage) error {
	v, closer, err := c.db.Get(streamKey(nil, at.Stream, at.Rev))
	if err != nil {
		at.What, at.Err = "a record has no entry in its stream", err
		return at
	}
	pos, _, err := parseStreamValue(at.Rev, v)
	closer.Close()
	if err != nil || pos != uint64(at.Pos) {
		at.What, at.Err = "the entry in the stream names another record", err
		return at
	}
	return nil
}

// sealed checks the digest of the data in the envelope.
func (c *checker) sealed(r *raw, at *Damage) error {
	env, err := events.DecodeEnvelope(events.Record{Draft: events.Draft{Meta: r.meta}})
	if err != nil || len(env.GetDigest()) != events.DigestSize {
		c.rep.Unsealed++
		return nil
	}
	if digest := events.Digest(r.data); string(env.GetDigest()) != string(digest[:]) {
		at.What = "the data does not have the digest in its envelope"
		return at
	}
	return nil
}

// streams checks the order within every stream. The records have each found their entry, so that an entry without a
// record shows in the number.
func (c *checker) streams() error {
	var entries, next, last, hidden uint64
	var name string
	end := func() error {
		if hidden > next && hidden != buried {
			return &Damage{What: "more is hidden than there is", Stream: name, Rev: hidden}
		}
		return nil
	}
	err := c.each(streamPrefix, streamsEnd, "a stream", func(k, v []byte) error {
		stream, rev, err := parseStreamKey(k)
		if err != nil {
			return &Damage{What: fmt.Sprintf("key %q is not a stream's", k)}
		}
		if string(stream) != name || c.rep.Streams == 0 {
			if err := end(); err != nil {
				return err
			}
			name, next, last, hidden = string(stream), 0, 0, 0
			c.rep.Streams++
		}
		pos, hid, err := parseStreamValue(rev, v)
		at := &Damage{Stream: name, Rev: next, Pos: events.Position(pos), Err: err}
		switch {
		case err != nil:
			at.What = "an entry of the stream is damaged"
		case rev != next:
			at.What = "a revision is missing"
		case pos <= last:
			at.What = "revisions and positions are not in the same order"
		case pos > uint64(c.rep.Head):
			at.What = "a stream names a record that is not there"
		default:
			next, last, hidden = next+1, pos, hidden+hid
			entries++
			return nil
		}
		return at
	})
	if err != nil {
		return err
	}
	if err := end(); err != nil {
		return err
	}
	if entries != c.rep.Events {
		return &Damage{What: fmt.Sprintf("streams name %d records, there are %d", entries, c.rep.Events)}
	}
	return nil
}

// blobs checks that every blob is what its name says.
func (c *checker) blobs() error {
	return c.each(blobPrefix, blobsEnd, "a blob", func(k, v []byte) error {
		sum, err := parseBlobKey(k)
		if err != nil {
			return &Damage{What: fmt.Sprintf("key %q is not a blob's", k)}
		}
		_, data, err := parseBlob(v)
		if err != nil || sha256.Sum256(data) != sum {
			return &Damage{What: "a blob is not what its name says", Blob: fmt.Sprintf("%x", sum), Err: err}
		}
		c.rep.Blobs++
		return nil
	})
}

// strangers looks for keys that no log has.
func (c *checker) strangers() error {
	for _, gap := range [][2]string{{"", blobPrefix}, {blobsEnd, eventPrefix}, {eventsEnd, string(keyFormat)}, {string(keyFormat) + "\x00", streamPrefix}, {streamsEnd, "\xff"}} {
		err := c.each(gap[0], gap[1], "a key", func(k, _ []byte) error {
			return &Damage{What: fmt.Sprintf("key %q belongs to nothing", k)}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

package readmodel

import (
	"context"
	"errors"
)

// read runs a question within one transaction, so that all its statements see the same rows.
func (s *store) read(ctx context.Context, question func(*conn) error) (err error) {
	var c *conn
	select {
	case c = <-s.readers:
		defer func() { s.readers <- c }()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	background := context.Background()
	if err := c.run(background, "BEGIN"); err != nil {
		return err
	}
	defer func() {
		if e := c.run(background, "ROLLBACK"); e != nil && err == nil && ctx.Err() == nil {
			err = errors.Join(err, e)
		}
	}()
	return question(c)
}

package readmodel

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// conn is one connection with the statements it has prepared. One goroutine uses it at a time. The driver is spoken to
// without database/sql: the writer binds some hundred thousand values a second.
type conn struct {
	dc    driver.Conn
	stmts map[string]*stmt
}

type stmt struct {
	exec  driver.StmtExecContext
	query driver.StmtQueryContext
	close func() error
	args  []driver.NamedValue // of the call under way
}

func dial(dsn string) (*conn, error) {
	dc, err := new(sqlite.Driver).Open(dsn)
	if err != nil {
		return nil, err
	}
	return &conn{dc: dc, stmts: make(map[string]*stmt)}, nil
}

// close releases the statements and the connection.
func (c *conn) close() error {
	var err error
	for _, s := range c.stmts {
		err = errors.Join(err, s.close())
	}
	return errors.Join(err, c.dc.Close())
}

// prepare returns the statement for a text that this package wrote, and keeps it.
func (c *conn) prepare(text string) (*stmt, error) {
	if s := c.stmts[text]; s != nil {
		return s, nil
	}
	ds, err := c.dc.Prepare(text)
	if err != nil {
		return nil, fmt.Errorf("prepare %.60q: %w", text, err)
	}
	s := &stmt{close: ds.Close}
	var ok1, ok2 bool
	s.exec, ok1 = ds.(driver.StmtExecContext)
	s.query, ok2 = ds.(driver.StmtQueryContext)
	if !ok1 || !ok2 {
		return nil, errors.Join(errors.New("driver without contexts"), ds.Close())
	}
	c.stmts[text] = s
	return s, nil
}

func (s *stmt) bind(args []any) []driver.NamedValue {
	s.args = s.args[:0]
	for i, a := range args {
		switch v := a.(type) {
		case string:
			if !utf8.ValidString(v) {
				a = strings.ToValidUTF8(v, "\uFFFD")
			}
		case int:
			a = int64(v)
		case uint32:
			a = int64(v)
		case int32:
			a = int64(v)
		case uint8:
			a = int64(v)
		case uint64:
			a = int64(v)
		case []byte:
			if v == nil {
				a = []byte{}
			}
		}
		s.args = append(s.args, driver.NamedValue{Ordinal: i + 1, Value: a})
	}
	return s.args
}

// run executes a statement that returns no rows. Values are integers, strings, bytes, booleans or nil.
func (c *conn) run(ctx context.Context, text string, args ...any) error {
	s, err := c.prepare(text)
	if err != nil {
		return err
	}
	_, err = s.exec.ExecContext(ctx, s.bind(args))
	clear(s.args)
	return err
}

// row is one row of an answer. Its bytes and strings may be kept.
type row []driver.Value

func (r row) int(i int) int64 {
	n, _ := r[i].(int64)
	return n
}

func (r row) u32(i int) uint32 { return uint32(r.int(i)) }

func (r row) text(i int) string {
	s, _ := r[i].(string)
	return s
}

func (r row) blob(i int) []byte {
	b, _ := r[i].([]byte)
	return b
}

// each runs a question and hands its rows to a function.
func (c *conn) each(ctx context.Context, text string, args []any, yield func(row) error) error {
	s, err := c.prepare(text)
	if err != nil {
		return err
	}
	rows, err := s.query.QueryContext(ctx, s.bind(args))
	clear(s.args)
	if err != nil {
		return orCause(ctx, err)
	}
	dest := make([]driver.Value, len(rows.Columns()))
	for {
		err = rows.Next(dest)
		if err == nil {
			err = yield(dest)
		}
		if err != nil {
			break
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if closed := rows.Close(); err == nil {
		err = closed
	}
	return orCause(ctx, err)
}

// orCause is why the context ended, where that is why something failed.
func orCause(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// one runs a question that has at most one row, and tells whether it had.
func (c *conn) one(ctx context.Context, text string, args []any, take func(row)) (found bool, err error) {
	err = c.each(ctx, text, args, func(r row) error {
		if !found {
			take(r)
		}
		found = true
		return nil
	})
	return found, err
}

// damaged tells whether an error says that the database is not what SQLite wrote.
func damaged(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT:
		return true
	}
	return false
}

package operator

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
)

// Sizes of a page.
const (
	defaultPage = 50
	maxPage     = 500
	maxToken    = 512 // characters of a page token
)

// cursor makes page tokens: the place in the list behind a mark of the list and its filters, so that a token goes on
// with its own list alone.
type cursor struct{ mark [8]byte }

// openPage reads a page token. The filters are everything that narrows the list.
func openPage(size uint32, token string, filters ...any) (cursor, Page, error) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q", filters))
	c := cursor{mark: [8]byte(sum[:8])}
	page := Page{Limit: int(min(size, maxPage))}
	if size == 0 {
		page.Limit = defaultPage
	}
	if token == "" {
		return c, page, nil
	}
	if len(token) > maxToken {
		return c, page, ErrPage
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) <= len(c.mark) || [8]byte(raw[:8]) != c.mark {
		return c, page, ErrPage
	}
	page.After = string(raw[len(c.mark):])
	return c, page, nil
}

func (c cursor) token(next string) string {
	if next == "" {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(append(c.mark[:], next...))
}

// tenantsOf is whose things a list shows: what was asked for, within what the caller sees.
func (c *caller) tenantsOf(asked string) ([]string, error) {
	if asked == "" {
		return c.tenants, nil // nil for all but clients: everybody's
	}
	if err := checkTenant(asked); err != nil {
		return nil, err
	}
	if !c.sees(asked) {
		return nil, errTenant
	}
	return []string{asked}, nil
}

package cli

import (
	"context"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"
)

// paging are the flags of every list.
type paging struct {
	limit uint32
	token string
}

func (p *paging) flags(c *cobra.Command) {
	c.Flags().Uint32Var(&p.limit, "limit", 100, "rows to show, 0 for all")
	c.Flags().StringVar(&p.token, "page-token", "", "go on where a list with --limit ended")
}

// pages fetches rows until there are enough and returns the token to go on with.
func pages[T any](ctx context.Context, p paging, fetch func(ctx context.Context, size uint32, token string) ([]T, string, error)) ([]T, string, error) {
	var rows []T
	token := p.token
	for {
		size := uint32(500)
		if p.limit > 0 {
			size = min(size, p.limit-uint32(len(rows)))
		}
		more, next, err := fetch(ctx, size, token)
		if err != nil {
			return nil, "", err
		}
		rows = append(rows, more...)
		if token = next; token == "" || p.limit > 0 && uint32(len(rows)) >= p.limit {
			return rows, token, nil
		}
	}
}

// printList prints rows as a table, or as one document with the rows under their name.
func printList[T proto.Message](a *app, name string, rows []T, next, heading string, cells func(T) []any) error {
	if a.json {
		items := make([]any, len(rows))
		for i, r := range rows {
			items[i] = plainMessage(r.ProtoReflect())
		}
		return a.printJSON(map[string]any{name: items, "next_page_token": next})
	}
	err := a.table(heading, func(row func(...any)) {
		for _, r := range rows {
			row(cells(r)...)
		}
	})
	if next != "" {
		a.say("there is more: --page-token %s", next)
	}
	return err
}

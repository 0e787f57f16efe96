package cli

import (
	"context"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

func (a *app) contextCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "context", Short: "Save which orchestrators there are, and choose one",
		Long: "A context is an address and a token (and the ledger's genesis), kept in $XDG_CONFIG_HOME/shardy/config.json (mode 0600).\n" +
			"Flags come before the environment (SHARDY_ADDRESS, SHARDY_TOKEN, SHARDY_CONTEXT), that before the context.",
	}
	c.AddCommand(a.contextAdd(), a.contextList(), a.contextSelect(), a.contextShow(), a.contextRemove())
	return c
}

func (a *app) contextAdd() *cobra.Command {
	var s settings
	var stdin bool
	c := &cobra.Command{
		Use: "add NAME", Short: "Save a context, and select it if it is the first", Args: cobra.ExactArgs(1),
		Example: "  shardy context add prod --to https://shardy.example --token-stdin < token.txt",
		RunE: a.call(func(_ context.Context, args []string) error {
			name := args[0]
			if name == "" || len(name) > 64 || strings.ContainsAny(name, " \t\n/") {
				return usage("context %q: 1 to 64 characters without blanks and slashes", name)
			}
			at, err := cleanAddress(s.Address)
			if err != nil {
				return err
			}
			if s.Genesis != "" && !isHex32(s.Genesis) {
				return usage("--genesis %q: want the hash that shardy genesis show prints", s.Genesis)
			}
			s.Address, s.Token = at, a.flags.Token
			if stdin {
				data, err := io.ReadAll(io.LimitReader(a.in, 4096))
				if err != nil {
					return err
				}
				s.Token = strings.TrimSpace(string(data))
			}
			return a.editBook(name, "added", func(b *book) error {
				if _, ok := b.Contexts[name]; ok && !a.yes {
					return failed(exitRefused, "context %q exists: --yes replaces it", name)
				}
				b.Contexts[name] = s
				if b.Selected == "" {
					b.Selected = name
				}
				return nil
			})
		}),
	}
	c.Flags().StringVar(&s.Address, "to", DefaultAddress, "API of the orchestrator")
	c.Flags().BoolVar(&stdin, "token-stdin", false, "read the token from stdin")
	c.Flags().StringVar(&s.Genesis, "genesis", "", "hash of the ledger's genesis: what it says of the ledger is held against it")
	return c
}

// editBook changes the saved contexts and reports what was done to one of them.
func (a *app) editBook(name, what string, edit func(*book) error) error {
	b, err := a.readBook()
	if err != nil {
		return err
	}
	if err := edit(b); err != nil {
		return err
	}
	return a.done(a.writeBook(b), name, what)
}

// savedContext is a context as context list prints it.
type savedContext struct {
	Name     string `json:"name"`
	Address  string `json:"address"`
	Token    bool   `json:"token"`
	Selected bool   `json:"selected"`
}

func (a *app) contextList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List the saved contexts", Args: cobra.NoArgs, Example: "  shardy context list",
		RunE: a.call(func(context.Context, []string) error {
			b, err := a.readBook()
			if err != nil {
				return err
			}
			rows := []savedContext{}
			for _, name := range slices.Sorted(maps.Keys(b.Contexts)) {
				s := b.Contexts[name]
				rows = append(rows, savedContext{name, s.Address, s.Token != "", name == b.Selected})
			}
			if a.json {
				return a.printJSON(map[string]any{"contexts": rows})
			}
			return a.table("NAME ADDRESS TOKEN SELECTED", func(row func(...any)) {
				for _, r := range rows {
					row(r.Name, r.Address, word(r.Token, "yes"), word(r.Selected, "*"))
				}
			})
		}),
	}
}

func (a *app) contextSelect() *cobra.Command {
	return &cobra.Command{
		Use: "select NAME", Short: "Use a context from now on", Args: cobra.ExactArgs(1), Example: "  shardy context select prod",
		RunE: a.call(func(_ context.Context, args []string) error {
			return a.editBook(args[0], "selected", func(b *book) error {
				if _, ok := b.Contexts[args[0]]; !ok {
					return failed(exitNotFound, "no context %q", args[0])
				}
				b.Selected = args[0]
				return nil
			})
		}),
	}
}

func (a *app) contextShow() *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "Say which address and token hold, and where they come from", Args: cobra.NoArgs,
		Example: "  shardy context show",
		RunE: a.call(func(context.Context, []string) error {
			r, err := a.resolve()
			if err != nil {
				return err
			}
			r.Token.Value = masked(r.Token.Value)
			if a.json {
				return a.printJSON(r)
			}
			return a.table("WHAT VALUE SOURCE", func(row func(...any)) {
				row("context", r.Context.Value, r.Context.Source)
				row("address", r.Address.Value, r.Address.Source)
				row("token", r.Token.Value, r.Token.Source)
				row("genesis", r.Genesis.Value, r.Genesis.Source)
			})
		}),
	}
}

func (a *app) contextRemove() *cobra.Command {
	return &cobra.Command{
		Use: "remove NAME", Short: "Forget a context and its token", Args: cobra.ExactArgs(1), Example: "  shardy context remove old --yes",
		RunE: a.call(func(_ context.Context, args []string) error {
			b, err := a.readBook()
			if err != nil {
				return err
			}
			if _, ok := b.Contexts[args[0]]; !ok {
				return failed(exitNotFound, "no context %q", args[0])
			}
			if err := a.confirm("forget context %q and its token", args[0]); err != nil {
				return err
			}
			delete(b.Contexts, args[0])
			if b.Selected == args[0] {
				b.Selected = ""
			}
			return a.done(a.writeBook(b), args[0], "removed")
		}),
	}
}

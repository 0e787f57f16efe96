package cli

import (
	"context"

	"github.com/spf13/cobra"

	eventv1 "github.com/shardy-network/orchestrator/proto/shardy/event/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

const (
	maxModule = 1 << 20
	maxCanary = 64 << 10
)

func (a *app) moduleCommand() *cobra.Command {
	c := &cobra.Command{Use: "module", Short: "Admit and list WebAssembly modules"}
	c.AddCommand(a.moduleAdmit(), a.moduleList())
	return c
}

func (a *app) moduleAdmit() *cobra.Command {
	var canary string
	var reviewed bool
	c := &cobra.Command{
		Use: "admit FILE", Short: "Have a module checked, metered and tried; prints its name", Args: cobra.ExactArgs(1),
		Example: "  shardy module admit primes.wasm --canary one-chunk.bin",
		RunE: a.call(func(ctx context.Context, args []string) error {
			req := &operatorv1.AdmitModuleRequest{Reviewed: reviewed}
			var err error
			if req.Module, err = a.readInput(args[0], maxModule); err != nil {
				return err
			}
			if canary != "" {
				if req.Canary, err = a.readInput(canary, maxCanary); err != nil {
					return err
				}
			}
			api, err := a.dial()
			if err != nil {
				return err
			}
			res, err := api.AdmitModule(ctx, req)
			if err != nil {
				return err
			}
			if a.json {
				return a.printMessage(res.Module)
			}
			m := res.Module
			return a.facts("module", hexID(m.Name), "original", hexID(m.Original), "class", name(m.Class),
				"memory", bytesText(m.MemoryBytes), "size", bytesText(m.Size), "canary fuel", m.CanaryFuel, "canonical NaN", m.CanonicalNan)
		}),
	}
	c.Flags().StringVar(&canary, "canary", "", "file with an input for the trial run, at most 64 KiB")
	c.Flags().BoolVar(&reviewed, "reviewed", false, "admins: floats without canonical NaN")
	return c
}

func (a *app) moduleList() *cobra.Command {
	var p paging
	c := &cobra.Command{
		Use: "list", Short: "List admitted modules", Args: cobra.NoArgs, Example: "  shardy module list",
		RunE: a.call(func(ctx context.Context, _ []string) error {
			api, err := a.dial()
			if err != nil {
				return err
			}
			rows, next, err := pages(ctx, p, func(ctx context.Context, size uint32, token string) ([]*eventv1.ModuleAdmitted, string, error) {
				res, err := api.ListModules(ctx, &operatorv1.ListModulesRequest{PageSize: size, PageToken: token})
				return res.GetModules(), res.GetNextPageToken(), err
			})
			if err != nil {
				return err
			}
			return printList(a, "modules", rows, next, "NAME CLASS MEMORY SIZE CANARY-FUEL", func(m *eventv1.ModuleAdmitted) []any {
				return []any{hexID(m.Name), name(m.Class), bytesText(m.MemoryBytes), bytesText(m.Size), m.CanaryFuel}
			})
		}),
	}
	p.flags(c)
	return c
}

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shardy-network/orchestrator/cmd/shardy/cli"
	"github.com/shardy-network/orchestrator/cmd/shardy/logserver"
	"github.com/shardy-network/orchestrator/cmd/shardy/orchestrator"
	"github.com/shardy-network/orchestrator/events/esdbserver"
	"github.com/shardy-network/orchestrator/events/pebblelog"
)

// logCommand takes the place of the client's command of that name, and has its verbs too.
func logCommand() *cobra.Command {
	c := &cobra.Command{Use: "log", Short: "Serve the event log of a data folder, and look after it"}
	c.AddCommand(logServeCommand(), hashPasswordCommand())
	return c
}

func hashPasswordCommand() *cobra.Command {
	return &cobra.Command{
		Use: "hash-password", Short: "Read a password from the standard input and print what a users' file holds of it", Args: cobra.NoArgs,
		Example: "  shardy log hash-password < password.txt",
		RunE: func(cmd *cobra.Command, _ []string) error {
			line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), esdbserver.MaxPassword+2)).ReadString('\n')
			if err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			hash, err := esdbserver.HashPassword(strings.TrimRight(line, "\r\n"))
			if err != nil {
				return cli.Usage(err)
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), hash)
			return err
		},
	}
}

func logServeCommand() *cobra.Command {
	f := logserver.Flags{Listen: "127.0.0.1:2113"}
	var dataDir, addressFile, logFormat, logLevel string
	c := &cobra.Command{
		Use: "serve", Short: "Serve the event log of a data folder, without an orchestrator",
		Long: "Serve the event log of a data folder over EventStoreDB's gRPC protocol, so that orchestrators elsewhere keep their\n" +
			"events in it (shardy serve --log esdb://...) and official clients of any language read it.",
		Example: "  shardy log serve --data-dir /var/lib/shardy-log --listen 127.0.0.1:2113",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			logger, err := logger(cmd.ErrOrStderr(), logFormat, logLevel)
			if err != nil {
				return err
			}
			cfg, err := f.Config(logger)
			if err != nil {
				return cli.Usage(err)
			}
			if dataDir == "" || f.Listen == "" {
				return cli.Usage(errors.New("--data-dir and --listen are needed"))
			}
			ignoreFileSizeSignal()
			dir := orchestrator.LogDir(dataDir)
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return err
			}
			log, err := pebblelog.Open(dir, pebblelog.Options{Logger: logger})
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, log.Close()) }()
			s, err := logserver.Start(cmd.Context(), log, f.Listen, cfg)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, s.Close()) }()
			if addressFile != "" {
				if err := announce(addressFile, s.Addr()); err != nil {
					return err
				}
			}
			logger.Info("serving the log", "address", s.Addr(), "data_dir", dataDir)
			select {
			case <-cmd.Context().Done():
				return nil
			case <-log.Failed():
				return fmt.Errorf("event log stopped: %w", log.Cause())
			case err := <-s.Ended():
				return err
			}
		},
	}
	f.Register(c.Flags(), "")
	c.Flags().StringVar(&dataDir, "data-dir", "", "folder whose log is served; made when it is not there")
	c.Flags().StringVar(&addressFile, "address-file", "", "write the address that is served to this file once it is")
	c.Flags().StringVar(&logFormat, "log-format", "text", "text or json")
	c.Flags().StringVar(&logLevel, "log-level", "info", "debug, info, warn or error")
	return c
}

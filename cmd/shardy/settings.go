package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/shardy-network/orchestrator/cmd/shardy/cli"
)

// Every flag of a command that serves can also be an environment variable (SHARDY_ and the flag's name in capitals, with
// underscores) or a field of a JSON file, under the flag's name. The flag wins over the variable, the variable over the
// file, the file over the default. Fields that are no flags are refused, and so are values of another type.
const (
	configFlag = "config"
	printFlag  = "print-config"
	// maxConfigBytes bounds the file.
	maxConfigBytes = 1 << 20
)

// setting is one value that is in force, and where it is from: "flag", "env NAME", "file NAME" or "default".
type setting struct {
	Name   string `json:"name"`
	Value  any    `json:"value"` // in the form that the file has it
	Source string `json:"source"`
}

// settle fills in the flags that the command line left open, and returns what is then in force, by name.
func settle(cmd *cobra.Command, env func(string) string) ([]setting, error) {
	name, err := cmd.Flags().GetString(configFlag)
	if err != nil {
		return nil, err
	}
	if name == "" {
		name = env(envName(configFlag))
	}
	file, err := readConfig(name)
	if err != nil {
		return nil, err
	}
	var all []setting
	cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
		if f.Name == configFlag || f.Name == printFlag || f.Name == "help" {
			return
		}
		source, serr := fill(f, env, file, name)
		err = errors.Join(err, serr)
		delete(file, f.Name)
		all = append(all, setting{f.Name, shown(f), source})
	})
	for field := range file {
		err = errors.Join(err, cli.Usage(fmt.Errorf("%s: unknown field %q", name, field)))
	}
	return all, err
}

func envName(flag string) string {
	return "SHARDY_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fill sets a flag from the first place that has it.
func fill(f *pflag.Flag, env func(string) string, file map[string]json.RawMessage, fileName string) (source string, err error) {
	if f.Changed {
		return "flag", nil
	}
	if text := env(envName(f.Name)); text != "" {
		if err := f.Value.Set(text); err != nil {
			return "", cli.Usage(fmt.Errorf("%s: %w", envName(f.Name), err))
		}
		return "env " + envName(f.Name), nil
	}
	if raw, ok := file[f.Name]; ok {
		if err := setJSON(f.Value, raw); err != nil {
			return "", cli.Usage(fmt.Errorf("%s: %s: %w", fileName, f.Name, err))
		}
		return "file " + fileName, nil
	}
	return "default", nil
}

// setJSON sets a flag from a value of a file, whose type must be the flag's.
func setJSON(v pflag.Value, raw json.RawMessage) error {
	if list, ok := v.(pflag.SliceValue); ok {
		var texts []string
		if raw[0] != '[' || json.Unmarshal(raw, &texts) != nil {
			return errors.New("want a list of texts")
		}
		return list.Replace(texts)
	}
	switch v.Type() {
	case "string", "duration":
		var text string
		if raw[0] != '"' || json.Unmarshal(raw, &text) != nil {
			return errors.New("want a text")
		}
		return v.Set(text)
	case "bool":
		var b bool
		if err := json.Unmarshal(raw, &b); err != nil {
			return errors.New("want true or false")
		}
		return v.Set(strconv.FormatBool(b))
	case "int", "uint64", "float64":
		var n json.Number
		if raw[0] == '"' || json.Unmarshal(raw, &n) != nil || n == "" {
			return errors.New("want a number")
		}
		return v.Set(n.String())
	}
	return fmt.Errorf("a %s cannot be set here", v.Type())
}

// readConfig reads the fields of a file; without a name there are none.
func readConfig(name string) (map[string]json.RawMessage, error) {
	if name == "" {
		return nil, nil
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfigBytes+1))
	if err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if len(data) > maxConfigBytes {
		return nil, cli.Usage(fmt.Errorf("%s: more than %d bytes", name, maxConfigBytes))
	}
	fields, err := decodeConfig(data)
	if err != nil {
		return nil, cli.Usage(fmt.Errorf("%s: %w", name, err))
	}
	return fields, nil
}

// decodeConfig takes one JSON object apart. A field that is there twice is refused: nobody could tell which one counts.
func decodeConfig(data []byte) (map[string]json.RawMessage, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.New("want a JSON object")
	}
	fields := map[string]json.RawMessage{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		name, ok := t.(string)
		if !ok {
			return nil, errors.New("want a JSON object")
		}
		if _, twice := fields[name]; twice {
			return nil, fmt.Errorf("field %q is there twice", name)
		}
		var raw json.RawMessage
		if err := d.Decode(&raw); err != nil {
			return nil, fmt.Errorf("field %q: %w", name, err)
		}
		fields[name] = raw
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more behind the object")
	}
	return fields, nil
}

// shown is a flag's value as a file would have it, without secrets.
func shown(f *pflag.Flag) any {
	if list, ok := f.Value.(pflag.SliceValue); ok {
		return append([]string{}, list.GetSlice()...)
	}
	text := f.Value.String()
	switch f.Value.Type() {
	case "int", "uint64", "float64":
		return json.Number(text)
	case "bool":
		return text == "true"
	}
	if strings.HasSuffix(f.Name, "-url") || f.Name == "log" || f.Name == "traces-endpoint" {
		return redacted(text)
	}
	return text
}

// secretWords mark the parameters of a bucket's address that are not shown.
var secretWords = []string{"secret", "password", "token", "key", "sig", "cred"}

// redacted hides the password and the secret parameters of an address.
func redacted(address string) string {
	if !strings.Contains(address, "://") {
		return address
	}
	u, err := url.Parse(address)
	if err != nil {
		return "xxxxx"
	}
	if q, err := url.ParseQuery(u.RawQuery); err != nil {
		u.RawQuery = "xxxxx"
	} else if len(q) > 0 {
		for name := range q {
			if slices.ContainsFunc(secretWords, func(w string) bool { return strings.Contains(strings.ToLower(name), w) }) {
				q[name] = []string{"xxxxx"}
			}
		}
		u.RawQuery = q.Encode()
	}
	return u.Redacted()
}

// printSettings writes them as a table, or with --json as one document.
func printSettings(cmd *cobra.Command, all []setting) error {
	if asJSON, err := cmd.Flags().GetBool("json"); err == nil && asJSON {
		e := json.NewEncoder(cmd.OutOrStdout())
		e.SetEscapeHTML(false)
		return e.Encode(map[string]any{"settings": all})
	}
	w := tabwriter.NewWriter(cmd.OutOrStdout(), 2, 8, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tVALUE\tSOURCE")
	for _, s := range all {
		text := fmt.Sprint(s.Value)
		if list, ok := s.Value.([]string); ok {
			text = strings.Join(list, ",")
		}
		if text == "" {
			text = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", s.Name, text, s.Source)
	}
	return w.Flush()
}

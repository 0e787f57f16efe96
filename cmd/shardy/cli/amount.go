package cli

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/shardy-network/orchestrator/actors/ledger"
)

// microPerUnit is how finely the ledger counts money.
const microPerUnit = 1_000_000

// amountRule is the one way to write money on the command line.
const amountRule = "Amounts are in units, with at most six places: 12.5. A unit has 1,000,000 micro-units, which is what --json counts in."

// parseAmount reads an amount in units and returns micro-units.
func parseAmount(what, text string) (uint64, error) {
	whole, part, dotted := strings.Cut(text, ".")
	if !digits(whole) || dotted && (!digits(part) || len(part) > 6) || len(whole) > 20 {
		return 0, usage("%s %q: want units with at most six places, for example 12.5", what, text)
	}
	units, err := strconv.ParseUint(whole, 10, 64)
	if err != nil || units > ledger.MaxSupply/microPerUnit {
		return 0, usage("%s %q: more than there can be", what, text)
	}
	micro := uint64(0)
	if dotted {
		micro, err = strconv.ParseUint(part+strings.Repeat("0", 6-len(part)), 10, 64)
		if err != nil {
			return 0, usage("%s %q: %w", what, text, err)
		}
	}
	if sum := units*microPerUnit + micro; sum <= ledger.MaxSupply {
		return sum, nil
	}
	return 0, usage("%s %q: more than there can be", what, text)
}

// someAmount is parseAmount of what must be more than nothing.
func someAmount(what, text string) (uint64, error) {
	n, err := parseAmount(what, text)
	if err == nil && n == 0 {
		err = usage("%s %q: want more than nothing", what, text)
	}
	return n, err
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// unitsText is an amount as parseAmount takes it.
func unitsText(micro uint64) string {
	text := strconv.FormatUint(micro/microPerUnit, 10)
	if part := micro % microPerUnit; part > 0 {
		text += "." + strings.TrimRight(fmt.Sprintf("%06d", part), "0")
	}
	return text
}

// moneyText is an amount both ways.
func moneyText(micro uint64) string {
	return fmt.Sprintf("%s (%d micro-units)", unitsText(micro), micro)
}

// partText is millionths as percent.
func partText(ppm uint64) string {
	return strings.TrimSuffix(strings.TrimSuffix(fmt.Sprintf("%.2f", float64(ppm)/10_000), "0"), ".0") + " %"
}

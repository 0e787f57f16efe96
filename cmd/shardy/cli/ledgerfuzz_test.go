package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/shardy-network/orchestrator/actors/ledger"
	"github.com/shardy-network/orchestrator/mesh/chain/chaintest"
	ledgerv1 "github.com/shardy-network/orchestrator/proto/shardy/ledger/v1"
	operatorv1 "github.com/shardy-network/orchestrator/proto/shardy/operator/v1"
)

// FuzzProofFile: whatever lies in a file, what it proves about the one account is the truth.
func FuzzProofFile(f *testing.F) {
	m := chaintest.New(f, 4, 2)
	root, err := readRoot(m.Genesis)
	if err != nil {
		f.Fatal(err)
	}
	m.Grow(1, 2)
	last := m.Blocks[0]
	certificate, err := proto.Marshal(last.Certificate)
	if err != nil {
		f.Fatal(err)
	}
	key := chaintest.Public(chaintest.Key(1000))
	place, _, err := placeOf(accountPlace(key))
	if err != nil {
		f.Fatal(err)
	}
	truth, _ := m.State.Account(key)
	before, _ := root.state.Account(key)
	seed, err := proto.Marshal(&operatorv1.ProofFile{
		Genesis: root.hash[:], Place: accountPlace(key),
		State: &operatorv1.GetProofResponse{Header: last.Block.Header, Certificate: certificate, Proof: m.State.Prove(place)},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		file := new(operatorv1.ProofFile)
		if proto.Unmarshal(data, file) != nil {
			return
		}
		h, err := checkProof(root, file)
		if err != nil {
			return
		}
		placeText(file.Place)
		valueFacts(h.value)
		if string(file.Place.GetAccount()) != string(key) {
			return
		}
		a, _ := h.value.(*ledgerv1.Account)
		if want := map[uint64]*ledgerv1.Account{0: before, 1: truth}[h.by.Height]; a.GetBalance() != want.GetBalance() {
			t.Fatalf("balance %d after block %d", a.GetBalance(), h.by.Height)
		}
	})
}

// FuzzPetition: what parses can be shown, and every approval in it is signed.
func FuzzPetition(f *testing.F) {
	p := &operatorv1.Petition{ChainId: "test-1", What: &operatorv1.Petition_Void{Void: &ledgerv1.SlashVoid{}}}
	approve(p, chaintest.Key(1))
	for _, p := range []*operatorv1.Petition{p, {ChainId: "x", What: &operatorv1.Petition_Validators{}}} {
		seed, err := proto.Marshal(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parsePetition(data)
		if err != nil {
			return
		}
		_, before := petitionText(p)
		if got := len(petitionLines(p)); got < 1+len(before) {
			t.Fatalf("%d lines for %d approvals", got, len(before))
		}
		approve(p, chaintest.Key(2))
		again, err := proto.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parsePetition(again); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzGenesisFile: a file is a genesis, or it is refused.
func FuzzGenesisFile(f *testing.F) {
	f.Add(chaintest.New(f, 1, 1).Genesis)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte) {
		root, err := readRoot(data)
		if err != nil {
			return
		}
		name := filepath.Join(dir, "genesis")
		if err := os.WriteFile(name, root.encoded, 0o600); err != nil {
			t.Fatal(err)
		}
		again, err := (&app{}).rootFile(name)
		if err != nil || again.hash != root.hash {
			t.Fatalf("%x, %v", root.hash, err)
		}
	})
}

// FuzzFork: an accusation that is made of a file is one that the ledger takes.
func FuzzFork(f *testing.F) {
	m := chaintest.New(f, 4, 2)
	side := func(amount uint64) forkSide {
		fresh := chaintest.New(f, 4, 2)
		b := fresh.Next(fresh.Transfer(chaintest.Key(1000), chaintest.Key(1001), amount))
		certificate, err := proto.Marshal(b.Certificate)
		if err != nil {
			f.Fatal(err)
		}
		return forkSide{Header: hexID(b.Block.Header), Certificate: hexID(certificate)}
	}
	seed, err := json.Marshal(comparison{ChainID: chaintest.ChainID, Fork: &fork{Sides: []forkSide{side(1), side(2)}}})
	if err != nil {
		f.Fatal(err)
	}
	if pairs, err := votesTwice(seed); err != nil || len(pairs) != 3 {
		f.Fatalf("%d pairs, %v", len(pairs), err)
	}
	f.Add(seed)
	f.Fuzz(func(t *testing.T, data []byte) {
		pairs, err := votesTwice(data)
		if err != nil {
			return
		}
		for _, p := range pairs {
			tx := m.Transaction(chaintest.Key(1000), accusation(&ledgerv1.Equivocation{Kind: &ledgerv1.Equivocation_Votes{Votes: p}}))
			if _, err := ledger.Check(chaintest.ChainID, tx); err != nil {
				t.Fatal(err) // nobody here can sign for another chain
			}
		}
	})
}

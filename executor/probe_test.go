package executor_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

var updateProbe = flag.Bool("update-probe", false, "write the table of open ways in docs/security.md anew")

// openWays are those that steps may have, each with the reason why it leads nowhere.
func openWays() map[string]string {
	const own = "of the step's own processes: there are no others in its pid namespace"
	const itself = "about the process itself, with the rights that it has"
	const network = "in the step's network namespace; in the host's it takes capabilities there, which steps have none of"
	ways := map[string]string{
		"memfd_create":            "files in memory, which are counted as the step's",
		"memfd_secret":            "likewise, hidden from the kernel's own maps",
		"landlock_create_ruleset": "it can only take rights away",
		"chroot":                  "the root was entered by pivot_root: there is nothing outside of it",
		"ptrace":                  own, "read /proc/1/environ": own, "read /proc/1/maps": own, "write /proc/1/mem": own,
		"write /proc/1/oom_score_adj": own,
		"write /proc/self/attr/exec":  itself, "write /proc/self/coredump_filter": itself, "write /proc/self/mem": itself,
		"write /proc/self/oom_score_adj": itself, "write /proc/self/sched": itself, "write /proc/self/timerslack_ns": itself,
		"write /proc/self/uid_map":     "it can be opened, and written once, by who has the capability in the namespace above",
		"write /proc/self/setgroups":   "likewise",
		"read /proc/self/attr/current": itself,
		"read /proc/kallsyms":          "addresses are zero without CAP_SYSLOG in the initial user namespace",
		"read /proc/key-users":         "how many keys users have, and none of them",
		"read /proc/modules":           "names of modules; addresses are zero",
		"read /proc/pagetypeinfo":      "statistics, for the machine's root alone",
		"read /proc/slabinfo":          "statistics, for the machine's root alone",
		"read /proc/vmallocinfo":       "statistics, for the machine's root alone; addresses are hashed",
		"read /proc/interrupts":        "statistics",
		"read /proc/mtrr":              "memory types, which can't be set", "socket raw ICMP": network,
		"socket raw IPv6":  network,
		"socket AF_PACKET": network,
		"socket AF_XDP":    network, "socket AF_KEY": network, "mlockall": "within RLIMIT_MEMLOCK",
		"name_to_handle_at":            "a number; opening it is denied",
		"setpriority -20":              "within RLIMIT_NICE",
		"sched_setscheduler real time": "within RLIMIT_RTPRIO",
		"socket netlink audit":         network,
		"socket AF_TIPC":               network,
		"socket AF_RDS":                network,
		"socket AF_CAN":                network,
		"socket AF_KCM":                network,
		"socket AF_NFC":                network,
		"socket AF_BLUETOOTH":          network,
		"socket netlink netfilter":     network,
		"socket netlink route":         network,
		"socket netlink uevent":        "events of the step's network namespace",
	}
	return ways
}

// TestNoWayLeadsOutOfAStep tries the ways that have led out of containers, on each back end.
func TestNoWayLeadsOutOfAStep(t *testing.T) {
	b := newBox(t)
	b.addSelf()
	got := strings.Split(strings.TrimSpace(b.output(b.step("/self", "probe"))), "\n")
	last, tried := got[len(got)-1], 0
	if _, err := fmt.Sscanf(last, "tried %d", &tried); err != nil || tried < 200 {
		t.Errorf("%s: %v", last, err)
	}
	known := openWays()
	for _, w := range got[:len(got)-1] {
		if known[w] == "" {
			t.Errorf("open: %s", w)
		}
	}
}

// TestEveryOpenWayHasItsReasonInTheDocuments holds docs/security.md against openWays.
func TestEveryOpenWayHasItsReasonInTheDocuments(t *testing.T) {
	const file, begin, end = "../docs/security.md",
		"<!-- made by go test ./executor -run EveryOpenWay -update-probe -->\n", "<!-- end of open ways -->\n"
	byReason := map[string][]string{}
	for w, reason := range openWays() {
		byReason[reason] = append(byReason[reason], "`"+w+"`")
	}
	var lines []string
	for reason, ways := range byReason {
		slices.Sort(ways)
		lines = append(lines, "| "+strings.Join(ways, ", ")+" | "+reason+" |\n")
	}
	slices.Sort(lines)
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(page), begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no marks", file)
	}
	want := before + begin + "| way | why it leads nowhere |\n|---|---|\n" + strings.Join(lines, "") + end + after
	if *updateProbe {
		if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(page) {
		t.Errorf("%s is out of date: go test ./executor -run EveryOpenWay -update-probe", file)
	}
}

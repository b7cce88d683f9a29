# What the tests have in common. A guest is the host, with a switch and targets in namespaces:
#
#   host           lan                  far
#    eth0 --- sw0 |  br0   | p0 --- eth0  192.0.2.1, .2, .3, 2001:db8::1, ::2, ::3
#    eth1 --- sw1 | switch |
#
# Emulated CPUs are slow: an FDT of a second, and limits that only something broken misses.

DATA="192.0.2.50 192.0.2.51 2001:db8::50"
# The members of the group; tests of other kinds of devices change it.
MEMBERS=(eth0 eth1)

# At the start of each test: nothing of the one before.
begin() {
    systemctl stop mpathd.service 2>/dev/null || true
    until_true 10 mpathd release
    rm -rf /tmp/tests/log /run/mpathd/state.json /etc/mpathd
    local it
    for it in lan far; do
        ip netns del $it 2>/dev/null || true
    done
    for it in bond0 bond1 vrf0 eth9; do
        ip link del $it 2>/dev/null || true
    done
    until_true 10 no_nic_left
    journalctl --rotate --vacuum-time=1s >/dev/null 2>&1
    dmesg --clear
}

no_nic_left() { ! ip -o link show | grep -q ': eth[0-9]'; }

figure() { echo "$*" >>/tmp/tests/figures; }

fail() {
    echo "FAILED: $*"
    echo "--- links and addresses"
    ip -br link show || true
    ip -br address show || true
    echo "--- log"
    log_text | tail -n 40
    exit 1
}

# until_true SECONDS COMMAND...
until_true() {
    local limit=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        if [ "$SECONDS" -ge "$limit" ]; then
            fail "not in time: $*"
        fi
        sleep 0.1
    done
}

# equal WHAT FOUND EXPECTED
equal() {
    [ "$2" = "$3" ] || fail "$1 is '$2', not '$3'"
}

# has WHAT TEXT PART
has() {
    case $2 in *"$3"*) ;; *) fail "$1 has no '$3': $2" ;; esac
}

# Makes the lab with so many NICs.
lab() {
    ip netns add lan
    ip netns add far
    ip -n lan link add br0 type bridge stp_state 0 mcast_snooping 0
    ip -n lan link set br0 up
    plug eth0 p0 far
    local nic
    for ((nic = 0; nic < $1; nic++)); do
        plug "eth$nic" "sw$nic" 1
    done
    give_targets eth0
    # A shell that stays: a cut is one write then, and no process has to start.
    coproc SWITCH { exec ip netns exec lan bash; }
    # Isolated ports don't talk to each other. The carrier stays.
    switch 'echo 1 >/sys/class/net/p0/brport/isolated'
}

give_targets() {
    local n
    for n in 1 2 3; do
        ip -n far address add "192.0.2.$n/24" dev "$1"
        ip -n far address add "2001:db8::$n/64" dev "$1" nodad
    done
}

# plug DEVICE PORT NAMESPACE: a cable from a device there to a port of the switch.
plug() {
    ip link add "$2" netns lan type veth peer name "$1" netns "$3"
    ip -n lan link set "$2" master br0 up
    case $3 in
    1) ip link set "$1" up ;;
    *) ip -n "$3" link set "$1" up ;;
    esac
}

# Has the switch's shell do this; AT is the moment just before.
switch() {
    echo "at=\$EPOCHREALTIME; $1; echo \$at" >&"${SWITCH[1]}"
    read -r AT <&"${SWITCH[0]}"
}

cut() { switch "echo 1 >/sys/class/net/sw$1/brport/isolated"; }
mend() { switch "echo 0 >/sys/class/net/sw$1/brport/isolated"; }

# config FDT [LINE...]: one group of all members, both families; more lines for the top.
config() {
    local number=11 nic
    mkdir -p /etc/mpathd
    {
        echo "failure_detection_time = \"$1\""
        shift
        printf '%s\n' "$@"
        echo '[groups.ipmp0]'
        echo 'data_addresses = ["192.0.2.50/24", "192.0.2.51/24", "2001:db8::50/64"]'
        echo 'targets = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1", "2001:db8::2"]'
        echo 'routes = [{ to = "default", via = "192.0.2.1" }, { to = "default", via = "2001:db8::1" }]'
        for nic in "${MEMBERS[@]}"; do
            echo "[groups.ipmp0.interfaces.\"$nic\"]"
            echo "test_addresses = [\"192.0.2.$number/24\", \"2001:db8::$number/64\"]"
            number=$((number + 1))
        done
    } >/etc/mpathd/mpathd.toml
}

# The daemon without a unit, until these members are at work; all of them, if none is named.
run_daemon() {
    mpathd >/tmp/tests/log 2>&1 &
    if [ $# = 0 ]; then
        settled "${MEMBERS[@]}"
    else
        settled "$@"
    fi
}

log_text() { cat /tmp/tests/log 2>/dev/null || journalctl -u mpathd.service -o cat --no-pager; }

logged() { log_text | grep -q -- "$1"; }

# settled NIC...: each has answers in both families and is in use.
settled() {
    until_true 30 all_addresses_are_placed
    local nic
    for nic in "$@"; do
        until_true 30 is_ok "$nic"
    done
}

# Of each family that is probed, some target has answered.
is_ok() {
    [ "$(told state "$1")" = ok ] && logged "first reply on $1 from 192" && logged "first reply on $1 from 2001"
}

# told FIELD NIC
told() { ipmpstat -n -P -i -o "interface,$1" | sed -n "s/^$2://p"; }

# The NIC that has the address.
owner() { ip -o address show to "$1" | sed -n '1s/^[0-9]*: *\([^ ]*\) .*/\1/p'; }

all_addresses_are_placed() {
    local address
    for address in $DATA; do
        [ -n "$(owner "$address")" ] || return 1
    done
}

all_on() {
    local address
    for address in $DATA; do
        [ "$(owner "$address")" = "$1" ] || return 1
    done
}

# Every change of an address from now on, with its time.
watch_addresses() {
    ip -ts -o monitor address >/tmp/tests/addresses &
    WATCH=$!
    sleep 0.5
}

# Milliseconds from AT until the kernel gave the address to the NIC.
moved_after() {
    local line
    line=$(grep -v Deleted /tmp/tests/addresses | grep ": $2 .* $1/" | tail -n 1)
    [ -n "$line" ] || fail "$1 was never given to $2: $(cat /tmp/tests/addresses)"
    line=${line#[}
    ms "$AT" "$(date -d "${line%%]*}" +%s.%N)"
}

ms() { awk -v from="$1" -v to="$2" 'BEGIN { printf "%.0f", (to - from) * 1000 }'; }

# survives_a_cut FDT WHAT: cuts the path of the first member, waits until all is on the second, and says how long that
# took. At most three times the FDT, for the machine may be an emulated one beside others.
survives_a_cut() {
    local fdt=$1 longest=0 from=${MEMBERS[0]} to=${MEMBERS[1]} moving=() address took
    watch_addresses
    for address in $DATA; do
        [ "$(owner "$address")" != "$from" ] || moving+=("$address")
    done
    [ ${#moving[@]} -gt 0 ] || fail "nothing is on $from"
    cut 0
    until_true 20 all_on "$to"
    sleep 0.2
    for address in "${moving[@]}"; do
        took=$(moved_after "$address" "$to")
        [ "$took" -le "$longest" ] || longest=$took
    done
    kill "$WATCH"
    figure "$2: silent cut to last address moved $longest ms at FDT $fdt ms"
    [ "$longest" -le $((fdt * 3)) ] || fail "too late"
    equal "carrier of $from" "$(cat "/sys/class/net/$from/carrier")" 1
    mend 0
}

# Nothing has been called failed.
no_failure() {
    if logged 'failure detected'; then
        fail "a false failure"
    fi
}

has_tcx() { printf '%s\n' 6.6 "$(uname -r)" | sort -CV; }

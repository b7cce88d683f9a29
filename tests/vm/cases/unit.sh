# The unit under a live systemd.

# Installed as an administrator would by hand, and started.
start_unit() {
    install -D -m 644 "$here/../dist/mpathd.service" /etc/systemd/system/mpathd.service
    install -m 644 "$here/../dist/run-mpathd-bpf.mount" /etc/systemd/system/
    install -D -m 644 "$here/../dist/sysusers.conf" /usr/lib/sysusers.d/mpathd.conf
    systemd-sysusers
    systemctl daemon-reload
    systemctl reset-failed mpathd.service 2>/dev/null || true
    lab 2
    # Under a second: then the fast thread is a real-time one.
    config 900ms
    systemctl start mpathd.service
    settled eth0 eth1
}

# show PROPERTY
show() { systemctl show --value -p "$1" mpathd.service; }

# status KEY: of /proc/PID/status.
status() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$(show MainPID)/status"; }

# thread NAME: class and real-time priority.
thread() { ps -L -o comm=,cls=,rtprio= -p "$(show MainPID)" | sed -n "s/^$1 *//p" | tr -s ' '; }

thread_id() { ps -L -o comm=,tid= -p "$(show MainPID)" | sed -n "s/^$1 *//p"; }

# Nothing that is ours was added or removed since `watch_addresses`.
no_address_has_changed() {
    kill "$WATCH"
    equal "list of changes" "$(cat /tmp/tests/addresses)" ""
}

test_unit_has_what_it_needs_and_no_more() {
    start_unit
    local begun ready
    begun=$(show ExecMainStartTimestampMonotonic)
    ready=$(show ActiveEnterTimestampMonotonic)
    figure "READY $(((ready - begun) / 1000)) ms after the start of the process"
    equal user "$(ps -o user= -p "$(show MainPID)")" mpathd
    # CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF.
    local set
    for set in CapEff CapPrm CapBnd CapAmb; do
        equal $set "$(status $set)" 0000008000003000
    done
    equal "scheduling of the fast thread" "$(thread mpathd-fast)" "FF 51"
    equal "scheduling of the host thread" "$(thread mpathd-host)" "FF 50"
    [ "$(status VmLck | tr -dc 0-9)" -gt 1000 ] || fail "locked: $(status VmLck)"
    equal "file system of the pins" "$(stat -f -c %T /run/mpathd/bpf)" bpf_fs
    [ -n "$(find /run/mpathd/bpf -name 'xdp-*')" ] || fail "nothing is pinned: $(ls -R /run/mpathd/bpf)"
    equal "hook of eth0" "$(told receive eth0)" xdp
    equal "sysctl of eth0" "$(cat /proc/sys/net/ipv4/conf/eth0/arp_ignore)" 1
    has status "$(show StatusText)" "ipmp0 ok"
    if log_text | grep -E 'cannot|no kernel program|failed: |nothing is pinned|no right'; then
        fail "it was refused something"
    fi
}

test_unit_fails_over() {
    start_unit
    until_true 10 test "$(owner 192.0.2.50)" = eth0
    survives_a_cut 900 unit
    local entry
    entry=$(journalctl -u mpathd.service -o json --no-pager MPATHD_REASON=probes | tail -n 1)
    has "journal entry" "$entry" '"MPATHD_GROUP":"ipmp0"'
    has "journal entry" "$entry" '"MPATHD_INTERFACE":"eth0"'
    has "journal entry" "$entry" '"MPATHD_DETECTED_MS":"'
    has "journal entry" "$entry" '"MPATHD_EVENT":"'
    has "journal entry" "$entry" '"PRIORITY":"3"'
    entry=$(journalctl -u mpathd.service -o json --no-pager MPATHD_FROM=eth0 MPATHD_TO=eth1 | tail -n 1)
    has "journal entry" "$entry" '"MESSAGE":"moved '
}

test_unit_reloads() {
    start_unit
    local pid
    pid=$(show MainPID)
    config 2s
    systemctl reload mpathd.service
    has "effective configuration" "$(ipmpstat -g)" 2.00s
    echo 'nonsense = 1' >>/etc/mpathd/mpathd.toml
    if systemctl reload mpathd.service; then
        fail "a bad file was taken"
    fi
    equal "state" "$(systemctl is-active mpathd.service)" active
    equal "process" "$(show MainPID)" "$pid"
}

test_unit_restarts_without_a_move() {
    start_unit
    watch_addresses
    local before
    before=$(find /run/mpathd/bpf -mindepth 1 | sort)
    systemctl restart mpathd.service
    figure "systemctl restart: $(show ActiveEnterTimestampMonotonic | awk -v from="$(show InactiveEnterTimestampMonotonic)" '{ printf "%.0f", ($1 - from) / 1000 }') ms from end to READY"
    sleep 2
    no_address_has_changed
    equal pins "$(find /run/mpathd/bpf -mindepth 1 | sort)" "$before"
    until_true 20 is_ok eth0
    until_true 20 is_ok eth1
}

test_unit_stops_and_leaves_addresses() {
    start_unit
    watch_addresses
    local began=$EPOCHREALTIME
    systemctl stop mpathd.service
    figure "systemctl stop: $(ms "$began" "$EPOCHREALTIME") ms"
    all_addresses_are_placed || fail "an address has gone"
    [ -e /run/mpathd/state.json ] || fail "the state file has gone"
    [ "$(ip -o route show default proto 109 | wc -l)" = 1 ] || fail "the route has gone: $(ip route)"
    systemctl start mpathd.service
    until_true 20 is_ok eth0
    no_address_has_changed
}

# watchdog_ends WHAT COMMAND...: what stops the fast loop has the service restarted, and nothing moves.
watchdog_ends() {
    local pid began
    pid=$(show MainPID)
    watch_addresses
    began=$EPOCHREALTIME
    "${@:2}"
    until_true 40 another_process "$pid"
    figure "$1 stopped: restarted and READY after $(ms "$began" "$EPOCHREALTIME") ms"
    has "journal" "$(journalctl -u mpathd.service -o cat --no-pager)" "Watchdog timeout"
    until_true 20 is_ok eth0
    no_address_has_changed
}

another_process() { [ "$(show ActiveState)" = active ] && [ "$(show MainPID)" != "$1" ]; }

test_unit_is_restarted_when_the_process_stands_still() {
    start_unit
    watchdog_ends "the process" kill -STOP "$(show MainPID)"
}

test_unit_is_restarted_when_the_fast_thread_stands_still() {
    start_unit
    watchdog_ends "the fast thread" stop_thread "$(thread_id mpathd-fast)"
}

# Of all threads only this one, until its end: ptrace(PTRACE_SEIZE), ptrace(PTRACE_INTERRUPT), waitpid(__WALL).
stop_thread() {
    perl -e 'my $tid = shift() + 0;
        for my $request (0x4206, 0x4207) { syscall(101, $request, $tid, 0, 0) == 0 or die "ptrace: $!" }
        1 while waitpid(-1, 0x40000000) > 0' "$1" &
}

test_unit_is_restarted_when_the_process_is_killed() {
    start_unit
    local pid
    pid=$(show MainPID)
    watch_addresses
    kill -9 "$pid"
    until_true 20 another_process "$pid"
    until_true 20 is_ok eth0
    no_address_has_changed
}

# Once is enough: a bad file gets no better.
test_unit_gives_up_on_a_bad_file() {
    start_unit
    systemctl stop mpathd.service
    echo 'nonsense = 1' >>/etc/mpathd/mpathd.toml
    if systemctl start mpathd.service; then
        fail "it has started"
    fi
    sleep 3
    equal "state" "$(systemctl is-failed mpathd.service)" failed
    equal "exit status" "$(show ExecMainStatus)" 2
    equal "number of restarts" "$(show NRestarts)" 0
    all_addresses_are_placed || fail "an address has gone"
}

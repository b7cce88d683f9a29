# Receive processing that is left to threads of ordinary priority (threaded NAPI; ksoftirqd before Linux 6.5), on a host
# whose CPUs are all taken: verdicts may be late, never false. Not at a shorter FDT: the switch and the targets are on
# these CPUs, too, and an emulated network really falls silent.

take_all_cpus() {
    local n
    for ((n = 0; n < $(nproc); n++)); do
        (while :; do :; done) &
    done
}

late_but_not_false() {
    run_daemon
    equal "owner of 192.0.2.50" "$(owner 192.0.2.50)" eth0
    take_all_cpus
    sleep 30
    no_failure
    watch_addresses
    cut 0
    until_true 60 all_on eth1
    local took
    took=$(moved_after 192.0.2.50 eth1)
    figure "$1, a hog on each CPU: silent cut to address moved $took ms at FDT 1000 ms"
}

test_a_starved_host_is_late_with_threaded_napi() {
    lab 2
    local nic
    for nic in eth0 eth1; do
        # NAPI comes to a veth with GRO, or with the daemon's program.
        ethtool -K "$nic" gro on
        echo 1 >"/sys/class/net/$nic/threaded"
    done
    config 1s
    late_but_not_false "threaded NAPI"
}

test_a_starved_host_is_late_with_ordinary_napi() {
    lab 2
    config 1s
    late_but_not_false "ordinary NAPI"
}
